//! A shard that leads: what it sends, in what order, and what it calls committed.

use replication::divergence::{BatchMark, LogTail};
use replication::message::{Reason, ToFollower};

use super::peers::FakeFollower;
use super::*;

const WINDOW: u32 = 1 << 20;

fn leading(root: &Path, partitions: usize) -> RunningShard {
    RunningShard::start(root, &image_of(ALL, &vec![(BOTH, Some(HERE), 3); partitions]))
}

fn accepted(shard: &RunningShard) -> FakeFollower {
    FakeFollower::accept(shard.asked_to_connect(OTHER))
}

/// All of a log, as consumers would get it, whoever is in sync.
fn whole_log(shard: &mut RunningShard, partition: i32, epoch: i32) -> Vec<u8> {
    shard.lead_alone(partition, epoch);
    let end = shard.view(partition).log_end;
    shard.read(partition, 0, end)
}

#[test]
fn batches_are_sent_in_order_and_count_once_the_follower_has_them() {
    with_root(|root| {
        let mut shard = leading(&root, 1);
        // What is there before the follower comes, and what comes while it is there.
        shard.produce_many(0, 3);
        let mut follower = accepted(&shard);
        let (stream, partition, epoch) = follower.opened();
        assert_eq!((partition, epoch), (0, 3));
        follower.position(stream, empty_at(0), WINDOW);
        assert!(matches!(follower.hear_of(stream), ToFollower::Agreed(told) if told.high_watermark == Offset(0)));
        follower.durable(stream, 0);
        let mut taken = follower.take_up_to(stream, 3);

        let mut waiting = shard.begin_produce(vec![(0, unsent_batch(200))], Acks::All);
        // The leader's own disk has all of it when this returns.
        shard.produce(0, 300);
        while headers(&taken).last().unwrap().next_offset() < Offset(5) {
            taken.extend(follower.batches(stream));
        }
        assert_eq!(shard.view(0).high_watermark, 3);
        assert!(waiting.try_recv().unwrap().is_none(), "the follower has said nothing");
        follower.durable(stream, 4);
        assert_eq!(wait(waiting).unwrap()[0].result.as_ref().unwrap().end, Offset(4));
        assert_eq!(shard.view(0).high_watermark, 4);
        follower.durable(stream, 5);
        // The follower is told of it although there is nothing more to send.
        until(|| match follower.hear_of(stream) {
            ToFollower::Progress(told) => (told.high_watermark == Offset(5)).then_some(()),
            other => panic!("{other:?}"),
        });
        assert_eq!(shard.read(0, 0, 5), taken);
        assert_eq!(taken, whole_log(&mut shard, 0, 4));
        shard.stop();
    });
}

#[test]
fn acknowledgements_that_cannot_be_close_the_stream_and_count_for_nothing() {
    with_root(|root| {
        let shard = leading(&root, 1);
        shard.produce(0, 100);
        let mut follower = accepted(&shard);
        // Before the logs agreed.
        let (stream, ..) = follower.opened();
        follower.durable(stream, 1);
        assert!(matches!(follower.closed(stream), Reason::Violation(_)));
        // Of what was never sent.
        let stream = follower.follow(0, WINDOW);
        follower.batches(stream);
        follower.durable(stream, 2);
        assert!(matches!(follower.closed(stream), Reason::Violation(_)));
        // Less than before.
        let stream = follower.follow(0, WINDOW);
        shard.produce(0, 100);
        follower.take_up_to(stream, 2);
        follower.durable(stream, 1);
        assert!(matches!(follower.closed(stream), Reason::Violation(_)));
        assert_eq!(shard.view(0).high_watermark, 2);
        // Positions that no log has, and one that was not asked for.
        let odd = |log_end, base, last, latest| LogTail {
            log_end: Offset(log_end),
            latest_epoch: LeaderEpoch(latest),
            last_batch: Some(BatchMark {
                base_offset: Offset(base),
                last_offset: Offset(last),
                leader_epoch: LeaderEpoch(3),
                crc: 1,
            }),
        };
        for tail in [odd(2, 0, 5, 3), odd(2, 2, 1, 3), odd(2, 0, 1, 2), empty_at(-1)] {
            let (stream, ..) = follower.opened();
            follower.position(stream, tail, WINDOW);
            assert!(matches!(follower.closed(stream), Reason::Violation(_)), "{tail:?}");
        }
        let stream = follower.follow(0, WINDOW);
        follower.position(stream, empty_at(0), WINDOW);
        assert!(matches!(follower.closed(stream), Reason::Violation(_)));
        // And it all goes on.
        let stream = follower.follow(0, WINDOW);
        follower.take_up_to(stream, 2);
        shard.stop();
    });
}

#[test]
fn a_window_holds_back_its_own_stream_alone() {
    with_root(|root| {
        let shard = leading(&root, 2);
        let mut follower = accepted(&shard);
        let mut streams = [0, 0];
        for _ in 0..2 {
            let (stream, partition, _) = follower.opened();
            streams[usize::try_from(partition).unwrap()] = stream;
        }
        let [narrow, wide] = streams;
        follower.follow_opened(narrow, 1);
        follower.follow_opened(wide, WINDOW);
        shard.produce_many(0, 4);
        shard.produce_many(1, 4);
        assert_eq!(headers(&follower.take_up_to(wide, 4)).len(), 4);
        let mut taken = Vec::new();
        for end in 1..5 {
            // One batch at a time: the next one only when this one is on the follower's disk.
            let batches = follower.batches(narrow);
            assert_eq!(headers(&batches).len(), 1);
            shard.produce(1, 100);
            follower.take_up_to(wide, 4 + end);
            let early: Vec<_> = follower.heard_of(narrow);
            assert!(!early.iter().any(|message| matches!(message, ToFollower::Batches { .. })), "{early:?}");
            taken.extend(batches);
            follower.durable(narrow, end);
        }
        assert_eq!(shard.read(0, 0, 4), taken);
        shard.stop();
    });
}

#[test]
fn a_follower_that_is_behind_has_its_records_read_from_disk() {
    const BATCHES: i64 = 300;
    with_root(|root| {
        let image = configured(&image_of(ALL, &[(BOTH, Some(HERE), 3)]), &[("segment.bytes", "1048576")], &[]);
        let mut shard = RunningShard::start_as(HERE, &root, &image, 64 << 10);
        for at in 0..BATCHES {
            shard.produce(0, 100 + 150 * usize::try_from(at).unwrap());
        }
        let mut follower = accepted(&shard);
        // Less than some batches have, so that both bounds matter.
        let stream = follower.follow(0, 32 << 10);
        let mut taken = follower.take_up_to(stream, BATCHES / 2);
        // While it catches up more is appended.
        shard.produce(0, 5000);
        taken.extend(follower.take_up_to(stream, BATCHES + 1));
        assert!(whole_log(&mut shard, 0, 4) == taken);
        shard.stop();
    });
}

#[test]
fn logs_that_have_gone_apart_are_brought_together_by_epochs_or_left_alone() {
    with_root(|root| {
        let mut shard = leading(&root, 1);
        shard.produce_many(0, 2);
        shard.apply(&[partition(TOPIC_ID, 0, (BOTH, Some(HERE), 5))]);
        shard.produce_many(0, 2);
        let mut follower = accepted(&shard);
        let (mut stream, _, mut epoch) = follower.opened();
        if epoch == 3 {
            // It may have been opened in the epoch before.
            assert_eq!(follower.closed(stream), Reason::Over);
            (stream, _, epoch) = follower.opened();
        }
        assert_eq!(epoch, 5);
        // Of an epoch that the leader does not know: what it knows below.
        let mark = |base, last, epoch, crc| BatchMark {
            base_offset: Offset(base),
            last_offset: Offset(last),
            leader_epoch: LeaderEpoch(epoch),
            crc,
        };
        let tail = |log_end, batch: BatchMark| LogTail {
            log_end: Offset(log_end),
            latest_epoch: batch.leader_epoch,
            last_batch: Some(batch),
        };
        follower.position(stream, tail(9, mark(8, 8, 4, 1)), WINDOW);
        let expected = ToFollower::Cut { epoch: LeaderEpoch(3), end: Offset(2) };
        assert_eq!(follower.hear_of(stream), expected);
        // Where the two meet the batches have to be the same.
        follower.position(stream, tail(2, mark(1, 1, 3, 1)), WINDOW);
        assert!(matches!(follower.closed(stream), Reason::Diverged(_)));
        shard.stop();
    });
}

#[test]
fn a_log_that_shares_nothing_with_the_leaders_begins_anew() {
    with_root(|root| {
        let image = image_of(ALL, &[(BOTH, Some(HERE), 3)]);
        let mut shard = RunningShard::start(&root, &image);
        shard.produce(0, 100);
        let mut follower = accepted(&shard);
        let (stream, ..) = follower.opened();
        follower.position(stream, empty_at(50), WINDOW);
        assert_eq!(follower.hear_of(stream), ToFollower::Restart { at: Offset(0) });
        follower.follow_opened(stream, WINDOW);
        assert_eq!(follower.take_up_to(stream, 1), whole_log(&mut shard, 0, 4));
        shard.stop();
    });
}
