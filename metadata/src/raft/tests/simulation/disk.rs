//! A node's disk in virtual time: what was not synced when the node is killed is not there, and of the write under way all or
//! nothing (which the real database is held to by its own crash tests).

use super::draw;
use super::runtime::NodeTasks;
use crate::raft::database::{Loaded, Write};
use crate::raft::snapshot::State;
use crate::raft::stored::{decode_entry, decode_log_id, decode_vote};
use crate::raft::writer::{Batch, Job, Writer};
use crate::raft::{LogStore, Published, StateMachine};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

/// What is on a disk. Clones are of one disk.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<Content>>);

#[derive(Clone, Default)]
pub struct Content {
    vote: Option<Vec<u8>>,
    committed: Option<Vec<u8>>,
    purged: Option<Vec<u8>>,
    pub log: BTreeMap<u64, Vec<u8>>,
    snapshot: Vec<u8>,
}

impl Content {
    fn apply(&mut self, write: &Write) {
        match write {
            Write::Vote(vote) => self.vote = Some(vote.clone()),
            Write::Committed(log_id) => self.committed = Some(log_id.clone()),
            Write::Append(entries) => self.log.extend(entries.iter().cloned()),
            Write::Truncate(from) => drop(self.log.split_off(from)),
            Write::Purge(up_to, log_id) => {
                self.log = self.log.split_off(&(up_to + 1));
                self.purged = Some(log_id.clone());
            }
            Write::Snapshot(bytes) => self.snapshot = bytes.to_vec(),
        }
    }
}

impl Disk {
    /// A disk on which a group begins with this state.
    pub fn with_state(state: &State) -> Disk {
        let disk = Disk::default();
        disk.0.lock().unwrap().snapshot = state.encode().to_vec();
        disk
    }

    pub fn content(&self) -> Content {
        self.0.lock().unwrap().clone()
    }

    fn load(&self) -> Loaded {
        let Content { vote, committed, purged, log, snapshot } = self.content();
        let log_id = |bytes: Option<Vec<u8>>| bytes.map(|bytes| decode_log_id(&bytes).unwrap());
        Loaded {
            vote: vote.map(|bytes| decode_vote(&bytes).unwrap()),
            committed: log_id(committed),
            purged: log_id(purged),
            entries: log.iter().map(|(index, bytes)| (*index, decode_entry(bytes).unwrap())).collect(),
            snapshot: (!snapshot.is_empty()).then(|| (State::decode(&snapshot).unwrap(), snapshot.into())),
        }
    }

    /// What a node runs on that starts with this disk; its writes are one of its tasks.
    pub fn open(&self, tasks: &NodeTasks, published: mpsc::UnboundedSender<Published>) -> (LogStore, StateMachine) {
        let mut loaded = self.load();
        let (writer, jobs) = Writer::simulated();
        tasks.spawn(serve(self.clone(), jobs));
        let state_machine = StateMachine::new(loaded.snapshot.take(), writer.clone(), published);
        (LogStore::new(loaded, writer), state_machine)
    }
}

async fn serve(disk: Disk, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let mut committed = None;
    while let Some(first) = jobs.recv().await {
        let mut together = vec![first];
        while let Ok(next) = jobs.try_recv() {
            together.push(next);
        }
        let Batch { writes, waiting } = Batch::of(together, &mut committed);
        // A disk that is slow now and then.
        let milliseconds = if draw(0..50) == 0 { draw(0..700) } else { draw(0..5) };
        // It may be done before the node is told, or not be done at all when the node dies.
        let before = draw(0..=milliseconds);
        tokio::time::sleep(Duration::from_millis(before)).await;
        if !writes.is_empty() {
            let mut content = disk.0.lock().unwrap();
            writes.iter().chain(committed.take().as_ref()).for_each(|write| content.apply(write));
        }
        tokio::time::sleep(Duration::from_millis(milliseconds - before)).await;
        waiting.into_iter().for_each(|done| done.tell(Ok(())));
    }
}
