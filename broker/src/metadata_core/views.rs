//! What a broker is asked about itself for the console of any broker: how the partitions are that it leads, what is in them,
//! and what passes through it. See [`super::inspect`] for how questions travel.
//!
//! Every answer is bounded by a constant here, whatever is asked for.

use kafka_protocol::ResponseError;
use metadata::image::MetadataImage;
use protocol::{LeaderEpoch, Offset, PartitionId, TopicId};
use serde::{Deserialize, Serialize};

use super::inspect::{NoView, ask_owners};
use crate::internal::listener::Shards;
use crate::live::{Live, LiveView};
use crate::partition::{PartitionKey, PartitionView};
use crate::partition_op::{PartitionOpKind, PartitionOpOutput, PartitionOpResult};

/// Partitions that one question names at most.
pub const LED_VIEWS_MAX: usize = 1000;
/// Bytes of batches in one answer at most: a batch as large as `max.message.bytes` is by default, and more.
pub const READ_BYTES_MAX: u32 = 2 << 20;

/// Partitions as their leader sees them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LedViews {
    /// [`LED_VIEWS_MAX`] at most.
    pub partitions: Vec<(TopicId, PartitionId)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedPartition {
    pub view: PartitionView,
    pub size_bytes: u64,
}

/// Batches from the one with this offset on, or from the log start if that is later, as far as they are committed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReadBatches {
    pub topic_id: TopicId,
    pub partition: PartitionId,
    pub offset: i64,
    /// [`READ_BYTES_MAX`] at most.
    pub bytes_max: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchesRead {
    pub log_start: i64,
    pub high_watermark: i64,
    /// Whole batches; empty at the high watermark, or if not even the first one fits.
    #[serde(with = "as_bytes")]
    pub batches: Vec<u8>,
    pub next_offset: i64,
}

/// Where the first record lies that is not older than this, in milliseconds since the Unix epoch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OffsetAt {
    pub topic_id: TopicId,
    pub partition: PartitionId,
    pub timestamp_ms: i64,
}

/// What has passed through the broker after this moment, in milliseconds since the Unix epoch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LiveOf {
    pub since_ms: u64,
}

pub(super) async fn led_views(question: &LedViews, shards: &Shards) -> Vec<Option<LedPartition>> {
    let keys = || question.partitions.iter().map(|(topic_id, partition)| key(*topic_id, *partition));
    let views = ask_owners(keys(), PartitionOpKind::View, shards).await;
    let sizes = ask_owners(keys(), PartitionOpKind::SizeBytes, shards).await;
    let one = |(view, size): (PartitionOpResult, PartitionOpResult)| match (view, size) {
        (Ok(PartitionOpOutput::View(view)), Ok(PartitionOpOutput::SizeBytes { bytes })) => {
            Some(LedPartition { view, size_bytes: bytes })
        }
        _ => None,
    };
    views.into_iter().zip(sizes).map(one).collect()
}

pub(super) async fn read_batches(question: &ReadBatches, shards: &Shards) -> Result<BatchesRead, NoView> {
    let bytes_max = usize::try_from(question.bytes_max.min(READ_BYTES_MAX)).expect("a u32 fits");
    let kind = PartitionOpKind::ReadBatches { offset: Offset(question.offset), bytes_max };
    match ask_one(question.topic_id, question.partition, kind, shards).await? {
        PartitionOpOutput::Batches(read) => Ok(BatchesRead {
            log_start: read.log_start.0,
            high_watermark: read.high_watermark.0,
            batches: read.batches.to_vec(),
            next_offset: read.next_offset.0,
        }),
        other => Err(NoView::Failed(format!("it answered {other:?}"))),
    }
}

/// `None` if all records are older.
pub(super) async fn offset_at(question: &OffsetAt, shards: &Shards) -> Result<Option<i64>, NoView> {
    let timestamp = question.timestamp_ms.max(0);
    let kind = PartitionOpKind::OffsetForTimestamp { timestamp, current_leader_epoch: LeaderEpoch::UNKNOWN };
    match ask_one(question.topic_id, question.partition, kind, shards).await? {
        PartitionOpOutput::Offset { offset, .. } => Ok(Some(offset.0).filter(|offset| *offset >= 0)),
        other => Err(NoView::Failed(format!("it answered {other:?}"))),
    }
}

pub(super) fn live_of(question: &LiveOf, live: &Live) -> LiveView {
    live.view(question.since_ms)
}

/// Whether more is asked for than there can be, or than one answer may hold.
pub(super) fn too_many(question: &LedViews, image: &MetadataImage) -> Option<String> {
    let (found, max) = (question.partitions.len(), LED_VIEWS_MAX.min(image.partition_count()));
    (found > max).then(|| format!("{found} partitions are asked for, and {max} may be"))
}

fn key(topic_id: TopicId, partition: PartitionId) -> PartitionKey {
    PartitionKey { topic_id, partition }
}

async fn ask_one(
    topic_id: TopicId,
    partition: PartitionId,
    kind: PartitionOpKind,
    shards: &Shards,
) -> Result<PartitionOpOutput, NoView> {
    match ask_owners(std::iter::once(key(topic_id, partition)), kind, shards).await.pop() {
        Some(Ok(output)) => Ok(output),
        Some(Err(ResponseError::NotLeaderOrFollower | ResponseError::UnknownTopicOrPartition)) => {
            Err(NoView::NotLeader)
        }
        Some(Err(ResponseError::KafkaStorageError)) => {
            Err(NoView::Failed("its log is offline there, or the broker is starting or stopping".to_owned()))
        }
        Some(Err(ResponseError::OffsetNotAvailable)) => {
            Err(NoView::Failed("its new leader does not know yet what is committed".to_owned()))
        }
        Some(Err(error)) => Err(NoView::Failed(format!("it answered {error:?}"))),
        None => Err(NoView::Failed("it did not answer".to_owned())),
    }
}

/// Bytes as bytes: one by one, as serde has it otherwise, megabytes would take long.
mod as_bytes {
    use serde::de::{Deserializer, Visitor};
    use serde::ser::Serializer;

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}
