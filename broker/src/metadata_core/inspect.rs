//! What a broker is asked about itself: by `ringlog partition` the metadata as it knows it, and what its shards know of the
//! partitions that they lead; by `ringlog cluster` the quorum as it sees it, where that has no leader; by the controller how its
//! logs end, when somebody is to be elected.

use std::time::Duration;

use futures_channel::oneshot;
use kafka_protocol::ResponseError;
use metadata::controller::LogEnd;
use metadata::image::MetadataImage;
use metadata::raft::QuorumStatus;
use metadata::record::NodeBinding;
use protocol::{BrokerId, LeaderEpoch, PartitionId, TopicId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::views::{self, BatchesRead, LedPartition, LedViews, LiveOf, OffsetAt, ReadBatches};
use crate::internal::links::{Callee, Links};
use crate::internal::listener::Shards;
use crate::live::{Live, LiveView};
use crate::partition::{PartitionKey, PartitionView};
use crate::partition_op::{self, PartitionOp, PartitionOpKind, PartitionOpOutput, PartitionOpResult, TIMESTAMP_LATEST};
use crate::shard::message::ShardMessage;
use crate::shard::placement;

/// A question to this broker alone.
pub trait Inspect: Into<Inspection> {
    type Answer: Serialize + DeserializeOwned;
}

macro_rules! inspections {
    ($($(#[$doc:meta])* $name:ident($question:ident) => $answer:ty),* $(,)?) => {
        /// Any question.
        #[derive(Clone, Debug, Serialize, Deserialize)]
        pub enum Inspection { $($name($question)),* }
        $(
            impl From<$question> for Inspection {
                fn from(question: $question) -> Inspection { Inspection::$name(question) }
            }
            impl Inspect for $question {
                $(#[$doc])*
                type Answer = $answer;
            }
        )*
    };
}
inspections!(
    /// `None` if there is no such topic.
    Partitions(Partitions) => Option<Vec<PartitionLine>>,
    LeaderView(LeaderView) => Result<PartitionView, NoView>,
    /// In the order of the question; `None` of a log that is not open here.
    LogEnds(LogEndsOf) => Vec<Option<LogEnd>>,
    /// Without those whose log is not to be had now.
    LedSizes(LedSizes) => Vec<SizeLine>,
    /// In the order of the question; `None` of a partition that the broker does not lead, or cannot speak for now.
    LedEnds(LedEnds) => Vec<Option<i64>>,
    /// In the order of the question; `None` of a partition that the broker does not lead, or whose log is not to be had now.
    LedViews(LedViews) => Vec<Option<LedPartition>>,
    ReadBatches(ReadBatches) => Result<BatchesRead, NoView>,
    /// `None` if all records are older.
    OffsetAt(OffsetAt) => Result<Option<i64>, NoView>,
    LiveOf(LiveOf) => LiveView,
    QuorumHere(QuorumHere) => QuorumStatus,
);

/// The metadata quorum as this broker sees it, whoever leads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QuorumHere {}

/// Partitions by the metadata: of one topic, or of all.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Partitions {
    pub topic: Option<String>,
}

/// What the leader knows of a partition's replicas.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LeaderView {
    pub topic_id: TopicId,
    pub partition: PartitionId,
}

/// How logs end, of these partitions, by topic id and their own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogEndsOf {
    pub partitions: Vec<(TopicId, PartitionId)>,
}

/// Bytes of the logs that the broker leads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LedSizes {
    /// The broker that is asked.
    pub leader: BrokerId,
}

/// Partitions that one question names at most.
pub const LED_ENDS_MAX: usize = 10_000;

/// High watermarks of these partitions, by topic id and their own, of their leader.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LedEnds {
    /// [`LED_ENDS_MAX`] at most.
    pub partitions: Vec<(TopicId, PartitionId)>,
}

/// Bytes of a partition's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeLine {
    pub topic_id: TopicId,
    pub partition: PartitionId,
    pub bytes: u64,
}

/// A partition as the metadata has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionLine {
    pub topic: String,
    pub topic_id: TopicId,
    pub partition: PartitionId,
    /// With where it is, if that is known.
    pub leader: Option<(BrokerId, Option<NodeBinding>)>,
    pub leader_epoch: LeaderEpoch,
    pub replicas: Vec<BrokerId>,
    pub isr: Vec<BrokerId>,
    pub elr: Vec<BrokerId>,
}

/// Why a leader's view is not told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoView {
    /// The broker does not lead the partition, or not any more.
    NotLeader,
    /// Anything else.
    Failed(String),
}

/// Answers a question, with the quorum as this broker sees it; why it cannot be read otherwise.
pub async fn answer(
    message: &[u8],
    image: &MetadataImage,
    quorum: impl Fn() -> QuorumStatus,
    links: &Links,
    shards: &Shards,
    live: &Live,
) -> Vec<u8> {
    let answered: Result<Vec<u8>, String> = match postcard::from_bytes(message) {
        Ok(Inspection::Partitions(question)) => Ok(encoded(&lines(&question, image, links))),
        Ok(Inspection::LeaderView(question)) => Ok(encoded(&view(&question, shards).await)),
        Ok(Inspection::LogEnds(question)) if question.partitions.len() > image.partition_count() => {
            let (found, known) = (question.partitions.len(), image.partition_count());
            Err(format!("{found} partitions are asked for, and this broker knows of {known}"))
        }
        Ok(Inspection::LogEnds(question)) => Ok(encoded(&log_ends(&question, shards).await)),
        Ok(Inspection::LedSizes(question)) => Ok(encoded(&led_sizes(&question, image, shards).await)),
        Ok(Inspection::LedEnds(question)) if question.partitions.len() > LED_ENDS_MAX => {
            Err(format!("{} partitions are asked for, and {LED_ENDS_MAX} may be", question.partitions.len()))
        }
        Ok(Inspection::LedEnds(question)) => Ok(encoded(&led_ends(&question, shards).await)),
        Ok(Inspection::LedViews(question)) => match views::too_many(&question, image) {
            Some(why) => Err(why),
            None => Ok(encoded(&views::led_views(&question, shards).await)),
        },
        Ok(Inspection::ReadBatches(question)) => Ok(encoded(&views::read_batches(&question, shards).await)),
        Ok(Inspection::OffsetAt(question)) => Ok(encoded(&views::offset_at(&question, shards).await)),
        Ok(Inspection::LiveOf(question)) => Ok(encoded(&views::live_of(&question, live))),
        Ok(Inspection::QuorumHere(QuorumHere {})) => Ok(encoded(&quorum())),
        // Also a question that only later versions know: whoever asks it does without the answer.
        Err(error) => Err(format!("the question cannot be read: {error}")),
    };
    encoded(&answered)
}

fn encoded(answer: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(answer).expect("answers hold nothing that postcard cannot write")
}

/// Has this broker answer a question of its own.
pub async fn ask_here<I: Inspect>(
    question: I,
    image: &MetadataImage,
    quorum: impl Fn() -> QuorumStatus,
    links: &Links,
    shards: &Shards,
    live: &Live,
) -> Result<I::Answer, String> {
    let question: Inspection = question.into();
    decode::<I>(&answer(&encoded(&question), image, quorum, links, shards, live).await)
}

/// Asks a broker, once; the error says which.
pub async fn ask<I: Inspect>(
    links: &Links,
    callee: &Callee,
    question: I,
    patience: Duration,
) -> Result<I::Answer, String> {
    let question: Inspection = question.into();
    let message = postcard::to_allocvec(&question).expect("questions hold nothing that postcard cannot write");
    let answer = links.ask(callee, message, patience).await.map_err(|error| error.to_string())?;
    decode::<I>(&answer).map_err(|error| format!("{}: {error}", callee.address))
}

/// A question's answer out of what the broker sent.
fn decode<I: Inspect>(message: &[u8]) -> Result<I::Answer, String> {
    let answered: Result<Vec<u8>, String> = postcard::from_bytes(message).map_err(|error| error.to_string())?;
    postcard::from_bytes(&answered?).map_err(|error| error.to_string())
}

fn lines(question: &Partitions, image: &MetadataImage, links: &Links) -> Option<Vec<PartitionLine>> {
    let topics: Vec<_> = match &question.topic {
        Some(name) => vec![image.topic(name)?],
        None => image.topics().collect(),
    };
    let place = |leader| {
        let node = image.node(leader)?.as_ref().clone();
        Some(NodeBinding { address: links.address_of(leader).unwrap_or(node.address), ..node })
    };
    let lines = topics.into_iter().flat_map(|topic| {
        topic.partitions().map(move |(partition, state)| PartitionLine {
            topic: topic.name.to_string(),
            topic_id: topic.id,
            partition,
            leader: state.leader.map(|leader| (leader, place(leader))),
            leader_epoch: state.leader_epoch,
            replicas: state.replicas.to_vec(),
            isr: state.isr.to_vec(),
            elr: state.elr.to_vec(),
        })
    });
    Some(lines.collect())
}

/// How logs of this broker end; see [`LogEndsOf`].
pub async fn log_ends(question: &LogEndsOf, shards: &Shards) -> Vec<Option<LogEnd>> {
    let key = |(topic_id, partition): &_| PartitionKey { topic_id: *topic_id, partition: *partition };
    let answers = ask_owners(question.partitions.iter().map(key), PartitionOpKind::LogEnd, shards).await;
    let end = |answer| match answer {
        Ok(PartitionOpOutput::LogEnd(end)) => Some(end),
        _ => None,
    };
    answers.into_iter().map(end).collect()
}

/// What the shards of this broker answer about these partitions; errors while there are none yet.
pub(super) async fn ask_owners(
    keys: impl Iterator<Item = PartitionKey>,
    kind: PartitionOpKind,
    shards: &Shards,
) -> Vec<PartitionOpResult> {
    let ops: Vec<PartitionOp> = keys.map(|key| PartitionOp { key, kind }).collect();
    let Some(inboxes) = shards.get() else { return vec![Err(ResponseError::KafkaStorageError); ops.len()] };
    let hand_over = |owner: usize, ops, answer| {
        // A shard that has ended answers nothing.
        let _ = inboxes[owner].try_send(ShardMessage::Partitions { ops, answer });
    };
    partition_op::scatter(ops, inboxes.len(), hand_over).await
}

async fn view(question: &LeaderView, shards: &Shards) -> Result<PartitionView, NoView> {
    let failed = |why: &str| NoView::Failed(why.to_owned());
    let inboxes = shards.get().ok_or_else(|| failed("it is starting, and its shards are not there yet"))?;
    let key = PartitionKey { topic_id: question.topic_id, partition: question.partition };
    let ops = vec![PartitionOp { key, kind: PartitionOpKind::View }];
    let (answer, answered) = oneshot::channel();
    let stopping = || failed("it is stopping");
    let owner = &inboxes[placement::owner_of(key, inboxes.len())];
    owner.try_send(ShardMessage::Partitions { ops, answer }).map_err(|_| stopping())?;
    match answered.await.map_err(|_| stopping())?.pop() {
        Some(Ok(PartitionOpOutput::View(view))) => Ok(view),
        Some(Err(ResponseError::NotLeaderOrFollower | ResponseError::UnknownTopicOrPartition)) => {
            Err(NoView::NotLeader)
        }
        Some(Err(ResponseError::KafkaStorageError)) => Err(failed("its log is offline there")),
        other => Err(NoView::Failed(format!("it answered {other:?}"))),
    }
}

/// See [`LedEnds`].
pub async fn led_ends(question: &LedEnds, shards: &Shards) -> Vec<Option<i64>> {
    let key = |(topic_id, partition): &_| PartitionKey { topic_id: *topic_id, partition: *partition };
    let latest =
        PartitionOpKind::OffsetForTimestamp { timestamp: TIMESTAMP_LATEST, current_leader_epoch: LeaderEpoch::UNKNOWN };
    let answers = ask_owners(question.partitions.iter().map(key), latest, shards).await;
    let end = |answer| match answer {
        Ok(PartitionOpOutput::Offset { offset, .. }) => Some(offset.0),
        _ => None,
    };
    answers.into_iter().map(end).collect()
}

async fn led_sizes(question: &LedSizes, image: &MetadataImage, shards: &Shards) -> Vec<SizeLine> {
    let led = image.topics().flat_map(|topic| {
        let led = topic.partitions().filter(|(_, state)| state.leader == Some(question.leader));
        led.map(|(partition, _)| PartitionKey { topic_id: topic.id, partition })
    });
    let keys: Vec<PartitionKey> = led.collect();
    let answers = ask_owners(keys.iter().copied(), PartitionOpKind::SizeBytes, shards).await;
    let line = |(PartitionKey { topic_id, partition }, answer)| match answer {
        Ok(PartitionOpOutput::SizeBytes { bytes }) => Some(SizeLine { topic_id, partition, bytes }),
        _ => None,
    };
    keys.into_iter().zip(answers).filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::internal::links::Caller;

    async fn answered(message: &[u8]) -> Result<Vec<u8>, String> {
        let links = Links::new(Caller { cluster_id: None, node: None }, || 0);
        let quorum = || QuorumStatus { leader: None, term: 0, applied: 0, members: Vec::new() };
        let (image, shards, live) = (MetadataImage::default(), Shards::default(), Live::default());
        let answer = answer(message, &image, quorum, &links, &shards, &live).await;
        postcard::from_bytes(&answer).expect("an answer says whether it is one")
    }

    #[tokio::test]
    async fn a_question_of_a_later_version_is_answered_with_why_not() {
        let unknown = answered(&[99, 1, 2, 3]).await.unwrap_err();
        assert!(unknown.contains("cannot be read"), "{unknown}");
    }

    #[tokio::test]
    async fn how_far_partitions_are_is_asked_of_so_many_at_a_time() {
        let asked = |count: usize| {
            let question = LedEnds { partitions: vec![(TopicId::ZERO, PartitionId(0)); count] };
            encoded(&Inspection::from(question))
        };
        // No shard is there to say.
        let answer = answered(&asked(2)).await.unwrap();
        assert_eq!(postcard::from_bytes::<Vec<Option<i64>>>(&answer).unwrap(), [None, None]);
        assert!(answered(&asked(LED_ENDS_MAX)).await.is_ok());
        let refused = answered(&asked(LED_ENDS_MAX + 1)).await.unwrap_err();
        assert!(refused.contains("10001 partitions are asked for"), "{refused}");
        assert!(asked(LED_ENDS_MAX).len() < crate::internal::frame::REQUEST_BYTES_MAX);
    }
}
