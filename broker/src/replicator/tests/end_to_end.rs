//! Two brokers' shards that replicate to each other, and nobody in between but a test that connects them.

use std::net::Shutdown;
use std::sync::Mutex;

use replication::message::{Run, ToFollower};

use super::peers::{FakeLeader, connection, progress};
use super::*;

/// Connects what each of the shards asks for with the other, and keeps a hand on all connections.
fn connect_all(shards: [(i32, &mut RunningShard); 2]) -> Arc<Mutex<Vec<TcpStream>>> {
    let sockets = Arc::new(Mutex::new(Vec::new()));
    let inboxes = shards.each_ref().map(|(id, shard)| (*id, shard.inbox.clone()));
    for (from, shard) in shards {
        let connects = std::mem::replace(&mut shard.connects, std_mpsc::channel().1);
        let (inboxes, sockets) = (inboxes.clone(), sockets.clone());
        std::thread::spawn(move || {
            for Connect { to, reply, .. } in connects {
                let (one, two) = connection();
                sockets.lock().unwrap().push(one.try_clone().unwrap());
                let peer = two.peer_addr().unwrap();
                let (_, inbox) = inboxes.iter().find(|(id, _)| *id == to).unwrap();
                let message = ShardMessage::Replication { socket: two, peer, from: BrokerId(from) };
                // The other broker may have stopped.
                let _ = inbox.send_blocking(message);
                let _ = reply.send(Ok(one));
            }
        });
    }
    sockets
}

#[test]
fn two_shards_come_to_the_same_logs() {
    const SMALL: usize = 10_000;
    with_root(|root| {
        // Each leads one partition, and follows in the other.
        let image = image_of(ALL, &[(BOTH, Some(HERE), 3), (BOTH, Some(OTHER), 3)]);
        let topic = [("segment.bytes", "4194304"), ("max.message.bytes", "3000000")];
        let image = configured(&image, &topic, &[]);
        let mut one = RunningShard::start_as(HERE, &root.join("1"), &image, 256 << 10);
        let mut two = RunningShard::start_as(OTHER, &root.join("2"), &image, 256 << 10);
        let sockets = connect_all([(HERE, &mut one), (OTHER, &mut two)]);
        let mut waiting = Vec::new();
        for at in 0..SMALL / 100 {
            let batches = |partition| {
                let mut batches: Vec<_> = (0..100).map(|n| (partition, unsent_batch(n * 3))).collect();
                if at % 10 == 0 {
                    batches.push((partition, unsent_batch(2_500_000 - at)));
                }
                batches
            };
            waiting.push(one.begin_produce(batches(0), Acks::All));
            waiting.push(two.begin_produce(batches(1), Acks::All));
            if at % 30 == 20 {
                // Everything breaks off, in the middle of whatever it is.
                for socket in std::mem::take(&mut *sockets.lock().unwrap()) {
                    let _ = socket.shutdown(Shutdown::Both);
                }
            }
        }
        for answers in waiting {
            for produced in wait(answers).unwrap() {
                produced.result.unwrap();
            }
        }
        let end = i64::try_from(SMALL + SMALL / 1000).unwrap();
        for partition in [0, 1] {
            let (theirs, others) = (one.read(partition, 0, end), two.read(partition, 0, end));
            assert_eq!(headers(&theirs).len(), usize::try_from(end).unwrap());
            assert!(theirs == others, "partition {partition}");
        }
        assert_eq!((one.view(0).high_watermark, two.view(1).high_watermark), (end, end));
        assert!(one.asks.try_recv().is_err(), "both were in sync all the time");
        one.stop();
        two.stop();
    });
}

#[test]
fn a_log_that_was_compacted_is_followed_with_its_gaps() {
    for cache_bytes in [0, 1 << 20] {
        with_root(|root| {
            let mut one =
                RunningShard::start_as(HERE, &root.join("1"), &image_of(ALL, &[(BOTH, Some(OTHER), 3)]), cache_bytes);
            let mut leader = FakeLeader::connect(&one, OTHER);
            leader.follow(1, 0, 3);
            // As if the leader had compacted what lay between.
            let sent = [batch(4, 3, 2), batch(10, 3, 1), batch(11, 3, 3)].concat();
            let run = Run { has_gaps: true, batches: Bytes::copy_from_slice(&sent) };
            leader.say(1, &ToFollower::Batches { progress: progress(0), run });
            leader.durable(1, 14);

            one.apply(&[in_sync(TOPIC_ID, 0, (BOTH, Some(HERE), 4), BOTH)]);
            let mut two = RunningShard::start_as(OTHER, &root.join("2"), &one.image, cache_bytes);
            let _sockets = connect_all([(HERE, &mut one), (OTHER, &mut two)]);
            one.produce(0, 100);
            let theirs = one.read(0, 0, 15);
            assert!(theirs.starts_with(&sent));
            assert!(two.read(0, 0, 15) == theirs, "with a cache of {cache_bytes} bytes");
            one.stop();
            two.stop();
        });
    }
}
