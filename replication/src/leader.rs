//! What the leader of a partition decides: up to where it is committed, and who is in sync.
//!
//! A record is committed once every member of the ISR has it on disk, the leader included, and the ISR is no smaller than
//! `min.insync.replicas`. The high watermark is the end of what is committed: consumers read up to it, produces with
//! acks=all are answered by it. Below `min.insync.replicas` it stands still whatever the acks (KIP-966), and it never goes
//! back.
//!
//! A follower is in sync while, within `replica.lag.time.max.ms`, it reached an end that the leader had then. The leader
//! proposes a changed ISR to the controller, one change at a time (KIP-497). Until the metadata says what became of it, the
//! members of both the old and the proposed ISR count for the high watermark. A change without an answer may have been made, and
//! one that was refused too, by another copy of the request: they count until the metadata has moved on, and until it has the
//! leader asks again. A follower that has caught up and is about to join counts as well, or one
//! that is always a batch behind would never reach the high watermark.
//!
//! One [`Leader`] lives as long as one leader epoch: what a replica acknowledged at another epoch may have been cut since, so
//! it does not count. A follower's acknowledgements count from [`Leader::on_agreed`] on.
//!
//! Times are milliseconds of any clock that never goes back.

use protocol::newtypes::{BrokerId, LeaderEpoch, Offset};

#[cfg(test)]
mod tests;

/// Pause after a proposal that was refused or not answered.
const PROPOSAL_PAUSE_MS: u64 = 500;

/// What a leader is told of its partition by the metadata.
#[derive(Clone, Copy, Debug)]
pub struct Assignment<'a> {
    pub replicas: &'a [BrokerId],
    pub isr: &'a [BrokerId],
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: i32,
}

/// The settings that a leader follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `min.insync.replicas`; below 1 counts as 1.
    pub min_insync_replicas: i32,
    /// `replica.lag.time.max.ms`.
    pub lag_time_max_ms: u64,
}

/// The broker epochs of brokers that may be in an ISR: those that are registered and not fenced.
pub trait Brokers {
    fn epoch(&self, broker: BrokerId) -> Option<u64>;
}

impl<F: Fn(BrokerId) -> Option<u64>> Brokers for F {
    fn epoch(&self, broker: BrokerId) -> Option<u64> {
        self(broker)
    }
}

/// What an event is judged by.
#[derive(Clone, Copy)]
pub struct Now<'a> {
    pub ms: u64,
    /// The leader's log end offset.
    pub log_end: Offset,
    pub brokers: &'a dyn Brokers,
}

/// An ISR for the controller to agree to (AlterPartition).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    pub leader_epoch: LeaderEpoch,
    /// That the change is based on.
    pub partition_epoch: i32,
    /// Members with their broker epochs (KIP-903).
    pub isr: Vec<(BrokerId, u64)>,
}

/// What became of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was made; the metadata tells of it, or has told.
    Made,
    /// It was not made, says whoever was asked. If the request was sent more than once another copy of it may have been, or may
    /// yet be, so it counts like one without an answer.
    Refused,
    /// It may have been made, or may yet be.
    Unknown,
}

/// What follows from an event.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[must_use]
pub struct Effects {
    /// The new high watermark, if it rose.
    pub high_watermark: Option<Offset>,
    /// To be sent to the controller, and answered by [`Leader::on_outcome`].
    pub proposal: Option<Proposal>,
}

/// What a leader knows of one replica, itself included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    pub id: BrokerId,
    pub in_sync: bool,
    /// End of what is on the replica's disk; `None` while it has not agreed with the leader in this epoch.
    pub durable_end: Option<Offset>,
    /// Since when it lacks something that the leader has; `None` if it lacks nothing.
    pub behind_for_ms: Option<u64>,
}

/// The decisions of a partition's leader in one leader epoch.
///
/// Invariants: the leader is a replica and in the ISR; the ISR holds replicas only; the high watermark only rises, and does
/// not pass the durable end of any member of the ISR or of one that was proposed, unless it began beyond it.
#[derive(Clone, Debug)]
pub struct Leader {
    me: BrokerId,
    leader_epoch: LeaderEpoch,
    /// Log end offset at which the epoch began.
    epoch_start: Offset,
    partition_epoch: i32,
    replicas: Vec<Replica>,
    settings: Settings,
    high_watermark: Offset,
    in_flight: Option<i32>,
    /// A proposal of this partition epoch may have been made although nobody said so.
    in_doubt: bool,
    /// No proposal before.
    paused_until_ms: u64,
}

#[derive(Clone, Debug)]
struct Replica {
    id: BrokerId,
    in_sync: bool,
    /// In an ISR that was proposed on the current partition epoch, whatever was answered.
    proposed: bool,
    /// It has agreed, and was not lost since: what it has on disk is what it has now.
    agreed: bool,
    /// Not in sync, it has caught up, and may join the ISR.
    joining: bool,
    durable_end: Option<Offset>,
    /// Of the process that acknowledges.
    broker_epoch: Option<u64>,
    /// When it last was at an end that the leader had then.
    caught_up_ms: Option<u64>,
    /// An end of the leader's log, and when it was that: the next to be reached.
    mark: Option<(Offset, u64)>,
}

impl Replica {
    fn new(id: BrokerId) -> Replica {
        Replica {
            id,
            in_sync: false,
            proposed: false,
            agreed: false,
            joining: false,
            durable_end: None,
            broker_epoch: None,
            caught_up_ms: None,
            mark: None,
        }
    }

    /// It has everything before `end`, at a moment at which the leader has everything before `log_end`.
    ///
    /// The mark moves only when it was reached: a follower that is always some batches behind passes each in its turn.
    fn note_end(&mut self, end: Offset, now: Now<'_>) {
        match self.mark {
            _ if end >= now.log_end => self.caught_up_ms = Some(now.ms),
            Some((reached, at)) if end >= reached => self.caught_up_ms = self.caught_up_ms.max(Some(at)),
            Some(_) => return,
            None => {}
        }
        self.mark = Some((now.log_end, now.ms));
    }

    fn is_caught_up(&self, now: Now<'_>, lag_time_max_ms: u64) -> bool {
        self.durable_end.is_some_and(|end| end >= now.log_end)
            || self.caught_up_ms.is_some_and(|at| now.ms.saturating_sub(at) <= lag_time_max_ms)
    }

    /// Whether its process may be in an ISR.
    fn is_eligible(&self, brokers: &dyn Brokers) -> bool {
        self.broker_epoch.is_some() && self.broker_epoch == brokers.epoch(self.id)
    }

    /// Looks again at whether it may join: whether it is let in says the metadata, while it may have nothing to say itself.
    fn note_joining(&mut self, now: Now<'_>, lag_time_max_ms: u64) {
        self.joining =
            !self.in_sync && self.agreed && self.is_caught_up(now, lag_time_max_ms) && self.is_eligible(now.brokers);
    }

    fn counts(&self) -> bool {
        self.in_sync || self.proposed || self.joining
    }
}

impl Leader {
    /// The begin of a leader epoch, with the log ending at `now.log_end`. `high_watermark` is the highest that is known from
    /// before, and `durable_end` that of the leader's own disk.
    ///
    /// # Panics
    /// If the leader is not in the ISR, or the ISR is not part of the replicas: no election gives such a partition.
    #[must_use]
    pub fn new(
        me: BrokerId,
        assignment: Assignment<'_>,
        settings: Settings,
        high_watermark: Offset,
        durable_end: Offset,
        now: Now<'_>,
    ) -> Leader {
        let mut leader = Leader {
            me,
            leader_epoch: assignment.leader_epoch,
            epoch_start: now.log_end,
            partition_epoch: assignment.partition_epoch,
            replicas: Vec::new(),
            settings,
            high_watermark,
            in_flight: None,
            in_doubt: false,
            paused_until_ms: 0,
        };
        leader.set_members(assignment);
        for replica in &mut leader.replicas {
            // Whoever was in sync has the whole lag time to show up.
            replica.caught_up_ms = replica.in_sync.then_some(now.ms);
            replica.mark = Some((now.log_end, now.ms));
        }
        let own = leader.replica_mut(me).expect("the leader is a replica");
        own.durable_end = Some(durable_end);
        leader.advance();
        leader
    }

    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// Where the epoch began.
    #[must_use]
    pub fn epoch_start(&self) -> Offset {
        self.epoch_start
    }

    /// The offset after the last committed record.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Whether the ISR is large enough for the high watermark to advance; a produce with acks=all is refused otherwise
    /// (NOT_ENOUGH_REPLICAS). No more members are asked for than there are replicas, as in Kafka.
    #[must_use]
    pub fn has_min_insync_replicas(&self) -> bool {
        let size = self.replicas.iter().filter(|replica| replica.in_sync).count();
        let wanted = usize::try_from(self.settings.min_insync_replicas).unwrap_or(0).max(1);
        size >= wanted.min(self.replicas.len())
    }

    /// Whether the partition has replicas elsewhere, for which the high watermark may wait.
    #[must_use]
    pub fn has_followers(&self) -> bool {
        self.replicas.len() > 1
    }

    #[must_use]
    pub fn is_in_sync(&self, replica: BrokerId) -> bool {
        self.replicas.iter().any(|known| known.id == replica && known.in_sync)
    }

    /// The replicas other than this one.
    pub fn followers(&self) -> impl Iterator<Item = BrokerId> + '_ {
        self.replicas.iter().map(|replica| replica.id).filter(|id| *id != self.me)
    }

    /// All replicas, as they stand now.
    pub fn status(&self, now_ms: u64, log_end: Offset) -> impl Iterator<Item = ReplicaStatus> + '_ {
        self.replicas.iter().map(move |replica| {
            let behind = replica.id != self.me && replica.durable_end.is_none_or(|end| end < log_end);
            // One that never was at the leader's end lacks something since that was where it has not come to yet.
            let since = replica.caught_up_ms.or(replica.mark.map(|(_, at)| at)).unwrap_or(now_ms);
            ReplicaStatus {
                id: replica.id,
                in_sync: replica.in_sync,
                durable_end: replica.durable_end,
                behind_for_ms: behind.then(|| now_ms.saturating_sub(since)),
            }
        })
    }

    /// The leader's own disk has everything before `end`. Gives the high watermark if it rose.
    pub fn on_own_durable(&mut self, end: Offset) -> Option<Offset> {
        let me = self.me;
        let own = self.replica_mut(me).expect("the leader is a replica");
        if own.durable_end.is_some_and(|known| known >= end) {
            return None;
        }
        own.durable_end = Some(end);
        self.advance()
    }

    /// A follower's log is the begin of the leader's, up to `end`, all of it on the follower's disk; its process has the given
    /// broker epoch. What was known of an earlier process of it does not count any more.
    pub fn on_agreed(&mut self, follower: BrokerId, broker_epoch: u64, end: Offset, now: Now<'_>) -> Effects {
        let Some(replica) = self.follower_mut(follower) else { return Effects::default() };
        replica.durable_end = Some(end);
        replica.broker_epoch = Some(broker_epoch);
        replica.agreed = true;
        self.on_progress(follower, end, now)
    }

    /// A follower that has agreed has everything before `end` on disk. An `end` below an earlier one is an acknowledgement
    /// that was overtaken, and one of a broker that is no replica is of an older assignment: neither changes anything.
    pub fn on_durable(&mut self, follower: BrokerId, end: Offset, now: Now<'_>) -> Effects {
        let Some(replica) = self.follower_mut(follower) else { return Effects::default() };
        match replica.durable_end {
            Some(known) if known <= end => replica.durable_end = Some(end),
            _ => return Effects::default(),
        }
        self.on_progress(follower, end, now)
    }

    fn on_progress(&mut self, follower: BrokerId, end: Offset, now: Now<'_>) -> Effects {
        let lag_time_max_ms = self.settings.lag_time_max_ms;
        let replica = self.follower_mut(follower).expect("it was just there");
        replica.note_end(end, now);
        if replica.in_sync {
            return Effects { high_watermark: self.advance(), proposal: None };
        }
        replica.note_joining(now, lag_time_max_ms);
        let high_watermark = self.advance();
        Effects { high_watermark, proposal: self.propose(now) }
    }

    /// A follower cannot be reached: it is waited for only as long as it counts as in sync.
    pub fn on_lost(&mut self, follower: BrokerId) -> Option<Offset> {
        let replica = self.follower_mut(follower)?;
        (replica.agreed, replica.joining) = (false, false);
        self.advance()
    }

    /// Looks at who has fallen behind, and whether a proposal is due; to be called every now and then.
    pub fn on_tick(&mut self, now: Now<'_>) -> Effects {
        let lag_time_max_ms = self.settings.lag_time_max_ms;
        for replica in &mut self.replicas {
            // Where nobody writes nothing is acknowledged either: it is at the end now, and not since it last said so.
            if let Some(end) = replica.durable_end
                && replica.agreed
                && end >= now.log_end
            {
                replica.note_end(end, now);
            }
            replica.note_joining(now, lag_time_max_ms);
        }
        let high_watermark = self.advance();
        Effects { high_watermark, proposal: self.propose(now) }
    }

    /// What became of the proposal that was based on `partition_epoch`.
    pub fn on_outcome(&mut self, partition_epoch: i32, outcome: Outcome, now_ms: u64) -> Option<Offset> {
        if self.in_flight != Some(partition_epoch) {
            // The metadata has moved on since.
            return None;
        }
        if outcome != Outcome::Made {
            self.in_doubt = true;
            self.in_flight = None;
            self.paused_until_ms = now_ms + PROPOSAL_PAUSE_MS;
        }
        // Nothing counts less for it before the metadata says so.
        self.advance()
    }

    /// What the metadata says of this partition, in the same leader epoch. Of a replica that stays, what it has on disk stays
    /// known. Told again of a partition epoch, a leader does nothing: what it has proposed on that one may still be made.
    ///
    /// # Panics
    /// As [`Leader::new`], or if the leader epoch is another.
    pub fn on_assignment(&mut self, assignment: Assignment<'_>) -> Option<Offset> {
        assert_eq!(assignment.leader_epoch, self.leader_epoch, "another epoch has a leader of its own");
        if assignment.partition_epoch <= self.partition_epoch {
            return None;
        }
        self.partition_epoch = assignment.partition_epoch;
        self.in_flight = None;
        self.in_doubt = false;
        self.paused_until_ms = 0;
        self.set_members(assignment);
        self.advance()
    }

    /// The settings are others now. Gives the high watermark if it rose.
    pub fn on_settings(&mut self, settings: Settings) -> Option<Offset> {
        self.settings = settings;
        self.advance()
    }

    fn set_members(&mut self, Assignment { replicas, isr, .. }: Assignment<'_>) {
        assert!(isr.contains(&self.me), "leader {} is not in its ISR {isr:?}", self.me);
        for id in isr {
            assert!(replicas.contains(id), "ISR member {id} is no replica");
        }
        let known = std::mem::take(&mut self.replicas);
        let replica = |id: &BrokerId| known.iter().find(|replica| replica.id == *id).cloned();
        self.replicas = replicas.iter().map(|id| replica(id).unwrap_or_else(|| Replica::new(*id))).collect();
        for replica in &mut self.replicas {
            replica.in_sync = isr.contains(&replica.id);
            replica.proposed = false;
            replica.joining &= !replica.in_sync;
        }
    }

    fn replica_mut(&mut self, id: BrokerId) -> Option<&mut Replica> {
        self.replicas.iter_mut().find(|replica| replica.id == id)
    }

    fn follower_mut(&mut self, id: BrokerId) -> Option<&mut Replica> {
        let me = self.me;
        self.replica_mut(id).filter(|replica| replica.id != me)
    }

    /// Whether a follower is to be in the ISR.
    fn belongs(&self, replica: &Replica, now: Now<'_>) -> bool {
        if replica.id == self.me {
            return true;
        }
        if replica.in_sync {
            return replica.is_caught_up(now, self.settings.lag_time_max_ms);
        }
        let reached = |needed| replica.durable_end.is_some_and(|end| end >= needed);
        replica.joining && reached(self.high_watermark) && reached(self.epoch_start)
    }

    /// The ISR as it should be, if that is not what it is, or if it is not known what it is.
    fn propose(&mut self, now: Now<'_>) -> Option<Proposal> {
        if self.in_flight.is_some() || now.ms < self.paused_until_ms {
            return None;
        }
        let belongs: Vec<bool> = self.replicas.iter().map(|replica| self.belongs(replica, now)).collect();
        let differs = self.replicas.iter().zip(&belongs).any(|(replica, belongs)| replica.in_sync != *belongs);
        if !differs && !self.in_doubt {
            return None;
        }
        let mut isr = Vec::new();
        for (replica, belongs) in self.replicas.iter_mut().zip(belongs) {
            if belongs {
                // Of a member that has said nothing in this epoch the metadata knows best which process it is.
                let epoch = replica.broker_epoch.or_else(|| now.brokers.epoch(replica.id))?;
                isr.push((replica.id, epoch));
            }
        }
        for replica in &mut self.replicas {
            replica.proposed |= isr.iter().any(|(id, _)| *id == replica.id);
        }
        self.in_flight = Some(self.partition_epoch);
        Some(Proposal { leader_epoch: self.leader_epoch, partition_epoch: self.partition_epoch, isr })
    }

    fn advance(&mut self) -> Option<Offset> {
        if !self.has_min_insync_replicas() {
            return None;
        }
        let counting = self.replicas.iter().filter(|replica| replica.counts());
        // One that has said nothing has nothing, for all that is known.
        let committed_end = counting.map(|replica| replica.durable_end.unwrap_or(Offset::ZERO)).min()?;
        if committed_end <= self.high_watermark {
            return None;
        }
        self.high_watermark = committed_end;
        Some(committed_end)
    }
}
