//! A shard that follows: what it answers a leader, and what it has on its disk then.

use std::path::Path;

use replication::message::{Progress, ToFollower};

use super::peers::{FakeLeader, progress};
use super::*;
use replication::message::{Reason, ToLeader};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

#[test]
fn what_is_acknowledged_is_in_the_files() {
    with_root(|root| {
        let image = configured(&image_of(ALL, &[(BOTH, Some(OTHER), 3)]), &[("segment.bytes", "4194304")], &[]);
        let shard = RunningShard::start(&root.join("replica"), &image);
        let mut leader = FakeLeader::connect(&shard, OTHER);
        leader.open(1, 0, 3);
        assert_eq!(leader.position(1), empty_at(0));
        leader.say(1, &ToFollower::Agreed(progress(0)));
        leader.durable(1, 0);
        let alone = in_sync(TOPIC_ID, 0, (BOTH, Some(HERE), 4), &[HERE]);
        let leading = image.apply_batch(&[alone]).unwrap().0;
        let mut sent = Vec::new();
        for at in 0..4 {
            // The last one takes the disk some time.
            let next = if at < 3 { batch(2 * at, 3, 2) } else { large_batch(2 * at, 3, 2, 1 << 20) };
            leader.batches(1, 0, &next);
            leader.durable(1, 2 * at + 2);
            sent.extend(next);
            // As if the process had ended here.
            let files = root.join(at.to_string());
            copy(&root.join("replica"), &files);
            let again = RunningShard::start(&files, &leading);
            assert_eq!(again.view(0).log_end, 2 * at + 2);
            assert!(again.read(0, 0, 2 * at + 2) == sent);
            again.stop();
        }
        shard.stop();
    });
}

#[test]
fn after_a_restart_the_position_is_where_the_log_ends() {
    with_root(|root| {
        let image = image_of(ALL, &[(BOTH, Some(OTHER), 3)]);
        let shard = RunningShard::start(&root, &image);
        let mut leader = FakeLeader::connect(&shard, OTHER);
        leader.follow(1, 0, 3);
        // The leader's log has batches of earlier epochs too.
        let sent = [batch(0, 1, 2), batch(2, 3, 3)];
        leader.batches(1, 0, &sent.concat());
        leader.durable(1, 5);
        shard.stop();
        leader.hear_the_end();

        let mut shard = RunningShard::start(&root, &image);
        let mut leader = FakeLeader::connect(&shard, OTHER);
        leader.open(1, 0, 3);
        assert_eq!(leader.position(1), tail(&sent[1]));
        leader.say(1, &ToFollower::Agreed(progress(5)));
        let more = batch(5, 3, 1);
        leader.batches(1, 5, &more);
        leader.durable(1, 6);
        shard.lead_alone(0, 4);
        assert_eq!(shard.read(0, 0, 6), [sent.concat(), more].concat());
        shard.stop();
    });
}

#[test]
fn consumers_read_what_the_leader_has_called_committed_and_this_disk_has() {
    with_root(|root| {
        let followed = (BOTH, Some(OTHER), 0);
        let shard = RunningShard::start(&root, &image_of(ALL, &[followed, followed]));
        let mut leader = FakeLeader::connect(&shard, OTHER);
        leader.follow(1, 0, 0);
        let sent = [batch(0, 0, 2), batch(2, 0, 1)];
        leader.batches(1, 0, &sent.concat());
        leader.durable(1, 3);
        assert_eq!(shard.high_watermark(0), 0);
        leader.say(1, &ToFollower::Progress(progress(2)));
        leader.barrier(1, 0);
        assert_eq!(shard.high_watermark(0), 2);
        assert_eq!(shard.read(0, 0, 2), sent[0]);
        leader.say(1, &ToFollower::Progress(progress(100)));
        leader.barrier(1, 0);
        assert_eq!(shard.high_watermark(0), 3, "there is no more here");
        assert_eq!(shard.read(0, 0, 3), sent.concat());

        // As does the begin of the log, of which the leader is told.
        leader.say(1, &ToFollower::Progress(Progress { log_start: Offset(2), ..progress(100) }));
        let told = leader.hear_of(1);
        assert_eq!(told, ToLeader::Durable { end: Offset(3), log_start: Offset(2) });
        // What is told with batches holds once they are on disk.
        leader.batches(1, 5, &batch(3, 0, 2));
        leader.durable(1, 5);
        assert_eq!(shard.high_watermark(0), 5);
        shard.stop();
    });
}

#[test]
fn a_stream_waits_until_the_image_has_its_epoch() {
    with_root(|root| {
        let followed = (BOTH, Some(OTHER), 3);
        let mut shard = RunningShard::start(&root, &image_of(ALL, &[followed, followed]));
        let mut leader = FakeLeader::connect(&shard, OTHER);
        leader.open(1, 0, 5);
        leader.barrier(1, 3);
        shard.apply(&[partition(TOPIC_ID, 0, (BOTH, Some(OTHER), 4))]);
        leader.barrier(1, 3);
        assert!(leader.heard_of(1).is_empty(), "{:?}", leader.heard_of(1));
        shard.apply(&[partition(TOPIC_ID, 0, (BOTH, Some(OTHER), 5))]);
        assert_eq!(leader.position(1), empty_at(0));

        // One that waits may be too old when its time comes.
        leader.open(2, 0, 6);
        leader.barrier(1, 3);
        shard.apply(&[partition(TOPIC_ID, 0, (BOTH, Some(OTHER), 7))]);
        assert_eq!(leader.closed(2), Reason::OldEpoch { known: LeaderEpoch(7) });
        assert_eq!(leader.closed(1), Reason::OldEpoch { known: LeaderEpoch(7) }, "the epoch has moved on");
        shard.stop();
    });
}

#[test]
fn streams_of_those_who_do_not_lead_are_refused() {
    with_root(|root| {
        let image = image_of(ALL, &[(BOTH, Some(OTHER), 3), (BOTH, Some(HERE), 3), (BOTH, None, 3)]);
        let shard = RunningShard::start(&root, &image);
        let mut leader = FakeLeader::connect(&shard, OTHER);
        leader.open(1, 0, 2);
        assert_eq!(leader.closed(1), Reason::OldEpoch { known: LeaderEpoch(3) });
        for partition in [1, 2] {
            leader.open(2, partition, 3);
            assert!(matches!(leader.closed(2), Reason::Violation(_)));
        }
        let mut other = FakeLeader::connect(&shard, THIRD);
        other.open(1, 0, 3);
        assert!(matches!(other.closed(1), Reason::Violation(_)));
        assert_eq!(leader.follow(3, 0, 3), 0, "the connections go on");
        shard.stop();
    });
}

#[test]
fn a_partition_that_is_not_here_is_waited_for() {
    with_root(|root| {
        let elsewhere: &[i32] = &[OTHER, THIRD];
        let image = image_of(ALL, &[(elsewhere, Some(OTHER), 3), (BOTH, Some(OTHER), 3)]);
        let mut shard = RunningShard::start(&root, &image);
        let mut leader = FakeLeader::connect(&shard, OTHER);
        for stream in [1, 2, 3] {
            leader.open(stream, 0, 4);
        }
        leader.say(1, &ToFollower::Close(Reason::Over));
        leader.say(3, &ToFollower::Close(Reason::Over));
        leader.barrier(1, 3);
        shard.apply(&[partition(TOPIC_ID, 0, (ALL, Some(OTHER), 4))]);
        assert_eq!(leader.position(2), empty_at(0));
        leader.barrier(1, 3);
        assert!(leader.heard_of(1).is_empty() && leader.heard_of(3).is_empty());
        // Nothing that was closed is in the way of another.
        assert_eq!(leader.follow(1, 0, 4), 0);
        assert_eq!(leader.closed(2), Reason::Superseded);

        // Taken away, and waited for again.
        shard.apply(&[partition(TOPIC_ID, 0, (elsewhere, Some(OTHER), 5))]);
        assert_eq!(leader.closed(1), Reason::NoReplica);
        leader.open(4, 0, 6);
        leader.barrier(1, 3);
        assert!(leader.heard_of(4).is_empty());
        shard.apply(&[partition(TOPIC_ID, 0, (ALL, Some(OTHER), 6))]);
        assert_eq!(leader.position(4), empty_at(0));
        shard.stop();
    });
}

#[test]
fn a_second_stream_takes_the_place_of_the_first() {
    with_root(|root| {
        let followed = (BOTH, Some(OTHER), 0);
        let mut shard = RunningShard::start(&root, &image_of(ALL, &[followed, followed]));
        let (mut one, mut two) = (FakeLeader::connect(&shard, OTHER), FakeLeader::connect(&shard, OTHER));
        one.follow(1, 0, 0);
        let first = batch(0, 0, 1);
        one.batches(1, 0, &first);
        one.durable(1, 1);
        assert_eq!(two.follow(1, 0, 0), 1);
        assert_eq!(one.closed(1), Reason::Superseded);
        // What the first still has to say is not taken.
        one.batches(1, 0, &large_batch(1, 0, 7, 10));
        one.barrier(1, 0);
        let second = batch(1, 0, 2);
        two.batches(1, 0, &second);
        two.durable(1, 3);
        shard.lead_alone(0, 1);
        assert_eq!(shard.read(0, 0, 3), [first, second].concat());
        shard.stop();
    });
}

#[test]
fn batches_come_in_order_over_segments_that_fill_up() {
    with_root(|root| {
        let image = configured(&image_of(ALL, &[(BOTH, Some(OTHER), 0)]), &[("segment.bytes", "1048576")], &[]);
        let mut shard = RunningShard::start(&root, &image);
        let mut leader = FakeLeader::connect(&shard, OTHER);
        leader.follow(1, 0, 0);
        let mut sent = Vec::new();
        for window in 0..5 {
            // As much as the window allows, without waiting between.
            for at in 0..10 {
                let next = large_batch(10 * window + at, 0, 1, 190_000);
                leader.batches(1, 0, &next);
                sent.extend(next);
            }
            leader.durable(1, 10 * window + 10);
        }
        shard.lead_alone(0, 1);
        assert!(shard.read(0, 0, 50) == sent);
        let segments = std::fs::read_dir(root.join("orders-0")).unwrap().map(|entry| entry.unwrap().file_name());
        let segments = segments.filter(|name| name.to_string_lossy().ends_with(".log")).count();
        assert!(segments >= 9, "{segments}");
        shard.stop();
    });
}
