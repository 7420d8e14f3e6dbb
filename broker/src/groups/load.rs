//! Replay of the internal topic.

use kafka_protocol::protocol::StrBytes;

use super::consumer::{Change, ConsumerGroup, Durable, apply};
use super::coordinator::GroupCoordinator;
use super::group::{Group, GroupState};
use super::member::{Member, Protocol};
use super::offsets::OffsetKey;
use super::records::{DecodeError, GroupMetadataValue, OffsetCommitValue, RecordKey};

/// What a replayed record did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    Applied,
    /// Its type belongs to a protocol that this coordinator does not speak; the broker should say so in its log.
    UnknownType {
        key_type: i16,
    },
}

impl GroupCoordinator {
    /// Replays one record of the internal topic, in the order of the log. On an error nothing has changed.
    pub fn load(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<Loaded, DecodeError> {
        match RecordKey::decode(key) {
            Err(DecodeError::UnknownType { key_type }) => return Ok(Loaded::UnknownType { key_type }),
            Err(error) => return Err(error),
            Ok(RecordKey::OffsetCommit { group, topic, partition }) => {
                let value = value.map(OffsetCommitValue::decode).transpose()?;
                if let Some(value) = &value
                    && !self.groups.contains_key(&group)
                    && !self.consumers.contains_key(&group)
                {
                    // A simple group: it has offsets and no record of its own.
                    self.groups.insert(group.clone(), Group::new(group.clone(), value.commit_timestamp_ms));
                }
                self.offsets.load(&OffsetKey { group, topic, partition }, value);
            }
            Ok(key) => {
                if let Some((group, change)) = Change::of_record(key, value)? {
                    self.load_change(group, &change);
                }
            }
        }
        Ok(Loaded::Applied)
    }

    fn load_change(&mut self, id: StrBytes, change: &Change) {
        let classic = self.groups.remove(&id).map(|group| Durable::Classic(Box::new(group)));
        match self.consumers.get_mut(&id) {
            Some(group) if !matches!(change, Change::Classic(Some(_))) => {
                if !group.apply(change) {
                    self.consumers.remove(&id);
                }
            }
            _ => {
                self.consumers.remove(&id);
                match apply(classic, &id, change) {
                    Some(Durable::Classic(group)) => {
                        self.groups.insert(id, *group);
                    }
                    Some(Durable::Consumer(recorded)) => {
                        self.consumers.insert(id.clone(), ConsumerGroup::restored(id, recorded));
                    }
                    None => {}
                }
            }
        }
    }
}

/// A group as its record has it. A record that contradicts itself (two members with one id) is read as far as it makes
/// sense.
pub(super) fn restored(id: StrBytes, value: GroupMetadataValue) -> Group {
    let state = if value.members.is_empty() { GroupState::Empty } else { GroupState::Stable };
    let since_ms = Some(value.current_state_timestamp_ms).filter(|at| *at != -1);
    let mut group = Group::restored(id, state, since_ms);
    let protocol = value.protocol.unwrap_or_default();
    for member in value.members {
        let taken = group.has_member(&member.member_id)
            || member.group_instance_id.as_ref().is_some_and(|id| group.static_member_id(id).is_some());
        if taken {
            continue;
        }
        let rebalance_timeout_ms = match member.rebalance_timeout_ms {
            -1 => member.session_timeout_ms,
            timeout_ms => timeout_ms,
        };
        group.add_member(Member {
            id: member.member_id,
            instance_id: member.group_instance_id,
            client_id: member.client_id,
            client_host: member.client_host,
            rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            protocol_type: value.protocol_type.clone(),
            protocols: vec![Protocol { name: protocol.clone(), metadata: member.subscription }],
            assignment: member.assignment,
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
        });
    }
    group.generation = value.generation;
    group.protocol_type = Some(value.protocol_type).filter(|protocol_type| !protocol_type.is_empty());
    group.protocol = Some(protocol).filter(|_| group.member_count() > 0);
    if let Some(leader) = value.leader.filter(|leader| group.has_member(leader)) {
        group.leader = Some(leader);
    }
    group.refresh_subscribed_topics();
    group
}
