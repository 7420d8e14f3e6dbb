//! Making the shard's partitions what the metadata says: which are open here, and in what role.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_channel::Receiver;
use futures_util::StreamExt;
use futures_util::future::{Either, join_all, select};
use futures_util::stream;
use glommio::timer::Timer;
use kafka_protocol::ResponseError;
use metadata::controller::{ImpairedReplica, Impairment, RECORDS_PER_REQUEST_MAX};
use metadata::delta::MetadataDelta;
use metadata::image::MetadataImage;
use protocol::{BrokerId, TopicId};
use wal::OpenError;
use wal::log::{Log, LogIdentity};

use super::Shard;
use super::assignment::{TopicChanges, Wanted, all_here, has_lost, replaced, touched, wanted};
use super::message::ShardCommand;
use crate::handlers::topic_access::OFFSETS_TOPIC;
use crate::metadata_core::request::ReportImpaired;
use crate::orphans;
use crate::partition::{Opening, Partition, PartitionKey};
use crate::storage;

/// Logs opened or closed at once: enough to keep the disk busy.
pub(super) const OPEN_CONCURRENCY: usize = 32;
/// Pause before partitions that could not be opened are tried again.
const OFFLINE_RETRY: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 5_000 });

/// Why a partition that should be here is not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offline {
    /// For want of space, descriptors and the like, or because another topic's files are yet to go: tried again.
    MayPass,
    /// Its log is damaged.
    Refused,
}

impl Shard {
    /// Opens every partition of the image that this shard owns; returns how many could not be.
    pub(super) async fn open_all_partitions(self: &Rc<Self>) -> usize {
        let image = self.image();
        let owned: Vec<PartitionKey> =
            all_here(&image, self.broker).filter(|key| self.owner_of(*key) == self.index).collect();
        self.progress.begins_recovery(owned.len());
        let offline = self.open_partitions(&image, owned).await;
        self.has_started.set(true);
        self.groups.loaded().await;
        offline
    }

    /// Opens partitions, several at once; returns how many could not be.
    async fn open_partitions(self: &Rc<Self>, image: &MetadataImage, keys: Vec<PartitionKey>) -> usize {
        let opened = stream::iter(keys).map(async |key| {
            let opened = self.open_partition(image, key).await;
            if !self.has_started.get() {
                self.progress.recovered_one(opened);
            }
            opened
        });
        let opened = opened.buffer_unordered(OPEN_CONCURRENCY);
        opened.filter(|opened| std::future::ready(!opened)).count().await
    }

    /// Tries again to open what could not be opened for a reason that may have passed.
    async fn retry_offline(self: &Rc<Self>) {
        let image = self.image();
        let may_pass = |(key, why): (&PartitionKey, &Offline)| (*why == Offline::MayPass).then_some(*key);
        let keys: Vec<PartitionKey> = self.offline.borrow().iter().filter_map(may_pass).collect();
        self.open_partitions(&image, keys).await;
        self.report_impaired();
    }

    fn may_come_online(&self) -> bool {
        self.offline.borrow().values().any(|why| *why == Offline::MayPass)
    }

    /// Applies the metadata core's commands in order, one after the other.
    pub(super) async fn serve_commands(self: Rc<Self>, commands: Receiver<ShardCommand>) {
        loop {
            let retry = async {
                if !self.may_come_online() {
                    return std::future::pending().await;
                }
                Timer::new(OFFLINE_RETRY).await;
            };
            match select(pin!(commands.recv()), pin!(retry)).await {
                Either::Left((Ok(command), _)) => {
                    let began = Instant::now();
                    self.apply(&command.image, &command.deltas).await;
                    tracing::debug!(
                        shard = self.index, metadata_offset = command.image.metadata_offset(),
                        deltas = command.deltas.len(), took = ?began.elapsed(), "metadata change applied"
                    );
                    // The change may have been abandoned at shutdown.
                    let _ = command.applied.send(());
                }
                Either::Left((Err(_), _)) => return,
                Either::Right(_) => self.retry_offline().await,
            }
        }
    }

    /// What is wanted is read from the image, which is how all deltas end: one delta may take back what another did.
    async fn apply(self: &Rc<Self>, image: &MetadataImage, deltas: &[MetadataDelta]) {
        // The directory of a new topic may still have a deleted one's files in it.
        let replaced = replaced(image, deltas);
        for delta in deltas {
            if let MetadataDelta::TopicDeleted { topic_id, topic, .. } = delta
                && replaced.contains(topic_id)
            {
                self.delete_topic(*topic_id, topic).await;
            }
        }
        // Settings first: a leader whose ISR shrinks in the same change is to know how small it may be.
        for delta in deltas {
            match delta {
                MetadataDelta::TopicConfigChanged { topic_id, .. } => {
                    self.reconfigure_topic(image, *topic_id);
                    self.configs_changed.notify();
                }
                MetadataDelta::BrokerConfigChanged { .. } => {
                    let config = image.broker_config(self.broker, &self.settings.static_config());
                    *self.broker_config.borrow_mut() = Rc::new(config);
                    image.topics().for_each(|topic| self.reconfigure_topic(image, topic.id));
                    self.configs_changed.notify();
                }
                _ => {}
            }
        }
        // Partitions are opened before requests can name them, and closed after.
        let touched: BTreeSet<PartitionKey> =
            touched(deltas).into_iter().filter(|key| self.owner_of(*key) == self.index).collect();
        let is_new = |key: &&PartitionKey| !self.partitions.borrow().contains_key(key);
        let new: Vec<PartitionKey> = touched.iter().filter(is_new).copied().collect();
        self.open_partitions(image, new).await;
        self.report_impaired();
        let before = self.image.replace(image.clone());
        let changed = TopicChanges::between(&before, image, deltas);
        if !changed.names.is_empty() {
            self.groups.topics_changed(&changed, image);
        }
        let configured: BTreeSet<&str> = deltas
            .iter()
            .filter_map(|delta| match delta {
                MetadataDelta::GroupConfigChanged { group, .. } => Some(&**group),
                _ => None,
            })
            .collect();
        self.groups.configs_changed(configured, image, &self.broker_config());
        self.image_changed.notify();
        // Roles first: who waits for a leader is not to wait for the removal of another partition's files.
        join_all(touched.iter().map(|key| self.assign_role(image, *key))).await;
        let brokers: BTreeSet<BrokerId> = deltas.iter().filter_map(changed_broker).collect();
        brokers.into_iter().for_each(|broker| self.replicator.broker_changed(self, broker));
        for key in touched {
            if wanted(image, self.broker, key) == Wanted::Elsewhere {
                self.let_go(image, key).await;
            }
        }
        for delta in deltas {
            if let MetadataDelta::TopicDeleted { topic_id, topic, .. } = delta
                && !replaced.contains(topic_id)
            {
                self.delete_topic(*topic_id, topic).await;
            }
        }
        if deltas.iter().any(|delta| matches!(delta, MetadataDelta::TopicDeleted { .. })) {
            // Nobody need ask for what was counted: what is forgotten then only would stay.
            self.topics.borrow_mut().keep(|topic| image.topic_by_id(topic).is_some());
        }
    }

    /// Gives an open partition the role that the image has for it.
    async fn assign_role(self: &Rc<Self>, image: &MetadataImage, key: PartitionKey) {
        let Wanted::Here(assignment) = wanted(image, self.broker, key) else { return };
        let partition = self.partitions.borrow().get(&key).cloned();
        if let Some(partition) = partition {
            // Whoever leads must know where its log ends.
            if assignment.leader == Some(self.broker) {
                partition.cut_ended().await;
            }
            partition.apply_assignment(assignment);
            self.follow_leadership(&partition);
            self.replicator.follow_role(self, &partition);
        }
    }

    /// Removes a partition that is assigned to other brokers from now on.
    async fn let_go(self: &Rc<Self>, image: &MetadataImage, key: PartitionKey) {
        let removed = self.partitions.borrow_mut().remove(&key);
        if let Some(partition) = removed {
            tracing::info!(topic = %partition.topic, partition = %key.partition,
                "partition is no longer assigned to this broker: its files are removed");
            self.remove_partition(partition, ResponseError::NotLeaderOrFollower).await;
        } else if let Some(topic) = image.topic_by_id(key.topic_id) {
            self.remove_offline(key, &topic.name).await;
        }
    }

    /// Groups are coordinated where their partition is led.
    pub(super) fn follow_leadership(self: &Rc<Self>, partition: &Rc<Partition>) {
        if &*partition.topic == OFFSETS_TOPIC {
            self.groups.follow_leadership(self, partition);
        }
    }

    /// Returns whether the partition is now served.
    async fn open_partition(self: &Rc<Self>, image: &MetadataImage, key: PartitionKey) -> bool {
        let Some(topic) = image.topic_by_id(key.topic_id) else { return false };
        let Wanted::Here(assignment) = wanted(image, self.broker, key) else { return false };
        let config = Rc::new(image.topic_config(&topic.name, &self.broker_config()));
        let identity = LogIdentity { topic_id: key.topic_id, partition: key.partition };
        let dir = self.wal.root().join(orphans::directory_name(&topic.name, key.partition));
        let opened = Log::open(&self.wal, &dir, identity, storage::log_config(&config), crate::clock::now_ms()).await;
        match opened {
            Ok((log, report)) => {
                storage::log_recovery(&topic.name, key.partition, &report);
                let noted = self.noted_high_watermarks.get(&key).copied();
                // One that is assigned here later begins with nothing, whatever this broker had of it before.
                let is_assigned_anew = self.has_started.get() && !self.offline.borrow().contains_key(&key);
                if !is_assigned_anew && has_lost(&report, config.durability, noted) {
                    tracing::warn!(topic = %topic.name, partition = %key.partition, ?noted, ?report,
                        "the replica may lack records that it had acknowledged: it does not lead if another can");
                    self.note_impaired(key, Impairment::Lost);
                }
                self.offline.borrow_mut().remove(&key);
                let opening = Opening {
                    key,
                    topic: Rc::from(&*topic.name),
                    config,
                    broker: self.broker,
                    assignment,
                    high_watermark: noted,
                    lag_time_max_ms: self.lag_time_max_ms(),
                    lease: self.lease.clone(),
                    traffic: self.topics.borrow_mut().of(key.topic_id),
                };
                let partition = Partition::new(log, opening);
                self.partitions.borrow_mut().insert(key, partition.clone());
                self.follow_leadership(&partition);
                self.replicator.follow_role(self, &partition);
                true
            }
            Err(error) => {
                let why = match &error {
                    OpenError::Io(_) => Offline::MayPass,
                    // Of a deleted topic, whose partition another shard owns and is about to remove.
                    OpenError::Identity { found, .. } if image.topic_by_id(found.topic_id).is_none() => {
                        Offline::MayPass
                    }
                    _ => Offline::Refused,
                };
                if self.offline.borrow_mut().insert(key, why).is_none() {
                    self.note_impaired(
                        key,
                        match why {
                            Offline::MayPass => Impairment::Closed,
                            Offline::Refused => Impairment::Damaged,
                        },
                    );
                }
                tracing::error!(topic = %topic.name, partition = %key.partition, %error,
                    "partition is offline: its log cannot be opened");
                false
            }
        }
    }

    fn note_impaired(&self, key: PartitionKey, impairment: Impairment) {
        let PartitionKey { topic_id, partition } = key;
        self.impaired.borrow_mut().push(ImpairedReplica { topic_id, partition, impairment });
    }

    /// Tells the controller of replicas that are not what it takes them for, until it has heard.
    fn report_impaired(self: &Rc<Self>) {
        let replicas = self.impaired.take();
        if replicas.is_empty() {
            return;
        }
        let (shard, queues) = (self.clone(), self.queues);
        queues.spawn_control(async move {
            for replicas in replicas.chunks(RECORDS_PER_REQUEST_MAX) {
                shard.report(replicas).await;
            }
        });
    }

    async fn report(&self, replicas: &[ImpairedReplica]) {
        let (broker, broker_epoch) = (self.broker, self.broker_epoch);
        let report = ReportImpaired { broker, broker_epoch, replicas: replicas.to_vec() };
        while !self.is_stopping() {
            match self.metadata.ask(report.clone()).await {
                // Or another process of this broker has registered.
                Ok(_) => return,
                Err(error) => tracing::warn!(%error, "the controller has not heard of replicas that are impaired"),
            }
            Timer::new(OFFLINE_RETRY).await;
        }
    }

    async fn delete_topic(self: &Rc<Self>, topic_id: TopicId, topic: &str) {
        self.groups.topic_deleted(topic, topic_id);
        let of_topic = |key: &&PartitionKey| key.topic_id == topic_id;
        let gone: Vec<Rc<Partition>> = {
            let mut partitions = self.partitions.borrow_mut();
            let keys: Vec<PartitionKey> = partitions.keys().filter(of_topic).copied().collect();
            keys.iter().filter_map(|key| partitions.remove(key)).collect()
        };
        for partition in gone {
            self.remove_partition(partition, ResponseError::UnknownTopicOrPartition).await;
        }
        let offline: Vec<PartitionKey> = self.offline.borrow().keys().filter(of_topic).copied().collect();
        for key in offline {
            self.remove_offline(key, topic).await;
        }
    }

    /// Closes a partition that was taken out of the shard, and removes its files. Whoever wrote and waits is told `error`.
    async fn remove_partition(self: &Rc<Self>, partition: Rc<Partition>, error: ResponseError) {
        partition.mark_removed(error);
        self.replicator.forget(partition.key);
        self.follow_leadership(&partition);
        if let Err(error) = partition.log.delete().await {
            tracing::error!(topic = %partition.topic, partition = %partition.key.partition, %error,
                "files of a partition that is gone could not be removed; the next start tries again");
        }
    }

    /// Removes the directory of a partition that was never opened: a damaged log goes with its partition. It is out of the way
    /// when this resolves; the files go beside what else there is to do.
    async fn remove_offline(&self, key: PartitionKey, topic: &str) {
        let Some(why) = self.offline.borrow_mut().remove(&key) else { return };
        let PartitionKey { topic_id, partition } = key;
        let dir = self.wal.root().join(orphans::directory_name(topic, partition));
        let set_aside = orphans::blocking(move || {
            let is_its_own = match wal::read_identity(&dir) {
                // Another topic may have the name by now.
                Ok(Some(identity)) => identity == LogIdentity { topic_id, partition },
                Ok(None) | Err(_) => why == Offline::Refused && dir.exists(),
            };
            is_its_own.then(|| orphans::set_aside(&dir)).transpose()
        });
        match set_aside.await {
            Ok(None) => {}
            Ok(Some(aside)) => {
                tracing::warn!(topic, %partition, "removing files of a partition that was offline and is gone");
                self.remove_aside(aside);
            }
            Err(error) => tracing::error!(topic, %partition, %error,
                "files of a partition that is gone could not be removed; the next start tries again"),
        }
    }

    /// Removes what was set aside, beside what else there is to do.
    pub(super) fn remove_aside(&self, aside: PathBuf) {
        self.queues.spawn_background(async move {
            let path = aside.display().to_string();
            if let Err(error) = orphans::remove_aside(aside).await {
                tracing::error!(path, %error,
                    "files of a partition that is gone could not be removed; the next start tries again");
            }
        });
    }

    /// Resolves the configs of one topic anew: work in proportion to that topic, however many others there are.
    fn reconfigure_topic(&self, image: &MetadataImage, topic_id: TopicId) {
        let Some(topic) = image.topic_by_id(topic_id) else { return };
        let config = Rc::new(image.topic_config(&topic.name, &self.broker_config()));
        for (partition, _) in topic.partitions() {
            let open = self.partitions.borrow().get(&PartitionKey { topic_id, partition }).cloned();
            if let Some(open) = open {
                open.set_config(config.clone(), self.lag_time_max_ms());
            }
        }
    }
}

/// The broker that a change is about.
fn changed_broker(delta: &MetadataDelta) -> Option<BrokerId> {
    match delta {
        MetadataDelta::BrokerChanged(state) => Some(state.broker),
        MetadataDelta::BrokerRemoved(broker) => Some(*broker),
        _ => None,
    }
}
