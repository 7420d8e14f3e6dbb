//! Produce (key 0), versions 3-13.
//!
//! Two stages. [`dispatch`] runs to its end before the connection looks at its next request: it appends what this shard
//! owns and sends the rest to the owning shards, so pipelined requests of one connection are appended in the order sent.
//! The future that it returns is the second stage, and many of them wait at once: until the log is as durable as `acks`
//! asks. Nothing is polled; commits wake it.

mod response;

use std::cell::LazyCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_channel::oneshot;
use futures_util::future::{Either, select};
use glommio::timer::Timer;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::ProduceRequest;
use kafka_protocol::messages::produce_response::ProduceResponse;
use protocol::{LeaderEpoch, PartitionId, TopicId};

use super::topic_access::is_internal;
use crate::connection::reader::READ_SCRATCH_BYTES;
use crate::partition::{Acks, AppendAck, Appending, Partition, PartitionKey, Refused, walk_budget};
use crate::shard::Shard;
use crate::shard::message::ShardMessage;
use response::{TopicLayout, find_topic, response};

/// The partitions of one Produce request that live on another shard.
pub struct ProduceForward {
    pub items: Vec<ProduceItem>,
    pub acks: Acks,
    /// How long acks=all may wait for other brokers.
    pub timeout: Duration,
    pub version: i16,
}

/// One partition's records.
pub struct ProduceItem {
    pub key: PartitionKey,
    /// Exactly one record batch, if the client keeps to the protocol.
    pub records: Bytes,
    /// The records are most of the memory that they are a slice of, so they may be kept.
    pub may_be_kept: bool,
    /// Place of the answer within the request.
    pub slot: usize,
}

/// What became of one partition's records.
pub struct ProducedPartition {
    slot: usize,
    pub result: Result<AppendAck, Refused>,
}

/// How a produce ends for its connection.
pub enum Produced {
    Respond(ProduceResponse),
    /// acks=0 and all was appended: the client expects no bytes.
    Silent,
    /// acks=0 and something was refused: closing is the only way to tell (as Kafka does), so that the client refreshes
    /// its metadata.
    Close {
        reason: String,
    },
}

/// An append of this shard on its way to being durable.
struct Pending {
    slot: usize,
    state: PendingState,
}

enum PendingState {
    Finished(Result<AppendAck, Refused>),
    /// In the log; acknowledged once the wait, if any, is over.
    Appended {
        partition: Rc<Partition>,
        ack: AppendAck,
        wait: Option<oneshot::Receiver<()>>,
    },
    /// Waits for room in the log first.
    Queued {
        partition: Rc<Partition>,
        receiver: oneshot::Receiver<Result<AppendAck, Refused>>,
    },
}

/// First stage: see the module's documentation. Also tells whether the second stage still needs the request's bytes.
pub fn dispatch(
    shard: &Rc<Shard>,
    version: i16,
    request: ProduceRequest,
    frame_bytes: usize,
    internal_topics_allowed: bool,
) -> (impl Future<Output = Produced> + use<>, bool) {
    let plan = Plan::new(shard, version, &request, frame_bytes, internal_topics_allowed);
    let acks = Acks::from_wire(request.acks);
    let timeout = Duration::from_millis(request.timeout_ms.max(0) as u64);
    let mut remote = Vec::new();
    let mut local = Vec::new();
    for (owner, items) in plan.by_shard.into_iter().enumerate() {
        if items.is_empty() {
            continue;
        }
        let forward = ProduceForward { items, acks: acks.unwrap_or(Acks::Leader), timeout, version };
        if owner == shard.index() {
            local = begin(shard, forward);
        } else {
            let (answer, receiver) = oneshot::channel();
            shard.send(owner, ShardMessage::Produce { forward, answer });
            remote.push(receiver);
        }
    }
    let keeps_frame =
        !remote.is_empty() || local.iter().any(|pending| matches!(pending.state, PendingState::Queued { .. }));
    let (mut results, layout) = (plan.results, plan.layout);
    let acks_wire = request.acks;
    drop(request);
    let shard = shard.clone();
    let finished = async move {
        let acks = acks.unwrap_or(Acks::Leader);
        for produced in finish(local, acks, timeout).await {
            results[produced.slot] = Some(produced.result);
        }
        for receiver in remote {
            // A shard that ends answers nothing; what it did not answer is reported below.
            for produced in receiver.await.unwrap_or_default() {
                results[produced.slot] = Some(produced.result);
            }
        }
        let results = results.into_iter().map(|result| {
            result.unwrap_or_else(|| {
                Err(Refused::new(
                    ResponseError::KafkaStorageError,
                    "the shard that owns the partition is shutting down",
                ))
            })
        });
        if acks_wire == 0 {
            match results.filter_map(Result::err).next() {
                None => Produced::Silent,
                Some(refused) => Produced::Close { reason: refused.message },
            }
        } else {
            Produced::Respond(response(&LazyCell::new(|| shard.image()), &layout, results, version, shard.cut_off()))
        }
    };
    (finished, keeps_frame)
}

/// Appends in order on the owning shard.
fn begin(shard: &Rc<Shard>, forward: ProduceForward) -> Vec<Pending> {
    let now_ms = crate::clock::now_ms();
    let ProduceForward { items, acks, version, .. } = forward;
    let mut budget = walk_budget(items.iter().map(|item| item.records.len()).sum());
    items
        .into_iter()
        .map(|item| Pending { slot: item.slot, state: begin_one(shard, item, acks, version, now_ms, &mut budget) })
        .collect()
}

fn begin_one(
    shard: &Rc<Shard>,
    item: ProduceItem,
    acks: Acks,
    version: i16,
    now_ms: i64,
    walk_budget: &mut u64,
) -> PendingState {
    let partition = match shard.partition(item.key) {
        Ok(partition) => partition,
        Err(error) => return PendingState::Finished(Err(Refused::new(error, "the partition is not here"))),
    };
    if partition.check_leader(LeaderEpoch::UNKNOWN).is_err() {
        return PendingState::Finished(Err(partition.not_leading()));
    }
    if acks == Acks::All && partition.is_under_min_isr() {
        let message = format!(
            "The size of the current ISR of {}-{} is insufficient to satisfy the min.isr requirement of {}",
            partition.topic,
            partition.key.partition,
            partition.config().min_insync_replicas
        );
        return PendingState::Finished(Err(Refused::new(ResponseError::NotEnoughReplicas, message)));
    }
    shard.metrics().produced(item.records.len());
    match partition.append(item.records, item.may_be_kept, version, now_ms, walk_budget) {
        Appending::Done(Ok(ack)) => {
            let wait = partition.wait_for(acks, &ack);
            PendingState::Appended { partition, ack, wait }
        }
        Appending::Done(Err(refused)) => PendingState::Finished(Err(refused)),
        Appending::Queued(receiver) => PendingState::Queued { partition, receiver },
    }
}

/// Waits for what [`begin`] began.
async fn finish(pending: Vec<Pending>, acks: Acks, timeout: Duration) -> Vec<ProducedPartition> {
    let mut produced = Vec::with_capacity(pending.len());
    let mut deadline = Deadline { timeout, at: None };
    for Pending { slot, state } in pending {
        let result = match state {
            PendingState::Finished(result) => result,
            PendingState::Appended { partition, ack, wait } => {
                acknowledge(&partition, acks, ack, wait, &mut deadline).await
            }
            PendingState::Queued { partition, receiver } => match receiver.await {
                Ok(Ok(ack)) => acknowledge(&partition, acks, ack, None, &mut deadline).await,
                Ok(Err(refused)) => Err(refused),
                Err(oneshot::Canceled) => Err(partition.not_leading()),
            },
        };
        produced.push(ProducedPartition { slot, result });
    }
    produced
}

/// When a request's wait for other brokers ends; the clock is read only if there is such a wait.
struct Deadline {
    timeout: Duration,
    at: Option<Instant>,
}

impl Deadline {
    fn remaining(&mut self) -> Duration {
        let now = Instant::now();
        self.at.get_or_insert_with(|| now + self.timeout).saturating_duration_since(now)
    }
}

/// Waits until the append is as durable as `acks` asks; `begun` is the wait that was begun with the append, if any. A wait
/// for this broker's disk alone has no end but the disk's.
async fn acknowledge(
    partition: &Partition,
    acks: Acks,
    ack: AppendAck,
    begun: Option<oneshot::Receiver<()>>,
    deadline: &mut Deadline,
) -> Result<AppendAck, Refused> {
    let mut wait = begun.or_else(|| partition.wait_for(acks, &ack));
    while let Some(waiting) = wait {
        let reached = if acks == Acks::All && partition.needs_others() {
            match select(waiting, Timer::new(deadline.remaining())).await {
                Either::Left((reached, _)) => reached,
                Either::Right(_) => return Err(timed_out(partition)),
            }
        } else {
            waiting.await
        };
        if reached.is_err() {
            return Err(abandoned(partition, &ack));
        }
        // Looked at again: durability may have been made stricter meanwhile, or the leadership lost.
        wait = partition.wait_for(acks, &ack);
    }
    if acks != Acks::None {
        partition.assert_may_acknowledge(ack.end);
    }
    Ok(ack)
}

/// Why a wait ended before the batch was as durable as asked.
fn abandoned(partition: &Partition, ack: &AppendAck) -> Refused {
    if partition.serving_term() != Some(ack.term) || !partition.is_under_min_isr() {
        return partition.not_leading();
    }
    let message =
        format!("{}-{} fell below min.insync.replicas after the append", partition.topic, partition.key.partition);
    Refused::new(ResponseError::NotEnoughReplicasAfterAppend, message)
}

fn timed_out(partition: &Partition) -> Refused {
    let message =
        format!("{}-{}: not all replicas in sync had the batch in time", partition.topic, partition.key.partition);
    Refused::new(ResponseError::RequestTimedOut, message)
}

/// Serves a forwarded part on the shard that owns it. The appends are done when this returns; the answer follows.
pub fn serve_forward(shard: &Rc<Shard>, forward: ProduceForward, answer: oneshot::Sender<Vec<ProducedPartition>>) {
    let (acks, timeout) = (forward.acks, forward.timeout);
    let pending = begin(shard, forward);
    shard.spawn_produce(async move {
        // The asking connection may have closed.
        let _ = answer.send(finish(pending, acks, timeout).await);
    });
}

/// A request sorted by owning shard, with the answers that are known at once.
struct Plan {
    layout: Vec<TopicLayout>,
    by_shard: Vec<Vec<ProduceItem>>,
    results: Vec<Option<Result<AppendAck, Refused>>>,
}

impl Plan {
    fn new(
        shard: &Shard,
        version: i16,
        request: &ProduceRequest,
        frame_bytes: usize,
        internal_topics_allowed: bool,
    ) -> Plan {
        let image = shard.image();
        let mut plan = Plan {
            layout: Vec::with_capacity(request.topic_data.len()),
            by_shard: (0..shard.count()).map(|_| Vec::new()).collect(),
            results: Vec::new(),
        };
        let acks_valid = Acks::from_wire(request.acks).is_some();
        for topic in &request.topic_data {
            let found = find_topic(&image, version, &topic.name, TopicId(topic.topic_id));
            let mut partitions = Vec::with_capacity(topic.partition_data.len());
            for data in &topic.partition_data {
                let slot = plan.results.len();
                let partition = PartitionId(data.index);
                partitions.push(partition);
                let refused = |error: ResponseError| Some(Err(Refused::new(error, error.to_string())));
                let topic = match &found {
                    _ if !acks_valid => {
                        plan.results.push(refused(ResponseError::InvalidRequiredAcks));
                        continue;
                    }
                    Err(error) => {
                        plan.results.push(refused(*error));
                        continue;
                    }
                    Ok(topic) if topic.partition(partition).is_none() => {
                        plan.results.push(refused(ResponseError::UnknownTopicOrPartition));
                        continue;
                    }
                    Ok(topic) if is_internal(&topic.name) && !internal_topics_allowed => {
                        let message = format!("Cannot append to internal topic {}", topic.name);
                        plan.results.push(Some(Err(Refused::new(ResponseError::InvalidTopicException, message))));
                        continue;
                    }
                    Ok(topic) => topic,
                };
                plan.results.push(None);
                let key = PartitionKey { topic_id: topic.id, partition };
                let records = data.records.clone().unwrap_or_default();
                // A smaller frame may share its memory with others.
                let may_be_kept = records.len() >= READ_SCRATCH_BYTES && 2 * records.len() >= frame_bytes;
                plan.by_shard[shard.owner_of(key)].push(ProduceItem { key, records, may_be_kept, slot });
            }
            plan.layout.push(TopicLayout { name: topic.name.clone(), topic_id: TopicId(topic.topic_id), partitions });
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::tests::{append, assignment, leading, with_partition};

    fn deadline(timeout_ms: u64) -> Deadline {
        Deadline { timeout: Duration::from_millis(timeout_ms), at: None }
    }

    #[test]
    fn a_wait_for_other_brokers_ends_with_the_requests_timeout() {
        with_partition(leading(&[1, 2]), |partition| async move {
            let ack = append(&partition).await.unwrap();
            let acknowledged = acknowledge(&partition, Acks::Leader, ack, None, &mut deadline(0)).await;
            assert_eq!(acknowledged, Ok(ack), "acks=1 waits for nobody else");
            let mut deadline = deadline(200);
            // Partitions of one request share its time.
            let begun = Instant::now();
            for _ in 0..3 {
                let refused = acknowledge(&partition, Acks::All, ack, None, &mut deadline).await.unwrap_err();
                assert_eq!(refused.error, ResponseError::RequestTimedOut);
            }
            let took = begun.elapsed();
            assert!(took >= Duration::from_millis(200) && took < Duration::from_millis(600), "{took:?}");
        });
    }

    #[test]
    fn a_wait_ends_when_the_leadership_goes() {
        with_partition(leading(&[1, 2]), |partition| async move {
            let ack = append(&partition).await.unwrap();
            let follower = partition.clone();
            glommio::spawn_local(async move {
                Timer::new(Duration::from_millis(10)).await;
                follower.apply_assignment(&assignment(Some(2), 2, &[1, 2]));
            })
            .detach();
            let refused = acknowledge(&partition, Acks::All, ack, None, &mut deadline(60_000)).await.unwrap_err();
            assert_eq!(refused.error, ResponseError::NotLeaderOrFollower);
        });
    }
}
