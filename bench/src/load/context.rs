//! What all threads of a run share, and how they are set up.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity, set_current_timer_slack};

use crate::interrupt::{CHECK_INTERVAL, Interrupt, Interrupted};
use crate::load::batch::BatchTemplate;
use crate::load::clock::{Clock, nanoseconds};
use crate::load::error::LoadError;
use crate::load::fetch_request::TopicKey;
use crate::load::leaders::Leaders;
use crate::load::produce_request::ProduceRequests;
use crate::load::workload::Workload;

/// How long an answer may take, and how long nothing may come while something must.
pub(super) const ANSWER_SECONDS_MAX: u64 = 60;
/// By how much the kernel may be late with a wake-up, in nanoseconds; 50,000 unless asked otherwise.
const TIMER_SLACK_NS: NonZeroU64 = NonZeroU64::new(1_000).expect("not zero");

/// A partition of a topic by one number: topic by topic, partition by partition.
pub(super) type Slot = usize;

/// What all threads of a run share.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) leaders: Leaders,
    pub(super) workload: &'a Workload,
    pub(super) template: BatchTemplate,
    pub(super) topics: Vec<TopicKey>,
    /// By topic.
    pub(super) requests: Vec<ProduceRequests>,
    pub(super) fetch_version: i16,
    /// By slot, where this run begins.
    pub(super) start_offsets: Vec<i64>,
    pub(super) run: u32,
    pub(super) clock: Clock,
    pub(super) verify_full: bool,
    pub(super) pin: bool,
    pub(super) interrupt: Interrupt,
    /// Set by a thread that fails, so that the others stop.
    pub(super) failed: AtomicBool,
}

impl Context<'_> {
    pub(super) fn slot(&self, topic: usize, partition: i32) -> Slot {
        topic * self.workload.partitions as usize + partition as usize
    }

    /// Name of the topic, and number of the partition.
    pub(super) fn place(&self, slot: Slot) -> (String, i32) {
        let partitions = self.workload.partitions as usize;
        (self.topics[slot / partitions].name.clone(), (slot % partitions) as i32)
    }

    /// The longest that a thread may wait without a look at [`Context::check`].
    pub(super) fn check_interval_ns() -> u64 {
        nanoseconds(CHECK_INTERVAL)
    }

    /// `Err` when a thread has to stop, for whatever reason.
    pub(super) fn check(&self) -> Result<(), Interrupted> {
        if self.failed.load(Ordering::Relaxed) { Err(Interrupted) } else { self.interrupt.check() }
    }

    /// Tells all threads to stop.
    pub(super) fn stop(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Runs a thread's work, and tells the others if it fails.
    pub(super) fn run_thread<T>(
        &self,
        number: usize,
        work: impl FnOnce() -> Result<T, LoadError>,
    ) -> Result<T, LoadError> {
        let result = self.set_up_thread(number).and_then(|()| work());
        if result.is_err() {
            self.stop();
        }
        result
    }

    fn set_up_thread(&self, number: usize) -> Result<(), LoadError> {
        let system_error = |action| move |errno: rustix::io::Errno| LoadError::System { action, source: errno.into() };
        set_current_timer_slack(Some(TIMER_SLACK_NS)).map_err(system_error("setting the timer slack"))?;
        if self.pin {
            let allowed = sched_getaffinity(None).map_err(system_error("asking for allowed cores"))?;
            let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
            let mut own = CpuSet::new();
            own.set(cores[number % cores.len()]);
            sched_setaffinity(None, &own).map_err(system_error("pinning a thread"))?;
        }
        Ok(())
    }
}
