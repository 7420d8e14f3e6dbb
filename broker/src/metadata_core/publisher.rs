//! Telling shards of metadata changes, in order, and knowing when all have applied them.

use std::sync::Arc;

use async_channel::Sender;
use futures_channel::oneshot;
use futures_util::future::join_all;
use metadata::delta::MetadataDelta;
use metadata::image::MetadataImage;
use metadata::raft::Published;
use protocol::BrokerId;
use tokio::sync::{mpsc, watch};

use crate::metrics::changes::Changes;
use crate::shard::message::ShardCommand;

/// See the module's documentation.
pub struct Publisher {
    published: mpsc::UnboundedReceiver<Published>,
    image: MetadataImage,
    shards: Vec<Sender<ShardCommand>>,
    applied: watch::Sender<u64>,
    reconfigured: mpsc::UnboundedReceiver<()>,
    /// Whose changes are counted, and where.
    noting: (BrokerId, Arc<Changes>),
}

impl Publisher {
    /// Of shards that are about to start; `image` was in force before anything that comes through `published`.
    pub fn new(
        published: mpsc::UnboundedReceiver<Published>,
        image: MetadataImage,
        shards: Vec<Sender<ShardCommand>>,
        reconfigured: mpsc::UnboundedReceiver<()>,
        noting: (BrokerId, Arc<Changes>),
    ) -> Publisher {
        let applied = watch::Sender::new(0);
        let mut publisher = Publisher { published, image, shards, applied, reconfigured, noting };
        while let Ok(Published { image, .. }) = publisher.published.try_recv() {
            publisher.image = image;
        }
        publisher
    }

    /// What shards are to start with: they are told of all that comes after it.
    pub fn image(&self) -> &MetadataImage {
        &self.image
    }

    /// Metadata offset of the image that all shards have applied; 0 until they have started.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// Publishes until Raft has ended.
    pub async fn run(mut self) {
        loop {
            self.applied.send_replace(self.image.metadata_offset());
            tokio::select! {
                published = self.published.recv() => {
                    let Some(Published { image, deltas }) = published else { return };
                    let (me, changes) = &self.noting;
                    changes.note(*me, &self.image, &deltas);
                    self.image = image;
                    if !deltas.is_empty() {
                        self.publish(deltas.into()).await;
                    }
                }
                // In its place between changes, so that no shard resolves configs from metadata that it has left behind.
                Some(()) = self.reconfigured.recv() => self.publish(reconfigured().into()).await,
            }
        }
    }

    async fn publish(&self, deltas: Arc<[MetadataDelta]>) {
        let applied = self.shards.iter().map(|shard| {
            let (applied, done) = oneshot::channel();
            // A shard that has ended applies nothing, and nobody asks it any more.
            let _ = shard.try_send(ShardCommand { image: self.image.clone(), deltas: deltas.clone(), applied });
            done
        });
        join_all(applied).await;
    }
}

/// What has shards resolve their broker's configs anew: some setting of it has changed, in the metadata or below it.
fn reconfigured() -> [MetadataDelta; 1] {
    [MetadataDelta::BrokerConfigChanged { broker: None, name: String::new(), value: None }]
}
