//! LeaveGroup: one member before version 3, a batch from then on, where an administrator can also name static members by
//! their instance id alone (KIP-345).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use super::api::{GroupReply, RequestToken};
use super::group::GroupState;
use super::rebalance::Turn;

/// The version that brought batches.
const BATCH_VERSION: i16 = 3;

/// The members that a request names, in the form of version 3 and later.
pub(super) fn identities(api_version: i16, request: &LeaveGroupRequest) -> Vec<MemberIdentity> {
    if api_version >= BATCH_VERSION {
        request.members.clone()
    } else {
        vec![MemberIdentity::default().with_member_id(request.member_id.clone())]
    }
}

/// The answer about one member.
pub(super) fn left(identity: &MemberIdentity, result: Result<(), ResponseError>) -> MemberResponse {
    MemberResponse::default()
        .with_member_id(identity.member_id.clone())
        .with_group_instance_id(identity.group_instance_id.clone())
        .with_error_code(result.map_or_else(|error| error.code(), |()| 0))
}

impl Turn<'_> {
    pub(super) fn leave(&mut self, token: RequestToken, identities: &[MemberIdentity]) {
        let mut responses = Vec::with_capacity(identities.len());
        let mut any_left = false;
        for identity in identities {
            let result = self.leave_one(identity);
            any_left |= result.is_ok();
            responses.push(left(identity, result));
        }
        let store = match self.group.state() {
            _ if !any_left => None,
            GroupState::Stable | GroupState::CompletingRebalance => self.prepare_or_complete(),
            GroupState::PreparingRebalance => self.maybe_complete_join(),
            GroupState::Empty => None,
        };
        let reply = GroupReply::LeaveGroup(LeaveGroupResponse::default().with_members(responses));
        match store {
            Some(store) => self.shell.reply_after(store, token, reply),
            None => self.shell.reply(token, reply),
        }
    }

    fn leave_one(&mut self, identity: &MemberIdentity) -> Result<(), ResponseError> {
        let member_id = if identity.member_id.is_empty() {
            let known = identity.group_instance_id.as_ref().and_then(|id| self.group.static_member_id(id));
            known.ok_or(ResponseError::UnknownMemberId)?.clone()
        } else if self.group.pending_join.contains(&identity.member_id) {
            identity.member_id.clone()
        } else {
            self.group.validate_member(&identity.member_id, identity.group_instance_id.as_ref())?;
            identity.member_id.clone()
        };
        // A JoinGroup of it that still waits is told to start over.
        self.forget_member(&member_id, ResponseError::UnknownMemberId);
        Ok(())
    }
}
