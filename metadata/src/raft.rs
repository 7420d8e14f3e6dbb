//! The one Raft group that orders the cluster's metadata, on openraft. Only this module names openraft.
//!
//! - [`LogStore`]: log and vote on this node's disk; [`StateMachine`]: the image that the committed log folds into.
//! - [`snapshot`]: an image as bytes, for the disk and for members that are far behind.
//!
//! What is ordered are [`Command`]s: decisions, each with the metadata offset that it was made at. Applying one where the
//! image has moved on since gives [`Outcome::Stale`] and changes nothing, the same on every node, and the controller decides
//! anew. So a decision is never applied to an image that it was not made for, whoever led in between.
//!
//! Bytes are of formats of our own, on the disk and on the wire: openraft's types may change with a release of it.

mod database;
mod log_store;
mod node;
mod peers;
pub mod snapshot;
mod state_machine;
mod stored;
#[cfg(test)]
mod tests;
mod wire;
mod writer;

pub use database::LoadError;
pub(crate) use database::{create_tables, put_snapshot};
pub use log_store::LogStore;
pub use node::{Handle, MemberStatus, Node, NodeStopped, ProposeError, QuorumProgress, QuorumStatus};
pub use peers::{Alone, Transport, TransportError};
pub use state_machine::{Published, StateMachine};
pub use writer::{WriterFailed, WriterThread};

use crate::image::{ApplyError, MetadataImage};
use crate::record::{MetadataRecord, newtype_serde};
use database::RaftDatabase;
use protocol::newtypes::BrokerId;
use redb::Database;
use serde::{Deserialize, Serialize};
use snapshot::State;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;
use uuid::Uuid;
use writer::Writer;

#[cfg(not(test))]
use openraft::TokioRuntime as Runtime;
#[cfg(test)]
use tests::simulation::runtime::SeededRuntime as Runtime;

openraft::declare_raft_types!(
    /// openraft's types, with ours filled in.
    pub MetadataRaft:
        D = Command,
        R = Outcome,
        NodeId = u64,
        Node = Member,
        SnapshotData = snapshot::SnapshotBytes,
        AsyncRuntime = Runtime,
);

pub type LogId = openraft::LogId<u64>;
pub type Vote = openraft::Vote<u64>;
pub type Entry = openraft::Entry<MetadataRaft>;
pub type Membership = openraft::Membership<u64, Member>;
pub type StoredMembership = openraft::StoredMembership<u64, Member>;
pub type SnapshotMeta = openraft::SnapshotMeta<u64, Member>;
pub type StorageError = openraft::StorageError<u64>;

/// A decision on its way through the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// Metadata offset of the image that it was made on.
    pub decided_at: u64,
    pub records: Arc<[MetadataRecord]>,
}

/// What became of an entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was Raft's own.
    Nothing,
    /// All of its records are in the image, which has this metadata offset now.
    Applied { metadata_offset: u64 },
    /// None of them are: the image had moved on to this metadata offset.
    Stale { metadata_offset: u64 },
    /// None of them are: the decision was wrong.
    Misfit(ApplyError),
}

/// A member of the group, voter or learner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Of the data directory that the node's vote lies in.
    #[serde(with = "newtype_serde::uuid")]
    pub directory_id: Uuid,
    /// Host and port that other brokers reach it at.
    pub address: String,
}

/// A broker's id as Raft knows it. Broker ids are not negative.
#[must_use]
pub fn raft_id(broker: BrokerId) -> u64 {
    u64::try_from(broker.0).expect("broker ids are not negative")
}

/// The broker whose id this is; `None` if it can be none's.
#[must_use]
pub fn broker_id(raft_id: u64) -> Option<BrokerId> {
    i32::try_from(raft_id).ok().map(BrokerId)
}

/// What a group begins with: an image, and one voter. It stands for the first entry of the log.
#[must_use]
pub(crate) fn first_state(image: MetadataImage, broker: BrokerId, member: Member) -> State {
    let (first, id) = (LogId::default(), raft_id(broker));
    let membership = Membership::new(vec![BTreeSet::from([id])], BTreeMap::from([(id, member)]));
    State { image, last_applied: Some(first), membership: StoredMembership::new(Some(first), membership) }
}

/// Raft's state could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("cannot start the metadata log's thread: {0}")]
    Thread(io::Error),
}

/// What a node's Raft runs on.
pub struct Opened {
    pub log: LogStore,
    pub state_machine: StateMachine,
    /// To be joined when the other two are gone.
    pub thread: WriterThread,
}

impl Opened {
    /// Closes the database again.
    pub fn close(self) {
        let Opened { log, state_machine, thread } = self;
        drop((log, state_machine));
        thread.join();
    }
}

/// Loads what Raft kept in the database at `path`; nothing was kept where it has no such tables yet. Images in force are sent
/// to `published` as they come.
pub fn open(database: Database, path: &Path, published: mpsc::UnboundedSender<Published>) -> Result<Opened, OpenError> {
    let (database, mut loaded) = RaftDatabase::open(database, path)?;
    let (writer, thread) = Writer::spawn(database).map_err(OpenError::Thread)?;
    let state_machine = StateMachine::new(loaded.snapshot.take(), writer.clone(), published);
    Ok(Opened { log: LogStore::new(loaded, writer), state_machine, thread })
}
