//! Brokers whose connections have just broken: dead, perhaps, and if so replaced within some ten milliseconds.
//!
//! A client that loses its leader asks another broker for metadata at once, mostly before that one has heard of the new leader.
//! Told of the old one it tries that again, and asks the next time when a timer says so, after a second in librdkafka. So
//! Metadata that names a suspect as leader is held back for a moment, until the suspect has been replaced or has had the time.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use protocol::BrokerId;

/// How long a broker is a suspect: several times what it takes to have another lead when a process has ended.
const SUSPECTED_MS: u64 = 250;

/// See the module's documentation. One for all shards of this broker.
#[derive(Debug, Default)]
pub struct Suspects {
    /// Until when there is any: mostly long ago, and then there is no lock to take.
    any_until_ms: AtomicU64,
    until_ms: Mutex<BTreeMap<BrokerId, u64>>,
}

impl Suspects {
    /// A connection of this broker's has broken.
    pub fn note(&self, broker: BrokerId, now_ms: u64) {
        let until_ms = now_ms + SUSPECTED_MS;
        let mut suspects = self.until_ms.lock().expect("nobody panics with the lock");
        suspects.retain(|_, until_ms| *until_ms > now_ms);
        suspects.insert(broker, until_ms);
        self.any_until_ms.fetch_max(until_ms, Ordering::Release);
    }

    /// Suspects, each with how many milliseconds are left to it.
    pub fn now(&self, now_ms: u64) -> Vec<(BrokerId, u64)> {
        if self.any_until_ms.load(Ordering::Acquire) <= now_ms {
            return Vec::new();
        }
        let suspects = self.until_ms.lock().expect("nobody panics with the lock");
        suspects.iter().filter_map(|(broker, until_ms)| Some((*broker, until_ms.checked_sub(now_ms)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_a_suspect_for_a_moment() {
        let suspects = Suspects::default();
        assert_eq!(suspects.now(0), []);
        suspects.note(BrokerId(1), 1000);
        suspects.note(BrokerId(2), 1100);
        assert_eq!(suspects.now(1100), [(BrokerId(1), 150), (BrokerId(2), 250)]);
        assert_eq!(suspects.now(1300), [(BrokerId(2), 50)]);
        assert_eq!(suspects.now(1350), []);
        suspects.note(BrokerId(1), 2000);
        suspects.note(BrokerId(1), 2200);
        assert_eq!(suspects.now(2200), [(BrokerId(1), 250)], "the last time counts");
    }
}
