//! The end in order: requests finish, logs are closed, journals are removed.

use async_channel::Sender;
use glommio::ExecutorJoinHandle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::ServeError;
use crate::high_watermarks::Note;
use crate::journal_dir::JournalDir;
use crate::shard::message::ShardMessage;
use crate::shard::run::ShardEvent;

/// What ends. New connections are not accepted any more.
pub struct Stopping {
    pub threads: Vec<ExecutorJoinHandle<()>>,
    pub inboxes: Vec<Sender<ShardMessage>>,
    pub events: mpsc::UnboundedReceiver<ShardEvent>,
    pub journal_dir: JournalDir,
    pub notes: mpsc::UnboundedSender<Note>,
    /// Ends with [`Note::End`].
    pub noting: JoinHandle<()>,
}

impl Stopping {
    /// Resolves when every shard has ended and what they left is on disk.
    ///
    /// # Errors
    /// If a shard fails: the process must end then, for recovery to decide.
    pub async fn run(mut self) -> Result<(), ServeError> {
        self.drain().await?;
        self.close().await?;
        let _ = self.notes.send(Note::End);
        self.noting.await.expect("a panic ends the process");
        Ok(())
    }

    /// Lets what is under way be answered. All shards first, since each may need the others for its answers.
    async fn drain(&mut self) -> Result<(), ServeError> {
        self.tell(|| ShardMessage::Drain);
        let mut draining = self.inboxes.len();
        while draining > 0 {
            match self.events.recv().await {
                Some(ShardEvent::Drained { shard }) => {
                    tracing::debug!(shard, "shard drained");
                    draining -= 1;
                }
                Some(ShardEvent::Fatal { shard, error }) => return Err(ServeError::Shard { shard, error }),
                Some(ShardEvent::Ready { .. } | ShardEvent::Closed { .. }) => {}
                None => break,
            }
        }
        Ok(())
    }

    /// Ends the shards, and the journals if nothing of them is needed.
    async fn close(&mut self) -> Result<(), ServeError> {
        self.tell(|| ShardMessage::Close);
        let mut with_journal = self.inboxes.len();
        let mut note = |event| match event {
            ShardEvent::Closed { shard, journal_removed } => {
                if !journal_removed {
                    tracing::warn!(shard, "its journal is still needed: the next start replays it");
                }
                with_journal -= usize::from(journal_removed);
                Ok(())
            }
            ShardEvent::Fatal { shard, error } => Err(ServeError::Shard { shard, error }),
            ShardEvent::Ready { .. } | ShardEvent::Drained { .. } => Ok(()),
        };
        let mut ended = std::pin::pin!(join_all(std::mem::take(&mut self.threads)));
        loop {
            tokio::select! {
                () = &mut ended => break,
                Some(event) = self.events.recv() => note(event)?,
            }
        }
        while let Ok(event) = self.events.try_recv() {
            note(event)?;
        }
        if with_journal == 0 {
            self.journal_dir.end()?;
        }
        Ok(())
    }

    fn tell(&self, message: impl Fn() -> ShardMessage) {
        for inbox in &self.inboxes {
            let _ = inbox.try_send(message());
        }
    }
}

/// Resolves when every thread has ended.
async fn join_all(threads: Vec<ExecutorJoinHandle<()>>) {
    let (done, joined) = oneshot::channel();
    std::thread::spawn(move || {
        for thread in threads {
            if let Err(error) = thread.join() {
                tracing::error!(%error, "a shard's thread did not end in order");
            }
        }
        let _ = done.send(());
    });
    let _ = joined.await;
}
