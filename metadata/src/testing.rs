//! Random histories of metadata, made by the very decisions that make real ones.

use crate::cluster_id::ClusterId;
use crate::config::{BrokerConfig, ConfigLayers, StaticConfig};
use crate::controller::{
    AlterOp, BrokerStart, ConfigAlteration, ConfigChange, ElectionType, Heartbeat, IsrChange, LogEnds, NewPartitions,
    NewTopic, TopicToDelete, WantedReassignment, Wish, allocate_producer_ids, alter_partition,
    alter_partition_reassignments, bootstrap_records, create_partitions, create_topics, delete_topics, elect_leaders,
    fence, heartbeat, incremental_alter_configs, join, raise_offsets_replication_factor, register_broker, remove_node,
};
use crate::image::{MetadataImage, PartitionImage, TopicImage};
use crate::record::{BrokerRegistration, ConfigResource, MetadataRecord, NodeBinding};
use proptest::prelude::*;
use protocol::newtypes::{BrokerId, PartitionId, TopicId};
use uuid::Uuid;

/// One request to the controller. Many are refused, as in life; those give no records.
#[derive(Clone, Debug)]
pub enum Request {
    Join {
        node: i32,
        directory: u128,
    },
    Register {
        broker: i32,
        incarnation: u128,
    },
    Heartbeat {
        broker: i32,
        unfenced: bool,
    },
    Fence {
        broker: i32,
    },
    Remove {
        node: i32,
    },
    CreateTopic {
        name: usize,
        partitions: i32,
        replication_factor: i16,
        retention: bool,
    },
    AddPartitions {
        name: usize,
        total: i32,
    },
    DeleteTopic {
        name: usize,
    },
    SetTopicConfig {
        name: usize,
        segment_ms: Option<u16>,
    },
    SetClusterConfig {
        retention_ms: Option<u16>,
    },
    /// Of one of two groups.
    SetGroupConfig {
        group: u32,
        set: bool,
    },
    /// Of all topics.
    SetMinIsr {
        min_insync_replicas: u32,
    },
    AllocateProducerIds,
    /// Of every topic's first partition.
    Reassign {
        target: Option<Vec<i32>>,
    },
    /// This replica of every topic's first partition is in sync now, as its leader says.
    CatchUp {
        replica: i32,
    },
    Elect {
        unclean: bool,
    },
    /// The controller's own, of the topic of committed offsets.
    RaiseOffsets {
        replication_factor: i16,
    },
}

/// Few, so that they meet; two of them collide.
const NAMES: [&str; 5] = ["a", "b.c", "b_c", "orders", "__consumer_offsets"];

pub fn request() -> impl Strategy<Value = Request> {
    let name = 0..NAMES.len();
    prop_oneof![
        1 => (1..=3_i32, 0..2_u128).prop_map(|(node, directory)| Request::Join { node, directory }),
        1 => (1..=3_i32, 0..4_u128).prop_map(|(broker, incarnation)| Request::Register { broker, incarnation }),
        2 => (1..=3_i32, any::<bool>()).prop_map(|(broker, unfenced)| Request::Heartbeat { broker, unfenced }),
        1 => (1..=3_i32).prop_map(|broker| Request::Fence { broker }),
        1 => (1..=3_i32).prop_map(|node| Request::Remove { node }),
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
        1 => (0..2_u32, any::<bool>()).prop_map(|(group, set)| Request::SetGroupConfig { group, set }),
        1 => (1..=3_u32).prop_map(|min_insync_replicas| Request::SetMinIsr { min_insync_replicas }),
        1 => Just(Request::AllocateProducerIds),
        2 => prop::option::of(target()).prop_map(|target| Request::Reassign { target }),
        2 => (1..=3_i32).prop_map(|replica| Request::CatchUp { replica }),
        1 => any::<bool>().prop_map(|unclean| Request::Elect { unclean }),
        2 => (1..=3_i16).prop_map(|replication_factor| Request::RaiseOffsets { replication_factor }),
    ]
}

/// Some of three brokers, in any order.
fn target() -> impl Strategy<Value = Vec<i32>> {
    (Just(vec![1, 2, 3]).prop_shuffle(), 1..=3_usize).prop_map(|(brokers, count)| brokers[..count].to_vec())
}

impl Request {
    /// What the controller makes of it. The topic's id follows from where in the log it is created.
    pub fn decide(&self, image: &MetadataImage) -> Vec<MetadataRecord> {
        let static_config = StaticConfig::default();
        let name_of = |name: &usize| NAMES[*name].to_owned();
        match self {
            Request::Join { node, directory } => join(image, &binding(*node, *directory)).unwrap_or_default(),
            Request::Register { broker, incarnation } => {
                let start = match image.node(BrokerId(*broker)) {
                    Some(bound) => BrokerStart { node: bound.as_ref().clone(), ..start(*broker, *incarnation) },
                    None => start(*broker, *incarnation),
                };
                register_broker(image, &start, &LogEnds::default()).map(|(records, _)| records).unwrap_or_default()
            }
            Request::Heartbeat { broker, unfenced } => {
                let wish = if *unfenced { Wish::Unfenced } else { Wish::Fenced };
                beat(image, *broker, wish)
            }
            Request::Fence { broker } => fence(image, BrokerId(*broker), &LogEnds::default()),
            Request::Remove { node } => remove_node(image, BrokerId(*node)).unwrap_or_default(),
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
            Request::SetGroupConfig { group, set } => {
                let changes = vec![change("consumer.session.timeout.ms", set.then_some(50_000))];
                let alteration = ConfigAlteration { resource: ConfigResource::Group(format!("g{group}")), changes };
                incremental_alter_configs(image, &static_config, &[alteration]).0
            }
            Request::SetMinIsr { min_insync_replicas } => {
                let changes = vec![change("min.insync.replicas", Some(*min_insync_replicas))];
                let alteration = ConfigAlteration { resource: ConfigResource::BrokerDefault, changes };
                incremental_alter_configs(image, &static_config, &[alteration]).0
            }
            Request::AllocateProducerIds => vec![allocate_producer_ids(image).expect("not that many").0],
            Request::Reassign { target } => {
                let target = target.as_ref().map(|target| target.iter().copied().map(BrokerId).collect());
                let wanted = image.topics().map(|topic| WantedReassignment {
                    topic: topic.name.to_string(),
                    partition: PartitionId(0),
                    target: Option::clone(&target),
                });
                alter_partition_reassignments(image, true, &wanted.collect::<Vec<_>>()).0
            }
            Request::CatchUp { replica } => catch_up(image, BrokerId(*replica)),
            Request::Elect { unclean } => {
                let election = if *unclean { ElectionType::Unclean } else { ElectionType::Preferred };
                elect_leaders(image, election, None, &LogEnds::default()).0
            }
            Request::RaiseOffsets { replication_factor } => {
                raise_offsets_replication_factor(image, *replication_factor)
            }
        }
    }
}

fn change(name: &str, value: Option<u32>) -> ConfigChange {
    let op = if value.is_some() { AlterOp::Set } else { AlterOp::Delete };
    ConfigChange { name: name.to_owned(), op, value: value.map(|value| value.to_string()) }
}

/// What brokers of clusters with one broker were.
pub fn registration(broker: i32, incarnation: u128) -> BrokerRegistration {
    let BrokerStart { node, incarnation, host, port, rack, .. } = start(broker, incarnation);
    BrokerRegistration { broker: node.node, incarnation, host, port, rack }
}

pub fn binding(node: i32, directory: u128) -> NodeBinding {
    let (node, directory_id) = (BrokerId(node), Uuid::from_u128(directory));
    NodeBinding { node, directory_id, address: format!("localhost:{}", 9090 + node.0) }
}

pub fn start(broker: i32, incarnation: u128) -> BrokerStart {
    BrokerStart {
        node: binding(broker, 0),
        incarnation: Uuid::from_u128(incarnation),
        host: "localhost".to_owned(),
        port: 9092,
        rack: Some(format!("rack{}", broker % 2)),
        shards: 2,
    }
}

/// What a broker's heartbeat leads to, when it has applied everything.
pub fn beat(image: &MetadataImage, broker: i32, wish: Wish) -> Vec<MetadataRecord> {
    let broker = BrokerId(broker);
    let Some(known) = image.broker(broker) else { return Vec::new() };
    let beat = Heartbeat { broker, epoch: known.epoch, applied: image.metadata_offset(), wish };
    heartbeat(image, &beat, &LogEnds::default()).expect("the epoch is the current one").0
}

/// What leaders say when a replica that is let in has caught up, of every topic's first partition.
pub fn catch_up(image: &MetadataImage, replica: BrokerId) -> Vec<MetadataRecord> {
    let lacks = |state: &PartitionImage| state.replicas.contains(&replica) && !state.isr.contains(&replica);
    let caught_up = image.topics().filter_map(|topic| {
        let state = topic.partition(PartitionId(0))?;
        let isr = [&state.isr[..], &[replica]].concat();
        (lacks(state) && image.is_unfenced(replica)).then(|| say_isr(image, topic, state, &isr))
    });
    caught_up.flatten().collect()
}

/// What becomes of it when the leader of the topic's first partition, if there is one, says that this is its ISR.
pub fn say_isr(
    image: &MetadataImage,
    topic: &TopicImage,
    state: &PartitionImage,
    isr: &[BrokerId],
) -> Vec<MetadataRecord> {
    let Some(leader) = state.leader else { return Vec::new() };
    let epoch = |broker| image.broker(broker).expect("it is let in").epoch;
    let change = IsrChange {
        topic_id: topic.id,
        partition: PartitionId(0),
        leader_epoch: state.leader_epoch,
        partition_epoch: state.partition_epoch,
        new_isr: isr.iter().map(|member| (*member, epoch(*member))).collect(),
    };
    let (records, answers) = alter_partition(image, leader, epoch(leader), &[change]).expect("it is this process");
    answers[0].1.as_ref().expect("a leader that knows all says nothing wrong");
    records
}

pub fn cluster_id() -> ClusterId {
    ClusterId(Uuid::from_u128(0x2E78_EA57))
}

pub fn bootstrap() -> Vec<MetadataRecord> {
    bootstrap_records(cluster_id(), 1)
}

/// The batches by which a broker joins, starts and is let in.
fn arrival(image: &MetadataImage, broker: i32) -> Vec<Vec<MetadataRecord>> {
    let mut image = image.clone();
    let mut batches = Vec::new();
    let mut take = |image: &mut MetadataImage, records: Vec<MetadataRecord>| {
        *image = image.apply_batch(&records).expect("a decision fits").0;
        batches.push(records);
    };
    let joined = join(&image, &binding(broker, 0)).expect("the id is free");
    take(&mut image, joined);
    let registered = register_broker(&image, &start(broker, 0), &LogEnds::default()).expect("it has joined").0;
    take(&mut image, registered);
    let unfenced = beat(&image, broker, Wish::Unfenced);
    take(&mut image, unfenced);
    batches
}

/// The image once one more broker is there and let in.
pub fn with_broker(image: &MetadataImage, broker: i32) -> MetadataImage {
    image.apply_batch(&arrival(image, broker).concat()).expect("decisions fit").0
}

/// A new cluster with broker 1.
pub fn image_with_broker() -> MetadataImage {
    with_broker(&MetadataImage::default().apply_batch(&bootstrap()).expect("fits").0, 1)
}

/// The batches of a history from a new cluster on, each decided on what those before it led to.
pub fn history(requests: &[Request]) -> Vec<Vec<MetadataRecord>> {
    let mut batches = vec![bootstrap()];
    let mut image = MetadataImage::default().apply_batch(&bootstrap()).expect("fits").0;
    batches.extend(arrival(&image, 1));
    image = with_broker(&image, 1);
    for request in requests {
        let records = request.decide(&image);
        image = image.apply_batch(&records).expect("what was decided on an image applies to it").0;
        batches.push(records);
    }
    batches
}
