//! Whether a client gets on well enough with what it sends or takes, for the memory that it holds meanwhile. Pure.
//!
//! A client that moves nothing at all is given up after [`STALLED_MAX`]. A slow one that disturbs nobody may take its time;
//! while others wait for the memory that it holds, it must move [`RATE_MIN`] bytes a second, over [`PERIOD`].

use std::time::{Duration, Instant};

/// A client that moves no byte for this long is cut off: it holds memory that others could use.
pub const STALLED_MAX: Duration = Duration::from_secs(60);
/// While others wait, what was moved is compared with [`RATE_MIN`] over this long.
pub const PERIOD: Duration = Duration::from_secs(10);
/// In bytes per second.
pub const RATE_MIN: u64 = 64 * 1024;
/// Between two looks at a client that is waited for.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Of one answer, or one request, on its way.
#[derive(Debug)]
pub struct Pace {
    /// Bytes that had been moved at the last look, and since when it had been so many.
    moved: u64,
    moved_at: Instant,
    /// Since when others have waited for memory that it holds, or since the period before ended, and what had been moved then.
    period: Option<(Instant, u64)>,
}

/// Why a client is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooSlow {
    /// Nothing was moved for so long.
    Stalled(Duration),
    /// So few bytes were moved in this time, while others waited.
    WaitedFor { moved: u64, within: Duration },
}

impl Pace {
    /// `moved`: bytes that have been moved until now, from whenever on.
    pub fn new(now: Instant, moved: u64) -> Pace {
        Pace { moved, moved_at: now, period: None }
    }

    /// `moved` bytes have been moved until now; others wait for what is held meanwhile, or nobody does.
    pub fn look(&mut self, now: Instant, moved: u64, is_waited_for: bool) -> Result<(), TooSlow> {
        if moved > self.moved {
            (self.moved, self.moved_at) = (moved, now);
        }
        let stalled = now.saturating_duration_since(self.moved_at);
        if stalled >= STALLED_MAX {
            return Err(TooSlow::Stalled(stalled));
        }
        if !is_waited_for {
            self.period = None;
            return Ok(());
        }
        let (began, before) = *self.period.get_or_insert((now, moved));
        let within = now.saturating_duration_since(began);
        if within >= PERIOD {
            let moved_within = moved.saturating_sub(before);
            if moved_within < RATE_MIN * PERIOD.as_secs() {
                return Err(TooSlow::WaitedFor { moved: moved_within, within });
            }
            self.period = Some((now, moved));
        }
        Ok(())
    }

    /// Until now nothing could be moved for so long, and not by the client's fault.
    pub fn excuse(&mut self, now: Instant, held_up: Duration) {
        self.moved_at = (self.moved_at + held_up).min(now);
        self.period = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks every two seconds at a client that moves so many bytes a second; gives when it was cut off, and why.
    fn follow(rate: u64, for_s: u64, is_waited_for: impl Fn(u64) -> bool) -> Option<(u64, TooSlow)> {
        let begin = Instant::now();
        let mut pace = Pace::new(begin, 1000);
        (0..=for_s).step_by(LOOK_INTERVAL.as_secs() as usize).find_map(|s| {
            let looked = pace.look(begin + Duration::from_secs(s), 1000 + s * rate, is_waited_for(s));
            looked.err().map(|why| (s, why))
        })
    }

    #[test]
    fn who_disturbs_nobody_may_take_its_time() {
        assert_eq!(follow(1, 10_000, |_| false), None);
        assert_eq!(follow(0, 10_000, |_| false), Some((60, TooSlow::Stalled(STALLED_MAX))));
    }

    #[test]
    fn who_is_waited_for_must_get_on() {
        assert_eq!(follow(RATE_MIN, 10_000, |_| true), None);
        let slow = |moved| TooSlow::WaitedFor { moved, within: PERIOD };
        assert_eq!(follow(RATE_MIN - 1, 10_000, |_| true), Some((10, slow((RATE_MIN - 1) * 10))));
        assert_eq!(follow(0, 10_000, |_| true), Some((10, slow(0))));
        assert_eq!(follow(1, 10_000, |s| s >= 30), Some((40, slow(10))), "counted from when others wait");
    }

    #[test]
    fn who_is_waited_for_now_and_then_may_take_its_time() {
        assert_eq!(follow(1, 10_000, |s| s % 10 != 0), None);
    }

    #[test]
    fn a_period_does_not_count_for_the_next() {
        let begin = Instant::now();
        let mut pace = Pace::new(begin, 0);
        let at = |s| begin + Duration::from_secs(s);
        assert_eq!(pace.look(at(0), 0, true), Ok(()));
        assert_eq!(pace.look(at(10), 100 << 20, true), Ok(()));
        let slow = TooSlow::WaitedFor { moved: 1, within: PERIOD };
        assert_eq!(pace.look(at(20), (100 << 20) + 1, true), Err(slow));
    }

    #[test]
    fn what_the_broker_held_up_is_no_fault() {
        let begin = Instant::now();
        let mut pace = Pace::new(begin, 0);
        let at = |s| begin + Duration::from_secs(s);
        assert_eq!(pace.look(at(1), 0, true), Ok(()));
        pace.excuse(at(100), Duration::from_secs(99));
        assert_eq!(pace.look(at(101), 0, true), Ok(()));
        assert_eq!(pace.look(at(109), 0, true), Ok(()));
        assert_eq!(pace.look(at(111), 0, true), Err(TooSlow::WaitedFor { moved: 0, within: PERIOD }));
    }
}
