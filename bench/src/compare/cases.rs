//! The cases that sides of one broker are compared in, what each is compared by, and how far the comparison is to reach.
//!
//! A **reach** is the goal: what Ringlog's median is to be against Kafka as shipped, and against Kafka with
//! flush.messages=1. A **floor** is no goal: it is what every machine and every noisy minute is expected to stay above, and
//! a run in which a ratio falls below fails. Floors are set well off the usual values.

use crate::broker::Side;
use crate::compare::bound::Bound;
use crate::compare::metric::Metric;

/// One kind of load, or of rest, and what is read off it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// As `--cases` takes it.
    pub name: &'static str,
    pub title: &'static str,
    pub kind: Kind,
    pub lines: &'static [Line],
    /// The sides that the quick selection compares in this case; none: it is not among the quick ones.
    pub quick_sides: &'static [Side],
}

/// What is done to a broker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A ready-made workload of the load generator.
    Load { workload: &'static str },
    /// The same with one broker as the leader of all partitions, whose process then shows what leading costs.
    LeaderLoad { workload: &'static str },
    /// The workload's backlog is written, the broker restarted with its files out of the page cache, and the backlog read.
    BacklogFromDisk { workload: &'static str },
    /// Kafka's own producer tool (`ProducerPerformance`) with the default client settings and acks=all.
    JavaProducer { record_bytes: usize, partitions: i32 },
    /// A start on an empty directory, a topic, a record, and a rest.
    Start,
}

/// A metric and what it is to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    pub metric: Metric,
    pub against_kafka: Option<Bound>,
    pub against_flush: Option<Bound>,
    /// Of a cluster, against one Ringlog broker without replicas.
    pub against_single: Option<Bound>,
    /// What the ratio to Kafka as shipped must hold, or the comparison fails.
    pub floor_kafka: Option<Bound>,
    /// The same to Kafka with flush.messages=1.
    pub floor_flush: Option<Bound>,
    /// What our median must be of this machine's own limit at least, as a share.
    pub share_of_disk_reads: Option<f64>,
}

impl Line {
    pub const fn of(metric: Metric) -> Line {
        Line {
            metric,
            against_kafka: None,
            against_flush: None,
            against_single: None,
            floor_kafka: None,
            floor_flush: None,
            share_of_disk_reads: None,
        }
    }

    pub const fn reach(mut self, against_kafka: Bound, against_flush: Bound) -> Line {
        (self.against_kafka, self.against_flush) = (Some(against_kafka), Some(against_flush));
        self
    }

    pub const fn reach_kafka(mut self, against_kafka: Bound) -> Line {
        self.against_kafka = Some(against_kafka);
        self
    }

    pub const fn reach_single(mut self, against_single: Bound) -> Line {
        self.against_single = Some(against_single);
        self
    }

    const fn floor(mut self, against_kafka: Bound) -> Line {
        self.floor_kafka = Some(against_kafka);
        self
    }

    const fn floor_flush(mut self, against_flush: Bound) -> Line {
        self.floor_flush = Some(against_flush);
        self
    }

    /// What it is to reach against `side`.
    #[must_use]
    pub fn reach_against(&self, side: Side) -> Option<Bound> {
        match side {
            Side::Ringlog => None,
            Side::RinglogSingle => self.against_single,
            Side::Kafka => self.against_kafka,
            Side::KafkaFlush => self.against_flush,
        }
    }

    /// What it must hold against `side`.
    #[must_use]
    pub fn floor_against(&self, side: Side) -> Option<Bound> {
        match side {
            Side::Ringlog | Side::RinglogSingle => None,
            Side::Kafka => self.floor_kafka,
            Side::KafkaFlush => self.floor_flush,
        }
    }
}

use Bound::{AtLeast, AtMost, OneSyncMore};

const NEVER_QUICK: &[Side] = &[];
const QUICK: &[Side] = &[Side::Ringlog, Side::Kafka];
const QUICK_WITH_FLUSH: &[Side] = &[Side::Ringlog, Side::Kafka, Side::KafkaFlush];

const THROUGHPUT_LINES: &[Line] = &[
    Line::of(Metric::ProduceMegabytesPerSecond).reach(AtLeast(3.0), AtLeast(10.0)).floor(AtLeast(0.5)),
    Line::of(Metric::BrokerCpuSecondsPerGigabyte).reach(AtMost(1.0 / 8.0), AtMost(1.0 / 8.0)).floor(AtMost(1.0)),
    Line::of(Metric::PeakMemoryMib).reach_kafka(AtMost(1.0 / 3.0)).floor(AtMost(1.0)),
];

const JAVA_LINES: &[Line] = &[
    Line::of(Metric::ProduceRecordsPerSecond).reach(AtLeast(1.1), AtLeast(2.0)),
    Line::of(Metric::BrokerCpuSecondsPerMillionRecords).reach_kafka(AtMost(1.0 / 3.0)),
];

const FIXED_RATE_LINES: &[Line] = &[
    Line::of(Metric::ProduceP50Ms).reach_kafka(OneSyncMore),
    Line::of(Metric::ProduceP99Ms).reach(AtMost(1.0), AtMost(1.0 / 5.0)),
    Line::of(Metric::ProduceP999Ms).reach(AtMost(1.0), AtMost(1.0 / 5.0)),
];

/// All cases, in the order of reports.
pub const CASES: &[Case] = &[
    Case {
        name: "batches-64kb-1",
        title: "64 KiB batches, 1 partition, pipelined, acks=all",
        kind: Kind::Load { workload: "batches-64kb-1-partition" },
        lines: THROUGHPUT_LINES,
        quick_sides: NEVER_QUICK,
    },
    Case {
        name: "batches-64kb-16",
        title: "64 KiB batches, 16 partitions, pipelined, acks=all",
        kind: Kind::Load { workload: "batches-64kb-16-partitions" },
        lines: THROUGHPUT_LINES,
        quick_sides: QUICK,
    },
    Case {
        name: "single-records-16",
        title: "1 record of 100 B per batch, 64 connections, 16 partitions",
        kind: Kind::Load { workload: "single-records-16-partitions" },
        lines: &[
            Line::of(Metric::ProduceBatchesPerSecond).reach(AtLeast(3.0), AtLeast(12.0)).floor(AtLeast(1.0)),
            Line::of(Metric::BrokerCpuSecondsPerMillionBatches)
                .reach(AtMost(1.0 / 8.0), AtMost(1.0 / 8.0))
                .floor(AtMost(0.7)),
            Line::of(Metric::PeakMemoryMib).reach_kafka(AtMost(1.0 / 3.0)).floor(AtMost(1.0)),
        ],
        quick_sides: QUICK,
    },
    Case {
        name: "single-records-1000",
        title: "1 record of 100 B per batch, 64 connections, 1,000 partitions",
        kind: Kind::Load { workload: "single-records-1000-partitions" },
        lines: &[
            Line::of(Metric::ProduceBatchesPerSecond).reach(AtLeast(3.0), AtLeast(20.0)),
            Line::of(Metric::BrokerCpuSecondsPerMillionBatches).reach(AtMost(1.0 / 8.0), AtMost(1.0 / 8.0)),
            Line::of(Metric::PeakMemoryMib).reach_kafka(AtMost(1.0 / 3.0)),
        ],
        quick_sides: NEVER_QUICK,
    },
    Case {
        name: "one-in-flight",
        title: "4 connections, one request in flight each",
        kind: Kind::Load { workload: "one-in-flight" },
        lines: &[Line::of(Metric::ProduceBatchesPerSecond)
            .reach(AtLeast(0.8), AtLeast(10.0))
            .floor(AtLeast(0.02))
            .floor_flush(AtLeast(1.2))],
        quick_sides: QUICK_WITH_FLUSH,
    },
    Case {
        name: "java-100b-1",
        title: "Kafka's producer tool, 100 B records, 1 partition",
        kind: Kind::JavaProducer { record_bytes: 100, partitions: 1 },
        lines: JAVA_LINES,
        quick_sides: NEVER_QUICK,
    },
    Case {
        name: "java-100b-16",
        title: "Kafka's producer tool, 100 B records, 16 partitions",
        kind: Kind::JavaProducer { record_bytes: 100, partitions: 16 },
        lines: JAVA_LINES,
        quick_sides: NEVER_QUICK,
    },
    Case {
        name: "java-1kb-1",
        title: "Kafka's producer tool, 1 KiB records, 1 partition",
        kind: Kind::JavaProducer { record_bytes: 1024, partitions: 1 },
        lines: JAVA_LINES,
        quick_sides: NEVER_QUICK,
    },
    Case {
        name: "java-1kb-16",
        title: "Kafka's producer tool, 1 KiB records, 16 partitions",
        kind: Kind::JavaProducer { record_bytes: 1024, partitions: 16 },
        lines: JAVA_LINES,
        quick_sides: NEVER_QUICK,
    },
    Case {
        name: "fixed-2k",
        title: "2,000 records of 1 KiB a second, linger 0",
        kind: Kind::Load { workload: "fixed-rate-2k" },
        lines: FIXED_RATE_LINES,
        quick_sides: NEVER_QUICK,
    },
    Case {
        name: "fixed-20k",
        title: "20,000 records of 1 KiB a second, linger 0",
        kind: Kind::Load { workload: "fixed-rate-20k" },
        lines: FIXED_RATE_LINES,
        quick_sides: NEVER_QUICK,
    },
    Case {
        name: "tail-fetch",
        title: "fetch of what was just written (cached)",
        kind: Kind::Load { workload: "tail-fetch" },
        lines: &[
            Line::of(Metric::FetchMegabytesPerSecond).reach_kafka(AtLeast(1.0)).floor(AtLeast(0.25)),
            Line::of(Metric::BrokerCpuSecondsPerGigabyte).reach_kafka(AtMost(1.5)).floor(AtMost(6.0)),
        ],
        quick_sides: QUICK,
    },
    Case {
        name: "backlog",
        title: "a backlog read from disk after a restart, nothing cached",
        kind: Kind::BacklogFromDisk { workload: "backlog-drain" },
        lines: &[Line {
            share_of_disk_reads: Some(0.8),
            ..Line::of(Metric::FetchMegabytesPerSecond).reach_kafka(AtLeast(1.2))
        }],
        quick_sides: NEVER_QUICK,
    },
    Case {
        name: "mixed",
        title: "a producer group at a fixed rate, 4 groups at the tail, one from the start",
        kind: Kind::Load { workload: "mixed" },
        lines: &[Line::of(Metric::ProduceP99Ms).reach(AtMost(1.0 / 2.0), AtMost(1.0 / 10.0))],
        quick_sides: NEVER_QUICK,
    },
    Case {
        name: "start",
        title: "start, first record, and memory at rest",
        kind: Kind::Start,
        lines: &[
            Line::of(Metric::IdleMemoryMib).reach_kafka(AtMost(1.0 / 3.0)).floor(AtMost(0.5)),
            Line::of(Metric::StartToFirstRecordMs).reach_kafka(AtMost(1.0 / 20.0)).floor(AtMost(0.3)),
        ],
        quick_sides: QUICK,
    },
];

/// The case of this name.
#[cfg(test)]
pub fn by_name(name: &str) -> Option<&'static Case> {
    CASES.iter().find(|case| case.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Workload;

    #[test]
    fn every_case_has_a_name_of_its_own_and_a_workload_that_exists() {
        let mut names: Vec<_> = CASES.iter().map(|case| case.name).collect();
        assert!(names.iter().all(|name| by_name(name).is_some()));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CASES.len());
        for case in CASES {
            if let Kind::Load { workload } | Kind::BacklogFromDisk { workload } = case.kind {
                Workload::load(workload, &[]).unwrap();
            }
        }
        assert!(by_name("redis").is_none());
    }

    #[test]
    fn floors_are_easier_than_reaches_and_quick_cases_have_some() {
        for case in CASES {
            for line in case.lines {
                for side in [Side::Kafka, Side::KafkaFlush] {
                    if let (Some(reach), Some(floor)) = (line.reach_against(side), line.floor_against(side)) {
                        assert!(reach.implies(floor), "{}: {reach:?} does not imply {floor:?}", case.name);
                    }
                }
            }
            let has_floor = |side| case.lines.iter().any(|line| line.floor_against(side).is_some());
            for side in case.quick_sides.iter().filter(|side| **side != Side::Ringlog) {
                assert!(has_floor(*side), "{}: nothing can fail against {side:?}", case.name);
            }
        }
    }

    #[test]
    fn a_line_tells_reach_and_floor_by_side() {
        let line = Line::of(Metric::ProduceP99Ms).reach(AtMost(1.0), AtMost(0.2)).floor(AtMost(2.0));
        assert_eq!(line.reach_against(Side::Kafka), Some(AtMost(1.0)));
        assert_eq!(line.reach_against(Side::KafkaFlush), Some(AtMost(0.2)));
        assert_eq!(line.floor_against(Side::Kafka), Some(AtMost(2.0)));
        assert_eq!(line.floor_against(Side::KafkaFlush), None);
        assert_eq!((line.reach_against(Side::Ringlog), line.floor_against(Side::Ringlog)), (None, None));
    }
}
