//! The metadata core: the one thread that takes part in the metadata quorum, and what shards ask of it.
//!
//! - [`client`]: how shards ask; [`controller`]: decisions, where this node leads; [`router`]: the way to whoever leads.
//! - [`inspect`], [`views`]: what this broker alone is asked; [`elections`]: what the controller asks before somebody is elected.
//! - [`publisher`]: images and deltas to every shard, in order; [`presence`]: this broker's registration and heartbeats.
//!
//! A change runs like this: a shard's request goes to the controller, which decides (pure, [`metadata::controller`]) and has
//! the quorum agree on the records; every node applies them and tells its shards; the broker that was asked answers once its
//! own shards have applied them. So whoever gets an answer finds the change in effect there: a created topic can be written
//! to, a deleted one is gone.
//!
//! Record data never comes here, and shards never see the quorum.

mod client;
pub mod controller;
mod elections;
pub mod inspect;
mod presence;
mod publisher;
pub mod refusal;
pub mod request;
pub mod router;
pub mod views;

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_channel::Sender;
use metadata::controller::{BrokerStart, ImpairedReplica, Wish};
use metadata::image::MetadataImage;
use metadata::raft::{Handle, Node, NodeStopped, Opened, Published, QuorumStatus};
use metadata::record::NodeBinding;
use metadata::store::DataDirectory;
use protocol::BrokerId;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use uuid::Uuid;

use crate::acceptor::Claimed;
use crate::clock::rounded;
use crate::group_lag::{Collector, Lag, LagConfig};
use crate::http::console::Peers;
use crate::internal::links::{Caller, Links};
use crate::internal::listener::{self, Answering, Shards};
use crate::lease::Lease;
use crate::live::Live;
use crate::metrics::changes::Changes;
use crate::metrics::cluster::CoreFacts;
use crate::settings::Settings;
use crate::shard::message::{ShardCommand, ShardMessage};
use client::serve_shards;
pub use client::{MetadataClient, RequestFailed, ShardRequest};
use controller::Controller;
use elections::Polling;
use presence::Reporting;
use publisher::Publisher;
use router::Router;

/// Between calls at the addresses that were given to join at.
const CALL_INTERVAL: Duration = Duration::from_secs(1);
/// Requests that wait for the controller's decision. Further ones are told to try again.
const JOBS_MAX: usize = 1024;
/// How long whoever watches waits for Raft to say what is committed.
const WATCH_PATIENCE: Duration = Duration::from_millis(500);
/// How long a stop waits for others to lead what this broker leads: longer than they take to find a controller if theirs has
/// just gone, and not so long that the last ones of a cluster that is stopped wait for each other.
const LEAVE_PATIENCE: Duration = Duration::from_secs(3);

/// The metadata core cannot go on; the process must end.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    #[error(transparent)]
    Stopped(#[from] NodeStopped),
    /// What it was given is not this cluster's, or another's.
    #[error("this broker has no place in the cluster: {0}")]
    NoPlace(String),
    /// Of this process; another may be let in.
    #[error("this broker has no place in the cluster any more: {0}")]
    Refused(String),
    #[error("cannot listen for other brokers: {0}")]
    Listen(io::Error),
}

/// This process as it is announced to the others.
#[derive(Clone, Debug)]
pub struct Announced {
    /// `HOST:PORT` for other brokers.
    pub internal_address: String,
    pub host: String,
    pub port: u16,
    pub shards: u32,
}

/// The running metadata core.
pub struct MetadataCore {
    node: Node,
    links: Links,
    router: Router,
    settings: Arc<Settings>,
    start: BrokerStart,
    published: Option<mpsc::UnboundedReceiver<Published>>,
    /// The image that was in force before anything that comes through `published`.
    first_image: MetadataImage,
    wish: watch::Sender<Wish>,
    arrived: watch::Sender<bool>,
    shards: Shards,
    changes: Arc<Changes>,
    applied: Arc<OnceLock<watch::Receiver<u64>>>,
    live: Arc<Live>,
    failed: (mpsc::UnboundedSender<CoreError>, mpsc::UnboundedReceiver<CoreError>),
}

impl MetadataCore {
    /// Starts this node's part in the quorum and answers other nodes from now on.
    pub async fn start(
        directory: DataDirectory,
        opened: Opened,
        published: mpsc::UnboundedReceiver<Published>,
        settings: Arc<Settings>,
        announced: Announced,
        claimed: Claimed,
        live: Arc<Live>,
    ) -> Result<MetadataCore, CoreError> {
        let identity = directory.identity().clone();
        let cluster_id = identity.cluster_id.0;
        let me = NodeBinding {
            node: identity.node_id,
            directory_id: identity.directory_id,
            address: announced.internal_address,
        };
        let first_image = opened.state_machine.image().clone();
        let images = opened.state_machine.images();
        let caller = Caller { cluster_id: Some(cluster_id), node: Some(me.clone()) };
        let links = Links::new(caller, move || images.borrow().metadata_offset());
        let node = Node::start(settings.broker, opened, links.clone()).await?;
        let raft = node.handle().clone();
        let (jobs, controller_jobs) = mpsc::channel(JOBS_MAX);
        let (heard, controller_heard) = mpsc::unbounded_channel();
        let router = Router::new(settings.broker, raft.clone(), jobs, heard, links.clone(), settings.seeds.clone());
        let (gone, controller_gone) = mpsc::unbounded_channel();
        links.tell_lost(gone.clone());
        let shards = Shards::default();
        let answering = Answering {
            cluster_id,
            me: me.clone(),
            raft: raft.clone(),
            router: router.clone(),
            links: links.clone(),
            shards: shards.clone(),
            live: live.clone(),
            gone,
        };
        listener::serve(claimed, answering).map_err(CoreError::Listen)?;
        let failed = mpsc::unbounded_channel();
        let directory = Arc::new(directory);
        let controller = Controller::new(
            raft.clone(),
            directory,
            settings.clone(),
            controller_jobs,
            controller_heard,
            controller_gone,
            Polling { me: settings.broker, links: links.clone(), shards: shards.clone() },
        );
        let report = failed.0.clone();
        tokio::spawn(async move {
            if let Err(stopped) = controller.run().await {
                let _ = report.send(stopped.into());
            }
        });
        let (report, watched) = (failed.0.clone(), raft.clone());
        tokio::spawn(async move {
            let _ = report.send(watched.stopped().await.into());
        });
        if raft.votes_alone().await {
            raft.elect().await?;
        }
        let (report, seeds) = (failed.0.clone(), settings.seeds.clone());
        let (arrived, caller) = (watch::Sender::new(false), me.clone());
        let calling = links.clone();
        let mut has_arrived = arrived.subscribe();
        tokio::spawn(async move {
            while !*has_arrived.borrow_and_update() {
                if let Err(foreign) = presence::call_at(&seeds, &calling, &caller, cluster_id).await {
                    let _ = report.send(foreign);
                    return;
                }
                if let Ok(Err(_)) = tokio::time::timeout(CALL_INTERVAL, has_arrived.changed()).await {
                    return;
                }
            }
        });
        let config = first_image.broker_config(settings.broker, &settings.static_config());
        let start = BrokerStart {
            node: me,
            incarnation: Uuid::new_v4(),
            host: announced.host,
            port: announced.port,
            rack: config.rack,
            shards: announced.shards,
        };
        let wish = watch::Sender::new(Wish::Fenced);
        Ok(MetadataCore {
            node,
            links,
            router,
            settings,
            start,
            published: Some(published),
            first_image,
            wish,
            arrived,
            shards,
            changes: Arc::default(),
            applied: Arc::default(),
            live,
            failed,
        })
    }

    fn raft(&self) -> &Handle {
        self.node.handle()
    }

    /// For whoever watches.
    pub fn observed(&self) -> Observed {
        let (raft, changes, applied) = (self.raft().clone(), self.changes.clone(), self.applied.clone());
        Observed { me: self.settings.broker, raft, changes, applied }
    }

    /// Makes this process a broker of the cluster, fenced, and catches up with what the cluster knew then: its broker epoch.
    pub async fn arrive(&mut self) -> Result<u64, CoreError> {
        let (router, start) = (self.router.clone(), self.start.clone());
        let mut images = self.raft().images();
        let arrived = async {
            let (epoch, metadata_offset) = presence::arrive(&router, &start).await?;
            // Its sender lives as long as Raft, and Raft's end is told below.
            let _ = images.wait_for(|image| image.metadata_offset() >= metadata_offset).await;
            Ok(epoch)
        };
        tokio::select! {
            arrived = arrived => {
                self.arrived.send_replace(true);
                arrived
            }
            failed = self.failed() => Err(failed),
        }
    }

    /// Begins to tell shards of changes, and to send heartbeats, whose answers extend the lease; gives what shards start with.
    pub fn publish(
        &mut self,
        epoch: u64,
        lease: Arc<Lease>,
        shards: Vec<Sender<ShardCommand>>,
        requests: mpsc::UnboundedReceiver<ShardRequest>,
    ) -> Publishing {
        let published = self.published.take().expect("published once");
        let (reconfigure, reconfigured) = mpsc::unbounded_channel();
        let publisher = Publisher::new(
            published,
            self.first_image.clone(),
            shards,
            reconfigured,
            (self.settings.broker, self.changes.clone()),
        );
        let (image, applied) = (publisher.image().clone(), publisher.applied());
        // Once in the life of a process.
        let _ = self.applied.set(applied.clone());
        let reporting = Reporting {
            raft: self.raft().clone(),
            router: self.router.clone(),
            settings: self.settings.clone(),
            epoch,
            lease,
            applied: applied.clone(),
            wish: self.wish.subscribe(),
        };
        let report = self.failed.0.clone();
        tokio::spawn(async move {
            let _ = report.send(reporting.run().await);
        });
        tokio::spawn(serve_shards(
            self.router.clone(),
            self.links.clone(),
            self.raft().clone(),
            applied.clone(),
            requests,
        ));
        Publishing { image, applied, reconfigure, publisher }
    }

    /// Other brokers' replication connections go to these from now on.
    pub fn shards_started(&self, inboxes: Vec<Sender<ShardMessage>>) {
        // Once in the life of a process.
        let _ = self.shards.set(inboxes);
    }

    /// Tells how far the groups that this broker coordinates lag, from now on.
    pub fn collect_lag(&self, config: watch::Receiver<LagConfig>, lag: Arc<Lag>) {
        let collector = Collector {
            me: self.settings.broker,
            images: self.images(),
            links: self.links.clone(),
            shards: self.shards.clone(),
            config,
            lag,
        };
        tokio::spawn(collector.run());
    }

    /// For the console: a way to ask every broker.
    pub fn peers(&self) -> Peers {
        Peers {
            me: self.settings.broker,
            images: self.images(),
            raft: self.raft().clone(),
            router: self.router.clone(),
            links: self.links.clone(),
            shards: self.shards.clone(),
            live: self.live.clone(),
        }
    }

    /// Has the controller know what this broker's process, with its epoch, has found of its replicas.
    pub async fn report_impaired(&mut self, epoch: u64, replicas: &[ImpairedReplica]) -> Result<(), CoreError> {
        let router = self.router.clone();
        let life = (self.settings.broker, epoch);
        tokio::select! {
            reported = presence::report_impaired(&router, life, replicas) => reported,
            failed = self.failed() => Err(failed),
        }
    }

    /// Has this broker let in, and resolves when it and its shards know that it is: clients may come then.
    pub async fn serve(&mut self, mut applied: watch::Receiver<u64>) -> Result<(), CoreError> {
        self.wish.send_replace(Wish::Unfenced);
        let mut images = self.raft().images();
        let broker = self.settings.broker;
        let served = async {
            let offset = match images.wait_for(|image| image.is_unfenced(broker)).await {
                Ok(image) => image.metadata_offset(),
                Err(_) => return,
            };
            let _ = applied.wait_for(|applied| *applied >= offset).await;
        };
        tokio::select! {
            () = served => Ok(()),
            failed = self.failed() => Err(failed),
        }
    }

    /// Images in force, to be watched.
    pub fn images(&self) -> watch::Receiver<MetadataImage> {
        self.raft().images()
    }

    /// A way to look at the cluster, for as long as anybody wants to.
    pub fn observer(&self) -> Observer {
        Observer { broker: self.settings.broker, router: self.router.clone(), raft: self.raft().clone() }
    }

    /// Has this broker fenced, so that others lead what they can before it stops, and waits a little until they do and its shards
    /// know: whoever waits for what it led has been sent to them then. A broker that has no others goes on to the end.
    pub async fn leave(&self, mut applied: watch::Receiver<u64>) {
        let broker = self.settings.broker;
        let image = self.raft().image();
        if !image.unfenced_brokers().any(|other| other.broker != broker) {
            return;
        }
        self.wish.send_replace(Wish::Fenced);
        let mut images = self.raft().images();
        let left = async {
            let Ok(fenced_at) =
                images.wait_for(|image| !image.is_unfenced(broker)).await.map(|image| image.metadata_offset())
            else {
                return;
            };
            let _ = applied.wait_for(|applied| *applied >= fenced_at).await;
        };
        if tokio::time::timeout(LEAVE_PATIENCE, left).await.is_err() {
            tracing::warn!(?LEAVE_PATIENCE, "stopping without the controller's knowledge");
        }
    }

    /// Resolves when the core cannot go on.
    pub async fn failed(&mut self) -> CoreError {
        self.failed.1.recv().await.expect("a sender is kept here")
    }

    /// Ends in order: what was acknowledged is on disk anyway.
    pub async fn stop(self) {
        self.node.shutdown().await;
    }
}

/// Looks at the cluster and changes nothing. `Clone` is cheap.
#[derive(Clone)]
pub struct Observer {
    broker: BrokerId,
    router: Router,
    raft: Handle,
}

impl Observer {
    /// This broker.
    pub fn broker(&self) -> BrokerId {
        self.broker
    }

    /// Images in force, to be watched.
    pub fn images(&self) -> watch::Receiver<MetadataImage> {
        self.raft.images()
    }

    /// Whether clients may come here, as far as this broker knows.
    pub fn is_unfenced(&self) -> bool {
        self.images().borrow().is_unfenced(self.broker)
    }

    /// Metadata no older than this question, and the quorum as its leader sees it.
    ///
    /// # Errors
    /// If the controller does not answer, or what it knows does not come here, within `patience`.
    pub async fn current(&self, patience: Duration) -> Result<(MetadataImage, QuorumStatus), RequestFailed> {
        let deadline = Instant::now() + patience;
        let (status, metadata_offset) = self.router.ask(request::DescribeQuorum, patience).await?;
        let mut images = self.images();
        let caught_up = images.wait_for(|image| image.metadata_offset() >= metadata_offset);
        match tokio::time::timeout_at(deadline, caught_up).await {
            Ok(Ok(image)) => Ok((image.clone(), status)),
            Ok(Err(_)) => Err(RequestFailed::Stopping),
            Err(_) => Err(RequestFailed::NotController(format!(
                "this broker lacks metadata that the controller has, and has not got it within {}",
                rounded(patience)
            ))),
        }
    }
}

/// A way to see how the metadata core gets along.
#[derive(Clone)]
pub struct Observed {
    me: BrokerId,
    raft: Handle,
    changes: Arc<Changes>,
    applied: Arc<OnceLock<watch::Receiver<u64>>>,
}

impl Observed {
    pub async fn facts(&self) -> CoreFacts {
        let progress = self.raft.progress(WATCH_PATIENCE).await;
        CoreFacts {
            me: self.me,
            image: self.raft.image(),
            progress,
            // 0 until the shards have started.
            applied: self.applied.get().map(|applied| *applied.borrow()).filter(|applied| *applied > 0),
            changes: self.changes.clone(),
        }
    }
}

/// What shards start with, and what tells them of changes when it is run.
pub struct Publishing {
    pub image: MetadataImage,
    /// Metadata offset that all shards have applied.
    pub applied: watch::Receiver<u64>,
    /// Has every shard resolve the broker's configs anew.
    pub reconfigure: mpsc::UnboundedSender<()>,
    publisher: Publisher,
}

impl Publishing {
    /// To be called once the shards have started: what they are told is theirs to apply in order.
    pub fn begin(self) {
        tokio::spawn(self.publisher.run());
    }
}
