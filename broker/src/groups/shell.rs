//! What the groups of one coordinator share: who waits for an answer, what is on its way to the log, and the effects
//! that a call has gathered so far.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::OffsetFetchRequest;
use kafka_protocol::protocol::StrBytes;

use super::api::{GroupEffect, GroupReply, RequestToken, StoreFailure, StoreId, StoredRecord};
use super::config::{GroupConfig, GroupSettings};
use super::consumer::ConsumerMember;
use super::group::Group;
use super::member::Protocol;
use super::offsets::OffsetKey;
use super::timers::{TimerKey, Timers};
use super::versions;

/// What waits for a store.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Offsets that the store changes.
    pub(super) offsets: Vec<OffsetKey>,
    /// Answers for the case that it becomes durable; if it fails they are turned into errors.
    pub(super) replies: Vec<(RequestToken, GroupReply)>,
    /// OffsetFetches that want stable offsets: answered from what is durable then.
    pub(super) fetches: Vec<(RequestToken, OffsetFetchRequest)>,
    /// Groups that the store deletes; they come back if it fails.
    pub(super) removed_groups: Vec<Group>,
    /// Groups of which the store carries [changes](super::consumer::Change).
    pub(super) changed: Vec<StrBytes>,
    pub(super) then: Then,
}

/// What else happens when a store ends.
#[derive(Debug, Default)]
pub(super) enum Then {
    #[default]
    Nothing,
    /// It made a group known, which is dropped if it fails.
    GroupCreated { group: StrBytes },
    /// It carried the leader's assignment.
    Assigned { group: StrBytes, generation: i32, assignment: BTreeMap<StrBytes, Bytes> },
    /// It gave a static member a new id without a rebalance.
    StaticMemberReplaced(Box<Replacement>),
}

/// A static member's change of id, and how to take it back.
#[derive(Debug)]
pub(super) struct Replacement {
    pub(super) group: StrBytes,
    pub(super) old_id: StrBytes,
    pub(super) new_id: StrBytes,
    pub(super) old_protocols: Vec<Protocol>,
    pub(super) old_rebalance_timeout_ms: i32,
    pub(super) old_session_timeout_ms: i32,
    /// The leader before the change, which JoinGroup before version 9 is told.
    pub(super) leader_before: StrBytes,
    /// The version of the JoinGroup: `skip_assignment` comes with 9.
    pub(super) api_version: i16,
}

#[derive(Debug)]
pub(super) struct Shell {
    pub(super) config: GroupConfig,
    /// Of groups that have their own, which need not exist.
    settings: HashMap<StrBytes, GroupSettings>,
    pub(super) timers: Timers,
    effects: Vec<GroupEffect>,
    /// Every request that is to be answered, with its version.
    waiting: HashMap<RequestToken, i16>,
    in_flight: BTreeMap<StoreId, Pending>,
    next_store: u64,
}

impl Shell {
    pub(super) fn new(config: GroupConfig) -> Shell {
        Shell {
            config,
            settings: HashMap::new(),
            timers: Timers::default(),
            effects: Vec::new(),
            waiting: HashMap::new(),
            in_flight: BTreeMap::new(),
            next_store: 0,
        }
    }

    /// Gives a group settings of its own, or takes them away.
    pub(super) fn set_settings(&mut self, group: StrBytes, settings: Option<GroupSettings>) {
        match settings {
            Some(settings) => self.settings.insert(group, settings),
            None => self.settings.remove(&group),
        };
    }

    pub(super) fn settings(&self, group: &StrBytes) -> GroupSettings {
        self.settings.get(group).copied().unwrap_or_else(|| GroupSettings::from(&self.config))
    }

    pub(super) fn expect_reply(&mut self, token: RequestToken, api_version: i16) {
        let before = self.waiting.insert(token, api_version);
        debug_assert!(before.is_none(), "{token:?} is waiting already");
    }

    /// Forgets a request whose connection is gone.
    pub(super) fn forget(&mut self, token: RequestToken) {
        self.waiting.remove(&token);
    }

    #[cfg(test)]
    pub(super) fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    #[cfg(test)]
    pub(super) fn stores_in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Answers a request, unless it has been forgotten.
    pub(super) fn reply(&mut self, token: RequestToken, reply: GroupReply) {
        if let Some(api_version) = self.waiting.remove(&token) {
            self.effects.push(GroupEffect::Reply { token, reply: versions::fit(reply, api_version) });
        }
    }

    /// The id that the next store will have.
    pub(super) fn next_store_id(&self) -> StoreId {
        StoreId(self.next_store)
    }

    pub(super) fn store(&mut self, records: Vec<StoredRecord>, pending: Pending) -> StoreId {
        debug_assert!(!records.is_empty());
        let store = self.next_store_id();
        self.next_store += 1;
        self.effects.push(GroupEffect::Store { store, records });
        self.in_flight.insert(store, pending);
        store
    }

    /// Holds a fetch of stable offsets back until everything that has been issued so far has ended. Gives it back if
    /// nothing is under way.
    pub(super) fn fetch_after_stores(
        &mut self,
        token: RequestToken,
        request: OffsetFetchRequest,
    ) -> Option<OffsetFetchRequest> {
        match self.in_flight.last_entry() {
            Some(mut last) => {
                last.get_mut().fetches.push((token, request));
                None
            }
            None => Some(request),
        }
    }

    /// Holds an answer back until `store` has ended.
    pub(super) fn reply_after(&mut self, store: StoreId, token: RequestToken, reply: GroupReply) {
        match self.in_flight.get_mut(&store) {
            Some(pending) => pending.replies.push((token, reply)),
            None => self.reply(token, reply),
        }
    }

    /// What waits for a store that has not ended.
    pub(super) fn store_under_way(&mut self, store: StoreId) -> Option<&mut Pending> {
        self.in_flight.get_mut(&store)
    }

    pub(super) fn end_store(&mut self, store: StoreId) -> Option<Pending> {
        self.in_flight.remove(&store)
    }

    pub(super) fn end_all_stores(&mut self) -> Vec<(StoreId, Pending)> {
        std::mem::take(&mut self.in_flight).into_iter().collect()
    }

    pub(super) fn take_effects(&mut self) -> Vec<GroupEffect> {
        std::mem::take(&mut self.effects)
    }

    pub(super) fn schedule_heartbeat(&mut self, group: &StrBytes, member: &StrBytes, deadline_ms: i64) {
        self.timers.schedule(TimerKey::Heartbeat { group: group.clone(), member: member.clone() }, deadline_ms);
    }

    /// Begins the session of a consumer group's member anew.
    pub(super) fn renew_session(&mut self, now_ms: i64, group: &StrBytes, member: &ConsumerMember) {
        let timeout_ms = member.session_timeout_ms(self.settings(group));
        self.schedule_heartbeat(group, &member.id, now_ms.saturating_add(timeout_ms.into()));
    }

    pub(super) fn cancel_heartbeat(&mut self, group: &StrBytes, member: &StrBytes) {
        self.timers.cancel(&TimerKey::Heartbeat { group: group.clone(), member: member.clone() });
    }

    pub(super) fn schedule_revocation(&mut self, group: &StrBytes, member: &StrBytes, deadline_ms: i64) {
        self.timers.schedule(TimerKey::Revocation { group: group.clone(), member: member.clone() }, deadline_ms);
    }

    pub(super) fn cancel_revocation(&mut self, group: &StrBytes, member: &StrBytes) {
        self.timers.cancel(&TimerKey::Revocation { group: group.clone(), member: member.clone() });
    }

    /// Sets the deadline for a classic member of a consumer group to join, unless one is set.
    pub(super) fn expect_classic_join(&mut self, group: &StrBytes, member: &StrBytes, deadline_ms: i64) {
        let key = TimerKey::ClassicJoin { group: group.clone(), member: member.clone() };
        if !self.timers.is_scheduled(&key) {
            self.timers.schedule(key, deadline_ms);
        }
    }

    pub(super) fn cancel_classic_join(&mut self, group: &StrBytes, member: &StrBytes) {
        self.timers.cancel(&TimerKey::ClassicJoin { group: group.clone(), member: member.clone() });
    }

    pub(super) fn schedule_classic_sync(&mut self, group: &StrBytes, member: &StrBytes, deadline_ms: i64) {
        self.timers.schedule(TimerKey::ClassicSync { group: group.clone(), member: member.clone() }, deadline_ms);
    }

    pub(super) fn cancel_classic_sync(&mut self, group: &StrBytes, member: &StrBytes) {
        self.timers.cancel(&TimerKey::ClassicSync { group: group.clone(), member: member.clone() });
    }

    /// Resolves the regular expressions of a consumer group with the next tick.
    pub(super) fn schedule_regexes(&mut self, group: &StrBytes, now_ms: i64) {
        self.timers.schedule(TimerKey::Regexes { group: group.clone() }, now_ms);
    }

    /// Cancels every deadline of a member of a consumer group.
    pub(super) fn cancel_member(&mut self, group: &StrBytes, member: &StrBytes) {
        self.cancel_heartbeat(group, member);
        self.cancel_revocation(group, member);
        self.cancel_classic_join(group, member);
        self.cancel_classic_sync(group, member);
    }

    /// Cancels every deadline of a group that goes away.
    pub(super) fn cancel_all(&mut self, group: &Group) {
        self.timers.cancel(&TimerKey::Join { group: group.id.clone() });
        self.timers.cancel(&TimerKey::Sync { group: group.id.clone() });
        for member in group.members().map(|m| &m.id).chain(&group.pending_join) {
            self.cancel_heartbeat(&group.id, member);
        }
    }
}

/// The error a client gets when records could not be stored (Kafka: `appendGroupMetadataErrorToResponseError`).
pub(super) fn error_of(failure: StoreFailure) -> ResponseError {
    match failure {
        StoreFailure::Unavailable => ResponseError::CoordinatorNotAvailable,
        StoreFailure::NotLeader => ResponseError::NotCoordinator,
        StoreFailure::TooLarge => ResponseError::UnknownServerError,
    }
}
