//! One scrape: who is asked, what is remembered from the one before, and where it is laid out.
//!
//! One at a time: a shard has one question of this kind to answer, however many ask for the page. Whoever asks while a page is
//! gathered waits for the next one, which is as new as his question, with all others who do. A page that was begun is finished
//! whether somebody still waits for it or not: so what is under way is one page and one of each format that waits, however often
//! clients give up and ask again.
//!
//! A shard that does not answer in time is shown as it was at the scrape before, and counted as late, since what stalls it should
//! not take its metrics away. It is not asked again before it has answered.

use std::path::PathBuf;
use std::sync::{Arc, Mutex as ShortMutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use async_channel::Sender;
use bytes::Bytes;
use futures_channel::oneshot;
use futures_util::future::join_all;
use instruments::{Exposition, Format};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

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
const PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 500 } else { 1_000 });

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
    /// Pages that are to be gathered once the one under way is done.
    next: ShortMutex<Vec<(Format, watch::Receiver<Bytes>)>>,
}

/// From one scrape to the next.
#[derive(Default)]
struct Remembered {
    snapshots: Vec<ShardSnapshot>,
    /// Of shards that were asked and have not answered yet.
    unanswered: Vec<Option<oneshot::Receiver<ShardSnapshot>>>,
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
            next: ShortMutex::default(),
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
    pub async fn scrape(self: &Arc<Self>, format: Format) -> Bytes {
        let mut page = self.next_page(format);
        // It is gathered by a task that ends with the process only.
        page.changed().await.expect("a page is finished");
        page.borrow().clone()
    }

    /// The page that is gathered next.
    fn next_page(self: &Arc<Self>, format: Format) -> watch::Receiver<Bytes> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, page)) = next.iter().find(|(of, _)| *of == format) {
            return page.clone();
        }
        let (finished, page) = watch::channel(Bytes::new());
        next.push((format, page.clone()));
        drop(next);
        let this = self.clone();
        tokio::spawn(async move {
            let remembered = this.remembered.clone().lock_owned().await;
            // Who asks from now on is to see what happens from now on.
            this.next.lock().unwrap_or_else(PoisonError::into_inner).retain(|(of, _)| *of != format);
            let text = this.gather(remembered, format).await;
            finished.send_replace(text.into());
        });
        page
    }

    async fn gather(self: &Arc<Self>, mut remembered: OwnedMutexGuard<Remembered>, format: Format) -> String {
        let began = Instant::now();
        let inboxes = self.inboxes.get().map_or(&[][..], Vec::as_slice);
        let inbox_lengths = inboxes.iter().map(Sender::len).collect();
        let (answers, core) = futures_util::future::join(ask(inboxes, &mut remembered.unanswered), async {
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

/// What each shard answers, of those that do in time. The others' answers stay in `unanswered`.
async fn ask(
    inboxes: &[Sender<ShardMessage>],
    unanswered: &mut Vec<Option<oneshot::Receiver<ShardSnapshot>>>,
) -> Vec<Option<ShardSnapshot>> {
    unanswered.resize_with(inboxes.len(), || None);
    let asked: Vec<_> = inboxes
        .iter()
        .zip(unanswered)
        .map(|(inbox, waiting)| {
            // An answer that came after the scrape before was made is of that time.
            let is_still_asked = matches!(waiting.as_mut().map(oneshot::Receiver::try_recv), Some(Ok(None)));
            if !is_still_asked {
                let (answer, answered) = oneshot::channel();
                // A shard that has ended answers nothing.
                let _ = inbox.try_send(ShardMessage::Metrics { answer });
                *waiting = Some(answered);
            }
            async move {
                let answer = tokio::time::timeout(PATIENCE, waiting.as_mut()?).await.ok()?;
                *waiting = None;
                answer.ok()
            }
        })
        .collect();
    join_all(asked).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(page: &Bytes, line: &str) {
        let page = std::str::from_utf8(page).unwrap();
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

    fn asked(inbox: &async_channel::Receiver<ShardMessage>) -> oneshot::Sender<ShardSnapshot> {
        match inbox.try_recv() {
            Ok(ShardMessage::Metrics { answer }) => answer,
            other => panic!("no question: {}", other.is_ok()),
        }
    }

    fn with_one_shard() -> (Arc<Scraper>, async_channel::Receiver<ShardMessage>) {
        let limits = SeriesLimits { topics_max: 10, partitions_max: 10 };
        let scraper = Scraper::new(Arc::from(vec![Arc::<ShardMetrics>::default()]), Arc::default(), limits, Vec::new());
        let (inbox, questions) = async_channel::unbounded();
        scraper.shards_started(vec![inbox], Arc::default());
        (scraper, questions)
    }

    /// Lets whatever can go on do so.
    async fn settle() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn scrapes_that_were_given_up_ask_a_shard_once() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (scraper, questions) = with_one_shard();
            for _ in 0..50 {
                let scraper = scraper.clone();
                let given_up = tokio::spawn(async move { scraper.scrape(Format::Prometheus).await });
                settle().await;
                given_up.abort();
            }
            assert_eq!(questions.len(), 1);
            // Nor does one whose patience has ended ask again.
            has(&scraper.scrape(Format::Prometheus).await, "ringlog_scrape_late_shards 1");
            has(&scraper.scrape(Format::OpenMetrics).await, "ringlog_scrape_late_shards 1");
            assert_eq!(questions.len(), 1);
        });
    }

    #[test]
    fn whoever_asks_while_a_page_is_gathered_shares_the_next_one() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (scraper, questions) = with_one_shard();
            let scrape = || {
                let scraper = scraper.clone();
                tokio::spawn(async move { scraper.scrape(Format::Prometheus).await })
            };
            let first = scrape();
            settle().await;
            let others: Vec<_> = (0..10).map(|_| scrape()).collect();
            settle().await;
            let answer = |logs_offline| ShardSnapshot { logs_offline, ..ShardSnapshot::default() };
            assert!(asked(&questions).send(answer(1)).is_ok());
            has(&first.await.unwrap(), "ringlog_logs_offline{shard=\"0\"} 1");
            settle().await;
            assert!(asked(&questions).send(answer(2)).is_ok());
            for other in others {
                has(&other.await.unwrap(), "ringlog_logs_offline{shard=\"0\"} 2");
            }
            assert!(questions.is_empty(), "two pages, two questions");
        });
    }
}
