//! The metadata core: the one thread that changes the cluster's metadata, and what shards ask of it.
//!
//! A change runs in order: decide on the current image (pure, [`metadata::controller`]), have the quorum agree on the records
//! ([`metadata::raft`]), publish image and deltas to every shard, wait until all have applied them, answer. So whoever gets an
//! answer finds the change in effect on every shard: a created topic can be written to, a deleted one is gone.
//!
//! Record data never comes here, and shards never see the quorum.

pub mod http;

use std::convert::Infallible;
use std::sync::Arc;

use async_channel::Sender;
use futures_channel::oneshot;
use futures_util::future::join_all;
use kafka_protocol::ResponseError;
use metadata::config::BrokerConfig;
use metadata::controller::{
    self, AlterConfigsError, ConfigAlteration, ConfigReplacement, CreatePartitionsError, CreateTopicsError,
    CreatedTopic, DeleteTopicsError, DeletedTopic, NewPartitions, NewTopic, ProducerIdBlock, TopicToDelete,
};
use metadata::delta::MetadataDelta;
use metadata::image::MetadataImage;
use metadata::raft::{Alone, Command, Node, NodeStopped, Opened, Outcome, ProposeError, Published};
use metadata::record::{BrokerRegistration, ConfigResource, MetadataRecord};
use metadata::store::DataDirectory;
use protocol::TopicId;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::config::HostPort;
use crate::settings::Settings;
use crate::shard::message::ShardCommand;

/// What each part of a request is answered.
pub type Answers<K, T, E> = Vec<(K, Result<T, E>)>;

/// Why a request was not carried out at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestFailed {
    /// Kafka: `KAFKA_STORAGE_ERROR`.
    #[error("{0}")]
    NoSpace(String),
    /// Kafka: `UNKNOWN_SERVER_ERROR`.
    #[error("{0}")]
    Misfit(String),
    /// Kafka: `UNKNOWN_SERVER_ERROR`.
    #[error("producer ids are exhausted")]
    ProducerIdsExhausted,
    /// Kafka: `NOT_CONTROLLER`.
    #[error("{0}")]
    NotController(String),
    /// Kafka: `COORDINATOR_NOT_AVAILABLE` or whatever the API retries on.
    #[error("the broker is shutting down")]
    Stopping,
}

impl RequestFailed {
    /// The error that a client is told.
    pub fn code(&self) -> ResponseError {
        match self {
            RequestFailed::NoSpace(_) => ResponseError::KafkaStorageError,
            RequestFailed::Misfit(_) | RequestFailed::ProducerIdsExhausted => ResponseError::UnknownServerError,
            RequestFailed::NotController(_) => ResponseError::NotController,
            RequestFailed::Stopping => ResponseError::RequestTimedOut,
        }
    }
}

type Reply<T> = oneshot::Sender<Result<T, RequestFailed>>;

/// What shards ask of the metadata core.
pub enum MetadataRequest {
    CreateTopics {
        topics: Vec<NewTopic>,
        validate_only: bool,
        reply: Reply<Answers<String, CreatedTopic, CreateTopicsError>>,
    },
    CreatePartitions {
        topics: Vec<NewPartitions>,
        validate_only: bool,
        reply: Reply<Answers<String, i32, CreatePartitionsError>>,
    },
    DeleteTopics {
        topics: Vec<TopicToDelete>,
        reply: Reply<Answers<TopicToDelete, DeletedTopic, DeleteTopicsError>>,
    },
    IncrementalAlterConfigs {
        alterations: Vec<ConfigAlteration>,
        validate_only: bool,
        reply: Reply<Answers<ConfigResource, (), AlterConfigsError>>,
    },
    AlterConfigs {
        replacements: Vec<ConfigReplacement>,
        validate_only: bool,
        reply: Reply<Answers<ConfigResource, (), AlterConfigsError>>,
    },
    AllocateProducerIds {
        reply: Reply<ProducerIdBlock>,
    },
}

/// A shard's way to the metadata core. The queue is bounded by what feeds it: requests in flight on connections.
#[derive(Clone)]
pub struct MetadataClient {
    requests: mpsc::UnboundedSender<MetadataRequest>,
}

impl MetadataClient {
    pub fn new() -> (MetadataClient, mpsc::UnboundedReceiver<MetadataRequest>) {
        let (requests, receiver) = mpsc::unbounded_channel();
        (MetadataClient { requests }, receiver)
    }

    /// Sends the request that `make` builds around a reply channel, and waits for the reply.
    pub async fn ask<T>(&self, make: impl FnOnce(Reply<T>) -> MetadataRequest) -> Result<T, RequestFailed> {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(make(reply)).is_err() {
            return Err(RequestFailed::Stopping);
        }
        answer.await.unwrap_or(Err(RequestFailed::Stopping))
    }
}

/// The metadata core cannot go on; the process must end.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    #[error(transparent)]
    Stopped(#[from] NodeStopped),
    #[error("this process could not be registered: {0}")]
    Registration(RequestFailed),
}

/// The state of the metadata core.
pub struct MetadataCore {
    directory: DataDirectory,
    node: Node,
    /// Images in force, as the quorum's log leads to them.
    published: mpsc::UnboundedReceiver<Published>,
    image: MetadataImage,
    settings: Arc<Settings>,
    broker_config: BrokerConfig,
    shards: Vec<Sender<ShardCommand>>,
}

impl MetadataCore {
    /// Starts this node's part in the quorum. The image is current when this returns.
    pub async fn start(
        directory: DataDirectory,
        opened: Opened,
        published: mpsc::UnboundedReceiver<Published>,
        settings: Arc<Settings>,
        shards: Vec<Sender<ShardCommand>>,
    ) -> Result<MetadataCore, CoreError> {
        let image = opened.state_machine.image().clone();
        let broker_config = image.broker_config(settings.broker, settings.static_config());
        let mut node = Node::start(settings.broker, opened, Alone).await?;
        node.lead_alone().await?;
        let mut core = MetadataCore { directory, node, published, image, settings, broker_config, shards };
        core.take_published();
        Ok(core)
    }

    pub fn image(&self) -> &MetadataImage {
        &self.image
    }

    pub fn broker_config(&self) -> &BrokerConfig {
        &self.broker_config
    }

    /// Registers this process, before any shard runs: a new incarnation, and a new epoch for whatever it leads. On a full disk
    /// too, since reads must go on over a restart.
    pub async fn register(&mut self, advertised: &HostPort) -> Result<(), CoreError> {
        let registration = BrokerRegistration {
            broker: self.settings.broker,
            incarnation: Uuid::new_v4(),
            host: advertised.host.to_string(),
            port: advertised.port,
            rack: self.broker_config.rack.clone(),
        };
        match self.propose(controller::register_broker(&self.image, registration)).await? {
            Ok(Outcome::Applied { .. }) => {
                self.take_published();
                Ok(())
            }
            Ok(Outcome::Stale { .. } | Outcome::Nothing | Outcome::Misfit(_)) => {
                unreachable!("nobody else proposes before this")
            }
            Err(failed) => Err(CoreError::Registration(failed)),
        }
    }

    /// Has the quorum agree on records that were decided on the current image. A misfit is a failure here.
    async fn propose(&self, records: Vec<MetadataRecord>) -> Result<Result<Outcome, RequestFailed>, CoreError> {
        let command = Command { decided_at: self.image.metadata_offset(), records: records.into() };
        Ok(match self.node.propose(command).await {
            Ok(Outcome::Misfit(error)) => {
                tracing::error!(%error, "metadata change refused: it was decided wrongly");
                Err(RequestFailed::Misfit(error.to_string()))
            }
            Ok(outcome) => Ok(outcome),
            Err(error @ ProposeError::NotLeader { .. }) => Err(RequestFailed::NotController(error.to_string())),
            Err(ProposeError::Stopped(stopped)) => return Err(stopped.into()),
        })
    }

    /// Serves requests, one after the other, until `stop` is dropped: when all shards have gone.
    pub async fn run(
        mut self,
        mut requests: mpsc::UnboundedReceiver<MetadataRequest>,
        mut stop: tokio::sync::oneshot::Receiver<Infallible>,
    ) -> Result<(), CoreError> {
        loop {
            tokio::select! {
                Some(request) = requests.recv() => self.serve(request).await?,
                _ = &mut stop => break,
                Some(published) = self.published.recv() => self.publish(published).await,
                stopped = self.node.stopped() => return Err(stopped.into()),
            }
        }
        self.node.shutdown().await;
        Ok(())
    }

    async fn serve(&mut self, request: MetadataRequest) -> Result<(), CoreError> {
        let settings = self.settings.clone();
        let static_config = settings.static_config();
        match request {
            MetadataRequest::CreateTopics { topics, validate_only, reply } => {
                let next_id = || TopicId(Uuid::new_v4());
                let decide = |image: &_, config: &_| controller::create_topics(image, config, &topics, next_id);
                self.change(decide, validate_only, reply).await
            }
            MetadataRequest::CreatePartitions { topics, validate_only, reply } => {
                let decide = |image: &_, _: &_| controller::create_partitions(image, &topics);
                self.change(decide, validate_only, reply).await
            }
            MetadataRequest::DeleteTopics { topics, reply } => {
                let decide = |image: &_, config: &BrokerConfig| {
                    controller::delete_topics(image, config.delete_topic_enable, &topics)
                };
                self.change(decide, false, reply).await
            }
            MetadataRequest::IncrementalAlterConfigs { alterations, validate_only, reply } => {
                let decide =
                    |image: &_, _: &_| controller::incremental_alter_configs(image, static_config, &alterations);
                self.change(decide, validate_only, reply).await
            }
            MetadataRequest::AlterConfigs { replacements, validate_only, reply } => {
                let decide = |image: &_, _: &_| controller::alter_configs(image, static_config, &replacements);
                self.change(decide, validate_only, reply).await
            }
            MetadataRequest::AllocateProducerIds { reply } => {
                let decide = |image: &_, _: &_| match controller::allocate_producer_ids(image) {
                    Ok((record, block)) => (vec![record], Ok(block)),
                    Err(_) => (Vec::new(), Err(RequestFailed::ProducerIdsExhausted)),
                };
                let outcome = self.agree(decide, false).await?;
                // The client may have gone.
                let _ = reply.send(outcome.and_then(|block| block));
                Ok(())
            }
        }
    }

    /// Has a decision's records agreed on and made known to all shards, then gives its answer.
    async fn change<T>(
        &mut self,
        decide: impl FnMut(&MetadataImage, &BrokerConfig) -> (Vec<MetadataRecord>, T),
        validate_only: bool,
        reply: Reply<T>,
    ) -> Result<(), CoreError> {
        let outcome = self.agree(decide, validate_only).await?;
        // The client may have gone.
        let _ = reply.send(outcome);
        Ok(())
    }

    async fn agree<T>(
        &mut self,
        mut decide: impl FnMut(&MetadataImage, &BrokerConfig) -> (Vec<MetadataRecord>, T),
        validate_only: bool,
    ) -> Result<Result<T, RequestFailed>, CoreError> {
        loop {
            let (records, answer) = decide(&self.image, &self.broker_config);
            if validate_only || records.is_empty() {
                return Ok(Ok(answer));
            }
            if let Err(error) = self.directory.check_free_space() {
                tracing::error!(%error, "metadata change refused");
                return Ok(Err(RequestFailed::NoSpace(error.to_string())));
            }
            match self.propose(records).await? {
                Ok(Outcome::Applied { metadata_offset }) => {
                    self.catch_up(metadata_offset).await?;
                    return Ok(Ok(answer));
                }
                // Decided anew on what others have changed meanwhile.
                Ok(Outcome::Stale { metadata_offset }) => self.catch_up(metadata_offset).await?,
                Ok(Outcome::Nothing | Outcome::Misfit(_)) => unreachable!("a command that fits has another outcome"),
                Err(failed) => return Ok(Err(failed)),
            }
        }
    }

    /// Publishes what is in force until that is at least the image of this metadata offset.
    async fn catch_up(&mut self, metadata_offset: u64) -> Result<(), CoreError> {
        while self.image.metadata_offset() < metadata_offset {
            tokio::select! {
                Some(published) = self.published.recv() => self.publish(published).await,
                stopped = self.node.stopped() => return Err(stopped.into()),
            }
        }
        Ok(())
    }

    /// Takes over what is in force while there are no shards to be told.
    fn take_published(&mut self) {
        while let Ok(Published { image, .. }) = self.published.try_recv() {
            self.take_over(image);
        }
    }

    fn take_over(&mut self, image: MetadataImage) {
        self.broker_config = image.broker_config(self.settings.broker, self.settings.static_config());
        self.image = image;
    }

    async fn publish(&mut self, Published { image, deltas }: Published) {
        self.take_over(image);
        if deltas.is_empty() {
            return;
        }
        let deltas: Arc<[MetadataDelta]> = deltas.into();
        let applied = self.shards.iter().map(|shard| {
            let (applied, done) = oneshot::channel();
            // A shard that has ended applies nothing, and nobody asks it any more.
            let _ = shard.try_send(ShardCommand { image: self.image.clone(), deltas: deltas.clone(), applied });
            done
        });
        join_all(applied).await;
    }
}
