use super::*;
use crate::testing::TestLog;
use bytes::Bytes;
use protocol::newtypes::ProducerId;

fn progress(high_watermark: i64) -> Progress {
    Progress { high_watermark: Offset(high_watermark), log_start: Offset(0) }
}

fn log() -> TestLog {
    TestLog::new(&[(1, 0), (2, 10)], 20)
}

fn following() -> Receiver {
    let mut receiver = Receiver::new(LeaderEpoch(4), Offset(20));
    assert_eq!(receiver.on_message(ToFollower::Agreed(progress(15)), &log()), Ok(Action::Follow));
    receiver
}

fn run() -> Run {
    Run { has_gaps: false, batches: Bytes::from_static(b"batches") }
}

fn batches() -> ToFollower {
    ToFollower::Batches { progress: progress(18), run: run() }
}

fn open() -> ToFollower {
    use protocol::newtypes::{PartitionId, TopicId};
    ToFollower::Open { topic_id: TopicId::ZERO, partition: PartitionId(0), leader_epoch: LeaderEpoch(4) }
}

fn header(base: i64, records: i32, epoch: i32) -> BatchHeader {
    BatchHeader {
        base_offset: Offset(base),
        size_bytes: 100,
        leader_epoch: LeaderEpoch(epoch),
        magic: 2,
        crc: 0,
        attributes: 0,
        last_offset_delta: records - 1,
        base_timestamp: 0,
        max_timestamp: 0,
        producer_id: ProducerId::NONE,
        producer_epoch: -1,
        base_sequence: -1,
        record_count: records,
    }
}

fn assert_violation<T: std::fmt::Debug>(result: Result<T, Reason>) {
    assert!(matches!(result, Err(Reason::Violation(_))), "{result:?}");
}

#[test]
fn a_follower_cuts_and_says_where_it_is_until_the_logs_agree() {
    let mut receiver = Receiver::new(LeaderEpoch(4), Offset(20));
    let cut = receiver.on_message(ToFollower::Cut { epoch: LeaderEpoch(1), end: Offset(8) }, &log());
    assert_eq!(cut, Ok(Action::Cut(Cut::TruncateTo(Offset(8)))));
    receiver.on_cut(Offset(8));
    let restart = receiver.on_message(ToFollower::Restart { at: Offset(30) }, &log());
    assert_eq!(restart, Ok(Action::Cut(Cut::RestartAt(Offset(30)))));
    receiver.on_cut(Offset(30));
    assert!(!receiver.is_following());
    let empty = TestLog { start: 30, ..TestLog::default() };
    assert_eq!(receiver.on_message(ToFollower::Agreed(progress(15)), &empty), Ok(Action::Follow));
    assert!(receiver.is_following());
    assert_eq!(receiver.check(&header(30, 1, 0), false), Ok(()), "from where it is, of any epoch");
}

#[test]
fn nothing_is_acknowledged_before_the_logs_agree() {
    let mut receiver = Receiver::new(LeaderEpoch(4), Offset(20));
    assert_eq!(receiver.on_durable(Offset(20)), None);
    assert_eq!(receiver.high_watermark(Offset(20)), None);
    receiver.on_message(ToFollower::Cut { epoch: LeaderEpoch(1), end: Offset(8) }, &log()).unwrap();
    assert_eq!(receiver.on_durable(Offset(20)), None);
    receiver.on_cut(Offset(8));
    assert_eq!(receiver.on_durable(Offset(20)), None);
}

#[test]
fn what_is_on_disk_is_acknowledged_once_and_nothing_else() {
    let mut receiver = following();
    assert_eq!(receiver.on_durable(Offset(20)), None, "its position has said so");
    assert_eq!(receiver.check(&header(20, 4, 4), false), Ok(()));
    assert_eq!(receiver.on_durable(Offset(22)), Some(Offset(22)));
    assert_eq!(receiver.on_durable(Offset(22)), None);
    assert_eq!(receiver.on_durable(Offset(21)), None);
    assert_eq!(receiver.on_durable(Offset(30)), Some(Offset(24)), "what the leader did not send is not its");
}

#[test]
fn what_comes_at_the_wrong_time_closes_the_stream() {
    let cut = || ToFollower::Cut { epoch: LeaderEpoch(1), end: Offset(8) };
    let cutting = || {
        let mut receiver = Receiver::new(LeaderEpoch(4), Offset(20));
        receiver.on_message(cut(), &log()).unwrap();
        receiver
    };
    let positioning = || Receiver::new(LeaderEpoch(4), Offset(20));
    let restart = || ToFollower::Restart { at: Offset(8) };
    let cases: Vec<(Receiver, ToFollower)> = vec![
        (positioning(), open()),
        (positioning(), batches()),
        (positioning(), ToFollower::Progress(progress(1))),
        (positioning(), ToFollower::Beat),
        (cutting(), cut()),
        (cutting(), restart()),
        (cutting(), ToFollower::Agreed(progress(1))),
        (cutting(), batches()),
        (cutting(), ToFollower::Progress(progress(1))),
        (following(), open()),
        (following(), cut()),
        (following(), restart()),
        (following(), ToFollower::Agreed(progress(1))),
    ];
    for (mut receiver, message) in cases {
        assert_violation(receiver.on_message(message, &log()));
    }
    assert_violation(positioning().check(&header(20, 1, 4), false));
    assert_violation(cutting().check(&header(20, 1, 4), false));
}

#[test]
fn cuts_that_make_no_sense_close_the_stream() {
    for message in [
        ToFollower::Cut { epoch: LeaderEpoch(5), end: Offset(8) },
        ToFollower::Cut { epoch: LeaderEpoch(1), end: Offset(-1) },
        ToFollower::Restart { at: Offset(-1) },
    ] {
        assert_violation(Receiver::new(LeaderEpoch(4), Offset(20)).on_message(message, &log()));
    }
}

#[test]
fn batches_of_a_compacted_log_may_begin_later_and_never_earlier() {
    let mut receiver = following();
    assert_eq!(receiver.check(&header(20, 1, 4), true), Ok(()));
    assert_eq!(receiver.check(&header(40, 2, 4), true), Ok(()));
    assert_violation(receiver.check(&header(41, 1, 4), true));
    assert_violation(receiver.check(&header(20, 1, 4), true));
    assert_violation(receiver.check(&header(43, 1, 4), false));
    assert_eq!(receiver.check(&header(42, 1, 4), false), Ok(()));
}

#[test]
fn batches_continue_what_is_there() {
    let mut receiver = following();
    for (base, records, epoch) in [(20, 2, 2), (22, 1, 3), (23, 5, 4), (28, 1, 4)] {
        assert_eq!(receiver.check(&header(base, records, epoch), false), Ok(()), "{base}");
    }
    let cases = [
        header(30, 1, 4),
        header(28, 2, 4),
        header(29, 0, 4),
        header(29, -3, 4),
        header(29, 1, 3),
        header(29, 1, 5),
        header(29, 1, -1),
    ];
    for wrong in cases {
        assert_violation(receiver.clone().check(&wrong, false));
    }
    assert_violation(following().check(&header(20, 1, 1), false));
    assert_eq!(receiver.check(&header(29, 1, 4), false), Ok(()));
}

#[test]
fn a_follower_that_had_no_leader_takes_any_epoch_but_none() {
    let empty = TestLog::default();
    let mut receiver = Receiver::new(LeaderEpoch(4), Offset(0));
    receiver.on_message(ToFollower::Agreed(progress(0)), &empty).unwrap();
    assert_violation(receiver.clone().check(&header(0, 1, -1), false));
    assert_eq!(receiver.check(&header(0, 1, 0), false), Ok(()));
}

#[test]
fn the_high_watermark_is_the_leaders_as_far_as_the_disk_here_goes() {
    let mut receiver = following();
    assert_eq!(receiver.high_watermark(Offset(20)), Some(Offset(15)));
    assert_eq!(receiver.on_message(ToFollower::Progress(progress(40)), &log()), Ok(Action::Note));
    assert_eq!(receiver.progress(), Some(progress(40)));
    assert_eq!(receiver.high_watermark(Offset(30)), Some(Offset(20)), "what is beyond is not the leader's");
    assert_eq!(receiver.on_message(batches(), &log()), Ok(Action::Append(run())));
    assert_eq!(receiver.high_watermark(Offset(17)), Some(Offset(17)));
}

#[test]
fn the_leader_may_end_it_at_any_time() {
    let mut receivers = [Receiver::new(LeaderEpoch(4), Offset(20)), following()];
    for receiver in &mut receivers {
        let closed = receiver.on_message(ToFollower::Close(Reason::Over), &log());
        assert_eq!(closed, Ok(Action::Closed(Reason::Over)));
    }
}
