//! The controller: the leader of the metadata quorum decides, one decision after the other.
//!
//! Every broker runs this; where another leads it only says so. A decision is made on the current image (pure,
//! [`metadata::controller`]) and proposed to the quorum; if the image has moved on it is made anew. What it does beside requests
//! is in [`upkeep`].

mod upkeep;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;
use metadata::config::{BrokerConfig, THROTTLED_RATES, THROTTLED_REPLICAS};
use metadata::controller::{self, ElectionType, LogEnds, Questions, Wish};
use metadata::image::MetadataImage;
use metadata::placement::Placement;
use metadata::raft::{Command, Handle, NodeStopped, Outcome, ProposeError};
use metadata::record::{ConfigResource, MetadataRecord, NodeBinding};
use metadata::store::{DataDirectory, Effect};
use protocol::BrokerId;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::elections::Polling;
use super::refusal::Refusal;
use super::request::{
    Ask, Beat, BrokerLine, Decide, Deciding, DescribeBrokers, DescribePlacement, DescribeQuorum, PlacementSeen, Request,
};
use crate::logging::limit;
use crate::settings::Settings;
use upkeep::Term;

/// How often sessions and membership are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A process of a broker: the broker, and the epoch that the process registered with.
pub type BrokerLife = (BrokerId, u64);

/// A request and where its reply goes.
pub struct Job {
    pub request: Request,
    pub reply: oneshot::Sender<Reply>,
}

/// The controller's reply to a request.
pub type Reply = Result<Done, NotDone>;

/// A request was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// An image of this offset shows what it changed.
    pub metadata_offset: u64,
    /// [`Ask::Answer`] of the request, encoded.
    pub answer: Vec<u8>,
}

/// A request was not carried out here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NotDone {
    /// Another leads: its id and internal address, if they are known. Whether the request was carried out is not known.
    NotController { leader: Option<(BrokerId, String)> },
    /// All of it is refused.
    Refused(Refusal),
}

pub struct Controller {
    raft: Handle,
    directory: Arc<DataDirectory>,
    settings: Arc<Settings>,
    jobs: mpsc::Receiver<Job>,
    /// Brokers whose heartbeats have arrived, however long those wait for their turn among the jobs.
    heard: mpsc::UnboundedReceiver<BrokerLife>,
    /// Nodes whose connection ended.
    gone: mpsc::UnboundedReceiver<NodeBinding>,
    /// Nodes whose end is being found out about, as brokers or as the controller.
    looked_for: Arc<Mutex<BTreeSet<(BrokerId, bool)>>>,
    /// Processes that are known to have ended.
    dead: (mpsc::UnboundedSender<BrokerLife>, mpsc::UnboundedReceiver<BrokerLife>),
    began: Instant,
    polling: Polling,
    /// Of the term in which this node leads.
    term: Option<Term>,
    changing: Option<JoinHandle<()>>,
}

impl Controller {
    pub fn new(
        raft: Handle,
        directory: Arc<DataDirectory>,
        settings: Arc<Settings>,
        jobs: mpsc::Receiver<Job>,
        heard: mpsc::UnboundedReceiver<BrokerLife>,
        gone: mpsc::UnboundedReceiver<NodeBinding>,
        polling: Polling,
    ) -> Controller {
        let (dead, began) = (mpsc::unbounded_channel(), Instant::now());
        let looked_for = Arc::default();
        Controller {
            raft,
            directory,
            settings,
            jobs,
            heard,
            gone,
            dead,
            began,
            looked_for,
            polling,
            term: None,
            changing: None,
        }
    }

    /// Serves until nobody can ask any more, or Raft cannot go on.
    pub async fn run(mut self) -> Result<(), NodeStopped> {
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut raft = self.raft.clone();
        loop {
            tokio::select! {
                () = raft.changed() => self.note_term(),
                job = self.jobs.recv() => match job {
                    // Whoever asked has given up, and was told so: it is not done after that.
                    Some(Job { reply, .. }) if reply.is_closed() => {}
                    Some(Job { request, reply }) => {
                        let answer = self.serve(request).await?;
                        // Whoever asked may have given up.
                        let _ = reply.send(answer);
                    }
                    None => return Ok(()),
                },
                Some(node) = self.gone.recv() => self.look_for(node),
                Some((broker, epoch)) = self.dead.1.recv() => {
                    // Another process may have registered since.
                    let image = self.raft.image();
                    if image.broker(broker).is_some_and(|known| known.epoch == epoch && !known.is_fenced()) {
                        tracing::warn!(%broker, "the broker's process has ended");
                        self.fence(broker).await?;
                    }
                }
                _ = look.tick() => self.look().await?,
            }
        }
    }

    async fn serve(&mut self, request: Request) -> Result<Reply, NodeStopped> {
        if self.raft.leads_in_term().is_none() {
            return Ok(Err(self.not_controller()));
        }
        match request {
            Request::CreateTopics(request) => self.decide(&request).await,
            Request::CreatePartitions(request) => self.decide(&request).await,
            Request::DeleteTopics(request) => self.decide(&request).await,
            Request::IncrementalAlterConfigs(request) => self.decide(&request).await,
            Request::AlterConfigs(request) => self.decide(&request).await,
            Request::AlterPartitionReassignments(request) => self.decide(&request).await,
            Request::ElectLeaders(request) => {
                let ends = match request.election {
                    ElectionType::Preferred => LogEnds::default(),
                    ElectionType::Unclean => {
                        let image = self.raft.image();
                        self.poll(controller::questions_leaderless(&image)).await
                    }
                };
                self.decide_knowing(&request, &ends).await
            }
            Request::AllocateProducerIds(request) => self.decide(&request).await,
            Request::Join(request) => self.decide(&request).await,
            Request::Register(request) => {
                let ends = self.poll_without(request.0.node.node).await;
                self.decide_knowing(&request, &ends).await
            }
            Request::Beat(request) => self.beat(&request).await,
            Request::RemoveNode(request) => self.decide(&request).await,
            Request::AlterPartition(request) => self.decide(&request).await,
            Request::ReportImpaired(request) => self.decide(&request).await,
            Request::DescribeQuorum(DescribeQuorum) => {
                Ok(self.current().await?.map(|()| self.done::<DescribeQuorum>(&self.raft.status())))
            }
            Request::DescribeBrokers(DescribeBrokers) => {
                Ok(self.current().await?.map(|()| self.done::<DescribeBrokers>(&self.brokers())))
            }
            Request::DescribePlacement(DescribePlacement { topics }) => {
                let current = self.current().await?;
                Ok(current.map(|()| self.done::<DescribePlacement>(&placement(&self.raft.image(), topics.as_deref()))))
            }
        }
    }

    async fn beat(&mut self, request: &Beat) -> Result<Reply, NodeStopped> {
        // An answer that changes nothing extends a lease, so it needs to be certain, too, that nobody else leads.
        let leads_something = request.0.wish == Wish::Fenced && self.raft.image().is_unfenced(request.0.broker);
        let ends = match leads_something {
            true => self.poll_without(request.0.broker).await,
            false => LogEnds::default(),
        };
        self.decide_knowing(request, &ends).await
    }

    /// Asks brokers how their logs end.
    async fn poll(&self, questions: Questions) -> LogEnds {
        self.polling.ask(&self.raft.image(), questions).await
    }

    /// Asks those who may lead what a broker leads that is about to be fenced.
    async fn poll_without(&self, broker: BrokerId) -> LogEnds {
        self.poll(controller::questions_without(&self.raft.image(), broker)).await
    }

    fn config(&self, image: &MetadataImage) -> BrokerConfig {
        image.broker_config(self.settings.broker, &self.settings.static_config())
    }

    async fn decide<R: Decide>(&self, request: &R) -> Result<Reply, NodeStopped> {
        self.decide_knowing(request, &LogEnds::default()).await
    }

    /// Decides, has the quorum agree, and answers.
    async fn decide_knowing<R: Decide>(&self, request: &R, ends: &LogEnds) -> Result<Reply, NodeStopped> {
        loop {
            let image = self.raft.image();
            let static_config = &self.settings.static_config();
            let config = self.config(&image);
            let (records, answer) = request.decide(Deciding { image: &image, config: &config, static_config, ends });
            if records.is_empty() {
                if let Err(not_done) = self.current().await? {
                    return Ok(Err(not_done));
                }
                if self.raft.image().metadata_offset() == image.metadata_offset() {
                    return Ok(Ok(self.done::<R>(&answer)));
                }
                continue;
            }
            let effect = || match controller::frees_space(&image, self.settings.broker, static_config, &records) {
                true => Effect::Frees,
                false => Effect::Grows,
            };
            if !R::ON_FULL_DISK
                && let Err(error) = self.directory.check_room(effect)
            {
                if limit::REQUEST_FAILED.admit() {
                    tracing::error!(%error, "metadata change refused");
                }
                return Ok(Err(NotDone::Refused(Refusal::new(ResponseError::KafkaStorageError, &error))));
            }
            match self.propose(image.metadata_offset(), records).await? {
                Ok(Outcome::Applied { .. }) => return Ok(Ok(self.done::<R>(&answer))),
                // Decided anew on what was changed meanwhile.
                Ok(Outcome::Stale { .. }) => {}
                Ok(Outcome::Misfit(error)) => {
                    return Ok(Err(NotDone::Refused(Refusal::new(ResponseError::UnknownServerError, &error))));
                }
                Ok(Outcome::Nothing) => unreachable!("a command has an outcome"),
                Err(not_done) => return Ok(Err(not_done)),
            }
        }
    }

    /// Proposes records that were decided at a metadata offset. Given up when another leads: the answer may never come then.
    async fn propose(
        &self,
        decided_at: u64,
        records: Vec<MetadataRecord>,
    ) -> Result<Result<Outcome, NotDone>, NodeStopped> {
        let proposed = self.raft.propose(Command { decided_at, records: records.into() });
        let outcome = tokio::select! {
            biased;
            outcome = proposed => outcome,
            () = self.raft.clone().deposed() => Err(ProposeError::NotLeader { leader: None }),
        };
        self.tell(outcome)
    }

    /// Whether this node leads and has applied all that was agreed on.
    async fn current(&self) -> Result<Result<(), NotDone>, NodeStopped> {
        self.tell(self.raft.ensure_current().await)
    }

    fn tell<T>(&self, outcome: Result<T, ProposeError>) -> Result<Result<T, NotDone>, NodeStopped> {
        match outcome {
            Ok(outcome) => Ok(Ok(outcome)),
            Err(ProposeError::Stopped(stopped)) => Err(stopped),
            Err(ProposeError::NotLeader { .. } | ProposeError::Membership(_)) => Ok(Err(self.not_controller())),
        }
    }

    fn not_controller(&self) -> NotDone {
        let leader = self.raft.leader().filter(|leader| *leader != self.settings.broker);
        let address = leader.and_then(|leader| Some((leader, self.raft.members().get(&leader)?.address.clone())));
        NotDone::NotController { leader: address }
    }

    fn done<R: Ask>(&self, answer: &R::Answer) -> Done {
        let answer = postcard::to_allocvec(answer).expect("answers hold nothing that postcard cannot write");
        Done { metadata_offset: self.raft.image().metadata_offset(), answer }
    }

    fn brokers(&self) -> Vec<BrokerLine> {
        let image = self.raft.image();
        let broker = |id| {
            let broker = image.broker(id)?;
            Some((format!("{}:{}", broker.host, broker.port), broker.epoch, broker.is_fenced()))
        };
        image.nodes().map(|node| BrokerLine { node: node.as_ref().clone(), broker: broker(node.node) }).collect()
    }
}

fn placement(image: &MetadataImage, topics: Option<&[String]>) -> PlacementSeen {
    let placement = Placement::of(image, topics);
    let brokers = image.brokers().map(|broker| ConfigResource::Broker(broker.broker));
    let topics = placement.topics.iter().map(|topic| ConfigResource::Topic(topic.name.clone()));
    let throttled = topics.chain(brokers).filter(|resource| {
        let overrides = image.overrides(resource);
        THROTTLED_RATES.iter().chain(&THROTTLED_REPLICAS).any(|name| overrides.get(name).is_some())
    });
    PlacementSeen {
        throttled: throttled.collect(),
        nodes: image.nodes().map(|node| node.as_ref().clone()).collect(),
        placement,
    }
}
