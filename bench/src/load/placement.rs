//! Which partitions each request of a producer goes to.
//!
//! A producer has what its broker leads. A request goes to a run of partitions of one topic that follow one another there,
//! wrapping around at the last. In turn means that each producer visits all runs, and that the producers of a broker begin
//! spread out evenly.

use std::sync::Arc;

use crate::load::leaders::{Leaders, Led, LedTopic};
use crate::load::workload::{KeyDistribution, Workload};

/// The partitions of one request: `count` is the workload's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Among the topics of which the producer's broker leads something.
    topic: usize,
    /// The first one's place among the partitions that the broker leads.
    first: usize,
}

/// The choices of one producer.
#[derive(Clone, Debug)]
pub(super) struct Placement {
    /// Number of the broker that it is connected to.
    pub(super) leader: usize,
    led: Arc<Led>,
    partitions_per_request: u64,
    choice: Choice,
}

#[derive(Clone, Debug)]
enum Choice {
    InTurn { next: u64 },
    Random { state: u64 },
    Zipf { state: u64, cumulative: Arc<[f64]> },
}

impl Placement {
    /// One for each producer of the workload; brokers get producers in turn.
    pub(super) fn all(workload: &Workload, leaders: &Leaders) -> Vec<Placement> {
        let cumulative: Vec<_> =
            (0..leaders.count()).map(|leader| cumulative_zipf(leaders.led(leader).partitions_total())).collect();
        let placement = |producer: usize| {
            let leader = producer % leaders.count();
            let led = leaders.led(leader).clone();
            // Of the producers with the same broker: which one this is, and how many there are.
            let (number, count) = (producer / leaders.count(), (workload.producers - leader).div_ceil(leaders.count()));
            let runs = (led.partitions_total() / workload.partitions_per_request).max(1);
            // Different for each producer, the same in every run.
            let state = (producer as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let choice = match workload.key_distribution {
                KeyDistribution::None | KeyDistribution::RoundRobin => {
                    Choice::InTurn { next: (number * runs / count) as u64 }
                }
                KeyDistribution::Random => Choice::Random { state },
                KeyDistribution::Zipf => Choice::Zipf { state, cumulative: cumulative[leader].clone() },
            };
            Placement { leader, led, partitions_per_request: workload.partitions_per_request as u64, choice }
        };
        (0..workload.producers).map(placement).collect()
    }

    pub(super) fn next(&mut self) -> Target {
        let led = &self.led;
        let (topic, first) = match &mut self.choice {
            Choice::InTurn { next } => {
                let (number, topics) = (*next, led.topics.len() as u64);
                *next += 1;
                ((number % topics) as usize, number / topics * self.partitions_per_request)
            }
            Choice::Random { state } => split(led, (drawn(state) % led.partitions_total() as u64) as usize),
            Choice::Zipf { state, cumulative } => {
                let fraction = (drawn(state) >> 11) as f64 / (1_u64 << 53) as f64;
                let rank = cumulative.partition_point(|sum| *sum <= fraction).min(cumulative.len() - 1);
                split(led, rank)
            }
        };
        Target { topic, first: (first % led.topics[topic].partitions.len() as u64) as usize }
    }

    /// The topic of a request.
    pub(super) fn topic(&self, target: Target) -> usize {
        self.led.topics[target.topic].topic
    }

    /// The partitions of a request.
    pub(super) fn partitions(&self, target: Target) -> impl Iterator<Item = i32> {
        let partitions = &self.led.topics[target.topic].partitions;
        (0..self.partitions_per_request as usize)
            .map(move |number| partitions[(target.first + number) % partitions.len()])
    }

    /// Whether the partition is one of a request's.
    pub(super) fn is_in(&self, partition: i32, target: Target) -> bool {
        let partitions = &self.led.topics[target.topic].partitions;
        partitions.binary_search(&partition).is_ok_and(|place| {
            let distance = (place + partitions.len() - target.first) % partitions.len();
            distance < self.partitions_per_request as usize
        })
    }
}

/// Topic and place of the partition of this number, counted over all that the broker leads.
fn split(led: &Led, mut number: usize) -> (usize, u64) {
    let is_beyond = |topic: &&LedTopic| {
        let is_beyond = number >= topic.partitions.len();
        number -= if is_beyond { topic.partitions.len() } else { 0 };
        is_beyond
    };
    let topic = led.topics.iter().take_while(is_beyond).count();
    (topic, number as u64)
}

/// The next of a sequence without a pattern (xorshift64).
fn drawn(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Shares of ranks 1 to `count` that are in proportion to 1/rank, added up.
fn cumulative_zipf(count: usize) -> Arc<[f64]> {
    let sum: f64 = (1..=count).map(|rank| 1.0 / rank as f64).sum();
    let mut so_far = 0.0;
    let add = |rank: usize| {
        so_far += 1.0 / rank as f64 / sum;
        so_far
    };
    (1..=count).map(add).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Partition `p` of each topic is led by broker `p % brokers`.
    fn placements(more: &str, brokers: usize) -> Vec<Placement> {
        let text = format!("name = 'w'\nrecord_size = 24\nduration_seconds = 1\n{more}");
        let workload = Workload::parse("w", &text, &[]).unwrap();
        let partitions = workload.partitions as usize;
        let port = |slot: usize| 1 + (slot % partitions % brokers) as u16;
        let of_slots: Vec<_> =
            (0..workload.partitions_total()).map(|slot| ([127, 0, 0, 1], port(slot)).into()).collect();
        Placement::all(&workload, &Leaders::new(&of_slots, workload.partitions))
    }

    fn next(placement: &mut Placement) -> (usize, Vec<i32>) {
        let target = placement.next();
        let partitions: Vec<_> = placement.partitions(target).collect();
        for partition in -1..20 {
            assert_eq!(placement.is_in(partition, target), partitions.contains(&partition), "{partition}: {target:?}");
        }
        (placement.topic(target), partitions)
    }

    fn counts(placement: &mut Placement, partitions: usize, draws: usize) -> Vec<usize> {
        let mut counts = vec![0; partitions];
        for _ in 0..draws {
            let target = placement.next();
            counts[placement.partitions(target).next().unwrap() as usize] += 1;
        }
        counts
    }

    #[test]
    fn in_turn_all_partitions_of_all_topics_get_the_same_from_producers_that_begin_apart() {
        let mut all = placements("topics = 2\npartitions = 6\nproducers = 3", 1);
        let firsts: Vec<_> = all.iter_mut().map(next).collect();
        assert_eq!(firsts, [(0, vec![0]), (0, vec![2]), (0, vec![4])]);
        let mut seen = vec![0; 12];
        for _ in 0..24 {
            let (topic, partitions) = next(&mut all[0]);
            seen[topic * 6 + partitions[0] as usize] += 1;
        }
        assert_eq!(seen, [2; 12]);
    }

    #[test]
    fn runs_of_partitions_cover_all_even_where_they_do_not_divide_them() {
        let mut all = placements("partitions = 5\npartitions_per_request = 2", 1);
        let runs: Vec<_> = (0..6).map(|_| next(&mut all[0]).1).collect();
        assert_eq!(runs, [[0, 1], [2, 3], [4, 0], [1, 2], [3, 4], [0, 1]]);
    }

    #[test]
    fn a_producer_has_what_its_broker_leads() {
        let mut all = placements("partitions = 7\nproducers = 5", 3);
        let leaders: Vec<_> = all.iter().map(|placement| placement.leader).collect();
        assert_eq!(leaders, [0, 1, 2, 0, 1]);
        let of = |placement: &mut Placement| (0..4).map(|_| next(placement).1[0]).collect::<Vec<_>>();
        assert_eq!(of(&mut all[0]), [0, 3, 6, 0]);
        // The second of the same broker begins elsewhere.
        assert_eq!(of(&mut all[3]), [3, 6, 0, 3]);
        assert_eq!(of(&mut all[4]), [4, 1, 4, 1]);
        let mut runs = placements("partitions = 7\nproducers = 3\npartitions_per_request = 2", 3);
        assert_eq!((next(&mut runs[0]).1, next(&mut runs[0]).1), (vec![0, 3], vec![6, 0]));
        let mut random = placements("topics = 2\npartitions = 7\nproducers = 3\nkey_distribution = 'random'", 3);
        let seen: std::collections::BTreeSet<_> = (0..200).map(|_| next(&mut random[1])).collect();
        assert!(seen.into_iter().eq([(0, vec![1]), (0, vec![4]), (1, vec![1]), (1, vec![4])]));
    }

    #[test]
    fn random_is_even_and_zipf_is_not() {
        let mut random = placements("partitions = 10\nkey_distribution = 'random'", 1);
        assert!(counts(&mut random[0], 10, 100_000).iter().all(|count| (9_000..11_000).contains(count)));
        let mut zipf = placements("partitions = 10\nkey_distribution = 'zipf'\nproducers = 2", 1);
        let counts = counts(&mut zipf[1], 10, 100_000);
        // 1 / (1 + 1/2 + … + 1/10) is 0.341.
        assert!((33_000..35_500).contains(&counts[0]) && (16_000..18_200).contains(&counts[1]), "{counts:?}");
        assert!((2_900..3_900).contains(&counts[9]), "{counts:?}");
    }
}
