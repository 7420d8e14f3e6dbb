//! Up to where a partition is committed.
//!
//! A record is committed once every member of the ISR has it on disk, the leader included, and the ISR is no smaller than
//! `min.insync.replicas`. The high watermark is the end of what is committed: consumers read up to it, produces with
//! acks=all are answered by it. Below `min.insync.replicas` it stands still whatever the acks (KIP-966), and it never goes
//! back.
//!
//! One [`LeaderState`] lives as long as one leader epoch: what a replica acknowledged at another epoch may have been cut
//! since, so it does not count.

use protocol::newtypes::{BrokerId, Offset};

/// What the leader of a partition knows about its replicas.
///
/// Invariants: the leader is a replica and in the ISR; the ISR holds replicas only; the high watermark and every durable
/// end only rise; the high watermark does not pass the durable end of any ISR member, unless it began beyond it.
#[derive(Clone, Debug)]
pub struct LeaderState {
    leader: BrokerId,
    replicas: Vec<ReplicaState>,
    min_insync_replicas: usize,
    high_watermark: Offset,
}

#[derive(Clone, Debug)]
struct ReplicaState {
    id: BrokerId,
    /// End of what is on the replica's disk; 0 while nothing is known.
    durable_end: Offset,
    in_sync: bool,
}

impl LeaderState {
    /// The state at the start of a leader epoch. `high_watermark` is the highest the leader knows from before.
    ///
    /// `min_insync_replicas` below 1 counts as 1.
    ///
    /// # Panics
    /// If the leader is not in the ISR, or the ISR is not part of the replicas: no election gives such a partition.
    #[must_use]
    pub fn new(
        leader: BrokerId,
        replicas: &[BrokerId],
        isr: &[BrokerId],
        min_insync_replicas: i32,
        high_watermark: Offset,
    ) -> LeaderState {
        let replicas = replicas.iter().map(|id| ReplicaState { id: *id, durable_end: Offset::ZERO, in_sync: false });
        let mut state = LeaderState {
            leader,
            replicas: replicas.collect(),
            min_insync_replicas: at_least_one(min_insync_replicas),
            high_watermark,
        };
        state.set_isr(isr);
        state
    }

    #[must_use]
    pub fn leader(&self) -> BrokerId {
        self.leader
    }

    /// The offset after the last committed record.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Whether the ISR is large enough for the high watermark to advance; a produce with acks=all is refused otherwise
    /// (NOT_ENOUGH_REPLICAS).
    #[must_use]
    pub fn has_min_insync_replicas(&self) -> bool {
        self.isr_size() >= self.min_insync_replicas
    }

    /// A replica, the leader itself included, has everything before `end` on disk. Gives the high watermark if it rose.
    ///
    /// An `end` below an earlier one is an acknowledgement that was overtaken, and a replica that is none of this
    /// partition's is of an older assignment: neither changes anything.
    pub fn on_durable(&mut self, replica: BrokerId, end: Offset) -> Option<Offset> {
        let known = self.replicas.iter_mut().find(|known| known.id == replica)?;
        if end <= known.durable_end {
            return None;
        }
        known.durable_end = end;
        self.advance()
    }

    /// Replicas or ISR are others now. Gives the high watermark if it rose, as it can when a slow member left the ISR. Of a
    /// replica that stays, what it has on disk stays known.
    ///
    /// # Panics
    /// As [`LeaderState::new`].
    pub fn on_assignment(&mut self, replicas: &[BrokerId], isr: &[BrokerId]) -> Option<Offset> {
        let known = std::mem::take(&mut self.replicas);
        let durable_end = |id: &BrokerId| {
            known.iter().find(|replica| replica.id == *id).map_or(Offset::ZERO, |replica| replica.durable_end)
        };
        let replicas = replicas.iter();
        self.replicas =
            replicas.map(|id| ReplicaState { id: *id, durable_end: durable_end(id), in_sync: false }).collect();
        self.set_isr(isr);
        self.advance()
    }

    /// `min.insync.replicas` is another now. Gives the high watermark if it rose.
    pub fn on_min_insync_replicas(&mut self, min_insync_replicas: i32) -> Option<Offset> {
        self.min_insync_replicas = at_least_one(min_insync_replicas);
        self.advance()
    }

    fn set_isr(&mut self, isr: &[BrokerId]) {
        assert!(isr.contains(&self.leader), "leader {} is not in its ISR {isr:?}", self.leader);
        for id in isr {
            assert!(self.replicas.iter().any(|replica| replica.id == *id), "ISR member {id} is no replica");
        }
        for replica in &mut self.replicas {
            replica.in_sync = isr.contains(&replica.id);
        }
    }

    /// Whether the high watermark waits for this leader alone.
    #[must_use]
    pub fn is_alone_in_sync(&self) -> bool {
        self.replicas.iter().all(|replica| !replica.in_sync || replica.id == self.leader)
    }

    fn isr_size(&self) -> usize {
        self.replicas.iter().filter(|replica| replica.in_sync).count()
    }

    fn advance(&mut self) -> Option<Offset> {
        if !self.has_min_insync_replicas() {
            return None;
        }
        let in_sync = self.replicas.iter().filter(|replica| replica.in_sync);
        let committed_end = in_sync.map(|replica| replica.durable_end).min()?;
        if committed_end <= self.high_watermark {
            return None;
        }
        self.high_watermark = committed_end;
        Some(committed_end)
    }
}

fn at_least_one(min_insync_replicas: i32) -> usize {
    usize::try_from(min_insync_replicas).unwrap_or(0).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LEADER: BrokerId = BrokerId(1);
    const SECOND: BrokerId = BrokerId(2);
    const THIRD: BrokerId = BrokerId(3);
    const ALL: [BrokerId; 3] = [LEADER, SECOND, THIRD];

    fn state(isr: &[BrokerId], min_insync_replicas: i32) -> LeaderState {
        LeaderState::new(LEADER, &[LEADER, SECOND, THIRD], isr, min_insync_replicas, Offset(5))
    }

    #[test]
    fn a_lone_leader_commits_what_its_own_disk_has() {
        let mut state = LeaderState::new(LEADER, &[LEADER], &[LEADER], 1, Offset::ZERO);
        assert_eq!(state.on_durable(LEADER, Offset(3)), Some(Offset(3)));
        assert_eq!(state.on_durable(LEADER, Offset(3)), None, "nothing new");
        assert_eq!(state.on_durable(LEADER, Offset(2)), None, "overtaken");
        assert_eq!(state.high_watermark(), Offset(3));
    }

    #[test]
    fn every_member_of_the_isr_counts_and_no_other() {
        let mut state = state(&[LEADER, SECOND], 1);
        assert_eq!(state.on_durable(LEADER, Offset(10)), None, "the second has not said anything");
        assert_eq!(state.on_durable(SECOND, Offset(8)), Some(Offset(8)));
        assert_eq!(state.on_durable(THIRD, Offset(7)), None, "not in sync");
        assert_eq!(state.on_durable(BrokerId(9), Offset(9)), None, "no replica");
        assert_eq!(state.on_durable(SECOND, Offset(20)), Some(Offset(10)), "the leader's own disk counts too");
    }

    #[test]
    fn the_high_watermark_stands_still_below_min_insync_replicas() {
        let mut state = state(&[LEADER, SECOND], 3);
        assert!(!state.has_min_insync_replicas());
        assert_eq!(state.on_durable(LEADER, Offset(10)), None);
        assert_eq!(state.on_durable(SECOND, Offset(10)), None);
        assert_eq!(state.on_min_insync_replicas(2), Some(Offset(10)));
        assert!(state.has_min_insync_replicas());
    }

    #[test]
    fn a_smaller_isr_releases_and_a_larger_one_takes_nothing_back() {
        let mut state = state(&[LEADER, SECOND], 1);
        state.on_durable(LEADER, Offset(10));
        assert!(!state.is_alone_in_sync());
        assert_eq!(state.on_assignment(&ALL, &[LEADER]), Some(Offset(10)));
        assert!(state.is_alone_in_sync());
        assert_eq!(state.on_assignment(&ALL, &[LEADER, THIRD]), None);
        assert_eq!(state.high_watermark(), Offset(10));
        assert_eq!(state.on_durable(THIRD, Offset(6)), None);
        assert_eq!(state.high_watermark(), Offset(10));
    }

    #[test]
    fn a_replica_that_stays_keeps_its_end_and_a_new_one_starts_with_none() {
        let mut state = state(&[LEADER, SECOND], 1);
        state.on_durable(LEADER, Offset(10));
        state.on_durable(SECOND, Offset(8));
        let fourth = BrokerId(4);
        assert_eq!(state.on_assignment(&[LEADER, fourth, SECOND], &[LEADER, SECOND]), None);
        assert_eq!(state.on_durable(SECOND, Offset(9)), Some(Offset(9)));
        assert_eq!(state.on_durable(THIRD, Offset(10)), None, "no replica any more");
        assert_eq!(state.on_assignment(&[LEADER, fourth], &[LEADER, fourth]), None, "the new one has said nothing");
        assert_eq!(state.on_durable(fourth, Offset(10)), Some(Offset(10)));
    }

    #[test]
    #[should_panic(expected = "is not in its ISR")]
    fn an_isr_without_the_leader_is_refused() {
        state(&[SECOND], 1);
    }

    #[derive(Clone, Debug)]
    enum Event {
        Durable(BrokerId, Offset),
        Isr(Vec<BrokerId>),
        MinInsync(i32),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => (1..=3_i32, 0..40_i64).prop_map(|(id, end)| Event::Durable(BrokerId(id), Offset(end))),
            1 => proptest::sample::subsequence(vec![SECOND, THIRD], 0..=2)
                .prop_map(|others| Event::Isr([vec![LEADER], others].concat())),
            1 => (0..=4_i32).prop_map(Event::MinInsync),
        ]
    }

    proptest! {
        /// Against the definition, evaluated from scratch after every event: the high watermark is the largest end that
        /// was ever committed.
        #[test]
        fn equals_the_largest_committed_end_so_far(events in proptest::collection::vec(event(), 1..60)) {
            let mut state = state(&[LEADER, SECOND, THIRD], 2);
            let mut ends = [Offset::ZERO; 4];
            let (mut isr, mut min_insync) = (vec![LEADER, SECOND, THIRD], 2);
            let mut expected = Offset(5);
            for event in events {
                let before = expected;
                let advanced = match event {
                    Event::Durable(id, end) => {
                        ends[id.0 as usize] = ends[id.0 as usize].max(end);
                        state.on_durable(id, end)
                    }
                    Event::Isr(new) => {
                        isr = new;
                        state.on_assignment(&ALL, &isr)
                    }
                    Event::MinInsync(new) => {
                        min_insync = new;
                        state.on_min_insync_replicas(new)
                    }
                };
                if isr.len() as i32 >= min_insync {
                    let committed = isr.iter().map(|id| ends[id.0 as usize]).min().unwrap();
                    expected = expected.max(committed);
                }
                prop_assert_eq!(state.high_watermark(), expected);
                prop_assert_eq!(advanced, (expected > before).then_some(expected));
            }
        }
    }
}
