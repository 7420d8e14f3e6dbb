//! How far consumer groups lag, for `/metrics`: every broker tells it of the groups that it coordinates.
//!
//! In the background, at an interval and on the metadata core's thread: shards tell what their coordinators' groups have
//! committed, the leaders of the partitions tell how far these are (`LedEnds` over the internal port, or this broker's own
//! shards), and the differences are laid out ([`series`]). No request of a client waits for any of this, and a scrape only
//! hands out what was laid out last. Offsets looked at, partitions asked for and series kept are all bounded; what is left out
//! is counted.
//!
//! Deliberately absent: lag in time, and lag of consumers that commit elsewhere.

mod series;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_channel::oneshot;
use futures_util::future::join_all;
use instruments::Exposition;
use kafka_protocol::protocol::StrBytes;
use metadata::image::MetadataImage;
use metadata::record::NodeBinding;
use protocol::{BrokerId, PartitionId, TopicId};
use tokio::sync::watch;

use crate::internal::handshake::Purpose;
use crate::internal::links::{Callee, Links};
use crate::internal::listener::Shards;
use crate::metadata_core::inspect::{self, LED_ENDS_MAX, LedEnds};
use crate::metrics::Metric;
use crate::shard::message::ShardMessage;
use series::Snapshot;

/// Committed offsets that one broker looks at: what shards copy and this thread holds for a moment.
const OFFSETS_MAX: usize = 1 << 16;
/// How long another broker may take to say how far partitions are; without its answer that is not known this time.
const PATIENCE: Duration = Duration::from_secs(2);

/// What groups have committed, of whole groups; some may have been left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommittedOffsets {
    pub groups: Vec<GroupOffsets>,
    pub omitted_groups: usize,
    pub omitted_partitions: usize,
}

/// What one group has committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupOffsets {
    pub group: StrBytes,
    pub offsets: Vec<CommittedOffset>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    pub topic: StrBytes,
    /// Zero where the commit did not say.
    pub topic_id: TopicId,
    pub partition: i32,
    pub offset: i64,
}

/// How much of it is told, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LagConfig {
    pub interval: Duration,
    /// 0: nothing is collected.
    pub series_max: usize,
}

/// What was laid out last, for whoever scrapes.
#[derive(Default)]
pub struct Lag {
    snapshot: Mutex<Arc<Snapshot>>,
}

impl Lag {
    /// Adds it to a text.
    pub fn put(&self, out: &mut Exposition<Metric>) {
        let snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone();
        snapshot.put(out);
    }

    fn set(&self, snapshot: Snapshot) {
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
    }
}

pub struct Collector {
    pub me: BrokerId,
    pub images: watch::Receiver<MetadataImage>,
    pub links: Links,
    pub shards: Shards,
    pub config: watch::Receiver<LagConfig>,
    pub lag: Arc<Lag>,
}

type Ends = HashMap<(TopicId, PartitionId), i64>;

impl Collector {
    /// Collects for as long as the process lives.
    pub async fn run(mut self) {
        let mut collections = 0;
        loop {
            let LagConfig { interval, series_max } = *self.config.borrow_and_update();
            if series_max == 0 {
                self.lag.set(series::nothing(collections));
                match self.config.changed().await {
                    Ok(()) => continue,
                    Err(_) => return,
                }
            }
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                Ok(()) = self.config.changed() => continue,
            }
            collections += 1;
            let committed = self.committed().await;
            let image = self.images.borrow().clone();
            let ends = self.ends(&committed, &image).await;
            let lag = self.lag.clone();
            // Elsewhere: this thread takes part in the quorum meanwhile.
            let laid_out = tokio::task::spawn_blocking(move || {
                let end = |offset: &CommittedOffset| ends.get(&place(&image, offset)?).copied();
                lag.set(series::lay_out(&committed, end, series_max, collections));
            });
            laid_out.await.expect("a panic ends the process");
        }
    }

    async fn committed(&self) -> CommittedOffsets {
        let Some(inboxes) = self.shards.get() else { return CommittedOffsets::default() };
        let asked = inboxes.iter().map(|inbox| {
            let (answer, answered) = oneshot::channel();
            let max = OFFSETS_MAX / inboxes.len();
            // A shard that has ended answers nothing.
            let _ = inbox.try_send(ShardMessage::CommittedOffsets { max, answer });
            answered
        });
        let mut all = CommittedOffsets::default();
        for part in join_all(asked.collect::<Vec<_>>()).await.into_iter().flatten() {
            all.groups.extend(part.groups);
            all.omitted_groups += part.omitted_groups;
            all.omitted_partitions += part.omitted_partitions;
        }
        all
    }

    /// How far partitions are, of those that can be asked for now.
    async fn ends(&self, committed: &CommittedOffsets, image: &MetadataImage) -> Ends {
        let mut by_leader: BTreeMap<BrokerId, BTreeSet<(TopicId, PartitionId)>> = BTreeMap::new();
        for offset in committed.groups.iter().flat_map(|group| &group.offsets) {
            let Some((topic_id, partition)) = place(image, offset) else { continue };
            let state = image.topic_by_id(topic_id).and_then(|topic| topic.partition(partition));
            if let Some(leader) = state.and_then(|state| state.leader) {
                by_leader.entry(leader).or_default().insert((topic_id, partition));
            }
        }
        let asked = by_leader.into_iter().map(|(leader, partitions)| self.ends_of(leader, partitions, image));
        join_all(asked).await.into_iter().flatten().collect()
    }

    async fn ends_of(
        &self,
        leader: BrokerId,
        partitions: BTreeSet<(TopicId, PartitionId)>,
        image: &MetadataImage,
    ) -> Vec<((TopicId, PartitionId), i64)> {
        let partitions: Vec<_> = partitions.into_iter().collect();
        let mut ends = Vec::new();
        for partitions in partitions.chunks(LED_ENDS_MAX) {
            let question = LedEnds { partitions: partitions.to_vec() };
            let answers = match self.callee(leader, image) {
                _ if leader == self.me => inspect::led_ends(&question, &self.shards).await,
                None => return ends,
                Some(callee) => match inspect::ask(&self.links, &callee, question, PATIENCE).await {
                    Ok(answers) => answers,
                    Err(error) => {
                        tracing::debug!(broker = %leader, %error, "it is not known how far its partitions are");
                        return ends;
                    }
                },
            };
            let known = partitions.iter().zip(answers).filter_map(|(place, end)| Some((*place, end?)));
            ends.extend(known);
        }
        ends
    }

    fn callee(&self, broker: BrokerId, image: &MetadataImage) -> Option<Callee> {
        let node = image.node(broker)?.as_ref().clone();
        let address = self.links.address_of(broker).unwrap_or(node.address);
        Some(Callee::node(Purpose::Inspect, &NodeBinding { address, ..node }))
    }
}

/// The partition that an offset is of; `None` if it is gone.
fn place(image: &MetadataImage, offset: &CommittedOffset) -> Option<(TopicId, PartitionId)> {
    let topic = image.topic(&offset.topic)?;
    let is_meant = offset.topic_id == TopicId::ZERO || offset.topic_id == topic.id;
    let partition = PartitionId(offset.partition);
    (is_meant && topic.partition(partition).is_some()).then_some((topic.id, partition))
}
