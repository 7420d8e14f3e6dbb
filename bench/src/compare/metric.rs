//! The figures that sides are compared by: what each is called, its unit, and where in a run it comes from.

use serde::Serialize;

/// A figure of one run of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    ProduceMegabytesPerSecond,
    ProduceBatchesPerSecond,
    ProduceRecordsPerSecond,
    ProduceP50Ms,
    ProduceP99Ms,
    #[serde(rename = "produce_p99_9_ms")]
    ProduceP999Ms,
    FetchMegabytesPerSecond,
    FetchP99Ms,
    BrokerCpuSecondsPerGigabyte,
    BrokerCpuSecondsPerMillionBatches,
    BrokerCpuSecondsPerMillionRecords,
    /// Of the process that leads everything, where one does.
    LeaderCpuSecondsPerGigabyte,
    LeaderCpuSecondsPerMillionRecords,
    /// What brokers had written to disk for each byte that was moved.
    DiskBytesPerByte,
    /// What went over the loopback device for each.
    LoopbackBytesPerByte,
    PeakMemoryMib,
    IdleMemoryMib,
    StartToFirstAnswerMs,
    StartToFirstRecordMs,
    /// Of the load generator, in cores: whether it was the limit.
    ClientCpuCores,
    /// Sends that the load generator itself made more than 1 ms late: whether the rate was too much for this machine.
    LateSendsPercent,
    /// Sends that were given up because the broker was too far behind.
    GivenUpPercent,
}

impl Metric {
    /// In the order of reports.
    pub const ALL: [Metric; 22] = [
        Metric::ProduceMegabytesPerSecond,
        Metric::ProduceBatchesPerSecond,
        Metric::ProduceRecordsPerSecond,
        Metric::ProduceP50Ms,
        Metric::ProduceP99Ms,
        Metric::ProduceP999Ms,
        Metric::FetchMegabytesPerSecond,
        Metric::FetchP99Ms,
        Metric::BrokerCpuSecondsPerGigabyte,
        Metric::BrokerCpuSecondsPerMillionBatches,
        Metric::BrokerCpuSecondsPerMillionRecords,
        Metric::LeaderCpuSecondsPerGigabyte,
        Metric::LeaderCpuSecondsPerMillionRecords,
        Metric::DiskBytesPerByte,
        Metric::LoopbackBytesPerByte,
        Metric::PeakMemoryMib,
        Metric::IdleMemoryMib,
        Metric::StartToFirstAnswerMs,
        Metric::StartToFirstRecordMs,
        Metric::ClientCpuCores,
        Metric::LateSendsPercent,
        Metric::GivenUpPercent,
    ];

    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Metric::ProduceMegabytesPerSecond => "produce, MB/s",
            Metric::ProduceBatchesPerSecond => "produce, batches/s",
            Metric::ProduceRecordsPerSecond => "produce, records/s",
            Metric::ProduceP50Ms => "produce p50, ms",
            Metric::ProduceP99Ms => "produce p99, ms",
            Metric::ProduceP999Ms => "produce p99.9, ms",
            Metric::FetchMegabytesPerSecond => "fetch, MB/s",
            Metric::FetchP99Ms => "fetch p99, ms",
            Metric::BrokerCpuSecondsPerGigabyte => "broker CPU, s per GB",
            Metric::BrokerCpuSecondsPerMillionBatches => "broker CPU, s per million batches",
            Metric::BrokerCpuSecondsPerMillionRecords => "broker CPU, s per million records",
            Metric::LeaderCpuSecondsPerGigabyte => "leader's CPU, s per GB",
            Metric::LeaderCpuSecondsPerMillionRecords => "leader's CPU, s per million records",
            Metric::DiskBytesPerByte => "written to disk, bytes per byte moved",
            Metric::LoopbackBytesPerByte => "over loopback, bytes per byte moved",
            Metric::PeakMemoryMib => "peak memory of the broker, MiB",
            Metric::IdleMemoryMib => "memory of the idle broker, MiB",
            Metric::StartToFirstAnswerMs => "start to first answer, ms",
            Metric::StartToFirstRecordMs => "start to first acknowledged record, ms",
            Metric::ClientCpuCores => "client CPU, cores",
            Metric::LateSendsPercent => "sends late by the client, %",
            Metric::GivenUpPercent => "sends given up, %",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_listed_once_and_told_apart() {
        let mut titles: Vec<_> = Metric::ALL.iter().map(|metric| metric.title()).collect();
        titles.sort_unstable();
        titles.dedup();
        assert_eq!(titles.len(), Metric::ALL.len());
        assert!(Metric::ALL.is_sorted(), "reports are in the order of the enum");
        assert_eq!(serde_json::to_value(Metric::ProduceP999Ms).unwrap(), "produce_p99_9_ms");
    }
}
