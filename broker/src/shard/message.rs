//! What shards and the metadata core say to a shard: one closed enum.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use futures_channel::oneshot;
use metadata::delta::MetadataDelta;
use metadata::image::MetadataImage;
use protocol::BrokerId;

use crate::connection::ConnectionPermit;
use crate::group_lag::CommittedOffsets;
use crate::group_shard::GroupForward;
use crate::handlers::fetch::{FetchForward, FetchedPartition};
use crate::handlers::produce::{ProduceForward, ProducedPartition};
use crate::metrics::snapshot::ShardSnapshot;
use crate::partition_op::{PartitionOp, PartitionOpResult};

/// A message in a shard's inbox. Whatever came from one sender is handled in the order sent, up to the point where it
/// has to wait.
pub enum ShardMessage {
    /// A client connection to serve from now on.
    Connection { socket: TcpStream, peer: SocketAddr, permit: ConnectionPermit },
    /// A connection of another broker's shard that leads partitions which this one follows.
    Replication { socket: TcpStream, peer: SocketAddr, from: BrokerId },
    /// Partitions of a Produce request that live here.
    Produce { forward: ProduceForward, answer: oneshot::Sender<Vec<ProducedPartition>> },
    /// Partitions of a Fetch request that live here.
    Fetch { forward: FetchForward, answer: oneshot::Sender<Vec<FetchedPartition>> },
    /// Other work on single partitions.
    Partitions { ops: Vec<PartitionOp>, answer: oneshot::Sender<Vec<PartitionOpResult>> },
    /// A request for a group coordinator that lives here.
    Group(Box<GroupForward>),
    /// Say what the groups that are coordinated here have committed, of so many partitions at most.
    CommittedOffsets { max: usize, answer: oneshot::Sender<CommittedOffsets> },
    /// Say how the shard is, for metrics.
    Metrics { answer: oneshot::Sender<ShardSnapshot> },
    /// Answer what is under way, close the connections, and say so ([`super::run::ShardEvent::Drained`]).
    Drain,
    /// Close the logs and end. Comes when every shard has drained, since each may need the others for its answers.
    Close,
}

/// A metadata change as the metadata core tells it, in a channel of its own: a partition whose log takes time to open
/// holds up later changes, not the requests in the inbox.
pub struct ShardCommand {
    pub image: MetadataImage,
    /// What differs from the image before.
    pub deltas: Arc<[MetadataDelta]>,
    /// Told when the shard has applied the change: logs are open, requests see the new image.
    pub applied: oneshot::Sender<()>,
}
