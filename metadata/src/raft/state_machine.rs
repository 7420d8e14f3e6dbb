//! The image that the committed log folds into.
//!
//! Nothing here is stored but snapshots: a node starts from its newest one and applies what is committed behind it. What was
//! applied is told, in order, to whoever holds the other end of the channel: the metadata core, which tells shards.

use super::database::Write;
use super::log_store::storage_error;
use super::snapshot::{SnapshotBytes, State};
use super::writer::Writer;
use super::{Command, Entry, LogId, MetadataRaft, Outcome, SnapshotMeta, StorageError, StoredMembership, WriterFailed};
use crate::delta::MetadataDelta;
use crate::image::MetadataImage;
use openraft::storage::{RaftStateMachine, Snapshot};
use openraft::{AnyError, EntryPayload, ErrorSubject, ErrorVerb, OptionalSend, RaftSnapshotBuilder, StorageIOError};
use std::sync::{Arc, Mutex};
use tokio::sync::{mpsc, watch};

/// An image that is in force, and how it came from the one before.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    pub image: MetadataImage,
    /// What shards must know of it, in order.
    pub deltas: Vec<MetadataDelta>,
}

/// The newest snapshot, shared with its builder.
type Current = Arc<Mutex<Option<(SnapshotMeta, SnapshotBytes)>>>;

/// See the module's documentation.
pub struct StateMachine {
    state: State,
    current: Current,
    writer: Writer,
    published: mpsc::UnboundedSender<Published>,
    /// The image in force, for whoever needs no more than that.
    images: watch::Sender<MetadataImage>,
}

/// Makes a snapshot of the state as it was when this was made.
pub struct SnapshotBuilder {
    state: State,
    current: Current,
    writer: Writer,
}

impl StateMachine {
    pub(super) fn new(
        snapshot: Option<(State, SnapshotBytes)>,
        writer: Writer,
        published: mpsc::UnboundedSender<Published>,
    ) -> StateMachine {
        let (state, current) = match snapshot {
            Some((state, bytes)) => {
                let meta = state.meta();
                (state, Some((meta, bytes)))
            }
            None => {
                let image = MetadataImage::default();
                (State { image, last_applied: None, membership: StoredMembership::default() }, None)
            }
        };
        let images = watch::Sender::new(state.image.clone());
        StateMachine { state, current: Arc::new(Mutex::new(current)), writer, published, images }
    }

    /// The image in force, now and later.
    #[must_use]
    pub fn images(&self) -> watch::Receiver<MetadataImage> {
        self.images.subscribe()
    }

    /// The image that the node's snapshot holds.
    #[must_use]
    pub fn image(&self) -> &MetadataImage {
        &self.state.image
    }

    /// Who takes part, as far as the node's snapshot says.
    #[must_use]
    pub fn membership(&self) -> &StoredMembership {
        &self.state.membership
    }

    /// The outcome of a command, and its deltas.
    fn carry_out(&mut self, command: &Command, deltas: &mut Vec<MetadataDelta>) -> Outcome {
        let metadata_offset = self.state.image.metadata_offset();
        if command.decided_at != metadata_offset {
            return Outcome::Stale { metadata_offset };
        }
        match self.state.image.apply_batch(&command.records) {
            Ok((image, of_this)) => {
                let metadata_offset = image.metadata_offset();
                self.state.image = image;
                deltas.extend(of_this);
                Outcome::Applied { metadata_offset }
            }
            Err(error) => {
                // The same on every node, so the group goes on; the controller's decision was wrong.
                tracing::error!(%error, "a metadata change does not fit and is left out");
                Outcome::Misfit(error)
            }
        }
    }

    fn publish(&self, deltas: Vec<MetadataDelta>) {
        self.images.send_replace(self.state.image.clone());
        // Without a listener the node is stopping.
        let _ = self.published.send(Published { image: self.state.image.clone(), deltas });
    }
}

/// Makes a snapshot the newest one and durable, unless there is a newer one.
async fn keep(
    current: &Current,
    writer: &Writer,
    meta: &SnapshotMeta,
    bytes: &SnapshotBytes,
) -> Result<(), WriterFailed> {
    let written = {
        let mut current = current.lock().expect("nobody panics with the lock");
        if current.as_ref().is_some_and(|(newest, _)| newest.last_log_id > meta.last_log_id) {
            return Ok(());
        }
        *current = Some((meta.clone(), bytes.clone()));
        // Sent within the lock, so that the disk gets them in the same order.
        writer.write(Write::Snapshot(bytes.clone()))
    };
    written.await
}

impl RaftSnapshotBuilder<MetadataRaft> for SnapshotBuilder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<MetadataRaft>, StorageError> {
        let (meta, bytes) = (self.state.meta(), self.state.encode());
        keep(&self.current, &self.writer, &meta, &bytes)
            .await
            .map_err(|error| storage_error(ErrorSubject::Snapshot(Some(meta.signature())), ErrorVerb::Write, &error))?;
        Ok(Snapshot { meta, snapshot: Box::new(bytes) })
    }
}

impl RaftStateMachine<MetadataRaft> for StateMachine {
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok((self.state.last_applied, self.state.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Outcome>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let before = self.state.image.metadata_offset();
        let (mut outcomes, mut deltas) = (Vec::new(), Vec::new());
        for entry in entries {
            self.state.last_applied = Some(entry.log_id);
            outcomes.push(match entry.payload {
                EntryPayload::Blank => Outcome::Nothing,
                EntryPayload::Normal(command) => self.carry_out(&command, &mut deltas),
                EntryPayload::Membership(membership) => {
                    self.state.membership = StoredMembership::new(Some(entry.log_id), membership);
                    Outcome::Nothing
                }
            });
        }
        if self.state.image.metadata_offset() != before {
            self.publish(deltas);
        }
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder { state: self.state.clone(), current: self.current.clone(), writer: self.writer.clone() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotBytes>, StorageError> {
        Ok(Box::new(Arc::new([])))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<SnapshotBytes>,
    ) -> Result<(), StorageError> {
        let subject = || ErrorSubject::Snapshot(Some(meta.signature()));
        let state = State::decode(&snapshot)
            .map_err(|error| StorageIOError::new(subject(), ErrorVerb::Read, AnyError::new(&error)))?;
        keep(&self.current, &self.writer, meta, &snapshot)
            .await
            .map_err(|error| storage_error(subject(), ErrorVerb::Write, &error))?;
        let before = std::mem::replace(&mut self.state, state);
        let deltas = MetadataDelta::between(&before.image, &self.state.image);
        self.publish(deltas);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<MetadataRaft>>, StorageError> {
        let current = self.current.lock().expect("nobody panics with the lock");
        Ok(current.as_ref().map(|(meta, bytes)| Snapshot { meta: meta.clone(), snapshot: Box::new(bytes.clone()) }))
    }
}
