//! SIGINT, SIGTERM and SIGHUP as a flag that every wait looks at.
//!
//! A signal never ends the program by itself: the wait that sees the flag returns an error, and on the way out every
//! started process is stopped and every directory removed, as after any other error.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// The longest time for which a wait does not look at the flag.
pub const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// A wait was given up because the program was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Set once a stop signal has arrived; clones see the same signal.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    requested: Arc<AtomicBool>,
}

impl Interrupt {
    /// Takes over the three signals for the whole process.
    pub fn install() -> io::Result<Interrupt> {
        let interrupt = Interrupt::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, interrupt.requested.clone())?;
        }
        Ok(interrupt)
    }

    /// `Err` once a stop signal has arrived.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.requested.load(Ordering::Relaxed) { Err(Interrupted) } else { Ok(()) }
    }

    /// Sleeps, and wakes early with an error when a stop signal arrives.
    pub fn sleep(&self, duration: Duration) -> Result<(), Interrupted> {
        let deadline = Instant::now() + duration;
        loop {
            self.check()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(CHECK_INTERVAL));
        }
    }

    #[cfg(test)]
    pub fn request(&self) {
        self.requested.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_seen_by_clones_and_ends_sleeps() {
        let interrupt = Interrupt::default();
        assert_eq!(interrupt.sleep(Duration::from_millis(1)), Ok(()));
        interrupt.clone().request();
        assert_eq!(interrupt.check(), Err(Interrupted));
        // Would hang the test for an hour if the flag were not looked at.
        assert_eq!(interrupt.sleep(Duration::from_secs(3600)), Err(Interrupted));
    }

    #[test]
    fn signals_set_the_flag() {
        let interrupt = Interrupt::install().unwrap();
        signal_hook::low_level::raise(SIGHUP).unwrap();
        assert_eq!(interrupt.sleep(Duration::from_secs(3600)), Err(Interrupted));
    }
}
