//! Metadata (key 3), versions 0-13: brokers, topics, partitions, and the creation of topics that are asked for.
//!
//! A topic created here (`auto.create.topics.enable`) is answered with UNKNOWN_TOPIC_OR_PARTITION, as Kafka does, and is
//! there when the client asks again.

use std::collections::{BTreeSet, HashMap, HashSet};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_request::{MetadataRequest, MetadataRequestTopic};
use kafka_protocol::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, TopicName};
use metadata::image::{MetadataImage, PartitionImage, TopicImage};
use protocol::{PartitionId, TopicId};

use super::describe_cluster::CLUSTER_OPERATIONS;
use super::topic_access::{TOPIC_OPERATIONS, is_internal};
use super::{Context, availability};

/// First version that can name topics by id and answer with ids (KIP-516).
const VERSION_TOPIC_IDS: i16 = 10;
/// First version whose answer may leave the name of a topic null.
const VERSION_NULL_NAMES: i16 = 12;

/// First version that names replicas whose brokers are not there (KIP-112).
const VERSION_OFFLINE_REPLICAS: i16 = 5;
/// First version that knows LISTENER_NOT_FOUND; before, it is LEADER_NOT_AVAILABLE.
const VERSION_LISTENER_NOT_FOUND: i16 = 6;
/// Leader of a partition that has none that clients could be sent to.
const NO_LEADER: i32 = -1;

/// How one topic of the answer is to be filled.
enum Asked {
    Known(std::sync::Arc<TopicImage>),
    Unknown { error: ResponseError, name: Option<TopicName>, topic_id: TopicId },
}

/// Whether a partition like this is among those of the topics that are asked for; `None` are all.
fn asks_for(
    image: &MetadataImage,
    topics: Option<&[MetadataRequestTopic]>,
    is_such: impl Fn(&PartitionImage) -> bool,
) -> bool {
    let has_such = |topic: &TopicImage| topic.partitions().any(|(_, state)| is_such(state));
    match topics {
        None => image.topics().any(|topic| has_such(topic)),
        Some(topics) => topics.iter().any(|asked| {
            let named = asked.name.as_ref().and_then(|name| image.topic(name.as_str()));
            named.or_else(|| image.topic_by_id(TopicId(asked.topic_id))).is_some_and(|topic| has_such(topic))
        }),
    }
}

pub async fn handle(context: &Context, request: MetadataRequest) -> MetadataResponse {
    let version = context.version();
    let shard = context.shard();
    // In version 0 an empty list means all topics; later null does, and an empty list means none.
    let topics = match &request.topics {
        None => None,
        Some(topics) if topics.is_empty() && version == 0 => None,
        Some(topics) => Some(topics),
    };
    let may_create =
        (version < 4 || request.allow_auto_topic_creation) && shard.broker_config().auto_create_topics_enable;
    // What the answer says of topics that were missing when the request came.
    let mut missing_errors = HashMap::new();
    if may_create && let Some(topics) = topics {
        let image = shard.image();
        let missing: BTreeSet<String> = topics
            .iter()
            .filter(|topic| topic.topic_id.is_nil())
            .filter_map(|topic| topic.name.as_ref())
            .filter(|name| image.topic(name.as_str()).is_none())
            .map(|name| name.to_string())
            .collect();
        if !missing.is_empty() {
            missing_errors = missing.iter().map(|n| (n.clone(), ResponseError::UnknownTopicOrPartition)).collect();
            missing_errors.extend(shard.auto_create_topics(missing.into_iter().collect()).await);
        }
    }
    let where_led = |image: &MetadataImage, leader| {
        asks_for(image, topics.map(Vec::as_slice), |state| state.leader == Some(leader))
    };
    let image = shard.image_without_suspects(where_led).await;
    let asked: Vec<Asked> = match topics {
        None => image.topics().cloned().map(Asked::Known).collect(),
        Some(topics) => {
            // A topic that is named again is answered once: an answer must not outgrow the cluster.
            let mut seen = HashSet::with_capacity(topics.len());
            let topics = topics.iter().filter(|topic| seen.insert((topic.topic_id, topic.name.clone())));
            topics.map(|topic| find(&image, topic, version, &missing_errors)).collect()
        }
    };
    let cut_off = shard.cut_off();
    let topics = asked
        .into_iter()
        .map(|asked| {
            let with_operations = request.include_topic_authorized_operations;
            topic_response(&image, asked, version, with_operations, cut_off)
        })
        .collect();
    response(context, &image, version, request.include_cluster_authorized_operations).with_topics(topics)
}

fn find(
    image: &MetadataImage,
    topic: &MetadataRequestTopic,
    version: i16,
    missing_errors: &HashMap<String, ResponseError>,
) -> Asked {
    if version >= VERSION_TOPIC_IDS && !topic.topic_id.is_nil() {
        let topic_id = TopicId(topic.topic_id);
        return match image.topic_by_id(topic_id) {
            Some(topic) => Asked::Known(topic.clone()),
            None => Asked::Unknown { error: ResponseError::UnknownTopicId, name: None, topic_id },
        };
    }
    let Some(name) = &topic.name else {
        return Asked::Unknown { error: ResponseError::InvalidRequest, name: None, topic_id: TopicId::ZERO };
    };
    let missing = missing_errors.get(name.as_str());
    match image.topic(name.as_str()) {
        Some(topic) if missing.is_none() => Asked::Known(topic.clone()),
        _ => {
            let error = match missing {
                Some(error) => *error,
                None if metadata::controller::check_topic_name(name.as_str()).is_err() => {
                    ResponseError::InvalidTopicException
                }
                None => ResponseError::UnknownTopicOrPartition,
            };
            Asked::Unknown { error, name: Some(name.clone()), topic_id: TopicId::ZERO }
        }
    }
}

fn topic_response(
    image: &MetadataImage,
    asked: Asked,
    version: i16,
    with_operations: bool,
    cut_off: Option<protocol::BrokerId>,
) -> MetadataResponseTopic {
    let response = MetadataResponseTopic::default();
    let topic = match asked {
        Asked::Known(topic) => topic,
        Asked::Unknown { error, name, topic_id } => {
            let name = match name {
                None if version < VERSION_NULL_NAMES => Some(TopicName::default()),
                name => name,
            };
            let internal = name.as_ref().is_some_and(|name| is_internal(name.as_str()));
            let response = response.with_error_code(error.code()).with_name(name);
            let response = if version >= 1 { response.with_is_internal(internal) } else { response };
            return if version >= VERSION_TOPIC_IDS { response.with_topic_id(topic_id.0) } else { response };
        }
    };
    let partitions = topic.partitions();
    let partitions =
        partitions.map(|(partition, state)| partition_response(image, partition, state, version, cut_off)).collect();
    let response = response.with_name(Some(TopicName(topic.name.to_string().into()))).with_partitions(partitions);
    let response = if version >= 1 { response.with_is_internal(is_internal(&topic.name)) } else { response };
    let response = if version >= VERSION_TOPIC_IDS { response.with_topic_id(topic.id.0) } else { response };
    if version >= 8 && with_operations { response.with_topic_authorized_operations(TOPIC_OPERATIONS) } else { response }
}

fn partition_response(
    image: &MetadataImage,
    partition: PartitionId,
    state: &PartitionImage,
    version: i16,
    cut_off: Option<protocol::BrokerId>,
) -> MetadataResponsePartition {
    // Clients of version 0 cannot do with brokers that the answer does not list.
    let is_named = |id: &protocol::BrokerId| version > 0 || image.is_unfenced(*id);
    let brokers = |ids: &[protocol::BrokerId]| -> Vec<BrokerId> {
        ids.iter().filter(|id| is_named(id)).map(|id| BrokerId(id.0)).collect()
    };
    let (replicas, isr) = (brokers(&state.replicas), brokers(&state.isr));
    let (leader, error) = match availability::leader(image, state, cut_off) {
        Ok(leader) if replicas.len() < state.replicas.len() || isr.len() < state.isr.len() => {
            (leader.0, ResponseError::ReplicaNotAvailable.code())
        }
        Ok(leader) => (leader.0, 0),
        Err(ResponseError::ListenerNotFound) if version < VERSION_LISTENER_NOT_FOUND => {
            (NO_LEADER, ResponseError::LeaderNotAvailable.code())
        }
        Err(error) => (NO_LEADER, error.code()),
    };
    let response = MetadataResponsePartition::default()
        .with_error_code(error)
        .with_partition_index(partition.0)
        .with_leader_id(BrokerId(leader))
        .with_replica_nodes(replicas)
        .with_isr_nodes(isr);
    let response = if version >= VERSION_OFFLINE_REPLICAS {
        response.with_offline_replicas(brokers(&availability::offline_replicas(image, state)))
    } else {
        response
    };
    if version >= 7 { response.with_leader_epoch(state.leader_epoch.0) } else { response }
}

fn response(context: &Context, image: &MetadataImage, version: i16, with_operations: bool) -> MetadataResponse {
    let shard = context.shard();
    let brokers = availability::named_brokers(image)
        .map(|broker| {
            let response = MetadataResponseBroker::default()
                .with_node_id(BrokerId(broker.broker.0))
                .with_host(broker.host.clone().into())
                .with_port(broker.port.into());
            if version >= 1 { response.with_rack(broker.rack.clone().map(Into::into)) } else { response }
        })
        .collect();
    let response = MetadataResponse::default().with_brokers(brokers);
    let controller = availability::controller_id(image, shard.broker_id());
    let response = if version >= 1 { response.with_controller_id(BrokerId(controller.0)) } else { response };
    let response = if version >= 2 {
        response.with_cluster_id(Some(shard.settings().cluster_id.clone().into()))
    } else {
        response
    };
    if (8..=10).contains(&version) && with_operations {
        response.with_cluster_authorized_operations(CLUSTER_OPERATIONS)
    } else {
        response
    }
}
