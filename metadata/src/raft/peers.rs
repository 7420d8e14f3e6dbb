//! The other members, as openraft asks them.

use super::snapshot::SnapshotBytes;
use super::wire::{self, AnswerError};
use super::{Member, MetadataRaft, Vote};
use openraft::error::{
    Fatal, InstallSnapshotError, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, SnapshotResponse,
    VoteRequest, VoteResponse,
};
use openraft::storage::Snapshot;
use std::future::Future;
use std::time::Duration;

/// Between attempts to reach a member that could not be reached.
const BACKOFF: Duration = Duration::from_millis(100);
/// How long a member may take to install a snapshot, which it makes durable.
const INSTALL_TIME_MAX: Duration = Duration::from_secs(30);

/// A member could not be asked, or did not answer; whether it did what it was asked is not known.
#[derive(Clone, Debug, thiserror::Error)]
#[error("node {to} at {address} cannot be asked: {reason}")]
pub struct TransportError {
    pub to: u64,
    pub address: String,
    pub reason: String,
}

/// Carries questions to other members, and their answers back.
pub trait Transport: Clone + Send + Sync + 'static {
    /// Asks `member`, whose id is `to`, and waits for its answer for `patience`.
    fn ask(
        &self,
        to: u64,
        member: &Member,
        question: Vec<u8>,
        patience: Duration,
    ) -> impl Future<Output = Result<Vec<u8>, TransportError>> + Send;
}

/// The transport of a group of one.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

impl Transport for Alone {
    async fn ask(&self, to: u64, member: &Member, _: Vec<u8>, _: Duration) -> Result<Vec<u8>, TransportError> {
        let reason = "this node forms a group of one".to_owned();
        Err(TransportError { to, address: member.address.clone(), reason })
    }
}

/// All other members.
pub(super) struct Peers<T>(pub T);

/// One of them.
pub(super) struct Peer<T> {
    transport: T,
    id: u64,
    member: Member,
}

impl<T: Transport> RaftNetworkFactory<MetadataRaft> for Peers<T> {
    type Network = Peer<T>;

    async fn new_client(&mut self, target: u64, member: &Member) -> Peer<T> {
        Peer { transport: self.0.clone(), id: target, member: member.clone() }
    }
}

/// Of openraft's, since each of its calls has an error type of its own.
type RpcError<E> = RPCError<u64, Member, E>;

impl<T: Transport> Peer<T> {
    async fn ask(&self, question: Vec<u8>, patience: Duration) -> Result<Vec<u8>, Unreachable> {
        let asked = self.transport.ask(self.id, &self.member, question, patience).await;
        asked.map_err(|error| Unreachable::new(&error))
    }
}

fn no_answer(error: &AnswerError) -> NetworkError {
    NetworkError::new(error)
}

impl<T: Transport> RaftNetwork<MetadataRaft> for Peer<T> {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<MetadataRaft>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RpcError<RaftError<u64>>> {
        let answer = self.ask(wire::append_question(&rpc), option.hard_ttl()).await?;
        Ok(wire::appended(&answer).map_err(|error| no_answer(&error))?)
    }

    async fn install_snapshot(
        &mut self,
        _rpc: InstallSnapshotRequest<MetadataRaft>,
        _option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, RpcError<RaftError<u64, InstallSnapshotError>>> {
        unreachable!("snapshots are sent whole, by full_snapshot")
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, RpcError<RaftError<u64>>> {
        let answer = self.ask(wire::vote_question(&rpc), option.hard_ttl()).await?;
        Ok(wire::voted(&answer).map_err(|error| no_answer(&error))?)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<MetadataRaft>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<MetadataRaft, Fatal<u64>>> {
        let bytes: SnapshotBytes = *snapshot.snapshot;
        let answer = tokio::select! {
            biased;
            closed = cancel => return Err(closed.into()),
            answer = self.ask(wire::install_question(vote, &bytes), INSTALL_TIME_MAX) => answer?,
        };
        Ok(wire::installed(&answer).map_err(|error| no_answer(&error))?)
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(BACKOFF))
    }
}
