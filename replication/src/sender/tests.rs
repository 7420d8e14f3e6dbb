use super::*;
use crate::testing::TestLog;

const NO_PROGRESS: Progress = Progress { high_watermark: Offset(0), log_start: Offset(0) };

fn told(high_watermark: i64) -> Progress {
    Progress { high_watermark: Offset(high_watermark), log_start: Offset(0) }
}

fn leader() -> TestLog {
    TestLog::new(&[(1, 0), (3, 10)], 20)
}

fn batch(base: i64, last: i64) -> BatchMark {
    BatchMark { base_offset: Offset(base), last_offset: Offset(last), leader_epoch: LeaderEpoch(1), crc: 5 }
}

fn empty_at(at: i64) -> LogTail {
    LogTail { log_end: Offset(at), latest_epoch: LeaderEpoch::UNKNOWN, last_batch: None }
}

/// Looks up what a step asks for, as far as the log has it.
fn met(sender: &mut Sender, step: Step, log: &TestLog) -> Step {
    let Step::LookUp { before, after } = step else { panic!("{step:?}") };
    sender.on_met(before.and_then(|at| log.at(at)), after.and_then(|at| log.at(at)), NO_PROGRESS)
}

/// A stream whose follower has everything up to `end`, with a window of 100 bytes.
fn agreed(end: i64) -> Sender {
    let (log, mut sender) = (leader(), Sender::new(LeaderEpoch(3)));
    let mut follower = log.clone();
    follower.truncate(end);
    let step = sender.on_position(follower.tail(), 100, &log);
    assert_eq!(met(&mut sender, step, &log), Step::Agreed { end: Offset(end) });
    sender
}

fn assert_violation(step: &Step, text: &str) {
    match step {
        Step::Close(Reason::Violation(found)) if found.contains(text) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_follower_that_holds_what_the_leader_does_not_is_told_to_cut_until_they_agree() {
    let log = TestLog::new(&[(1, 0), (3, 10), (5, 20)], 30);
    let mut follower = TestLog::new(&[(1, 0), (2, 10), (4, 15)], 25);
    let mut sender = Sender::new(LeaderEpoch(5));
    let mut cuts = Vec::new();
    let agreed = loop {
        match sender.on_position(follower.tail(), 100, &log) {
            Step::Send(ToFollower::Cut { epoch, end }) => {
                cuts.push((epoch.0, end.0));
                follower.cut(crate::divergence::cut(epoch, end, &follower));
            }
            step => break met(&mut sender, step, &log),
        }
        assert!(!sender.has_agreed() && sender.window().is_none());
    };
    assert_eq!((agreed, cuts), (Step::Agreed { end: Offset(10) }, vec![(3, 20), (1, 10)]));
    assert!(sender.has_agreed());
    assert_eq!(sender.window(), Some(Window { from: Offset(10), bytes: 100, at_least_one: true }));
}

#[test]
fn a_new_follower_gets_everything() {
    let (log, mut sender) = (leader(), Sender::new(LeaderEpoch(3)));
    let step = sender.on_position(empty_at(0), 100, &log);
    assert_eq!(step, Step::LookUp { before: None, after: Some(Offset(0)) });
    assert_eq!(met(&mut sender, step, &log), Step::Agreed { end: Offset(0) });
    let empty = TestLog::new(&[(3, 0)], 0);
    let mut sender = Sender::new(LeaderEpoch(3));
    let step = sender.on_position(empty_at(0), 100, &empty);
    assert_eq!(step, Step::LookUp { before: None, after: None });
    assert_eq!(sender.on_met(None, None, NO_PROGRESS), Step::Agreed { end: Offset(0) });
}

#[test]
fn a_follower_below_the_log_start_begins_anew_where_the_batch_there_begins() {
    let mut log = leader();
    log.raise_start(14);
    let mut sender = Sender::new(LeaderEpoch(3));
    let step = sender.on_position(TestLog::new(&[(1, 0)], 5).tail(), 100, &log);
    assert_eq!(step, Step::LookUp { before: None, after: Some(Offset(14)) });
    // The log starts within a batch.
    let restart = sender.on_met(None, Some(batch(12, 15)), NO_PROGRESS);
    assert_eq!(restart, Step::Send(ToFollower::Restart { at: Offset(12) }));
    let step = sender.on_position(empty_at(12), 100, &log);
    assert_eq!(step, Step::LookUp { before: None, after: Some(Offset(14)) });
    assert_eq!(sender.on_met(None, Some(batch(12, 15)), NO_PROGRESS), Step::Agreed { end: Offset(12) });
}

#[test]
fn what_was_deleted_meanwhile_is_begun_anew_once_more() {
    let mut log = leader();
    log.raise_start(14);
    let mut sender = Sender::new(LeaderEpoch(3));
    let step = sender.on_position(empty_at(0), 100, &log);
    assert_eq!(met(&mut sender, step, &log), Step::Send(ToFollower::Restart { at: Offset(14) }));
    log.raise_start(20);
    let step = sender.on_position(empty_at(14), 100, &log);
    assert_eq!(step, Step::LookUp { before: None, after: None }, "the log is empty");
    assert_eq!(sender.on_met(None, None, NO_PROGRESS), Step::Send(ToFollower::Restart { at: Offset(20) }));
    let step = sender.on_position(empty_at(20), 100, &log);
    assert_eq!(met(&mut sender, step, &log), Step::Agreed { end: Offset(20) });
}

#[test]
fn a_follower_that_is_empty_within_a_batch_begins_anew_at_that_batch() {
    let (log, mut sender) = (leader(), Sender::new(LeaderEpoch(3)));
    sender.on_position(empty_at(6), 100, &log);
    let restart = sender.on_met(None, Some(batch(5, 8)), NO_PROGRESS);
    assert_eq!(restart, Step::Send(ToFollower::Restart { at: Offset(5) }));
    sender.on_position(empty_at(5), 100, &log);
    assert_eq!(sender.on_met(None, Some(batch(5, 8)), NO_PROGRESS), Step::Agreed { end: Offset(5) });
}

#[test]
fn logs_that_differ_where_they_meet_are_for_an_operator() {
    let (log, mut sender) = (leader(), Sender::new(LeaderEpoch(3)));
    let mut follower = log.clone();
    follower.records[19].1 ^= 1;
    let step = sender.on_position(follower.tail(), 100, &log);
    assert!(matches!(met(&mut sender, step, &log), Step::Close(Reason::Diverged(_))));
    assert!(!sender.has_agreed());
    let mut sender = Sender::new(LeaderEpoch(3));
    let ahead = TestLog::new(&[(1, 0), (4, 10)], 20);
    assert!(matches!(sender.on_position(ahead.tail(), 100, &log), Step::Close(Reason::Diverged(_))));
}

#[test]
fn positions_that_cannot_be_close_the_stream() {
    let good = leader().tail();
    let last = good.last_batch.unwrap();
    let cases = [
        LogTail { log_end: Offset(19), ..good },
        LogTail { latest_epoch: LeaderEpoch(2), ..good },
        LogTail { log_end: Offset(-1), last_batch: None, ..good },
        LogTail { last_batch: Some(BatchMark { base_offset: Offset(20), ..last }), ..good },
        LogTail { last_batch: Some(BatchMark { last_offset: Offset(i64::MAX), ..last }), ..good },
    ];
    for tail in cases {
        let mut sender = Sender::new(LeaderEpoch(3));
        assert_violation(&sender.on_position(tail, 100, &leader()), "a log cannot end");
        assert_violation(&sender.on_position(good, 100, &leader()), "not asked for");
    }
}

#[test]
fn a_follower_that_was_told_to_cut_has_cut() {
    let log = leader();
    let mut follower = TestLog::new(&[(1, 0), (2, 8)], 18);
    let told = |position: LogTail| {
        let mut sender = Sender::new(LeaderEpoch(3));
        let cut = sender.on_position(TestLog::new(&[(1, 0), (2, 8)], 18).tail(), 100, &log);
        assert_eq!(cut, Step::Send(ToFollower::Cut { epoch: LeaderEpoch(1), end: Offset(10) }));
        sender.on_position(position, 100, &log)
    };
    assert_violation(&told(follower.tail()), "told");
    follower.truncate(9);
    assert_violation(&told(follower.tail()), "told");
    assert_violation(&told(TestLog::new(&[(1, 0)], 11).tail()), "told");
    follower.truncate(8);
    assert!(matches!(told(follower.tail()), Step::LookUp { .. }));
}

#[test]
fn a_follower_that_was_told_to_begin_anew_has() {
    let mut log = leader();
    log.raise_start(14);
    let told = |position: LogTail| {
        let mut sender = Sender::new(LeaderEpoch(3));
        let step = sender.on_position(empty_at(0), 100, &log);
        assert_eq!(met(&mut sender, step, &log), Step::Send(ToFollower::Restart { at: Offset(14) }));
        sender.on_position(position, 100, &log)
    };
    assert_violation(&told(empty_at(13)), "told");
    assert_violation(&told(leader().tail()), "told");
    let remembers = LogTail { latest_epoch: LeaderEpoch(1), ..empty_at(14) };
    assert_violation(&told(remembers), "told");
    assert!(matches!(told(empty_at(14)), Step::LookUp { .. }));
}

#[test]
fn what_comes_at_the_wrong_time_closes_the_stream() {
    let mut sender = Sender::new(LeaderEpoch(3));
    assert!(matches!(sender.on_durable(Offset(5)), Err(Reason::Violation(_))), "before the logs agree");
    assert_eq!(sender.on_met(None, None, NO_PROGRESS), Step::Close(Reason::Over));
    let mut sender = agreed(20);
    assert_violation(&sender.on_position(leader().tail(), 100, &leader()), "not asked for");
    assert!(!sender.has_agreed());
    let mut sender = agreed(20);
    sender.on_closed();
    assert!(!sender.has_agreed() && sender.on_durable(Offset(20)).is_err());
}

#[test]
fn what_was_not_sent_cannot_be_acknowledged_nor_less_than_before() {
    let mut sender = agreed(10);
    sender.on_sent(Offset(15), 60, NO_PROGRESS);
    assert!(matches!(sender.on_durable(Offset(16)), Err(Reason::Violation(_))));
    assert!(sender.window().is_none(), "it is closed");
    let mut sender = agreed(10);
    sender.on_sent(Offset(15), 60, NO_PROGRESS);
    assert_eq!(sender.on_durable(Offset(12)), Ok(()));
    assert_eq!(sender.on_durable(Offset(12)), Ok(()), "nothing new is no harm");
    assert!(matches!(sender.on_durable(Offset(11)), Err(Reason::Violation(_))));
}

#[test]
fn the_window_bounds_what_is_on_its_way() {
    let mut sender = agreed(10);
    assert!(sender.may_send(Offset(11)) && !sender.may_send(Offset(10)));
    sender.on_sent(Offset(12), 60, NO_PROGRESS);
    assert_eq!(sender.window(), Some(Window { from: Offset(12), bytes: 40, at_least_one: false }));
    sender.on_sent(Offset(14), 40, NO_PROGRESS);
    assert_eq!(sender.window(), None);
    assert!(!sender.may_send(Offset(20)));
    assert_eq!(sender.on_durable(Offset(13)), Ok(()), "the second piece is not whole there");
    assert_eq!(sender.window(), Some(Window { from: Offset(14), bytes: 60, at_least_one: false }));
    assert_eq!(sender.on_durable(Offset(14)), Ok(()));
    assert_eq!(sender.window(), Some(Window { from: Offset(14), bytes: 100, at_least_one: true }));
    // One that is larger than the window goes alone.
    sender.on_sent(Offset(15), 1000, NO_PROGRESS);
    assert_eq!(sender.window(), None);
}

#[test]
fn a_follower_without_a_window_gets_a_batch_at_a_time() {
    let (log, mut sender) = (leader(), Sender::new(LeaderEpoch(3)));
    let step = sender.on_position(empty_at(0), 0, &log);
    met(&mut sender, step, &log);
    assert_eq!(sender.window(), Some(Window { from: Offset(0), bytes: 0, at_least_one: true }));
    sender.on_sent(Offset(1), 60, NO_PROGRESS);
    assert_eq!(sender.window(), None);
}

#[test]
#[should_panic(expected = "and up to 12 before")]
fn nothing_is_sent_twice() {
    let mut sender = agreed(10);
    sender.on_sent(Offset(12), 60, NO_PROGRESS);
    sender.on_sent(Offset(12), 60, NO_PROGRESS);
}

#[test]
#[should_panic(expected = "nothing may be sent before the logs agree")]
fn nothing_is_sent_before_the_logs_agree() {
    Sender::new(LeaderEpoch(3)).on_sent(Offset(12), 60, NO_PROGRESS);
}

#[test]
fn a_follower_is_told_what_is_new() {
    let mut sender = Sender::new(LeaderEpoch(3));
    assert!(!sender.is_to_be_told(told(5)) && !sender.tell(told(5)), "before the logs agree");
    let mut sender = agreed(10);
    assert!(!sender.tell(NO_PROGRESS), "told with the agreement");
    assert!(sender.is_to_be_told(told(5)) && sender.tell(told(5)) && !sender.tell(told(5)));
    sender.on_sent(Offset(12), 60, told(7));
    assert!(!sender.is_to_be_told(told(7)), "told with the batches");
}
