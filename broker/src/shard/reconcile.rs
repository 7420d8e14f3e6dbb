//! Making the shard's partitions what the metadata says.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use async_channel::Receiver;
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use futures_util::stream;
use glommio::timer::Timer;
use metadata::delta::MetadataDelta;
use metadata::image::MetadataImage;
use protocol::PartitionId;
use wal::OpenError;
use wal::log::{Log, LogIdentity};

use super::Shard;
use super::message::ShardCommand;
use crate::handlers::topic_access::OFFSETS_TOPIC;
use crate::partition::{Partition, PartitionKey};
use crate::storage;

/// Logs opened or closed at once: enough to keep the disk busy.
pub(super) const OPEN_CONCURRENCY: usize = 32;
/// Pause before partitions that could not be opened are tried again.
const OFFLINE_RETRY: Duration = Duration::from_secs(5);

impl Shard {
    /// Opens every partition of the image that this shard owns; returns how many could not be.
    pub(super) async fn open_all_partitions(self: &Rc<Self>) -> usize {
        let image = self.image();
        let owned: Vec<PartitionKey> = image
            .topics()
            .flat_map(|topic| topic.partitions().map(|(partition, _)| PartitionKey { topic_id: topic.id, partition }))
            .filter(|key| self.owner_of(*key) == self.index)
            .collect();
        self.open_partitions(&image, owned).await
    }

    /// Opens partitions, several at once; returns how many could not be.
    async fn open_partitions(self: &Rc<Self>, image: &MetadataImage, keys: Vec<PartitionKey>) -> usize {
        let opened = stream::iter(keys).map(|key| self.open_partition(image, key)).buffer_unordered(OPEN_CONCURRENCY);
        opened.filter(|opened| std::future::ready(!opened)).count().await
    }

    /// Tries again to open what could not be opened for want of space, descriptors and the like.
    async fn retry_offline(self: &Rc<Self>) {
        let image = self.image();
        let keys: Vec<PartitionKey> = self.offline.take().into_iter().collect();
        let still_there = keys.into_iter().filter(|key| {
            let topic = image.topic_by_id(key.topic_id);
            topic.is_some_and(|topic| topic.partition(key.partition).is_some())
        });
        self.open_partitions(&image, still_there.collect()).await;
    }

    /// Applies the metadata core's commands in order, one after the other.
    pub(super) async fn serve_commands(self: Rc<Self>, commands: Receiver<ShardCommand>) {
        loop {
            let retry = async {
                if self.offline.borrow().is_empty() {
                    return std::future::pending().await;
                }
                Timer::new(OFFLINE_RETRY).await;
            };
            match select(pin!(commands.recv()), pin!(retry)).await {
                Either::Left((Ok(command), _)) => {
                    self.apply(&command.image, &command.deltas).await;
                    // The change may have been abandoned at shutdown.
                    let _ = command.applied.send(());
                }
                Either::Left((Err(_), _)) => return,
                Either::Right(_) => self.retry_offline().await,
            }
        }
    }

    async fn apply(self: &Rc<Self>, image: &MetadataImage, deltas: &[MetadataDelta]) {
        // Partitions are opened before requests can name them, and closed after.
        let assigned = deltas.iter().filter_map(|delta| match delta {
            MetadataDelta::PartitionChanged { topic_id, partition, .. } => {
                Some(PartitionKey { topic_id: *topic_id, partition: *partition })
            }
            _ => None,
        });
        let new: Vec<PartitionKey> = assigned
            .filter(|key| self.owner_of(*key) == self.index && !self.partitions.borrow().contains_key(key))
            .collect();
        self.open_partitions(image, new).await;
        *self.image.borrow_mut() = image.clone();
        for delta in deltas {
            match delta {
                MetadataDelta::TopicDeleted { topic_id, topic, partition_count } => {
                    self.groups.topic_deleted(topic, *topic_id);
                    self.delete_partitions(*topic_id).await;
                    self.delete_offline(*topic_id, topic, *partition_count);
                }
                MetadataDelta::TopicConfigChanged { topic_id, .. } => self.reconfigure(image, Some(*topic_id)),
                MetadataDelta::BrokerConfigChanged { .. } => {
                    let config = image.broker_config(self.broker, self.settings.static_config());
                    *self.broker_config.borrow_mut() = Rc::new(config);
                    self.reconfigure(image, None);
                }
                MetadataDelta::TopicCreated { .. }
                | MetadataDelta::PartitionChanged { .. }
                | MetadataDelta::BrokerChanged(_)
                | MetadataDelta::BrokerRemoved(_) => {}
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
                if matches!(error, OpenError::Io(_)) {
                    self.offline.borrow_mut().insert(key);
                }
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

    /// Removes the directories of a deleted topic's partitions that were never opened: a damaged log goes with its topic.
    fn delete_offline(&self, topic_id: protocol::TopicId, topic: &str, partition_count: i32) {
        for partition in (0..partition_count).map(PartitionId) {
            let key = PartitionKey { topic_id, partition };
            self.offline.borrow_mut().remove(&key);
            let dir = self.wal.root().join(format!("{topic}-{partition}"));
            if self.owner_of(key) != self.index || !dir.exists() {
                continue;
            }
            match std::fs::remove_dir_all(&dir) {
                Ok(()) => {
                    tracing::warn!(topic, %partition, "files of a partition that was offline removed with its topic")
                }
                Err(error) => tracing::error!(topic, %partition, %error,
                    "files of a deleted partition could not be removed; the next start tries again"),
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
