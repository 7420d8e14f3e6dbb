//! Connections and streams that end, and come again.

use replication::message::{Reason, ToLeader};

use super::peers::{FakeFollower, FakeLeader, connection};
use super::*;

const WINDOW: u32 = 1 << 20;

fn accepted(shard: &RunningShard) -> FakeFollower {
    FakeFollower::accept(shard.asked_to_connect(OTHER))
}

/// The first broker leads all partitions, alone in sync, and looks often at what is needed.
fn leading(root: &Path, partitions: usize) -> RunningShard {
    let mut image = image_of(ALL, &vec![(BOTH, Some(HERE), 3); partitions]);
    for at in 0..i32::try_from(partitions).unwrap() {
        let alone = in_sync(TOPIC_ID, at, (BOTH, Some(HERE), 4), &[HERE]);
        image = image.apply_batch(&[alone]).unwrap().0;
    }
    RunningShard::start(root, &configured(&image, &[], &[("replica.lag.time.max.ms", "40")]))
}

#[test]
fn a_stream_that_the_follower_refused_is_opened_again_on_the_same_connection() {
    with_root(|root| {
        let shard = leading(&root, 1);
        shard.produce(0, 100);
        let mut follower = accepted(&shard);
        let mut before = 0;
        // The pauses grow, and the connection has no other stream meanwhile.
        for round in 0..5 {
            let (stream, partition, epoch) = follower.opened();
            assert_eq!((partition, epoch), (0, 4));
            assert!(stream > before, "a number is used once");
            before = stream;
            match round {
                // Whether it had agreed or not.
                3 => follower.follow_opened(stream, WINDOW),
                4 => follower.position(stream, empty_at(0), WINDOW),
                _ => {}
            }
            follower.say(stream, &ToLeader::Close(Reason::Offline("no space".to_owned())));
            // What is said of a stream that is closed is about nothing.
            follower.durable(stream, 1);
        }
        let stream = follower.follow(0, WINDOW);
        follower.take_up_to(stream, 1);
        assert!(shard.connects.try_recv().is_err(), "the connection was there all the time");
        shard.stop();
        follower.hear_the_end();
    });
}

#[test]
fn a_connection_that_breaks_is_made_again() {
    with_root(|root| {
        let shard = leading(&root, 2);
        shard.produce(0, 100);
        for round in 0..3 {
            let connect = shard.asked_to_connect(OTHER);
            if round == 0 {
                connect.reply.send(Err("refused".to_owned())).unwrap();
                continue;
            }
            let mut follower = FakeFollower::accept(connect);
            let mut partitions = [follower.opened(), follower.opened()];
            partitions.sort_by_key(|(_, partition, _)| *partition);
            assert_eq!(partitions.map(|(_, partition, _)| partition), [0, 1]);
            follower.follow_opened(partitions[0].0, WINDOW);
            assert_eq!(headers(&follower.batches(partitions[0].0)).len(), 1, "what was not acknowledged comes again");
            drop(follower);
        }
        // What is no message ends it too.
        let mut follower = accepted(&shard);
        follower.opened();
        follower.send(&[0, 0, 0, 5, 0, 0, 0, 1, 99]);
        follower.hear_the_end();
        let mut follower = accepted(&shard);
        follower.opened();
        follower.send(&i32::MAX.to_be_bytes());
        follower.hear_the_end();
        let mut follower = accepted(&shard);
        let (stream, partition, _) = follower.opened();
        follower.follow_opened(stream, WINDOW);
        if partition == 0 {
            follower.take_up_to(stream, 1);
        }
        shard.stop();
    });
}

#[test]
fn another_process_of_the_follower_has_a_connection_of_its_own() {
    with_root(|root| {
        let mut shard = leading(&root, 1);
        shard.produce(0, 100);
        let mut before = accepted(&shard);
        let stream = before.follow(0, WINDOW);
        before.take_up_to(stream, 1);
        shard.apply(&registered(OTHER, 70));
        // While the other one is not there yet the old one has ended.
        before.hear_the_end();
        let mut after = accepted(&shard);
        let stream = after.follow(0, WINDOW);
        after.take_up_to(stream, 1);
        // Let in or fenced, it is the same process.
        shard.apply(&registered(OTHER, 70));
        shard.produce(0, 100);
        after.take_up_to(stream, 2);
        assert!(shard.connects.try_recv().is_err());
        shard.stop();
    });
}

#[test]
fn streams_end_with_the_leadership_and_connections_with_their_streams() {
    with_root(|root| {
        let mut shard = leading(&root, 2);
        shard.produce(0, 100);
        let mut follower = accepted(&shard);
        let mut streams = [0, 0];
        for _ in 0..2 {
            let (stream, partition, _) = follower.opened();
            streams[usize::try_from(partition).unwrap()] = stream;
        }
        follower.follow_opened(streams[0], WINDOW);
        follower.take_up_to(streams[0], 1);
        // A new epoch of the same leader: a stream of its own.
        shard.apply(&[in_sync(TOPIC_ID, 0, (BOTH, Some(HERE), 5), &[HERE])]);
        assert_eq!(follower.closed(streams[0]), Reason::Over);
        let (stream, partition, epoch) = follower.opened();
        assert_eq!((partition, epoch), (0, 5));
        assert!(stream > streams[0]);
        // A replica that is taken away, and a leader that is another.
        shard.apply(&[partition_of(0, &[HERE], HERE, 6)]);
        assert_eq!(follower.closed(stream), Reason::Over);
        shard.apply(&[partition_of(1, BOTH, OTHER, 5)]);
        assert_eq!(follower.closed(streams[1]), Reason::Over);
        follower.hear_the_end();
        assert!(shard.connects.try_recv().is_err());
        // Needed again it is made again.
        shard.apply(&[partition_of(0, BOTH, HERE, 7)]);
        let mut follower = accepted(&shard);
        let stream = follower.follow(0, WINDOW);
        follower.take_up_to(stream, 1);
        shard.stop();
    });
}

fn partition_of(at: i32, replicas: &[i32], leader: i32, epoch: i32) -> MetadataRecord {
    partition(TOPIC_ID, at, (replicas, Some(leader), epoch))
}

/// Both ends, each with a peer that says nothing and with one that only beats.
#[test]
fn a_peer_that_says_nothing_at_all_is_given_up() {
    with_root(|root| {
        let image = image_of(ALL, &[(BOTH, Some(HERE), 3), (BOTH, Some(OTHER), 3), (&[HERE, THIRD], Some(HERE), 3)]);
        let shard = RunningShard::start(&root, &image);
        let mut silent_leader = FakeLeader::silent(FakeLeader::socket(&shard, OTHER));
        let mut leader = FakeLeader::connect(&shard, OTHER);
        leader.follow(1, 1, 3);
        let (mut to_other, mut to_third) = (None, None);
        for _ in 0..2 {
            let connect = shard.connects.recv_timeout(PATIENCE).unwrap();
            if connect.to == OTHER {
                let (socket, theirs) = connection();
                connect.reply.send(Ok(theirs)).unwrap();
                to_other = Some(FakeFollower::silent(socket));
            } else {
                to_third = Some(FakeFollower::accept(connect));
            }
        }
        let (mut silent_follower, mut follower) = (to_other.unwrap(), to_third.unwrap());
        let stream = follower.follow(2, WINDOW);
        // What it is sent does not make it heard.
        shard.produce(0, 100);
        silent_leader.hear_the_end();
        silent_follower.hear_the_end();
        assert_eq!(shard.asked_to_connect(OTHER).shard, 0);
        // The others have been as long without anything to say.
        leader.batches(1, 0, &batch(0, 3, 1));
        leader.durable(1, 1);
        shard.produce(2, 100);
        follower.take_up_to(stream, 1);
        shard.stop();
    });
}
