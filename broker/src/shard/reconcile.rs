//! Making the shard's partitions what the metadata says.

use std::rc::Rc;

use async_channel::Receiver;
use futures_util::StreamExt;
use futures_util::stream;
use metadata::delta::MetadataDelta;
use metadata::image::MetadataImage;
use wal::log::{Log, LogIdentity};

use super::Shard;
use super::message::ShardCommand;
use crate::handlers::topic_access::OFFSETS_TOPIC;
use crate::partition::{Partition, PartitionKey};
use crate::storage;

/// Logs opened at once at start: enough to keep the disk busy.
const OPEN_CONCURRENCY: usize = 32;

impl Shard {
    /// Opens every partition of the image that this shard owns; returns how many could not be.
    pub(super) async fn open_all_partitions(self: &Rc<Self>) -> usize {
        let image = self.image();
        let owned: Vec<PartitionKey> = image
            .topics()
            .flat_map(|topic| topic.partitions().map(|(partition, _)| PartitionKey { topic_id: topic.id, partition }))
            .filter(|key| self.owner_of(*key) == self.index)
            .collect();
        let opened = stream::iter(owned).map(|key| self.open_partition(&image, key)).buffer_unordered(OPEN_CONCURRENCY);
        opened.filter(|opened| std::future::ready(!opened)).count().await
    }

    /// Applies the metadata core's commands in order, one after the other.
    pub(super) async fn serve_commands(self: Rc<Self>, commands: Receiver<ShardCommand>) {
        while let Ok(command) = commands.recv().await {
            self.apply(&command.image, &command.deltas).await;
            // The change may have been abandoned at shutdown.
            let _ = command.applied.send(());
        }
    }

    async fn apply(self: &Rc<Self>, image: &MetadataImage, deltas: &[MetadataDelta]) {
        // Partitions are opened before requests can name them, and closed after.
        for delta in deltas {
            if let MetadataDelta::PartitionChanged { topic_id, partition, .. } = delta {
                let key = PartitionKey { topic_id: *topic_id, partition: *partition };
                if self.owner_of(key) == self.index && !self.partitions.borrow().contains_key(&key) {
                    self.open_partition(image, key).await;
                }
            }
        }
        *self.image.borrow_mut() = image.clone();
        for delta in deltas {
            match delta {
                MetadataDelta::TopicDeleted { topic_id, topic, .. } => {
                    self.groups.topic_deleted(topic, *topic_id);
                    self.delete_partitions(*topic_id).await;
                }
                MetadataDelta::TopicConfigChanged { topic_id, .. } => self.reconfigure(image, Some(*topic_id)),
                MetadataDelta::BrokerConfigChanged { .. } => {
                    let config = image.broker_config(self.broker, self.settings.static_config());
                    *self.broker_config.borrow_mut() = Rc::new(config);
                    self.reconfigure(image, None);
                }
                MetadataDelta::TopicCreated { .. }
                | MetadataDelta::PartitionChanged { .. }
                | MetadataDelta::BrokerRegistered(_) => {}
            }
        }
    }

    /// Returns whether the partition is now served.
    async fn open_partition(self: &Rc<Self>, image: &MetadataImage, key: PartitionKey) -> bool {
        let Some(topic) = image.topic_by_id(key.topic_id) else { return false };
        let Some(assignment) = topic.partition(key.partition) else { return false };
        let config = Rc::new(image.topic_config(&topic.name, &self.broker_config()));
        let identity = LogIdentity { topic_id: key.topic_id, partition: key.partition };
        let dir = self.wal.root().join(format!("{}-{}", topic.name, key.partition));
        let opened = Log::open(&self.wal, &dir, identity, storage::log_config(&config), crate::clock::now_ms()).await;
        match opened {
            Ok((log, report)) => {
                storage::log_recovery(&topic.name, key.partition, &report);
                let partition = Partition::lead(key, Rc::from(&*topic.name), log, config, self.broker, assignment);
                self.partitions.borrow_mut().insert(key, partition.clone());
                if &*topic.name == OFFSETS_TOPIC {
                    self.groups.start(self, partition).await;
                }
                true
            }
            Err(error) => {
                tracing::error!(topic = %topic.name, partition = %key.partition, %error,
                    "partition is offline: its log cannot be opened");
                false
            }
        }
    }

    async fn delete_partitions(self: &Rc<Self>, topic_id: protocol::TopicId) {
        let gone: Vec<Rc<Partition>> = {
            let mut partitions = self.partitions.borrow_mut();
            let keys: Vec<PartitionKey> = partitions.keys().filter(|key| key.topic_id == topic_id).copied().collect();
            keys.iter().filter_map(|key| partitions.remove(key)).collect()
        };
        for partition in gone {
            partition.mark_deleted();
            if let Err(error) = partition.log.delete().await {
                tracing::error!(topic = %partition.topic, partition = %partition.key.partition, %error,
                    "files of a deleted partition could not be removed; the next start tries again");
            }
        }
    }

    fn reconfigure(self: &Rc<Self>, image: &MetadataImage, only: Option<protocol::TopicId>) {
        for partition in self.partitions() {
            if only.is_some_and(|id| id != partition.key.topic_id) {
                continue;
            }
            if let Some(topic) = image.topic_by_id(partition.key.topic_id) {
                partition.set_config(Rc::new(image.topic_config(&topic.name, &self.broker_config())));
            }
        }
    }
}
