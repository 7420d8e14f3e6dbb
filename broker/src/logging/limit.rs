//! Log lines about what a client or another broker can cause as often as it likes: some of them, and how many were left out.
//!
//! Each kind of line has a [`Limiter`] of its own, and all are listed here, so that what was left out is told also when
//! nothing comes any more ([`tell_suppressed`]).

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use crate::clock;

/// Lines that come at once are written so far.
const BURST: u32 = 20;
/// Then one may follow every so often, on the whole.
const INTERVAL_MS: u64 = 1000;
/// Between two looks for what was left out.
const TELL_INTERVAL: Duration = Duration::from_secs(10);

pub static ACCEPT_FAILED: Limiter = Limiter::new("accept failed");
pub static CONNECTION_REFUSED: Limiter = Limiter::new("connection refused");
pub static CONNECTION_CLOSED: Limiter = Limiter::new("connection closed");
pub static HTTP_REFUSED: Limiter = Limiter::new("HTTP connection refused");
pub static INTERNAL_REFUSED: Limiter = Limiter::new("an internal connection was refused");
pub static REQUEST_FAILED: Limiter = Limiter::new("a request failed");

/// Those above.
static ALL: [&Limiter; 6] =
    [&ACCEPT_FAILED, &CONNECTION_REFUSED, &CONNECTION_CLOSED, &HTTP_REFUSED, &INTERNAL_REFUSED, &REQUEST_FAILED];

/// Of one kind of line.
pub struct Limiter {
    name: &'static str,
    bucket: Mutex<Bucket>,
}

/// The decision, without a clock: a token for each line, [`BURST`] at most, one more every [`INTERVAL_MS`].
struct Bucket {
    tokens: u32,
    /// Up to when tokens were given.
    filled_ms: u64,
    suppressed: u64,
}

impl Bucket {
    /// Whether a line may be written now; if not, it is counted.
    fn admit(&mut self, now_ms: u64) -> bool {
        let due = now_ms.saturating_sub(self.filled_ms) / INTERVAL_MS;
        self.tokens = u32::try_from(due).unwrap_or(u32::MAX).saturating_add(self.tokens).min(BURST);
        self.filled_ms += due * INTERVAL_MS;
        match self.tokens.checked_sub(1) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => {
                self.suppressed += 1;
                false
            }
        }
    }
}

impl Limiter {
    const fn new(name: &'static str) -> Limiter {
        Limiter { name, bucket: Mutex::new(Bucket { tokens: BURST, filled_ms: 0, suppressed: 0 }) }
    }

    /// Whether a line of this kind may be written now.
    pub fn admit(&self) -> bool {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner).admit(clock::boot_ms())
    }

    fn take_suppressed(&self) -> u64 {
        std::mem::take(&mut self.bucket.lock().unwrap_or_else(PoisonError::into_inner).suppressed)
    }
}

/// Says how many lines were left out, until the process ends.
pub async fn tell_suppressed() {
    loop {
        tokio::time::sleep(TELL_INTERVAL).await;
        for limiter in ALL {
            let suppressed = limiter.take_suppressed();
            if suppressed > 0 {
                tracing::warn!(suppressed, line = limiter.name, "further log lines of this kind were left out");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_written_and_then_one_line_now_and_again() {
        let mut bucket = Bucket { tokens: BURST, filled_ms: 0, suppressed: 0 };
        let mut written = |now_ms, lines| (0..lines).filter(|_| bucket.admit(now_ms)).count();
        assert_eq!(written(5_000_000, 1000), BURST as usize);
        assert_eq!(written(5_000_999, 1000), 0);
        assert_eq!(written(5_001_000, 1000), 1);
        assert_eq!(written(5_004_000, 1000), 3);
        assert_eq!(written(9_000_000, 1000), BURST as usize, "what was not used is not saved up");
        assert_eq!(bucket.suppressed, 5 * 1000 - u64::from(BURST) * 2 - 4);
    }

    #[test]
    fn what_was_left_out_is_told_once() {
        let limiter = Limiter::new("x");
        let written = (0..BURST + 5).filter(|_| limiter.admit()).count() as u64;
        assert_eq!(limiter.take_suppressed(), u64::from(BURST) + 5 - written);
        assert_eq!(limiter.take_suppressed(), 0);
    }
}
