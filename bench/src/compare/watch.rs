//! What the brokers of a side use while a run is measured: CPU time of their processes, disk and loopback device.

use std::time::Instant;

use crate::load::outcome::{Live, Phase};
use crate::procfs::{ProcfsError, cpu_seconds, disk_bytes_written, loopback_bytes};

/// Watches brokers, and looks at them only while a run is measured.
///
/// The first and the last look are as far apart as the observer is called in that phase, a fraction of a second short of
/// the measured time: so what is told is use per time, not use.
#[derive(Debug)]
pub struct Watch {
    /// The first is the one that leads where one does.
    pids: Vec<u32>,
    first: Option<Reading>,
    last: Option<Reading>,
    error: Option<ProcfsError>,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Instant,
    cpu_seconds: f64,
    first_cpu_seconds: f64,
    disk_bytes: u64,
    loopback_bytes: u64,
}

/// Use per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// Cores that all brokers together kept busy on average.
    pub cores: f64,
    /// Cores that the first did.
    pub first_cores: f64,
    /// What the brokers' processes had written to disk.
    pub disk_bytes: f64,
    /// What went over the loopback device, whoever sent it.
    pub loopback_bytes: f64,
}

impl Watch {
    #[must_use]
    pub fn new(pids: Vec<u32>) -> Watch {
        Watch { pids, first: None, last: None, error: None }
    }

    pub fn observe(&mut self, live: &Live) {
        if live.phase == Phase::Measuring && self.error.is_none() {
            match read(&self.pids) {
                Ok(reading) => self.add(reading),
                Err(error) => self.error = Some(error),
            }
        }
    }

    fn add(&mut self, reading: Reading) {
        self.first.get_or_insert(reading);
        self.last = Some(reading);
    }

    /// `None` if the phase was too short to tell.
    pub fn usage(self) -> Result<Option<Usage>, ProcfsError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let (Some(first), Some(last)) = (self.first, self.last) else { return Ok(None) };
        let seconds = last.at.duration_since(first.at).as_secs_f64();
        let bytes = |from: u64, to: u64| to.saturating_sub(from) as f64 / seconds;
        Ok((seconds > 0.0).then(|| Usage {
            cores: (last.cpu_seconds - first.cpu_seconds) / seconds,
            first_cores: (last.first_cpu_seconds - first.first_cpu_seconds) / seconds,
            disk_bytes: bytes(first.disk_bytes, last.disk_bytes),
            loopback_bytes: bytes(first.loopback_bytes, last.loopback_bytes),
        }))
    }
}

fn read(pids: &[u32]) -> Result<Reading, ProcfsError> {
    let at = Instant::now();
    let (mut cpu, mut first_cpu, mut disk_bytes) = (0.0, 0.0, 0);
    for (number, pid) in pids.iter().enumerate() {
        let seconds = cpu_seconds(*pid)?;
        cpu += seconds;
        if number == 0 {
            first_cpu = seconds;
        }
        disk_bytes += disk_bytes_written(*pid)?;
    }
    let loopback_bytes = loopback_bytes()?;
    Ok(Reading { at, cpu_seconds: cpu, first_cpu_seconds: first_cpu, disk_bytes, loopback_bytes })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn use_is_per_second_between_the_first_and_the_last_look() {
        let start = Instant::now();
        let reading = |ms, cpu_seconds, bytes| Reading {
            at: start + Duration::from_millis(ms),
            cpu_seconds,
            first_cpu_seconds: cpu_seconds / 4.0,
            disk_bytes: bytes,
            loopback_bytes: 10 * bytes,
        };
        let mut watch = Watch::new(vec![std::process::id()]);
        watch.add(reading(0, 10.0, 100));
        watch.add(reading(1000, 10.7, 7000));
        watch.add(reading(2000, 11.0, 900));
        let expected = Usage { cores: 0.5, first_cores: 0.125, disk_bytes: 400.0, loopback_bytes: 4000.0 };
        assert_eq!(watch.usage().unwrap(), Some(expected));
    }

    #[test]
    fn processes_are_watched_in_the_measured_phase_alone_and_added_up() {
        let live = |phase| Live { phase, done: 0.0, records_per_second: 0.0, bytes_per_second: 0.0, p99: None };
        let us = std::process::id();
        let mut watch = Watch::new(vec![us, us, us]);
        watch.observe(&live(Phase::WarmUp));
        watch.observe(&live(Phase::Verifying));
        assert!(watch.first.is_none());
        let busy = Instant::now();
        while busy.elapsed().as_millis() < 50 {
            std::hint::black_box(0);
        }
        watch.observe(&live(Phase::Measuring));
        let reading = watch.first.unwrap();
        let times = reading.cpu_seconds / reading.first_cpu_seconds;
        assert!((2.5..3.5).contains(&times), "{reading:?}");

        let mut gone = Watch::new(vec![us, u32::MAX]);
        gone.observe(&live(Phase::Measuring));
        assert!(gone.usage().unwrap_err().to_string().contains("/proc/4294967295/stat"));
    }
}
