//! Fetches of record batches from partitions' leaders: without sessions, and of what is committed to the logs.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, TopicName};
use protocol::ApiKey;

use super::client::{Client, Node};
use super::error::ClientError;

/// Bytes of one partition in an answer; a batch that is larger comes alone.
const PARTITION_BYTES_MAX: i32 = 1 << 20;
/// Bytes of all partitions in an answer.
const ANSWER_BYTES_MAX: i32 = 8 << 20;

/// A session that is none.
const NO_SESSION_ID: i32 = 0;
const NO_SESSION_EPOCH: i32 = -1;

/// From where on a partition is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct From {
    pub partition: i32,
    pub offset: i64,
}

/// What came of a partition.
#[derive(Debug)]
pub(in crate::cli) struct Fetched {
    pub partition: i32,
    /// Whole record batches, and maybe the beginning of another.
    pub records: Result<Bytes, ResponseError>,
    /// Where the log begins and ends, as far as the leader says.
    pub log_start: i64,
    pub high_watermark: i64,
}

impl Client {
    /// Waits for `wait_ms` at most where there is nothing. Each of the partitions is in the outcome.
    pub async fn fetch(
        &self,
        leader: &Node,
        topic: &str,
        from: &[From],
        wait_ms: i32,
    ) -> Result<Vec<Fetched>, ClientError> {
        let api = ApiKey::Fetch;
        let partition = |from: &From| {
            FetchPartition::default()
                .with_partition(from.partition)
                .with_current_leader_epoch(-1)
                .with_fetch_offset(from.offset)
                .with_last_fetched_epoch(-1)
                .with_log_start_offset(-1)
                .with_partition_max_bytes(PARTITION_BYTES_MAX)
        };
        let name = TopicName(topic.to_owned().into());
        let fetched = FetchTopic::default().with_topic(name).with_partitions(from.iter().map(partition).collect());
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(wait_ms)
            .with_min_bytes(1)
            .with_max_bytes(ANSWER_BYTES_MAX)
            .with_session_id(NO_SESSION_ID)
            .with_session_epoch(NO_SESSION_EPOCH)
            .with_topics(vec![fetched]);
        let response = self.call(leader, &request).await?;
        let address = format!("{}:{}", leader.host, leader.port);
        if let Some(error) = ResponseError::try_from_code(response.error_code) {
            return Err(ClientError::Refused { address, api, error });
        }
        let told = response.responses.into_iter().filter(|told| *told.topic.0 == *topic);
        let mut told: std::collections::BTreeMap<i32, _> =
            told.flat_map(|told| told.partitions).map(|told| (told.partition_index, told)).collect();
        let of_partition = |from: &From| {
            let Some(told) = told.remove(&from.partition) else {
                let what = format!("partition {topic}-{}", from.partition);
                return Err(ClientError::Silent { address: address.clone(), api, what });
            };
            let records = match ResponseError::try_from_code(told.error_code) {
                Some(error) => Err(error),
                None => Ok(told.records.unwrap_or_default()),
            };
            Ok(Fetched {
                partition: from.partition,
                records,
                log_start: told.log_start_offset,
                high_watermark: told.high_watermark,
            })
        };
        from.iter().map(of_partition).collect()
    }
}
