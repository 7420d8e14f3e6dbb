//! `ringlog-bench idle`: what a broker costs while nobody uses it, and how long it takes to start.
//!
//! Each side is first started several times on a fresh directory. Then one broker is watched twice: with no topic, and
//! with many partitions that nothing is written to. Before each watching there is a pause, so that work left over from
//! starting or creating is not taken for idling.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::broker::{Broker, BrokerError, Home, Programs, Side};
use crate::interrupt::{Interrupt, Interrupted};
use crate::procfs::{ProcfsError, ThreadCpu, peak_rss_bytes, rss_bytes, thread_cpu};
use crate::report::{Table, head, number, spread};
use crate::setting::Setting;
use crate::stats::Spread;
use crate::work_dir::{WorkDir, WorkDirError, disk_bytes};

/// How long the creation of the idle partitions may take.
const TOPIC_TIME_MAX: Duration = Duration::from_secs(300);
/// What Ringlog's shards call their threads, a number following.
const SHARD_THREAD_PREFIX: &str = "shard-";
/// Threads below this many percent of a core are not listed one by one.
const LISTED_PERCENT_MIN: f64 = 0.01;

/// What to do.
#[derive(Clone, Debug)]
pub struct IdlePlan {
    pub sides: Vec<Side>,
    pub starts: u32,
    /// The pause before each watching.
    pub settle: Duration,
    /// How long to watch.
    pub watch: Duration,
    pub partitions: i32,
}

/// What was seen of one side.
#[derive(Clone, Debug, Serialize)]
pub struct IdleRun {
    pub side: Side,
    /// From the spawn to the first answer on an empty directory, in milliseconds.
    pub start_ms: Vec<f64>,
    pub watches: Vec<Watch>,
}

/// A broker watched while it had nothing to do.
#[derive(Clone, Debug, Serialize)]
pub struct Watch {
    pub partitions: i32,
    pub seconds: f64,
    /// Of one core, over all threads.
    pub cpu_percent: f64,
    /// By the name of the thread, those that used any worth naming.
    pub thread_cpu_percent: Vec<(String, f64)>,
    /// Of the busiest shard, where there are threads that are shards.
    pub shard_cpu_percent_max: Option<f64>,
    pub shards: usize,
    pub rss_bytes: u64,
    pub peak_rss_bytes: u64,
    pub disk_bytes: u64,
}

/// Why watching failed.
#[derive(Debug, thiserror::Error)]
pub enum IdleError {
    #[error("{side}: {source}")]
    Broker { side: &'static str, source: BrokerError },
    #[error(transparent)]
    Procfs(#[from] ProcfsError),
    #[error(transparent)]
    WorkDir(#[from] WorkDirError),
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// Watches each side in turn, and tells progress on standard error.
pub fn run(
    plan: &IdlePlan,
    programs: &Programs,
    work: &WorkDir,
    interrupt: &Interrupt,
) -> Result<Vec<IdleRun>, IdleError> {
    plan.sides.iter().map(|side| run_side(plan, *side, programs, work, interrupt)).collect()
}

fn run_side(
    plan: &IdlePlan,
    side: Side,
    programs: &Programs,
    work: &WorkDir,
    interrupt: &Interrupt,
) -> Result<IdleRun, IdleError> {
    let title = side.title();
    let failed = |source| IdleError::Broker { side: title, source };
    let mut start_ms = Vec::new();
    for start in 1..=plan.starts {
        let dir = work.fresh(&format!("{}-start-{start}", side.slug()))?;
        work.settle()?;
        let home = Home::prepare(side, programs, &dir, interrupt).map_err(failed)?;
        let broker = home.start(programs, interrupt).map_err(failed)?;
        start_ms.push(broker.start_time().as_secs_f64() * 1e3);
        broker.stop(interrupt).map_err(failed)?;
        work.discard(&dir)?;
    }
    eprintln!("{title}: answers after {} ms", spread(Spread::of(start_ms.iter().copied())));

    let dir = work.fresh(&format!("{}-idle", side.slug()))?;
    let home = Home::prepare(side, programs, &dir, interrupt).map_err(failed)?;
    let broker = home.start(programs, interrupt).map_err(failed)?;
    let watch = |partitions| -> Result<Watch, IdleError> {
        interrupt.sleep(plan.settle)?;
        let mut watch = watch(&broker, plan.watch, interrupt)?;
        watch.partitions = partitions;
        watch.disk_bytes = disk_bytes(&home.data_dir())?;
        let (cpu, rss) = (number(watch.cpu_percent), number(mib(watch.rss_bytes)));
        eprintln!("{title}, {partitions} partitions: {cpu} % of a core, {rss} MiB");
        Ok(watch)
    };
    let mut watches = vec![watch(0)?];
    let mut connection = broker.connect(interrupt).map_err(failed)?;
    let created = connection.create_topic("idle", plan.partitions, TOPIC_TIME_MAX);
    created.map_err(BrokerError::from).map_err(failed)?;
    drop(connection);
    watches.push(watch(plan.partitions)?);
    broker.stop(interrupt).map_err(failed)?;
    work.discard(&dir)?;
    Ok(IdleRun { side, start_ms, watches })
}

fn watch(broker: &Broker, duration: Duration, interrupt: &Interrupt) -> Result<Watch, IdleError> {
    let before = thread_cpu(broker.pid())?;
    let started = Instant::now();
    interrupt.sleep(duration)?;
    let after = thread_cpu(broker.pid())?;
    let seconds = started.elapsed().as_secs_f64();
    let threads = percent_by_thread(&before, &after, seconds);
    let shards = percent_by_shard(&threads);
    Ok(Watch {
        partitions: 0,
        seconds,
        cpu_percent: threads.iter().map(|(_, percent)| percent).sum(),
        shard_cpu_percent_max: Spread::of(shards.values().copied()).map(|spread| spread.max),
        shards: shards.len(),
        thread_cpu_percent: threads.into_iter().filter(|(_, percent)| *percent >= LISTED_PERCENT_MIN).collect(),
        rss_bytes: rss_bytes(broker.pid())?,
        peak_rss_bytes: peak_rss_bytes(broker.pid())?,
        disk_bytes: 0,
    })
}

/// What each shard used, by its number. A runtime may add numbers of its own to the name, as in "shard-0-1".
fn percent_by_shard(threads: &[(String, f64)]) -> BTreeMap<u32, f64> {
    let mut shards = BTreeMap::new();
    for (name, percent) in threads {
        let Some(numbers) = name.strip_prefix(SHARD_THREAD_PREFIX) else { continue };
        let mut numbers = numbers.split('-').map(str::parse::<u32>);
        if let (Some(Ok(shard)), true) = (numbers.next(), numbers.all(|number| number.is_ok())) {
            *shards.entry(shard).or_insert(0.0) += percent;
        }
    }
    shards
}

/// What each thread that is alive at the end used of a core meanwhile, busiest first.
fn percent_by_thread(
    before: &BTreeMap<u32, ThreadCpu>,
    after: &BTreeMap<u32, ThreadCpu>,
    seconds: f64,
) -> Vec<(String, f64)> {
    let mut threads: Vec<_> = after
        .iter()
        .map(|(id, thread)| {
            let used = thread.nanoseconds.saturating_sub(before.get(id).map_or(0, |before| before.nanoseconds));
            (thread.name.clone(), used as f64 / 1e9 / seconds * 100.0)
        })
        .collect();
    threads.sort_by(|a, b| b.1.total_cmp(&a.1));
    threads
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Everything, for JSON.
#[derive(Serialize)]
pub struct IdleReport<'a> {
    pub setting: &'a Setting,
    pub runs: &'a [IdleRun],
}

impl IdleReport<'_> {
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut text = head("Idle brokers", self.setting);
        let mut starts = Table::new(["", "start to first answer (empty directory), ms", "starts"]);
        let mut idle = Table::new([
            "",
            "partitions",
            "CPU, % of a core",
            "busiest shard, %",
            "shards",
            "memory, MiB",
            "peak memory, MiB",
            "disk, MiB",
        ]);
        for run in self.runs {
            let title = run.side.title().to_owned();
            let spread = spread(Spread::of(run.start_ms.iter().copied()));
            starts.row([title.clone(), spread, run.start_ms.len().to_string()]);
            for watch in &run.watches {
                let shard = watch.shard_cpu_percent_max.map_or_else(|| "-".to_owned(), number);
                let shards = if watch.shards == 0 { "-".to_owned() } else { watch.shards.to_string() };
                idle.row([
                    title.clone(),
                    watch.partitions.to_string(),
                    number(watch.cpu_percent),
                    shard,
                    shards,
                    number(mib(watch.rss_bytes)),
                    number(mib(watch.peak_rss_bytes)),
                    number(mib(watch.disk_bytes)),
                ]);
            }
        }
        text.push_str(&starts.to_markdown());
        text.push('\n');
        text.push_str(&idle.to_markdown());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threads(of: &[(u32, &str, u64)]) -> BTreeMap<u32, ThreadCpu> {
        of.iter().map(|(id, name, ns)| (*id, ThreadCpu { name: (*name).to_owned(), nanoseconds: *ns })).collect()
    }

    #[test]
    fn cpu_is_what_was_used_between_the_two_readings() {
        let before = threads(&[(1, "main", 500), (2, "shard-0", 1_000_000_000), (3, "gone", 5)]);
        let after = threads(&[(1, "main", 500), (2, "shard-0", 1_100_000_000), (4, "new", 20_000_000)]);
        let percent = percent_by_thread(&before, &after, 2.0);
        let names: Vec<_> = percent.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["shard-0", "new", "main"]);
        assert!((percent[0].1 - 5.0).abs() < 1e-9 && (percent[1].1 - 1.0).abs() < 1e-9, "{percent:?}");
    }

    #[test]
    fn shards_are_told_from_other_threads_and_added_up() {
        let threads = [("shard-0-1", 1.0), ("shard-12", 2.0), ("shard-0-7", 0.5), ("shard-x", 4.0), ("acceptor", 8.0)];
        let threads: Vec<_> = threads.iter().map(|(name, percent)| ((*name).to_owned(), *percent)).collect();
        assert_eq!(percent_by_shard(&threads), BTreeMap::from([(0, 1.5), (12, 2.0)]));
    }
}
