//! `__consumer_offsets` gets its replicas as brokers come.

use super::cluster::{id, ids_of};
use super::*;
use crate::image::PartitionImage;
use crate::testing::{beat, with_broker};

const FACTOR: i16 = 3;

/// Broker 1 and the topic with so many partitions on it.
fn with_offsets_topic(partitions: i32) -> MetadataImage {
    let image = image_with_broker();
    let (records, answers) = create(&image, &[topic(OFFSETS_TOPIC, partitions, 1)]);
    answers[0].1.as_ref().unwrap();
    applied(&image, &records)
}

fn partitions(image: &MetadataImage) -> Vec<PartitionImage> {
    image.topic(OFFSETS_TOPIC).unwrap().partitions().map(|(_, state)| state.clone()).collect()
}

fn replicas(image: &MetadataImage) -> Vec<Vec<i32>> {
    partitions(image).iter().map(|state| state.replicas.iter().map(|id| id.0).collect()).collect()
}

fn growing(image: &MetadataImage) -> usize {
    partitions(image).iter().filter(|state| state.reassignment.is_some()).count()
}

fn raised(image: &MetadataImage) -> MetadataImage {
    applied(image, &raise_offsets_replication_factor(image, FACTOR))
}

/// Every replica whose broker is let in has caught up.
fn caught_up(image: &MetadataImage) -> MetadataImage {
    let topic = image.topic(OFFSETS_TOPIC).unwrap();
    let leaders: BTreeMap<BrokerId, Vec<IsrChange>> =
        topic.partitions().fold(BTreeMap::new(), |mut leaders, (partition, state)| {
            let members = state.replicas.iter().filter(|replica| image.is_unfenced(**replica));
            let change = IsrChange {
                topic_id: topic.id,
                partition,
                leader_epoch: state.leader_epoch,
                partition_epoch: state.partition_epoch,
                new_isr: members.map(|member| (*member, image.broker(*member).unwrap().epoch)).collect(),
            };
            leaders.entry(state.leader.unwrap()).or_insert_with(Vec::new).push(change);
            leaders
        });
    leaders.into_iter().fold(image.clone(), |image, (leader, changes)| {
        let epoch = image.broker(leader).unwrap().epoch;
        applied(&image, &alter_partition(&image, leader, epoch, &changes).unwrap().0)
    })
}

/// Until there is nothing left to do, and in how many steps.
fn grown(mut image: MetadataImage) -> (MetadataImage, usize) {
    for steps in 0.. {
        let next = raised(&image);
        if next == image && growing(&image) == 0 {
            return (image, steps);
        }
        let asked_again = growing(&raised(&next));
        assert!(asked_again <= RAISED_AT_ONCE_MAX, "{asked_again}");
        image = caught_up(&next);
        assert!(steps < 1000, "no end of it");
    }
    unreachable!("it ends or fails")
}

fn moved(image: &MetadataImage, partition: i32, target: Option<&[i32]>) -> MetadataImage {
    let wanted = WantedReassignment {
        topic: OFFSETS_TOPIC.to_owned(),
        partition: PartitionId(partition),
        target: target.map(ids_of),
    };
    let (records, answers) = alter_partition_reassignments(image, true, &[wanted]);
    answers[0].1.as_ref().unwrap();
    applied(image, &records)
}

fn fenced(image: &MetadataImage, broker: i32) -> MetadataImage {
    applied(image, &fence(image, id(broker), &LogEnds::default()))
}

#[test]
fn partitions_get_replicas_as_brokers_come_a_few_at_a_time_and_leaders_stay() {
    let mut image = with_offsets_topic(12);
    assert_eq!(raise_offsets_replication_factor(&image, FACTOR), [], "there is no other broker");
    for (broker, steps) in [(2, 3), (3, 3), (4, 0)] {
        let (after, needed) = grown(with_broker(&image, broker));
        assert_eq!(needed, steps, "12 partitions, {RAISED_AT_ONCE_MAX} at a time, for broker {broker}");
        let count = usize::try_from(broker.min(3)).unwrap();
        for (state, before) in partitions(&after).iter().zip(partitions(&image)) {
            assert_eq!((state.replicas.len(), state.isr.len()), (count, count));
            assert_eq!((state.leader, state.leader_epoch), (before.leader, before.leader_epoch));
            assert_eq!(state.replicas[..before.replicas.len()], before.replicas[..], "new ones come last");
        }
        image = after;
    }
}

#[test]
fn replicas_are_spread_over_the_brokers_that_come_together() {
    let image = (2..=5).fold(with_offsets_topic(12), |image, broker| with_broker(&image, broker));
    let (image, _) = grown(image);
    let on = |broker| replicas(&image).iter().filter(|replicas| replicas.contains(&broker)).count();
    assert_eq!([2, 3, 4, 5].map(on), [6; 4]);
}

#[test]
fn a_lower_factor_is_kept_to_and_takes_nothing_off() {
    let image = (2..=3).fold(with_offsets_topic(2), |image, broker| with_broker(&image, broker));
    assert_eq!(raise_offsets_replication_factor(&image, 1), []);
    let (image, _) = grown(image);
    assert_eq!(raise_offsets_replication_factor(&image, 2), []);
    assert_eq!(raise_offsets_replication_factor(&image, 0), []);
}

#[test]
fn other_topics_are_left_alone() {
    let image = (2..=3).fold(with_offsets_topic(1), |image, broker| with_broker(&image, broker));
    let (records, _) = create(&image, &[topic("mine", 2, 1)]);
    let (image, _) = grown(applied(&image, &records));
    assert!(image.topic("mine").unwrap().partitions().all(|(_, state)| state.replicas.len() == 1));
    assert_eq!(replicas(&image)[0].len(), 3);
}

#[test]
fn an_operators_choice_is_left_alone_and_his_moves_are_not_choices() {
    let image = (2..=4).fold(with_offsets_topic(4), |image, broker| with_broker(&image, broker));
    // One replica, moved: nothing was said of their number.
    let image = caught_up(&moved(&image, 0, Some(&[4])));
    // Two, by his own request.
    let image = caught_up(&moved(&image, 1, Some(&[1, 2])));
    // A move under way is waited for, and one on its way to more replicas is taken back.
    let image = raised(&moved(&image, 3, Some(&[4])));
    assert_eq!(replicas(&image)[3], [4, 1]);
    assert!(partitions(&image)[2].reassignment.is_some());
    let image = moved(&image, 2, None);
    let (image, _) = grown(caught_up(&image));
    let replicas = replicas(&image);
    assert_eq!((replicas[0].len(), &replicas[1], &replicas[2], replicas[3].len()), (3, &vec![1, 2], &vec![1], 3));
    assert_eq!((replicas[0][0], replicas[3][0]), (4, 4));
    // It is known to whoever starts from a snapshot.
    let again = applied(&MetadataImage::default(), &image.to_records().collect::<Vec<_>>());
    assert_eq!(raise_offsets_replication_factor(&again, FACTOR), []);
    // A topic of that name that is made anew is another one.
    let offsets = TopicToDelete { name: Some(OFFSETS_TOPIC.to_owned()), id: TopicId::ZERO };
    let image = applied(&image, &delete_topics(&image, true, &[offsets]).0);
    let image = applied(&image, &create(&image, &[topic(OFFSETS_TOPIC, 4, 1)]).0);
    assert!(partitions(&grown(image).0).iter().all(|state| state.replicas.len() == 3));
}

#[test]
fn a_broker_that_goes_while_it_is_awaited_is_given_up() {
    let image = raised(&with_broker(&with_offsets_topic(2), 2));
    assert_eq!((growing(&image), replicas(&image)), (2, vec![vec![1, 2]; 2]));
    let alone = raised(&fenced(&image, 2));
    assert_eq!((growing(&alone), replicas(&alone)), (0, vec![vec![1]; 2]), "nobody is waited for in vain");
    assert_eq!(raise_offsets_replication_factor(&alone, FACTOR), []);
    let (back, _) = grown(applied(&alone, &beat(&alone, 2, Wish::Unfenced)));
    assert_eq!(replicas(&back), vec![vec![1, 2]; 2]);
    // Another takes its place.
    let image = with_broker(&image, 3);
    let (other, _) = grown(fenced(&image, 2));
    assert_eq!(replicas(&other), vec![vec![1, 3]; 2]);
}

#[test]
fn replicas_on_brokers_that_are_down_count() {
    let (image, _) = grown((2..=3).fold(with_offsets_topic(2), |image, broker| with_broker(&image, broker)));
    let image = fenced(&with_broker(&image, 4), 3);
    assert_eq!(raise_offsets_replication_factor(&image, FACTOR), [], "broker 3 may come back");
    // Where nobody leads there is nobody to copy from.
    let alone = fenced(&with_offsets_topic(1), 1);
    assert_eq!(raise_offsets_replication_factor(&with_broker(&alone, 2), FACTOR), []);
}
