//! From the merged layers of text to typed values, with the checks that span several settings.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use metadata::config::{BrokerConfig, ConfigLayers, StaticConfig};
use protocol::newtypes::BrokerId;

use super::error::{ConfigError, ConfigErrors};
use super::host_port::{Endpoint, HostPort};
use super::kafka;
use super::limits::MemoryLimits;
use super::machine::Machine;
use super::origin::{Layers, Origin};
use super::setting::{DefaultValue, Key, Setting};
use super::value::{self, ValueError};
use super::{ConsoleMode, Flags, LogConfig, LogFormat, ServeConfig, Value};
use crate::group_lag::LagConfig;
use crate::journal_dir;
use crate::metrics::SeriesLimits;

/// A bound against typing errors: an event loop costs a thread and rings.
const SHARDS_MAX: u64 = 1024;
const CONNECTIONS_MAX: u64 = 1_000_000;
const CONNECTION_REQUESTS_MAX: u64 = 65_536;
/// Below this, ordinary requests would each need the exception for a single large one.
const REQUEST_BYTES_MIN: u64 = 64 << 10;
/// A bound against typing errors, a thousand times what is sensible.
const BYTES_MAX: u64 = 1 << 40;
/// Four regions of at least 1 MiB. At most: all of it is read into memory when it is replayed.
const JOURNAL_BYTES: RangeInclusive<u64> = 4 << 20..=4 << 30;

/// Reads and checks everything, gathering all complaints.
pub(super) fn resolve(layers: &Layers, machine: Machine) -> Result<ServeConfig, ConfigErrors> {
    let mut resolver = Resolver { layers, errors: Vec::new(), values: BTreeMap::new() };
    let config = resolver.config(machine);
    match config {
        Some(config) if resolver.errors.is_empty() => Ok(config),
        _ => Err(ConfigErrors(resolver.errors)),
    }
}

struct Resolver<'a> {
    layers: &'a Layers,
    errors: Vec<ConfigError>,
    values: BTreeMap<Key, Value>,
}

impl Resolver<'_> {
    /// `None` means that errors were recorded. Every value is read before the first `?`, so that none hides another.
    fn config(&mut self, machine: Machine) -> Option<ServeConfig> {
        let node_id = self.value(Key::NodeId, |text| value::count(text, 0..=i32::MAX as u64));
        let data_dir = self.value(Key::DataDir, value::path);
        let journal_dir = self.journal_dir(data_dir.as_deref());
        let shards = self.shards(&machine);
        let endpoints = self.endpoints();
        let memory = self.memory();
        let logging = self.logging();
        let static_config = self.kafka();
        let join = match self.layers.given(Key::Join) {
            Some(_) => self.value(Key::Join, value::addresses),
            None => Some(Vec::new()),
        };
        let quorum_voters_max =
            self.value(Key::QuorumVotersMax, |text| value::word(text, &["1", "3", "5"], &[1, 3, 5]));
        let group_lag_interval_ms = self.number(Key::GroupLagIntervalMs, 100..=3_600_000);
        let group_lag_series_max = self.number(Key::GroupLagSeriesMax, 0..=100_000);
        let topics_max = self.number(Key::TopicSeriesMax, 0..=100_000);
        let partitions_max = self.number(Key::PartitionSeriesMax, 0..=100_000);
        if let (Some(memory), Some(static_config)) = (&memory, &static_config) {
            self.check_request_fits(memory, static_config);
        }
        let console = self.console(endpoints.as_ref().map(|[_, _, http]| http));
        let [kafka, internal, http] = endpoints?;
        let node_id = BrokerId(i32::try_from(node_id?).expect("bounded by i32::MAX above"));
        let data_dir = data_dir?;
        let static_config = self.with_flags(static_config?, node_id, &data_dir, &kafka)?;
        Some(ServeConfig {
            node_id,
            data_dir,
            journal_dir: journal_dir?,
            kafka,
            internal,
            http,
            console: console?,
            join: join?,
            quorum_voters_max: quorum_voters_max?,
            shards: shards?,
            cpus: machine.cpus.clone(),
            memory: memory?,
            group_lag: LagConfig {
                interval: Duration::from_millis(group_lag_interval_ms? as u64),
                series_max: group_lag_series_max?,
            },
            series: SeriesLimits { topics_max: topics_max?, partitions_max: partitions_max? },
            static_config,
            logging: logging?,
            ignored_variables: Vec::new(),
            values: std::mem::take(&mut self.values),
            flags: Flags::default(),
            machine,
        })
    }

    /// The value that counts, or the default text; `None` where there is neither, or after recording an error.
    fn value<T: Debug>(&mut self, key: Key, parse: impl Fn(&str) -> Result<T, ValueError>) -> Option<T> {
        let given = self.layers.given(key);
        let text = match (given, Setting::of(key).default) {
            (Some(given), _) => given.value.as_str(),
            (None, DefaultValue::Text(text)) => text,
            (None, DefaultValue::Derived(_)) => return None,
        };
        match parse(text) {
            Ok(value) => {
                self.values.insert(key, Value { text: text.to_owned(), meaning: format!("{value:?}") });
                Some(value)
            }
            Err(reason) => {
                let origin = self.layers.origin(key);
                let name = Setting::of(key).name;
                self.errors.push(ConfigError::BadValue { name, value: text.to_owned(), origin, reason });
                None
            }
        }
    }

    fn number(&mut self, key: Key, range: RangeInclusive<u64>) -> Option<usize> {
        self.value(key, |text| value::count(text, range.clone()))
            .map(|number| usize::try_from(number).expect("every range here fits the address space"))
    }

    fn shards(&mut self, machine: &Machine) -> Option<usize> {
        if self.layers.given(Key::Shards).is_none() {
            return Some(machine.default_shards());
        }
        self.number(Key::Shards, 1..=SHARDS_MAX)
    }

    fn journal_dir(&mut self, data_dir: Option<&Path>) -> Option<PathBuf> {
        match self.layers.given(Key::JournalDir) {
            Some(_) => self.value(Key::JournalDir, value::path),
            None => data_dir.map(|data_dir| data_dir.join(journal_dir::NAME_DEFAULT)),
        }
    }

    /// Whoever reaches an address that others reach too is not shown records unless that is wanted.
    fn console(&mut self, http: Option<&Endpoint>) -> Option<ConsoleMode> {
        if self.layers.given(Key::Console).is_none() {
            return http.map(|http| match http.listen.host.is_loopback() {
                true => ConsoleMode::Records,
                false => ConsoleMode::Metadata,
            });
        }
        let modes = [ConsoleMode::Off, ConsoleMode::Metadata, ConsoleMode::Records];
        self.value(Key::Console, |text| value::word(text, &["off", "metadata", "records"], &modes))
    }

    fn memory(&mut self) -> Option<MemoryLimits> {
        let connections_max = self.number(Key::ConnectionsMax, 1..=CONNECTIONS_MAX);
        let connection_requests_max = self.number(Key::ConnectionRequestsMax, 1..=CONNECTION_REQUESTS_MAX);
        let mut bytes = |key, minimum| self.value(key, |text| value::size_bytes(text, minimum..=BYTES_MAX));
        let connection_request_bytes_max = bytes(Key::ConnectionRequestBytesMax, REQUEST_BYTES_MIN);
        let shard_request_bytes_max = bytes(Key::ShardRequestBytesMax, REQUEST_BYTES_MIN);
        let shard_response_bytes_max = bytes(Key::ShardResponseBytesMax, REQUEST_BYTES_MIN);
        let shard_tail_cache_bytes_max = bytes(Key::ShardTailCacheBytesMax, 0);
        let shard_read_ahead_bytes_max = bytes(Key::ShardReadAheadBytesMax, 0);
        let shard_journal_bytes_max =
            self.value(Key::ShardJournalBytesMax, |text| value::size_bytes_or_none(text, JOURNAL_BYTES));
        Some(MemoryLimits {
            connections_max: connections_max?,
            connection_requests_max: connection_requests_max?,
            connection_request_bytes_max: connection_request_bytes_max?,
            shard_request_bytes_max: shard_request_bytes_max?,
            shard_response_bytes_max: shard_response_bytes_max?,
            shard_tail_cache_bytes_max: shard_tail_cache_bytes_max?,
            shard_read_ahead_bytes_max: shard_read_ahead_bytes_max?,
            shard_journal_bytes_max: shard_journal_bytes_max?,
        })
    }

    fn logging(&mut self) -> Option<LogConfig> {
        let filter = self.value(Key::LogLevel, value::log_filter);
        let formats = [LogFormat::Text, LogFormat::Json];
        let format = self.value(Key::LogFormat, |text| value::word(text, &["text", "json"], &formats));
        Some(LogConfig { filter: filter?, format: format? })
    }

    fn kafka(&mut self) -> Option<StaticConfig> {
        match kafka::check(&self.layers.kafka()) {
            Ok(static_config) => Some(static_config),
            Err(errors) => {
                self.errors.extend(errors);
                None
            }
        }
    }

    /// A shard that may not hold the largest request allowed would never read it, and its sender would wait for ever.
    fn check_request_fits(&mut self, memory: &MemoryLimits, static_config: &StaticConfig) {
        let broker_config = BrokerConfig::resolve(&ConfigLayers::of_static(static_config));
        let request_bytes_max = u64::try_from(broker_config.socket_request_max_bytes).unwrap_or(0);
        let (key, limit_bytes) = (Key::ShardRequestBytesMax, memory.shard_request_bytes_max);
        if request_bytes_max > limit_bytes {
            let (name, origin) = (Setting::of(key).name, self.layers.origin(key));
            self.errors.push(ConfigError::RequestNeverFits { name, limit_bytes, request_bytes_max, origin });
        }
    }

    /// Adds what clients see under Kafka's names of settings that are flags here.
    fn with_flags(
        &mut self,
        static_config: StaticConfig,
        node_id: BrokerId,
        data_dir: &Path,
        kafka: &Endpoint,
    ) -> Option<StaticConfig> {
        let described = [
            ("node.id", node_id.to_string(), Key::NodeId),
            ("broker.id", node_id.to_string(), Key::NodeId),
            ("log.dirs", data_dir.display().to_string(), Key::DataDir),
            ("listeners", format!("PLAINTEXT://{}", kafka.listen), Key::KafkaAddr),
            ("advertised.listeners", format!("PLAINTEXT://{}", kafka.advertised), Key::AdvertisedKafkaAddr),
        ];
        let added = described.into_iter().try_fold(static_config, |config, (name, value, key)| {
            let origin = self.layers.origin(key);
            config.with_flag(name, &value).map_err(|source| ConfigError::Kafka { origin, source })
        });
        added.map_err(|error| self.errors.push(error)).ok()
    }

    /// Kafka's, the internal and the HTTP listener.
    fn endpoints(&mut self) -> Option<[Endpoint; 3]> {
        let keys = [
            (Key::KafkaAddr, Key::AdvertisedKafkaAddr),
            (Key::InternalAddr, Key::AdvertisedInternalAddr),
            (Key::HttpAddr, Key::AdvertisedHttpAddr),
        ];
        let errors_before = self.errors.len();
        let read = keys.map(|(listen, advertised)| (self.address(listen), self.address(advertised)));
        if self.errors.len() > errors_before {
            return None;
        }
        let [(kafka, kafka_twin), (internal, internal_twin), (http, http_twin)] = read;
        let (kafka, internal, http) = (kafka?, internal?, http?);
        self.check_distinct([(Key::KafkaAddr, &kafka), (Key::InternalAddr, &internal), (Key::HttpAddr, &http)]);
        let kafka_advertised = self.advertised(Key::KafkaAddr, &kafka, Key::AdvertisedKafkaAddr, kafka_twin);
        let internal_advertised =
            self.advertised(Key::InternalAddr, &internal, Key::AdvertisedInternalAddr, internal_twin);
        // Only people follow this address, so it may guess.
        let http_twin = match (http_twin, &kafka_advertised) {
            (None, Some(advertised)) if http.host.is_wildcard() => {
                Some(HostPort { host: advertised.host.clone(), port: http.port })
            }
            (twin, _) => twin,
        };
        let http_advertised = self.advertised(Key::HttpAddr, &http, Key::AdvertisedHttpAddr, http_twin);
        Some([
            Endpoint { listen: kafka, advertised: kafka_advertised? },
            Endpoint { listen: internal, advertised: internal_advertised? },
            Endpoint { listen: http, advertised: http_advertised? },
        ])
    }

    fn address(&mut self, key: Key) -> Option<HostPort> {
        self.value(key, |text| text.trim().parse::<HostPort>().map_err(ValueError::from))
    }

    /// The address to tell others: as given, or else as bound. Neither may be a wildcard.
    fn advertised(
        &mut self,
        listen_key: Key,
        listen: &HostPort,
        key: Key,
        given: Option<HostPort>,
    ) -> Option<HostPort> {
        let (at, addr, advice) = match given {
            Some(addr) => (key, addr, "give a name or address of this machine".to_owned()),
            None => {
                let twin = Setting::of(key);
                let advice = format!("give {} ({}) too", twin.flag(), twin.variable());
                (listen_key, listen.clone(), advice)
            }
        };
        if !addr.host.is_wildcard() {
            return Some(addr);
        }
        let (name, origin) = (Setting::of(at).name, self.layers.origin(at));
        self.errors.push(ConfigError::AdvertisedWildcard { name, addr, origin, advice });
        None
    }

    /// Two listeners on one address would fail to bind, or (with `SO_REUSEPORT`) silently share the port.
    fn check_distinct(&mut self, listeners: [(Key, &HostPort); 3]) {
        for (at, (second, addr)) in listeners.iter().enumerate() {
            for (first, other) in &listeners[..at] {
                let same_host = addr.host == other.host || addr.host.is_wildcard() || other.host.is_wildcard();
                if addr.port == 0 || addr.port != other.port || !same_host {
                    continue;
                }
                // Blame the one that was given; a default is nobody's mistake.
                let swap = self.layers.origin(*second) == Origin::Default;
                let (first, second, addr) = if swap { (second, first, other) } else { (first, second, addr) };
                self.errors.push(ConfigError::SameAddress {
                    first: Setting::of(*first).name,
                    second: Setting::of(*second).name,
                    second_origin: self.layers.origin(*second),
                    addr: (*addr).clone(),
                });
            }
        }
    }
}
