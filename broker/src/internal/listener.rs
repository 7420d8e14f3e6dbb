//! The answering end of internal connections.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_channel::Sender;
use metadata::raft::Handle;
use metadata::record::NodeBinding;
use protocol::BrokerId;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use uuid::Uuid;

use super::frame::{self, Frames};
use super::handshake::{self, Hello, Me, Purpose, Refused, Welcome};
use super::links::{self, Links};
use crate::acceptor::Claimed;
use crate::live::Live;
use crate::logging::limit;
use crate::metadata_core::inspect;
use crate::metadata_core::router::Router;
use crate::shard::message::ShardMessage;

/// Internal connections held at once: some for every broker of a large cluster. Further ones are closed.
const CONNECTIONS_MAX: usize = 4096;
/// Questions of one connection that are being answered; beyond it the connection is not read.
const QUESTIONS_MAX: usize = 256;
/// A connection on which nothing comes for so long is closed: the other end would have closed it itself.
const SILENCE_MAX: Duration = links::IDLE_TIME_MAX.saturating_add(Duration::from_secs(30));
/// Pause after an `accept` that failed for want of descriptors or memory.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// The inboxes of this broker's shards, once there are any.
pub type Shards = Arc<OnceLock<Vec<Sender<ShardMessage>>>>;

/// What answering takes.
#[derive(Clone)]
pub struct Answering {
    pub cluster_id: Uuid,
    pub me: NodeBinding,
    pub raft: Handle,
    pub router: Router,
    pub links: Links,
    /// What replication connections are handed to; set when the shards have started.
    pub shards: Shards,
    /// What passes through this broker.
    pub live: Arc<Live>,
    /// Told when a node's connection ended, as it does when its process dies.
    pub gone: mpsc::UnboundedSender<NodeBinding>,
}

/// Starts to answer on the current runtime.
pub fn serve(claimed: Claimed, answering: Answering) -> io::Result<()> {
    let listener = claimed.listen()?;
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    tokio::spawn(async move {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let (socket, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    if limit::ACCEPT_FAILED.admit() {
                        tracing::warn!(%error, "an internal connection could not be accepted");
                    }
                    tokio::time::sleep(ACCEPT_RETRY).await;
                    continue;
                }
            };
            let Ok(permit) = connections.clone().try_acquire_owned() else {
                if limit::INTERNAL_REFUSED.admit() {
                    tracing::warn!(%peer, CONNECTIONS_MAX, "too many internal connections: this one is closed");
                }
                continue;
            };
            let answering = answering.clone();
            tokio::spawn(async move {
                answering.connection(socket, peer).await;
                drop(permit);
            });
        }
    });
    Ok(())
}

impl Answering {
    async fn connection(self, mut socket: TcpStream, peer: SocketAddr) {
        let hello = match handshake::answer(&mut socket, |hello| self.judge(hello)).await {
            Ok(hello) => hello,
            Err(error) => {
                if limit::INTERNAL_REFUSED.admit() {
                    tracing::warn!(%peer, %error, "an internal connection was refused");
                }
                return;
            }
        };
        if let Some(from) = &hello.from {
            // Others have no address yet that anybody would want to know.
            let bound = self.raft.image().node(from.node).is_some_and(|node| node.directory_id == from.directory_id);
            if bound {
                self.links.heard_of(from.node, from.address.clone());
            }
        }
        if let (Purpose::Replication { shard }, Some(from)) = (hello.purpose, &hello.from) {
            self.hand_over(socket, peer, shard, from.node);
            return;
        }
        if let Err(error) = self.converse(socket, hello.purpose).await {
            tracing::debug!(%peer, %error, "an internal connection broke");
        }
        if let (Purpose::Controller | Purpose::Raft, Some(from)) = (hello.purpose, hello.from) {
            // Nobody listens when this node stops.
            let _ = self.gone.send(from);
        }
    }

    fn judge(&self, hello: &Hello) -> Result<Welcome, Refused> {
        let image = self.raft.image();
        let me =
            Me { cluster_id: self.cluster_id, node: self.me.node, directory_id: self.me.directory_id, image: &image };
        let welcome = handshake::judge(hello, me)?;
        match hello.purpose {
            Purpose::Raft | Purpose::Controller | Purpose::Inspect => Ok(welcome),
            Purpose::Replication { shard } => match self.shards.get().map(Vec::len) {
                None => Err(Refused::Starting),
                Some(shards) if shard as usize >= shards => {
                    Err(Refused::NoSuchShard { shard, shards: u32::try_from(shards).unwrap_or(u32::MAX) })
                }
                Some(_) => Ok(welcome),
            },
        }
    }

    /// Gives a replication connection to the shard that it is for: its bytes never pass through here.
    fn hand_over(&self, socket: TcpStream, peer: SocketAddr, shard: u32, from: BrokerId) {
        let inbox = self.shards.get().and_then(|shards| shards.get(shard as usize));
        let handed = socket.into_std().map(|socket| {
            // A shard that has ended takes no more connections.
            inbox.map(|inbox| inbox.try_send(ShardMessage::Replication { socket, peer, from }))
        });
        if let Err(error) = handed {
            tracing::warn!(%peer, %error, "a replication connection could not be handed to its shard");
        }
    }

    async fn converse(&self, mut socket: TcpStream, purpose: Purpose) -> io::Result<()> {
        socket.set_nodelay(true)?;
        let (read, mut write) = socket.split();
        let mut questions = Frames::new(read, purpose.message_bytes_max());
        let (answer, mut answers) = mpsc::channel::<Vec<u8>>(QUESTIONS_MAX);
        let reading = async {
            // The other end closes a connection that it does not use, unless it is gone without a word.
            while let Some(question) = tokio::time::timeout(SILENCE_MAX, questions.next()).await?? {
                // Waits while too many are being answered.
                let Ok(place) = answer.clone().reserve_owned().await else { break };
                let this = self.clone();
                tokio::spawn(async move {
                    let message = match purpose {
                        Purpose::Raft => this.raft.answer(&question.message).await,
                        Purpose::Controller | Purpose::Replication { .. } => {
                            this.router.answer(&question.message).await
                        }
                        Purpose::Inspect => {
                            let image = this.raft.image();
                            inspect::answer(
                                &question.message,
                                &image,
                                || this.raft.status(),
                                &this.links,
                                &this.shards,
                                &this.live,
                            )
                            .await
                        }
                    };
                    match frame::encode(question.id, &message) {
                        Ok(frame) => drop(place.send(frame)),
                        Err(error) => tracing::error!(%error, "an internal answer could not be sent"),
                    }
                });
            }
            Ok(())
        };
        let writing = async {
            while let Some(frame) = answers.recv().await {
                write.write_all(&frame).await?;
            }
            Ok(())
        };
        tokio::select! {
            ended = reading => ended,
            ended = writing => ended,
        }
    }
}
