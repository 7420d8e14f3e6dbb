//! One scrape: who is asked, what is remembered from the one before, and where it is laid out.
//!
//! One at a time: a shard has one question of this kind to answer, however many ask for the page. A shard that does not answer
//! in time is shown as it was at the scrape before, and counted as late, since what stalls it should not take its metrics away.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_channel::Sender;
use futures_channel::oneshot;
use futures_util::future::join_all;
use instruments::{Exposition, Format};
use tokio::sync::Mutex;

use super::cluster::CoreFacts;
use super::snapshot::ShardSnapshot;
use super::topics::TopicSeries;
use super::{ShardMetrics, process, text};
use crate::connection::ConnectionLimits;
use crate::group_lag::Lag;
use crate::lease::Lease;
use crate::metadata_core::Observed;
use crate::shard::message::ShardMessage;

/// How long a shard may take to answer.
const PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 1_000 });

/// Bounds on series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesLimits {
    pub topics_max: usize,
    pub partitions_max: usize,
}

/// Gathers the page. Knows more and more as the broker starts: what is not known yet has families and no samples.
pub struct Scraper {
    pub(super) shards: Arc<[Arc<ShardMetrics>]>,
    pub(super) lag: Arc<Lag>,
    pub(super) limits: SeriesLimits,
    /// Directories whose space is told, by name.
    dirs: Vec<(&'static str, PathBuf)>,
    core: OnceLock<Observed>,
    pub(super) lease: OnceLock<Arc<Lease>>,
    inboxes: OnceLock<Vec<Sender<ShardMessage>>>,
    pub(super) connections: OnceLock<Arc<ConnectionLimits>>,
    remembered: Arc<Mutex<Remembered>>,
}

/// From one scrape to the next.
#[derive(Default)]
struct Remembered {
    snapshots: Vec<ShardSnapshot>,
    topics: TopicSeries,
    took: Duration,
}

/// Everything that one page is made of, besides what is counted in atomics.
pub(super) struct Gathered {
    pub(super) snapshots: Vec<ShardSnapshot>,
    pub(super) inbox_lengths: Vec<usize>,
    pub(super) late_shards: usize,
    pub(super) core: Option<CoreFacts>,
    pub(super) scrape_before: Duration,
}

impl Scraper {
    pub fn new(
        shards: Arc<[Arc<ShardMetrics>]>,
        lag: Arc<Lag>,
        limits: SeriesLimits,
        dirs: Vec<(&'static str, PathBuf)>,
    ) -> Arc<Scraper> {
        Arc::new(Scraper {
            shards,
            lag,
            limits,
            dirs,
            core: OnceLock::new(),
            lease: OnceLock::new(),
            inboxes: OnceLock::new(),
            connections: OnceLock::new(),
            remembered: Arc::default(),
        })
    }

    /// This node takes part in the metadata quorum.
    pub fn core_started(&self, core: Observed) {
        let _ = self.core.set(core);
    }

    /// The shards have recovered, and answer.
    pub fn shards_started(&self, inboxes: Vec<Sender<ShardMessage>>, lease: Arc<Lease>) {
        let _ = self.inboxes.set(inboxes);
        let _ = self.lease.set(lease);
    }

    /// Clients are listened to, within these limits.
    pub fn clients_may_come(&self, connections: Arc<ConnectionLimits>) {
        let _ = self.connections.set(connections);
    }

    /// The page.
    pub async fn scrape(self: &Arc<Self>, format: Format) -> String {
        let mut remembered = self.remembered.clone().lock_owned().await;
        let began = Instant::now();
        let inboxes = self.inboxes.get().map_or(&[][..], Vec::as_slice);
        let inbox_lengths = inboxes.iter().map(Sender::len).collect();
        let (answers, core) = futures_util::future::join(ask(inboxes), async {
            match self.core.get() {
                Some(core) => Some(core.facts().await),
                None => None,
            }
        })
        .await;
        remembered.snapshots.resize_with(inboxes.len(), ShardSnapshot::default);
        let mut late_shards = 0;
        for (known, answer) in remembered.snapshots.iter_mut().zip(answers) {
            match answer {
                Some(answer) => *known = answer,
                None => late_shards += 1,
            }
        }
        let this = self.clone();
        // Elsewhere: this thread takes part in the quorum meanwhile.
        let laid_out = tokio::task::spawn_blocking(move || {
            let gathered = Gathered {
                snapshots: remembered.snapshots.clone(),
                inbox_lengths,
                late_shards,
                core,
                scrape_before: remembered.took,
            };
            let mut out = Exposition::new(format);
            text::put_all(&mut out, &this, &gathered, &mut remembered.topics);
            text::put_process(&mut out, &process::facts(), &process::spaces(&this.dirs));
            let text = out.text();
            remembered.took = began.elapsed();
            text
        });
        laid_out.await.expect("a panic ends the process")
    }
}

/// What each shard answers, of those that do in time.
async fn ask(inboxes: &[Sender<ShardMessage>]) -> Vec<Option<ShardSnapshot>> {
    let asked: Vec<_> = inboxes
        .iter()
        .map(|inbox| {
            let (answer, answered) = oneshot::channel();
            // A shard that has ended answers nothing.
            let _ = inbox.try_send(ShardMessage::Metrics { answer });
            async move { tokio::time::timeout(PATIENCE, answered).await.ok()?.ok() }
        })
        .collect();
    join_all(asked).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(page: &str, line: &str) {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }

    #[test]
    fn a_shard_that_does_not_answer_is_shown_as_it_was_and_counted() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let shards: Vec<_> = (0..2).map(|_| Arc::<ShardMetrics>::default()).collect();
            shards[1].produced(1000);
            let limits = SeriesLimits { topics_max: 10, partitions_max: 10 };
            let scraper = Scraper::new(shards.clone().into(), Arc::default(), limits, Vec::new());
            has(&scraper.scrape(Format::Prometheus).await, "ringlog_produced_bytes_total{shard=\"1\"} 1000");

            let (senders, inboxes): (Vec<_>, Vec<_>) = (0..2).map(|_| async_channel::unbounded()).unzip();
            scraper.shards_started(senders, Arc::default());
            let answering = |shard: usize, logs_offline: usize| {
                let inbox = inboxes[shard].clone();
                tokio::spawn(async move {
                    if let Ok(ShardMessage::Metrics { answer }) = inbox.recv().await {
                        let _ = answer.send(ShardSnapshot { logs_offline, ..ShardSnapshot::default() });
                    }
                })
            };
            let answers = [answering(0, 3), answering(1, 4)];
            let page = scraper.scrape(Format::Prometheus).await;
            has(&page, "ringlog_scrape_late_shards 0");
            has(&page, "ringlog_logs_offline{shard=\"1\"} 4");
            for answer in answers {
                answer.await.unwrap();
            }

            shards[1].produced(500);
            let _answer = answering(0, 5);
            let page = scraper.scrape(Format::Prometheus).await;
            has(&page, "ringlog_scrape_late_shards 1");
            has(&page, "ringlog_logs_offline{shard=\"0\"} 5");
            has(&page, "ringlog_logs_offline{shard=\"1\"} 4");
            has(&page, "ringlog_produced_bytes_total{shard=\"1\"} 1500");
        });
    }
}
