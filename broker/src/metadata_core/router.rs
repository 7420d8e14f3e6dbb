//! The way to the controller, wherever it is: this node or another, known or yet to be found.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use metadata::raft::Handle;
use protocol::BrokerId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::RequestFailed;
use super::controller::{BrokerLife, Done, Job, NotDone, Reply};
use super::refusal::Refusal;
use super::request::{Ask, Beat, Request};
use crate::clock::rounded;
use crate::internal::frame;
use crate::internal::handshake::Purpose;
use crate::internal::links::{Callee, Links};

/// Pause before a request goes out again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// The same, when something about the quorum has changed.
const CHANGE_PAUSE: Duration = Duration::from_millis(1);
/// How long one node may take to answer before another is asked.
const NODE_PATIENCE: Duration = Duration::from_secs(15);

/// See the module's documentation. `Clone` is cheap.
#[derive(Clone)]
pub struct Router {
    me: BrokerId,
    raft: Handle,
    jobs: mpsc::Sender<Job>,
    /// Told of heartbeats as they arrive.
    heard: mpsc::UnboundedSender<BrokerLife>,
    links: Links,
    /// Internal addresses that were given by `--join`.
    seeds: Arc<[String]>,
}

impl Router {
    pub fn new(
        me: BrokerId,
        raft: Handle,
        jobs: mpsc::Sender<Job>,
        heard: mpsc::UnboundedSender<BrokerLife>,
        links: Links,
        seeds: Arc<[String]>,
    ) -> Router {
        Router { me, raft, jobs, heard, links, seeds }
    }

    /// Asks the controller, and again until it has answered or `patience` is over: leaders change.
    pub async fn ask<R: Ask>(&self, request: R, patience: Duration) -> Result<(R::Answer, u64), RequestFailed> {
        let Done { metadata_offset, answer } = self.carry(request.into(), patience).await?;
        Ok((decode::<R>(&answer)?, metadata_offset))
    }

    /// As [`Router::ask`], with the answer as it came.
    pub async fn carry(&self, request: Request, patience: Duration) -> Result<Done, RequestFailed> {
        let deadline = Instant::now() + patience;
        let message = postcard::to_allocvec(&request).expect("requests hold nothing that postcard cannot write");
        if message.len() > frame::REQUEST_BYTES_MAX {
            let why =
                format!("the request is too large: {} bytes, at most {}", message.len(), frame::REQUEST_BYTES_MAX);
            return Err(RequestFailed::Refused(Refusal::new(ResponseError::InvalidRequest, &why)));
        }
        let mut hint: Option<String> = None;
        let mut turn = 0;
        let mut why = "no controller is known".to_owned();
        while Instant::now() < deadline {
            let left = deadline.saturating_duration_since(Instant::now()).min(NODE_PATIENCE);
            let reply = if self.raft.leads_in_term().is_some() {
                self.ask_here(request.clone(), left).await
            } else {
                let address = hint.take().or_else(|| self.leader_address()).or_else(|| self.somebody(&mut turn));
                match address {
                    Some(address) => {
                        // One that hangs is not waited for when another leads.
                        tokio::select! {
                            reply = self.ask_there(address, &message, left) => reply,
                            () = self.another_leads() => Err("another node leads now".to_owned()),
                        }
                    }
                    None => Err("no other node is known; --join HOST:PORT names one".to_owned()),
                }
            };
            match reply {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(NotDone::Refused(refusal))) => return Err(RequestFailed::Refused(refusal)),
                Ok(Err(NotDone::NotController { leader: Some((leader, address)) })) => {
                    why = format!("node {leader} was named as controller");
                    hint = (leader != self.me).then_some(address);
                }
                Ok(Err(NotDone::NotController { leader: None })) => why = "no controller is known".to_owned(),
                Err(reason) => why = reason,
            }
            let mut raft = self.raft.clone();
            tokio::select! {
                () = tokio::time::sleep(RETRY_PAUSE) => {}
                // A leader may be known now; not at once, since much else changes too.
                () = async { raft.changed().await; tokio::time::sleep(CHANGE_PAUSE).await } => {}
            }
        }
        Err(RequestFailed::NotController(format!("the controller did not answer within {}: {why}", rounded(patience))))
    }

    async fn ask_here(&self, request: Request, patience: Duration) -> Result<Reply, String> {
        if let Request::Beat(Beat(beat)) = &request {
            // Nobody listens when this node stops.
            let _ = self.heard.send((beat.broker, beat.epoch));
        }
        let (reply, answered) = oneshot::channel();
        match self.jobs.try_send(Job { request, reply }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err("the controller has too much to do".to_owned()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err("this node is stopping".to_owned()),
        }
        match tokio::time::timeout(patience, answered).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err("this node is stopping".to_owned()),
            Err(_) => Err("the quorum did not agree in time".to_owned()),
        }
    }

    async fn ask_there(&self, address: String, message: &[u8], patience: Duration) -> Result<Reply, String> {
        let callee = Callee { purpose: Purpose::Controller, node: None, address };
        let answer = self.links.ask(&callee, message.to_vec(), patience).await.map_err(|error| error.to_string())?;
        postcard::from_bytes(&answer).map_err(|error| format!("{}: its answer cannot be read: {error}", callee.address))
    }

    /// Resolves when another node leads than does now; a leader that is lost, or the first that is found, is none.
    async fn another_leads(&self) {
        let mut raft = self.raft.clone();
        let mut led = raft.leader();
        loop {
            raft.changed().await;
            let leads = raft.leader();
            if led.is_some() && leads.is_some() && leads != led {
                return;
            }
            led = led.or(leads);
        }
    }

    fn leader_address(&self) -> Option<String> {
        let leader = self.raft.leader().filter(|leader| *leader != self.me)?;
        self.address_of(leader)
    }

    fn address_of(&self, node: BrokerId) -> Option<String> {
        self.links.address_of(node).or_else(|| Some(self.raft.members().get(&node)?.address.clone()))
    }

    /// Some other node, each in turn: it knows the leader or soon will.
    fn somebody(&self, turn: &mut usize) -> Option<String> {
        let others = self.raft.members().into_keys().filter(|node| *node != self.me);
        let mut known: Vec<String> = others.filter_map(|node| self.address_of(node)).collect();
        known.extend(self.seeds.iter().cloned());
        *turn += 1;
        known.get(*turn % known.len().max(1)).cloned()
    }

    /// Answers what another node asked: as this node's controller would, and without asking on, or questions could go round.
    pub async fn answer(&self, message: &[u8]) -> Vec<u8> {
        let reply = match postcard::from_bytes::<Request>(message) {
            Ok(request) => {
                let here = self.ask_here(request, NODE_PATIENCE).await;
                here.unwrap_or(Err(NotDone::NotController { leader: None }))
            }
            Err(error) => {
                let why = format!("the request cannot be read: {error}");
                Err(NotDone::Refused(Refusal::new(ResponseError::InvalidRequest, &why)))
            }
        };
        postcard::to_allocvec(&reply).expect("replies hold nothing that postcard cannot write")
    }
}

/// A request's answer out of what the controller sent.
pub fn decode<R: Ask>(answer: &[u8]) -> Result<R::Answer, RequestFailed> {
    postcard::from_bytes(answer).map_err(|error| {
        let why = format!("the controller's answer cannot be read: {error}");
        RequestFailed::Refused(Refusal::new(ResponseError::UnknownServerError, &why))
    })
}
