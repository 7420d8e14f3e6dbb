//! Handling what other threads send.

use std::rc::Rc;

use async_channel::Receiver;

use super::Shard;
use super::message::ShardMessage;
use crate::connection;
use crate::handlers::{fetch, produce};
use crate::metrics::snapshot;
use crate::replicator::inbound;

/// Messages handled before other tasks of the shard get a turn.
const MESSAGES_PER_TURN: usize = 64;

impl Shard {
    /// Runs until [`ShardMessage::Close`]. First stages happen here, in order; whatever waits is spawned.
    pub(super) async fn serve_inbox(self: &Rc<Self>, inbox: Receiver<ShardMessage>) {
        let mut handled = 0;
        while let Ok(message) = inbox.recv().await {
            match message {
                ShardMessage::Connection { socket, peer, permit } => {
                    let shard = self.clone();
                    self.queues.spawn_produce(async move { connection::serve(shard, socket, peer, permit).await });
                }
                ShardMessage::Replication { socket, peer, from } => {
                    let shard = self.clone();
                    self.queues.spawn_produce(async move { inbound::session::serve(shard, socket, peer, from).await });
                }
                ShardMessage::Produce { forward, answer } => produce::serve_forward(self, forward, answer),
                ShardMessage::Fetch { forward, answer } => {
                    let shard = self.clone();
                    self.queues.spawn_fetch(async move {
                        let _ = answer.send(fetch::read_here(&shard, forward).await);
                    });
                }
                ShardMessage::Partitions { ops, answer } => self.spawn_ops(ops, answer),
                ShardMessage::Group(forward) => self.groups.serve_forward(self, *forward),
                ShardMessage::CommittedOffsets { max, answer } => {
                    let shard = self.clone();
                    self.queues.spawn_control(async move {
                        // Whoever asked may have given up.
                        let _ = answer.send(shard.groups.committed_offsets(max).await);
                    });
                }
                ShardMessage::Metrics { answer } => {
                    let shard = self.clone();
                    self.queues.spawn_control(async move {
                        let _ = answer.send(snapshot::collect(&shard).await);
                    });
                }
                ShardMessage::Drain => {
                    let shard = self.clone();
                    self.queues.spawn_control(async move { shard.drain().await });
                }
                ShardMessage::Close => return,
            }
            handled += 1;
            if handled % MESSAGES_PER_TURN == 0 {
                glommio::executor().yield_if_needed().await;
            }
        }
    }
}
