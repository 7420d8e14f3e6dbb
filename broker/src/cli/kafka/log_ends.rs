//! Asks partitions' leaders for offsets of their logs (ListOffsets), and has them move where the logs start (DeleteRecords).

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{
    BrokerId, DeleteRecordsRequest, DeleteRecordsResponse, ListOffsetsRequest, ListOffsetsResponse, TopicName,
};
use protocol::ApiKey;

use super::client::Client;
use super::error::ClientError;
use super::leaders::{OfLeaders, PartitionName, Told};

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

/// By partition. `None` where no record is that new.
type Offsets = OfLeaders<Option<i64>>;

/// The partition's high watermark, as DeleteRecords has it.
const HIGH_WATERMARK: i64 = -1;

impl Client {
    /// The offset of each of these partitions; each of them is in the outcome.
    pub async fn offsets(&self, partitions: &BTreeSet<PartitionName>, at: At) -> Result<Offsets, ClientError> {
        let request = |topics: &BTreeMap<String, Vec<i32>>| list_offsets(topics, at);
        self.ask_leaders(ApiKey::ListOffsets, partitions, request, offsets_told).await
    }

    /// Deletes what is before an offset, or before the high watermark if there is none; gives back where each log starts then.
    /// Each of the partitions is in the outcome.
    pub async fn delete_records(
        &self,
        partitions: &BTreeSet<PartitionName>,
        before: Option<i64>,
    ) -> Result<OfLeaders<i64>, ClientError> {
        let timeout_ms = self.patience_ms();
        let request = |topics: &BTreeMap<String, Vec<i32>>| delete_records(topics, before, timeout_ms);
        self.ask_leaders(ApiKey::DeleteRecords, partitions, request, log_starts_told).await
    }
}

fn list_offsets(topics: &BTreeMap<String, Vec<i32>>, at: At) -> ListOffsetsRequest {
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

fn offsets_told(response: ListOffsetsResponse) -> Told<Option<i64>> {
    let topics = response.topics.into_iter().flat_map(|topic| {
        let name = topic.name.to_string();
        topic.partitions.into_iter().map(move |one| {
            let offset = Some(one.offset).filter(|offset| *offset >= 0);
            ((name.clone(), one.partition_index), unless_error(one.error_code, offset))
        })
    });
    topics.collect()
}

fn delete_records(topics: &BTreeMap<String, Vec<i32>>, before: Option<i64>, timeout_ms: i32) -> DeleteRecordsRequest {
    let partition = |partition: &i32| {
        DeleteRecordsPartition::default().with_partition_index(*partition).with_offset(before.unwrap_or(HIGH_WATERMARK))
    };
    let topic = |(name, partitions): (&String, &Vec<i32>)| {
        DeleteRecordsTopic::default()
            .with_name(TopicName(name.clone().into()))
            .with_partitions(partitions.iter().map(partition).collect())
    };
    DeleteRecordsRequest::default().with_topics(topics.iter().map(topic).collect()).with_timeout_ms(timeout_ms)
}

fn log_starts_told(response: DeleteRecordsResponse) -> Told<i64> {
    let topics = response.topics.into_iter().flat_map(|topic| {
        let name = topic.name.to_string();
        let partitions = topic.partitions.into_iter();
        partitions
            .map(move |one| ((name.clone(), one.partition_index), unless_error(one.error_code, one.low_watermark)))
    });
    topics.collect()
}

fn unless_error<T>(code: i16, told: T) -> Result<T, ResponseError> {
    ResponseError::try_from_code(code).map_or(Ok(told), Err)
}
