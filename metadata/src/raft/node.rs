//! This node's part in the group: openraft started, asked and stopped.

use super::peers::{Peers, Transport};
use super::{Command, LogId, Member, MetadataRaft, Opened, Outcome, WriterThread, broker_id, raft_id, wire};
use crate::controller::{MembershipChange, Quorum};
use crate::image::MetadataImage;
use crate::record::NodeBinding;
use openraft::error::{CheckIsLeaderError, ClientWriteError, Fatal, RaftError};
use openraft::{ChangeMembers, Config, Raft, RaftMetrics, SnapshotPolicy};
use protocol::newtypes::BrokerId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The leader says that often that it is there, in milliseconds.
const HEARTBEAT_INTERVAL_MS: u64 = 100;
/// A leader that was silent for the longer of these is followed no more, and after one drawn from between them, too, somebody
/// wants to lead: a cluster whose controller falls silent has another in 1.0 to 1.2 seconds, and one whose controller's process
/// ends in less than 0.1 ([`Handle::succeed`]).
const ELECTION_TIMEOUT_MS: std::ops::Range<u64> = 400..600;
/// A dead leader's voters let go of it one after the other, so far apart: enough for all to notice its end, and for a vote.
const SUCCESSION_STEP: Duration = Duration::from_millis(30);
/// When nobody has succeeded it after so long, its voters try again in turn.
const SUCCESSION_RETRY: Duration = Duration::from_millis(150);
/// Entries between snapshots: with the image's size, what bounds the log.
const SNAPSHOT_ENTRIES: u64 = 2000;
/// Entries kept behind a snapshot for members that are a little late.
const KEPT_ENTRIES: u64 = 500;
/// A member that is no further behind may vote.
const CAUGHT_UP_ENTRIES: u64 = 100;

/// Raft cannot go on: the process must end.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the metadata quorum's node stopped: {reason}")]
pub struct NodeStopped {
    reason: String,
}

impl From<Fatal<u64>> for NodeStopped {
    fn from(fatal: Fatal<u64>) -> NodeStopped {
        NodeStopped { reason: fatal.to_string() }
    }
}

/// A command did not come to its end here.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProposeError {
    /// Nothing was written by this attempt, or it is not known whether it was.
    #[error("node {} leads the metadata quorum, this one does not", leader.map_or("another".to_owned(), |id| id.to_string()))]
    NotLeader { leader: Option<BrokerId> },
    /// Another change is under way, or the members are others than when it was decided.
    #[error("the membership is not changed now: {0}")]
    Membership(String),
    #[error(transparent)]
    Stopped(#[from] NodeStopped),
}

/// A running member of the group.
pub struct Node {
    handle: Handle,
    thread: WriterThread,
}

/// What a member is asked through. `Clone` is cheap.
#[derive(Clone)]
pub struct Handle {
    raft: Raft<MetadataRaft>,
    metrics: watch::Receiver<RaftMetrics<u64, Member>>,
    images: watch::Receiver<MetadataImage>,
    id: u64,
}

/// The quorum as one member sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuorumStatus {
    pub leader: Option<BrokerId>,
    /// Raft's term: Kafka's leader epoch of the metadata log.
    pub term: u64,
    /// Entries that this member has applied.
    pub applied: u64,
    pub members: Vec<MemberStatus>,
}

/// How far one member is, for whoever watches it. Indexes are those of the metadata log's entries; `None` before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuorumProgress {
    pub term: u64,
    pub leads: bool,
    pub leader: Option<BrokerId>,
    pub last: Option<u64>,
    /// `None` too where Raft did not say in time.
    pub committed: Option<u64>,
    pub applied: Option<u64>,
    pub snapshot: Option<u64>,
    pub voters: usize,
    pub members: usize,
    /// Since a majority was heard of, where this member leads.
    pub quorum_silence: Duration,
}

/// One member, as the member that answers sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    pub node: NodeBinding,
    pub is_voter: bool,
    /// Entries of the log that it is known to have; known to the leader, and by each member of itself.
    pub log_end: Option<u64>,
}

impl Node {
    /// Starts to take part, with what a data directory holds; `transport` reaches the other members.
    pub async fn start(broker: BrokerId, opened: Opened, transport: impl Transport) -> Result<Node, NodeStopped> {
        let Opened { log, state_machine, thread } = opened;
        let id = raft_id(broker);
        let config = Arc::new(config(SNAPSHOT_ENTRIES, KEPT_ENTRIES));
        let images = state_machine.images();
        let raft = Raft::new(id, config, Peers(transport), log, state_machine).await?;
        Ok(Node { handle: Handle::new(raft, images, id), thread })
    }

    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends in order: what was acknowledged is on disk anyway. All handles must be gone by then, or go soon.
    pub async fn shutdown(self) {
        let Node { handle, thread } = self;
        if let Err(error) = handle.raft.shutdown().await {
            tracing::warn!(%error, "the metadata quorum's node did not stop in order");
        }
        drop(handle);
        // Its last write is done within a disk's time.
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    }
}

impl Handle {
    pub(super) fn new(raft: Raft<MetadataRaft>, images: watch::Receiver<MetadataImage>, id: u64) -> Handle {
        Handle { metrics: raft.metrics(), raft, images, id }
    }

    /// Makes this member want to lead at once, rather than after an election timeout.
    pub async fn elect(&self) -> Result<(), NodeStopped> {
        Ok(self.raft.trigger().elect().await?)
    }

    /// The leader's process is known to have ended: has another member lead without waiting for an election timeout. `is_ended`
    /// looks again whether it has. Nothing where somebody else leads by then, or this member does not vote.
    ///
    /// A voter refuses votes for so long after it has heard a leader, unless it has voted for another since, itself too. So all
    /// but the voter of the highest id want to lead at once, mostly in vain, and that one when they have let go of the dead
    /// leader: of equal terms openraft prefers its vote. Should it be away itself, or lack what was agreed on, the others try
    /// again in turn; and whatever goes wrong here, an election timeout mends.
    pub async fn succeed<F: Future<Output = bool>>(
        &self,
        ended: BrokerId,
        is_ended: impl FnOnce() -> F,
    ) -> Result<(), NodeStopped> {
        let (term, voters) = {
            let metrics = self.metrics.borrow();
            let voters = metrics.membership_config.membership().voter_ids();
            (metrics.current_term, voters.filter(|voter| *voter != raft_id(ended)).collect::<BTreeSet<u64>>())
        };
        let Some(place) = voters.iter().position(|voter| *voter == self.id) else { return Ok(()) };
        if voters.last() == Some(&self.id) && voters.len() > 1 {
            tokio::time::sleep(SUCCESSION_STEP).await;
        }
        let still_leads = {
            let metrics = self.metrics.borrow();
            metrics.current_term == term && metrics.current_leader == Some(raft_id(ended))
        };
        if !still_leads || !is_ended().await {
            return Ok(());
        }
        self.elect().await?;
        let turn = u32::try_from(place).unwrap_or(u32::MAX);
        tokio::time::sleep(SUCCESSION_RETRY.saturating_add(SUCCESSION_STEP.saturating_mul(2 * turn))).await;
        let is_led = self.metrics.borrow().current_leader.is_some();
        if is_led { Ok(()) } else { self.elect().await }
    }

    /// The image in force here.
    #[must_use]
    pub fn image(&self) -> MetadataImage {
        self.images.borrow().clone()
    }

    /// The image in force, to be watched.
    #[must_use]
    pub fn images(&self) -> watch::Receiver<MetadataImage> {
        self.images.clone()
    }

    /// Who leads, as far as this member knows.
    #[must_use]
    pub fn leader(&self) -> Option<BrokerId> {
        self.metrics.borrow().current_leader.and_then(broker_id)
    }

    /// The term in which this member leads, if it does.
    #[must_use]
    pub fn leads_in_term(&self) -> Option<u64> {
        let metrics = self.metrics.borrow();
        (metrics.current_leader == Some(self.id) && metrics.state.is_leader()).then_some(metrics.current_term)
    }

    /// Whether nobody but this member votes. Asks Raft itself: what it tells of itself comes a little later than its start.
    pub async fn votes_alone(&self) -> bool {
        let id = self.id;
        let alone =
            move |state: &openraft::RaftState<u64, Member, _>| state.membership_state.effective().voter_ids().eq([id]);
        self.raft.with_raft_state(alone).await.unwrap_or(false)
    }

    /// Resolves when something about this member or the group has changed; at once if it has since the last time.
    pub async fn changed(&mut self) {
        if self.metrics.changed().await.is_err() {
            // Raft has ended, which `stopped` tells.
            std::future::pending::<()>().await;
        }
    }

    /// Resolves when this member leads no more in the term in which it leads now. What a leader was asked may never be
    /// answered once it was replaced.
    pub async fn deposed(mut self) {
        let term = self.leads_in_term();
        while term.is_some() && self.leads_in_term() == term {
            self.changed().await;
        }
    }

    /// Where the other members are, as the membership has it.
    #[must_use]
    pub fn members(&self) -> BTreeMap<BrokerId, Member> {
        let metrics = self.metrics.borrow();
        let nodes = metrics.membership_config.nodes();
        nodes.filter_map(|(id, member)| Some((broker_id(*id)?, member.clone()))).collect()
    }

    /// The quorum as its leader sees it; `None` where another leads.
    #[must_use]
    pub fn quorum(&self) -> Option<Quorum> {
        self.leads_in_term()?;
        let metrics = self.metrics.borrow();
        let membership = metrics.membership_config.membership();
        let brokers = |ids: &BTreeSet<u64>| ids.iter().filter_map(|id| broker_id(*id)).collect::<BTreeSet<BrokerId>>();
        let mut configs = membership.get_joint_config().iter().rev().map(brokers);
        let last = metrics.last_log_index.unwrap_or(0);
        let replication = metrics.replication.as_ref()?;
        let is_close = |id: &LogId| last.saturating_sub(id.index) <= CAUGHT_UP_ENTRIES;
        let caught_up = replication.iter().filter(|(_, matched)| matched.as_ref().is_some_and(is_close));
        Some(Quorum {
            leader: broker_id(self.id)?,
            voters: configs.next()?,
            outgoing_voters: configs.next(),
            members: membership
                .nodes()
                .filter_map(|(id, member)| Some((broker_id(*id)?, binding(*id, member)?)))
                .collect(),
            caught_up: caught_up.filter_map(|(id, _)| broker_id(*id)).collect(),
        })
    }

    /// What is known of the quorum here.
    #[must_use]
    pub fn status(&self) -> QuorumStatus {
        let metrics = self.metrics.borrow();
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let entries = |index: Option<u64>| index.map_or(0, |index| index + 1);
        let log_end = |id: &u64| {
            let replication = metrics.replication.as_ref();
            match replication.and_then(|replication| replication.get(id)) {
                Some(matched) => Some(entries(matched.map(|id| id.index))),
                None => (*id == self.id).then_some(entries(metrics.last_log_index)),
            }
        };
        let members = membership.nodes().filter_map(|(id, member)| {
            let node = binding(*id, member)?;
            Some(MemberStatus { node, is_voter: voters.contains(id), log_end: log_end(id) })
        });
        QuorumStatus {
            leader: metrics.current_leader.and_then(broker_id),
            term: metrics.current_term,
            applied: entries(metrics.last_applied.map(|id| id.index)),
            members: members.collect(),
        }
    }

    /// How far this member is. Raft itself is asked what is committed, and for no longer than `patience`.
    pub async fn progress(&self, patience: Duration) -> QuorumProgress {
        let committed = self.raft.with_raft_state(|state| state.committed.map(|id| id.index));
        let committed = tokio::time::timeout(patience, committed).await.ok().and_then(Result::ok).flatten();
        let metrics = self.metrics.borrow();
        let membership = metrics.membership_config.membership();
        let index = |id: Option<LogId>| id.map(|id| id.index);
        let leads = metrics.current_leader == Some(self.id) && metrics.state.is_leader();
        QuorumProgress {
            term: metrics.current_term,
            leads,
            leader: metrics.current_leader.and_then(broker_id),
            last: metrics.last_log_index,
            committed,
            applied: index(metrics.last_applied),
            snapshot: index(metrics.snapshot),
            voters: membership.voter_ids().count(),
            members: membership.nodes().count(),
            quorum_silence: Duration::from_millis(metrics.millis_since_quorum_ack.filter(|_| leads).unwrap_or(0)),
        }
    }

    /// Has the group agree on a command, and gives what became of it once this node has applied it.
    pub async fn propose(&self, command: Command) -> Result<Outcome, ProposeError> {
        self.raft.client_write(command).await.map(|written| written.data).map_err(|error| self.not_written(error))
    }

    /// Makes sure that this member leads and has applied whatever any leader before it had agreed on.
    pub async fn ensure_current(&self) -> Result<(), ProposeError> {
        match self.raft.ensure_linearizable().await {
            Ok(_) => Ok(()),
            Err(RaftError::Fatal(fatal)) => Err(self.fatal(fatal)),
            Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(to))) => {
                Err(ProposeError::NotLeader { leader: to.leader_id.and_then(broker_id) })
            }
            Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_))) => {
                Err(ProposeError::NotLeader { leader: None })
            }
        }
    }

    /// Changes who takes part; resolves when the group has agreed, which it may never if too many are away.
    pub async fn change_membership(&self, change: MembershipChange) -> Result<(), ProposeError> {
        let ids = |nodes: BTreeSet<BrokerId>| nodes.into_iter().map(raft_id).collect::<BTreeSet<u64>>();
        let node = |node: NodeBinding| {
            let member = Member { directory_id: node.directory_id, address: node.address };
            BTreeMap::from([(raft_id(node.node), member)])
        };
        let change = match change {
            MembershipChange::SetVoters(voters) => ChangeMembers::ReplaceAllVoters(ids(voters)),
            MembershipChange::RemoveLearners(nodes) => ChangeMembers::RemoveNodes(ids(nodes)),
            MembershipChange::AddLearner(added) => ChangeMembers::AddNodes(node(added)),
            // Safe since the directory is the same: only where it is reached changes.
            MembershipChange::SetAddress(moved) => ChangeMembers::SetNodes(node(moved)),
        };
        self.raft.change_membership(change, true).await.map(|_| ()).map_err(|error| self.not_written(error))
    }

    /// Answers what another member asked, by [`Transport`].
    pub async fn answer(&self, question: &[u8]) -> Vec<u8> {
        wire::answer(&self.raft, question).await
    }

    /// openraft calls it fatal, too, when a leader was replaced while it was asked.
    fn fatal(&self, fatal: Fatal<u64>) -> ProposeError {
        match self.metrics.borrow().running_state {
            Ok(()) => ProposeError::NotLeader { leader: None },
            Err(_) => NodeStopped::from(fatal).into(),
        }
    }

    fn not_written(&self, error: RaftError<u64, ClientWriteError<u64, Member>>) -> ProposeError {
        match error {
            RaftError::Fatal(fatal) => self.fatal(fatal),
            RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => {
                ProposeError::NotLeader { leader: to.leader_id.and_then(broker_id) }
            }
            RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => {
                ProposeError::Membership(error.to_string())
            }
        }
    }

    /// Why Raft has ended, if it has.
    #[cfg(test)]
    pub fn ended(&self) -> Option<String> {
        self.metrics.borrow().running_state.as_ref().err().map(ToString::to_string)
    }

    /// Resolves when Raft cannot go on.
    pub async fn stopped(&self) -> NodeStopped {
        let mut metrics = self.metrics.clone();
        let stopped = metrics.wait_for(|metrics| metrics.running_state.is_err()).await;
        let reason = stopped.ok().and_then(|metrics| Some(metrics.running_state.as_ref().err()?.to_string()));
        NodeStopped { reason: reason.unwrap_or_else(|| "its task ended".to_owned()) }
    }
}

fn binding(id: u64, member: &Member) -> Option<NodeBinding> {
    Some(NodeBinding { node: broker_id(id)?, directory_id: member.directory_id, address: member.address.clone() })
}

/// How members behave, all alike; `snapshot_entries` and `kept_entries` as the constants of that name.
pub(super) fn config(snapshot_entries: u64, kept_entries: u64) -> Config {
    let config = Config {
        cluster_name: "metadata".to_owned(),
        heartbeat_interval: HEARTBEAT_INTERVAL_MS,
        election_timeout_min: ELECTION_TIMEOUT_MS.start,
        election_timeout_max: ELECTION_TIMEOUT_MS.end,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(snapshot_entries),
        max_in_snapshot_log_to_keep: kept_entries,
        ..Config::default()
    };
    config.validate().expect("constants that fit together")
}
