//! A shard's way to the metadata core: requests for the controller, and connections to other brokers' shards.

use std::net::TcpStream;
use std::time::Duration;

use futures_channel::oneshot;
use kafka_protocol::ResponseError;
use metadata::raft::Handle;
use protocol::BrokerId;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::controller::Done;
use super::refusal::Refusal;
use super::request::{Ask, Request};
use super::router::{self, Router};
use crate::clock::rounded;
use crate::internal::links::Links;

/// How long a client's request may take to reach the controller and to be applied here, at the most. Java's wait longer.
const REQUEST_PATIENCE: Duration = Duration::from_secs(20);

/// Why a request was not carried out at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestFailed {
    /// The controller refused all of it; Kafka's error is the refusal's.
    #[error("{0}")]
    Refused(Refusal),
    /// Kafka: `NOT_CONTROLLER`, on which clients try again.
    #[error("{0}")]
    NotController(String),
    /// Kafka: `REQUEST_TIMED_OUT`.
    #[error("the change was made, and this broker has not applied it within {}", rounded(*.0))]
    NotApplied(Duration),
    /// Kafka: `REQUEST_TIMED_OUT`.
    #[error("the broker is shutting down")]
    Stopping,
}

impl RequestFailed {
    /// The error that a client is told.
    pub fn code(&self) -> ResponseError {
        match self {
            RequestFailed::Refused(refusal) => refusal.error(),
            RequestFailed::NotController(_) => ResponseError::NotController,
            RequestFailed::NotApplied(_) | RequestFailed::Stopping => ResponseError::RequestTimedOut,
        }
    }
}

/// What a shard asks.
pub enum ShardRequest {
    /// Of the controller.
    Ask { request: Request, patience: Duration, reply: oneshot::Sender<Result<Vec<u8>, RequestFailed>> },
    /// A connection to a shard of another broker, which its own thread is to use.
    Connect { to: BrokerId, shard: u32, reply: oneshot::Sender<Result<TcpStream, String>> },
}

/// A shard's way to the metadata core. The queue is bounded by what feeds it: requests in flight on connections.
#[derive(Clone)]
pub struct MetadataClient {
    requests: mpsc::UnboundedSender<ShardRequest>,
}

impl MetadataClient {
    pub fn new() -> (MetadataClient, mpsc::UnboundedReceiver<ShardRequest>) {
        let (requests, receiver) = mpsc::unbounded_channel();
        (MetadataClient { requests }, receiver)
    }

    /// Has the controller carry out a request; resolves when all shards of this broker have applied what it changed.
    pub async fn ask<R: Ask>(&self, request: R) -> Result<R::Answer, RequestFailed> {
        self.ask_for(REQUEST_PATIENCE, request).await
    }

    /// As [`MetadataClient::ask`], and not for longer than the client said that it waits (`timeout_ms` of its request), so that
    /// it is told why before it gives up. Not positive: as long as without it, where a client only wants to set off a change.
    pub async fn ask_within<R: Ask>(&self, timeout_ms: i32, request: R) -> Result<R::Answer, RequestFailed> {
        self.ask_for(patience(timeout_ms), request).await
    }

    async fn ask_for<R: Ask>(&self, patience: Duration, request: R) -> Result<R::Answer, RequestFailed> {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(ShardRequest::Ask { request: request.into(), patience, reply }).is_err() {
            return Err(RequestFailed::Stopping);
        }
        router::decode::<R>(&answer.await.unwrap_or(Err(RequestFailed::Stopping))?)
    }

    /// Connects to a shard of another broker, for replication.
    pub async fn connect(&self, to: BrokerId, shard: u32) -> Result<TcpStream, String> {
        let (reply, socket) = oneshot::channel();
        // Nobody connects when this broker stops.
        let _ = self.requests.send(ShardRequest::Connect { to, shard, reply });
        socket.await.unwrap_or_else(|_| Err("the broker is stopping".to_owned()))
    }
}

/// How long a request may take whose client said that it waits for `timeout_ms`.
fn patience(timeout_ms: i32) -> Duration {
    match u64::try_from(timeout_ms) {
        Ok(0) | Err(_) => REQUEST_PATIENCE,
        Ok(said) => Duration::from_millis(said).min(REQUEST_PATIENCE),
    }
}

/// Carries shards' requests to the controller, all at once.
pub(super) async fn serve_shards(
    router: Router,
    links: Links,
    raft: Handle,
    applied: watch::Receiver<u64>,
    mut requests: mpsc::UnboundedReceiver<ShardRequest>,
) {
    while let Some(request) = requests.recv().await {
        let (request, patience, reply) = match request {
            ShardRequest::Ask { request, patience, reply } => (request, patience, reply),
            ShardRequest::Connect { to, shard, reply } => {
                let (links, node) = (links.clone(), raft.image().node(to).cloned());
                tokio::spawn(async move {
                    let connected = match node {
                        Some(node) => links.replicate_to(&node, shard).await.map_err(|error| error.to_string()),
                        None => Err(format!("node {to} does not belong to the cluster")),
                    };
                    // The shard may not need it any more.
                    let _ = reply.send(connected);
                });
                continue;
            }
        };
        let (router, mut applied) = (router.clone(), applied.clone());
        tokio::spawn(async move {
            let outcome = async {
                let deadline = Instant::now() + patience;
                let Done { metadata_offset, answer } = router.carry(request, patience).await?;
                let caught_up = applied.wait_for(|applied| *applied >= metadata_offset);
                match tokio::time::timeout_at(deadline, caught_up).await {
                    Ok(Ok(_)) => Ok(answer),
                    Ok(Err(_)) => Err(RequestFailed::Stopping),
                    Err(_) => Err(RequestFailed::NotApplied(patience)),
                }
            };
            // The client may have gone.
            let _ = reply.send(outcome.await);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_answered_before_it_gives_up_and_after_a_while_at_any_rate() {
        let expected = [(i32::MIN, 20_000), (-1, 20_000), (0, 20_000), (1, 1), (12_000, 12_000), (i32::MAX, 20_000)];
        for (timeout_ms, ms) in expected {
            assert_eq!(patience(timeout_ms), Duration::from_millis(ms), "{timeout_ms}");
        }
    }
}
