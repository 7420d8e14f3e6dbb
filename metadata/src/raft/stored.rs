//! What Raft keeps, as bytes: votes, log ids, entries.
//!
//! The shapes here are the format, of the disk and of the wire; openraft's own types only pass through. A change of one needs
//! a new version and a reader for the old one.

use super::{Command, Entry, LogId, Member, Membership, StoredMembership, Vote};
use crate::checked::{CodecError, Format};
use openraft::{CommittedLeaderId, EntryPayload, LeaderId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

const ENTRY: Format = Format { what: "raft log entry", version: 3, oldest: 1 };
const VOTE: Format = Format { what: "raft vote", version: 1, oldest: 1 };
const LOG_ID: Format = Format { what: "raft log id", version: 1, oldest: 1 };

/// Who leads, or wants to, and whether a quorum has agreed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct VoteForm {
    term: u64,
    node: u64,
    committed: bool,
}

/// A place in the log, and who put it there.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct LogIdForm {
    term: u64,
    node: u64,
    index: u64,
}

/// Voters (two sets of them while they change) and everybody's addresses.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct MembershipForm {
    voters: Vec<BTreeSet<u64>>,
    members: BTreeMap<u64, Member>,
}

/// A membership, and the entry that brought it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoredMembershipForm {
    log_id: Option<LogIdForm>,
    membership: MembershipForm,
}

#[derive(Debug, Serialize, Deserialize)]
enum PayloadForm {
    Blank,
    Command(Command),
    Membership(MembershipForm),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EntryForm {
    log_id: LogIdForm,
    payload: PayloadForm,
}

impl From<LogId> for LogIdForm {
    fn from(id: LogId) -> LogIdForm {
        LogIdForm { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
    }
}

impl From<LogIdForm> for LogId {
    fn from(form: LogIdForm) -> LogId {
        LogId::new(CommittedLeaderId::new(form.term, form.node), form.index)
    }
}

impl From<&Membership> for MembershipForm {
    fn from(membership: &Membership) -> MembershipForm {
        MembershipForm {
            voters: membership.get_joint_config().clone(),
            members: membership.nodes().map(|(id, member)| (*id, member.clone())).collect(),
        }
    }
}

impl From<MembershipForm> for Membership {
    fn from(form: MembershipForm) -> Membership {
        Membership::new(form.voters, form.members)
    }
}

impl From<&StoredMembership> for StoredMembershipForm {
    fn from(stored: &StoredMembership) -> StoredMembershipForm {
        StoredMembershipForm {
            log_id: stored.log_id().map(LogIdForm::from),
            membership: MembershipForm::from(stored.membership()),
        }
    }
}

impl From<StoredMembershipForm> for StoredMembership {
    fn from(form: StoredMembershipForm) -> StoredMembership {
        StoredMembership::new(form.log_id.map(LogId::from), form.membership.into())
    }
}

impl From<Vote> for VoteForm {
    fn from(vote: Vote) -> VoteForm {
        let LeaderId { term, node_id: node } = vote.leader_id;
        VoteForm { term, node, committed: vote.committed }
    }
}

impl From<VoteForm> for Vote {
    fn from(form: VoteForm) -> Vote {
        Vote { leader_id: LeaderId::new(form.term, form.node), committed: form.committed }
    }
}

impl From<&Entry> for EntryForm {
    fn from(entry: &Entry) -> EntryForm {
        let payload = match &entry.payload {
            EntryPayload::Blank => PayloadForm::Blank,
            EntryPayload::Normal(command) => PayloadForm::Command(command.clone()),
            EntryPayload::Membership(membership) => PayloadForm::Membership(membership.into()),
        };
        EntryForm { log_id: entry.log_id.into(), payload }
    }
}

impl From<EntryForm> for Entry {
    fn from(form: EntryForm) -> Entry {
        let payload = match form.payload {
            PayloadForm::Blank => EntryPayload::Blank,
            PayloadForm::Command(command) => EntryPayload::Normal(command),
            PayloadForm::Membership(membership) => EntryPayload::Membership(membership.into()),
        };
        Entry { log_id: form.log_id.into(), payload }
    }
}

pub(super) fn encode_vote(vote: &Vote) -> Vec<u8> {
    VOTE.encode(&VoteForm::from(*vote))
}

pub(super) fn decode_vote(bytes: &[u8]) -> Result<Vote, CodecError> {
    VOTE.decode::<VoteForm>(bytes).map(Vote::from)
}

pub(super) fn encode_log_id(id: LogId) -> Vec<u8> {
    LOG_ID.encode(&LogIdForm::from(id))
}

pub(super) fn decode_log_id(bytes: &[u8]) -> Result<LogId, CodecError> {
    LOG_ID.decode::<LogIdForm>(bytes).map(LogId::from)
}

pub(super) fn encode_entry(entry: &Entry) -> Vec<u8> {
    ENTRY.encode(&EntryForm::from(entry))
}

pub(super) fn decode_entry(bytes: &[u8]) -> Result<Entry, CodecError> {
    ENTRY.decode::<EntryForm>(bytes).map(Entry::from)
}
