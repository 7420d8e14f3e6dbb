//! Decisions and their wording, as a Kafka 4.3 controller with one broker gave them.

use super::*;
use crate::config::{BrokerConfig, ConfigLayers, ConfigOverrides, StaticConfig};
use crate::image::MetadataImage;
use crate::record::{ConfigResource, MetadataRecord};
use crate::testing::{image_with_broker, with_broker};
use protocol::newtypes::{BrokerId, LeaderEpoch, Offset, PartitionId, ProducerId, TopicId};
use std::collections::BTreeMap;
use uuid::Uuid;

mod cluster;
mod committed;
mod configs;
mod elections;
mod elr;
mod impaired;
mod isr;
mod log_ends;
mod offsets_topic;
mod reassignments;
mod topics;

fn config(settings: &[(&'static str, &'static str)]) -> BrokerConfig {
    let static_config = StaticConfig::parse(settings.iter().copied()).unwrap();
    BrokerConfig::resolve(&ConfigLayers::of_static(&static_config))
}

/// Ids that no topic of the image has.
fn ids(image: &MetadataImage) -> impl FnMut() -> TopicId + use<> {
    let mut last = u128::from(image.metadata_offset()) << 64;
    move || {
        last += 1;
        TopicId(Uuid::from_u128(last))
    }
}

fn topic(name: &str, num_partitions: i32, replication_factor: i16) -> NewTopic {
    NewTopic { name: name.to_owned(), num_partitions, replication_factor, ..NewTopic::default() }
}

fn with_configs(mut topic: NewTopic, configs: &[(&str, Option<&str>)]) -> NewTopic {
    topic.configs = configs.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect();
    topic
}

fn assigned(name: &str, replicas: &[(i32, &[i32])]) -> NewTopic {
    let brokers = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect();
    let assignments = replicas.iter().map(|(id, on)| (PartitionId(*id), brokers(on))).collect();
    NewTopic { assignments, ..topic(name, -1, -1) }
}

fn create(image: &MetadataImage, topics: &[NewTopic]) -> Decision<String, CreatedTopic, CreateTopicsError> {
    create_topics(image, &config(&[]), topics, ids(image))
}

fn applied(image: &MetadataImage, records: &[MetadataRecord]) -> MetadataImage {
    image.apply_batch(records).expect("a decision applies to the image it was made on").0
}

/// With topic `a.b` of two partitions.
fn image() -> MetadataImage {
    let image = image_with_broker();
    let (records, answers) = create(&image, &[topic("a.b", 2, 1)]);
    answers[0].1.as_ref().unwrap();
    applied(&image, &records)
}

fn image_with_brokers(count: i32) -> MetadataImage {
    (2..=count).fold(image_with_broker(), |image, broker| with_broker(&image, broker))
}

#[test]
fn producer_ids_are_never_given_twice() {
    let image = image();
    let (record, first) = allocate_producer_ids(&image).unwrap();
    assert_eq!(first, ProducerIdBlock { first: ProducerId(0), length: 1000 });
    let image = applied(&image, &[record]);
    assert_eq!(allocate_producer_ids(&image).unwrap().1.first, ProducerId(1000));
    let near_the_end = ProducerId(i64::MAX - 999);
    let image = applied(&image, &[MetadataRecord::ProducerIdsAllocated { next: near_the_end }]);
    assert_eq!(allocate_producer_ids(&image), Err(ProducerIdsExhausted { next: near_the_end }));
}
