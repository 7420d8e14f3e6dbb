//! Incremental fetch sessions (KIP-227): what a consumer asked for is remembered, so that its next requests and our
//! answers carry only what changed.
//!
//! Pure: requests, results and the time in; what to read and what to answer out. Sessions belong to one shard. A client
//! that reconnects may reach another shard; it is told FETCH_SESSION_ID_NOT_FOUND and starts a new session, as after any
//! eviction. Session ids carry their shard, so that one shard's id never means another session elsewhere.
//!
//! Bounds: [`SessionCache`] holds at most `slots_max` sessions (`max.incremental.fetch.session.cache.slots`, shared out
//! over the shards) of at most [`SESSION_PARTITIONS_MAX`] partitions each and [`TOTAL_PARTITIONS_MAX`] together; a fetch beyond any
//! of them is served without one.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::VecDeque;
use std::rc::Rc;

use kafka_protocol::ResponseError;
use protocol::{LeaderEpoch, Offset, PartitionId, TopicId};

/// Request epoch of a fetch that wants no session, or wants its session closed.
pub const EPOCH_FINAL: i32 = -1;
/// Request epoch of a full fetch that wants a new session.
pub const EPOCH_INITIAL: i32 = 0;
/// Session id of a fetch without a session.
pub const NO_SESSION: i32 = 0;
/// A session of more partitions is not kept.
pub const SESSION_PARTITIONS_MAX: usize = 100_000;
/// Partitions in all sessions of a shard together; beyond it fetches are served without a session.
pub const TOTAL_PARTITIONS_MAX: usize = 400_000;
/// A session unused for this long may make room for another (Kafka: `MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS`).
const EVICTION_AGE_MIN_MS: i64 = 120_000;

/// A topic as the client names it: by id from version 13 on, by name before.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TopicRef {
    Id(TopicId),
    Name(Rc<str>),
}

impl TopicRef {
    /// Both share one copy of a name.
    pub fn is_same_name(&self, other: &TopicRef) -> bool {
        matches!((self, other), (TopicRef::Name(one), TopicRef::Name(other)) if Rc::ptr_eq(one, other))
    }

    /// Bytes of the name's copy.
    pub fn name_bytes(&self) -> usize {
        match self {
            TopicRef::Id(_) => 0,
            TopicRef::Name(name) => name.len(),
        }
    }
}

/// One partition of a fetch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FetchKey {
    pub topic: TopicRef,
    pub partition: PartitionId,
}

/// What a client wants of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionFetch {
    pub fetch_offset: Offset,
    pub max_bytes: i32,
    /// -1: not checked.
    pub current_leader_epoch: LeaderEpoch,
    /// -1: divergence is not checked.
    pub last_fetched_epoch: LeaderEpoch,
}

impl PartitionFetch {
    /// The limit, without a sign.
    pub fn bytes_max(&self) -> usize {
        usize::try_from(self.max_bytes).unwrap_or(0)
    }
}

/// What an answer says of one partition, as far as sessions care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionAnswer {
    pub high_watermark: Offset,
    pub log_start_offset: Offset,
    pub has_records: bool,
    /// An error, a diverging epoch or a replica to read from instead: always told, and told again.
    pub must_tell: bool,
}

/// How a request is to be answered.
#[derive(Debug, PartialEq, Eq)]
pub enum SessionPlan {
    /// No session: answer all partitions, session id 0.
    Sessionless { fetches: Vec<(FetchKey, PartitionFetch)> },
    /// The first fetch of a new session: answer all partitions.
    New { session_id: i32, fetches: Vec<(FetchKey, PartitionFetch)> },
    /// Answer what changed.
    Incremental { session_id: i32, fetches: Vec<(FetchKey, PartitionFetch)> },
}

/// The session fields and partitions of a Fetch request.
#[derive(Debug, Clone)]
pub struct SessionRequest {
    pub session_id: i32,
    pub session_epoch: i32,
    pub fetches: Vec<(FetchKey, PartitionFetch)>,
    pub forgotten: Vec<FetchKey>,
    pub uses_topic_ids: bool,
}

#[derive(Debug)]
struct CachedPartition {
    fetch: PartitionFetch,
    /// What the client was told last; `None` before its first answer.
    told: Option<(Offset, Offset)>,
}

#[derive(Debug)]
struct Session {
    /// Epoch that the next request must carry.
    epoch_next: i32,
    uses_topic_ids: bool,
    last_used_ms: i64,
    partitions: HashMap<FetchKey, CachedPartition>,
    /// Every key of `partitions` once. What was answered with records goes to the back, so that with a small limit all
    /// partitions get their turn.
    order: VecDeque<FetchKey>,
}

/// The sessions of one shard.
#[derive(Debug)]
pub struct SessionCache {
    slots_max: usize,
    shard: usize,
    shards: usize,
    sessions: HashMap<i32, Session>,
}

impl SessionCache {
    /// `slots_max` sessions for shard `shard` of `shards`.
    pub fn new(slots_max: usize, shard: usize, shards: usize) -> SessionCache {
        assert!(shard < shards);
        SessionCache { slots_max, shard, shards, sessions: HashMap::new() }
    }

    /// Sessions that live.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Decides what `request` fetches. `random` picks the id of a new session.
    pub fn begin(&mut self, request: SessionRequest, now_ms: i64, random: u32) -> Result<SessionPlan, ResponseError> {
        match request.session_epoch {
            EPOCH_FINAL => {
                self.sessions.remove(&request.session_id);
                Ok(SessionPlan::Sessionless { fetches: request.fetches })
            }
            EPOCH_INITIAL => {
                self.sessions.remove(&request.session_id);
                Ok(self.create(request, now_ms, random))
            }
            epoch => self.continue_session(request, epoch, now_ms),
        }
    }

    fn create(&mut self, request: SessionRequest, now_ms: i64, random: u32) -> SessionPlan {
        let fetches = request.fetches;
        let total = self.total_partitions() + fetches.len();
        if fetches.len() > SESSION_PARTITIONS_MAX
            || total > TOTAL_PARTITIONS_MAX
            || !self.make_room(now_ms, fetches.len())
        {
            return SessionPlan::Sessionless { fetches };
        }
        let session_id = self.unused_id(random);
        let mut session = Session {
            epoch_next: 1,
            uses_topic_ids: request.uses_topic_ids,
            last_used_ms: now_ms,
            partitions: HashMap::with_capacity(fetches.len()),
            order: VecDeque::with_capacity(fetches.len()),
        };
        for (key, fetch) in &fetches {
            session.set(key.clone(), *fetch);
        }
        self.sessions.insert(session_id, session);
        SessionPlan::New { session_id, fetches }
    }

    fn continue_session(
        &mut self,
        request: SessionRequest,
        epoch: i32,
        now_ms: i64,
    ) -> Result<SessionPlan, ResponseError> {
        let total = self.total_partitions();
        let session = self.sessions.get_mut(&request.session_id).ok_or(ResponseError::FetchSessionIdNotFound)?;
        if session.epoch_next != epoch {
            return Err(ResponseError::InvalidFetchSessionEpoch);
        }
        if session.uses_topic_ids != request.uses_topic_ids {
            return Err(ResponseError::FetchSessionTopicIdError);
        }
        if session.partitions.len() + request.fetches.len() > 2 * SESSION_PARTITIONS_MAX
            || total + request.fetches.len() > TOTAL_PARTITIONS_MAX
        {
            self.sessions.remove(&request.session_id);
            return Err(ResponseError::FetchSessionIdNotFound);
        }
        for key in &request.forgotten {
            session.partitions.remove(key);
        }
        if !request.forgotten.is_empty() {
            session.order.retain(|key| session.partitions.contains_key(key));
        }
        for (key, fetch) in request.fetches {
            session.set(key, fetch);
        }
        if session.partitions.is_empty() {
            // As Kafka: an emptied session is closed and the client told so by id 0.
            self.sessions.remove(&request.session_id);
            return Ok(SessionPlan::Sessionless { fetches: Vec::new() });
        }
        session.last_used_ms = now_ms;
        session.epoch_next = epoch.checked_add(1).unwrap_or(1);
        let fetches = session.order.iter().map(|key| (key.clone(), session.partitions[key].fetch)).collect();
        Ok(SessionPlan::Incremental { session_id: request.session_id, fetches })
    }

    /// Whether the answer of an incremental fetch must mention a partition.
    ///
    /// True for all of a session that is gone meanwhile.
    pub fn must_tell(&self, session_id: i32, key: &FetchKey, answer: &PartitionAnswer) -> bool {
        let Some(cached) = self.sessions.get(&session_id).and_then(|s| s.partitions.get(key)) else { return true };
        answer.has_records || answer.must_tell || cached.told != Some((answer.high_watermark, answer.log_start_offset))
    }

    /// Notes what the client is told about a partition, and sends a partition that had records to the back of the queue.
    pub fn told(&mut self, session_id: i32, answers: &[(FetchKey, PartitionAnswer)]) {
        let Some(session) = self.sessions.get_mut(&session_id) else { return };
        let mut served = Vec::new();
        for (key, answer) in answers {
            let Some(cached) = session.partitions.get_mut(key) else { continue };
            // It is told again until it is gone, and what follows it is news.
            cached.told = (!answer.must_tell).then_some((answer.high_watermark, answer.log_start_offset));
            if answer.has_records {
                served.push(key.clone());
            }
        }
        if !served.is_empty() {
            let moved: std::collections::HashSet<&FetchKey> = served.iter().collect();
            session.order.retain(|key| !moved.contains(key));
            session.order.extend(served);
        }
    }

    fn total_partitions(&self) -> usize {
        self.sessions.values().map(|session| session.partitions.len()).sum()
    }

    /// Frees a slot if none is free: the session unused for longest goes, if that is long enough ago or it is smaller
    /// than the new one.
    fn make_room(&mut self, now_ms: i64, partitions: usize) -> bool {
        if self.sessions.len() < self.slots_max {
            return true;
        }
        let Some((&oldest, session)) = self.sessions.iter().min_by_key(|(_, s)| s.last_used_ms) else { return false };
        if now_ms.saturating_sub(session.last_used_ms) <= EVICTION_AGE_MIN_MS && session.partitions.len() >= partitions
        {
            return false;
        }
        self.sessions.remove(&oldest);
        true
    }

    /// A positive id that is `shard` modulo `shards` and not in use.
    fn unused_id(&self, random: u32) -> i32 {
        let shards = i32::try_from(self.shards).expect("fewer than 2^31 shards");
        let shard = i32::try_from(self.shard).expect("fewer than 2^31 shards");
        // Ids run shards + shard, 2 * shards + shard, …: never 0, which means "no session".
        let groups = i32::MAX / shards - 1;
        let mut group = (random >> 1) as i32 % groups;
        loop {
            let id = (group + 1) * shards + shard;
            if !self.sessions.contains_key(&id) {
                return id;
            }
            group = (group + 1) % groups;
        }
    }
}

impl Session {
    fn set(&mut self, key: FetchKey, fetch: PartitionFetch) {
        match self.partitions.get_mut(&key) {
            Some(cached) => cached.fetch = fetch,
            None => {
                self.order.push_back(key.clone());
                self.partitions.insert(key, CachedPartition { fetch, told: None });
            }
        }
    }
}
