//! Counts and latencies of one role as one thread sees it.
//!
//! Every sample counts in the interval in which it ended, and its latency in that in which it began at a fixed rate, when
//! beginnings are what the schedule gives, or ended otherwise. At a fixed rate the samples are those that began in the
//! measured time, however late they end: a stall at the end is not cut off. At the greatest rate they are those that ended
//! in it, so that rates are right.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::load::outcome::{INTERVAL_LATENCY_DIGITS, Interval, LATENCY_MAX_NS, LATENCY_MIN_NS, Measure};

/// Nanoseconds of an interval of a run that is not long.
const INTERVAL_NS: u64 = 1_000_000_000;
/// Intervals at most; from then on two become one, so that memory stays bounded: each takes 9 KiB with latencies up to
/// 33 ms, 22 KiB at most.
const INTERVALS_MAX: usize = 1024;
/// How often what is shown while the run goes on is handed over.
const LIVE_INTERVAL_NS: u64 = 200_000_000;

/// The measured time on the run's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) start_ns: u64,
    /// `u64::MAX` where something else ends the run.
    pub(super) end_ns: u64,
}

/// Which end of a sample says when it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attribution {
    Begin,
    End,
}

/// One thing that took time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) begin_ns: u64,
    pub(super) end_ns: u64,
    pub(super) requests: u64,
    pub(super) batches: u64,
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// Whether the time between is a latency.
    pub(super) timed: bool,
}

/// What is shown while the run goes on.
#[derive(Clone, Debug)]
pub(super) struct LiveCounts {
    pub(super) records: u64,
    pub(super) bytes: u64,
    pub(super) latency: Histogram<u64>,
}

impl LiveCounts {
    pub(super) fn new() -> LiveCounts {
        let latency = Histogram::new_with_bounds(LATENCY_MIN_NS, LATENCY_MAX_NS, INTERVAL_LATENCY_DIGITS);
        LiveCounts { records: 0, bytes: 0, latency: latency.expect("the bounds are constants") }
    }

    pub(super) fn add(&mut self, other: &LiveCounts) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.latency.add(&other.latency).expect("all have the same bounds");
    }

    pub(super) fn clear(&mut self) {
        self.records = 0;
        self.bytes = 0;
        self.latency.reset();
    }
}

/// Where the threads of a role put what is to be shown.
pub(super) type LiveShare = Arc<Mutex<LiveCounts>>;

/// Records samples.
#[derive(Debug)]
pub(super) struct Recorder {
    window: Window,
    attribution: Attribution,
    total: Measure,
    interval_ns: u64,
    intervals: Vec<Measure>,
    last_end_ns: u64,
    live: LiveCounts,
    live_share: LiveShare,
    live_given_ns: u64,
}

impl Recorder {
    pub(super) fn new(window: Window, attribution: Attribution, live_share: LiveShare) -> Recorder {
        Recorder {
            window,
            attribution,
            total: Measure::new(),
            interval_ns: INTERVAL_NS,
            intervals: Vec::new(),
            last_end_ns: window.start_ns,
            live: LiveCounts::new(),
            live_share,
            live_given_ns: 0,
        }
    }

    pub(super) fn record(&mut self, sample: &Sample) {
        let latency = sample.end_ns.saturating_sub(sample.begin_ns).clamp(LATENCY_MIN_NS, LATENCY_MAX_NS);
        self.live.records += sample.records;
        self.live.bytes += sample.bytes;
        if sample.timed {
            self.live.latency.saturating_record(latency);
        }
        let at_ns = match self.attribution {
            Attribution::Begin => sample.begin_ns,
            Attribution::End => sample.end_ns,
        };
        if at_ns < self.window.start_ns || at_ns >= self.window.end_ns {
            return;
        }
        self.last_end_ns = self.last_end_ns.max(sample.end_ns);
        count(&mut self.total, sample);
        count(self.interval(sample.end_ns), sample);
        if sample.timed {
            const WITHIN: &str = "latencies are cut to what the histograms tell apart";
            self.total.latency.record(latency).expect(WITHIN);
            self.interval(at_ns).latency.record(latency).expect(WITHIN);
        }
    }

    /// Hands over what is shown, now and then.
    pub(super) fn share(&mut self, now_ns: u64) {
        if now_ns < self.live_given_ns + LIVE_INTERVAL_NS {
            return;
        }
        self.live_given_ns = now_ns;
        self.live_share.lock().unwrap_or_else(std::sync::PoisonError::into_inner).add(&self.live);
        self.live.clear();
    }

    fn interval(&mut self, at_ns: u64) -> &mut Measure {
        let since = at_ns.saturating_sub(self.window.start_ns);
        let mut number = (since / self.interval_ns) as usize;
        while number >= INTERVALS_MAX {
            self.halve();
            number = (since / self.interval_ns) as usize;
        }
        if number >= self.intervals.len() {
            self.intervals.resize_with(number + 1, small_measure);
        }
        &mut self.intervals[number]
    }

    /// Makes one interval of each two.
    fn halve(&mut self) {
        self.interval_ns *= 2;
        let mut merged: Vec<Measure> = Vec::with_capacity(INTERVALS_MAX);
        for (number, measure) in std::mem::take(&mut self.intervals).into_iter().enumerate() {
            match merged.last_mut() {
                Some(last) if number % 2 == 1 => last.add(&measure),
                _ => merged.push(measure),
            }
        }
        self.intervals = merged;
    }

    /// What all threads of a role have recorded, and the end of its last sample.
    pub(super) fn merge(recorders: Vec<Recorder>) -> Recorded {
        let interval_ns = recorders.iter().map(|recorder| recorder.interval_ns).max().unwrap_or(INTERVAL_NS);
        let mut recorded = Recorded { total: Measure::new(), intervals: Vec::new(), last_end_ns: 0 };
        let mut merged: Vec<Measure> = Vec::new();
        for mut recorder in recorders {
            while recorder.interval_ns < interval_ns {
                recorder.halve();
            }
            recorded.total.add(&recorder.total);
            recorded.last_end_ns = recorded.last_end_ns.max(recorder.last_end_ns);
            for (number, measure) in recorder.intervals.into_iter().enumerate() {
                match merged.get_mut(number) {
                    Some(existing) => existing.add(&measure),
                    None => merged.push(measure),
                }
            }
        }
        let length = Duration::from_nanos(interval_ns);
        let intervals = merged.into_iter().enumerate();
        recorded.intervals =
            intervals.map(|(number, measure)| Interval { start: length * number as u32, length, measure }).collect();
        recorded
    }
}

fn count(measure: &mut Measure, sample: &Sample) {
    measure.requests += sample.requests;
    measure.batches += sample.batches;
    measure.records += sample.records;
    measure.bytes += sample.bytes;
}

/// What a role's recorders come to.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) total: Measure,
    pub(super) intervals: Vec<Interval>,
    pub(super) last_end_ns: u64,
}

/// A measure whose histogram is as large as its largest latency asks for, in steps of two.
fn small_measure() -> Measure {
    let histogram = Histogram::new_with_bounds(LATENCY_MIN_NS, 2 * LATENCY_MIN_NS, INTERVAL_LATENCY_DIGITS);
    let mut latency = histogram.expect("the bounds are constants");
    latency.auto(true);
    Measure { latency, ..Measure::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn recorder(attribution: Attribution, end_ns: u64) -> Recorder {
        Recorder::new(Window { start_ns: 10 * SECOND, end_ns }, attribution, Arc::new(Mutex::new(LiveCounts::new())))
    }

    fn sample(begin_ns: u64, end_ns: u64) -> Sample {
        Sample { begin_ns, end_ns, requests: 1, batches: 2, records: 20, bytes: 100, timed: true }
    }

    #[test]
    fn at_a_fixed_rate_what_began_in_the_window_counts_however_late_it_ended() {
        let mut recorder = recorder(Attribution::Begin, 12 * SECOND);
        recorder.record(&sample(9 * SECOND, 11 * SECOND));
        recorder.record(&sample(10 * SECOND, 10 * SECOND + 5));
        recorder.record(&sample(11 * SECOND, 14 * SECOND));
        recorder.record(&sample(12 * SECOND, 13 * SECOND));
        let recorded = Recorder::merge(vec![recorder]);
        assert_eq!((recorded.total.requests, recorded.total.latency.len()), (2, 2));
        assert_eq!(recorded.last_end_ns, 14 * SECOND);
        let counts: Vec<_> = recorded.intervals.iter().map(|i| (i.measure.requests, i.measure.latency.len())).collect();
        // The late one's latency is where it should have been sent, its records are where they arrived.
        assert_eq!(counts, [(1, 1), (0, 1), (0, 0), (0, 0), (1, 0)]);
        assert!(recorded.total.latency.max() >= 3 * SECOND);
    }

    #[test]
    fn at_the_greatest_rate_what_ended_in_the_window_counts() {
        let mut recorder = recorder(Attribution::End, 12 * SECOND);
        recorder.record(&sample(9 * SECOND, 11 * SECOND));
        recorder.record(&sample(11 * SECOND, 12 * SECOND));
        let recorded = Recorder::merge(vec![recorder]);
        assert_eq!((recorded.total.requests, recorded.total.batches, recorded.total.records), (1, 2, 20));
    }

    #[test]
    fn what_is_not_timed_counts_without_a_latency() {
        let mut recorder = recorder(Attribution::End, u64::MAX);
        recorder.record(&Sample { timed: false, ..sample(11 * SECOND, 11 * SECOND) });
        let recorded = Recorder::merge(vec![recorder]);
        assert_eq!((recorded.total.requests, recorded.total.latency.len()), (1, 0));
    }

    #[test]
    fn long_runs_have_longer_intervals_instead_of_more() {
        let (mut long, mut short) = (recorder(Attribution::End, u64::MAX), recorder(Attribution::End, u64::MAX));
        for second in 0..5000 {
            let at = (10 + second) * SECOND;
            long.record(&sample(at, at + 1));
        }
        short.record(&sample(11 * SECOND, 11 * SECOND));
        let recorded = Recorder::merge(vec![short, long]);
        assert_eq!(recorded.total.requests, 5001);
        assert_eq!(recorded.intervals.len(), 5000_usize.div_ceil(8));
        assert_eq!((recorded.intervals[0].measure.requests, recorded.intervals[0].length.as_secs()), (9, 8));
        assert_eq!(recorded.intervals[1].start.as_secs(), 8);
    }
}
