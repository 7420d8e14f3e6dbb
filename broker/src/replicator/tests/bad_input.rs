//! What no leader says: it costs its stream, or its connection, and nothing else.

use bytes::BytesMut;
use replication::message::{Reason, ToFollower, ToLeader};

use super::peers::{FakeLeader, dense, progress};
use super::*;

/// The bad one's partition, the one that goes on, and one for barriers. All are at leader epoch 3.
const BAD: i32 = 0;
const GOOD: i32 = 1;
const EPOCH: i32 = 3;

/// A shard that follows, on which something goes on besides the bad.
struct Scene {
    shard: RunningShard,
    good: FakeLeader,
    good_sent: Vec<u8>,
    good_end: i64,
    sent: Vec<u8>,
    end: i64,
}

impl Scene {
    fn start(root: &Path) -> Scene {
        let followed = (BOTH, Some(OTHER), EPOCH);
        let shard = RunningShard::start(root, &image_of(ALL, &[followed, followed]));
        let mut good = FakeLeader::connect(&shard, OTHER);
        good.follow(1, GOOD, EPOCH);
        Scene { shard, good, good_sent: Vec::new(), good_end: 0, sent: Vec::new(), end: 0 }
    }

    /// The next good batch of the partition that the bad is about.
    fn next(&mut self) -> Vec<u8> {
        let next = batch(self.end, EPOCH, 2);
        self.end += 2;
        self.sent.extend_from_slice(&next);
        next
    }

    /// The other stream has not noticed anything.
    fn goes_on(&mut self, after: &str) {
        let next = batch(self.good_end, EPOCH, 1);
        self.good_end += 1;
        self.good.batches(1, 0, &next);
        self.good.durable(1, self.good_end);
        self.good_sent.extend(next);
        println!("went on after {after}");
    }

    /// The logs hold what was good.
    fn finish(mut self) {
        for (partition, end, sent) in [(BAD, self.end, &self.sent), (GOOD, self.good_end, &self.good_sent)] {
            self.shard.lead_alone(partition, EPOCH + 1);
            assert_eq!(self.shard.view(partition).log_end, end);
            assert_eq!(self.shard.read(partition, 0, end), *sent);
        }
        self.shard.stop();
    }
}

fn is_violation(reason: Reason, of: &str) {
    assert!(matches!(reason, Reason::Violation(_)), "{reason} after {of}");
}

#[test]
fn batches_that_are_none_close_the_stream_and_are_not_taken() {
    with_root(|root| {
        let mut scene = Scene::start(&root);
        let mut leader = FakeLeader::connect(&scene.shard, OTHER);
        let damaged = |at: i64, position: usize| {
            let mut batch = batch(at, EPOCH, 1);
            batch[position] ^= 1;
            batch
        };
        type Made = Box<dyn Fn(i64) -> Vec<u8>>;
        let cases: Vec<(&str, Made)> = vec![
            ("a gap", Box::new(|next| batch(next + 1, EPOCH, 1))),
            ("a batch that was there", Box::new(|next| batch(next - 1, EPOCH, 1))),
            ("an offset below 0", Box::new(|_| batch(-1, EPOCH, 1))),
            ("a later epoch than the stream's", Box::new(|next| batch(next, EPOCH + 1, 1))),
            ("an earlier epoch than the batch before", Box::new(|next| batch(next, EPOCH - 1, 1))),
            ("no epoch", Box::new(|next| batch(next, -1, 1))),
            ("a wrong CRC", Box::new(move |next| damaged(next, 17))),
            ("a damaged record", Box::new(move |next| damaged(next, batch(next, EPOCH, 1).len() - 1))),
            ("another magic", Box::new(move |next| damaged(next, 16))),
            ("half a batch", Box::new(|next| batch(next, EPOCH, 1)[..70].to_vec())),
            ("less than a header", Box::new(|next| batch(next, EPOCH, 1)[..20].to_vec())),
            ("a batch of 2 GiB", Box::new(|next| [&next.to_be_bytes()[..], &[0x7f; 60]].concat())),
            ("garbage", Box::new(|_| vec![0xa5; 500])),
        ];
        for ((what, made), stream) in cases.iter().zip((1..).step_by(2)) {
            for (alone, stream) in [(false, stream), (true, stream + 1)] {
                assert_eq!(leader.follow(stream, BAD, EPOCH), scene.end, "before {what}");
                // What was good in the same frame stays.
                let good = if alone && scene.end > 0 { Vec::new() } else { scene.next() };
                leader.batches(stream, 0, &[good, made(scene.end)].concat());
                is_violation(leader.closed(stream), what);
                // Nor is anything taken that comes behind it.
                leader.batches(stream, 0, &batch(scene.end, EPOCH, 7));
            }
            scene.goes_on(what);
        }
        scene.finish();
    });
}

#[test]
fn messages_at_the_wrong_time_close_the_stream() {
    with_root(|root| {
        let mut scene = Scene::start(&root);
        let mut leader = FakeLeader::connect(&scene.shard, OTHER);
        leader.follow(1, BAD, EPOCH);
        let good = scene.next();
        leader.batches(1, 0, &good);
        leader.durable(1, scene.end);

        let batches = ToFollower::Batches { progress: progress(0), run: dense(&batch(scene.end, EPOCH, 1)) };
        let cut = |epoch, end| ToFollower::Cut { epoch: LeaderEpoch(epoch), end: Offset(end) };
        let agreed = ToFollower::Agreed(progress(0));
        let restart = |at| ToFollower::Restart { at: Offset(at) };
        let told = ToFollower::Progress(progress(1));
        let mut stream = 1;
        // Before the follower has said where its log ends.
        for message in [&batches, &cut(1, 0), &agreed, &restart(0), &told] {
            stream += 1;
            // No stream is begun before its epoch is known.
            leader.open(stream, BAD, EPOCH + 1);
            leader.say(stream, message);
            is_violation(leader.closed(stream), &format!("{message:?}"));
        }
        scene.goes_on("what came too early");
        // Before the two agree.
        for message in [&batches, &told, &cut(EPOCH + 1, 0), &cut(0, -1), &restart(-1), &ToFollower::Beat] {
            stream += 1;
            leader.open(stream, BAD, EPOCH);
            assert_eq!(leader.position(stream).log_end.0, scene.end);
            leader.say(stream, message);
            is_violation(leader.closed(stream), &format!("{message:?}"));
        }
        scene.goes_on("what came before the agreement");
        for message in [&cut(1, 0), &agreed, &restart(0)] {
            stream += 1;
            assert_eq!(leader.follow(stream, BAD, EPOCH), scene.end);
            leader.say(stream, message);
            is_violation(leader.closed(stream), &format!("{message:?}"));
        }
        scene.goes_on("what came after the agreement");
        scene.finish();
    });
}

#[test]
fn what_is_no_message_ends_the_connection() {
    with_root(|root| {
        let mut scene = Scene::start(&root);
        let twice = {
            let mut bytes = BytesMut::new();
            let PartitionKey { topic_id, partition } = key(BAD);
            ToFollower::Open { topic_id, partition, leader_epoch: LeaderEpoch(EPOCH) }.encode(1, &mut bytes);
            bytes.to_vec()
        };
        let framed = |body: &[u8]| [&i32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat();
        let cases = [
            ("a stream that is opened twice", twice),
            ("an unknown kind", framed(&[0, 0, 0, 1, 99])),
            ("a kind that followers say", framed(&[0, 0, 0, 1, 9, 0, 0])),
            ("an empty frame", framed(&[])),
            ("a message that is cut short", framed(&[0, 0, 0, 1, 3, 0])),
            ("a message that is too long", framed(&[0, 0, 0, 1, 0, 0])),
            ("a reason that is unknown", framed(&[0, 0, 0, 1, 1, 99, 0, 0, 0, 0, 0, 0])),
            ("a negative length", (-1_i32).to_be_bytes().to_vec()),
            ("a frame of 2 GiB", [&i32::MAX.to_be_bytes()[..], &[0; 1000]].concat()),
            ("another protocol", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ];
        for (what, bytes) in &cases {
            let mut leader = FakeLeader::connect(&scene.shard, OTHER);
            assert_eq!(leader.follow(1, BAD, EPOCH), scene.end);
            let good = scene.next();
            leader.batches(1, 0, &good);
            leader.durable(1, scene.end);
            leader.send(bytes);
            leader.hear_the_end();
            scene.goes_on(what);
        }
        scene.finish();
    });
}

#[test]
fn bytes_beyond_the_window_close_the_stream() {
    with_root(|root| {
        let followed = (BOTH, Some(OTHER), EPOCH);
        let image = image_of(ALL, &[followed, followed]);
        // Batches of a replica that is not in sync wait for a rate that never allows a second one.
        let lagging = in_sync(TOPIC_ID, BAD, (BOTH, Some(OTHER), EPOCH + 1), &[OTHER]);
        let image = image.apply_batch(&[lagging]).unwrap().0;
        let topic = [("follower.replication.throttled.replicas", "*")];
        let image = configured(&image, &topic, &[("follower.replication.throttled.rate", "1")]);
        let mut shard = RunningShard::start(&root, &image);
        let mut good = FakeLeader::connect(&shard, OTHER);
        good.follow(1, GOOD, EPOCH);
        let mut leader = FakeLeader::connect(&shard, OTHER);
        leader.open(1, BAD, EPOCH + 1);
        let window = match leader.hear_of(1) {
            ToLeader::Position { window_bytes, .. } => usize::try_from(window_bytes).unwrap(),
            other => panic!("{other:?}"),
        };
        leader.say(1, &ToFollower::Agreed(progress(0)));
        leader.durable(1, 0);
        let first = batch(0, EPOCH, 1);
        leader.batches(1, 0, &first);
        leader.durable(1, 1);
        // The window may be used, and what was sent before it was known.
        let large = |at| large_batch(at, EPOCH, 1, window - 1000);
        (1..3).for_each(|at| leader.batches(1, 0, &large(at)));
        good.batches(1, 0, &batch(0, EPOCH, 1));
        good.durable(1, 1);
        leader.batches(1, 0, &batch(3, EPOCH, 1));
        leader.batches(1, 0, &large(4));
        is_violation(leader.closed(1), "more than the window");
        good.batches(1, 0, &batch(1, EPOCH, 1));
        good.durable(1, 2);
        shard.lead_alone(BAD, EPOCH + 2);
        assert_eq!(shard.read(BAD, 0, 1), first);
        assert_eq!(shard.view(BAD).log_end, 1);
        shard.stop();
    });
}
