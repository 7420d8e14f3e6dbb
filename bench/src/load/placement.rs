//! Which partitions each request of a producer goes to.
//!
//! A request goes to a run of partitions of one topic that follow one another, wrapping around at the last. In turn means
//! that each producer visits all runs, and that the producers begin spread out evenly.

use crate::load::workload::{KeyDistribution, Workload};

/// The partitions of one request: `count` is the workload's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) topic: usize,
    pub(super) first_partition: i32,
}

/// The choices of one producer.
#[derive(Clone, Debug)]
pub(super) struct Placement {
    topics: u64,
    partitions: u64,
    partitions_per_request: u64,
    choice: Choice,
}

#[derive(Clone, Debug)]
enum Choice {
    InTurn { next: u64 },
    Random { state: u64 },
    Zipf { state: u64, cumulative: std::sync::Arc<[f64]> },
}

impl Placement {
    /// One for each producer of the workload.
    pub(super) fn all(workload: &Workload) -> Vec<Placement> {
        let partitions_total = workload.partitions_total();
        let runs = (partitions_total / workload.partitions_per_request).max(1) as u64;
        let cumulative = cumulative_zipf(partitions_total);
        let placement = |producer: usize| {
            // Different for each producer, the same in every run.
            let state = (producer as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let choice = match workload.key_distribution {
                KeyDistribution::None | KeyDistribution::RoundRobin => {
                    Choice::InTurn { next: producer as u64 * runs / workload.producers as u64 }
                }
                KeyDistribution::Random => Choice::Random { state },
                KeyDistribution::Zipf => Choice::Zipf { state, cumulative: cumulative.clone() },
            };
            Placement {
                topics: workload.topics as u64,
                partitions: workload.partitions as u64,
                partitions_per_request: workload.partitions_per_request as u64,
                choice,
            }
        };
        (0..workload.producers).map(placement).collect()
    }

    pub(super) fn next(&mut self) -> Target {
        let (topic, first) = match &mut self.choice {
            Choice::InTurn { next } => {
                let number = *next;
                *next += 1;
                (number % self.topics, number / self.topics * self.partitions_per_request)
            }
            Choice::Random { state } => split(drawn(state) % (self.topics * self.partitions), self.partitions),
            Choice::Zipf { state, cumulative } => {
                let fraction = (drawn(state) >> 11) as f64 / (1_u64 << 53) as f64;
                let rank = cumulative.partition_point(|sum| *sum <= fraction).min(cumulative.len() - 1);
                split(rank as u64, self.partitions)
            }
        };
        Target { topic: topic as usize, first_partition: (first % self.partitions) as i32 }
    }
}

fn split(number: u64, partitions: u64) -> (u64, u64) {
    (number / partitions, number % partitions)
}

/// The next of a sequence without a pattern (xorshift64).
fn drawn(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Shares of ranks 1 to `count` that are in proportion to 1/rank, added up.
fn cumulative_zipf(count: usize) -> std::sync::Arc<[f64]> {
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

    fn placements(more: &str) -> Vec<Placement> {
        let text = format!("name = 'w'\nrecord_size = 24\nduration_seconds = 1\n{more}");
        Placement::all(&Workload::parse("w", &text, &[]).unwrap())
    }

    fn counts(placement: &mut Placement, partitions: usize, draws: usize) -> Vec<usize> {
        let mut counts = vec![0; partitions];
        for _ in 0..draws {
            counts[placement.next().first_partition as usize] += 1;
        }
        counts
    }

    #[test]
    fn in_turn_all_partitions_of_all_topics_get_the_same_from_producers_that_begin_apart() {
        let mut all = placements("topics = 2\npartitions = 6\nproducers = 3");
        let firsts: Vec<_> = all.iter_mut().map(Placement::next).collect();
        let expected = [(0, 0), (0, 2), (0, 4)].map(|(topic, first_partition)| Target { topic, first_partition });
        assert_eq!(firsts, expected);
        let mut seen = vec![0; 12];
        for _ in 0..24 {
            let target = all[0].next();
            seen[target.topic * 6 + target.first_partition as usize] += 1;
        }
        assert_eq!(seen, [2; 12]);
    }

    #[test]
    fn runs_of_partitions_cover_all_even_where_they_do_not_divide_them() {
        let mut all = placements("partitions = 5\npartitions_per_request = 2");
        let firsts: Vec<_> = (0..6).map(|_| all[0].next().first_partition).collect();
        assert_eq!(firsts, [0, 2, 4, 1, 3, 0]);
    }

    #[test]
    fn random_is_even_and_zipf_is_not() {
        let mut random = placements("partitions = 10\nkey_distribution = 'random'");
        assert!(counts(&mut random[0], 10, 100_000).iter().all(|count| (9_000..11_000).contains(count)));
        let mut zipf = placements("partitions = 10\nkey_distribution = 'zipf'\nproducers = 2");
        let counts = counts(&mut zipf[1], 10, 100_000);
        // 1 / (1 + 1/2 + … + 1/10) is 0.341.
        assert!((33_000..35_500).contains(&counts[0]) && (16_000..18_200).contains(&counts[1]), "{counts:?}");
        assert!((2_900..3_900).contains(&counts[9]), "{counts:?}");
    }
}
