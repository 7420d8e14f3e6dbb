//! Topics as brokers describe them (Metadata, and DescribeTopicPartitions for who may lead besides).

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use kafka_protocol::messages::{BrokerId, DescribeTopicPartitionsRequest, MetadataResponse, TopicName};

use crate::cli::kafka::{Client, ClientError, PartitionName, refused};

/// Partitions that one answer is asked to have at most, and topics that one request names.
const PARTITIONS_MAX: i32 = 2000;
const TOPICS_MAX: usize = 1000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Topic {
    pub name: String,
    /// `None` of a broker that is too old to say.
    pub id: Option<String>,
    pub is_internal: bool,
    /// By number.
    pub partitions: Vec<Partition>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Partition {
    pub partition: i32,
    pub leader: Option<i32>,
    pub leader_epoch: i32,
    /// The preferred leader first.
    pub replicas: Vec<i32>,
    pub isr: Vec<i32>,
    /// Replicas on brokers that are down.
    pub offline: Vec<i32>,
    /// Who may lead though it is not in sync (KIP-966); `None` where the broker does not say.
    pub eligible: Option<Vec<i32>>,
}

impl Partition {
    pub fn is_under_replicated(&self) -> bool {
        self.isr.len() < self.replicas.len()
    }
}

impl Topic {
    pub fn replication_factor(&self) -> usize {
        self.partitions.first().map_or(0, |partition| partition.replicas.len())
    }
}

/// All topics, in order of their names.
pub(super) async fn all(client: &Client) -> Result<Vec<Topic>, ClientError> {
    let (_, response) = client.metadata_of_all().await?;
    Ok(topics_of(response).into_values().filter_map(Result::ok).collect())
}

/// These topics in order of their names, and why others are missing.
pub(super) async fn named(client: &Client, names: &[String]) -> Result<(Vec<Topic>, Vec<String>), ClientError> {
    let (mut found, mut problems) = (Vec::new(), Vec::new());
    let wanted: BTreeSet<&String> = names.iter().collect();
    let wanted: Vec<String> = wanted.into_iter().cloned().collect();
    let (_, response) = client.metadata(&wanted).await?;
    let mut topics = topics_of(response);
    for name in wanted {
        match topics.remove(&name) {
            Some(Ok(topic)) => found.push(topic),
            Some(Err(ResponseError::UnknownTopicOrPartition)) => problems.push(client.unknown_topic(&name).await),
            Some(Err(error)) => problems.push(format!("topic '{name}': {}", refused(error, None))),
            None => problems.push(format!("topic '{name}': the broker says nothing of it")),
        }
    }
    Ok((found, problems))
}

fn topics_of(response: MetadataResponse) -> BTreeMap<String, Result<Topic, ResponseError>> {
    let topic = |topic: MetadataResponseTopic| {
        let name = topic.name.as_ref()?.0.to_string();
        let seen = match ResponseError::try_from_code(topic.error_code) {
            Some(error) => Err(error),
            None => {
                let mut partitions: Vec<Partition> = topic.partitions.iter().map(partition_of).collect();
                partitions.sort_by_key(|partition| partition.partition);
                let id = (!topic.topic_id.is_nil()).then(|| protocol::TopicId(topic.topic_id).to_string());
                Ok(Topic { name: name.clone(), id, is_internal: topic.is_internal, partitions })
            }
        };
        Some((name, seen))
    };
    response.topics.into_iter().filter_map(topic).collect()
}

fn partition_of(seen: &MetadataResponsePartition) -> Partition {
    Partition {
        partition: seen.partition_index,
        leader: Some(seen.leader_id.0).filter(|leader| *leader >= 0),
        leader_epoch: seen.leader_epoch,
        replicas: ids(&seen.replica_nodes),
        isr: ids(&seen.isr_nodes),
        offline: ids(&seen.offline_replicas),
        eligible: None,
    }
}

fn ids(brokers: &[BrokerId]) -> Vec<i32> {
    brokers.iter().map(|broker| broker.0).collect()
}

/// Adds who may lead besides, where the broker says so.
pub(super) async fn add_eligible(client: &Client, topics: &mut [Topic]) -> Result<(), ClientError> {
    for topics in topics.chunks_mut(TOPICS_MAX) {
        let eligible = match eligible(client, topics).await {
            Ok(eligible) => eligible,
            // Before Kafka 3.9 brokers do not.
            Err(ClientError::NotServed { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        for topic in topics {
            for partition in &mut topic.partitions {
                partition.eligible = eligible.get(&(topic.name.clone(), partition.partition)).cloned();
            }
        }
    }
    Ok(())
}

async fn eligible(client: &Client, topics: &[Topic]) -> Result<BTreeMap<PartitionName, Vec<i32>>, ClientError> {
    let name = |topic: &Topic| TopicRequest::default().with_name(TopicName(topic.name.clone().into()));
    let mut request = DescribeTopicPartitionsRequest::default()
        .with_topics(topics.iter().map(name).collect())
        .with_response_partition_limit(PARTITIONS_MAX);
    let mut eligible = BTreeMap::new();
    loop {
        let before = eligible.len();
        let (_, response) = client.call_any(&request).await?;
        for topic in response.topics {
            let Some(name) = topic.name.map(|name| name.0.to_string()) else { continue };
            for partition in topic.partitions {
                let ids = partition.eligible_leader_replicas.as_deref().map(ids).unwrap_or_default();
                eligible.insert((name.clone(), partition.partition_index), ids);
            }
        }
        // One that goes on without saying anything new would do so for ever.
        match response.next_cursor {
            Some(next) if eligible.len() > before => {
                let cursor =
                    Cursor::default().with_topic_name(next.topic_name).with_partition_index(next.partition_index);
                request = request.with_cursor(Some(cursor));
            }
            _ => return Ok(eligible),
        }
    }
}
