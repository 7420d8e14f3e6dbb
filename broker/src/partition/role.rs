//! What this broker is for a partition, leader or follower, and up to where the partition is committed. Pure.
//!
//! A role follows the assignments of the metadata, in order of their partition epoch; one that is not newer than the last
//! changes nothing. The high watermark outlives every change of role and never goes back, unless what it covered was cut.

use metadata::image::PartitionImage;
use protocol::{BrokerId, LeaderEpoch, Offset};
use replication::leader::{Assignment, Leader, Now, Settings};

/// The role of one replica.
#[derive(Debug)]
pub struct Role {
    broker: BrokerId,
    leader_epoch: LeaderEpoch,
    /// -1 before the first assignment.
    partition_epoch: i32,
    settings: Settings,
    /// `None` for a follower, and while nobody leads.
    leading: Option<Leading>,
    leader: Option<BrokerId>,
    in_sync: bool,
    is_replicated: bool,
    high_watermark: Offset,
}

#[derive(Debug)]
struct Leading {
    leader: Leader,
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
        /// The partition had this replica alone, and now has others too.
        needs_others: bool,
    },
    /// Another broker leads, or none.
    Follows,
}

/// The ends of this broker's log, and the time, at an assignment.
#[derive(Clone, Copy, Debug)]
pub struct LogEnds {
    pub log_end: Offset,
    pub durable_end: Offset,
    /// Of a clock that never goes back.
    pub now_ms: u64,
}

impl Role {
    /// Before the first assignment. `high_watermark` is what is known to be committed.
    pub fn new(broker: BrokerId, settings: Settings, high_watermark: Offset) -> Role {
        Role {
            broker,
            leader_epoch: LeaderEpoch::UNKNOWN,
            partition_epoch: -1,
            settings,
            leading: None,
            leader: None,
            in_sync: false,
            is_replicated: false,
            high_watermark,
        }
    }

    /// Takes an assignment.
    ///
    /// # Panics
    /// If this broker leads and is not in the ISR, which no election gives.
    pub fn apply(&mut self, image: &PartitionImage, ends: LogEnds) -> RoleChange {
        if image.partition_epoch <= self.partition_epoch {
            return RoleChange::Unchanged;
        }
        let PartitionImage { replicas, isr, leader, leader_epoch, partition_epoch, .. } = image;
        let (leader_epoch, partition_epoch) = (*leader_epoch, *partition_epoch);
        let is_new_epoch = leader_epoch != self.leader_epoch;
        self.partition_epoch = partition_epoch;
        self.leader_epoch = leader_epoch;
        self.leader = *leader;
        self.in_sync = isr.contains(&self.broker);
        self.is_replicated = replicas.len() > 1;
        let led = self.leading.take();
        if *leader != Some(self.broker) {
            return RoleChange::Follows;
        }
        let was_alone = led.as_ref().is_some_and(|led| !led.leader.has_followers());
        let term = led.as_ref().map_or(Term(leader_epoch), |led| led.term);
        let assignment = Assignment { replicas, isr, leader_epoch, partition_epoch };
        let leader = match led {
            Some(Leading { mut leader, .. }) if !is_new_epoch => {
                leader.on_assignment(assignment);
                leader
            }
            _ => {
                let now = Now { ms: ends.now_ms, log_end: ends.log_end, brokers: &|_| None };
                Leader::new(self.broker, assignment, self.settings, self.high_watermark, ends.durable_end, now)
            }
        };
        let needs_others = was_alone && leader.has_followers();
        let risen = (leader.high_watermark() > self.high_watermark).then_some(leader.high_watermark());
        self.high_watermark = leader.high_watermark();
        self.leading = Some(Leading { leader, term });
        RoleChange::Leads { risen, needs_others }
    }

    /// This broker's disk has everything before `end`. Gives the high watermark if it rose.
    pub fn on_own_durable(&mut self, end: Offset) -> Option<Offset> {
        self.lead(|leader| leader.on_own_durable(end)).flatten()
    }

    /// Has the leader judge something, if this broker leads, and follows its high watermark.
    pub fn lead<T>(&mut self, event: impl FnOnce(&mut Leader) -> T) -> Option<T> {
        let leader = &mut self.leading.as_mut()?.leader;
        let result = event(leader);
        self.high_watermark = leader.high_watermark();
        Some(result)
    }

    pub fn leader(&self) -> Option<&Leader> {
        self.leading.as_ref().map(|leading| &leading.leader)
    }

    /// The leader of the current epoch has said, to this follower, that what lies before `end`, which is on this disk, is
    /// committed. Says whether that is news.
    pub fn on_told(&mut self, end: Offset) -> bool {
        let risen = self.leading.is_none() && end > self.high_watermark;
        if risen {
            self.high_watermark = end;
        }
        risen
    }

    /// The log was cut, and ends at `end`. Gives the high watermark of before if that was above: what was committed is lost.
    pub fn on_cut(&mut self, end: Offset) -> Option<Offset> {
        let before = self.high_watermark;
        self.high_watermark = before.min(end);
        (before > end).then_some(before)
    }

    /// The settings are others now. Gives the high watermark if it rose.
    pub fn on_settings(&mut self, settings: Settings) -> Option<Offset> {
        self.settings = settings;
        self.lead(|leader| leader.on_settings(settings)).flatten()
    }

    /// The term in which this broker leads; `None` while it does not.
    pub fn term(&self) -> Option<Term> {
        self.leading.as_ref().map(|leading| leading.term)
    }

    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// Others have replicas too.
    pub fn is_replicated(&self) -> bool {
        self.is_replicated
    }

    pub fn leader_id(&self) -> Option<BrokerId> {
        self.leader
    }

    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// Another broker leads, and this one is in sync: consumers may read here what it is told to be committed.
    pub fn follows_in_sync(&self) -> bool {
        self.in_sync && self.leader.is_some_and(|leader| leader != self.broker)
    }

    /// This broker leads, and fewer replicas than `min.insync.replicas` are in sync.
    pub fn is_under_min_isr(&self) -> bool {
        self.leader().is_some_and(|leader| !leader.has_min_insync_replicas())
    }

    /// This broker leads, and what it appends may be committed only when other brokers have it too.
    pub fn needs_others(&self) -> bool {
        self.leader().is_some_and(Leader::has_followers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: BrokerId = BrokerId(1);
    const SECOND: BrokerId = BrokerId(2);
    const THIRD: BrokerId = BrokerId(3);

    const SETTINGS: Settings = Settings { min_insync_replicas: 1, lag_time_max_ms: 30_000 };

    fn role_from(high_watermark: i64) -> Role {
        Role::new(HERE, SETTINGS, Offset(high_watermark))
    }

    /// A log of which all is on disk.
    fn ends(end: i64) -> LogEnds {
        LogEnds { log_end: Offset(end), durable_end: Offset(end), now_ms: 1_000_000 }
    }

    /// A follower has agreed up to `end`, or acknowledges it.
    fn followed(role: &mut Role, follower: BrokerId, end: i64) -> Option<Offset> {
        let now = Now { ms: 1_000_001, log_end: Offset(1000), brokers: &|_| Some(1) };
        role.lead(|leader| leader.on_agreed(follower, 1, Offset(end), now).high_watermark).flatten()
    }

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
        let mut role = role_from(3);
        assert_eq!(role.apply(&assignment(Some(HERE), 0, &[HERE], 0), ends(7)), leads(Some(7)));
        assert_eq!(role.on_own_durable(Offset(9)), Some(Offset(9)));
        assert_eq!(role.high_watermark(), Offset(9));
    }

    #[test]
    fn with_others_in_sync_the_high_watermark_waits_for_them() {
        let mut role = role_from(3);
        assert_eq!(role.apply(&assignment(Some(HERE), 0, &[HERE, SECOND], 0), ends(7)), leads(None));
        assert!(role.needs_others());
        assert_eq!(role.on_own_durable(Offset(9)), None);
        assert_eq!(role.high_watermark(), Offset(3));
        assert_eq!(role.apply(&assignment(Some(HERE), 0, &[HERE], 1), ends(9)), leads(Some(9)), "it left the ISR");
    }

    #[test]
    fn replicas_that_are_added_are_told_once() {
        let mut role = role_from(0);
        let alone = PartitionImage { replicas: [HERE].into(), ..assignment(Some(HERE), 0, &[HERE], 0) };
        role.apply(&alone, ends(7));
        let grown = RoleChange::Leads { risen: None, needs_others: true };
        assert_eq!(role.apply(&assignment(Some(HERE), 0, &[HERE, SECOND], 1), ends(7)), grown);
        assert_eq!(role.apply(&assignment(Some(HERE), 0, &[HERE, SECOND, THIRD], 2), ends(7)), leads(None));
    }

    #[test]
    fn a_follower_has_no_term_and_keeps_its_high_watermark() {
        let mut role = role_from(0);
        role.on_settings(Settings { min_insync_replicas: 2, ..SETTINGS });
        role.apply(&assignment(Some(HERE), 0, &[HERE], 0), ends(7));
        assert!(role.is_under_min_isr() && role.term().is_some());
        for (leader, epoch) in [(Some(SECOND), 1), (None, 2)] {
            let change = role.apply(&assignment(leader, epoch, &[SECOND], epoch), ends(9));
            assert_eq!(change, RoleChange::Follows);
            assert_eq!((role.term(), role.leader_epoch()), (None, LeaderEpoch(epoch)));
            assert!(!role.is_under_min_isr() && !role.needs_others());
            assert_eq!(role.on_own_durable(Offset(20)), None, "the leader says what is committed");
            assert_eq!(role.high_watermark(), Offset(0), "it had stood still below min.insync.replicas");
        }
        // An old high watermark is where the next term goes on, even where the disk has less.
        let mut role = role_from(7);
        role.apply(&assignment(Some(SECOND), 1, &[HERE, SECOND], 1), ends(9));
        assert_eq!(role.apply(&assignment(Some(HERE), 2, &[HERE], 2), ends(5)), leads(None));
        assert_eq!(role.high_watermark(), Offset(7));
    }

    #[test]
    fn a_term_lasts_over_epochs_and_ends_with_the_leadership() {
        let mut role = role_from(0);
        role.apply(&assignment(Some(HERE), 4, &[HERE], 1), ends(7));
        let term = role.term().expect("leads");
        role.apply(&assignment(Some(HERE), 5, &[HERE], 2), ends(7));
        assert_eq!((role.term(), role.leader_epoch()), (Some(term), LeaderEpoch(5)));
        role.apply(&assignment(Some(SECOND), 6, &[HERE, SECOND], 3), ends(7));
        role.apply(&assignment(Some(HERE), 7, &[HERE], 4), ends(7));
        assert!(role.term().is_some_and(|again| again != term));
    }

    #[test]
    fn what_replicas_had_at_another_epoch_does_not_count() {
        let mut role = role_from(0);
        role.apply(&assignment(Some(HERE), 0, &[HERE, SECOND], 0), ends(5));
        assert_eq!(followed(&mut role, SECOND, 3), Some(Offset(3)));
        role.apply(&assignment(Some(HERE), 0, &[HERE, SECOND, THIRD], 1), ends(5));
        assert_eq!(followed(&mut role, THIRD, 4), None, "the second is known to have 3");
        assert_eq!(followed(&mut role, SECOND, 5), Some(Offset(4)));
        role.apply(&assignment(Some(HERE), 1, &[HERE, SECOND], 2), ends(5));
        assert_eq!(role.on_own_durable(Offset(6)), None, "a new epoch: the second has said nothing yet");
        assert_eq!(followed(&mut role, SECOND, 5), Some(Offset(5)));
    }

    #[test]
    fn an_assignment_that_is_not_newer_changes_nothing() {
        let mut role = role_from(0);
        role.apply(&assignment(Some(HERE), 3, &[HERE], 5), ends(7));
        for old in [assignment(Some(SECOND), 2, &[SECOND], 4), assignment(Some(HERE), 3, &[HERE], 5)] {
            assert_eq!(role.apply(&old, ends(8)), RoleChange::Unchanged);
            assert_eq!((role.leader_epoch(), role.high_watermark()), (LeaderEpoch(3), Offset(7)));
            assert!(role.term().is_some());
        }
    }
}
