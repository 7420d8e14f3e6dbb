//! The one table of Ringlog's own settings.
//!
//! Flags, `RINGLOG_*` variables, TOML keys, help texts and the reference in `docs/configuration.md` all come from
//! [`SETTINGS`]; a setting that is not in it cannot be given anywhere. Kafka's broker settings (`--set`, `[kafka]`) are
//! not here: the `metadata` crate knows those.

/// Names a setting in code; [`Setting::of`] leads to everything else about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    NodeId,
    DataDir,
    JournalDir,
    KafkaAddr,
    AdvertisedKafkaAddr,
    InternalAddr,
    AdvertisedInternalAddr,
    Join,
    QuorumVotersMax,
    HttpAddr,
    AdvertisedHttpAddr,
    Console,
    Shards,
    ConnectionsMax,
    ConnectionRequestsMax,
    ConnectionRequestBytesMax,
    ShardRequestBytesMax,
    ShardResponseBytesMax,
    ShardTailCacheBytesMax,
    ShardReadAheadBytesMax,
    ShardJournalBytesMax,
    GroupLagIntervalMs,
    GroupLagSeriesMax,
    TopicSeriesMax,
    PartitionSeriesMax,
    LogLevel,
    LogFormat,
}

impl Key {
    /// Whether a running broker takes a new value when it is told to load its configuration again (SIGHUP).
    #[must_use]
    pub fn is_reloadable(self) -> bool {
        matches!(
            self,
            Key::ConnectionsMax | Key::GroupLagIntervalMs | Key::GroupLagSeriesMax | Key::LogLevel | Key::LogFormat
        )
    }
}

/// What a setting is when nobody gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultValue {
    /// This text, read by the same parser as a given value.
    Text(&'static str),
    /// Worked out from other settings or from the machine, in the words of the help text.
    Derived(&'static str),
}

impl DefaultValue {
    /// For people to read.
    #[must_use]
    pub fn description(self) -> &'static str {
        match self {
            DefaultValue::Text(text) | DefaultValue::Derived(text) => text,
        }
    }
}

/// Under which heading a setting is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Node,
    Addresses,
    Memory,
    Metrics,
    Logging,
}

impl Section {
    /// In the order of help and reference.
    pub const ALL: [Section; 5] =
        [Section::Node, Section::Addresses, Section::Memory, Section::Metrics, Section::Logging];

    #[must_use]
    pub fn heading(self) -> &'static str {
        match self {
            Section::Node => "Node",
            Section::Addresses => "Addresses",
            Section::Memory => "Memory limits",
            Section::Metrics => "Metrics",
            Section::Logging => "Logging",
        }
    }
}

/// One setting: how it is named, written and explained.
#[derive(Debug)]
pub struct Setting {
    pub key: Key,
    pub section: Section,
    /// The TOML key, and the flag without its dashes.
    pub name: &'static str,
    /// Placeholder of the value in help texts.
    pub value_name: &'static str,
    /// In what the value is counted; empty where it is not a quantity.
    pub unit: &'static str,
    pub default: DefaultValue,
    /// One line, without a full stop.
    pub summary: &'static str,
    /// Further sentences for `--help` and the reference; may be empty.
    pub detail: &'static str,
}

impl Setting {
    /// The table's row of `key`.
    ///
    /// # Panics
    /// Never: a test holds the table complete.
    #[must_use]
    pub fn of(key: Key) -> &'static Setting {
        SETTINGS.iter().find(|setting| setting.key == key).expect("every key has its row")
    }

    /// As on the command line: `--kafka-addr`.
    #[must_use]
    pub fn flag(&self) -> String {
        format!("--{}", self.name)
    }

    /// As in the environment: `RINGLOG_KAFKA_ADDR`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{VARIABLE_PREFIX}{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }
}

/// With what every variable of ours begins.
pub const VARIABLE_PREFIX: &str = "RINGLOG_";
/// Names the configuration file; the flag's twin is `--config`. It has no TOML key.
pub const CONFIG_VARIABLE: &str = "RINGLOG_CONFIG";
/// Kafka broker settings, `KEY=VALUE` each; the flag's twin is `--set`, the file's the table `[kafka]`.
pub const SET_VARIABLE: &str = "RINGLOG_SET";
/// The TOML table of Kafka broker settings.
pub const KAFKA_TABLE: &str = "kafka";

/// Every setting, in the order of help and reference.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: Key::NodeId,
        section: Section::Node,
        name: "node-id",
        value_name: "ID",
        unit: "",
        default: DefaultValue::Text("1"),
        summary: "This broker's node id, unique in its cluster",
        detail: "From 0 to 2147483647. It must not change once the data directory is in use.",
    },
    Setting {
        key: Key::DataDir,
        section: Section::Node,
        name: "data-dir",
        value_name: "DIR",
        unit: "",
        default: DefaultValue::Text("./ringlog-data"),
        summary: "Where the broker keeps everything it must not lose",
        detail: "Created if missing. One broker at a time: it holds a lock file in it.",
    },
    Setting {
        key: Key::JournalDir,
        section: Section::Node,
        name: "journal-dir",
        value_name: "DIR",
        unit: "",
        default: DefaultValue::Derived("journal in the data directory"),
        summary: "Where small writes to many partitions become durable together",
        detail: "Created if missing; may be on another disk than the data directory, of this broker alone. Until the \
                 broker was stopped in order, what is in it is needed as much as the data directory: a start without it \
                 is refused. After an orderly stop nothing is in it and another directory can be given.",
    },
    Setting {
        key: Key::Shards,
        section: Section::Node,
        name: "shards",
        value_name: "N",
        unit: "",
        default: DefaultValue::Derived("one per available core but one, and at least one"),
        summary: "Event loops, each with its own partitions and connections",
        detail: "Available cores are those that CPU affinity and the control group's quota allow. Each shard is pinned \
                 to a core of its own where there are more than two cores, and one is left for everything else. From 1 to 1024.",
    },
    Setting {
        key: Key::Join,
        section: Section::Node,
        name: "join",
        value_name: "HOST:PORT,…",
        unit: "",
        default: DefaultValue::Derived("none: an empty data directory becomes a cluster of its own"),
        summary: "Internal addresses of members of the cluster to join; any will do",
        detail: "Needed with an empty data directory only; with it the broker never forms a cluster by itself. Later starts \
                 know the cluster, and ask at these addresses too where the members that they know have moved.",
    },
    Setting {
        key: Key::QuorumVotersMax,
        section: Section::Node,
        name: "quorum-voters-max",
        value_name: "N",
        unit: "brokers per cluster",
        default: DefaultValue::Text("3"),
        summary: "Brokers that vote on metadata at most: 1, 3 or 5",
        detail: "The others follow. It should be the same on every broker: the one that leads goes by its own.",
    },
    Setting {
        key: Key::KafkaAddr,
        section: Section::Addresses,
        name: "kafka-addr",
        value_name: "HOST:PORT",
        unit: "",
        default: DefaultValue::Text("127.0.0.1:9092"),
        summary: "Where Kafka clients are served",
        detail: "IPv6 addresses are written in brackets, as in [::]:9092. Port 0 takes any free port and logs which.",
    },
    Setting {
        key: Key::AdvertisedKafkaAddr,
        section: Section::Addresses,
        name: "advertised-kafka-addr",
        value_name: "HOST:PORT",
        unit: "",
        default: DefaultValue::Derived("as --kafka-addr, which must then not be a wildcard address"),
        summary: "The address that Kafka clients are told to connect to",
        detail: "Port 0 stands for the port that --kafka-addr was bound to.",
    },
    Setting {
        key: Key::InternalAddr,
        section: Section::Addresses,
        name: "internal-addr",
        value_name: "HOST:PORT",
        unit: "",
        default: DefaultValue::Text("127.0.0.1:9093"),
        summary: "Where other brokers are served (Raft and replication)",
        detail: "",
    },
    Setting {
        key: Key::AdvertisedInternalAddr,
        section: Section::Addresses,
        name: "advertised-internal-addr",
        value_name: "HOST:PORT",
        unit: "",
        default: DefaultValue::Derived("as --internal-addr, which must then not be a wildcard address"),
        summary: "The address that other brokers connect to",
        detail: "Port 0 stands for the port that --internal-addr was bound to.",
    },
    Setting {
        key: Key::HttpAddr,
        section: Section::Addresses,
        name: "http-addr",
        value_name: "HOST:PORT",
        unit: "",
        default: DefaultValue::Text("127.0.0.1:9094"),
        summary: "Where metrics, health and the console are served over HTTP",
        detail: "",
    },
    Setting {
        key: Key::AdvertisedHttpAddr,
        section: Section::Addresses,
        name: "advertised-http-addr",
        value_name: "HOST:PORT",
        unit: "",
        default: DefaultValue::Derived(
            "as --http-addr; where that is a wildcard address, its port on the advertised Kafka host",
        ),
        summary: "The address of the HTTP endpoint as others reach it",
        detail: "Port 0 stands for the port that --http-addr was bound to.",
    },
    Setting {
        key: Key::Console,
        section: Section::Addresses,
        name: "console",
        value_name: "WHAT",
        unit: "",
        default: DefaultValue::Derived("records where --http-addr is a loopback address, else metadata"),
        summary: "What the console at the HTTP address shows: off, metadata or records",
        detail: "Nobody has to log in there: records shows the records of all topics to whoever reaches the address, \
                 metadata all but those. It is read-only. Names of this machine that browsers may use besides its \
                 addresses are those of --http-addr and --advertised-http-addr.",
    },
    Setting {
        key: Key::ConnectionsMax,
        section: Section::Memory,
        name: "connections-max",
        value_name: "N",
        unit: "connections per broker",
        default: DefaultValue::Text("10000"),
        summary: "Client connections held at once",
        detail: "Further ones are closed as soon as they are accepted. Each takes a file descriptor.",
    },
    Setting {
        key: Key::ConnectionRequestsMax,
        section: Section::Memory,
        name: "connection-requests-max",
        value_name: "N",
        unit: "requests per connection",
        default: DefaultValue::Text("128"),
        summary: "Requests of one connection that are read but not yet answered",
        detail: "Beyond it the connection is not read until an answer has left.",
    },
    Setting {
        key: Key::ConnectionRequestBytesMax,
        section: Section::Memory,
        name: "connection-request-bytes-max",
        value_name: "BYTES",
        unit: "bytes per connection",
        default: DefaultValue::Text("16MiB"),
        summary: "Request bytes of one connection that are read but not yet answered",
        detail: "Beyond it the connection is not read until an answer has left. One request is always let in, up to the \
                 Kafka setting socket.request.max.bytes.",
    },
    Setting {
        key: Key::ShardRequestBytesMax,
        section: Section::Memory,
        name: "shard-request-bytes-max",
        value_name: "BYTES",
        unit: "bytes per shard",
        default: DefaultValue::Text("256MiB"),
        summary: "Request bytes of all of a shard's connections that are not yet answered",
        detail: "One half for those on their way, one for those at work, with what they take once decoded. Beyond it the shard's \
                 connections wait to be read until answers have left, and producers and consumers are told for how long \
                 (throttle_time_ms). Each half may be exceeded by one request. A client whose large request comes with less than \
                 64 KiB a second, over 10 s, while others wait is cut off.",
    },
    Setting {
        key: Key::ShardResponseBytesMax,
        section: Section::Memory,
        name: "shard-response-bytes-max",
        value_name: "BYTES",
        unit: "bytes per shard",
        default: DefaultValue::Text("256MiB"),
        summary: "Response bytes of all of a shard's connections that are not yet sent",
        detail: "Beyond it requests whose answers may be large wait until responses have left, a fetch for its max_wait_ms or a \
                 second, then it returns nothing. A client that takes less than 64 KiB of its answer a second, over 10 s, while \
                 others wait is cut off. Small answers go a fifth of it beyond what large ones may fill.",
    },
    Setting {
        key: Key::ShardTailCacheBytesMax,
        section: Section::Memory,
        name: "shard-tail-cache-bytes-max",
        value_name: "BYTES",
        unit: "bytes per shard",
        default: DefaultValue::Text("64MiB"),
        summary: "Newest record batches kept in memory for consumers at the tail",
        detail: "0 turns the cache off.",
    },
    Setting {
        key: Key::ShardReadAheadBytesMax,
        section: Section::Memory,
        name: "shard-read-ahead-bytes-max",
        value_name: "BYTES",
        unit: "bytes per shard",
        default: DefaultValue::Text("32MiB"),
        summary: "Log bytes read ahead of consumers that read from disk",
        detail: "0 turns read-ahead off.",
    },
    Setting {
        key: Key::ShardJournalBytesMax,
        section: Section::Memory,
        name: "shard-journal-bytes-max",
        value_name: "BYTES",
        unit: "bytes per shard",
        default: DefaultValue::Text("16MiB"),
        summary: "Size of a shard's journal on disk, and of what of it is kept in memory",
        detail: "The journal's files are made when many partitions are written to at once. Too small, and small writes to \
                 many partitions are slower; larger, and a start after a crash has more to replay. 0 turns the journal \
                 off; else from 4MiB to 4GiB.",
    },
    Setting {
        key: Key::GroupLagIntervalMs,
        section: Section::Metrics,
        name: "group-lag-interval-ms",
        value_name: "MS",
        unit: "milliseconds",
        default: DefaultValue::Text("10000"),
        summary: "Pause between two looks at how far consumer groups lag",
        detail: "Each looks at the committed offsets of the groups that the broker coordinates, and asks the leaders of their \
                 partitions how far these are.",
    },
    Setting {
        key: Key::GroupLagSeriesMax,
        section: Section::Metrics,
        name: "group-lag-series-max",
        value_name: "N",
        unit: "series per broker",
        default: DefaultValue::Text("1000"),
        summary: "Partitions of groups, and groups, whose lag has a series in the metrics",
        detail: "Groups whose partitions do not fit keep their sum and maximum as long as those fit; what is left out is \
                 counted. 0 turns group lag off.",
    },
    Setting {
        key: Key::TopicSeriesMax,
        section: Section::Metrics,
        name: "topic-series-max",
        value_name: "N",
        unit: "topics per broker",
        default: DefaultValue::Text("1000"),
        summary: "Topics whose traffic has series of its own in the metrics",
        detail: "A topic keeps its series as long as the broker has a replica of it; free places go to topics in the order of \
                 their names. All others are counted together.",
    },
    Setting {
        key: Key::PartitionSeriesMax,
        section: Section::Metrics,
        name: "partition-series-max",
        value_name: "N",
        unit: "replicas per broker",
        default: DefaultValue::Text("1000"),
        summary: "Replicas whose offsets, size and followers have series in the metrics",
        detail: "In the order of topics' names and partitions. What is left out is counted.",
    },
    Setting {
        key: Key::LogLevel,
        section: Section::Logging,
        name: "log-level",
        value_name: "LEVEL",
        unit: "",
        default: DefaultValue::Text("info"),
        summary: "How much the broker logs: off, error, warn, info, debug or trace",
        detail: "Per module too, as in info,ringlog::shard=debug,wal=debug.",
    },
    Setting {
        key: Key::LogFormat,
        section: Section::Logging,
        name: "log-format",
        value_name: "FORMAT",
        unit: "",
        default: DefaultValue::Text("text"),
        summary: "How log lines on standard error look: text or json",
        detail: "Text is coloured on a terminal only; to systemd's journal it goes without a time and with a priority instead of \
                 the level.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_and_keys_are_distinct() {
        let names: BTreeSet<_> = SETTINGS.iter().map(|s| s.name).collect();
        let keys: BTreeSet<_> = SETTINGS.iter().map(|s| s.key).collect();
        assert_eq!((names.len(), keys.len()), (SETTINGS.len(), SETTINGS.len()));
        // `LogFormat` is the enum's last variant, so its discriminant counts the others.
        assert_eq!(keys.len(), Key::LogFormat as usize + 1, "a key without a row");
    }

    #[test]
    fn names_do_not_collide_with_the_ones_that_are_not_in_the_table() {
        for setting in SETTINGS {
            assert!(!["config", "set", KAFKA_TABLE, "help", "version"].contains(&setting.name));
            assert!(![CONFIG_VARIABLE, SET_VARIABLE].contains(&setting.variable().as_str()));
        }
    }

    #[test]
    fn summaries_fit_a_help_line() {
        for setting in SETTINGS {
            assert!(!setting.summary.ends_with('.') && setting.summary.len() <= 80, "{}", setting.name);
            assert!(setting.detail.is_empty() || setting.detail.ends_with('.'), "{}", setting.name);
        }
    }

    #[test]
    fn variables_are_upper_case_names() {
        assert_eq!(Setting::of(Key::ShardTailCacheBytesMax).variable(), "RINGLOG_SHARD_TAIL_CACHE_BYTES_MAX");
        assert_eq!(Setting::of(Key::KafkaAddr).flag(), "--kafka-addr");
    }
}
