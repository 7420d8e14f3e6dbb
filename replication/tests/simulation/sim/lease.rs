//! Up to when a broker may act as a leader without hearing of the metadata, on its own clock.
//!
//! The controller fences a broker that it has not heard of for a session timeout. A broker counts that timeout from when it
//! sent a heartbeat that was answered, which is before the controller heard it: its lease is over first, as long as its clock
//! is not slower than the controller's.

/// As the broker's. Times are microseconds of the broker's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lease {
    until_us: u64,
}

impl Lease {
    /// A heartbeat that was sent then was answered, and the broker is not fenced.
    pub fn extend(&mut self, sent_us: u64, session_us: u64) {
        self.until_us = self.until_us.max(sent_us + session_us);
    }

    pub fn holds(&self, now_us: u64) -> bool {
        now_us < self.until_us
    }
}
