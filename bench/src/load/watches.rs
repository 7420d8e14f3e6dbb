//! What is read off at the beginning and at the end of the measured time.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::load::error::LoadError;
use crate::load::recorder::Window;
use crate::load::set_up::Ground;
use crate::load::workload::{Acks, Workload};

/// Our own CPU time, and without acknowledgements the length of the logs.
#[derive(Clone, Debug)]
pub(super) struct Watches {
    window: Window,
    counts_logs: bool,
    at_start: Option<Reading>,
    at_end: Option<Reading>,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    cpu: Duration,
    /// Sum of all end offsets, and when it was had.
    log_end: Option<(i64, std::time::Instant)>,
}

impl Watches {
    pub(super) fn new(window: Window, workload: &Workload) -> Watches {
        let counts_logs = workload.acks == Acks::None && !workload.drain;
        Watches { window, counts_logs, at_start: None, at_end: None }
    }

    /// To be called often.
    pub(super) fn look(&mut self, now_ns: u64, ground: &mut Ground) -> Result<(), LoadError> {
        if now_ns >= self.window.start_ns && self.at_start.is_none() {
            self.at_start = Some(self.reading(ground)?);
        }
        if now_ns >= self.window.end_ns { self.end(ground) } else { Ok(()) }
    }

    /// Nothing more is sent: the measured time is over, if it was not yet, unless the logs are still to follow.
    pub(super) fn end_of_sending(&mut self, ground: &mut Ground) -> Result<(), LoadError> {
        if self.counts_logs && self.window.end_ns == u64::MAX { Ok(()) } else { self.end(ground) }
    }

    /// The measured time is over, if it was not yet.
    pub(super) fn end(&mut self, ground: &mut Ground) -> Result<(), LoadError> {
        if self.at_end.is_none() {
            self.at_end = Some(self.reading(ground)?);
        }
        Ok(())
    }

    fn reading(&self, ground: &mut Ground) -> Result<Reading, LoadError> {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu = Duration::new(cpu.tv_sec.unsigned_abs(), cpu.tv_nsec as u32);
        let log_end = match self.counts_logs {
            true => Some((ground.end_offsets()?.iter().sum(), std::time::Instant::now())),
            false => None,
        };
        Ok(Reading { cpu, log_end })
    }

    /// CPU time of this process in the measured time.
    pub(super) fn cpu(&self) -> Duration {
        match (self.at_start, self.at_end) {
            (Some(start), Some(end)) => end.cpu.saturating_sub(start.cpu),
            _ => Duration::ZERO,
        }
    }

    /// Records by which the logs became longer in the measured time, and its length; only without acknowledgements.
    pub(super) fn appended(&self) -> Option<(u64, Duration)> {
        let ((start, since), (end, until)) = (self.at_start?.log_end?, self.at_end?.log_end?);
        Some((u64::try_from(end - start).unwrap_or(0), until - since))
    }
}
