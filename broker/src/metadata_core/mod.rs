//! The metadata core: the one thread that changes the cluster's metadata, and what shards ask of it.
//!
//! A change runs in order: decide on the current image (pure, [`metadata::controller`]), commit the records to disk,
//! publish image and deltas to every shard, wait until all have applied them, answer. So whoever gets an answer finds the
//! change in effect on every shard: a created topic can be written to, a deleted one is gone.
//!
//! Record data never comes here, and shards never touch the store.

pub mod http;

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
use metadata::record::{BrokerRegistration, ConfigResource, MetadataRecord};
use metadata::store::{CommitError, Committed, MetadataStore};
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
#[error("metadata could not be made durable: {0}")]
pub struct CoreError(#[from] CommitError);

/// The state of the metadata core.
pub struct MetadataCore {
    store: MetadataStore,
    image: MetadataImage,
    settings: Arc<Settings>,
    broker_config: BrokerConfig,
    shards: Vec<Sender<ShardCommand>>,
    /// This process's registration while the disk was too full to hold it.
    unstored: Vec<MetadataRecord>,
}

impl MetadataCore {
    pub fn new(
        store: MetadataStore,
        image: MetadataImage,
        settings: Arc<Settings>,
        shards: Vec<Sender<ShardCommand>>,
    ) -> MetadataCore {
        let broker_config = image.broker_config(settings.broker, settings.static_config());
        MetadataCore { store, image, settings, broker_config, shards, unstored: Vec::new() }
    }

    pub fn image(&self) -> &MetadataImage {
        &self.image
    }

    pub fn broker_config(&self) -> &BrokerConfig {
        &self.broker_config
    }

    /// Registers this process, before any shard runs: a new incarnation, and a new epoch for whatever it leads.
    pub fn register(&mut self, advertised: &HostPort) -> Result<(), CoreError> {
        let registration = BrokerRegistration {
            broker: self.settings.broker,
            incarnation: Uuid::new_v4(),
            host: advertised.host.to_string(),
            port: advertised.port,
            rack: self.broker_config.rack.clone(),
        };
        let records = controller::register_broker(&self.image, registration);
        match self.store.commit(&records) {
            Ok(committed) => self.image = committed.image,
            Err(error @ CommitError::NoSpace { .. }) => {
                // Reads must go on over a restart on a full disk. The registration holds in memory, and is made durable
                // before anything else is.
                tracing::error!(%error, "registered in memory only: metadata cannot be changed until there is space");
                self.image = self.image.apply_batch(&records).map_err(CommitError::from)?.0;
                self.unstored = records;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Serves requests, one after the other, until all shards have gone.
    pub async fn run(mut self, mut requests: mpsc::UnboundedReceiver<MetadataRequest>) -> Result<(), CoreError> {
        while let Some(request) = requests.recv().await {
            self.serve(request).await?;
        }
        Ok(())
    }

    async fn serve(&mut self, request: MetadataRequest) -> Result<(), CoreError> {
        match request {
            MetadataRequest::CreateTopics { topics, validate_only, reply } => {
                let next_id = || TopicId(Uuid::new_v4());
                let decision = controller::create_topics(&self.image, &self.broker_config, &topics, next_id);
                self.conclude(decision, validate_only, reply).await
            }
            MetadataRequest::CreatePartitions { topics, validate_only, reply } => {
                let decision = controller::create_partitions(&self.image, &topics);
                self.conclude(decision, validate_only, reply).await
            }
            MetadataRequest::DeleteTopics { topics, reply } => {
                let enabled = self.broker_config.delete_topic_enable;
                let decision = controller::delete_topics(&self.image, enabled, &topics);
                self.conclude(decision, false, reply).await
            }
            MetadataRequest::IncrementalAlterConfigs { alterations, validate_only, reply } => {
                let static_config = self.settings.static_config();
                let decision = controller::incremental_alter_configs(&self.image, static_config, &alterations);
                self.conclude(decision, validate_only, reply).await
            }
            MetadataRequest::AlterConfigs { replacements, validate_only, reply } => {
                let decision = controller::alter_configs(&self.image, self.settings.static_config(), &replacements);
                self.conclude(decision, validate_only, reply).await
            }
            MetadataRequest::AllocateProducerIds { reply } => match controller::allocate_producer_ids(&self.image) {
                Ok((record, block)) => self.conclude((vec![record], block), false, reply).await,
                Err(_) => {
                    let _ = reply.send(Err(RequestFailed::ProducerIdsExhausted));
                    Ok(())
                }
            },
        }
    }

    /// Makes a decision's records durable and known to all shards, then gives its answer.
    async fn conclude<T>(
        &mut self,
        (records, answer): (Vec<MetadataRecord>, T),
        validate_only: bool,
        reply: Reply<T>,
    ) -> Result<(), CoreError> {
        let outcome = if validate_only || records.is_empty() {
            Ok(answer)
        } else {
            match self.commit(&records) {
                Ok(committed) => {
                    self.publish(committed.image, committed.deltas).await;
                    Ok(answer)
                }
                Err(CommitError::Failed(error)) => return Err(CommitError::Failed(error).into()),
                Err(error @ CommitError::NoSpace { .. }) => {
                    tracing::error!(%error, "metadata change refused");
                    Err(RequestFailed::NoSpace(error.to_string()))
                }
                Err(error @ CommitError::Misfit(_)) => {
                    tracing::error!(%error, "metadata change refused: it was decided wrongly");
                    Err(RequestFailed::Misfit(error.to_string()))
                }
            }
        };
        // The client may have gone.
        let _ = reply.send(outcome);
        Ok(())
    }

    fn commit(&mut self, records: &[MetadataRecord]) -> Result<Committed, CommitError> {
        if !self.unstored.is_empty() {
            // The image has these changes already.
            self.store.commit(&self.unstored)?;
            self.unstored.clear();
        }
        self.store.commit(records)
    }

    async fn publish(&mut self, image: MetadataImage, deltas: Vec<MetadataDelta>) {
        self.image = image.clone();
        self.broker_config = image.broker_config(self.settings.broker, self.settings.static_config());
        if deltas.is_empty() {
            return;
        }
        let deltas: Arc<[MetadataDelta]> = deltas.into();
        let applied = self.shards.iter().map(|shard| {
            let (applied, done) = oneshot::channel();
            // A shard that has ended applies nothing, and nobody asks it any more.
            let _ = shard.try_send(ShardCommand { image: image.clone(), deltas: deltas.clone(), applied });
            done
        });
        join_all(applied).await;
    }
}
