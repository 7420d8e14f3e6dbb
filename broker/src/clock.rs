//! The wall clock, and times for people. Decision code never reads a clock: the time is passed in from here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

/// Milliseconds of a clock that never goes back, from some moment before the process began.
pub fn monotonic_ms() -> u64 {
    monotonic_ns() / 1_000_000
}

/// Milliseconds of a clock that never goes back and goes on while the machine sleeps.
pub fn boot_ms() -> u64 {
    nanoseconds(ClockId::Boottime) / 1_000_000
}

/// The same as [`monotonic_ms`] in nanoseconds.
pub fn monotonic_ns() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// How long something took, as people say it: `15 s`, `1.5 s`, `350 ms`.
pub fn rounded(time: Duration) -> String {
    let ms = (time.as_micros() + 500) / 1000;
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..10_000 if !((ms + 50) / 100).is_multiple_of(10) => {
            format!("{}.{} s", (ms + 50) / 1000, (ms + 50) / 100 % 10)
        }
        _ => format!("{} s", (ms + 500) / 1000),
    }
}

fn nanoseconds(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    u64::try_from(now.tv_sec).unwrap_or(0).saturating_mul(1_000_000_000) + u64::try_from(now.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_for_people() {
        for (us, expected) in [
            (0, "0 ms"),
            (349_600, "350 ms"),
            (999_700, "1 s"),
            (1_000_000, "1 s"),
            (1_460_000, "1.5 s"),
            (1_960_000, "2 s"),
            (9_960_000, "10 s"),
            (15_000_500, "15 s"),
            (14_700_000, "15 s"),
        ] {
            assert_eq!(rounded(Duration::from_micros(us)), expected, "{us}");
        }
    }
}
