//! Who is in sync: what a leader asks the controller for, and what counts until the metadata has it.

use super::peers::FakeFollower;
use super::*;

const WINDOW: u32 = 1 << 20;
/// The settings under which nobody ever falls behind.
const NEVER: &[(&str, &str)] = &[];

fn leading(root: &Path, isr: &[i32], broker: &[(&str, &str)]) -> RunningShard {
    let image = image_of(ALL, &[(BOTH, Some(OTHER), 3)]);
    let image = image.apply_batch(&[in_sync(TOPIC_ID, 0, (BOTH, Some(HERE), 4), isr)]).unwrap().0;
    RunningShard::start(root, &configured(&image, &[], broker))
}

fn accepted(shard: &RunningShard) -> FakeFollower {
    FakeFollower::accept(shard.asked_to_connect(OTHER))
}

/// As the controller has decided: the leader epoch stays.
fn decided(isr: &[i32], partition_epoch: i32) -> MetadataRecord {
    let MetadataRecord::PartitionChanged(mut record) = in_sync(TOPIC_ID, 0, (BOTH, Some(HERE), 4), isr) else {
        unreachable!()
    };
    record.partition_epoch = partition_epoch;
    MetadataRecord::PartitionChanged(record)
}

#[test]
fn a_follower_that_stays_away_is_waited_for_until_the_metadata_has_it_out() {
    with_root(|root| {
        let mut shard = leading(&root, BOTH, &[("replica.lag.time.max.ms", "200")]);
        let mut committed = shard.begin_produce(vec![(0, unsent_batch(100))], Acks::All);
        shard.produce(0, 100);
        let asked = shard.asked_to_alter();
        let change = &asked.request.changes[0];
        assert_eq!((change.leader_epoch, change.partition_epoch), (LeaderEpoch(4), 4));
        assert_eq!(asked.isr(), [(HERE, 0)]);
        assert_eq!(shard.view(0).high_watermark, 0, "it was asked for");
        asked.answer(Ok(5));
        shard.produce(0, 100);
        assert_eq!(shard.view(0).high_watermark, 0, "it was agreed to");
        assert!(committed.try_recv().unwrap().is_none());
        shard.apply(&[decided(&[HERE], 5)]);
        assert_eq!(shard.view(0).high_watermark, 3);
        assert_eq!(wait(committed).unwrap()[0].result.as_ref().unwrap().end, Offset(1));
        shard.stop();
    });
}

#[test]
fn a_change_that_was_refused_or_not_answered_may_have_been_made() {
    for is_answered in [true, false] {
        with_root(|root| {
            let mut shard = leading(&root, &[HERE], NEVER);
            shard.produce(0, 100);
            let mut follower = accepted(&shard);
            let stream = follower.follow(0, WINDOW);
            follower.take_up_to(stream, 1);
            let asked = shard.asked_to_alter();
            assert_eq!(asked.isr(), [(HERE, 0), (OTHER, 0)]);
            match is_answered {
                true => asked.answer(Err(ResponseError::IneligibleReplica)),
                false => drop(asked),
            }
            // It is gone, and is not about to join any more.
            drop(follower);
            let connect = shard.asked_to_connect(OTHER);
            shard.produce(0, 100);
            assert_eq!(shard.view(0).high_watermark, 1, "it may be in the ISR by now");
            // Asked again, of itself alone, since nobody else is there.
            let again = shard.asked_to_alter();
            assert_eq!(again.request.changes[0].partition_epoch, 4);
            assert_eq!(again.isr(), [(HERE, 0)]);
            assert_eq!(shard.view(0).high_watermark, 1);
            again.answer(Ok(5));
            shard.apply(&[decided(&[HERE], 5)]);
            assert_eq!(shard.view(0).high_watermark, 2);
            drop(connect);
            shard.stop();
        });
    }
}

#[test]
fn a_follower_that_has_caught_up_counts_before_it_is_in() {
    with_root(|root| {
        let mut shard = leading(&root, &[HERE], NEVER);
        shard.produce_many(0, 3);
        assert_eq!(shard.view(0).high_watermark, 3, "alone it commits alone");
        let mut follower = accepted(&shard);
        let stream = follower.follow(0, WINDOW);
        follower.take_up_to(stream, 3);
        let asked = shard.asked_to_alter();
        assert_eq!(asked.isr(), [(HERE, 0), (OTHER, 0)]);
        shard.produce(0, 100);
        assert_eq!(shard.view(0).high_watermark, 3, "it is about to join, and lacks this");
        asked.answer(Ok(5));
        shard.apply(&[decided(BOTH, 5)]);
        assert_eq!(shard.view(0).high_watermark, 3);
        follower.take_up_to(stream, 4);
        until(|| (shard.view(0).high_watermark == 4).then_some(()));
        let replicas = shard.view(0).replicas;
        assert!(replicas.iter().all(|replica| replica.in_sync && replica.durable_end == Some(4)), "{replicas:?}");
        shard.stop();
    });
}

#[test]
fn a_process_that_the_metadata_does_not_know_is_not_let_in() {
    with_root(|root| {
        let image = image_of(ALL, &[(&[OTHER, HERE], Some(OTHER), 3)]);
        let alone = in_sync(TOPIC_ID, 0, (BOTH, Some(HERE), 4), &[HERE]);
        let image = image.apply_batch(&[&registered(OTHER, 70)[..], &[alone]].concat()).unwrap().0;
        let shard = RunningShard::start(&root, &image);
        shard.produce(0, 100);
        // It says that it is the process before.
        let mut follower = accepted(&shard);
        let stream = follower.follow(0, WINDOW);
        follower.take_up_to(stream, 1);
        shard.produce(0, 100);
        follower.take_up_to(stream, 2);
        shard.produce(0, 100);
        follower.batches(stream);
        assert_eq!(shard.view(0).high_watermark, 3, "it counts for nothing");
        assert!(shard.asks.try_recv().is_err());
        shard.stop();
    });
}
