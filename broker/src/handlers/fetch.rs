//! Fetch (key 1), versions 4-18, for consumers: sessions (KIP-227), long polling, size limits, topic ids, divergence by
//! epoch, reads from followers (KIP-392).
//!
//! A fetch reads from every shard concerned at once ([`gather`]). When there is too little to answer it leaves a [`Watch`]
//! with every partition and sleeps until one of them moves or the client's time is up: it is not polled meanwhile, and
//! keeps nothing of its request but what it wants of which partition.

mod answer;
mod gather;
mod preferred_replica;
mod read;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{Either, select};
use glommio::timer::Timer;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::FetchRequest;
use metadata::image::{MetadataImage, TopicImage};
use protocol::fetch_response::NodeEndpoint;
use protocol::{BrokerId, LeaderEpoch, Offset, PartitionId, TopicId};

use super::Context;
use crate::fetch_session::{
    EPOCH_INITIAL, FetchKey, NO_SESSION, PartitionAnswer, PartitionFetch, SessionPlan, SessionRequest, TopicRef,
};
use crate::partition::PartitionKey;
use crate::purgatory::Watch;
use crate::shard::Shard;
use crate::shard::budget::{Held, SMALL_BYTES};
pub use answer::encode;
use answer::{group_by_topic, name_leaders};
use gather::Gathering;
pub use preferred_replica::Consumer;
pub use read::read_here;

/// First version that names topics by id (KIP-516).
const VERSION_TOPIC_IDS: i16 = 13;
/// First version that names the current leader to who asked another broker (KIP-951).
const VERSION_CURRENT_LEADER: i16 = 16;
/// First version whose sender may be served by a follower, or sent to one (KIP-392).
const VERSION_PREFERRED_REPLICA: i16 = 11;
/// First version with fetch sessions (KIP-227).
const VERSION_SESSIONS: i16 = 7;
/// What a fetch wants to return at least, if there is so much: a batch of the largest size that topics allow by default.
const RESPONSE_BYTES_LEAST: usize = 1024 * 1024 + 64 * 1024;
/// One fetch takes no more of what is left of the shard's budget for responses than one part of so many: the less there is,
/// the less each takes.
const RESPONSE_SHARE: usize = 4;
/// So little is answered although large answers that are on their way to others have spent the budget.
const SMALL_RESPONSE_BYTES: usize = 64 * 1024;
/// What an answer says of a partition beside its records, about, in bytes.
const PARTITION_HEAD_BYTES: usize = 64;
/// How long a fetch waits for room at least, whatever its `max_wait_ms`: asking again would not bring it sooner. For a batch that
/// is larger than most it does not wait longer, since all who need less wait behind it.
const ROOM_WAIT_MIN: Duration = Duration::from_secs(1);
/// No client waits longer for a poll; a larger `max_wait_ms` is cut to this.
const MAX_WAIT_MAX: Duration = Duration::from_secs(3600);

/// The partitions of one fetch that live on another shard.
pub struct FetchForward {
    pub reads: Vec<PartitionRead>,
    pub max_bytes: usize,
    /// The first batch may be larger than that: it may have so many bytes.
    pub first_max: usize,
    pub mode: ReadMode,
    /// Who may be served by a follower; `None` for whom only the leader serves.
    pub consumer: Option<Arc<Consumer>>,
    /// Left with the partitions that have too little, to be fired when they move.
    pub watch: Arc<Watch>,
}

/// Whether to read, or only to say how much there would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadMode {
    Read,
    Estimate,
}

/// One partition to read.
#[derive(Clone)]
pub struct PartitionRead {
    /// Place within the fetch.
    pub slot: usize,
    pub key: PartitionKey,
    pub fetch: PartitionFetch,
}

/// What was read of one partition.
pub struct FetchedPartition {
    pub slot: usize,
    pub outcome: Outcome,
}

/// One partition's part of the answer.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Zero where that failed.
    pub topic_id: TopicId,
    pub error: Option<ResponseError>,
    pub high_watermark: Offset,
    pub log_start_offset: Offset,
    /// Where the client's log and ours part, if its last epoch tells so (KIP-595).
    pub diverging: Option<(LeaderEpoch, Offset)>,
    /// Leader and epoch, for who asked the wrong broker.
    pub current_leader: Option<(BrokerId, LeaderEpoch)>,
    /// Whom to ask from now on; then nothing was read.
    pub preferred_read_replica: Option<BrokerId>,
    /// Whole record batches, verbatim, one behind the other and cut anywhere.
    pub records: Vec<Bytes>,
    /// Size of `records`, or what it would be in [`ReadMode::Estimate`].
    pub bytes: usize,
    /// Records in `records`.
    pub record_count: u64,
    /// There is something to be read, and nothing else to be said.
    pub has_more: bool,
    /// The size of the first batch, where nothing was read because it is larger than may be kept in memory; else 0.
    pub too_large_bytes: usize,
}

impl Outcome {
    fn failed(error: ResponseError) -> Outcome {
        Outcome {
            topic_id: TopicId::ZERO,
            error: Some(error),
            high_watermark: Offset(-1),
            log_start_offset: Offset(-1),
            diverging: None,
            current_leader: None,
            preferred_read_replica: None,
            records: Vec::new(),
            bytes: 0,
            record_count: 0,
            has_more: false,
            too_large_bytes: 0,
        }
    }

    /// Nothing was read, for want of room in the answer.
    fn was_left_out(&self) -> bool {
        self.has_more && self.bytes == 0
    }

    fn drop_records(&mut self) {
        (self.records, self.bytes, self.record_count) = (Vec::new(), 0, 0);
    }

    fn answers_at_once(&self) -> bool {
        self.error.is_some() || self.diverging.is_some() || self.preferred_read_replica.is_some()
    }
}

/// A fetch's answer before it is encoded.
pub struct Fetched {
    pub error: Option<ResponseError>,
    pub session_id: i32,
    /// In the order of the answer; partitions of a topic are adjacent.
    pub partitions: Vec<(FetchKey, Outcome)>,
    /// Where the leaders that partitions name are.
    pub node_endpoints: Vec<NodeEndpoint>,
    /// The share of the shard's response budget that the answer holds until it is sent.
    pub held: Option<Held>,
}

impl Fetched {
    /// Of the whole, and of partitions.
    pub fn errors(&self) -> impl Iterator<Item = ResponseError> + '_ {
        self.error.into_iter().chain(self.partitions.iter().filter_map(|(_, outcome)| outcome.error))
    }

    fn failed(error: ResponseError) -> Fetched {
        Fetched {
            error: Some(error),
            session_id: NO_SESSION,
            partitions: Vec::new(),
            node_endpoints: Vec::new(),
            held: None,
        }
    }
}

/// Serves one request.
pub async fn handle(context: &mut Context, request: FetchRequest) -> Fetched {
    let version = context.version();
    let shard = &context.shard().clone();
    let deadline = Instant::now() + Duration::from_millis(request.max_wait_ms.max(0) as u64).min(MAX_WAIT_MAX);
    let min_bytes = request.min_bytes.max(0) as usize;
    let max_bytes = if request.max_bytes <= 0 { 0 } else { request.max_bytes as usize };
    let max_bytes = max_bytes.min(usize::try_from(shard.broker_config().fetch_max_bytes).unwrap_or(0));

    let plan = if version >= VERSION_SESSIONS {
        let session_request = session_request(version, &request);
        match shard.fetch_sessions().begin(session_request, crate::clock::now_ms(), shard.random_u32()) {
            Ok(plan) => plan,
            Err(error) => return Fetched::failed(error),
        }
    } else {
        SessionPlan::Sessionless { fetches: session_request(version, &request).fetches }
    };
    let (session_id, incremental, fetches) = match plan {
        SessionPlan::Sessionless { fetches } => (NO_SESSION, false, fetches),
        SessionPlan::New { session_id, fetches } => (session_id, false, fetches),
        SessionPlan::Incremental { session_id, fetches } => (session_id, true, fetches),
    };

    let consumer = consumer(context, &request);
    // Both are slices of the request's frame.
    drop(request);
    context.header.client_id = None;
    context.keep_only(bytes_of(&fetches, consumer.as_deref()));
    let limits = Limits { min_bytes, max_bytes, deadline, tells_all: !incremental };
    let (outcomes, held) = read_until_enough(context, &fetches, consumer, limits).await;
    count_sent(shard, &outcomes);
    let mut partitions: Vec<(FetchKey, Outcome)> = fetches.into_iter().map(|(key, _)| key).zip(outcomes).collect();
    if session_id != NO_SESSION {
        let mut sessions = shard.fetch_sessions();
        if incremental {
            partitions.retain(|(key, outcome)| sessions.must_tell(session_id, key, &session_answer(outcome)));
        }
        let told: Vec<_> = partitions.iter().map(|(key, outcome)| (key.clone(), session_answer(outcome))).collect();
        sessions.told(session_id, &told);
    }
    group_by_topic(&mut partitions);
    let node_endpoints = match version >= VERSION_CURRENT_LEADER {
        true => name_leaders(|| shard.image(), &mut partitions, shard.cut_off()),
        false => Vec::new(),
    };
    Fetched { error: None, session_id, partitions, node_endpoints, held: Some(held) }
}

/// What a fetch that waits keeps in memory.
fn bytes_of(fetches: &[(FetchKey, PartitionFetch)], consumer: Option<&Consumer>) -> usize {
    size_of_val(fetches) + bytes_of_names(keys(fetches)) + consumer.map_or(0, Consumer::bytes)
}

fn keys(fetches: &[(FetchKey, PartitionFetch)]) -> impl Iterator<Item = &FetchKey> + Clone {
    fetches.iter().map(|(key, _)| key)
}

/// A name that several in a row have counts once.
fn bytes_of_names<'a>(keys: impl Iterator<Item = &'a FetchKey>) -> usize {
    let mut before: Option<&TopicRef> = None;
    let names = keys.filter(|key| !before.replace(&key.topic).is_some_and(|before| before.is_same_name(&key.topic)));
    names.map(|key| key.topic.name_bytes()).sum()
}

/// Records are counted where they are sent from, for not all that other shards read may be sent.
fn count_sent(shard: &Shard, outcomes: &[Outcome]) {
    let mut total = 0;
    for outcomes in outcomes.chunk_by(|one, next| one.topic_id == next.topic_id) {
        let bytes: usize = outcomes.iter().map(|outcome| outcome.bytes).sum();
        if bytes > 0 {
            let records = outcomes.iter().map(|outcome| outcome.record_count).sum();
            shard.topic_traffic(outcomes[0].topic_id).fetched(bytes, records);
            total += bytes as u64;
        }
    }
    shard.metrics().fetched_bytes.add(total);
}

fn find_topic<'a>(image: &'a MetadataImage, topic: &TopicRef) -> Result<&'a Arc<TopicImage>, ResponseError> {
    match topic {
        TopicRef::Id(id) => image.topic_by_id(*id).ok_or(ResponseError::UnknownTopicId),
        TopicRef::Name(name) => image.topic(name).ok_or(ResponseError::UnknownTopicOrPartition),
    }
}

fn session_request(version: i16, request: &FetchRequest) -> SessionRequest {
    let by_id = version >= VERSION_TOPIC_IDS;
    let topic_ref = |name: &str, id: uuid::Uuid| {
        if by_id { TopicRef::Id(TopicId(id)) } else { TopicRef::Name(name.into()) }
    };
    let fetches = request.topics.iter().flat_map(|topic| {
        let topic_ref = topic_ref(topic.topic.as_str(), topic.topic_id);
        topic.partitions.iter().map(move |p| {
            let key = FetchKey { topic: topic_ref.clone(), partition: PartitionId(p.partition) };
            let fetch = PartitionFetch {
                fetch_offset: Offset(p.fetch_offset),
                max_bytes: p.partition_max_bytes,
                current_leader_epoch: LeaderEpoch(p.current_leader_epoch),
                last_fetched_epoch: LeaderEpoch(p.last_fetched_epoch),
            };
            (key, fetch)
        })
    });
    let forgotten = request.forgotten_topics_data.iter().flat_map(|topic| {
        let topic_ref = topic_ref(topic.topic.as_str(), topic.topic_id);
        topic.partitions.iter().map(move |p| FetchKey { topic: topic_ref.clone(), partition: PartitionId(*p) })
    });
    SessionRequest {
        session_id: request.session_id,
        session_epoch: request.session_epoch,
        // What a session has already it keeps once by itself.
        fetches: if request.session_epoch > EPOCH_INITIAL { fetches.collect() } else { once_each(fetches.collect()) },
        forgotten: forgotten.collect(),
        uses_topic_ids: by_id,
    }
}

/// A partition that is named again is asked for once, and as it was named last (as Kafka).
fn once_each(fetches: Vec<(FetchKey, PartitionFetch)>) -> Vec<(FetchKey, PartitionFetch)> {
    let mut places: HashMap<FetchKey, usize> = HashMap::with_capacity(fetches.len());
    let mut once: Vec<(FetchKey, PartitionFetch)> = Vec::with_capacity(fetches.len());
    for (key, fetch) in fetches {
        match places.entry(key) {
            Entry::Occupied(place) => once[*place.get()].1 = fetch,
            Entry::Vacant(place) => {
                once.push((place.key().clone(), fetch));
                place.insert(once.len() - 1);
            }
        }
    }
    once
}

/// A consumer whose version knows that followers serve too.
fn consumer(context: &Context, request: &FetchRequest) -> Option<Arc<Consumer>> {
    // Kafka's brokers name themselves, and read from leaders alone.
    let is_broker = request.replica_id.0 >= 0 || request.replica_state.replica_id.0 >= 0;
    (context.version() >= VERSION_PREFERRED_REPLICA && !is_broker).then(|| {
        Arc::new(Consumer {
            rack: request.rack_id.to_string(),
            client_id: context.header.client_id.as_deref().unwrap_or_default().to_owned(),
            address: context.connection.peer.ip(),
        })
    })
}

fn session_answer(outcome: &Outcome) -> PartitionAnswer {
    PartitionAnswer {
        high_watermark: outcome.high_watermark,
        log_start_offset: outcome.log_start_offset,
        has_records: outcome.bytes > 0,
        must_tell: outcome.answers_at_once(),
    }
}

/// What a fetch waits for, and what it takes at most.
#[derive(Clone, Copy)]
struct Limits {
    min_bytes: usize,
    max_bytes: usize,
    deadline: Instant,
    /// The answer names all partitions, and not only those of which there is news.
    tells_all: bool,
}

/// The batch that has to be read before all others, and is larger than there was room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TooLarge {
    /// Of its partition within the fetch.
    slot: usize,
    bytes: usize,
}

async fn read_until_enough(
    context: &Context,
    fetches: &[(FetchKey, PartitionFetch)],
    consumer: Option<Arc<Consumer>>,
    Limits { min_bytes, max_bytes, deadline, tells_all }: Limits,
) -> (Vec<Outcome>, Held) {
    let shard = context.shard();
    let watch = Watch::new();
    let gathering = Gathering { shard, fetches, consumer, watch: &watch };
    let min_bytes = min_bytes.min(max_bytes);
    let asked = fetches.iter().map(|(_, fetch)| fetch.bytes_max()).fold(0, usize::saturating_add).min(max_bytes);
    let sum = |outcomes: &[Outcome]| outcomes.iter().map(|o| o.bytes).sum::<usize>();
    // Before it is known what there is news of, at least this is told.
    let least_head_bytes = if tells_all { head_bytes(keys(fetches)) } else { 0 };
    let head_bytes_of = |outcomes: &[Outcome]| match tells_all {
        true => least_head_bytes,
        false => head_bytes(told(fetches, outcomes)),
    };
    let mut first_too_large: Option<TooLarge> = None;
    let mut does_without_first = false;
    loop {
        let waited_out = Instant::now() >= deadline || fetches.is_empty();
        let enough = waited_out || min_bytes <= 1 || {
            let estimate = gathering.estimate().await;
            estimate.iter().any(Outcome::answers_at_once) || sum(&estimate) >= min_bytes
        };
        if enough {
            let first_bytes = first_too_large.map_or(0, |first| first.bytes);
            let small = async || {
                let estimate = gathering.estimate().await;
                sum(&estimate).max(first_bytes) + head_bytes_of(&estimate)
            };
            let wanted = Wanted { asked, first_bytes, head_bytes: least_head_bytes };
            let Some(mut held) = room_for(context, wanted, small, deadline).await else {
                if first_too_large.take().is_some() {
                    // What comes after it may have less, and is not held up by it.
                    does_without_first = true;
                    continue;
                }
                // No room in time: the client is told that there is nothing, and for how long it was held up.
                let estimate = gathering.estimate().await;
                let head_bytes = head_bytes_of(&estimate);
                if head_bytes == 0 {
                    return (without_records(estimate), shard.response_budget().hold(0));
                }
                let held = room_for_head(context, head_bytes).await;
                return (without_records(gathering.estimate().await), held);
            };
            // Who has all that there ever is goes beyond it.
            let may_all = held.bytes() >= shard.response_budget().limit_bytes();
            let room = held.bytes().saturating_sub(least_head_bytes);
            let first_max = if may_all { usize::MAX } else { room.max(1) };
            let outcomes = gathering.read(room.min(asked), first_max, first_too_large.map(|first| first.slot)).await;
            if let Some(found) = find_first_too_large(&outcomes).filter(|_| !does_without_first) {
                first_too_large = Some(TooLarge { bytes: found.bytes.max(first_bytes), ..found });
                continue;
            }
            let bytes = sum(&outcomes);
            held = held.settle(bytes + head_bytes_of(&outcomes));
            // An estimate may have been too high by a batch; the client gets what there is rather than a second wait.
            let is_final = waited_out || min_bytes > 1 || does_without_first;
            if is_final || bytes >= min_bytes || outcomes.iter().any(Outcome::answers_at_once) {
                return (outcomes, held);
            }
        }
        if shard.is_stopping() {
            return (without_records(gathering.estimate().await), shard.response_budget().hold(0));
        }
        shard.parked_fetches().add(&watch);
        let timer = Timer::new(deadline.saturating_duration_since(Instant::now()));
        match select(std::pin::pin!(watch.fired()), timer).await {
            Either::Left(_) | Either::Right(_) => {}
        }
    }
}

/// As in Kafka the first partition that has anything to give gives a batch, however large: says whether there was no room for it.
fn find_first_too_large(outcomes: &[Outcome]) -> Option<TooLarge> {
    let gives = |outcome: &Outcome| outcome.bytes > 0 || outcome.too_large_bytes > 0;
    let (slot, first) = outcomes.iter().enumerate().find(|(_, outcome)| gives(outcome))?;
    (first.bytes == 0).then_some(TooLarge { slot, bytes: first.too_large_bytes })
}

/// What an answer that tells of these has beside records, if it is much: about, and more rather than less.
fn head_bytes<'a>(told: impl Iterator<Item = &'a FetchKey> + Clone) -> usize {
    let bytes = told.clone().count() * PARTITION_HEAD_BYTES + bytes_of_names(told);
    if bytes > SMALL_BYTES { bytes } else { 0 }
}

/// Partitions of which an incremental answer tells, but for those whose offsets alone are news.
fn told<'a>(
    fetches: &'a [(FetchKey, PartitionFetch)],
    outcomes: &[Outcome],
) -> impl Iterator<Item = &'a FetchKey> + Clone {
    let is_told = |outcome: &Outcome| outcome.bytes > 0 || outcome.answers_at_once();
    keys(fetches).zip(outcomes).filter(move |(_, outcome)| is_told(outcome)).map(|(key, _)| key)
}

/// What an estimate says beside the records.
fn without_records(estimate: Vec<Outcome>) -> Vec<Outcome> {
    estimate.into_iter().map(|outcome| Outcome { bytes: 0, ..outcome }).collect()
}

/// What a fetch wants room for, in bytes.
#[derive(Clone, Copy)]
struct Wanted {
    asked: usize,
    /// The batch that is read before all others, as far as it is known to be large.
    first_bytes: usize,
    head_bytes: usize,
}

/// The share of the shard's budget that a fetch may fill when its answer is the connection's next; `None` if there is none until
/// the deadline. It has room for what the answer has beside records and for the first batch, if there ever is.
/// `estimate` tells how much the answer has, records and all.
async fn room_for(
    context: &Context,
    Wanted { asked, first_bytes, head_bytes }: Wanted,
    estimate: impl AsyncFnOnce() -> usize,
    deadline: Instant,
) -> Option<Held> {
    context.come_to_front().await;
    let shard = context.shard();
    let budget = shard.response_budget();
    // At least a batch is read, however little was asked for.
    let least = RESPONSE_BYTES_LEAST.max(first_bytes).saturating_add(head_bytes);
    let most = least.max(budget.left_bytes() / RESPONSE_SHARE);
    let want = asked.saturating_add(head_bytes).clamp(least, most);
    if let Some(held) = budget.take_between(least, want) {
        return Some(held);
    }
    let small = small_part(estimate().await);
    let since = Instant::now();
    let patience = match first_bytes > RESPONSE_BYTES_LEAST {
        true => ROOM_WAIT_MIN,
        false => deadline.saturating_duration_since(since).max(ROOM_WAIT_MIN),
    };
    let stopped = std::pin::pin!(shard.stopped());
    let given = match select(budget.admit_between(least, want, small), select(Timer::new(patience), stopped)).await {
        Either::Left((held, _)) => Some(held),
        Either::Right(_) => None,
    };
    context.connection.note_held_up(since);
    given
}

/// `bytes`, if so few are answered although the budget is spent.
fn small_part(bytes: usize) -> Option<usize> {
    (bytes <= SMALL_RESPONSE_BYTES).then_some(bytes)
}

/// For an answer without records, which like all others that are large is not made before there is room.
async fn room_for_head(context: &Context, head_bytes: usize) -> Held {
    let budget = context.shard().response_budget();
    let since = Instant::now();
    let stopped = std::pin::pin!(context.shard().stopped());
    let held = match select(budget.admit_between(head_bytes, head_bytes, small_part(head_bytes)), stopped).await {
        Either::Left((held, _)) => held,
        Either::Right(_) => budget.hold(head_bytes),
    };
    context.connection.note_held_up(since);
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(has_more: bool, bytes: usize, too_large_bytes: usize) -> Outcome {
        Outcome { error: None, has_more, bytes, too_large_bytes, ..Outcome::failed(ResponseError::UnknownServerError) }
    }

    #[test]
    fn only_the_first_that_can_give_something_is_waited_for() {
        let (nothing, read, large) = (outcome(false, 0, 0), outcome(true, 10, 0), outcome(true, 0, 500));
        // Its high watermark lies within its next batch.
        let cannot = outcome(true, 0, 0);
        let found = |outcomes: &[&Outcome]| {
            let outcomes: Vec<Outcome> = outcomes.iter().copied().cloned().collect();
            find_first_too_large(&outcomes).map(|first| (first.slot, first.bytes))
        };
        assert_eq!(found(&[]), None);
        assert_eq!(found(&[&nothing, &large, &read]), Some((1, 500)));
        assert_eq!(found(&[&read, &large]), None);
        assert_eq!(found(&[&cannot, &nothing, &large]), Some((2, 500)));
        assert_eq!(found(&[&cannot, &nothing]), None);
    }

    fn fetch(topic: &TopicRef, partition: i32, offset: i64) -> (FetchKey, PartitionFetch) {
        let key = FetchKey { topic: topic.clone(), partition: PartitionId(partition) };
        let fetch = PartitionFetch {
            fetch_offset: Offset(offset),
            max_bytes: 0,
            current_leader_epoch: LeaderEpoch::UNKNOWN,
            last_fetched_epoch: LeaderEpoch::UNKNOWN,
        };
        (key, fetch)
    }

    #[test]
    fn a_partition_that_is_named_again_is_asked_for_once() {
        let topics = ["a", "b", "a"].map(|name| TopicRef::Name(name.into()));
        let [a, b, again] = &topics;
        let fetches = vec![fetch(a, 0, 1), fetch(b, 0, 2), fetch(again, 0, 3), fetch(a, 1, 4)];
        assert_eq!(once_each(fetches), [fetch(a, 0, 3), fetch(b, 0, 2), fetch(a, 1, 4)]);
        assert_eq!(once_each(Vec::new()), []);
    }

    #[test]
    fn what_is_said_of_many_partitions_counts() {
        let topic = TopicRef::Name("orders".into());
        let of_one: Vec<_> = (0..1000).map(|partition| fetch(&topic, partition, 0)).collect();
        let heads = |fetches: &[(FetchKey, PartitionFetch)]| head_bytes(keys(fetches));
        assert_eq!(heads(&of_one), 64_006);
        let of_many: Vec<_> = (0..1000).map(|_| fetch(&TopicRef::Name("orders".into()), 0, 0)).collect();
        assert_eq!(heads(&of_many), 70_000);
        assert_eq!(heads(&of_one[..200]), 0, "what is small is not counted");
        let outcomes: Vec<Outcome> = (0..1000).map(|at| outcome(true, at % 2, 0)).collect();
        assert_eq!(head_bytes(told(&of_one, &outcomes)), 32_006, "those with records");
    }
}
