//! Names of the broker configs that Kafka 4.3 has and this broker has no use for.
//!
//! They are known by name so that an operator who brings a Kafka configuration is told apart from one who mistyped, and
//! so that a client which changes one dynamically gets Kafka's answer. Generated from a description of a real broker.

const NAMES: &str = include_str!("kafka_only.txt");

/// Whether Kafka has a broker config of this name that is absent here.
pub(super) fn contains(name: &str) -> bool {
    NAMES.lines().any(|line| line.split(' ').next() == Some(name))
}

/// Whether it can only be set at the start of a Kafka broker.
pub(super) fn is_read_only(name: &str) -> bool {
    NAMES.lines().any(|line| line.split_once(' ') == Some((name, "read-only")))
}
