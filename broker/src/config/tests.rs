//! Precedence, defaults and the checks across settings.

use std::ffi::OsString;
use std::io::Write;

use super::*;

/// A machine of four cores.
fn machine() -> Machine {
    Machine { cpus: vec![0, 1, 2, 3], cores: 4 }
}

/// Loads flags (`name=value`), variables and the text of a file.
fn load_from(flags: &[(Key, &str)], variables: &[(String, &str)], file: &str) -> Result<ServeConfig, String> {
    let mut on_disk = tempfile::NamedTempFile::new().expect("a temporary file");
    on_disk.write_all(file.as_bytes()).expect("writing it");
    let flags = Flags {
        config: Some(on_disk.path().to_owned()),
        settings: flags.iter().map(|&(key, value)| (key, value.to_owned())).collect(),
        set: Vec::new(),
    };
    let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    load(flags, variables, machine())
        .map_err(|errors| errors.to_string().replace(&on_disk.path().display().to_string(), "f.toml"))
}

fn from_flags(flags: &[(Key, &str)]) -> Result<ServeConfig, String> {
    load_from(flags, &[], "")
}

/// What `key` resolved to, as text.
fn shown(config: &ServeConfig, key: Key) -> String {
    let memory = &config.memory;
    match key {
        Key::NodeId => config.node_id.to_string(),
        Key::DataDir => config.data_dir.display().to_string(),
        Key::JournalDir => config.journal_dir.display().to_string(),
        Key::KafkaAddr => config.kafka.listen.to_string(),
        Key::AdvertisedKafkaAddr => config.kafka.advertised.to_string(),
        Key::InternalAddr => config.internal.listen.to_string(),
        Key::AdvertisedInternalAddr => config.internal.advertised.to_string(),
        Key::HttpAddr => config.http.listen.to_string(),
        Key::AdvertisedHttpAddr => config.http.advertised.to_string(),
        Key::Console => config.console.word().to_owned(),
        Key::Join => config.join.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        Key::QuorumVotersMax => config.quorum_voters_max.to_string(),
        Key::Shards => config.shards.to_string(),
        Key::ConnectionsMax => memory.connections_max.to_string(),
        Key::ConnectionRequestsMax => memory.connection_requests_max.to_string(),
        Key::ConnectionRequestBytesMax => memory.connection_request_bytes_max.to_string(),
        Key::ShardRequestBytesMax => memory.shard_request_bytes_max.to_string(),
        Key::ShardResponseBytesMax => memory.shard_response_bytes_max.to_string(),
        Key::ShardTailCacheBytesMax => memory.shard_tail_cache_bytes_max.to_string(),
        Key::ShardReadAheadBytesMax => memory.shard_read_ahead_bytes_max.to_string(),
        Key::ShardJournalBytesMax => memory.shard_journal_bytes_max.to_string(),
        Key::GroupLagIntervalMs => config.group_lag.interval.as_millis().to_string(),
        Key::GroupLagSeriesMax => config.group_lag.series_max.to_string(),
        Key::TopicSeriesMax => config.series.topics_max.to_string(),
        Key::PartitionSeriesMax => config.series.partitions_max.to_string(),
        Key::LogLevel => config.logging.filter.clone(),
        Key::LogFormat => format!("{:?}", config.logging.format).to_lowercase(),
    }
}

/// Default, and three further values that differ from it and from each other where the setting has as many.
fn samples(key: Key) -> [&'static str; 4] {
    match key {
        Key::NodeId => ["1", "2", "3", "4"],
        Key::DataDir => ["./ringlog-data", "/flag", "/env", "/file"],
        Key::JournalDir => ["./ringlog-data/journal", "/flag", "/env", "/file"],
        Key::Shards => ["3", "7", "8", "9"],
        Key::Join => ["", "flag:1,flag:2", "[::1]:2", "file:3"],
        Key::QuorumVotersMax => ["3", "1", "5", "1"],
        Key::KafkaAddr => ["127.0.0.1:9092", "flag:1", "env:2", "file:3"],
        Key::AdvertisedKafkaAddr => ["127.0.0.1:9092", "flag:1", "env:2", "file:3"],
        Key::InternalAddr | Key::AdvertisedInternalAddr => ["127.0.0.1:9093", "flag:1", "env:2", "file:3"],
        Key::HttpAddr | Key::AdvertisedHttpAddr => ["127.0.0.1:9094", "flag:1", "env:2", "[::3]:3"],
        Key::Console => ["records", "off", "metadata", "records"],
        Key::ConnectionsMax => ["10000", "1", "2", "3"],
        Key::ConnectionRequestsMax => ["128", "1", "2", "3"],
        Key::ConnectionRequestBytesMax => ["16777216", "65536", "65537", "65538"],
        Key::ShardRequestBytesMax => ["268435456", "134217728", "134217729", "134217730"],
        Key::ShardResponseBytesMax => ["268435456", "65536", "65537", "65538"],
        Key::ShardTailCacheBytesMax => ["67108864", "0", "1", "2"],
        Key::ShardReadAheadBytesMax => ["33554432", "0", "1", "2"],
        Key::ShardJournalBytesMax => ["16777216", "0", "4194304", "4294967296"],
        Key::GroupLagIntervalMs => ["10000", "100", "101", "3600000"],
        Key::GroupLagSeriesMax | Key::TopicSeriesMax | Key::PartitionSeriesMax => ["1000", "0", "1", "100000"],
        Key::LogLevel => ["info", "trace", "debug", "warn"],
        // Only two words exist: each place is told from the weaker ones by the pairs below.
        Key::LogFormat => ["text", "json", "text", "json"],
    }
}

#[test]
fn every_setting_goes_flag_over_variable_over_file_over_default() {
    for setting in SETTINGS {
        let key = setting.key;
        let [default, flag, variable, in_file] = samples(key);
        let flags = [(key, flag)];
        let variables = [(setting.variable(), variable)];
        let file = format!("{} = '{in_file}'", setting.name);
        for (flags, variables, file, expected) in [
            (&[][..], &[][..], "", default),
            (&[], &[], &file, in_file),
            (&[], &variables, "", variable),
            (&[], &variables, &file, variable),
            (&flags, &[], "", flag),
            (&flags, &[], &file, flag),
            (&flags, &variables, "", flag),
            (&flags, &variables, &file, flag),
        ] {
            let config = load_from(flags, variables, file).unwrap_or_else(|error| panic!("{}: {error}", setting.name));
            assert_eq!(shown(&config, key), expected, "{}: {flags:?} {variables:?} {file:?}", setting.name);
        }
    }
}

#[test]
fn the_console_shows_records_by_itself_only_where_this_machine_alone_reaches_it() {
    let of = |addr: &str| from_flags(&[(Key::HttpAddr, addr)]).unwrap().console;
    for addr in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"] {
        assert_eq!(of(addr), ConsoleMode::Records, "{addr}");
    }
    for addr in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "broker:1", "localhost.example:1"] {
        assert_eq!(of(addr), ConsoleMode::Metadata, "{addr}");
    }
    let wanted = [(Key::HttpAddr, "0.0.0.0:1"), (Key::Console, "records")];
    assert_eq!(from_flags(&wanted).unwrap().console, ConsoleMode::Records);
}

#[test]
fn a_file_takes_sizes_with_units_and_numbers_without() {
    let config = load_from(&[], &[], "shard-tail-cache-bytes-max = '1MiB'\nshard-read-ahead-bytes-max = 4096").unwrap();
    assert_eq!(config.memory.shard_tail_cache_bytes_max, 1 << 20);
    assert_eq!(config.memory.shard_read_ahead_bytes_max, 4096);
}

#[test]
fn a_bad_value_is_blamed_on_the_place_that_gave_it_and_all_are_reported() {
    let errors = load_from(
        &[(Key::KafkaAddr, "localhost")],
        &[(Setting::of(Key::Shards).variable(), "0")],
        "\nnode-id = -1\nlog-format = 'jsn'",
    )
    .unwrap_err();
    assert_eq!(
        errors.lines().collect::<Vec<_>>(),
        [
            "f.toml:2: \"-1\" for node-id is not a whole number",
            "RINGLOG_SHARDS: \"0\" for shards is out of range: from 1 to 1024",
            "--kafka-addr: \"localhost\" for kafka-addr has no port; write HOST:PORT, as in localhost:9092",
            "f.toml:3: \"jsn\" for log-format is not one of text, json; did you mean \"json\"?",
        ]
    );
}

#[test]
fn a_name_that_is_no_setting_hides_nothing_else() {
    let file = "kafka-adr = 'h:1'\nshards = 'many'\nnode-id = [1]\n[kafka]\nnum.partitions = 0";
    let errors = load_from(&[(Key::LogFormat, "xml")], &[(SET_VARIABLE.to_owned(), "x")], file).unwrap_err();
    assert_eq!(
        errors.lines().collect::<Vec<_>>(),
        [
            "RINGLOG_SET: \"x\" is not KEY=VALUE, as in num.partitions=3",
            "f.toml:1: unknown setting \"kafka-adr\"; did you mean \"kafka-addr\"?",
            "f.toml:3: node-id is an array where a string, a number or a boolean is expected",
            "f.toml:2: \"many\" for shards is not a whole number",
            "--log-format: \"xml\" for log-format is not one of text, json",
            "f.toml:5: Invalid value 0 for configuration num.partitions: Value must be at least 1",
        ]
    );
    let broken = load_from(&[(Key::KafkaAddr, "0.0.0.0:1")], &[(SET_VARIABLE.to_owned(), "x")], "a = = 1").unwrap_err();
    let errors: Vec<&str> = broken.lines().collect();
    assert!(errors.len() == 2 && errors[0].starts_with("RINGLOG_SET") && errors[1].contains("not TOML"), "{errors:?}");
}

#[test]
fn an_overridden_bad_value_does_no_harm() {
    assert!(load_from(&[(Key::Shards, "2")], &[], "shards = 'many'").is_ok());
}

#[test]
fn a_file_that_is_missing_is_an_error_naming_who_asked_for_it() {
    let flags = Flags { config: Some("/nonexistent/r.toml".into()), ..Flags::default() };
    let error = load(flags, [], machine()).unwrap_err().to_string();
    assert!(error.starts_with("--config: cannot read the configuration file /nonexistent/r.toml: "), "{error}");
    let variables = [(OsString::from("RINGLOG_CONFIG"), OsString::from("/nonexistent/r.toml"))];
    let error = load(Flags::default(), variables, machine()).unwrap_err().to_string();
    assert!(error.starts_with("RINGLOG_CONFIG: cannot read"), "{error}");
}

#[test]
fn the_flag_names_the_file_over_the_variable() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"shards = 5").unwrap();
    let flags = Flags { config: Some(file.path().to_owned()), ..Flags::default() };
    let variables = [(OsString::from("RINGLOG_CONFIG"), OsString::from("/nonexistent/r.toml"))];
    assert_eq!(load(flags, variables, machine()).unwrap().shards, 5);
}

#[test]
fn advertised_addresses_follow_the_listeners() {
    let config = from_flags(&[(Key::KafkaAddr, "[::1]:0"), (Key::HttpAddr, "10.0.0.1:80")]).unwrap();
    assert_eq!(config.kafka.advertised_as(4711).to_string(), "[::1]:4711");
    assert_eq!(config.http.advertised.to_string(), "10.0.0.1:80");
}

#[test]
fn a_wildcard_listener_needs_an_advertised_twin() {
    assert_eq!(
        from_flags(&[(Key::KafkaAddr, "0.0.0.0:9092"), (Key::InternalAddr, "[::]:9093")]).unwrap_err(),
        "--kafka-addr: kafka-addr (0.0.0.0:9092) is a wildcard address, which nobody can connect to from elsewhere; \
         give --advertised-kafka-addr (RINGLOG_ADVERTISED_KAFKA_ADDR) too\n\
         --internal-addr: internal-addr ([::]:9093) is a wildcard address, which nobody can connect to from elsewhere; \
         give --advertised-internal-addr (RINGLOG_ADVERTISED_INTERNAL_ADDR) too"
    );
    assert_eq!(
        from_flags(&[(Key::AdvertisedKafkaAddr, "[::]:9092")]).unwrap_err(),
        "--advertised-kafka-addr: advertised-kafka-addr ([::]:9092) is a wildcard address, which nobody can connect \
         to from elsewhere; give a name or address of this machine"
    );
}

#[test]
fn a_wildcard_http_listener_is_advertised_on_the_kafka_host() {
    let given = [
        (Key::KafkaAddr, "0.0.0.0:9092"),
        (Key::AdvertisedKafkaAddr, "broker-1:19092"),
        (Key::HttpAddr, "0.0.0.0:9094"),
    ];
    assert_eq!(from_flags(&given).unwrap().http.advertised.to_string(), "broker-1:9094");
}

#[test]
fn two_listeners_on_one_address_are_refused() {
    for (given, expected) in [
        (
            &[(Key::HttpAddr, "127.0.0.1:9092")][..],
            Some("--http-addr: http-addr (127.0.0.1:9092) is the same address as kafka-addr; give each its own port"),
        ),
        (
            &[(Key::KafkaAddr, "127.0.0.1:9094")],
            Some("--kafka-addr: kafka-addr (127.0.0.1:9094) is the same address as http-addr; give each its own port"),
        ),
        (
            &[(Key::KafkaAddr, "0.0.0.0:9093"), (Key::AdvertisedKafkaAddr, "h:9093")],
            Some(
                "--kafka-addr: kafka-addr (0.0.0.0:9093) is the same address as internal-addr; give each its own port",
            ),
        ),
        (&[(Key::HttpAddr, "127.0.0.2:9092")], None),
        (&[(Key::HttpAddr, "127.0.0.1:0"), (Key::KafkaAddr, "127.0.0.1:0")], None),
    ] {
        assert_eq!(from_flags(given).err().as_deref(), expected, "{given:?}");
    }
}

/// What a Kafka setting came to, with its places given as flag, variable and file.
fn kafka_setting(name: &str, flag: Option<&str>, variable: Option<&str>, file: Option<&str>) -> Result<String, String> {
    let mut on_disk = tempfile::NamedTempFile::new().expect("a temporary file");
    if let Some(value) = file {
        write!(on_disk, "[kafka]\n{name} = '{value}'").expect("writing it");
    }
    let flags = Flags {
        config: Some(on_disk.path().to_owned()),
        settings: Vec::new(),
        set: flag.map(|value| format!("{name}={value}")).into_iter().collect(),
    };
    let variables = variable.map(|value| (OsString::from(SET_VARIABLE), OsString::from(format!("{name}={value}"))));
    load(flags, variables, machine())
        .map(|config| config.static_config.get(name).unwrap_or("unset").to_owned())
        .map_err(|errors| errors.to_string().replace(&on_disk.path().display().to_string(), "f.toml"))
}

#[test]
fn kafka_settings_go_flag_over_variable_over_file_too() {
    for (flag, variable, file, expected) in [
        (None, None, None, "unset"),
        (None, None, Some("3"), "3"),
        (None, Some("2"), Some("3"), "2"),
        (None, Some("2"), None, "2"),
        (Some("1"), Some("2"), Some("3"), "1"),
        (Some("1"), None, Some("3"), "1"),
    ] {
        assert_eq!(kafka_setting("num.partitions", flag, variable, file).as_deref(), Ok(expected));
    }
}

#[test]
fn bad_kafka_settings_are_blamed_on_their_place() {
    for (name, flag, variable, file, expected) in [
        (
            "num.partition",
            Some("1"),
            None,
            None,
            "--set: unknown setting 'num.partition': did you mean 'num.partitions'?",
        ),
        (
            "num.partitions",
            None,
            Some("many"),
            None,
            "RINGLOG_SET: Invalid value many for configuration num.partitions",
        ),
        ("num.partitions", None, None, Some("0"), "f.toml:2: Invalid value 0 for configuration num.partitions"),
        ("log.dirs", Some("/d"), None, None, "--set: setting 'log.dirs' is given by --data-dir, not as a setting"),
        ("listeners", None, None, Some("x"), "f.toml:2: setting 'listeners' is given by --kafka-addr"),
    ] {
        let error = kafka_setting(name, flag, variable, file).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn kafka_settings_that_exclude_each_other_are_refused() {
    let set = ["group.min.session.timeout.ms=2", "group.max.session.timeout.ms=1"].map(str::to_owned).to_vec();
    let error = load(Flags { set, ..Flags::default() }, [], machine()).unwrap_err().to_string();
    assert!(error.starts_with("Kafka settings: group.min.session.timeout.ms (2) is greater"), "{error}");
}

#[test]
fn flags_are_described_under_kafkas_names() {
    let config = from_flags(&[
        (Key::NodeId, "7"),
        (Key::DataDir, "/d"),
        (Key::KafkaAddr, "0.0.0.0:9092"),
        (Key::AdvertisedKafkaAddr, "h:1"),
    ])
    .unwrap();
    for (name, expected) in [
        ("node.id", "7"),
        ("broker.id", "7"),
        ("log.dirs", "/d"),
        ("listeners", "PLAINTEXT://0.0.0.0:9092"),
        ("advertised.listeners", "PLAINTEXT://h:1"),
    ] {
        assert_eq!(config.static_config.get(name), Some(expected), "{name}");
    }
}

#[test]
fn the_largest_request_must_fit_a_shard() {
    let expected = "--shard-request-bytes-max: 67108864 bytes for shard-request-bytes-max are less than a single request \
                    may have: raise it to 104857600, or lower socket.request.max.bytes";
    assert_eq!(from_flags(&[(Key::ShardRequestBytesMax, "64MiB")]).unwrap_err(), expected);
    let smaller = "kafka.socket.request.max.bytes = 67108864";
    assert!(load_from(&[(Key::ShardRequestBytesMax, "64MiB")], &[], smaller).is_ok());
}

#[test]
fn the_journal_is_in_the_data_directory_unless_it_is_put_elsewhere() {
    let journal_dir = |flags: &[(Key, &str)]| from_flags(flags).map(|config| config.journal_dir);
    assert_eq!(journal_dir(&[(Key::DataDir, "/d")]), Ok("/d/journal".into()));
    assert_eq!(journal_dir(&[(Key::DataDir, "/d"), (Key::JournalDir, "/j")]), Ok("/j".into()));
    assert_eq!(
        journal_dir(&[(Key::JournalDir, ""), (Key::ShardJournalBytesMax, "1MiB")]),
        Err("--journal-dir: \"\" for journal-dir is empty\n\
             --shard-journal-bytes-max: \"1MiB\" for shard-journal-bytes-max is out of range: 0, or from 4194304 to \
             4294967296"
            .to_owned())
    );
}

#[test]
fn limits_add_up_per_shard_without_overflow() {
    let memory = from_flags(&[]).unwrap().memory;
    let (per_shard, connections) = ((256 + 256 + 64 + 32 + 16 + 32) << 20, (10_000 * 16) << 10);
    assert_eq!(memory.total_bytes_max(2), 2 * per_shard + connections);
    assert_eq!(memory.total_bytes_max(usize::MAX), u64::MAX);
    let beyond = |config: &ServeConfig| config.memory_bytes_max() - config.memory.total_bytes_max(config.shards);
    // Two of Kafka's largest requests and one of its largest answers.
    assert_eq!(beyond(&from_flags(&[(Key::Shards, "3")]).unwrap()), 3 * ((2 * 100 + 55) << 20));
}
