//! The cases that clusters are compared in: against Kafka's clusters, and against one Ringlog broker without replicas.
//!
//! None has a goal or a floor yet: ratios are told. Names that [`super::cases`] has too are the same loads.

use crate::broker::Side;
use crate::compare::bound::Bound::Told;
use crate::compare::cases::{Case, Kind, Line};
use crate::compare::metric::Metric;

const RINGLOG_AND_KAFKA: &[Side] = &[Side::Ringlog, Side::Kafka];
const WITH_ONE_BROKER: &[Side] = &[Side::Ringlog, Side::RinglogSingle];
const ALL_BUT_FLUSH: &[Side] = &[Side::Ringlog, Side::RinglogSingle, Side::Kafka];
const NEVER_QUICK: &[Side] = &[];

/// Told against Kafka of either kind.
const fn kafka(metric: Metric) -> Line {
    Line::of(metric).reach(Told, Told)
}

/// Told against Kafka as shipped alone.
const fn shipped(metric: Metric) -> Line {
    Line::of(metric).reach_kafka(Told)
}

/// Told against one Ringlog broker without replicas.
const fn single(metric: Metric) -> Line {
    Line::of(metric).reach_single(Told)
}

const LATENCIES: [Line; 3] = [kafka(Metric::ProduceP50Ms), kafka(Metric::ProduceP99Ms), kafka(Metric::ProduceP999Ms)];

const BATCHES_LINES: &[Line] = &[
    kafka(Metric::ProduceMegabytesPerSecond),
    LATENCIES[0],
    LATENCIES[1],
    LATENCIES[2],
    kafka(Metric::BrokerCpuSecondsPerGigabyte),
    shipped(Metric::PeakMemoryMib),
    shipped(Metric::DiskBytesPerByte),
    shipped(Metric::LoopbackBytesPerByte),
];

/// All cases, in the order of reports.
pub const CLUSTER_CASES: &[Case] = &[
    Case {
        name: "single-records-16",
        title: "1 record of 100 B per batch, 64 connections, 16 partitions",
        kind: Kind::Load { workload: "single-records-16-partitions" },
        lines: &[
            kafka(Metric::ProduceBatchesPerSecond),
            LATENCIES[0],
            LATENCIES[1],
            LATENCIES[2],
            kafka(Metric::BrokerCpuSecondsPerMillionRecords),
            kafka(Metric::BrokerCpuSecondsPerGigabyte),
            shipped(Metric::PeakMemoryMib),
            shipped(Metric::LoopbackBytesPerByte),
        ],
        quick_sides: RINGLOG_AND_KAFKA,
    },
    Case {
        name: "batches-64kb-1",
        title: "64 KiB batches, 1 partition, pipelined, acks=all",
        kind: Kind::Load { workload: "batches-64kb-1-partition" },
        lines: BATCHES_LINES,
        quick_sides: NEVER_QUICK,
    },
    Case {
        name: "batches-64kb-16",
        title: "64 KiB batches, 16 partitions, pipelined, acks=all",
        kind: Kind::Load { workload: "batches-64kb-16-partitions" },
        lines: BATCHES_LINES,
        quick_sides: RINGLOG_AND_KAFKA,
    },
    Case {
        name: "one-in-flight",
        title: "4 connections, one request in flight each",
        kind: Kind::Load { workload: "one-in-flight" },
        lines: &[kafka(Metric::ProduceBatchesPerSecond), LATENCIES[0], LATENCIES[1], LATENCIES[2]],
        quick_sides: NEVER_QUICK,
    },
    Case {
        name: "lone-request",
        title: "1 connection, one request in flight, 1 partition",
        kind: Kind::Load { workload: "lone-request" },
        lines: &[
            Line { against_single: Some(Told), ..kafka(Metric::ProduceP50Ms) },
            Line { against_single: Some(Told), ..kafka(Metric::ProduceP99Ms) },
            LATENCIES[2],
        ],
        quick_sides: ALL_BUT_FLUSH,
    },
    Case {
        name: "fixed-2k",
        title: "2,000 records of 1 KiB a second, linger 0",
        kind: Kind::Load { workload: "fixed-rate-2k" },
        lines: &[LATENCIES[0], LATENCIES[1], LATENCIES[2], shipped(Metric::BrokerCpuSecondsPerMillionRecords)],
        quick_sides: NEVER_QUICK,
    },
    Case {
        name: "tail-fetch",
        title: "fetch of what was just written (cached), from the leaders",
        kind: Kind::Load { workload: "tail-fetch" },
        lines: &[shipped(Metric::FetchMegabytesPerSecond), shipped(Metric::BrokerCpuSecondsPerGigabyte)],
        quick_sides: NEVER_QUICK,
    },
    Case {
        name: "leader-single-records",
        title: "1 record of 100 B per batch, one broker leads all 16 partitions",
        kind: Kind::LeaderLoad { workload: "single-records-16-partitions" },
        lines: &[single(Metric::LeaderCpuSecondsPerMillionRecords), single(Metric::ProduceBatchesPerSecond)],
        quick_sides: WITH_ONE_BROKER,
    },
    Case {
        name: "leader-fixed-20k",
        title: "20,000 records of 1 KiB a second, linger 0, one broker leads all 16 partitions",
        kind: Kind::LeaderLoad { workload: "fixed-rate-20k" },
        lines: &[single(Metric::LeaderCpuSecondsPerMillionRecords), single(Metric::ProduceP50Ms)],
        quick_sides: NEVER_QUICK,
    },
    Case {
        name: "leader-batches-64kb",
        title: "64 KiB batches, one broker leads all 16 partitions",
        kind: Kind::LeaderLoad { workload: "batches-64kb-16-partitions" },
        lines: &[
            single(Metric::LeaderCpuSecondsPerMillionRecords),
            single(Metric::LeaderCpuSecondsPerGigabyte),
            single(Metric::ProduceMegabytesPerSecond),
        ],
        quick_sides: WITH_ONE_BROKER,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::cases::CASES;
    use crate::load::Workload;

    #[test]
    fn names_are_told_apart_and_mean_the_same_load_as_without_a_cluster() {
        let mut names: Vec<_> = CLUSTER_CASES.iter().map(|case| case.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CLUSTER_CASES.len());
        for case in CLUSTER_CASES {
            if let Some(alone) = CASES.iter().find(|alone| alone.name == case.name) {
                assert_eq!(alone.kind, case.kind, "{}", case.name);
            }
        }
    }

    #[test]
    fn loads_of_one_leader_can_be_led_by_one_broker_and_all_others_by_three() {
        for case in CLUSTER_CASES {
            let (Kind::Load { workload } | Kind::LeaderLoad { workload }) = case.kind else {
                panic!("{}: no load", case.name);
            };
            let workload = Workload::load(workload, &["replication_factor=3".to_owned()]).unwrap();
            // Each broker that leads needs a connection that produces to it.
            assert!(workload.producers >= 3.min(workload.partitions as usize), "{}", case.name);
        }
    }

    #[test]
    fn what_replication_costs_is_told_of_single_records_batches_and_a_lone_request() {
        let told = |name: &str| -> Vec<Metric> {
            let case = CLUSTER_CASES.iter().find(|case| case.name == name).unwrap();
            let lines = case.lines.iter().filter(|line| line.reach_against(Side::RinglogSingle).is_some());
            lines.map(|line| line.metric).collect()
        };
        assert!(told("leader-single-records").contains(&Metric::LeaderCpuSecondsPerMillionRecords));
        assert!(told("leader-batches-64kb").contains(&Metric::LeaderCpuSecondsPerMillionRecords));
        assert!(told("lone-request").contains(&Metric::ProduceP50Ms));
        assert!(told("single-records-16").is_empty(), "brokers that share cores do not tell");
    }
}
