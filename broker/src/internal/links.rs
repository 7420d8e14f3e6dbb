//! Connections to other nodes, made when something is asked and kept for what is asked next.
//!
//! One connection carries many questions at once. A question that gets no answer in time is given up by whoever asked; a
//! connection that breaks fails all of its questions, and the next one makes a new connection. Retrying is the asker's.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use metadata::raft::{Member, Transport, TransportError};
use metadata::record::NodeBinding;
use protocol::BrokerId;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::frame::{self, Frames};
use super::handshake::{self, HandshakeError, Hello, Purpose, Welcome};
use crate::clock::rounded;

/// How long a connection may take to come about.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(1);
/// A connection whose bytes are not acknowledged by the other machine for so long is given up: what was sent into a cut link
/// would otherwise be sent again ever more rarely, also when the link is back.
const UNACKNOWLEDGED_TIME_MAX: Duration = Duration::from_secs(2);
/// Whoever takes a connection and says nothing for so long waits for the caller.
const SILENT_TIME_MIN: Duration = Duration::from_millis(300);
/// Pause before it is looked again whether a process has ended.
const ENDING_PAUSE: Duration = Duration::from_millis(10);
/// A connection that nobody used for so long is closed.
pub const IDLE_TIME_MAX: Duration = Duration::from_secs(60);

/// A question that was not answered. Whether it was carried out is not known.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("{address}: {source}")]
    Handshake { address: String, source: HandshakeError },
    #[error("{address}: the connection broke: {reason}")]
    Broken { address: String, reason: String },
    #[error("{address}: no answer within {}", rounded(*patience))]
    TimedOut { address: String, patience: Duration },
}

/// The node that asks.
#[derive(Clone, Debug)]
pub struct Caller {
    pub cluster_id: Option<Uuid>,
    /// `None` of operators' tools.
    pub node: Option<NodeBinding>,
}

/// Whom to ask.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Callee {
    pub purpose: Purpose,
    /// `None` for whoever is at the address.
    pub node: Option<(BrokerId, Uuid)>,
    /// `HOST:PORT`.
    pub address: String,
}

impl Callee {
    /// A node, where the metadata has it.
    pub fn node(purpose: Purpose, node: &NodeBinding) -> Callee {
        Callee { purpose, node: Some((node.node, node.directory_id)), address: node.address.clone() }
    }
}

/// All connections that this node has made. `Clone` is cheap.
#[derive(Clone)]
pub struct Links(Arc<Shared>);

struct Shared {
    caller: Caller,
    /// Of the image, which the handshake tells.
    metadata_offset: Box<dyn Fn() -> u64 + Send + Sync>,
    links: Mutex<HashMap<Callee, mpsc::UnboundedSender<Question>>>,
    /// Where nodes that called said that they are: newer than what the membership says, when all were moved at once.
    heard_of: Mutex<HashMap<BrokerId, String>>,
    /// Told of members whose connection for Raft broke or could not be made.
    lost: OnceLock<mpsc::UnboundedSender<NodeBinding>>,
}

struct Question {
    message: Vec<u8>,
    answer: oneshot::Sender<Result<Vec<u8>, LinkError>>,
}

impl Links {
    pub fn new(caller: Caller, metadata_offset: impl Fn() -> u64 + Send + Sync + 'static) -> Links {
        Links(Arc::new(Shared {
            caller,
            metadata_offset: Box::new(metadata_offset),
            links: Mutex::default(),
            heard_of: Mutex::default(),
            lost: OnceLock::new(),
        }))
    }

    /// From now on `lost` is told of members whose connection for Raft broke or could not be made: the leader talks to all of
    /// them all the time.
    pub fn tell_lost(&self, lost: mpsc::UnboundedSender<NodeBinding>) {
        // Once in the life of a process.
        let _ = self.0.lost.set(lost);
    }

    /// A node has called and said where it is, or was found there.
    pub fn heard_of(&self, node: BrokerId, address: String) {
        lock(&self.0.heard_of).insert(node, address);
    }

    /// Where a node said that it is, when it last called.
    pub fn address_of(&self, node: BrokerId) -> Option<String> {
        lock(&self.0.heard_of).get(&node).cloned()
    }

    /// A node, where it was last heard of.
    pub fn callee(&self, purpose: Purpose, node: &NodeBinding) -> Callee {
        let callee = Callee::node(purpose, node);
        Callee { address: self.address_of(node.node).unwrap_or(callee.address), ..callee }
    }

    /// Asks, and waits for the answer for `patience`.
    pub async fn ask(&self, callee: &Callee, message: Vec<u8>, patience: Duration) -> Result<Vec<u8>, LinkError> {
        let (answer, answered) = oneshot::channel();
        self.send(callee, Question { message, answer });
        let address = || callee.address.clone();
        match tokio::time::timeout(patience, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(LinkError::Broken { address: address(), reason: "this node is stopping".to_owned() }),
            Err(_) => Err(LinkError::TimedOut { address: address(), patience }),
        }
    }

    /// A connection to a shard of another node, on which replication is all that is spoken.
    pub async fn replicate_to(&self, node: &NodeBinding, shard: u32) -> Result<std::net::TcpStream, HandshakeError> {
        let callee = self.callee(Purpose::Replication { shard }, node);
        let connected = connect(&self.0, &callee).await;
        if connected.is_err() {
            self.0.forget_address(&callee);
        }
        Ok(connected?.into_std()?)
    }

    fn send(&self, callee: &Callee, mut question: Question) {
        let mut links = lock(&self.0.links);
        if let Some(link) = links.get(callee) {
            match link.send(question) {
                Ok(()) => return,
                // It had nothing to do for long and has ended.
                Err(mpsc::error::SendError(returned)) => question = returned,
            }
        }
        let (link, questions) = mpsc::unbounded_channel();
        link.send(question).expect("its other end is here");
        links.insert(callee.clone(), link);
        tokio::spawn(serve(self.0.clone(), callee.clone(), questions));
    }
}

impl Shared {
    /// Nobody who is meant was at the address that a node had called from: it is looked for again where the metadata has it.
    fn forget_address(&self, callee: &Callee) {
        let Some((node, _)) = callee.node else { return };
        let mut heard_of = lock(&self.heard_of);
        if heard_of.get(&node) == Some(&callee.address) {
            heard_of.remove(&node);
        }
    }

    fn note_lost(&self, callee: &Callee) {
        if let (Purpose::Raft, Some((node, directory_id)), Some(lost)) = (callee.purpose, callee.node, self.lost.get())
        {
            // Nobody listens when this node stops.
            let _ = lost.send(NodeBinding { node, directory_id, address: callee.address.clone() });
        }
    }
}

/// Carries one link's questions until nobody asks any more.
async fn serve(shared: Arc<Shared>, callee: Callee, mut questions: mpsc::UnboundedReceiver<Question>) {
    while let Ok(Some(first)) = tokio::time::timeout(IDLE_TIME_MAX, questions.recv()).await {
        if first.answer.is_closed() {
            continue;
        }
        match connect(&shared, &callee).await {
            Ok(socket) => {
                if let Err(error) = converse(socket, first, &mut questions, &callee).await {
                    tracing::debug!(address = callee.address, %error, "internal connection ended");
                    shared.note_lost(&callee);
                }
            }
            Err(error) => {
                tracing::debug!(address = callee.address, %error, "internal connection could not be made");
                shared.note_lost(&callee);
                shared.forget_address(&callee);
                let failed = LinkError::Handshake { address: callee.address.clone(), source: error };
                // Whoever else waits asks again.
                let _ = first.answer.send(Err(failed));
            }
        }
    }
    questions.close();
    lock(&shared.links).retain(|_, link| !link.is_closed());
}

async fn connect(shared: &Shared, callee: &Callee) -> Result<TcpStream, HandshakeError> {
    let connecting = tokio::time::timeout(CONNECT_TIME_MAX, TcpStream::connect(&callee.address));
    let mut socket = connecting.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    socket.set_nodelay(true)?;
    SockRef::from(&socket).set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIME_MAX))?;
    let hello = Hello {
        purpose: callee.purpose,
        cluster_id: shared.caller.cluster_id,
        from: shared.caller.node.clone(),
        to: callee.node,
        metadata_offset: (shared.metadata_offset)(),
    };
    handshake::call(&mut socket, &hello).await?;
    Ok(socket)
}

/// Asks whoever is at an address which cluster and node it is; it learns who asks.
pub async fn welcome(address: &str, from: Option<NodeBinding>) -> Result<Welcome, HandshakeError> {
    let connecting = tokio::time::timeout(CONNECT_TIME_MAX, TcpStream::connect(address));
    let mut socket = connecting.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let purpose = Purpose::Controller;
    let hello = Hello { purpose, cluster_id: None, from, to: None, metadata_offset: 0 };
    handshake::call(&mut socket, &hello).await
}

/// Whether nothing listens at an address: the process that did has ended, or is about to have.
///
/// While a process ends, its sockets are closed one after the other: the listening one may take connections for a moment, which
/// are closed at once. One that waits for the caller to speak is of a process that lives.
pub async fn is_refused(address: &str) -> bool {
    let began = tokio::time::Instant::now();
    while began.elapsed() < CONNECT_TIME_MAX {
        let mut socket = match tokio::time::timeout(CONNECT_TIME_MAX, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => return true,
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => continue,
            Ok(Err(_)) | Err(_) => return false,
        };
        if tokio::time::timeout(SILENT_TIME_MIN, socket.read(&mut [0])).await.is_err() {
            return false;
        }
        tokio::time::sleep(ENDING_PAUSE).await;
    }
    false
}

/// Questions and answers on one connection, until it breaks or is idle.
async fn converse(
    mut socket: TcpStream,
    first: Question,
    questions: &mut mpsc::UnboundedReceiver<Question>,
    Callee { purpose, address, .. }: &Callee,
) -> Result<(), LinkError> {
    let (read, mut write) = socket.split();
    let mut answers = Frames::new(read, purpose.message_bytes_max());
    let mut waiting: HashMap<u64, oneshot::Sender<Result<Vec<u8>, LinkError>>> = HashMap::new();
    let mut next = Some(first);
    let mut id = 0_u64;
    let reason = loop {
        if let Some(Question { message, answer }) = next.take() {
            id += 1;
            let written = match frame::encode(id, &message) {
                Ok(frame) => write.write_all(&frame).await,
                Err(error) => Err(error),
            };
            waiting.retain(|_, answer| !answer.is_closed());
            waiting.insert(id, answer);
            if let Err(error) = written {
                break error.to_string();
            }
        }
        tokio::select! {
            question = questions.recv() => match question {
                Some(question) if question.answer.is_closed() => {}
                Some(question) => next = Some(question),
                None => return Ok(()),
            },
            answer = answers.next() => match answer {
                Ok(Some(frame)) => {
                    // Nobody may wait for it any more.
                    if let Some(answer) = waiting.remove(&frame.id) {
                        let _ = answer.send(Ok(frame.message.into()));
                    }
                }
                Ok(None) => break "the other end closed it".to_owned(),
                Err(error) => break error.to_string(),
            },
            () = tokio::time::sleep(IDLE_TIME_MAX) => return Ok(()),
        }
    };
    let broken = || LinkError::Broken { address: address.clone(), reason: reason.clone() };
    waiting.into_values().for_each(|answer| drop(answer.send(Err(broken()))));
    Err(broken())
}

impl Transport for Links {
    async fn ask(
        &self,
        to: u64,
        member: &Member,
        question: Vec<u8>,
        patience: Duration,
    ) -> Result<Vec<u8>, TransportError> {
        let node = metadata::raft::broker_id(to).map(|id| (id, member.directory_id));
        let address = node.and_then(|(id, _)| self.address_of(id)).unwrap_or_else(|| member.address.clone());
        let callee = Callee { purpose: Purpose::Raft, node, address: address.clone() };
        let answer = Links::ask(self, &callee, question, patience).await;
        answer.map_err(|error| TransportError { to, address, reason: error.to_string() })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics with the lock")
}
