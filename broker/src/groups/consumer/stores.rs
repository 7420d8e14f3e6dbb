//! Changes of groups on their way to the log.
//!
//! A change shows at once in the group that later requests are decided by, and what a client is told waits for the store.
//! So that a store may fail, the last durable state of a group is kept while any store of it is under way. After a failure
//! the group becomes that state again. What is still under way was decided on top of what failed, and fails too
//! ([`GroupEffect::Store`](super::super::api::GroupEffect::Store)): records of which only some are there could give a
//! partition two owners.

use std::collections::VecDeque;

use kafka_protocol::protocol::StrBytes;

use super::super::api::{GroupReply, RequestToken, StoreFailure, StoreId, StoreOutcome, StoredRecord};
use super::super::coordinator::GroupCoordinator;
use super::super::group::Group;
use super::super::load::restored;
use super::super::records::EncodeError;
use super::super::shell::{Pending, error_of};
use super::change::Change;
use super::group::{ConsumerGroup, Recorded};
use super::member::MemberState;

/// A group of either protocol, as far as records go.
#[derive(Clone, Debug)]
pub(in crate::groups) enum Durable {
    Classic(Box<Group>),
    Consumer(Recorded),
}

/// Makes a change of a group, which may come into being or go by it.
pub(in crate::groups) fn apply(state: Option<Durable>, id: &StrBytes, change: &Change) -> Option<Durable> {
    match (state, change) {
        (Some(Durable::Classic(_)), Change::Classic(None)) => None,
        (_, Change::Classic(Some(value))) => Some(Durable::Classic(Box::new(restored(id.clone(), (**value).clone())))),
        (Some(Durable::Consumer(mut recorded)), change) => {
            recorded.apply(change).then_some(Durable::Consumer(recorded))
        }
        // A classic group that is in the way has only offsets, or lost its tombstone.
        (_, change) if change.makes_consumer_group() => {
            let mut recorded = Recorded::default();
            recorded.apply(change);
            Some(Durable::Consumer(recorded))
        }
        (state, _) => state,
    }
}

/// The records of changes, in their order.
pub(in crate::groups) fn records_of(group: &StrBytes, changes: &[Change]) -> Result<Vec<StoredRecord>, EncodeError> {
    changes.iter().map(|change| change.record(group)).collect()
}

/// The stores of one group that are under way.
#[derive(Debug)]
pub(in crate::groups) struct Flight {
    /// The group as it was before the first of them.
    durable: Option<Durable>,
    stores: VecDeque<FlyingStore>,
}

#[derive(Debug)]
struct FlyingStore {
    id: StoreId,
    changes: Vec<Change>,
    /// A store before it failed, so that it is to fail too, which is taken back already.
    is_void: bool,
}

impl Flight {
    /// The group as of the last durable store.
    pub(in crate::groups) fn durable(&self) -> Option<&Durable> {
        self.durable.as_ref()
    }
}

impl GroupCoordinator {
    /// Stores changes of a group that have been made. `before` is the group without them, which is wanted only if no store
    /// of the group is under way ([`wants_before`](Self::wants_before)).
    pub(in crate::groups) fn store_changes(
        &mut self,
        group: &StrBytes,
        before: Option<Durable>,
        records: Vec<StoredRecord>,
        changes: Vec<Change>,
    ) -> StoreId {
        let store = self.shell.store(records, Pending { changed: vec![group.clone()], ..Pending::default() });
        self.note_changes(group, before, store, changes);
        store
    }

    /// Takes note of changes that `store` carries.
    pub(in crate::groups) fn note_changes(
        &mut self,
        group: &StrBytes,
        before: Option<Durable>,
        store: StoreId,
        changes: Vec<Change>,
    ) {
        let flight =
            self.flights.entry(group.clone()).or_insert_with(|| Flight { durable: before, stores: VecDeque::new() });
        flight.stores.push_back(FlyingStore { id: store, changes, is_void: false });
    }

    /// Whether the state before a change is to be kept, because no store of the group is under way.
    pub(in crate::groups) fn wants_before(&self, group: &StrBytes) -> bool {
        !self.flights.contains_key(group)
    }

    /// Answers when everything that the answer may rest on is durable.
    pub(in crate::groups) fn reply_when_durable(&mut self, group: &StrBytes, token: RequestToken, reply: GroupReply) {
        match self.flights.get(group).and_then(|flight| flight.stores.back()).filter(|last| !last.is_void) {
            Some(last) => {
                let store = last.id;
                self.shell.reply_after(store, token, reply);
            }
            None => self.shell.reply(token, reply),
        }
    }

    /// A store has ended, with its changes of a group.
    pub(in crate::groups) fn changes_ended(
        &mut self,
        now_ms: i64,
        group: &StrBytes,
        store: StoreId,
        outcome: StoreOutcome,
    ) {
        let Some(flight) = self.flights.get_mut(group) else { return };
        if flight.stores.front().is_none_or(|first| first.id != store) {
            return;
        }
        let Some(ended) = flight.stores.pop_front() else { return };
        match outcome {
            StoreOutcome::Durable => {
                debug_assert!(!ended.is_void, "a store that rests on one that failed");
                let durable = flight.durable.take();
                flight.durable = ended.changes.iter().fold(durable, |state, change| apply(state, group, change));
            }
            StoreOutcome::Failed(_) if ended.is_void => {}
            StoreOutcome::Failed(failure) => {
                flight.stores.iter_mut().for_each(|store| store.is_void = true);
                let durable = flight.durable.clone();
                self.put_back(now_ms, group, durable, failure);
            }
        }
        if self.flights.get(group).is_some_and(|flight| flight.stores.is_empty()) {
            self.flights.remove(group);
        }
    }

    /// Takes a group up again at an earlier state.
    fn put_back(&mut self, now_ms: i64, id: &StrBytes, state: Option<Durable>, failure: StoreFailure) {
        self.consumers.remove(id);
        if let Some(mut turn) = self.turn(id, now_ms) {
            turn.dissolve(error_of(failure));
        }
        self.groups.remove(id);
        match state {
            Some(Durable::Consumer(recorded)) => {
                let group = ConsumerGroup::restored(id.clone(), recorded);
                self.consumers.insert(id.clone(), group);
                self.resume_consumer_group(now_ms, id);
            }
            Some(Durable::Classic(group)) => {
                self.groups.insert(id.clone(), *group);
                if let Some(mut turn) = self.turn(id, now_ms) {
                    turn.resume();
                }
            }
            // Offsets that came meanwhile have made their own way to the log.
            None if self.offsets.has_group(id) => {
                self.groups.insert(id.clone(), Group::new(id.clone(), now_ms));
            }
            None => {}
        }
    }

    /// Begins the sessions of a group's members, and what they have to do in time.
    pub(in crate::groups) fn resume_consumer_group(&mut self, now_ms: i64, id: &StrBytes) {
        let Some(group) = self.consumers.get_mut(id) else { return };
        let mut revoking = Vec::new();
        for member in group.recorded().members.values() {
            self.shell.renew_session(now_ms, id, member);
            if member.state() == MemberState::UnrevokedPartitions && member.classic().is_none() {
                let deadline_ms = now_ms.saturating_add(member.metadata.rebalance_timeout_ms.into());
                self.shell.schedule_revocation(id, &member.id, deadline_ms);
                revoking.push((member.id.clone(), member.epoch()));
            }
        }
        group.revocations.extend(revoking);
    }
}
