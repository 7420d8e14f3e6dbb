//! What is shown while a run goes on.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::load::outcome::{Live, Phase};
use crate::load::recorder::{LiveCounts, LiveShare};

/// How often something is shown.
const OBSERVE_INTERVAL_NS: u64 = 250_000_000;
/// Looks that the shown rates and latencies are over: a second.
const LOOKS: usize = 4;

pub(super) fn live_share() -> LiveShare {
    Arc::new(Mutex::new(LiveCounts::new()))
}

/// Collects what threads share, and shows it.
pub(super) struct LiveView<'o> {
    share: LiveShare,
    observe: &'o mut dyn FnMut(&Live),
    /// When each look ended, and what it saw; the first only says where the second begins.
    looks: VecDeque<(u64, LiveCounts)>,
    phase: Phase,
    /// Records seen since the phase began.
    phase_records: u64,
}

impl<'o> LiveView<'o> {
    pub(super) fn new(share: LiveShare, observe: &'o mut dyn FnMut(&Live)) -> LiveView<'o> {
        LiveView { share, observe, looks: VecDeque::new(), phase: Phase::Preparing, phase_records: 0 }
    }

    /// Shows what there is, if it is time. `done` makes a share of the phase from the records seen in it.
    pub(super) fn look(&mut self, now_ns: u64, phase: Phase, done: impl FnOnce(u64) -> f64) {
        let is_early = self.looks.back().is_some_and(|(last_ns, _)| now_ns < last_ns + OBSERVE_INTERVAL_NS);
        if is_early && phase == self.phase {
            return;
        }
        if phase != self.phase {
            self.phase = phase;
            self.phase_records = 0;
        }
        let mut counts = LiveCounts::new();
        std::mem::swap(&mut counts, &mut self.share.lock().unwrap_or_else(PoisonError::into_inner));
        self.phase_records += counts.records;
        self.looks.push_back((now_ns, counts));
        if self.looks.len() > LOOKS + 1 {
            self.looks.pop_front();
        }
        let mut sum = LiveCounts::new();
        self.looks.iter().skip(1).for_each(|(_, counts)| sum.add(counts));
        let since_ns = self.looks.front().map_or(now_ns, |(at_ns, _)| *at_ns);
        let seconds = Duration::from_nanos(now_ns - since_ns).as_secs_f64().max(1e-3);
        let p99 = (!sum.latency.is_empty()).then(|| Duration::from_nanos(sum.latency.value_at_quantile(0.99)));
        (self.observe)(&Live {
            phase,
            done: done(self.phase_records).clamp(0.0, 1.0),
            records_per_second: sum.records as f64 / seconds,
            bytes_per_second: sum.bytes as f64 / seconds,
            p99,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_over_the_last_second_and_progress_over_the_phase() {
        let (share, mut seen) = (live_share(), Vec::new());
        let mut observe = |live: &Live| seen.push(live.clone());
        let mut view = LiveView::new(share.clone(), &mut observe);
        for look in 0..=12_u64 {
            if look > 0 {
                let mut counts = share.lock().unwrap();
                counts.records += 1000;
                counts.bytes += 50_000;
                counts.latency.record(5_000_000).unwrap();
            }
            let phase = if look < 8 { Phase::WarmUp } else { Phase::Measuring };
            view.look(look * OBSERVE_INTERVAL_NS, phase, |records| records as f64 / 10_000.0);
            view.look(look * OBSERVE_INTERVAL_NS + 1, phase, |_| panic!("too early"));
        }
        assert_eq!(seen.len(), 13);
        let last = seen.last().unwrap();
        assert_eq!((last.phase, last.done), (Phase::Measuring, 0.5));
        assert_eq!((last.records_per_second, last.bytes_per_second), (4000.0, 200_000.0));
        assert!(last.p99.unwrap().as_millis() == 5, "{last:?}");
    }
}
