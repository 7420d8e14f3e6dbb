//! What this broker is for a partition, leader or follower, and up to where the partition is committed. Pure.
//!
//! A role follows the assignments of the metadata, in order of their partition epoch; one that is not newer than the last
//! changes nothing. The high watermark outlives every change of role and never goes back.

use metadata::image::PartitionImage;
use protocol::{BrokerId, LeaderEpoch, Offset};
use replication::high_watermark::LeaderState;

/// The role of one replica.
#[derive(Debug)]
pub struct Role {
    broker: BrokerId,
    leader_epoch: LeaderEpoch,
    /// -1 before the first assignment.
    partition_epoch: i32,
    /// `None` for a follower, and while nobody leads.
    leading: Option<Leading>,
    high_watermark: Offset,
}

#[derive(Debug)]
struct Leading {
    state: LeaderState,
    term: Term,
}

/// An uninterrupted time of leading: the leader epoch that it began with. What was appended in one term may be
/// acknowledged in it alone, since the log may have been cut between two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term(LeaderEpoch);

/// What an assignment has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleChange {
    /// It was known before, or is older than what is known.
    Unchanged,
    /// This broker leads.
    Leads {
        /// The new high watermark, if it rose.
        risen: Option<Offset>,
        /// The ISR had this broker alone, and now has others too.
        needs_others: bool,
    },
    /// Another broker leads, or none.
    Follows,
}

impl Role {
    /// Before the first assignment. `high_watermark` is what is known to be committed.
    pub fn new(broker: BrokerId, high_watermark: Offset) -> Role {
        Role { broker, leader_epoch: LeaderEpoch::UNKNOWN, partition_epoch: -1, leading: None, high_watermark }
    }

    /// Takes an assignment; `durable_end` is that of this broker's disk.
    ///
    /// # Panics
    /// If this broker leads and is not in the ISR, which no election gives.
    pub fn apply(&mut self, assignment: &PartitionImage, min_insync_replicas: i32, durable_end: Offset) -> RoleChange {
        if assignment.partition_epoch <= self.partition_epoch {
            return RoleChange::Unchanged;
        }
        let PartitionImage { replicas, isr, leader, leader_epoch, partition_epoch, .. } = assignment;
        let is_new_epoch = *leader_epoch != self.leader_epoch;
        self.partition_epoch = *partition_epoch;
        self.leader_epoch = *leader_epoch;
        let led = self.leading.take();
        if *leader != Some(self.broker) {
            return RoleChange::Follows;
        }
        let was_alone = led.as_ref().is_some_and(|led| led.state.is_alone_in_sync());
        let term = led.as_ref().map_or(Term(*leader_epoch), |led| led.term);
        let state = match led {
            Some(Leading { mut state, .. }) if !is_new_epoch => {
                state.on_assignment(replicas, isr);
                state
            }
            _ => {
                let mut state = LeaderState::new(self.broker, replicas, isr, min_insync_replicas, self.high_watermark);
                state.on_durable(self.broker, durable_end);
                state
            }
        };
        let needs_others = was_alone && !state.is_alone_in_sync();
        let risen = (state.high_watermark() > self.high_watermark).then_some(state.high_watermark());
        self.high_watermark = state.high_watermark();
        self.leading = Some(Leading { state, term });
        RoleChange::Leads { risen, needs_others }
    }

    /// A replica has everything before `end` on disk. Gives the high watermark if it rose.
    pub fn on_durable(&mut self, replica: BrokerId, end: Offset) -> Option<Offset> {
        self.with_leading(|state| state.on_durable(replica, end))
    }

    /// `min.insync.replicas` is another now. Gives the high watermark if it rose.
    pub fn on_min_insync_replicas(&mut self, min_insync_replicas: i32) -> Option<Offset> {
        self.with_leading(|state| state.on_min_insync_replicas(min_insync_replicas))
    }

    fn with_leading(&mut self, change: impl FnOnce(&mut LeaderState) -> Option<Offset>) -> Option<Offset> {
        let risen = change(&mut self.leading.as_mut()?.state);
        if let Some(high_watermark) = risen {
            self.high_watermark = high_watermark;
        }
        risen
    }

    /// The term in which this broker leads; `None` while it does not.
    pub fn term(&self) -> Option<Term> {
        self.leading.as_ref().map(|leading| leading.term)
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// This broker leads, and fewer replicas than `min.insync.replicas` are in sync.
    pub fn is_under_min_isr(&self) -> bool {
        self.leading.as_ref().is_some_and(|leading| !leading.state.has_min_insync_replicas())
    }

    /// This broker leads, and what it appends is committed only when other brokers have it too.
    pub fn needs_others(&self) -> bool {
        self.leading.as_ref().is_some_and(|leading| !leading.state.is_alone_in_sync())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: BrokerId = BrokerId(1);
    const SECOND: BrokerId = BrokerId(2);
    const THIRD: BrokerId = BrokerId(3);

    /// What the metadata says at `partition_epoch`: three replicas.
    fn assignment(
        leader: Option<BrokerId>,
        leader_epoch: i32,
        isr: &[BrokerId],
        partition_epoch: i32,
    ) -> PartitionImage {
        PartitionImage {
            replicas: [HERE, SECOND, THIRD].into(),
            isr: isr.into(),
            leader,
            leader_epoch: LeaderEpoch(leader_epoch),
            partition_epoch,
            reassignment: None,
            elr: Default::default(),
            last_known_elr: Default::default(),
        }
    }

    fn leads(risen: Option<i64>) -> RoleChange {
        RoleChange::Leads { risen: risen.map(Offset), needs_others: false }
    }

    #[test]
    fn a_leader_that_is_alone_in_sync_commits_what_its_disk_has() {
        let mut role = Role::new(HERE, Offset(3));
        assert_eq!(role.apply(&assignment(Some(HERE), 0, &[HERE], 0), 1, Offset(7)), leads(Some(7)));
        assert_eq!(role.on_durable(HERE, Offset(9)), Some(Offset(9)));
        assert_eq!(role.high_watermark(), Offset(9));
    }

    #[test]
    fn with_others_in_sync_the_high_watermark_waits_for_them() {
        let mut role = Role::new(HERE, Offset(3));
        assert_eq!(role.apply(&assignment(Some(HERE), 0, &[HERE, SECOND], 0), 1, Offset(7)), leads(None));
        assert!(role.needs_others());
        assert_eq!(role.on_durable(HERE, Offset(9)), None);
        assert_eq!(role.high_watermark(), Offset(3));
        assert_eq!(role.apply(&assignment(Some(HERE), 0, &[HERE], 1), 1, Offset(9)), leads(Some(9)), "it left the ISR");
    }

    #[test]
    fn the_isr_that_grows_is_told_once() {
        let mut role = Role::new(HERE, Offset(0));
        role.apply(&assignment(Some(HERE), 0, &[HERE], 0), 1, Offset(7));
        let grown = RoleChange::Leads { risen: None, needs_others: true };
        assert_eq!(role.apply(&assignment(Some(HERE), 0, &[HERE, SECOND], 1), 1, Offset(7)), grown);
        assert_eq!(role.apply(&assignment(Some(HERE), 0, &[HERE, SECOND, THIRD], 2), 1, Offset(7)), leads(None));
    }

    #[test]
    fn a_follower_has_no_term_and_keeps_its_high_watermark() {
        let mut role = Role::new(HERE, Offset(0));
        role.apply(&assignment(Some(HERE), 0, &[HERE], 0), 2, Offset(7));
        assert!(role.is_under_min_isr() && role.term().is_some());
        for (leader, epoch) in [(Some(SECOND), 1), (None, 2)] {
            let change = role.apply(&assignment(leader, epoch, &[SECOND], epoch), 1, Offset(9));
            assert_eq!(change, RoleChange::Follows);
            assert_eq!((role.term(), role.leader_epoch()), (None, LeaderEpoch(epoch)));
            assert!(!role.is_under_min_isr() && !role.needs_others());
            assert_eq!(role.on_durable(HERE, Offset(20)), None, "the leader says what is committed");
            assert_eq!(role.high_watermark(), Offset(0), "it had stood still below min.insync.replicas");
        }
        // An old high watermark is where the next term goes on, even where the disk has less.
        let mut role = Role::new(HERE, Offset(7));
        role.apply(&assignment(Some(SECOND), 1, &[HERE, SECOND], 1), 1, Offset(9));
        assert_eq!(role.apply(&assignment(Some(HERE), 2, &[HERE], 2), 1, Offset(5)), leads(None));
        assert_eq!(role.high_watermark(), Offset(7));
    }

    #[test]
    fn a_term_lasts_over_epochs_and_ends_with_the_leadership() {
        let mut role = Role::new(HERE, Offset(0));
        role.apply(&assignment(Some(HERE), 4, &[HERE], 1), 1, Offset(7));
        let term = role.term().expect("leads");
        role.apply(&assignment(Some(HERE), 5, &[HERE], 2), 1, Offset(7));
        assert_eq!((role.term(), role.leader_epoch()), (Some(term), LeaderEpoch(5)));
        role.apply(&assignment(Some(SECOND), 6, &[HERE, SECOND], 3), 1, Offset(7));
        role.apply(&assignment(Some(HERE), 7, &[HERE], 4), 1, Offset(7));
        assert!(role.term().is_some_and(|again| again != term));
    }

    #[test]
    fn what_replicas_had_at_another_epoch_does_not_count() {
        let mut role = Role::new(HERE, Offset(0));
        role.apply(&assignment(Some(HERE), 0, &[HERE, SECOND], 0), 1, Offset(5));
        assert_eq!(role.on_durable(SECOND, Offset(3)), Some(Offset(3)));
        role.apply(&assignment(Some(HERE), 0, &[HERE, SECOND, THIRD], 1), 1, Offset(5));
        assert_eq!(role.on_durable(THIRD, Offset(4)), None, "the second is known to have 3");
        assert_eq!(role.on_durable(SECOND, Offset(5)), Some(Offset(4)));
        role.apply(&assignment(Some(HERE), 1, &[HERE, SECOND], 2), 1, Offset(5));
        assert_eq!(role.on_durable(HERE, Offset(6)), None, "a new epoch: the second has said nothing yet");
        assert_eq!(role.on_durable(SECOND, Offset(5)), Some(Offset(5)));
    }

    #[test]
    fn an_assignment_that_is_not_newer_changes_nothing() {
        let mut role = Role::new(HERE, Offset(0));
        role.apply(&assignment(Some(HERE), 3, &[HERE], 5), 1, Offset(7));
        for old in [assignment(Some(SECOND), 2, &[SECOND], 4), assignment(Some(HERE), 3, &[HERE], 5)] {
            assert_eq!(role.apply(&old, 1, Offset(8)), RoleChange::Unchanged);
            assert_eq!((role.leader_epoch(), role.high_watermark()), (LeaderEpoch(3), Offset(7)));
            assert!(role.term().is_some());
        }
    }
}
