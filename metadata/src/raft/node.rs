//! This node's part in the group: openraft started, asked and stopped.

use super::peers::{Peers, Transport};
use super::{Command, Member, MetadataRaft, Opened, Outcome, WriterThread, broker_id, raft_id, wire};
use openraft::error::{ClientWriteError, Fatal, RaftError};
use openraft::{Config, Raft, RaftMetrics, SnapshotPolicy};
use protocol::newtypes::BrokerId;
use std::sync::Arc;
use tokio::sync::watch;

/// The leader says that often that it is there, in milliseconds.
const HEARTBEAT_INTERVAL_MS: u64 = 150;
/// A leader that was silent for so long, drawn anew each time, is taken for gone. Also how long a leader may count on being
/// the only one.
const ELECTION_TIMEOUT_MS: std::ops::Range<u64> = 600..1000;
/// Entries between snapshots: with the image's size, what bounds the log.
const SNAPSHOT_ENTRIES: u64 = 2000;
/// Entries kept behind a snapshot for members that are a little late.
const KEPT_ENTRIES: u64 = 500;

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
    #[error(transparent)]
    Stopped(#[from] NodeStopped),
}

/// A running member of the group.
pub struct Node {
    raft: Raft<MetadataRaft>,
    metrics: watch::Receiver<RaftMetrics<u64, Member>>,
    thread: WriterThread,
    id: u64,
}

impl Node {
    /// Starts to take part, with what a data directory holds; `transport` reaches the other members.
    pub async fn start(broker: BrokerId, opened: Opened, transport: impl Transport) -> Result<Node, NodeStopped> {
        let Opened { log, state_machine, thread } = opened;
        let id = raft_id(broker);
        let config = Arc::new(config(SNAPSHOT_ENTRIES, KEPT_ENTRIES));
        let raft = Raft::new(id, config, Peers(transport), log, state_machine).await?;
        Ok(Node { metrics: raft.metrics(), raft, thread, id })
    }

    /// Makes the only voter of a group its leader at once, and waits until it has applied all that was committed before.
    pub async fn lead_alone(&mut self) -> Result<(), NodeStopped> {
        self.raft.trigger().elect().await?;
        let id = self.id;
        let led = self.metrics.wait_for(|metrics| metrics.current_leader == Some(id) || metrics.running_state.is_err());
        if let Err(closed) = led.await.map(|_| ()) {
            return Err(NodeStopped { reason: closed.to_string() });
        }
        loop {
            match self.raft.ensure_linearizable().await {
                Ok(_) => return Ok(()),
                Err(RaftError::Fatal(fatal)) => return Err(fatal.into()),
                // Its first entry is on its way.
                Err(RaftError::APIError(_)) => tokio::task::yield_now().await,
            }
        }
    }

    /// Has the group agree on a command, and gives what became of it once this node has applied it.
    pub async fn propose(&self, command: Command) -> Result<Outcome, ProposeError> {
        match self.raft.client_write(command).await {
            Ok(written) => Ok(written.data),
            Err(RaftError::Fatal(fatal)) => Err(NodeStopped::from(fatal).into()),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => {
                Err(ProposeError::NotLeader { leader: to.leader_id.and_then(broker_id) })
            }
            Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))) => {
                unreachable!("a command changes no membership: {error}")
            }
        }
    }

    /// Answers what another member asked, by [`Transport`].
    pub async fn answer(&self, question: &[u8]) -> Vec<u8> {
        wire::answer(&self.raft, question).await
    }

    /// Resolves when Raft cannot go on.
    pub async fn stopped(&mut self) -> NodeStopped {
        let stopped = self.metrics.wait_for(|metrics| metrics.running_state.is_err()).await;
        let reason = stopped.ok().and_then(|metrics| Some(metrics.running_state.as_ref().err()?.to_string()));
        NodeStopped { reason: reason.unwrap_or_else(|| "its task ended".to_owned()) }
    }

    /// Ends in order: what was acknowledged is on disk anyway.
    pub async fn shutdown(self) {
        let Node { raft, metrics, thread, .. } = self;
        if let Err(error) = raft.shutdown().await {
            tracing::warn!(%error, "the metadata quorum's node did not stop in order");
        }
        drop((raft, metrics));
        // Its last write is done within a disk's time.
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    }
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
