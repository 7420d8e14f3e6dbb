//! The workloads that come with the program: `bench/workloads`, as they were when it was built.

/// The text of the workload of this name.
pub(super) fn text(name: &str) -> Option<&'static str> {
    TEXTS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

/// All names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TEXTS.iter().map(|(name, _)| *name)
}

macro_rules! ready_made {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../workloads/", $name, ".toml")))),*]
    };
}

const TEXTS: &[(&str, &str)] = ready_made![
    "1-topic-1-partition-100b",
    "1-topic-1-partition-1kb",
    "1-topic-100-partitions-100b",
    "1-topic-100-partitions-1kb",
    "1-topic-1000-partitions-100b",
    "1-topic-1000-partitions-1kb",
    "1-topic-16-partitions-100b",
    "1-topic-16-partitions-1kb",
    "backlog-drain",
    "batches-64kb-1-partition",
    "batches-64kb-16-partitions",
    "end-to-end",
    "fan-out",
    "fixed-rate-20k",
    "fixed-rate-2k",
    "lone-request",
    "mixed",
    "one-in-flight",
    "single-records-1000-partitions",
    "single-records-16-partitions",
    "tail-fetch",
];
