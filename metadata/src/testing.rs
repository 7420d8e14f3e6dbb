//! Random histories of metadata, made by the very decisions that make real ones.

use crate::cluster_id::ClusterId;
use crate::config::{BrokerConfig, ConfigLayers, StaticConfig};
use crate::controller::{
    AlterOp, ConfigAlteration, ConfigChange, NewPartitions, NewTopic, TopicToDelete, allocate_producer_ids,
    bootstrap_records, create_partitions, create_topics, delete_topics, incremental_alter_configs, register_broker,
};
use crate::image::MetadataImage;
use crate::record::{BrokerRegistration, ConfigResource, MetadataRecord};
use proptest::prelude::*;
use protocol::newtypes::{BrokerId, TopicId};
use uuid::Uuid;

/// One request to the controller. Many are refused, as in life; those give no records.
#[derive(Clone, Debug)]
pub enum Request {
    Register { broker: i32, incarnation: u128 },
    CreateTopic { name: usize, partitions: i32, replication_factor: i16, retention: bool },
    AddPartitions { name: usize, total: i32 },
    DeleteTopic { name: usize },
    SetTopicConfig { name: usize, segment_ms: Option<u16> },
    SetClusterConfig { retention_ms: Option<u16> },
    AllocateProducerIds,
}

/// Few, so that they meet; two of them collide.
const NAMES: [&str; 5] = ["a", "b.c", "b_c", "orders", "__consumer_offsets"];

pub fn request() -> impl Strategy<Value = Request> {
    let name = 0..NAMES.len();
    prop_oneof![
        1 => (1..=3_i32, 0..4_u128).prop_map(|(broker, incarnation)| Request::Register { broker, incarnation }),
        4 => (name.clone(), 1..5_i32, 1..=2_i16, any::<bool>()).prop_map(
            |(name, partitions, replication_factor, retention)| Request::CreateTopic {
                name,
                partitions,
                replication_factor,
                retention
            }
        ),
        2 => (name.clone(), 1..8_i32).prop_map(|(name, total)| Request::AddPartitions { name, total }),
        2 => name.clone().prop_map(|name| Request::DeleteTopic { name }),
        2 => (name, any::<Option<u16>>()).prop_map(|(name, segment_ms)| Request::SetTopicConfig { name, segment_ms }),
        1 => any::<Option<u16>>().prop_map(|retention_ms| Request::SetClusterConfig { retention_ms }),
        1 => Just(Request::AllocateProducerIds),
    ]
}

impl Request {
    /// What the controller makes of it. The topic's id follows from where in the log it is created.
    pub fn decide(&self, image: &MetadataImage) -> Vec<MetadataRecord> {
        let static_config = StaticConfig::default();
        let name_of = |name: &usize| NAMES[*name].to_owned();
        match self {
            Request::Register { broker, incarnation } => register_broker(image, registration(*broker, *incarnation)),
            Request::CreateTopic { name, partitions, replication_factor, retention } => {
                let topic = NewTopic {
                    name: name_of(name),
                    num_partitions: *partitions,
                    replication_factor: *replication_factor,
                    configs: if *retention { vec![("retention.ms".into(), Some("7".into()))] } else { Vec::new() },
                    ..NewTopic::default()
                };
                let id = TopicId(Uuid::from_u128(u128::from(image.metadata_offset()) + 1));
                create_topics(image, &BrokerConfig::resolve(&ConfigLayers::default()), &[topic], || id).0
            }
            Request::AddPartitions { name, total } => {
                let wanted = NewPartitions { topic: name_of(name), total_count: *total, assignments: None };
                create_partitions(image, &[wanted]).0
            }
            Request::DeleteTopic { name } => {
                delete_topics(image, true, &[TopicToDelete { name: Some(name_of(name)), id: TopicId::ZERO }]).0
            }
            Request::SetTopicConfig { name, segment_ms } => {
                let resource = ConfigResource::Topic(name_of(name));
                let change = change("segment.ms", segment_ms.map(|ms| u32::from(ms) + 1));
                incremental_alter_configs(
                    image,
                    &static_config,
                    &[ConfigAlteration { resource, changes: vec![change] }],
                )
                .0
            }
            Request::SetClusterConfig { retention_ms } => {
                let change = change("log.retention.ms", retention_ms.map(|ms| u32::from(ms) + 1));
                let resource = ConfigResource::BrokerDefault;
                incremental_alter_configs(
                    image,
                    &static_config,
                    &[ConfigAlteration { resource, changes: vec![change] }],
                )
                .0
            }
            Request::AllocateProducerIds => vec![allocate_producer_ids(image).expect("not that many").0],
        }
    }
}

fn change(name: &str, value: Option<u32>) -> ConfigChange {
    let op = if value.is_some() { AlterOp::Set } else { AlterOp::Delete };
    ConfigChange { name: name.to_owned(), op, value: value.map(|value| value.to_string()) }
}

pub fn registration(broker: i32, incarnation: u128) -> BrokerRegistration {
    BrokerRegistration {
        broker: BrokerId(broker),
        incarnation: Uuid::from_u128(incarnation),
        host: "localhost".to_owned(),
        port: 9092,
        rack: Some(format!("rack{}", broker % 2)),
    }
}

pub fn cluster_id() -> ClusterId {
    ClusterId(Uuid::from_u128(0x2E78_EA57))
}

pub fn bootstrap() -> Vec<MetadataRecord> {
    bootstrap_records(cluster_id(), 1)
}

/// A new cluster with broker 1.
pub fn image_with_broker() -> MetadataImage {
    let mut records = bootstrap();
    records.push(MetadataRecord::BrokerRegistered(registration(1, 0)));
    MetadataImage::default().apply_batch(&records).expect("fits").0
}

/// The batches of a history from a new cluster on, each decided on what those before it led to.
pub fn history(requests: &[Request]) -> Vec<Vec<MetadataRecord>> {
    let mut batches = vec![bootstrap(), vec![MetadataRecord::BrokerRegistered(registration(1, 0))]];
    let mut image = image_with_broker();
    for request in requests {
        let records = request.decide(&image);
        image = image.apply_batch(&records).expect("what was decided on an image applies to it").0;
        batches.push(records);
    }
    batches
}
