//! What is remembered of logs that compaction has failed for: which are left alone, and until when. Pure.

use std::collections::HashMap;
use std::time::Duration;

use crate::partition::PartitionKey;

/// How long a log is left alone that could not be read or written, after the first time and at most: what was in the way may be
/// gone, but each try may read the whole log for nothing.
const WAIT_MIN: Duration = Duration::from_secs(60);
const WAIT_MAX: Duration = Duration::from_secs(3_600);

/// `L` tells the log that it failed for from others that the partition has later.
pub struct Failures<L> {
    of: HashMap<PartitionKey, Failure<L>>,
}

struct Failure<L> {
    log: L,
    lasts: Lasts,
}

#[derive(Clone, Copy)]
enum Lasts {
    /// Tried again at `until`, after having waited so long.
    ForNow {
        until: Duration,
        waited: Duration,
    },
    AsLongAsTheLog,
}

impl<L> Failures<L> {
    pub fn new() -> Failures<L> {
        Failures { of: HashMap::new() }
    }

    /// Forgets those whose log is not the one that the partition has.
    pub fn keep(&mut self, has_still: impl Fn(PartitionKey, &L) -> bool) {
        self.of.retain(|key, failure| has_still(*key, &failure.log));
    }

    /// Something was in the way that may pass. Says how long the log is left alone: twice as long each time.
    pub fn failed(&mut self, key: PartitionKey, log: L, now: Duration) -> Duration {
        let wait = match self.of.get(&key).map(|failure| failure.lasts) {
            Some(Lasts::ForNow { waited, .. }) => (waited * 2).min(WAIT_MAX),
            Some(Lasts::AsLongAsTheLog) | None => WAIT_MIN,
        };
        self.of.insert(key, Failure { log, lasts: Lasts::ForNow { until: now + wait, waited: wait } });
        wait
    }

    /// It would fail again, whenever it is tried.
    pub fn failed_for_good(&mut self, key: PartitionKey, log: L) {
        self.of.insert(key, Failure { log, lasts: Lasts::AsLongAsTheLog });
    }

    pub fn succeeded(&mut self, key: PartitionKey) {
        self.of.remove(&key);
    }

    pub fn is_for_good(&self, key: PartitionKey) -> bool {
        matches!(self.of.get(&key), Some(Failure { lasts: Lasts::AsLongAsTheLog, .. }))
    }

    /// Whether the log is not to be tried now.
    pub fn leaves_alone(&self, key: PartitionKey, now: Duration) -> bool {
        match self.of.get(&key).map(|failure| failure.lasts) {
            Some(Lasts::ForNow { until, .. }) => now < until,
            Some(Lasts::AsLongAsTheLog) => true,
            None => false,
        }
    }

    /// Logs that compaction has failed for and not succeeded since.
    pub fn count(&self) -> usize {
        self.of.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{PartitionId, TopicId};

    fn key(partition: i32) -> PartitionKey {
        PartitionKey { topic_id: TopicId::ZERO, partition: PartitionId(partition) }
    }

    const fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(minutes * 60)
    }

    #[test]
    fn a_log_that_fails_is_tried_again_ever_later_and_others_at_once() {
        let mut failures = Failures::new();
        let mut now = minutes(5);
        for wait in [1, 2, 4, 8, 16, 32, 60, 60].map(minutes) {
            assert_eq!(failures.failed(key(0), 'a', now), wait);
            let again = now + wait;
            assert!(failures.leaves_alone(key(0), now));
            assert!(failures.leaves_alone(key(0), again - Duration::from_nanos(1)));
            assert!(!failures.leaves_alone(key(0), again));
            assert!(!failures.leaves_alone(key(1), now));
            now = again;
        }
        assert_eq!((failures.is_for_good(key(0)), failures.count()), (false, 1));
        failures.succeeded(key(0));
        assert_eq!(failures.count(), 0);
        assert_eq!(failures.failed(key(0), 'a', now), minutes(1), "a success is a new beginning");
    }

    #[test]
    fn what_stays_is_not_tried_again() {
        let mut failures = Failures::new();
        failures.failed(key(0), 'a', minutes(0));
        failures.failed_for_good(key(0), 'a');
        failures.failed_for_good(key(1), 'b');
        failures.failed(key(2), 'c', minutes(0));
        assert!(failures.leaves_alone(key(0), Duration::MAX) && failures.is_for_good(key(0)));
        assert!(!failures.leaves_alone(key(2), Duration::MAX));
        assert_eq!(failures.count(), 3);
    }

    #[test]
    fn a_failure_goes_with_its_log() {
        let mut failures = Failures::new();
        failures.failed_for_good(key(0), 'a');
        failures.failed_for_good(key(1), 'b');
        failures.failed(key(2), 'c', minutes(0));
        failures.failed(key(3), 'd', minutes(0));
        // The first and the third have others now.
        let has = ['x', 'b', 'y', 'd'];
        failures.keep(|key, log| has[key.partition.0 as usize] == *log);
        let left_alone = [0, 1, 2, 3].map(|at| failures.leaves_alone(key(at), minutes(0)));
        assert_eq!(left_alone, [false, true, false, true]);
        assert_eq!(failures.count(), 2);
        assert_eq!(failures.failed(key(2), 'y', minutes(0)), minutes(1), "nothing is known of the new one");
        failures.keep(|_, _| false);
        assert_eq!(failures.count(), 0);
    }
}
