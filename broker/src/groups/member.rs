//! One member of a classic group.

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::protocol::StrBytes;

use super::api::RequestToken;

/// A string of its own, so that keeping it does not keep the request's buffer.
pub(super) fn owned(string: &StrBytes) -> StrBytes {
    StrBytes::from_string(string.as_str().to_owned())
}

/// A partition assignment protocol that a member supports, with what it tells the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Protocol {
    pub(super) name: StrBytes,
    pub(super) metadata: Bytes,
}

/// Copies the protocols out of a request, in the member's order of preference. A name given twice counts once: a member
/// has one vote.
pub(super) fn owned_protocols(protocols: &[JoinGroupRequestProtocol]) -> Vec<Protocol> {
    let mut owned_protocols: Vec<Protocol> = Vec::with_capacity(protocols.len());
    let mut names = std::collections::HashSet::with_capacity(protocols.len());
    for protocol in protocols {
        if names.insert(protocol.name.as_str()) {
            owned_protocols
                .push(Protocol { name: owned(&protocol.name), metadata: Bytes::copy_from_slice(&protocol.metadata) });
        }
    }
    owned_protocols
}

/// A member and the requests of it that wait for an answer.
///
/// Invariants (kept by [`Group`](super::group::Group)): `awaiting_join` and `protocols` are counted by the group, so only
/// the group changes them once the member is in it.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) id: StrBytes,
    /// `group.instance.id`: the member is static (KIP-345).
    pub(super) instance_id: Option<StrBytes>,
    pub(super) client_id: StrBytes,
    pub(super) client_host: StrBytes,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
    pub(super) protocol_type: StrBytes,
    /// In order of preference, names distinct.
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
    pub(super) awaiting_join: Option<RequestToken>,
    pub(super) awaiting_sync: Option<RequestToken>,
    /// It has not got the answer to its first JoinGroup yet, so it cannot send heartbeats.
    pub(super) is_new: bool,
}

impl Member {
    pub(super) fn is_static(&self) -> bool {
        self.instance_id.is_some()
    }

    /// What it said for `protocol`; empty for one it does not support.
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols.iter().find(|p| p.name.as_str() == protocol).map(|p| p.metadata.clone()).unwrap_or_default()
    }

    /// A member that waits for a rebalance need not send heartbeats, unless it is new: a connection that is gone could
    /// not be told from one that waits.
    pub(super) fn has_satisfied_heartbeat(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }
}
