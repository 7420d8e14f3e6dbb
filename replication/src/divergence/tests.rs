use super::*;
use crate::testing::TestLog;
use proptest::prelude::*;

/// Lets the two agree, and gives the number of cuts that it took.
fn agree(follower: &mut TestLog, leader: &TestLog) -> usize {
    for cuts in 0..100 {
        let tail = follower.tail();
        match judge(&tail, leader) {
            Verdict::Agrees => return cuts,
            Verdict::Cut { epoch, end } => follower.cut(cut(epoch, end, follower)),
            Verdict::Restart => follower.cut(Cut::RestartAt(leader.log_start())),
            Verdict::Ahead { found, newest } => panic!("{found} is beyond {newest}"),
        }
        assert_ne!(follower.tail(), tail, "a cut takes something away");
    }
    panic!("they do not agree: {follower:?} and {leader:?}");
}

/// Epochs with where they begin, and the end of the log.
type History<'a> = (&'a [(i32, i64)], i64);

#[test]
fn logs_with_a_common_begin_agree_where_they_part() {
    // Leader and follower, the end they agree on, and the cuts until then.
    let cases: &[(History<'_>, History<'_>, i64, usize)] = &[
        // Nothing to cut.
        ((&[(1, 0)], 10), (&[(1, 0)], 10), 10, 0),
        ((&[(1, 0)], 10), (&[(1, 0)], 7), 7, 0),
        ((&[(1, 0), (2, 10)], 20), (&[(1, 0)], 7), 7, 0),
        ((&[(1, 0), (2, 10)], 20), (&[(1, 0)], 10), 10, 0),
        ((&[(1, 0)], 10), (&[], 0), 0, 0),
        ((&[(1, 0)], 0), (&[], 0), 0, 0),
        // The leader of the same epoch has started anew with less: it leads at a later one.
        ((&[(1, 0), (3, 5)], 5), (&[(1, 0)], 10), 5, 1),
        // The follower led, and wrote what nobody else has.
        ((&[(1, 0), (3, 10)], 12), (&[(1, 0), (2, 10)], 15), 10, 1),
        // It led and wrote nothing.
        ((&[(1, 0), (3, 10)], 12), (&[(1, 0), (2, 10)], 10), 10, 1),
        // KIP-101: the follower has less than the leader kept, and the high watermark plays no part.
        ((&[(1, 0), (2, 2)], 4), (&[(1, 0)], 2), 2, 0),
        // KIP-279: leaders failed quickly one after the other. Of the follower's newest epoch the leader knows nothing, and of
        // the one that it names instead the follower does not.
        ((&[(1, 0), (3, 10), (5, 20)], 30), (&[(1, 0), (2, 10), (4, 15)], 25), 10, 2),
        ((&[(1, 0), (3, 10), (5, 20)], 30), (&[(1, 0), (2, 10), (4, 15)], 18), 10, 2),
        ((&[(1, 0), (2, 10), (5, 20)], 30), (&[(1, 0), (2, 10), (4, 12)], 18), 12, 1),
        ((&[(0, 0), (4, 2)], 5), (&[(0, 0), (1, 2), (2, 3), (3, 4)], 6), 2, 1),
        // Nothing in common.
        ((&[(2, 0)], 10), (&[(1, 0)], 10), 0, 1),
        ((&[(1, 0), (3, 4)], 10), (&[(2, 0)], 10), 0, 1),
    ];
    for ((leader, leader_end), (follower, follower_end), expected, cuts) in cases {
        let leader = TestLog::new(leader, *leader_end);
        let before = TestLog::new(follower, *follower_end);
        let mut after = before.clone();
        let taken = agree(&mut after, &leader);
        assert_eq!((after.end(), taken), (*expected, *cuts), "{leader:?} and {before:?}");
        assert_eq!(after.records, leader.records[..after.records.len()]);
    }
}

#[test]
fn who_is_below_the_leaders_log_start_begins_anew_there() {
    let mut leader = TestLog::new(&[(1, 0), (2, 10)], 20);
    leader.raise_start(12);
    for (epochs, end) in [(&[(1, 0)][..], 5), (&[], 0), (&[(1, 0), (2, 10)], 11)] {
        let mut follower = TestLog::new(epochs, end);
        assert_eq!(judge(&follower.tail(), &leader), Verdict::Restart);
        assert_eq!(agree(&mut follower, &leader), 1);
        assert_eq!((follower.start, follower.end()), (12, 12));
    }
    let mut there = TestLog::new(&[(1, 0), (2, 10)], 12);
    assert_eq!(agree(&mut there, &leader), 0, "it has all that is gone, of an epoch that goes on");
}

#[test]
fn an_epoch_that_the_leader_does_not_know_any_more_is_no_agreement() {
    // What the leader had of epoch 1 is gone; what the follower has of it, up to where the log begins, may be anything.
    let mut leader = TestLog::new(&[(1, 0), (3, 8)], 20);
    leader.raise_start(10);
    for end in [9, 10, 15] {
        let mut follower = TestLog::new(&[(1, 0)], end);
        assert_eq!(judge(&follower.tail(), &leader), Verdict::Restart, "{end}");
        agree(&mut follower, &leader);
        assert_eq!((follower.start, follower.end()), (10, 10));
    }
}

#[test]
fn who_is_empty_beyond_the_leaders_log_begins_anew() {
    let leader = TestLog::new(&[(1, 0)], 5);
    let follower = TestLog { start: 8, ..TestLog::default() };
    assert_eq!(judge(&follower.tail(), &leader), Verdict::Restart);
}

#[test]
fn no_follower_knows_a_later_epoch() {
    let leader = TestLog::new(&[(1, 0), (4, 5)], 10);
    let follower = TestLog::new(&[(1, 0), (5, 5)], 6);
    let ahead = Verdict::Ahead { found: LeaderEpoch(5), newest: LeaderEpoch(4) };
    assert_eq!(judge(&follower.tail(), &leader), ahead);
}

#[test]
fn a_follower_cuts_to_what_both_have_of_the_epoch() {
    let follower = TestLog::new(&[(1, 0), (2, 10), (4, 15)], 25);
    let to = |epoch, end| cut(LeaderEpoch(epoch), Offset(end), &follower);
    assert_eq!(to(4, 20), Cut::TruncateTo(Offset(20)));
    assert_eq!(to(4, 90), Cut::TruncateTo(Offset(25)));
    assert_eq!(to(3, 20), Cut::TruncateTo(Offset(15)), "it does not know the epoch, and knows an earlier one");
    assert_eq!(to(2, 12), Cut::TruncateTo(Offset(12)));
    assert_eq!(to(0, 5), Cut::TruncateTo(Offset(0)), "all that it has is later");
    assert_eq!(to(9, 20), Cut::TruncateTo(Offset(20)), "of a later epoch it has nothing");
    let mut late = follower.clone();
    late.raise_start(12);
    assert_eq!(cut(LeaderEpoch(1), Offset(10), &late), Cut::RestartAt(Offset(10)));
}

fn batch(base: i64, last: i64, crc: u32) -> BatchMark {
    BatchMark { base_offset: Offset(base), last_offset: Offset(last), leader_epoch: LeaderEpoch(3), crc }
}

#[test]
fn where_logs_meet_the_batches_are_the_same() {
    let tail = |last_batch| LogTail { log_end: Offset(10), latest_epoch: LeaderEpoch(3), last_batch };
    let own = batch(8, 9, 77);
    assert_eq!(meet(&tail(Some(own)), Some(own), None), Meeting::Same);
    assert_eq!(meet(&tail(Some(own)), None, None), Meeting::Same, "the leader's is gone");
    let others =
        [batch(8, 9, 78), batch(7, 9, 77), batch(8, 11, 77), BatchMark { leader_epoch: LeaderEpoch(2), ..own }];
    for leader in others {
        let differ = Meeting::Differ { leader, follower: own };
        assert_eq!(meet(&tail(Some(own)), Some(leader), None), differ);
    }
    assert_eq!(meet(&tail(None), None, Some(batch(10, 12, 1))), Meeting::Same);
    assert_eq!(meet(&tail(None), None, None), Meeting::Same);
    let within = Meeting::Within { base_offset: Offset(8) };
    assert_eq!(meet(&tail(None), None, Some(batch(8, 12, 1))), within);
}

/// What befalls three replicas of a partition.
#[derive(Clone, Debug)]
enum Step {
    /// Leads from now on, at a new epoch.
    Lead(usize),
    /// The leader appends so many records.
    Append(usize),
    /// A replica agrees with the leader, and gets so many records.
    Follow(usize, usize),
    /// Loses so many of its last records, as by a crash.
    Lose(usize, usize),
    /// The leader deletes so many of its first records.
    Delete(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..3_usize).prop_map(Step::Lead),
        4 => (1..4_usize).prop_map(Step::Append),
        4 => (0..3_usize, 0..5_usize).prop_map(|(replica, records)| Step::Follow(replica, records)),
        1 => (0..3_usize, 1..4_usize).prop_map(|(replica, records)| Step::Lose(replica, records)),
        1 => (1..3_usize).prop_map(Step::Delete),
    ]
}

/// Three logs after these steps, and who leads.
fn history(steps: &[Step], deletes: bool) -> ([TestLog; 3], usize) {
    let mut logs: [TestLog; 3] = Default::default();
    let (mut leader, mut epoch) = (0, 0);
    logs[0].begin(0);
    for step in steps {
        match *step {
            Step::Lead(replica) => {
                (leader, epoch) = (replica, epoch + 1);
                logs[leader].begin(epoch);
            }
            Step::Append(records) => (0..records).for_each(|_| logs[leader].append(epoch)),
            Step::Follow(replica, records) if replica != leader => {
                let mut follower = logs[replica].clone();
                agree(&mut follower, &logs[leader]);
                let from = (follower.end() - logs[leader].start) as usize;
                for (by, crc) in logs[leader].records[from..].iter().take(records) {
                    follower.begin(*by);
                    follower.records.push((*by, *crc));
                }
                logs[replica] = follower;
            }
            // What a leader loses it loses with its leadership.
            Step::Lose(replica, records) if replica != leader => {
                let end = logs[replica].end();
                let to = (end - records as i64).max(logs[replica].start);
                logs[replica].truncate(to);
            }
            Step::Delete(records) if deletes => {
                let to = (logs[leader].start + records as i64).min(logs[leader].end());
                logs[leader].raise_start(to);
            }
            Step::Follow(..) | Step::Lose(..) | Step::Delete(_) => {}
        }
    }
    // Whoever leads has begun its epoch, and so knows one that no other has.
    logs[leader].begin(epoch + 1);
    (logs, leader)
}

proptest! {
    /// Two logs with a common history agree on their longest common begin: not more, and nothing of it is given up.
    #[test]
    fn what_remains_is_the_longest_common_begin(steps in proptest::collection::vec(step(), 1..60)) {
        let (mut logs, leader) = history(&steps, false);
        let leader = std::mem::take(&mut logs[leader]);
        for follower in &mut logs {
            let common = follower.records.iter().zip(&leader.records).take_while(|(one, other)| one == other).count();
            let epochs = follower.epochs.len();
            let cuts = agree(follower, &leader);
            prop_assert_eq!(follower.records.len(), common);
            prop_assert!(cuts <= epochs, "each round takes an epoch");
        }
    }

    /// The same where leaders delete their first records: what remains is a part of the leader's log, up to its log start.
    #[test]
    fn what_remains_is_part_of_the_leaders_log(steps in proptest::collection::vec(step(), 1..60)) {
        let (mut logs, leader) = history(&steps, true);
        let leader = std::mem::take(&mut logs[leader]);
        for follower in &mut logs {
            agree(follower, &leader);
            prop_assert!((leader.start..=leader.end()).contains(&follower.end()));
            for offset in follower.start.max(leader.start)..follower.end() {
                prop_assert_eq!(follower.at(Offset(offset)), leader.at(Offset(offset)));
            }
        }
    }
}
