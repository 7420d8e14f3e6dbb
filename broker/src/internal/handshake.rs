//! The first bytes of an internal connection, in both directions.
//!
//! The caller sends `RINGLOG\0`, the oldest and the newest version that it speaks (u16 each), the length of what follows (u32)
//! and a [`Hello`]; all numbers are little endian. The other end answers with `RINGLOG\0`, the version that both use from now
//! on (u16, 0 where it refuses), a length (u32) and a [`Welcome`] or a [`Refused`]. This head stays the same in every version,
//! so that any two programs can tell each other what they lack.

use std::io;
use std::ops::RangeInclusive;
use std::time::Duration;

use metadata::cluster_id::ClusterId;
use metadata::image::MetadataImage;
use metadata::record::NodeBinding;
use protocol::BrokerId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use super::frame;

const MAGIC: [u8; 8] = *b"RINGLOG\0";
/// What this program speaks.
pub const VERSIONS: RangeInclusive<u16> = 2..=2;
/// More is no handshake. In bytes.
const BODY_BYTES_MAX: u32 = 16 * 1024;
/// How long either end may take for its part.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Purpose {
    /// Raft between members of the metadata quorum.
    Raft,
    /// Requests to the controller: of brokers, of nodes that want to join, of `ringlog cluster`.
    Controller,
    /// Replication, by this shard of the node that is called.
    Replication { shard: u32 },
    /// Questions of operators' tools about the node that is called: of `ringlog partition`.
    Inspect,
}

impl Purpose {
    /// Whether only members of the cluster come for this.
    fn is_members_own(self) -> bool {
        match self {
            Purpose::Raft | Purpose::Replication { .. } => true,
            Purpose::Controller | Purpose::Inspect => false,
        }
    }

    /// The longest message that comes on a connection for this, in bytes.
    pub fn message_bytes_max(self) -> usize {
        match self {
            Purpose::Controller | Purpose::Inspect => frame::REQUEST_BYTES_MAX,
            Purpose::Raft | Purpose::Replication { .. } => frame::MEMBER_MESSAGE_BYTES_MAX,
        }
    }
}

/// What the caller says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub purpose: Purpose,
    /// `None` while the caller does not belong to a cluster, and of operators' tools.
    pub cluster_id: Option<Uuid>,
    /// The caller; `None` of operators' tools.
    pub from: Option<NodeBinding>,
    /// Whom it wants to speak to; `None` for whoever is at the address.
    pub to: Option<(BrokerId, Uuid)>,
    /// Metadata offset of the caller's image: what it knows of the cluster that the other end may not know yet.
    pub metadata_offset: u64,
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    pub cluster_id: Uuid,
    pub node: BrokerId,
}

/// Why a connection is not wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refused {
    #[error(
        "it speaks versions {oldest} to {newest} of the internal protocol, the caller {found_oldest} to {found_newest}"
    )]
    Version { oldest: u16, newest: u16, found_oldest: u16, found_newest: u16 },
    #[error("it belongs to cluster {}, the caller to cluster {}", ClusterId(*expected), ClusterId(*found))]
    ForeignCluster { expected: Uuid, found: Uuid },
    #[error(
        "it is node {found} with data directory {found_directory}, and node {wanted} with {wanted_directory} was called"
    )]
    OtherNode { wanted: BrokerId, wanted_directory: Uuid, found: BrokerId, found_directory: Uuid },
    #[error(
        "the caller has this node's own id {node}, and another data directory: every node needs a --node-id of its own"
    )]
    SameId { node: BrokerId },
    #[error(
        "node id {node} belongs to the data directory {bound}, and the caller's is {found}; if the disk was lost, \
         'ringlog cluster remove {node}' frees the id"
    )]
    OtherDirectory { node: BrokerId, bound: Uuid, found: Uuid },
    #[error("node {node} does not belong to the cluster: it was removed")]
    Removed { node: BrokerId },
    #[error("only members talk Raft and replicate, and the caller does not say which it is")]
    Anonymous,
    #[error("it has no shard {shard}: there are {shards}")]
    NoSuchShard { shard: u32, shards: u32 },
    #[error("it is starting, and its shards are not there yet")]
    Starting,
}

/// A handshake that did not end in a connection.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("no answer within {HANDSHAKE_TIME_MAX:?}")]
    TimedOut,
    #[error("what it sent is not Ringlog's internal protocol: the first bytes are {found:02x?}")]
    NotOurs { found: [u8; 8] },
    #[error("its part of the handshake has {bytes} bytes, more than {BODY_BYTES_MAX}")]
    TooLong { bytes: u32 },
    #[error("its part of the handshake cannot be read: {0}")]
    Malformed(postcard::Error),
    #[error("refused: {0}")]
    Refused(Refused),
    #[error("it answered with version {found} of the internal protocol, which was not offered")]
    NotOffered { found: u16 },
}

/// The end that answers.
#[derive(Clone, Copy, Debug)]
pub struct Me<'a> {
    pub cluster_id: Uuid,
    pub node: BrokerId,
    pub directory_id: Uuid,
    pub image: &'a MetadataImage,
}

/// The newest version that both ends speak.
pub fn common_version(theirs: &RangeInclusive<u16>) -> Result<u16, Refused> {
    let newest = *theirs.end().min(VERSIONS.end());
    if newest >= *theirs.start().max(VERSIONS.start()) {
        return Ok(newest);
    }
    let ((oldest, newest), (found_oldest, found_newest)) = (VERSIONS.into_inner(), theirs.clone().into_inner());
    Err(Refused::Version { oldest, newest, found_oldest, found_newest })
}

/// Whether a caller is welcome.
pub fn judge(hello: &Hello, me: Me<'_>) -> Result<Welcome, Refused> {
    if let Some(found) = hello.cluster_id
        && found != me.cluster_id
    {
        return Err(Refused::ForeignCluster { expected: me.cluster_id, found });
    }
    if let Some((wanted, wanted_directory)) = hello.to
        && (wanted, wanted_directory) != (me.node, me.directory_id)
    {
        let (found, found_directory) = (me.node, me.directory_id);
        return Err(Refused::OtherNode { wanted, wanted_directory, found, found_directory });
    }
    // Members are believed more than tools: what they may send is larger, and where they are is remembered.
    if hello.purpose.is_members_own() && (hello.cluster_id.is_none() || hello.from.is_none()) {
        return Err(Refused::Anonymous);
    }
    if let Some(from) = &hello.from {
        if from.node == me.node && from.directory_id != me.directory_id {
            return Err(Refused::SameId { node: from.node });
        }
        // Only members talk Raft and replicate. A caller that knows more of the cluster than this node is believed: it may
        // have joined since.
        if hello.purpose.is_members_own() && hello.metadata_offset <= me.image.metadata_offset() {
            check_member(from, me.image)?;
        }
    }
    Ok(Welcome { cluster_id: me.cluster_id, node: me.node })
}

fn check_member(from: &NodeBinding, image: &MetadataImage) -> Result<(), Refused> {
    match image.node(from.node) {
        Some(bound) if bound.directory_id != from.directory_id => {
            Err(Refused::OtherDirectory { node: from.node, bound: bound.directory_id, found: from.directory_id })
        }
        // While no node is bound the image is of a cluster that had one broker only, or is still empty.
        None if image.nodes().next().is_some() => Err(Refused::Removed { node: from.node }),
        Some(_) | None => Ok(()),
    }
}

/// The caller's part.
pub async fn call(socket: &mut TcpStream, hello: &Hello) -> Result<Welcome, HandshakeError> {
    within_time(async {
        let (oldest, newest) = VERSIONS.into_inner();
        send(socket, &[oldest, newest], hello).await?;
        let [version] = receive_head::<1>(socket).await?;
        let answer: Result<Welcome, Refused> = receive_body(socket).await?;
        let welcome = answer.map_err(HandshakeError::Refused)?;
        if !VERSIONS.contains(&version) {
            return Err(HandshakeError::NotOffered { found: version });
        }
        Ok(welcome)
    })
    .await
}

/// The answering end's part: gives who called, after telling the caller what `decide` makes of it.
pub async fn answer(
    socket: &mut TcpStream,
    decide: impl FnOnce(&Hello) -> Result<Welcome, Refused>,
) -> Result<Hello, HandshakeError> {
    within_time(async {
        let [oldest, newest] = receive_head::<2>(socket).await?;
        let common = common_version(&(oldest..=newest));
        // What a newer version says is not read by an older one: it could not.
        let judged = match common {
            Ok(version) => {
                let hello: Hello = receive_body(socket).await?;
                decide(&hello).map(|welcome| (version, hello, welcome))
            }
            Err(refused) => Err(refused),
        };
        match judged {
            Ok((version, hello, welcome)) => {
                send(socket, &[version], &Ok::<_, Refused>(welcome)).await?;
                Ok(hello)
            }
            Err(refused) => {
                send(socket, &[0], &Err::<Welcome, _>(&refused)).await?;
                Err(HandshakeError::Refused(refused))
            }
        }
    })
    .await
}

async fn within_time<T>(part: impl Future<Output = Result<T, HandshakeError>>) -> Result<T, HandshakeError> {
    tokio::time::timeout(HANDSHAKE_TIME_MAX, part).await.unwrap_or(Err(HandshakeError::TimedOut))
}

async fn send(socket: &mut TcpStream, numbers: &[u16], body: &impl Serialize) -> Result<(), HandshakeError> {
    let body = postcard::to_allocvec(body).map_err(HandshakeError::Malformed)?;
    let mut bytes = MAGIC.to_vec();
    numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
    let length = u32::try_from(body.len()).expect("a handshake is some hundred bytes");
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&body);
    Ok(socket.write_all(&bytes).await?)
}

async fn receive_head<const N: usize>(socket: &mut TcpStream) -> Result<[u16; N], HandshakeError> {
    let mut found = [0; 8];
    socket.read_exact(&mut found).await?;
    if found != MAGIC {
        return Err(HandshakeError::NotOurs { found });
    }
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = socket.read_u16_le().await?;
    }
    Ok(numbers)
}

async fn receive_body<T: DeserializeOwned>(socket: &mut TcpStream) -> Result<T, HandshakeError> {
    let bytes = socket.read_u32_le().await?;
    if bytes > BODY_BYTES_MAX {
        return Err(HandshakeError::TooLong { bytes });
    }
    let mut body = vec![0; bytes as usize];
    socket.read_exact(&mut body).await?;
    postcard::from_bytes(&body).map_err(HandshakeError::Malformed)
}
