//! The table against real Kafka, parsing, resolution and description.

use super::*;
use crate::config::layers::default_value;
use std::collections::BTreeMap;

const KAFKA: &str = include_str!("tests/kafka-4.3.tsv");

/// Ours alone.
const OWN: &[&str] = &["ringlog.durability"];
/// In Kafka since before they were configs like others; not in its table.
const NOT_IN_KAFKAS_TABLE: &[&str] = &["follower.replication.throttled.rate", "leader.replication.throttled.rate"];
/// Stricter here than in Kafka's table: most are checked elsewhere in Kafka, or fail there when they act.
const CHECKED_ELSEWHERE: &[&str] = &[
    "broker.heartbeat.interval.ms",
    "broker.session.timeout.ms",
    "default.replication.factor",
    "group.consumer.assignors",
    "group.initial.rebalance.delay.ms",
    "leader.imbalance.check.interval.seconds",
    "log.retention.hours",
    "log.retention.minutes",
    "log.retention.ms",
    "log.roll.jitter.ms",
    "log.roll.ms",
    "max.connections.per.ip.overrides",
    "remote.log.copy.disable",
    "remote.log.delete.on.disable",
    "remote.log.storage.system.enable",
    "remote.storage.enable",
    "replica.lag.time.max.ms",
    "replica.selector.class",
    "request.timeout.ms",
];
/// Changeable in a running Kafka; here given by a flag, or fixed for a coordinator's lifetime.
const READ_ONLY_HERE: &[&str] = &["group.consumer.assignment.interval.ms", "listeners"];

struct KafkaRow {
    name: &'static str,
    kind: &'static str,
    default: &'static str,
    check: &'static str,
    read_only: &'static str,
}

fn kafka_rows(scope: Scope) -> BTreeMap<&'static str, KafkaRow> {
    let scope = if scope == Scope::Topic { "topic" } else { "broker" };
    let rows = KAFKA.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let [scope, name, kind, default, check, read_only] =
            line.split('\t').collect::<Vec<_>>().try_into().expect("six columns");
        (scope, KafkaRow { name, kind, default, check, read_only })
    });
    rows.filter(|(of, _)| *of == scope).map(|(_, row)| (row.name, row)).collect()
}

fn kafkas_text(validator: &Validator) -> String {
    match validator {
        Validator::AtLeast(minimum) => format!("[{minimum},...]"),
        Validator::Between(minimum, maximum) => format!("[{minimum},...,{maximum}]"),
        Validator::BetweenOr(minimum, maximum, or) => format!("[{minimum},...,{maximum}] or {or}"),
        Validator::OneOf(allowed) | Validator::ListOf(allowed) => format!("[{}]", allowed.join(", ")),
        Validator::OneOfAnyCase(allowed) => format!("(case insensitive) [{}]", allowed.join(", ")),
        Validator::ThrottledReplicas => "[partitionId]:[brokerId],[partitionId]:[brokerId],...".to_owned(),
        Validator::Any => String::new(),
        ours => format!("{ours:?}"),
    }
}

#[test]
fn names_types_defaults_and_checks_are_kafkas() {
    for scope in [Scope::Topic, Scope::Broker] {
        let kafka = kafka_rows(scope);
        for def in table(scope).iter().filter(|def| !OWN.contains(&def.name)) {
            if NOT_IN_KAFKAS_TABLE.contains(&def.name) {
                assert!(!kafka.contains_key(def.name), "{} is in Kafka's table", def.name);
                continue;
            }
            let row = kafka.get(def.name).unwrap_or_else(|| panic!("{} is no config of Kafka's", def.name));
            assert_eq!(def.kind.name(), row.kind, "type of {}", def.name);
            assert_eq!(def.default.unwrap_or("null"), row.default, "default of {}", def.name);
            if CHECKED_ELSEWHERE.contains(&def.name) {
                assert_ne!(kafkas_text(&def.validator), row.check, "{} is an exception no longer", def.name);
            } else {
                assert_eq!(kafkas_text(&def.validator), row.check, "check of {}", def.name);
            }
            let read_only = def.dynamic == Dynamic::ReadOnly;
            let expected = row.read_only == "true" || READ_ONLY_HERE.contains(&def.name);
            assert_eq!(read_only, expected, "read-only of {}", def.name);
        }
    }
}

#[test]
fn every_topic_config_of_kafka_is_here() {
    for name in kafka_rows(Scope::Topic).keys() {
        assert!(definition(Scope::Topic, name).is_some(), "{name} is missing");
    }
}

#[test]
fn the_tables_are_sorted_documented_and_consistent() {
    for scope in [Scope::Topic, Scope::Broker, Scope::Group] {
        let table = table(scope);
        assert!(table.is_sorted_by(|a, b| a.name < b.name), "{scope:?}");
        for def in table {
            assert!(def.doc.ends_with('.') || def.doc.ends_with('…'), "documentation of {}", def.name);
            assert_eq!(def.scope, scope, "{}", def.name);
            default_value(def);
            for synonym in def.synonyms {
                let fallback = definition(Scope::Broker, synonym.name).expect(synonym.name);
                // A broker config's fallbacks only matter to descriptions, which show their text.
                let same_kind = fallback.kind == def.kind || synonym.factor > 1 || scope == Scope::Broker;
                assert!(same_kind, "{} falls back to {} of another type", def.name, synonym.name);
            }
        }
    }
    for def in broker_configs() {
        assert!(!kafka_only::contains(def.name), "{} is both here and not", def.name);
    }
}

/// A group's own value counts, within what the broker allows by now; else the broker's.
#[test]
fn groups_have_their_own_values_within_the_brokers_bounds() {
    let broker = |settings: &[(&str, &str)]| {
        let static_config = StaticConfig::parse(settings.iter().copied()).unwrap();
        BrokerConfig::resolve(&ConfigLayers::of_static(&static_config))
    };
    let own: ConfigOverrides = [
        ("consumer.session.timeout.ms", " 50000 "),
        ("consumer.heartbeat.interval.ms", "6000"),
        ("consumer.assignment.interval.ms", "of an older version"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into_iter()
    .collect();
    let of = |own: &ConfigOverrides, settings: &[(&str, &str)]| {
        let group = GroupConfig::resolve(own, &broker(settings));
        (group.consumer_session_timeout_ms, group.consumer_heartbeat_interval_ms, group.consumer_assignment_interval_ms)
    };
    assert_eq!(of(&own, &[]), (50_000, 6_000, 1_000));
    assert_eq!(of(&ConfigOverrides::default(), &[]), (45_000, 5_000, 1_000));
    let narrower = [
        ("group.consumer.max.session.timeout.ms", "46000"),
        ("group.consumer.min.heartbeat.interval.ms", "7000"),
        ("group.consumer.heartbeat.interval.ms", "7000"),
        ("group.consumer.assignment.interval.ms", "2000"),
    ];
    assert_eq!(of(&own, &narrower), (46_000, 7_000, 2_000));
}

/// As a Kafka 4.3 broker described it, one with `group.consumer.heartbeat.interval.ms=6000` in its file.
#[test]
fn groups_are_described_as_by_kafka() {
    let settings = [("group.consumer.heartbeat.interval.ms", "6000")];
    let layers = ConfigLayers::of_static(&StaticConfig::parse(settings).unwrap());
    let own = [("consumer.session.timeout.ms".to_owned(), "50000".to_owned())].into_iter().collect();
    let described = describe(Described::Group(&own), &layers, None);
    let shown: Vec<String> = described
        .iter()
        .map(|entry| {
            let value = entry.value.as_deref().unwrap_or("null");
            let synonyms =
                entry.synonyms.iter().map(|s| format!("{:?}:{}={}", s.source, s.name, s.value.as_ref().unwrap()));
            let synonyms: Vec<String> = synonyms.collect();
            format!("{}={value} {:?} {{{}}}", entry.name, entry.source, synonyms.join(", "))
        })
        .collect();
    let expected = [
        "consumer.assignment.interval.ms=1000 Default {Default:group.consumer.assignment.interval.ms=1000}",
        "consumer.heartbeat.interval.ms=6000 StaticBroker {StaticBroker:group.consumer.heartbeat.interval.ms=6000, \
         Default:group.consumer.heartbeat.interval.ms=5000}",
        "consumer.session.timeout.ms=50000 DynamicGroup {DynamicGroup:consumer.session.timeout.ms=50000, \
         Default:group.consumer.session.timeout.ms=45000}",
    ];
    assert_eq!(shown, expected);
    assert!(described.iter().all(|entry| !entry.read_only));
}

#[test]
fn a_topic_config_acts_exactly_if_the_typed_view_holds_it() {
    for def in topic_configs() {
        let acts = def.effect == Effect::Acts;
        assert_eq!(topic_config::is_held(def), acts, "{}", def.name);
    }
}

#[test]
fn defaults_of_topics_agree_with_those_they_fall_back_to() {
    let layers = ConfigLayers::default();
    for def in topic_configs() {
        if let Some(fallback) = layers.fallback_value(def) {
            assert_eq!(Some(fallback), default_value(def), "{}", def.name);
        }
    }
}

/// Values and messages as a Kafka 4.3 broker answered them.
#[test]
fn values_are_accepted_and_refused_as_by_kafka() {
    let accepted = [
        ("retention.ms", " 5 ", "5"),
        ("max.message.bytes", "+5", "5"),
        ("preallocate", "TRUE", "true"),
        ("cleanup.policy", " compact , delete ", "compact,delete"),
        ("cleanup.policy", "", ""),
        ("leader.replication.throttled.replicas", "*", "*"),
        ("leader.replication.throttled.replicas", "0:1,1:2", "0:1,1:2"),
        ("leader.replication.throttled.replicas", "", ""),
        ("compression.gzip.level", "-1", "-1"),
        ("min.cleanable.dirty.ratio", "1e-1", "0.1"),
        ("min.cleanable.dirty.ratio", "1", "1.0"),
        ("min.cleanable.dirty.ratio", "0.0001", "1.0E-4"),
        ("internal.segment.bytes", "100", "100"),
        ("retention.bytes", "-7", "-7"),
    ];
    for (name, text, expected) in accepted {
        assert_eq!(parse(Scope::Topic, name, text).unwrap().to_string(), expected, "{name}={text}");
    }
    let refused = [
        ("no.such", "1", "Unknown topic config name: no.such"),
        ("message.format.version", "3.0", "Unknown topic config name: message.format.version"),
        ("retention.ms", "x", "Invalid value x for configuration retention.ms: Not a number of type LONG"),
        ("retention.ms", "", "Invalid value  for configuration retention.ms: Not a number of type LONG"),
        ("retention.ms", "-2", "Invalid value -2 for configuration retention.ms: Value must be at least -1"),
        (
            "retention.ms",
            "99999999999999999999",
            "Invalid value 99999999999999999999 for configuration retention.ms: Not a number of type LONG",
        ),
        (
            "max.message.bytes",
            "0x10",
            "Invalid value 0x10 for configuration max.message.bytes: Not a number of type INT",
        ),
        (
            "cleanup.policy",
            "foo",
            "Invalid value foo for configuration cleanup.policy: String must be one of: compact, delete",
        ),
        ("cleanup.policy", "delete,", "Configuration 'cleanup.policy' values must not be empty."),
        ("cleanup.policy", "delete,,compact", "Configuration 'cleanup.policy' values must not be empty."),
        ("segment.bytes", "10", "Invalid value 10 for configuration segment.bytes: Value must be at least 1048576"),
        (
            "min.cleanable.dirty.ratio",
            "1.5",
            "Invalid value 1.5 for configuration min.cleanable.dirty.ratio: Value must be no more than 1",
        ),
        (
            "min.cleanable.dirty.ratio",
            "x",
            "Invalid value x for configuration min.cleanable.dirty.ratio: Not a number of type DOUBLE",
        ),
        (
            "preallocate",
            "yes",
            "Invalid value yes for configuration preallocate: Expected value to be either true or false",
        ),
        (
            "compression.type",
            "GZIP",
            "Invalid value GZIP for configuration compression.type: String must be one of: \
             uncompressed, zstd, lz4, snappy, gzip, producer",
        ),
        (
            "compression.gzip.level",
            "0",
            "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1",
        ),
        (
            "leader.replication.throttled.replicas",
            "foo",
            "Invalid value [foo] for configuration leader.replication.throttled.replicas: \
             leader.replication.throttled.replicas must be the literal '*' or a list of replicas in the following \
             format: [partitionId]:[brokerId],[partitionId]:[brokerId],...",
        ),
        (
            "remote.storage.enable",
            "true",
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.",
        ),
    ];
    for (name, text, expected) in refused {
        assert_eq!(parse(Scope::Topic, name, text).unwrap_err().to_string(), expected);
    }
    let brokers = [
        (
            "log.retention.ms",
            "0",
            "requirement failed: log.retention.ms must be unlimited (-1) or, greater than or equal to 1",
        ),
        ("log.roll.ms", "0", "requirement failed: log.roll.ms must be greater than or equal to 1"),
        ("max.connections", "-5", "Invalid value -5 for configuration max.connections: Value must be at least 0"),
    ];
    for (name, text, expected) in brokers {
        assert_eq!(parse(Scope::Broker, name, text).unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_setting_that_cannot_be_used_says_what_to_do() {
    let refused = [
        ("num.partition", "2", "unknown setting 'num.partition': did you mean 'num.partitions'?"),
        ("zzz", "2", "unknown setting 'zzz'"),
        (
            "num.io.threads",
            "2",
            "setting 'num.io.threads' is one of Kafka's that has no meaning in this broker: remove it",
        ),
        ("node.id", "2", "setting 'node.id' is given by --node-id, not as a setting"),
        ("num.partitions", "0", "Invalid value 0 for configuration num.partitions: Value must be at least 1"),
        (
            "group.min.session.timeout.ms",
            "2000000",
            "group.min.session.timeout.ms (2000000) is greater than group.max.session.timeout.ms (1800000)",
        ),
        (
            "group.consumer.session.timeout.ms",
            "60001",
            "group.consumer.session.timeout.ms (60001) is not between group.consumer.min.session.timeout.ms (45000) and \
             group.consumer.max.session.timeout.ms (60000)",
        ),
        (
            "group.consumer.min.heartbeat.interval.ms",
            "16000",
            "group.consumer.heartbeat.interval.ms (5000) is not between group.consumer.min.heartbeat.interval.ms (16000) \
             and group.consumer.max.heartbeat.interval.ms (15000)",
        ),
        (
            "group.consumer.heartbeat.interval.ms",
            "0",
            "Invalid value 0 for configuration group.consumer.heartbeat.interval.ms: Value must be at least 1",
        ),
        (
            "group.consumer.migration.policy",
            "both",
            "Invalid value both for configuration group.consumer.migration.policy: String must be one of (case \
             insensitive): DISABLED, DOWNGRADE, UPGRADE, BIDIRECTIONAL",
        ),
        (
            "max.connections.per.ip.overrides",
            "a:b",
            "Invalid value a:b for configuration max.connections.per.ip.overrides: must be a list \
             host:count,host:count,... with counts of at least 0",
        ),
    ];
    for (name, value, expected) in refused {
        assert_eq!(StaticConfig::parse([(name, value)]).unwrap_err().to_string(), expected);
    }
}

fn overrides(values: &[(&str, &str)]) -> ConfigOverrides {
    values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn layers(
    broker: &[(&str, &str)],
    cluster_default: &[(&str, &str)],
    static_settings: &[(&'static str, &'static str)],
) -> ConfigLayers {
    ConfigLayers {
        broker: overrides(broker),
        cluster_default: overrides(cluster_default),
        static_config: StaticConfig::parse(static_settings.iter().copied()).unwrap(),
    }
}

#[test]
fn the_first_place_that_has_a_value_wins() {
    let name = "log.retention.ms";
    let hours = ("log.retention.hours", "2");
    let cases: &[(ConfigLayers, Option<i64>)] = &[
        (layers(&[], &[], &[]), Some(604_800_000)),
        (layers(&[], &[], &[hours]), Some(7_200_000)),
        (layers(&[], &[], &[hours, ("log.retention.minutes", "3")]), Some(180_000)),
        (layers(&[], &[], &[hours, (name, "4")]), Some(4)),
        (layers(&[], &[(name, "5")], &[hours, (name, "4")]), Some(5)),
        (layers(&[(name, "6")], &[(name, "5")], &[hours, (name, "4")]), Some(6)),
        (layers(&[(name, "-1")], &[(name, "5")], &[]), None),
        (layers(&[], &[], &[("log.retention.hours", "-1")]), None),
        // Not acceptable to this version: as if it were not there.
        (layers(&[(name, "rubbish")], &[(name, "5")], &[]), Some(5)),
    ];
    for (layers, expected) in cases {
        let broker = BrokerConfig::resolve(layers);
        assert_eq!(broker.topic_defaults.retention_ms, *expected, "{layers:?}");
        let own = overrides(&[("retention.ms", "9")]);
        assert_eq!(broker.topic_defaults.with(&own).retention_ms, Some(9));
    }
}

#[test]
fn a_topic_is_typed_from_its_own_values_over_the_brokers() {
    let settings = [("log.segment.bytes", "2097152"), ("min.insync.replicas", "2"), ("ringlog.durability", "async")];
    let broker = BrokerConfig::resolve(&layers(&[], &[], &settings));
    let own = overrides(&[
        ("cleanup.policy", "compact,delete"),
        ("message.timestamp.type", "LogAppendTime"),
        ("internal.segment.bytes", "100"),
        ("segment.bytes", "1048576"),
        ("retention.bytes", "-1"),
        ("unknown.since", "1"),
    ]);
    let topic = broker.topic_defaults.with(&own);
    assert_eq!(topic.cleanup_policy, CleanupPolicy { delete: true, compact: true });
    assert_eq!(topic.timestamp_type, protocol::record_batch::TimestampType::LogAppendTime);
    assert_eq!(topic.segment_bytes, 100, "the internal one wins over segment.bytes");
    assert_eq!(topic.retention_bytes, None);
    assert_eq!((topic.min_insync_replicas, topic.durability), (2, Durability::Async));
    assert_eq!(broker.topic_defaults.segment_bytes, 2_097_152);
    assert_eq!(
        broker.topic_defaults.with(&overrides(&[("cleanup.policy", "")])).cleanup_policy,
        CleanupPolicy { delete: false, compact: false }
    );
}

fn entry_text(entry: &ConfigEntry) -> String {
    let synonyms: Vec<String> = entry
        .synonyms
        .iter()
        .map(|s| format!("{}={}@{}", s.name, s.value.as_deref().unwrap_or("null"), s.source.wire_id()))
        .collect();
    let value = entry.value.as_deref().unwrap_or("null");
    format!("{}={value}@{} [{}]", entry.name, entry.source.wire_id(), synonyms.join(" "))
}

fn described(described: Described<'_>, layers: &ConfigLayers, name: &str) -> String {
    let entries = describe(described, layers, Some(&[name.to_owned()]));
    entries.iter().map(entry_text).collect::<Vec<_>>().join("; ")
}

/// What a Kafka 4.3 broker answered in the same situations.
#[test]
fn descriptions_are_kafkas() {
    let none = ConfigOverrides::default();
    let plain = layers(&[], &[], &[]);
    let topic = Described::Topic(&none);
    assert_eq!(described(topic, &plain, "cleanup.policy"), "cleanup.policy=delete@5 [log.cleanup.policy=delete@5]");
    assert_eq!(described(topic, &plain, "flush.ms"), "flush.ms=9223372036854775807@5 []");
    assert_eq!(described(topic, &plain, "retention.ms"), "retention.ms=604800000@5 []");
    assert_eq!(described(topic, &plain, "internal.segment.bytes"), "");
    assert_eq!(described(topic, &plain, "no.such"), "");
    let own = overrides(&[("retention.ms", " 7 "), ("preallocate", "TRUE"), ("internal.segment.bytes", "100")]);
    let with_own = Described::Topic(&own);
    assert_eq!(described(with_own, &plain, "retention.ms"), "retention.ms=7@1 [retention.ms=7@1]");
    assert_eq!(
        described(with_own, &plain, "preallocate"),
        "preallocate=true@1 [preallocate=true@1 log.preallocate=false@5]"
    );
    assert_eq!(
        described(with_own, &plain, "internal.segment.bytes"),
        "internal.segment.bytes=100@1 [internal.segment.bytes=100@1]"
    );

    let both = layers(&[("log.retention.ms", "60000")], &[("log.retention.ms", "70000")], &[]);
    let synonyms = "[log.retention.ms=60000@2 log.retention.ms=70000@3 log.retention.hours=168@5]";
    assert_eq!(described(topic, &both, "retention.ms"), format!("retention.ms=60000@2 {synonyms}"));
    assert_eq!(described(Described::Broker, &both, "log.retention.ms"), format!("log.retention.ms=60000@2 {synonyms}"));
    assert_eq!(
        described(Described::Broker, &both, "log.retention.hours"),
        "log.retention.hours=168@5 [log.retention.hours=168@5]"
    );
    assert_eq!(described(Described::Broker, &plain, "log.retention.minutes"), "log.retention.minutes=null@5 []");
    assert_eq!(
        described(Described::BrokerDefault, &both, "log.retention.ms"),
        "log.retention.ms=70000@3 [log.retention.ms=70000@3]"
    );
    let shown: Vec<_> = describe(Described::BrokerDefault, &both, None).into_iter().map(|entry| entry.name).collect();
    assert_eq!(shown, ["log.retention.ms"]);

    let unlimited = layers(&[], &[], &[("log.retention.hours", "-1")]);
    assert_eq!(described(topic, &unlimited, "retention.ms"), "retention.ms=-1@5 []");

    let started = layers(&[], &[], &[("group.initial.rebalance.delay.ms", "0")]);
    assert_eq!(
        described(Described::Broker, &started, "group.initial.rebalance.delay.ms"),
        "group.initial.rebalance.delay.ms=0@4 \
         [group.initial.rebalance.delay.ms=0@4 group.initial.rebalance.delay.ms=3000@5]"
    );
    assert_eq!(described(Described::Broker, &plain, "leader.replication.throttled.rate"), "");
}

#[test]
fn a_full_description_has_every_config_once() {
    let plain = ConfigLayers::default();
    let none = ConfigOverrides::default();
    let topic = describe(Described::Topic(&none), &plain, None);
    assert_eq!(topic.len(), 34, "Kafka's 33 and ringlog.durability");
    assert!(topic.iter().all(|entry| !entry.read_only && !entry.sensitive && entry.is_default()));
    let broker = describe(Described::Broker, &plain, None);
    assert_eq!(broker.len(), broker_configs().iter().filter(|def| !def.internal).count());
}
