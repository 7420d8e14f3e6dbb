//! Where partitions' leaders are, and questions to all of those that some partitions have: asked again where leadership moves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use kafka_protocol::ResponseError;
use kafka_protocol::protocol::Request;
use protocol::ApiKey;

use super::client::{Client, Node, nodes};
use super::error::ClientError;

/// How long a partition's leader is looked for, while it is another than the metadata says, or none.
const LEADER_PATIENCE: Duration = Duration::from_secs(5);

pub(in crate::cli) type PartitionName = (String, i32);

/// Each topic's partitions with their leaders, of which there may be none now; or why the topic is not known.
pub(in crate::cli) type Topics = BTreeMap<String, Result<BTreeMap<i32, Option<Node>>, ClientError>>;

/// What leaders say of partitions; or why not.
pub(in crate::cli) type OfLeaders<T> = BTreeMap<PartitionName, Result<T, ClientError>>;

/// What one answer says of partitions.
pub(super) type Told<T> = BTreeMap<PartitionName, Result<T, ResponseError>>;

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

    /// Asks the leaders of these partitions, each of all that it leads at once: `request` is made of partitions by topic, and
    /// `told` is what an answer says. Each of the partitions is in the outcome. May be asked of a partition twice.
    pub(super) async fn ask_leaders<R: Request, T>(
        &self,
        api: ApiKey,
        partitions: &BTreeSet<PartitionName>,
        request: impl Fn(&BTreeMap<String, Vec<i32>>) -> R,
        told: impl Fn(R::Response) -> Told<T>,
    ) -> Result<OfLeaders<T>, ClientError> {
        let give_up = Instant::now() + LEADER_PATIENCE;
        let mut outcomes = OfLeaders::new();
        let mut pending = partitions.clone();
        loop {
            let mut again: BTreeMap<PartitionName, ClientError> = BTreeMap::new();
            let topics = self.topics(&pending.iter().map(|(topic, _)| topic.clone()).collect()).await?;
            let mut by_leader: BTreeMap<Node, BTreeMap<String, Vec<i32>>> = BTreeMap::new();
            for (topic, partition) in std::mem::take(&mut pending) {
                let name = (topic.clone(), partition);
                match &topics[&topic] {
                    Err(error) => drop(outcomes.insert(name, Err(error.clone()))),
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
                            outcomes.insert(name, Err(error));
                        }
                    },
                }
            }
            let request = &request;
            let asked = by_leader
                .iter()
                .map(|(leader, topics)| async move { (leader, topics, self.call(leader, &request(topics)).await) });
            for (leader, topics, outcome) in join_all(asked).await {
                let address = format!("{}:{}", leader.host, leader.port);
                let names = topics
                    .iter()
                    .flat_map(|(topic, partitions)| partitions.iter().map(|partition| (topic.clone(), *partition)));
                let mut told = match outcome {
                    Ok(response) => told(response),
                    Err(error) if error.is_of_connection() => {
                        again.extend(names.map(|name| (name, error.clone())));
                        continue;
                    }
                    Err(error) => {
                        outcomes.extend(names.map(|name| (name, Err(error.clone()))));
                        continue;
                    }
                };
                for name in names {
                    let outcome = match told.remove(&name) {
                        None => {
                            let what = format!("partition {}-{}", name.0, name.1);
                            Err(ClientError::Silent { address: address.clone(), api, what })
                        }
                        Some(Ok(told)) => Ok(told),
                        Some(Err(error)) => {
                            let refused = of_partition(&address, api, &name, error);
                            if of_leader(error) {
                                again.insert(name, refused);
                                continue;
                            }
                            Err(refused)
                        }
                    };
                    outcomes.insert(name, outcome);
                }
            }
            if again.is_empty() {
                return Ok(outcomes);
            }
            if Instant::now() >= give_up || !self.may_retry().await {
                outcomes.extend(again.into_iter().map(|(name, error)| (name, Err(error))));
                return Ok(outcomes);
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
