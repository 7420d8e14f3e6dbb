//! ListGroups, DescribeGroups and DeleteGroups.

use std::collections::BTreeSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, GroupId,
    ListGroupsRequest, ListGroupsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::api::{GroupReply, RequestToken, StoreId, StoredRecord};
use super::consumer::{CONSUMER_GROUP_TYPE, ConsumerGroupState, Durable, Flight, group_tombstones};
use super::coordinator::{GroupCoordinator, removal};
use super::group::{Group, GroupState};
use super::member::owned;
use super::offsets::OffsetKey;
use super::rebalance::group_tombstone;
use super::shell::Pending;
use super::timers::TimerKey;
use super::versions::NO_AUTHORIZED_OPERATIONS;

/// What ListGroups calls a group of the classic protocol (KIP-848).
const GROUP_TYPE: &str = "classic";
/// The state that a group which does not exist is said to be in.
const DEAD: &str = "Dead";
/// What may be done to a group where nothing is forbidden: a bit for each of READ (3), DELETE (6), DESCRIBE (8),
/// DESCRIBE_CONFIGS (10) and ALTER_CONFIGS (11) of Kafka's `AclOperation`.
const ALL_GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;

impl GroupCoordinator {
    pub(super) fn list_groups(&mut self, token: RequestToken, request: &ListGroupsRequest) {
        let states: BTreeSet<String> = request.states_filter.iter().map(|state| state.trim().to_lowercase()).collect();
        let types: BTreeSet<String> = request.types_filter.iter().map(|group_type| group_type.to_lowercase()).collect();
        let wanted = |group: &&Group| states.is_empty() || states.contains(&group.state().name().to_lowercase());
        let is_wanted = |group_type| types.is_empty() || types.contains(group_type);
        let classic: Vec<&Group> =
            if is_wanted(GROUP_TYPE) { self.durable_classic_groups().filter(wanted).collect() } else { Vec::new() };
        let mut groups: Vec<ListedGroup> = classic
            .into_iter()
            .map(|group| {
                ListedGroup::default()
                    .with_group_id(GroupId(group.id.clone()))
                    .with_protocol_type(group.protocol_type.clone().unwrap_or_default())
                    .with_group_state(StrBytes::from_static_str(group.state().name()))
                    .with_group_type(StrBytes::from_static_str(GROUP_TYPE))
            })
            .collect();
        if is_wanted(CONSUMER_GROUP_TYPE) {
            groups.extend(self.list_consumer_groups(&states));
        }
        groups.sort_by(|a, b| a.group_id.cmp(&b.group_id));
        self.shell.reply(token, GroupReply::ListGroups(ListGroupsResponse::default().with_groups(groups)));
    }

    pub(super) fn describe_groups(&mut self, token: RequestToken, api_version: i16, request: &DescribeGroupsRequest) {
        let groups = request
            .groups
            .iter()
            .map(|group_id| match self.durable_classic_group(&group_id.0) {
                Some(group) => described(group, request.include_authorized_operations),
                None => {
                    let is_consumer = self.durable_consumer_group(&group_id.0).is_some();
                    let why = if is_consumer { "is not a classic group" } else { "not found" };
                    not_found(group_id, why, api_version, request.include_authorized_operations)
                }
            })
            .collect();
        self.shell.reply(token, GroupReply::DescribeGroups(DescribeGroupsResponse::default().with_groups(groups)));
    }

    pub(super) fn delete_groups(&mut self, token: RequestToken, request: &DeleteGroupsRequest) {
        let store = self.shell.next_store_id();
        let mut records = Vec::new();
        let mut keys = Vec::new();
        let mut removed: Vec<Group> = Vec::new();
        let mut deleted: Vec<StrBytes> = Vec::new();
        let mut results = Vec::new();
        for group_id in &request.groups_names {
            let result = match self.groups.get(&group_id.0) {
                _ if self.consumers.contains_key(&group_id.0) => {
                    let offsets = self.offsets.keys_of_group(group_id);
                    self.delete_consumer_group(group_id, store).map(|tombstones| {
                        records.extend(self.propose_tombstones(&offsets, store));
                        records.extend(tombstones);
                        keys.extend(offsets);
                        deleted.push(owned(group_id));
                    })
                }
                None if deleted.contains(&group_id.0) => Ok(()),
                // Named twice: it is gone, as asked.
                None if removed.iter().any(|group| group.id == group_id.0) => Ok(()),
                None => Err(ResponseError::GroupIdNotFound),
                Some(group) if group.state() != GroupState::Empty => Err(ResponseError::NonEmptyGroup),
                Some(_) => {
                    let (group, offsets) = self.remove_group(&group_id.0);
                    records.extend(self.propose_tombstones(&offsets, store));
                    records.extend(group_tombstone(&group_id.0));
                    keys.extend(offsets);
                    removed.extend(group);
                    Ok(())
                }
            };
            let code = result.map_or_else(|error| error.code(), |()| 0);
            results.push(DeletableGroupResult::default().with_group_id(group_id.clone()).with_error_code(code));
        }
        let reply = GroupReply::DeleteGroups(DeleteGroupsResponse::default().with_results(results));
        if records.is_empty() {
            return self.shell.reply(token, reply);
        }
        self.shell
            .store(records, Pending { replies: vec![(token, reply)], changed: deleted, ..removal(keys, removed) });
    }

    /// Takes an empty consumer group out, all but its offsets. Returns its tombstones, for `store` to carry.
    pub(super) fn delete_consumer_group(
        &mut self,
        group_id: &StrBytes,
        store: StoreId,
    ) -> Result<Vec<StoredRecord>, ResponseError> {
        let group = self.consumers.get(group_id).ok_or(ResponseError::GroupIdNotFound)?;
        if group.state() != ConsumerGroupState::Empty {
            return Err(ResponseError::NonEmptyGroup);
        }
        let changes = group_tombstones(group, group.members().keys());
        let before = self.wants_before(group_id).then(|| Durable::Consumer(group.recorded().clone()));
        let id = group.id.clone();
        // None is left out: these keys have been written before.
        let tombstones = changes.iter().filter_map(|change| change.record(&id).ok()).collect();
        self.shell.timers.cancel(&TimerKey::Regexes { group: id.clone() });
        self.consumers.remove(group_id);
        self.note_changes(&id, before, store, changes);
        Ok(tombstones)
    }

    /// The classic groups as of what is durable, as far as their protocol goes.
    fn durable_classic_groups(&self) -> impl Iterator<Item = &Group> {
        let under_way = self.flights.values().filter_map(|flight| match flight.durable() {
            Some(Durable::Classic(group)) => Some(&**group),
            _ => None,
        });
        self.groups.values().filter(|group| !self.flights.contains_key(&group.id)).chain(under_way)
    }

    fn durable_classic_group(&self, id: &StrBytes) -> Option<&Group> {
        match self.flights.get(id).map(Flight::durable) {
            None => self.groups.get(id),
            Some(Some(Durable::Classic(group))) => Some(group),
            Some(_) => None,
        }
    }

    /// Takes a group out, and names the offsets that go with it.
    pub(super) fn remove_group(&mut self, group_id: &StrBytes) -> (Option<Group>, Vec<OffsetKey>) {
        let group = self.groups.remove(group_id);
        if let Some(group) = &group {
            self.shell.cancel_all(group);
        }
        (group, self.offsets.keys_of_group(group_id))
    }
}

fn described(group: &Group, with_operations: bool) -> DescribedGroup {
    // The metadata is of the chosen protocol, which is only certain in a stable group.
    let protocol = group.protocol.as_ref().filter(|_| group.state() == GroupState::Stable);
    let members = group.members().map(|member| {
        DescribedGroupMember::default()
            .with_member_id(member.id.clone())
            .with_group_instance_id(member.instance_id.clone())
            .with_client_id(member.client_id.clone())
            .with_client_host(member.client_host.clone())
            .with_member_metadata(protocol.map(|name| member.metadata(name)).unwrap_or_default())
            .with_member_assignment(member.assignment.clone())
    });
    DescribedGroup::default()
        .with_group_id(GroupId(group.id.clone()))
        .with_group_state(StrBytes::from_static_str(group.state().name()))
        .with_protocol_type(group.protocol_type.clone().unwrap_or_default())
        .with_protocol_data(protocol.cloned().unwrap_or_default())
        .with_members(members.collect())
        .with_authorized_operations(operations(with_operations))
}

/// Version 6 has an error for it (KIP-1043), beside which it does not say what may be done to the group.
fn not_found(group_id: &GroupId, why: &str, api_version: i16, with_operations: bool) -> DescribedGroup {
    let dead = DescribedGroup::default()
        .with_group_id(group_id.clone())
        .with_group_state(StrBytes::from_static_str(DEAD))
        .with_authorized_operations(NO_AUTHORIZED_OPERATIONS);
    if api_version < 6 {
        return dead.with_authorized_operations(operations(with_operations));
    }
    dead.with_error_code(ResponseError::GroupIdNotFound.code())
        .with_error_message(Some(StrBytes::from_string(format!("Group {} {why}.", group_id.as_str()))))
}

pub(super) fn operations(wanted: bool) -> i32 {
    if wanted { ALL_GROUP_OPERATIONS } else { NO_AUTHORIZED_OPERATIONS }
}
