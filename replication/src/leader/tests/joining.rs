//! Who comes into the ISR, and what waits for it.

use super::*;

#[test]
fn who_has_caught_up_is_proposed_and_holds_back_the_high_watermark_from_then_on() {
    let mut leader = leader(&[ME, SECOND], 1, 10);
    agree(&mut leader, SECOND, 10, at(1, 10));
    assert_eq!(agree(&mut leader, THIRD, 8, at(1, 10)).proposal, None, "on its way");
    assert_eq!(leader.on_own_durable(Offset(20)), None);
    assert_eq!(leader.on_durable(SECOND, Offset(20), at(2, 20)), rose(20), "it does not count yet");
    let joins = leader.on_durable(THIRD, Offset(20), at(3, 20));
    assert_eq!(joins, Effects { high_watermark: None, proposal: proposed(&ALL) });
    leader.on_own_durable(Offset(30));
    assert_eq!(leader.on_durable(SECOND, Offset(30), at(4, 30)), Effects::default(), "now it does");
    assert_eq!(leader.on_assignment(assignment(&ALL, &ALL, 4)), None);
    assert_eq!(leader.on_durable(THIRD, Offset(25), at(5, 30)), rose(25));
}

#[test]
fn who_always_is_a_batch_behind_joins_all_the_same() {
    let mut leader = leader(&[ME], 1, 10);
    agree(&mut leader, SECOND, 10, fenced_second(0, 11));
    let mut proposals = 0;
    for batch in 1..10_i64 {
        let (ms, end) = (batch as u64 * 50, 10 + batch);
        leader.on_own_durable(Offset(end));
        // It acknowledges what was there a batch ago.
        proposals += usize::from(leader.on_durable(SECOND, Offset(end - 1), at(ms, end)).proposal.is_some());
    }
    assert_eq!(proposals, 1);
    assert_eq!(leader.high_watermark(), Offset(18), "held at where it is");
}

/// A leader that is fenced proposes nothing.
fn fenced_me(ms: u64, log_end: i64) -> Now<'static> {
    static WITHOUT: fn(BrokerId) -> Option<u64> = |broker| everybody(broker).filter(|_| broker != ME);
    Now { brokers: &WITHOUT, ..at(ms, log_end) }
}

fn fenced_second(ms: u64, log_end: i64) -> Now<'static> {
    static WITHOUT: fn(BrokerId) -> Option<u64> = |broker| everybody(broker).filter(|_| broker != SECOND);
    Now { brokers: &WITHOUT, ..at(ms, log_end) }
}

#[test]
fn only_a_process_that_is_let_in_joins() {
    let mut leader = leader(&[ME, SECOND], 1, 10);
    agree(&mut leader, SECOND, 10, at(1, 10));
    assert_eq!(agree(&mut leader, THIRD, 10, fenced_third(2, 10)).proposal, None, "it is fenced");
    leader.on_own_durable(Offset(11));
    assert_eq!(leader.on_durable(SECOND, Offset(11), at(2, 11)), rose(11), "and not waited for");
    assert_eq!(
        leader.on_agreed(THIRD, 31, Offset(11), at(3, 11)).proposal,
        None,
        "the metadata knows of another process"
    );
    assert_eq!(agree(&mut leader, THIRD, 11, at(4, 11)).proposal, proposed(&ALL));
}

#[test]
fn who_was_let_in_joins_without_a_word() {
    let mut leader = leader(&[ME, SECOND], 1, 10);
    agree(&mut leader, SECOND, 10, at(1, 10));
    assert_eq!(agree(&mut leader, THIRD, 10, fenced_third(2, 10)).proposal, None);
    // Nothing is produced, so it has nothing to acknowledge.
    assert_eq!(leader.on_tick(fenced_third(3, 10)).proposal, None);
    assert_eq!(leader.on_tick(at(4, 10)).proposal, proposed(&ALL));
}

#[test]
fn who_was_fenced_and_let_in_again_comes_back_without_a_word() {
    let mut leader = leader(&ALL, 1, 10);
    agree(&mut leader, SECOND, 10, at(1, 10));
    agree(&mut leader, THIRD, 10, at(1, 10));
    leader.on_assignment(assignment(&ALL, &[ME, SECOND], 3 + 1));
    let Some(proposal) = leader.on_tick(at(5 * LAG_MS, 10)).proposal else { panic!("the third lacks nothing") };
    assert_eq!((proposal.partition_epoch, proposal.isr.len()), (4, 3));
    // One that cannot be reached may be gone.
    leader.on_assignment(assignment(&ALL, &[ME, SECOND], 5));
    leader.on_lost(THIRD);
    assert_eq!(leader.on_tick(at(6 * LAG_MS, 10)).proposal, None);
}

#[test]
fn whoever_joins_has_what_is_committed() {
    // In sync when the epoch began, it is left out, and comes back within the lag time, but without what was committed since.
    let mut leader = leader(&ALL, 1, 10);
    agree(&mut leader, SECOND, 10, at(1, 10));
    agree(&mut leader, THIRD, 10, at(1, 10));
    leader.on_own_durable(Offset(20));
    leader.on_assignment(assignment(&ALL, &[ME, SECOND], 4));
    assert_eq!(leader.on_durable(SECOND, Offset(20), at(2, 20)), rose(20));
    assert_eq!(agree(&mut leader, THIRD, 15, at(3, 20)).proposal, None);
    assert!(leader.on_durable(THIRD, Offset(20), at(4, 20)).proposal.is_some());
}

#[test]
fn whoever_joins_has_what_was_there_when_the_epoch_began() {
    // An earlier leader may have committed all of it, which this one does not know.
    let mut leader = leader(&ALL, 1, 10);
    leader.on_assignment(assignment(&ALL, &[ME, SECOND], 4));
    assert_eq!(leader.high_watermark(), Offset(5), "the second has said nothing");
    assert_eq!(agree(&mut leader, THIRD, 7, at(1, 10)).proposal, None);
    assert!(leader.on_durable(THIRD, Offset(10), at(2, 10)).proposal.is_some());
}

#[test]
fn whoever_is_lost_is_not_waited_for_to_join() {
    let mut leader = leader(&[ME, SECOND], 1, 10);
    agree(&mut leader, SECOND, 10, at(1, 10));
    agree(&mut leader, THIRD, 10, fenced_third(1, 10));
    leader.on_assignment(assignment(&ALL, &[ME, SECOND], 4));
    assert!(leader.on_tick(at(2, 10)).proposal.is_some());
    leader.on_assignment(assignment(&ALL, &[ME, SECOND], 5));
    leader.on_own_durable(Offset(20));
    assert_eq!(leader.on_durable(SECOND, Offset(20), at(2, 20)), Effects::default());
    assert_eq!(leader.on_lost(SECOND), None, "a member is");
    assert_eq!(leader.on_lost(BrokerId(9)), None);
    assert_eq!(leader.on_lost(THIRD), Some(Offset(20)));
}

#[test]
fn whoever_falls_silent_on_the_way_in_is_not_waited_for_beyond_the_lag_time() {
    let mut leader = leader(&[ME, SECOND], 1, 10);
    agree(&mut leader, SECOND, 10, at(1, 10));
    agree(&mut leader, THIRD, 10, at(1, 10));
    leader.on_assignment(assignment(&ALL, &[ME, SECOND], 4));
    leader.on_own_durable(Offset(20));
    leader.on_durable(SECOND, Offset(20), at(2, 20));
    assert_eq!(leader.on_tick(fenced_me(1 + LAG_MS, 20)).high_watermark, None);
    leader.on_durable(SECOND, Offset(20), at(2 + LAG_MS, 20));
    assert_eq!(leader.on_tick(at(2 + LAG_MS, 20)).high_watermark, Some(Offset(20)));
}
