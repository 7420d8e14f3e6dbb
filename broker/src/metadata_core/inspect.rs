//! What a broker is asked about itself: by `ringlog partition` the metadata as it knows it, and what its shards know of the
//! partitions that they lead; by the controller how its logs end, when somebody is to be elected.

use futures_channel::oneshot;
use futures_util::future::join_all;
use kafka_protocol::ResponseError;
use metadata::controller::LogEnd;
use metadata::image::MetadataImage;
use metadata::record::NodeBinding;
use protocol::{BrokerId, LeaderEpoch, PartitionId, TopicId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::internal::links::Links;
use crate::internal::listener::Shards;
use crate::partition::{PartitionKey, PartitionView};
use crate::partition_op::{PartitionOp, PartitionOpKind, PartitionOpOutput};
use crate::shard::message::ShardMessage;
use crate::shard::placement;

/// A question to this broker alone.
pub trait Inspect: Into<Inspection> {
    type Answer: Serialize + DeserializeOwned;
}

/// Any question.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Inspection {
    Partitions(Partitions),
    LeaderView(LeaderView),
    LogEnds(LogEndsOf),
    LedSizes(LedSizes),
}

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

impl From<Partitions> for Inspection {
    fn from(question: Partitions) -> Inspection {
        Inspection::Partitions(question)
    }
}

impl Inspect for Partitions {
    /// `None` if there is no such topic.
    type Answer = Option<Vec<PartitionLine>>;
}

impl From<LeaderView> for Inspection {
    fn from(question: LeaderView) -> Inspection {
        Inspection::LeaderView(question)
    }
}

impl Inspect for LeaderView {
    type Answer = Result<PartitionView, NoView>;
}

impl From<LogEndsOf> for Inspection {
    fn from(question: LogEndsOf) -> Inspection {
        Inspection::LogEnds(question)
    }
}

impl Inspect for LogEndsOf {
    /// In the order of the question; `None` of a log that is not open here.
    type Answer = Vec<Option<LogEnd>>;
}

impl From<LedSizes> for Inspection {
    fn from(question: LedSizes) -> Inspection {
        Inspection::LedSizes(question)
    }
}

impl Inspect for LedSizes {
    /// Without those whose log is not to be had now.
    type Answer = Vec<SizeLine>;
}

/// Answers a question; why it cannot be read otherwise.
pub async fn answer(message: &[u8], image: &MetadataImage, links: &Links, shards: &Shards) -> Vec<u8> {
    let answered: Result<Vec<u8>, String> = match postcard::from_bytes(message) {
        Ok(Inspection::Partitions(question)) => Ok(encoded(&lines(&question, image, links))),
        Ok(Inspection::LeaderView(question)) => Ok(encoded(&view(&question, shards).await)),
        Ok(Inspection::LogEnds(question)) if question.partitions.len() > image.partition_count() => {
            let (found, known) = (question.partitions.len(), image.partition_count());
            Err(format!("{found} partitions are asked for, and this broker knows of {known}"))
        }
        Ok(Inspection::LogEnds(question)) => Ok(encoded(&log_ends(&question, shards).await)),
        Ok(Inspection::LedSizes(question)) => Ok(encoded(&led_sizes(&question, image, shards).await)),
        Err(error) => Err(format!("the question cannot be read: {error}")),
    };
    encoded(&answered)
}

fn encoded(answer: &impl Serialize) -> Vec<u8> {
    postcard::to_allocvec(answer).expect("answers hold nothing that postcard cannot write")
}

/// A question's answer out of what the broker sent.
pub fn decode<I: Inspect>(message: &[u8]) -> Result<I::Answer, String> {
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
    let mut ends = vec![None; question.partitions.len()];
    let Some(inboxes) = shards.get() else { return ends };
    let mut by_shard: Vec<(Vec<usize>, Vec<PartitionOp>)> = (0..inboxes.len()).map(|_| Default::default()).collect();
    for (slot, (topic_id, partition)) in question.partitions.iter().enumerate() {
        let key = PartitionKey { topic_id: *topic_id, partition: *partition };
        let (slots, ops) = &mut by_shard[placement::owner_of(key, inboxes.len())];
        slots.push(slot);
        ops.push(PartitionOp { key, kind: PartitionOpKind::LogEnd });
    }
    let asked = by_shard.into_iter().zip(inboxes).filter(|((slots, _), _)| !slots.is_empty());
    let asked = asked.map(|((slots, ops), inbox)| {
        let (answer, answered) = oneshot::channel();
        // A shard that has ended answers nothing.
        let _ = inbox.try_send(ShardMessage::Partitions { ops, answer });
        async move { (slots, answered.await.unwrap_or_default()) }
    });
    for (slots, answers) in join_all(asked).await {
        for (slot, answer) in slots.into_iter().zip(answers) {
            if let Ok(PartitionOpOutput::LogEnd(end)) = answer {
                ends[slot] = Some(end);
            }
        }
    }
    ends
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

async fn led_sizes(question: &LedSizes, image: &MetadataImage, shards: &Shards) -> Vec<SizeLine> {
    // A broker that starts has no logs yet.
    let Some(inboxes) = shards.get() else { return Vec::new() };
    let mut by_shard: Vec<Vec<PartitionKey>> = vec![Vec::new(); inboxes.len()];
    for topic in image.topics() {
        let led = topic.partitions().filter(|(_, state)| state.leader == Some(question.leader));
        for key in led.map(|(partition, _)| PartitionKey { topic_id: topic.id, partition }) {
            by_shard[placement::owner_of(key, inboxes.len())].push(key);
        }
    }
    // All shards are asked before the first answer is waited for.
    let mut waiting = Vec::new();
    for (inbox, keys) in inboxes.iter().zip(by_shard).filter(|(_, keys)| !keys.is_empty()) {
        let ops = keys.iter().map(|key| PartitionOp { key: *key, kind: PartitionOpKind::SizeBytes }).collect();
        let (answer, answered) = oneshot::channel();
        if inbox.try_send(ShardMessage::Partitions { ops, answer }).is_ok() {
            waiting.push((keys, answered));
        }
    }
    let mut lines = Vec::new();
    for (keys, answered) in waiting {
        let answers = answered.await.unwrap_or_default();
        lines.extend(keys.into_iter().zip(answers).filter_map(|(PartitionKey { topic_id, partition }, answer)| {
            let Ok(PartitionOpOutput::SizeBytes { bytes }) = answer else { return None };
            Some(SizeLine { topic_id, partition, bytes })
        }));
    }
    lines
}
