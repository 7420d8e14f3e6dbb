//! Deadlines, ordered by time; of equal ones the first scheduled comes first, so that runs can be repeated exactly.

use std::collections::{BTreeMap, HashMap};

use kafka_protocol::protocol::StrBytes;

/// What a deadline is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum TimerKey {
    /// A member has to be heard of by then (its session, or how long a new or pending member may take to join).
    Heartbeat { group: StrBytes, member: StrBytes },
    /// The join phase of a rebalance ends.
    Join { group: StrBytes },
    /// Every member has to have sent its SyncGroup.
    Sync { group: StrBytes },
    /// A member of a consumer group has to have given partitions back.
    Revocation { group: StrBytes, member: StrBytes },
    /// A classic member of a consumer group, told of a rebalance, has to have joined.
    ClassicJoin { group: StrBytes, member: StrBytes },
    /// A classic member of a consumer group has to have sent its SyncGroup.
    ClassicSync { group: StrBytes, member: StrBytes },
    /// The regular expressions of a consumer group are to be resolved.
    Regexes { group: StrBytes },
    /// Expired offsets and empty groups are looked for.
    Cleanup,
}

/// Place in the order: deadline, then order of scheduling.
type Slot = (i64, u64);

/// A set of deadlines, at most one for each key.
#[derive(Debug, Default)]
pub(super) struct Timers {
    slots: HashMap<TimerKey, Slot>,
    order: BTreeMap<Slot, TimerKey>,
    scheduled: u64,
}

impl Timers {
    /// Sets the deadline of `key`, in place of an earlier one.
    pub(super) fn schedule(&mut self, key: TimerKey, deadline_ms: i64) {
        self.cancel(&key);
        let slot = (deadline_ms, self.scheduled);
        self.scheduled += 1;
        self.slots.insert(key.clone(), slot);
        self.order.insert(slot, key);
    }

    pub(super) fn cancel(&mut self, key: &TimerKey) {
        if let Some(slot) = self.slots.remove(key) {
            self.order.remove(&slot);
        }
    }

    pub(super) fn is_scheduled(&self, key: &TimerKey) -> bool {
        self.slots.contains_key(key)
    }

    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.order.clear();
    }

    pub(super) fn next_deadline_ms(&self) -> Option<i64> {
        self.order.first_key_value().map(|((deadline_ms, _), _)| *deadline_ms)
    }

    /// A mark that tells what is scheduled from now on apart from what was before.
    pub(super) fn mark(&self) -> u64 {
        self.scheduled
    }

    /// Takes the earliest deadline that has passed and was scheduled before `mark`. A deadline that a handler sets anew
    /// waits for the next round even if it has passed already, so that a round always ends.
    pub(super) fn pop_due(&mut self, now_ms: i64, mark: u64) -> Option<TimerKey> {
        let slot = *self.order.range(..=(now_ms, u64::MAX)).map(|(slot, _)| slot).find(|(_, order)| *order < mark)?;
        let key = self.order.remove(&slot)?;
        self.slots.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(group: &'static str) -> TimerKey {
        TimerKey::Join { group: StrBytes::from_static_str(group) }
    }

    #[test]
    fn deadlines_come_in_order_of_time_then_of_scheduling() {
        let mut timers = Timers::default();
        timers.schedule(join("late"), 30);
        timers.schedule(join("b"), 10);
        timers.schedule(join("a"), 10);
        let mark = timers.mark();
        assert_eq!(timers.pop_due(9, mark), None);
        assert_eq!(timers.pop_due(20, mark), Some(join("b")));
        assert_eq!(timers.pop_due(20, mark), Some(join("a")));
        assert_eq!(timers.pop_due(20, mark), None);
        assert_eq!(timers.next_deadline_ms(), Some(30));
    }

    #[test]
    fn a_key_has_one_deadline_the_latest_set() {
        let mut timers = Timers::default();
        timers.schedule(join("a"), 10);
        timers.schedule(join("a"), 50);
        assert_eq!(timers.next_deadline_ms(), Some(50));
        timers.cancel(&join("a"));
        assert_eq!(timers.next_deadline_ms(), None);
    }

    #[test]
    fn what_a_handler_schedules_waits_for_the_next_round() {
        let mut timers = Timers::default();
        timers.schedule(join("a"), 10);
        let mark = timers.mark();
        assert_eq!(timers.pop_due(10, mark), Some(join("a")));
        timers.schedule(join("a"), 10);
        assert_eq!(timers.pop_due(10, mark), None);
        assert_eq!(timers.pop_due(10, timers.mark()), Some(join("a")));
    }
}
