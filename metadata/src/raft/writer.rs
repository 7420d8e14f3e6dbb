//! The thread that writes what Raft must keep: it waits for the disk so that the metadata core, which sends heartbeats, does
//! not.
//!
//! Contract: writes are made durable in the order they were sent, those that wait while the disk is busy together; whoever
//! sent one learns of it after the sync. After a write failed none is tried again, and all that follow fail: what is on disk
//! then is for the next start to see.

use super::MetadataRaft;
use super::database::{RaftDatabase, Write};
use crate::store::DatabaseError;
use openraft::storage::LogFlushed;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Writes that go into one transaction at most.
const TOGETHER_MAX: usize = 256;

/// Raft's state could not be made durable: the process must end.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WriterFailed {
    #[error("{0}")]
    Disk(Arc<DatabaseError>),
    #[error("the metadata log was closed")]
    Closed,
}

/// Who is told that a write is on disk.
pub(super) enum Done {
    Nobody,
    Reply(oneshot::Sender<Result<(), WriterFailed>>),
    Flushed(LogFlushed<MetadataRaft>),
}

impl Done {
    pub fn tell(self, outcome: Result<(), WriterFailed>) {
        match self {
            Done::Nobody => {}
            // Whoever asked may have gone.
            Done::Reply(reply) => drop(reply.send(outcome)),
            Done::Flushed(callback) => callback.log_io_completed(outcome.map_err(io::Error::other)),
        }
    }
}

/// A write, and who waits for it.
pub(super) struct Job {
    write: Write,
    done: Done,
}

/// Jobs that are made durable together.
pub(super) struct Batch {
    pub writes: Vec<Write>,
    pub waiting: Vec<Done>,
}

impl Batch {
    /// What is committed is worth no sync of its own: it stays in `committed` and goes along with the next write, or is found
    /// out again.
    pub fn of(together: Vec<Job>, committed: &mut Option<Write>) -> Batch {
        let mut batch =
            Batch { writes: Vec::with_capacity(together.len()), waiting: Vec::with_capacity(together.len()) };
        for Job { write, done } in together {
            match write {
                Write::Committed(_) => *committed = Some(write),
                other => batch.writes.push(other),
            }
            batch.waiting.push(done);
        }
        batch
    }
}

/// A way to the thread. Its queue is bounded by what Raft has under way.
#[derive(Clone)]
pub(super) struct Writer {
    jobs: Jobs,
}

#[derive(Clone)]
enum Jobs {
    Thread(Sender<Job>),
    /// To a task in virtual time.
    #[cfg(test)]
    Simulated(tokio::sync::mpsc::UnboundedSender<Job>),
}

/// The thread itself: it ends when every [`Writer`] is gone.
#[derive(Debug)]
pub struct WriterThread {
    handle: JoinHandle<()>,
}

impl WriterThread {
    /// Waits for the end of the thread, after which the database is closed.
    pub fn join(self) {
        if self.handle.join().is_err() {
            tracing::error!("the metadata log's thread panicked");
        }
    }
}

impl Writer {
    pub fn spawn(database: RaftDatabase) -> io::Result<(Writer, WriterThread)> {
        let (jobs, received) = channel();
        let handle =
            std::thread::Builder::new().name("metadata-log".to_owned()).spawn(move || run(&database, &received))?;
        Ok((Writer { jobs: Jobs::Thread(jobs) }, WriterThread { handle }))
    }

    #[cfg(test)]
    pub fn simulated() -> (Writer, tokio::sync::mpsc::UnboundedReceiver<Job>) {
        let (jobs, received) = tokio::sync::mpsc::unbounded_channel();
        (Writer { jobs: Jobs::Simulated(jobs) }, received)
    }

    pub fn send(&self, write: Write, done: Done) {
        let job = Job { write, done };
        let rejected = match &self.jobs {
            Jobs::Thread(jobs) => jobs.send(job).err().map(|rejected| rejected.0),
            #[cfg(test)]
            Jobs::Simulated(jobs) => jobs.send(job).err().map(|rejected| rejected.0),
        };
        if let Some(rejected) = rejected {
            rejected.done.tell(Err(WriterFailed::Closed));
        }
    }

    /// Sends the write now; the future ends once it is on disk.
    pub fn write(&self, write: Write) -> impl Future<Output = Result<(), WriterFailed>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        self.send(write, Done::Reply(reply));
        async move { answer.await.unwrap_or(Err(WriterFailed::Closed)) }
    }
}

fn run(database: &RaftDatabase, jobs: &Receiver<Job>) {
    let mut failure: Option<WriterFailed> = None;
    let mut committed: Option<Write> = None;
    while let Ok(first) = jobs.recv() {
        let mut together = vec![first];
        together.extend(jobs.try_iter().take(TOGETHER_MAX - 1));
        let Batch { writes, waiting } = Batch::of(together, &mut committed);
        if !writes.is_empty() && failure.is_none() {
            let result = database.apply(writes.iter().chain(committed.take().as_ref()));
            failure = result.err().map(|error| WriterFailed::Disk(Arc::new(error)));
            if let Some(failure) = &failure {
                tracing::error!(error = %failure, "the metadata log cannot be written");
            }
        }
        let outcome = failure.clone().map_or(Ok(()), Err);
        waiting.into_iter().for_each(|done| done.tell(outcome.clone()));
    }
    if failure.is_none()
        && let Some(write) = committed
        && let Err(error) = database.apply(std::iter::once(&write))
    {
        tracing::warn!(%error, "what was committed last is not marked as such; the next start finds it out from the others");
    }
}
