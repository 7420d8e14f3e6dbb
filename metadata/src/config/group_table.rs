//! Every config of single groups that means something here (KIP-848), with Kafka 4.3's names, types, defaults and checks.
//!
//! Kafka has others for share groups (KIP-932) and streams groups (KIP-1071), which this broker does not have: to keep those
//! would look as if they did something.

use super::definition::ConfigKind::Int;
use super::definition::{ConfigDef, Synonym, same};
use super::validator::Validator::AtLeast;

/// How the configs of groups begin that are not here.
const OTHER_KINDS: &[(&str, &str)] = &[("share.", "share"), ("streams.", "streams")];

pub(super) const CONSUMER_SESSION_TIMEOUT_MS: &str = "consumer.session.timeout.ms";
pub(super) const CONSUMER_HEARTBEAT_INTERVAL_MS: &str = "consumer.heartbeat.interval.ms";
pub(super) const CONSUMER_ASSIGNMENT_INTERVAL_MS: &str = "consumer.assignment.interval.ms";

const fn group(name: &'static str, default: &'static str, of_brokers: &'static [Synonym]) -> ConfigDef {
    ConfigDef::group(name, Int, Some(default)).falls_back_to(of_brokers)
}

/// In order of name.
pub(super) static GROUP_CONFIGS: &[ConfigDef] = &[
    group(CONSUMER_ASSIGNMENT_INTERVAL_MS, "1000", &[same("group.consumer.assignment.interval.ms")])
        .check(AtLeast(0))
        .doc("Milliseconds that a target assignment of the group stays at least before another is computed."),
    group(CONSUMER_HEARTBEAT_INTERVAL_MS, "5000", &[same("group.consumer.heartbeat.interval.ms")])
        .check(AtLeast(1))
        .doc("Milliseconds between heartbeats that the group's members are told."),
    group(CONSUMER_SESSION_TIMEOUT_MS, "45000", &[same("group.consumer.session.timeout.ms")])
        .check(AtLeast(1))
        .doc("Milliseconds of silence after which a member is out of the group."),
];

/// What kind of groups a config is for that is not here, by its name.
pub(super) fn other_kind(name: &str) -> Option<&'static str> {
    OTHER_KINDS.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, kind)| *kind)
}
