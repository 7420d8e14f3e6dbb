//! How long this broker may act as a leader without having heard of the controller.
//!
//! The controller fences a broker that it has not heard for the session timeout, and others lead then. So a broker that is cut
//! off stops by itself before that: its lease ends about one session timeout after it *sent* the last heartbeat that was answered
//! ([`metadata::controller::lease_ms`]), and the controller counts from when it came, which is later. An answer that the broker is fenced does not count, and any
//! other only once this broker's shards have applied what the controller knew when it gave it: the leader that they take this
//! broker for is no older than that. A controller answers only while it is certain that it leads ([`crate::metadata_core`]),
//! and one that begins to lead gives every broker as much anew.
//!
//! Time is a clock's that goes on while the machine sleeps: whoever wakes up must not believe that no time has passed. Both
//! clocks are taken to run at the same speed.
//!
//! Without a lease nothing is acknowledged and nothing read where other brokers have replicas too: they may have a leader.

use std::sync::atomic::{AtomicU64, Ordering};

/// See the module's documentation. Shared between the metadata core, which extends it, and the shards, which look at it.
#[derive(Debug, Default)]
pub struct Lease {
    until_ms: AtomicU64,
}

impl Lease {
    /// One that never ends, where nobody else could lead.
    #[cfg(test)]
    pub fn endless() -> Lease {
        Lease { until_ms: AtomicU64::new(u64::MAX) }
    }

    /// A heartbeat that was sent at `sent_ms` was answered, with a lease of this length. If the answer is that the
    /// broker is fenced it gives nothing: others may lead already, and this broker's metadata need not say so yet.
    pub fn on_answer(&self, sent_ms: u64, fenced: bool, lease_ms: u64) {
        if !fenced {
            self.extend(sent_ms, lease_ms);
        }
    }

    /// It holds for `lease_ms` from `sent_ms` on, or longer if it did.
    pub fn extend(&self, sent_ms: u64, lease_ms: u64) {
        // An answer that was overtaken by a later one takes nothing back.
        self.until_ms.fetch_max(sent_ms.saturating_add(lease_ms), Ordering::Relaxed);
    }

    /// When it ends.
    pub fn until_ms(&self) -> u64 {
        self.until_ms.load(Ordering::Relaxed)
    }

    pub fn holds(&self, now_ms: u64) -> bool {
        now_ms < self.until_ms()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_so_long_after_the_last_heartbeat_that_was_answered_was_sent() {
        let lease = Lease::default();
        assert!(!lease.holds(0), "before the first there is none");
        lease.extend(1000, 9000);
        assert!(lease.holds(9999) && !lease.holds(10_000));
        lease.extend(3000, 9000);
        lease.extend(2000, 9000);
        assert!(lease.holds(11_999) && !lease.holds(12_000), "a late answer shortens nothing");
        assert!(!lease.holds(u64::MAX));
    }

    #[test]
    fn who_is_fenced_gets_none() {
        let lease = Lease::default();
        lease.on_answer(1000, true, 9000);
        assert!(!lease.holds(1001), "it has yet to be let in");
        lease.on_answer(2000, false, 9000);
        lease.on_answer(9000, true, 9000);
        assert!(lease.holds(10_999) && !lease.holds(11_000), "others may lead by now");
    }
}
