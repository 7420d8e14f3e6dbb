#![allow(unused_must_use, reason = "what follows from an event is looked at where a test is about it")]

use super::*;

mod definition;
mod joining;

const ME: BrokerId = BrokerId(1);
const SECOND: BrokerId = BrokerId(2);
const THIRD: BrokerId = BrokerId(3);
const ALL: [BrokerId; 3] = [ME, SECOND, THIRD];
const LAG_MS: u64 = 1000;

/// Everybody is let in; broker epochs are ten times the id.
fn everybody(broker: BrokerId) -> Option<u64> {
    Some(broker.0 as u64 * 10)
}

fn without_third(broker: BrokerId) -> Option<u64> {
    everybody(broker).filter(|_| broker != THIRD)
}

fn at(ms: u64, log_end: i64) -> Now<'static> {
    static EVERYBODY: fn(BrokerId) -> Option<u64> = everybody;
    Now { ms, log_end: Offset(log_end), brokers: &EVERYBODY }
}

fn fenced_third(ms: u64, log_end: i64) -> Now<'static> {
    static WITHOUT: fn(BrokerId) -> Option<u64> = without_third;
    Now { brokers: &WITHOUT, ..at(ms, log_end) }
}

fn assignment<'a>(replicas: &'a [BrokerId], isr: &'a [BrokerId], partition_epoch: i32) -> Assignment<'a> {
    Assignment { replicas, isr, leader_epoch: LeaderEpoch(7), partition_epoch }
}

fn settings(min_insync_replicas: i32) -> Settings {
    Settings { min_insync_replicas, lag_time_max_ms: LAG_MS }
}

/// Its epoch begins at `end`, all of it on its disk, with 5 committed, at partition epoch 3 and 0 ms.
fn leader(isr: &[BrokerId], min_insync: i32, end: i64) -> Leader {
    Leader::new(ME, assignment(&ALL, isr, 3), settings(min_insync), Offset(5), Offset(end), at(0, end))
}

fn agree(leader: &mut Leader, follower: BrokerId, end: i64, now: Now<'_>) -> Effects {
    leader.on_agreed(follower, everybody(follower).unwrap(), Offset(end), now)
}

fn rose(to: i64) -> Effects {
    Effects { high_watermark: Some(Offset(to)), proposal: None }
}

fn proposed(isr: &[BrokerId]) -> Option<Proposal> {
    let isr = isr.iter().map(|id| (*id, everybody(*id).unwrap())).collect();
    Some(Proposal { leader_epoch: LeaderEpoch(7), partition_epoch: 3, isr })
}

/// A leader of all three in sync, at 10, of which the third falls behind: what it proposes at `LAG_MS + 1`.
fn shrinking() -> (Leader, Option<Proposal>) {
    let mut leader = leader(&ALL, 1, 10);
    assert_eq!(agree(&mut leader, SECOND, 10, at(1, 10)), Effects::default());
    assert_eq!(leader.on_own_durable(Offset(12)), None);
    assert_eq!(leader.on_durable(SECOND, Offset(12), at(2, 12)), Effects::default(), "the third has said nothing");
    assert_eq!(leader.on_tick(at(LAG_MS, 12)), Effects::default(), "it may take its time");
    let Effects { high_watermark, proposal } = leader.on_tick(at(LAG_MS + 1, 12));
    assert_eq!(high_watermark, None);
    (leader, proposal)
}

#[test]
fn a_lone_leader_commits_what_its_own_disk_has() {
    let mut leader = Leader::new(ME, assignment(&[ME], &[ME], 0), settings(1), Offset::ZERO, Offset(2), at(0, 4));
    assert_eq!(leader.high_watermark(), Offset(2), "what is on disk from before is committed at once");
    assert!(!leader.has_followers());
    assert_eq!(leader.on_own_durable(Offset(4)), Some(Offset(4)));
    assert_eq!(leader.on_own_durable(Offset(4)), None, "nothing new");
    assert_eq!(leader.on_own_durable(Offset(3)), None, "overtaken");
    assert_eq!(leader.high_watermark(), Offset(4));
}

#[test]
fn every_member_of_the_isr_counts_and_no_other() {
    let mut leader = leader(&[ME, SECOND], 1, 10);
    assert_eq!(leader.high_watermark(), Offset(5), "the second has said nothing");
    assert_eq!(agree(&mut leader, THIRD, 6, at(1, 10)), Effects::default(), "not in sync");
    assert_eq!(agree(&mut leader, BrokerId(9), 9, at(1, 10)), Effects::default(), "no replica");
    assert_eq!(agree(&mut leader, SECOND, 8, at(1, 10)), rose(8));
    assert_eq!(leader.on_durable(SECOND, Offset(7), at(1, 10)), Effects::default(), "overtaken");
    assert_eq!(leader.on_durable(SECOND, Offset(14), at(1, 15)), rose(10), "the leader's own disk counts too");
    assert_eq!(leader.on_durable(SECOND, Offset(9), at(1, 15)), Effects::default(), "overtaken");
    assert_eq!(leader.on_own_durable(Offset(12)), Some(Offset(12)));
    assert_eq!(leader.on_durable(ME, Offset(20), at(1, 20)), Effects::default(), "nobody speaks for the leader");
}

#[test]
fn before_agreement_nothing_counts() {
    let mut leader = leader(&[ME, SECOND], 1, 10);
    assert_eq!(leader.on_durable(SECOND, Offset(10), at(1, 10)), Effects::default());
    assert_eq!(leader.high_watermark(), Offset(5));
}

#[test]
fn the_high_watermark_stands_still_below_min_insync_replicas() {
    let mut leader = leader(&[ME, SECOND], 3, 10);
    assert!(!leader.has_min_insync_replicas());
    assert_eq!(agree(&mut leader, SECOND, 10, at(1, 10)), Effects::default());
    assert_eq!(leader.on_settings(settings(2)), Some(Offset(10)));
    assert!(leader.has_min_insync_replicas());
}

#[test]
fn no_more_members_are_asked_for_than_there_are_replicas_and_no_fewer_than_one() {
    let mut leader = leader(&ALL, 5, 10);
    assert!(leader.has_min_insync_replicas());
    agree(&mut leader, SECOND, 10, at(1, 10));
    assert_eq!(agree(&mut leader, THIRD, 9, at(1, 10)), rose(9));
    assert_eq!(leader.on_settings(settings(-1)), None);
    assert!(leader.has_min_insync_replicas());
}

#[test]
fn a_smaller_isr_releases_and_a_larger_one_takes_nothing_back() {
    let mut leader = leader(&[ME, SECOND], 1, 10);
    assert_eq!(leader.on_assignment(assignment(&ALL, &[ME], 4)), Some(Offset(10)));
    assert!(!leader.is_in_sync(SECOND));
    assert_eq!(leader.on_assignment(assignment(&ALL, &[ME, THIRD], 5)), None);
    assert_eq!(agree(&mut leader, THIRD, 6, at(1, 10)), Effects::default());
    assert_eq!(leader.high_watermark(), Offset(10));
}

#[test]
fn a_replica_that_stays_keeps_its_end_and_a_new_one_starts_with_none() {
    let fourth = BrokerId(4);
    let mut leader = leader(&[ME, SECOND], 1, 10);
    assert_eq!(agree(&mut leader, SECOND, 8, at(1, 10)), rose(8));
    assert_eq!(leader.on_assignment(assignment(&[ME, fourth, SECOND], &[ME, SECOND], 4)), None);
    assert_eq!(leader.on_durable(SECOND, Offset(9), at(1, 10)), rose(9));
    assert_eq!(agree(&mut leader, THIRD, 10, at(1, 10)), Effects::default(), "no replica any more");
    assert_eq!(leader.on_assignment(assignment(&[ME, fourth], &[ME, fourth], 5)), None, "the new one has said nothing");
    assert_eq!(agree(&mut leader, fourth, 10, at(1, 10)), rose(10));
    assert_eq!(leader.followers().collect::<Vec<_>>(), [fourth]);
}

#[test]
#[should_panic(expected = "is not in its ISR")]
fn an_isr_without_the_leader_is_refused() {
    leader(&[SECOND], 1, 10);
}

#[test]
#[should_panic(expected = "is no replica")]
fn an_isr_beyond_the_replicas_is_refused() {
    leader(&[ME, BrokerId(9)], 1, 10);
}

#[test]
#[should_panic(expected = "another epoch has a leader of its own")]
fn another_leader_epoch_is_refused() {
    let next = Assignment { leader_epoch: LeaderEpoch(8), ..assignment(&ALL, &ALL, 4) };
    leader(&ALL, 1, 10).on_assignment(next);
}

#[test]
fn who_falls_behind_is_left_out_once_the_controller_agrees() {
    let (mut leader, proposal) = shrinking();
    assert_eq!(proposal, proposed(&[ME, SECOND]));
    assert_eq!(leader.on_tick(at(LAG_MS + 2, 12)), Effects::default(), "one at a time");
    assert_eq!(leader.on_own_durable(Offset(13)), None, "the third still counts");
    assert_eq!(leader.on_outcome(3, Outcome::Made, LAG_MS + 3), None, "the metadata has yet to say so");
    assert_eq!(leader.on_tick(at(2 * LAG_MS, 13)), Effects::default());
    assert_eq!(leader.on_assignment(assignment(&ALL, &[ME, SECOND], 4)), Some(Offset(12)));
}

#[test]
fn whoever_acknowledges_is_waited_for() {
    let mut leader = leader(&ALL, 1, 10);
    let mut end = 10;
    for ms in (0..20 * LAG_MS).step_by(300) {
        end += 1;
        let high_watermark = leader.high_watermark();
        leader.on_own_durable(Offset(end));
        for follower in [SECOND, THIRD] {
            assert_eq!(agree(&mut leader, follower, end, at(ms, end)).proposal, None);
        }
        assert!(leader.high_watermark() > high_watermark);
        assert_eq!(leader.on_tick(at(ms, end)).proposal, None);
    }
}

#[test]
fn a_follower_that_is_always_so_many_batches_behind_is_in_sync() {
    let mut leader = leader(&ALL, 1, 10);
    agree(&mut leader, THIRD, 10, at(0, 10));
    // A batch every 100 ms, each acknowledged 500 ms later: it never is where the leader is.
    for batch in 1..200_i64 {
        let ms = batch as u64 * 100;
        leader.on_own_durable(Offset(10 + batch));
        agree(&mut leader, SECOND, (10 + batch - 5).max(10), at(ms, 10 + batch));
        agree(&mut leader, THIRD, 10 + batch, at(ms, 10 + batch));
        assert_eq!(leader.on_tick(at(ms, 10 + batch)).proposal, None, "{batch}");
    }
    // One whose delay is beyond the lag time is not.
    let left_out = (200..400_i64).any(|batch| {
        let (ms, end) = (batch as u64 * 100, 10 + batch);
        leader.on_own_durable(Offset(end));
        agree(&mut leader, SECOND, end - 15, at(ms, end));
        agree(&mut leader, THIRD, end, at(ms, end));
        leader.on_tick(at(ms, end)).proposal == proposed(&[ME, THIRD])
    });
    assert!(left_out);
}

#[test]
fn one_that_makes_progress_without_catching_up_is_not_in_sync() {
    let mut leader = leader(&ALL, 1, 100);
    agree(&mut leader, THIRD, 100, at(0, 100));
    let steps = (1..=15_i64).find(|step| {
        let ms = *step as u64 * 100;
        agree(&mut leader, SECOND, 20 + step, at(ms, 100));
        agree(&mut leader, THIRD, 100, at(ms, 100));
        leader.on_tick(at(ms, 100)).proposal == proposed(&[ME, THIRD])
    });
    assert_eq!(steps, Some(11), "just after the lag time");
}

#[test]
fn after_a_refusal_there_is_a_pause() {
    let (mut leader, _) = shrinking();
    let refused_ms = LAG_MS + 5;
    assert_eq!(leader.on_outcome(3, Outcome::Refused, refused_ms), None);
    leader.on_durable(SECOND, Offset(12), at(refused_ms, 12));
    assert_eq!(leader.on_tick(at(refused_ms + PROPOSAL_PAUSE_MS - 1, 12)).proposal, None);
    leader.on_durable(SECOND, Offset(12), at(refused_ms + PROPOSAL_PAUSE_MS, 12));
    assert_eq!(leader.on_tick(at(refused_ms + PROPOSAL_PAUSE_MS, 12)).proposal, proposed(&[ME, SECOND]));
}

#[test]
fn a_proposal_that_was_refused_counts_until_the_metadata_moves_on() {
    // Another copy of the request may have been made before, or may be made when the third is let in.
    let mut leader = leader(&[ME, SECOND], 1, 10);
    agree(&mut leader, SECOND, 10, at(1, 10));
    assert!(agree(&mut leader, THIRD, 10, at(1, 10)).proposal.is_some());
    assert_eq!(leader.on_lost(THIRD), None);
    leader.on_own_durable(Offset(20));
    leader.on_durable(SECOND, Offset(20), at(2, 20));
    assert_eq!(leader.on_outcome(3, Outcome::Refused, 500), None);
    assert_eq!(leader.on_tick(at(999, 20)).high_watermark, None);
    assert_eq!(leader.on_tick(at(1000, 20)).proposal, proposed(&[ME, SECOND]), "so that it does move on");
    assert_eq!(leader.on_assignment(assignment(&ALL, &[ME, SECOND], 4)), Some(Offset(20)));
}

#[test]
fn a_proposal_without_an_answer_counts_until_the_metadata_moves_on() {
    let mut leader = leader(&[ME, SECOND], 1, 10);
    agree(&mut leader, SECOND, 10, at(1, 10));
    assert!(agree(&mut leader, THIRD, 10, at(1, 10)).proposal.is_some());
    assert_eq!(leader.on_lost(THIRD), None);
    leader.on_own_durable(Offset(20));
    leader.on_durable(SECOND, Offset(20), at(2, 20));
    assert_eq!(leader.on_outcome(3, Outcome::Unknown, 500), None);
    assert_eq!(leader.high_watermark(), Offset(10), "the third may be in the ISR");
    // Asked for once more, whatever it is, so that the metadata moves on.
    leader.on_durable(SECOND, Offset(20), at(1000, 20));
    assert_eq!(leader.on_tick(at(999, 20)).proposal, None);
    assert_eq!(leader.on_tick(at(1000, 20)).proposal, proposed(&[ME, SECOND]));
    assert_eq!(leader.on_outcome(3, Outcome::Refused, 1001), None, "the first may have been made");
    assert_eq!(leader.high_watermark(), Offset(10));
    assert_eq!(leader.on_assignment(assignment(&ALL, &[ME, SECOND], 4)), Some(Offset(20)));
}

#[test]
fn outcomes_of_earlier_partition_epochs_say_nothing() {
    let mut leader = leader(&[ME, SECOND], 1, 10);
    agree(&mut leader, SECOND, 10, at(1, 10));
    agree(&mut leader, THIRD, 10, at(1, 10));
    leader.on_assignment(assignment(&ALL, &[ME, SECOND], 4));
    let again = leader.on_durable(THIRD, Offset(10), at(2, 10)).proposal.expect("it is to join");
    assert_eq!(again.partition_epoch, 4);
    assert_eq!(leader.on_lost(THIRD), None);
    leader.on_own_durable(Offset(20));
    leader.on_durable(SECOND, Offset(20), at(2, 20));
    assert_eq!(leader.on_outcome(3, Outcome::Refused, 3), None);
    assert_eq!(leader.on_tick(at(10, 20)).proposal, None, "the second proposal is on its way still");
    assert_eq!(leader.high_watermark(), Offset(10), "and counts");
}

#[test]
fn told_the_same_again_a_leader_does_not_forget_what_it_proposed() {
    let mut leader = leader(&[ME, SECOND], 1, 10);
    agree(&mut leader, SECOND, 10, at(1, 10));
    agree(&mut leader, THIRD, 10, at(1, 10));
    leader.on_lost(THIRD);
    leader.on_own_durable(Offset(20));
    leader.on_durable(SECOND, Offset(20), at(2, 20));
    assert_eq!(leader.on_assignment(assignment(&ALL, &[ME, SECOND], 3)), None);
    assert_eq!(leader.high_watermark(), Offset(10));
    assert_eq!(leader.on_assignment(assignment(&ALL, &[ME, SECOND], 2)), None, "nor something older");
    assert_eq!(leader.on_tick(at(3, 20)).proposal, None, "it is on its way");
}

#[test]
fn a_follower_that_comes_back_with_less_takes_nothing_back() {
    let mut leader = leader(&[ME, SECOND], 1, 10);
    assert_eq!(agree(&mut leader, SECOND, 10, at(1, 10)), rose(10));
    leader.on_own_durable(Offset(20));
    assert_eq!(leader.on_agreed(SECOND, 21, Offset(8), at(2, 20)), Effects::default());
    assert_eq!(leader.on_durable(SECOND, Offset(15), at(3, 20)), rose(15));
}

#[test]
fn a_leader_that_is_fenced_proposes_nothing() {
    let mut leader = leader(&ALL, 1, 10);
    let nobody = |_| None;
    let now = Now { brokers: &nobody, ..at(LAG_MS + 1, 10) };
    assert_eq!(leader.on_tick(now), Effects::default());
    assert_eq!(leader.on_tick(at(LAG_MS + 1, 10)).proposal, proposed(&[ME]));
}

#[test]
fn the_status_says_who_is_behind_and_since_when() {
    let mut leader = leader(&[ME, SECOND], 1, 10);
    agree(&mut leader, SECOND, 10, at(100, 10));
    agree(&mut leader, THIRD, 4, at(100, 10));
    let status = |id, in_sync, durable_end: i64, behind_for_ms| ReplicaStatus {
        id,
        in_sync,
        durable_end: Some(Offset(durable_end)),
        behind_for_ms,
    };
    let expected =
        [status(ME, true, 10, None), status(SECOND, true, 10, Some(300)), status(THIRD, false, 4, Some(400))];
    assert_eq!(leader.status(400, Offset(12)).collect::<Vec<_>>(), expected);
    // One that is added has never been at the end of the log.
    let grown = assignment(&[ME, SECOND, BrokerId(4)], &[ME, SECOND], 4);
    leader.on_assignment(grown);
    let last = |leader: &Leader| leader.status(900, Offset(12)).last().and_then(|status| status.behind_for_ms);
    assert_eq!(last(&leader), Some(0), "nothing is known");
    agree(&mut leader, BrokerId(4), 0, at(500, 12));
    assert_eq!(last(&leader), Some(400));
}

#[test]
fn who_has_all_of_an_idle_log_is_in_sync_when_something_is_written_again() {
    let mut leader = leader(&[ME, SECOND, THIRD], 1, 10);
    let _ = agree(&mut leader, SECOND, 10, at(0, 10));
    let _ = agree(&mut leader, THIRD, 10, at(0, 10));
    // Nobody writes for many times the lag time: nobody has anything to acknowledge.
    for ms in (0..10 * LAG_MS).step_by(100) {
        assert_eq!(leader.on_tick(at(ms, 10)), Effects::default());
    }
    assert_eq!(leader.on_tick(at(10 * LAG_MS, 12)), Effects::default(), "written a moment ago");
}
