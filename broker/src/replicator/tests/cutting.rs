//! A follower's log that goes apart from its leader's: cut, begun anew, and not cut once it is the leader's.

use replication::message::{Reason, ToFollower, ToLeader};

use super::peers::{FakeLeader, progress};
use super::*;

fn cut(epoch: i32, end: i64) -> ToFollower {
    ToFollower::Cut { epoch: LeaderEpoch(epoch), end: Offset(end) }
}

#[test]
fn a_log_is_cut_to_what_the_leader_has_and_goes_on_from_there() {
    with_root(|root| {
        let mut shard = RunningShard::start(&root, &image_of(ALL, &[(BOTH, Some(OTHER), 2)]));
        let mut leader = FakeLeader::connect(&shard, OTHER);
        leader.follow(1, 0, 2);
        let had = [batch(0, 1, 2), batch(2, 1, 2), batch(4, 2, 3)];
        leader.batches(1, 0, &had.concat());
        leader.durable(1, 7);

        shard.apply(&[partition(TOPIC_ID, 0, (BOTH, Some(OTHER), 4))]);
        assert_eq!(leader.closed(1), Reason::OldEpoch { known: LeaderEpoch(4) });
        leader.open(2, 0, 4);
        assert_eq!(leader.position(2), tail(&had[2]));
        // Two rounds: what it has of epoch 2 goes, then what is too much of epoch 1.
        leader.say(2, &cut(1, 4));
        assert_eq!(leader.position(2), tail(&had[1]));
        leader.say(2, &cut(1, 2));
        assert_eq!(leader.position(2), tail(&had[0]));
        leader.say(2, &ToFollower::Agreed(progress(0)));
        leader.durable(2, 2);
        let more = batch(2, 4, 4);
        leader.batches(2, 6, &more);
        leader.durable(2, 6);
        let expected = [&had[0][..], &more].concat();
        assert_eq!(shard.read(0, 0, 6), expected);
        shard.lead_alone(0, 5);
        assert_eq!(shard.view(0).log_end, 6);
        let image = shard.image.clone();
        shard.stop();
        let shard = RunningShard::start(&root, &image);
        assert_eq!(shard.read(0, 0, 6), expected);
        shard.stop();
    });
}

#[test]
fn a_log_begins_anew_where_the_leader_says() {
    with_root(|root| {
        let image = image_of(ALL, &[(BOTH, Some(OTHER), 2)]);
        let shard = RunningShard::start(&root, &image);
        let mut leader = FakeLeader::connect(&shard, OTHER);
        leader.follow(1, 0, 2);
        leader.batches(1, 0, &batch(0, 2, 3));
        leader.durable(1, 3);
        leader.open(2, 0, 2);
        leader.position(2);
        leader.say(2, &ToFollower::Restart { at: Offset(100) });
        assert_eq!(leader.position(2), empty_at(100));
        leader.say(2, &ToFollower::Agreed(progress(100)));
        assert_eq!(leader.hear_of(2), ToLeader::Durable { end: Offset(100), log_start: Offset(100) });
        let sent = batch(100, 2, 5);
        leader.batches(2, 105, &sent);
        leader.durable(2, 105);
        assert_eq!(shard.read(0, 100, 105), sent);
        shard.stop();
        let mut shard = RunningShard::start(&root, &image);
        shard.lead_alone(0, 3);
        assert_eq!((shard.view(0).log_start, shard.view(0).log_end), (100, 105));
        assert_eq!(shard.read(0, 100, 105), sent);
        shard.stop();
    });
}

#[test]
fn consumers_are_not_shown_what_was_cut() {
    with_root(|root| {
        let shard = RunningShard::start(&root, &image_of(ALL, &[(BOTH, Some(OTHER), 2)]));
        let mut leader = FakeLeader::connect(&shard, OTHER);
        leader.follow(1, 0, 2);
        let had = [batch(0, 1, 2), batch(2, 2, 2)];
        leader.batches(1, 4, &had.concat());
        leader.durable(1, 4);
        assert_eq!(shard.read(0, 0, 4), had.concat());
        // As after an unclean election.
        leader.open(2, 0, 2);
        leader.position(2);
        leader.say(2, &cut(1, 2));
        assert_eq!(leader.position(2), tail(&had[0]));
        assert_eq!(shard.high_watermark(0), 2);
        assert_eq!(shard.read(0, 0, 2), had[0]);
        shard.stop();
    });
}

/// A cut and an image that makes this broker leader come together, in every order that the two can take.
#[test]
fn a_leaders_log_is_not_cut_by_what_it_was_told_before() {
    const ROUNDS: i32 = 40;
    with_root(|root| {
        let mut shard = RunningShard::start(&root, &image_of(ALL, &[(BOTH, Some(OTHER), 1), (BOTH, Some(OTHER), 1)]));
        let mut leader = FakeLeader::connect(&shard, OTHER);
        let (mut log, mut was_cut) = (Vec::<Vec<u8>>::new(), 0);
        for round in 0..ROUNDS {
            let epoch = 3 * round + 1;
            // Three of an epoch, and the next leader knows of one.
            let stream = u32::try_from(2 * round + 1).unwrap();
            let begin = leader.follow(stream, 0, epoch);
            for at in begin..begin + 3 {
                let next = batch(at, epoch, 1);
                leader.batches(stream, 0, &next);
                log.push(next);
            }
            leader.durable(stream, begin + 3);
            shard.apply(&[partition(TOPIC_ID, 0, (BOTH, Some(OTHER), epoch + 1))]);
            leader.open(stream + 1, 0, epoch + 1);
            leader.position(stream + 1);

            let alone = [in_sync(TOPIC_ID, 0, (BOTH, Some(HERE), epoch + 2), &[HERE])];
            if round % 3 == 0 {
                let applied = shard.begin_apply(&alone);
                leader.say(stream + 1, &cut(epoch, begin + 1));
                wait(applied).unwrap();
            } else {
                leader.say(stream + 1, &cut(epoch, begin + 1));
                // At another moment of the cut each time.
                let moment = Instant::now() + Duration::from_micros(50) * round.unsigned_abs();
                while Instant::now() < moment {
                    std::hint::spin_loop();
                }
                shard.apply(&alone);
            }
            // And once more to one that leads.
            leader.say(stream + 1, &cut(epoch, begin));
            leader.barrier(1, 1);

            let end = shard.view(0).log_end;
            assert!(end == begin + 1 || end == begin + 3, "{end} after {begin}");
            was_cut += i32::from(end == begin + 1);
            log.truncate(usize::try_from(end).unwrap());
            assert_eq!(shard.produce(0, 10), end, "nothing has changed the log since it leads");
            shard.produce(0, 10);
            assert_eq!(shard.view(0).log_end, end + 2);
            let all = shard.read(0, 0, end + 2);
            let (before, own) = all.split_at(log.concat().len());
            assert!(before == log.concat());
            assert_eq!(headers(own).len(), 2);
            let at = own.len() / 2;
            log.extend([own[..at].to_vec(), own[at..].to_vec()]);
            shard.apply(&[partition(TOPIC_ID, 0, (BOTH, Some(OTHER), epoch + 3))]);
        }
        println!("{was_cut} of {ROUNDS} cuts were made");
        let end = i64::try_from(log.len()).unwrap();
        shard.stop();
        let image = in_sync(TOPIC_ID, 0, (BOTH, Some(HERE), 3 * ROUNDS + 2), &[HERE]);
        let image = image_of(ALL, &[(BOTH, Some(OTHER), 1)]).apply_batch(&[image]).unwrap().0;
        let shard = RunningShard::start(&root, &image);
        assert!(shard.read(0, 0, end) == log.concat());
        shard.stop();
    });
}
