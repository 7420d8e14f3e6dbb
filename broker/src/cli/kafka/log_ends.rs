//! Asks partitions' leaders for offsets of their logs (ListOffsets), and where the leaders are.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, TopicName};
use protocol::ApiKey;

use super::client::{Client, Node, nodes};
use super::error::ClientError;

/// How long a partition's leader is looked for, while it is another than the metadata says, or none.
const LEADER_PATIENCE: Duration = Duration::from_secs(5);

pub(in crate::cli) type PartitionName = (String, i32);

/// Which offset is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum At {
    /// The log start offset.
    Earliest,
    /// The high watermark.
    Latest,
    /// That of the first record not older than this, in ms since 1970.
    Timestamp(i64),
}

impl At {
    fn timestamp(self) -> i64 {
        match self {
            At::Earliest => -2,
            At::Latest => -1,
            At::Timestamp(ms) => ms.max(0),
        }
    }
}

/// Each topic's partitions with their leaders, of which there may be none now; or why the topic is not known.
pub(in crate::cli) type Topics = BTreeMap<String, Result<BTreeMap<i32, Option<Node>>, ClientError>>;

/// By partition. `None` where no record is that new.
type Offsets = BTreeMap<PartitionName, Result<Option<i64>, ClientError>>;

impl Client {
    /// Each of these topics is in the outcome.
    pub async fn topics(&self, names: &BTreeSet<String>) -> Result<Topics, ClientError> {
        if names.is_empty() {
            return Ok(Topics::new());
        }
        let api = ApiKey::Metadata;
        let asked: Vec<String> = names.iter().cloned().collect();
        let (address, response) = self.metadata(&asked).await?;
        let brokers: BTreeMap<i32, Node> = nodes(&response).into_iter().map(|node| (node.id, node)).collect();
        let mut topics = Topics::new();
        for topic in response.topics {
            let Some(name) = topic.name.map(|name| name.to_string()).filter(|name| names.contains(name)) else {
                continue;
            };
            let known = match ResponseError::try_from_code(topic.error_code) {
                Some(error) => {
                    let (address, what) = (address.clone(), format!("topic '{name}'"));
                    Err(ClientError::RefusedOf { address, api, what, error, message: None })
                }
                None => {
                    let partitions = topic.partitions.iter();
                    Ok(partitions.map(|one| (one.partition_index, brokers.get(&one.leader_id.0).cloned())).collect())
                }
            };
            topics.insert(name, known);
        }
        for name in asked {
            let what = format!("topic '{name}'");
            topics.entry(name).or_insert_with(|| Err(ClientError::Silent { address: address.clone(), api, what }));
        }
        Ok(topics)
    }

    /// The offset of each of these partitions; each of them is in the outcome.
    pub async fn offsets(&self, partitions: &BTreeSet<PartitionName>, at: At) -> Result<Offsets, ClientError> {
        let api = ApiKey::ListOffsets;
        let give_up = Instant::now() + LEADER_PATIENCE;
        let mut offsets = Offsets::new();
        let mut pending = partitions.clone();
        loop {
            let mut again: BTreeMap<PartitionName, ClientError> = BTreeMap::new();
            let topics = self.topics(&pending.iter().map(|(topic, _)| topic.clone()).collect()).await?;
            let mut by_leader: BTreeMap<Node, BTreeMap<String, Vec<i32>>> = BTreeMap::new();
            for (topic, partition) in std::mem::take(&mut pending) {
                let name = (topic.clone(), partition);
                match &topics[&topic] {
                    Err(error) => drop(offsets.insert(name, Err(error.clone()))),
                    Ok(known) => match known.get(&partition) {
                        Some(Some(leader)) => {
                            let topics = by_leader.entry(leader.clone()).or_default();
                            topics.entry(topic).or_default().push(partition);
                        }
                        Some(None) => {
                            let error =
                                of_partition(&self.any_address(), api, &name, ResponseError::LeaderNotAvailable);
                            again.insert(name, error);
                        }
                        None => {
                            let error = ResponseError::UnknownTopicOrPartition;
                            let error = of_partition(&self.any_address(), ApiKey::Metadata, &name, error);
                            offsets.insert(name, Err(error));
                        }
                    },
                }
            }
            let asked = by_leader
                .iter()
                .map(|(leader, topics)| async move { (leader, topics, self.call(leader, &request(topics, at)).await) });
            for (leader, topics, outcome) in join_all(asked).await {
                let address = format!("{}:{}", leader.host, leader.port);
                let names = topics
                    .iter()
                    .flat_map(|(topic, partitions)| partitions.iter().map(|partition| (topic.clone(), *partition)));
                let response = match outcome {
                    Ok(response) => response,
                    Err(error) if error.is_of_connection() => {
                        again.extend(names.map(|name| (name, error.clone())));
                        continue;
                    }
                    Err(error) => {
                        offsets.extend(names.map(|name| (name, Err(error.clone()))));
                        continue;
                    }
                };
                let told = response.topics.into_iter().flat_map(|topic| {
                    let name = topic.name.to_string();
                    topic.partitions.into_iter().map(move |one| ((name.clone(), one.partition_index), one))
                });
                let told: BTreeMap<PartitionName, _> = told.collect();
                for name in names {
                    let outcome = match told.get(&name) {
                        None => {
                            let what = format!("partition {}-{}", name.0, name.1);
                            Err(ClientError::Silent { address: address.clone(), api, what })
                        }
                        Some(one) => match ResponseError::try_from_code(one.error_code) {
                            None => Ok(Some(one.offset).filter(|offset| *offset >= 0)),
                            Some(error) => {
                                let refused = of_partition(&address, api, &name, error);
                                if of_leader(error) {
                                    again.insert(name, refused);
                                    continue;
                                }
                                Err(refused)
                            }
                        },
                    };
                    offsets.insert(name, outcome);
                }
            }
            if again.is_empty() {
                return Ok(offsets);
            }
            if Instant::now() >= give_up || !self.may_retry().await {
                offsets.extend(again.into_iter().map(|(name, error)| (name, Err(error))));
                return Ok(offsets);
            }
            pending = again.into_keys().collect();
        }
    }
}

/// Errors of a leader that is not one any more, or not yet.
pub(in crate::cli) fn of_leader(error: ResponseError) -> bool {
    matches!(
        error,
        ResponseError::NotLeaderOrFollower
            | ResponseError::LeaderNotAvailable
            | ResponseError::UnknownTopicOrPartition
            | ResponseError::FencedLeaderEpoch
            | ResponseError::UnknownLeaderEpoch
            | ResponseError::OffsetNotAvailable
            | ResponseError::RequestTimedOut
    )
}

pub(super) fn of_partition(address: &str, api: ApiKey, name: &PartitionName, error: ResponseError) -> ClientError {
    let what = format!("partition {}-{}", name.0, name.1);
    ClientError::RefusedOf { address: address.to_owned(), api, what, error, message: None }
}

fn request(topics: &BTreeMap<String, Vec<i32>>, at: At) -> ListOffsetsRequest {
    let partition = |partition: &i32| {
        ListOffsetsPartition::default()
            .with_partition_index(*partition)
            .with_current_leader_epoch(-1)
            .with_timestamp(at.timestamp())
    };
    let topic = |(name, partitions): (&String, &Vec<i32>)| {
        ListOffsetsTopic::default()
            .with_name(TopicName(name.clone().into()))
            .with_partitions(partitions.iter().map(partition).collect())
    };
    ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics.iter().map(topic).collect())
}
