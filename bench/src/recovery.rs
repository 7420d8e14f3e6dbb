//! `ringlog-bench recovery`: how long a broker with much data takes until it serves again, after a crash of its process
//! and after a stop in order.
//!
//! The topic is filled once; then, round by round: some more is written, the process is killed, and a new one started on
//! the same directory; after that it is stopped in order and started again. Before each start the broker's files are
//! taken out of the page cache, so that recovery reads the disk. "Serving" is when every partition tells its log end
//! offset, which must be exactly what was acknowledged: fewer records were lost, more were never sent.

use std::time::Duration;

use serde::Serialize;

use crate::broker::{Broker, BrokerError, Home, Programs, READY_TIME_MAX, Side};
use crate::fill::{FillError, FillPlan, fill};
use crate::interrupt::{Interrupt, Interrupted};
use crate::procfs::{ProcfsError, peak_rss_bytes};
use crate::report::{Table, head, number, spread};
use crate::setting::Setting;
use crate::stats::Spread;
use crate::work_dir::{WorkDir, WorkDirError};

const TOPIC: &str = "recovery";
const TOPIC_TIME_MAX: Duration = Duration::from_secs(120);
/// Bytes written before each kill: a log that was not written to since its last start may have nothing to recover.
const ROUND_BYTES: u64 = 64 << 20;

/// What to do.
#[derive(Clone, Debug)]
pub struct RecoveryPlan {
    pub sides: Vec<Side>,
    pub rounds: u32,
    /// How the topic is filled; its `topic` and `bytes` are set here.
    pub fill: FillPlan,
}

impl RecoveryPlan {
    #[must_use]
    pub fn new(
        sides: Vec<Side>,
        rounds: u32,
        bytes: u64,
        partitions: i32,
        record_bytes: usize,
        batch_bytes: usize,
    ) -> Self {
        let fill = FillPlan { topic: TOPIC.to_owned(), partitions, bytes, record_bytes, batch_bytes };
        RecoveryPlan { sides, rounds, fill }
    }

    /// Bytes on disk that one side may take.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        let written = self.fill.bytes + u64::from(self.rounds) * ROUND_BYTES;
        // Frames, indexes, and space that a broker writes ahead of its logs' ends.
        written + written / 8 + (1 << 30)
    }
}

/// What was measured of one side. Times are in seconds.
#[derive(Clone, Debug, Serialize)]
pub struct RecoveryRun {
    pub side: Side,
    /// Bytes of record batches in the log after the first filling.
    pub filled_bytes: u64,
    pub fill_mib_per_s: f64,
    pub after_kill: Vec<Restart>,
    pub after_stop: Vec<Restart>,
    /// How long each stop in order took.
    pub stop_s: Vec<f64>,
}

/// One start on a directory with data.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Restart {
    /// Until the first answer to ApiVersions.
    pub answers_s: f64,
    /// Until every partition told its log end offset.
    pub serves_s: f64,
    /// Most memory until then.
    pub peak_rss_bytes: u64,
}

/// Why a measurement failed.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    #[error("{side}: {source}")]
    Broker { side: &'static str, source: BrokerError },
    #[error("{side}: {source}")]
    Fill { side: &'static str, source: FillError },
    #[error(
        "{side}, {topic} partition {partition} after {event}: the log ends at {found}, yet {expected} were acknowledged"
    )]
    WrongEnd {
        side: &'static str,
        topic: &'static str,
        partition: usize,
        event: &'static str,
        expected: i64,
        found: i64,
    },
    #[error(transparent)]
    Procfs(#[from] ProcfsError),
    #[error(transparent)]
    WorkDir(#[from] WorkDirError),
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// Measures each side in turn, and tells progress on standard error.
pub fn run(
    plan: &RecoveryPlan,
    programs: &Programs,
    work: &WorkDir,
    interrupt: &Interrupt,
) -> Result<Vec<RecoveryRun>, RecoveryError> {
    let one = |side: &Side| Run { plan, side: *side, programs, work, interrupt }.all();
    plan.sides.iter().map(one).collect()
}

struct Run<'a> {
    plan: &'a RecoveryPlan,
    side: Side,
    programs: &'a Programs,
    work: &'a WorkDir,
    interrupt: &'a Interrupt,
}

impl Run<'_> {
    fn all(&self) -> Result<RecoveryRun, RecoveryError> {
        let Run { plan, side, programs, interrupt, .. } = *self;
        let title = side.title();
        let dir = self.work.fresh(&format!("{}-recovery", side.slug()))?;
        let home = Home::prepare(side, programs, &dir, interrupt).map_err(self.failed())?;
        let mut broker = home.start(programs, interrupt).map_err(self.failed())?;
        let mut connection = broker.connect(interrupt).map_err(self.failed())?;
        let created = connection.create_topic(TOPIC, plan.fill.partitions, TOPIC_TIME_MAX);
        created.map_err(BrokerError::from).map_err(self.failed())?;
        drop(connection);

        let mut ends = vec![0; plan.fill.partitions as usize];
        let (filled_bytes, elapsed) = self.write(&broker, plan.fill.bytes, &mut ends)?;
        let fill_mib_per_s = filled_bytes as f64 / f64::from(1 << 20) / elapsed.as_secs_f64();
        eprintln!("{title}: wrote {:.1} GiB at {fill_mib_per_s:.0} MiB/s", filled_bytes as f64 / f64::from(1 << 30));
        let (mut after_kill, mut after_stop, mut stop_s) = (Vec::new(), Vec::new(), Vec::new());
        for round in 1..=plan.rounds {
            self.write(&broker, ROUND_BYTES, &mut ends)?;
            broker.kill().map_err(self.failed())?;
            let restarted = self.restart(&home, &ends, "kill -9")?;
            broker = restarted.0;
            after_kill.push(restarted.1);
            stop_s.push(broker.stop(interrupt).map_err(self.failed())?.as_secs_f64());
            let (killed, stopped) = (restarted.1, self.restart(&home, &ends, "a clean stop")?);
            broker = stopped.0;
            after_stop.push(stopped.1);
            let (killed_s, stopped_s) = (killed.serves_s, stopped.1.serves_s);
            eprintln!(
                "{title}, round {round}: serves {killed_s:.2} s after kill -9, {stopped_s:.2} s after a clean stop"
            );
        }
        broker.stop(interrupt).map_err(self.failed())?;
        self.work.discard(&dir)?;
        Ok(RecoveryRun { side, filled_bytes, fill_mib_per_s, after_kill, after_stop, stop_s })
    }

    /// Adds data to the topic, whose log ends it advances; returns bytes and time.
    fn write(&self, broker: &Broker, bytes: u64, ends: &mut [i64]) -> Result<(u64, Duration), RecoveryError> {
        let plan = FillPlan { bytes, ..self.plan.fill.clone() };
        let filled = fill(broker.address(), &plan, ends, self.interrupt)
            .map_err(|source| RecoveryError::Fill { side: self.side.title(), source })?;
        for (end, records) in ends.iter_mut().zip(&filled.records) {
            *end += records;
        }
        Ok((filled.bytes, filled.elapsed))
    }

    fn restart(&self, home: &Home, ends: &[i64], event: &'static str) -> Result<(Broker, Restart), RecoveryError> {
        self.work.evict_from_page_cache(&home.data_dir())?;
        let broker = home.start(self.programs, self.interrupt).map_err(self.failed())?;
        let mut connection = broker.connect(self.interrupt).map_err(self.failed())?;
        let found = connection.wait_for_end_offsets(TOPIC, ends.len() as i32, READY_TIME_MAX);
        let serves_s = broker.age().as_secs_f64();
        let found = found.map_err(BrokerError::from).map_err(self.failed())?;
        check_ends(self.side, event, ends, &found)?;
        let peak_rss_bytes = peak_rss_bytes(broker.pid())?;
        let answers_s = broker.start_time().as_secs_f64();
        Ok((broker, Restart { answers_s, serves_s, peak_rss_bytes }))
    }

    fn failed(&self) -> impl Fn(BrokerError) -> RecoveryError + use<> {
        let side = self.side.title();
        move |source| RecoveryError::Broker { side, source }
    }
}

fn check_ends(side: Side, event: &'static str, expected: &[i64], found: &[i64]) -> Result<(), RecoveryError> {
    for (partition, (&expected, &found)) in expected.iter().zip(found).enumerate() {
        if expected != found {
            let (side, topic) = (side.title(), TOPIC);
            return Err(RecoveryError::WrongEnd { side, topic, partition, event, expected, found });
        }
    }
    Ok(())
}

/// Everything, for JSON.
#[derive(Serialize)]
pub struct RecoveryReport<'a> {
    pub setting: &'a Setting,
    pub partitions: i32,
    pub record_bytes: usize,
    pub batch_bytes: usize,
    pub runs: &'a [RecoveryRun],
}

impl RecoveryReport<'_> {
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut text = head("Recovery", self.setting);
        text.push_str(&format!(
            "{} partition(s), batches of up to {} bytes, records of {} bytes, files out of the page cache before each start; \
             every log ended exactly where the acknowledgements did. Seconds from the start of the process until every \
             partition serves: median (least–most).\n\n",
            self.partitions, self.batch_bytes, self.record_bytes,
        ));
        let mut table = Table::new([
            "",
            "data, GiB",
            "filled at, MiB/s",
            "serves after kill -9, s",
            "serves after clean stop, s",
            "clean stop takes, s",
            "peak memory in recovery, MiB",
        ]);
        for run in self.runs {
            let serves = |restarts: &[Restart]| spread(Spread::of(restarts.iter().map(|restart| restart.serves_s)));
            let memory = run.after_kill.iter().map(|restart| restart.peak_rss_bytes as f64 / f64::from(1 << 20));
            table.row([
                run.side.title().to_owned(),
                number(run.filled_bytes as f64 / f64::from(1 << 30)),
                number(run.fill_mib_per_s),
                serves(&run.after_kill),
                serves(&run.after_stop),
                spread(Spread::of(run.stop_s.iter().copied())),
                spread(Spread::of(memory)),
            ]);
        }
        text.push_str(&table.to_markdown());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_and_surplus_records_are_failures_that_name_the_partition() {
        check_ends(Side::Kafka, "kill -9", &[3, 4], &[3, 4]).unwrap();
        for found in [3, 5] {
            let error = check_ends(Side::Kafka, "kill -9", &[3, 4], &[3, found]).unwrap_err().to_string();
            assert!(error.contains("partition 1 after kill -9") && error.contains(&format!("at {found}")), "{error}");
        }
    }

    #[test]
    fn the_disk_needed_grows_with_rounds() {
        let plan = |rounds| RecoveryPlan::new(vec![Side::Kafka], rounds, 10 << 30, 16, 1024, 65536).disk_bytes();
        assert!(plan(1) > 11 << 30);
        assert!(plan(30) >= plan(1) + 29 * ROUND_BYTES);
    }
}
