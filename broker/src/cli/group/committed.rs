//! What groups have committed (OffsetFetch), and setting and deleting it.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{
    GroupId, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, OffsetFetchResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::cli::kafka::{Client, ClientError, PartitionName, PerGroup, passes};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Committed {
    pub offset: i64,
    pub leader_epoch: Option<i32>,
}

pub(super) type Offsets = BTreeMap<PartitionName, Committed>;

/// By group: all that it has committed.
pub(super) async fn fetch(client: &Client, groups: &[String]) -> BTreeMap<String, Result<Offsets, ClientError>> {
    let request = |groups: &[String]| {
        let group = |group: &String| {
            OffsetFetchRequestGroup::default().with_group_id(GroupId(group.clone().into())).with_topics(None)
        };
        OffsetFetchRequest::default().with_groups(groups.iter().map(group).collect())
    };
    let answers = client.ask_coordinators(groups, request, offsets).await;
    answers.into_iter().map(|(group, answer)| (group, answer.map(|answered| answered.answer))).collect()
}

fn offsets(response: OffsetFetchResponse) -> Vec<(String, PerGroup<Offsets>)> {
    let mut told = Vec::new();
    for group in response.groups {
        let mut outcome = match ResponseError::try_from_code(group.error_code) {
            Some(error) => Err((error, None)),
            None => Ok(Offsets::new()),
        };
        for topic in &group.topics {
            for partition in &topic.partitions {
                let name = (topic.name.0.to_string(), partition.partition_index);
                match (&mut outcome, ResponseError::try_from_code(partition.error_code)) {
                    (Ok(_), Some(error)) => outcome = Err((error, Some(format!("partition {}-{}", name.0, name.1)))),
                    (Ok(offsets), None) if partition.committed_offset >= 0 => {
                        let epoch = Some(partition.committed_leader_epoch).filter(|epoch| *epoch >= 0);
                        offsets.insert(name, Committed { offset: partition.committed_offset, leader_epoch: epoch });
                    }
                    _ => {}
                }
            }
        }
        told.push((group.group_id.0.to_string(), outcome));
    }
    told
}

/// By topic.
fn by_topic<'a, T: 'a>(
    partitions: impl IntoIterator<Item = (&'a PartitionName, T)>,
) -> BTreeMap<&'a str, Vec<(i32, T)>> {
    let mut topics: BTreeMap<&str, Vec<(i32, T)>> = BTreeMap::new();
    for ((topic, partition), value) in partitions {
        topics.entry(topic).or_default().push((*partition, value));
    }
    topics
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// By partition: why not, where it was not done.
pub(super) type Outcomes = BTreeMap<PartitionName, Option<ResponseError>>;

/// Sets offsets of a group that has no members, as a client without membership.
pub(super) async fn commit(
    client: &Client,
    group: &str,
    offsets: &BTreeMap<PartitionName, i64>,
) -> Result<Outcomes, ClientError> {
    let request = || {
        let partition = |(partition, offset): (i32, &i64)| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(partition)
                .with_committed_offset(*offset)
                .with_committed_leader_epoch(-1)
                .with_committed_metadata(Some(StrBytes::default()))
        };
        let topics = by_topic(offsets).into_iter().map(|(topic, partitions)| {
            OffsetCommitRequestTopic::default()
                .with_name(topic_name(topic))
                .with_partitions(partitions.into_iter().map(partition).collect())
        });
        OffsetCommitRequest::default()
            .with_group_id(GroupId(group.to_owned().into()))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(topics.collect())
    };
    let answered = client.ask_coordinator(group, request, |response| {
        let topics = response.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|one| (one.partition_index, one.error_code));
            (topic.name.0.to_string(), partitions.collect::<Vec<_>>())
        });
        outcomes(topics)
    });
    Ok(answered.await?.answer)
}

/// Deletes what is committed for these partitions.
pub(super) async fn delete(
    client: &Client,
    group: &str,
    partitions: &[PartitionName],
) -> Result<Outcomes, ClientError> {
    let request = || {
        let named = partitions.iter().map(|name| (name, ()));
        let topics = by_topic(named).into_iter().map(|(topic, partitions)| {
            let partitions = partitions
                .into_iter()
                .map(|(partition, ())| OffsetDeleteRequestPartition::default().with_partition_index(partition));
            OffsetDeleteRequestTopic::default().with_name(topic_name(topic)).with_partitions(partitions.collect())
        });
        OffsetDeleteRequest::default().with_group_id(GroupId(group.to_owned().into())).with_topics(topics.collect())
    };
    let answered = client.ask_coordinator(group, request, |response| {
        if let Some(error) = ResponseError::try_from_code(response.error_code) {
            return Err((error, None));
        }
        let topics = response.topics.iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|one| (one.partition_index, one.error_code));
            (topic.name.0.to_string(), partitions.collect::<Vec<_>>())
        });
        outcomes(topics)
    });
    Ok(answered.await?.answer)
}

/// Error codes of partitions; one that passes by itself is the whole group's, so that all is asked for again.
fn outcomes(topics: impl Iterator<Item = (String, Vec<(i32, i16)>)>) -> PerGroup<Outcomes> {
    let mut outcomes = Outcomes::new();
    for (topic, partitions) in topics {
        for (partition, code) in partitions {
            let error = ResponseError::try_from_code(code);
            if let Some(error) = error.filter(|error| passes(*error)) {
                return Err((error, None));
            }
            outcomes.insert((topic.clone(), partition), error);
        }
    }
    Ok(outcomes)
}
