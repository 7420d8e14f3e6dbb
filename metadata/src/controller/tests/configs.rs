//! Configs that are changed, by either request.

use super::*;

const SET: AlterOp = AlterOp::Set;
const DELETE: AlterOp = AlterOp::Delete;
const APPEND: AlterOp = AlterOp::Append;
const SUBTRACT: AlterOp = AlterOp::Subtract;

fn on_topic(name: &str) -> ConfigResource {
    ConfigResource::Topic(name.to_owned())
}

fn on_broker(id: i32) -> ConfigResource {
    ConfigResource::Broker(BrokerId(id))
}

type Change<'a> = (AlterOp, &'a str, Option<&'a str>);

fn alter(image: &MetadataImage, resource: ConfigResource, changes: &[Change<'_>]) -> Result<MetadataImage, String> {
    let changes = changes
        .iter()
        .map(|(op, name, value)| ConfigChange { op: *op, name: (*name).to_owned(), value: value.map(str::to_owned) })
        .collect();
    let (records, mut answers) =
        incremental_alter_configs(image, &StaticConfig::default(), &[ConfigAlteration { resource, changes }]);
    match answers.remove(0).1 {
        Ok(()) => Ok(applied(image, &records)),
        Err(error) => {
            assert_eq!(records, [], "refused, and yet: {error}");
            Err(error.to_string())
        }
    }
}

/// Refusals in the words of a Kafka 4.3 broker, but for what is of groups that are not here.
#[test]
fn configs_of_groups_are_set_and_refused_as_by_kafka() {
    let on_group = |name: &str| ConfigResource::Group(name.to_owned());
    let (session, heartbeat) = ("consumer.session.timeout.ms", "consumer.heartbeat.interval.ms");
    let assignment = "consumer.assignment.interval.ms";
    let refused: &[(&str, &[Change<'_>], &str)] = &[
        ("", &[(SET, session, Some("50000"))], "Default group resources are not allowed."),
        ("g", &[(SET, "no.such", Some("1"))], "Unknown group config name: no.such"),
        ("g", &[(SET, "session.timeout.ms", Some("1"))], "Unknown group config name: session.timeout.ms"),
        ("g", &[(SET, session, Some("50000")), (SET, "no.such", Some("1"))], "Unknown group config name: no.such"),
        (
            "g",
            &[(SET, "share.session.timeout.ms", Some("50000"))],
            "Group config share.session.timeout.ms is for share groups, which this broker does not have",
        ),
        (
            "g",
            &[(SET, "streams.num.standby.replicas", Some("1"))],
            "Group config streams.num.standby.replicas is for streams groups, which this broker does not have",
        ),
        (
            "g",
            &[(SET, session, Some("soon"))],
            "Invalid value soon for configuration consumer.session.timeout.ms: Not a number of type INT",
        ),
        (
            "g",
            &[(SET, assignment, Some("-1"))],
            "Invalid value -1 for configuration consumer.assignment.interval.ms: Value must be at least 0",
        ),
        (
            "g",
            &[(SET, session, Some("44999"))],
            "consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms",
        ),
        (
            "g",
            &[(SET, session, Some("60001"))],
            "consumer.session.timeout.ms must be less than or equal to group.consumer.max.session.timeout.ms",
        ),
        (
            "g",
            &[(SET, heartbeat, Some("4999"))],
            "consumer.heartbeat.interval.ms must be greater than or equal to group.consumer.min.heartbeat.interval.ms",
        ),
        (
            "g",
            &[(SET, heartbeat, Some("15001"))],
            "consumer.heartbeat.interval.ms must be less than or equal to group.consumer.max.heartbeat.interval.ms",
        ),
        (
            "g",
            &[(SET, assignment, Some("15001"))],
            "consumer.assignment.interval.ms must be less than or equal to group.consumer.max.assignment.interval.ms",
        ),
        (
            "g",
            &[(APPEND, session, Some("1"))],
            "Can't APPEND to key consumer.session.timeout.ms because its type is not LIST.",
        ),
    ];
    for (group, changes, expected) in refused {
        assert_eq!(alter(&image(), on_group(group), changes).unwrap_err(), *expected);
    }
    let image = alter(&image(), on_group("g"), &[(SET, session, Some("50000")), (SET, heartbeat, Some(" 15000 "))]);
    let image = image.unwrap();
    let of_groups: Vec<_> = image.group_overrides().map(|(group, own)| (group.to_owned(), own.len())).collect();
    assert_eq!(of_groups, [("g".to_owned(), 2)]);
    let image = alter(&image, on_group("g"), &[(DELETE, session, None), (DELETE, "no.such", None)]).unwrap();
    let image = alter(&image, on_group("g"), &[(DELETE, heartbeat, None)]).unwrap();
    assert_eq!(image.group_overrides().count(), 0);
}

/// Bounds may let a session be shorter than what is between two heartbeats.
#[test]
fn a_group_is_to_hear_of_members_before_their_session_ends() {
    let settings = [("group.consumer.min.session.timeout.ms", "10000")];
    let static_config = StaticConfig::parse(settings).unwrap();
    let change = |name: &str, value: &str| ConfigChange { name: name.into(), op: SET, value: Some(value.into()) };
    let changes =
        vec![change("consumer.session.timeout.ms", "12000"), change("consumer.heartbeat.interval.ms", "12000")];
    let alteration = ConfigAlteration { resource: ConfigResource::Group("g".into()), changes };
    let (records, mut answers) = incremental_alter_configs(&image(), &static_config, &[alteration]);
    assert_eq!(records, []);
    let error = answers.remove(0).1.unwrap_err().to_string();
    assert_eq!(error, "consumer.session.timeout.ms must be greater than consumer.heartbeat.interval.ms");
}

#[test]
fn config_changes_are_refused_as_by_kafka() {
    let image = image();
    let set = |name, value| vec![(SET, name, Some(value))];
    let cases: Vec<(ConfigResource, Vec<Change<'_>>, &str)> = vec![
        (on_topic("zz"), set("retention.ms", "5"), "The topic 'zz' does not exist."),
        (on_topic("zz"), set("no.such", "5"), "Unknown topic config name: no.such"),
        (on_topic(""), set("retention.ms", "5"), "Default topic resources are not allowed."),
        (
            on_topic("a.b"),
            set("retention.ms", "x"),
            "Invalid value x for configuration retention.ms: Not a number of type LONG",
        ),
        (on_topic("a.b"), set("", "x"), "Unknown topic config name: "),
        (
            on_topic("a.b"),
            vec![(APPEND, "retention.ms", Some("5"))],
            "Can't APPEND to key retention.ms because its type is not LIST.",
        ),
        (
            on_topic("a.b"),
            vec![(SUBTRACT, "retention.ms", Some("5"))],
            "Can't SUBTRACT to key retention.ms because its type is not LIST.",
        ),
        (
            on_topic("a.b"),
            vec![(APPEND, "cleanup.policy", Some("foo"))],
            "Invalid value foo for configuration cleanup.policy: String must be one of: compact, delete",
        ),
        (
            on_topic("a.b"),
            vec![(SET, "retention.ms", Some("5")), (SET, "retention.ms", Some("6"))],
            "Error due to duplicate config keys",
        ),
        (on_topic("a.b"), vec![(SET, "retention.ms", None)], "Null value not supported for : retention.ms"),
        (
            on_topic("a.b"),
            vec![(SET, "min.compaction.lag.ms", Some("10")), (SET, "max.compaction.lag.ms", Some("5"))],
            "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)",
        ),
        (
            on_topic("a.b"),
            set("remote.storage.enable", "true"),
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.",
        ),
        (on_broker(1), set("num.partitions", "5"), "Cannot update these configs dynamically: [num.partitions]"),
        (
            ConfigResource::BrokerDefault,
            set("advertised.listeners", "x"),
            "Cannot update these configs dynamically: [advertised.listeners]",
        ),
        (on_broker(1), set("broker.id", "2"), "Cannot update these configs dynamically: [broker.id]"),
        (on_broker(1), set("process.roles", "2"), "Cannot update these configs dynamically: [process.roles]"),
        (
            on_broker(1),
            set("log.retention.ms", "x"),
            "Invalid value x for configuration log.retention.ms: Not a number of type LONG",
        ),
        (
            on_broker(1),
            set("log.retention.ms", "0"),
            "requirement failed: log.retention.ms must be unlimited (-1) or, greater than or equal to 1",
        ),
        (on_broker(7), set("log.retention.ms", "5"), "Unexpected broker id, no broker 7 is registered"),
        (
            ConfigResource::BrokerDefault,
            vec![(DELETE, "min.insync.replicas", None)],
            "Cluster-level min.insync.replicas cannot be removed while ELR is enabled.",
        ),
        (
            on_broker(1),
            set("min.insync.replicas", "2"),
            "Broker-level min.insync.replicas cannot be altered while ELR is enabled.",
        ),
        (
            on_broker(1),
            set("leader.replication.throttled.rate", "-1"),
            "Invalid value -1 for configuration leader.replication.throttled.rate: Value must be at least 0",
        ),
    ];
    for (resource, changes, expected) in cases {
        assert_eq!(alter(&image, resource, &changes), Err(expected.to_owned()));
    }
    assert_eq!(AlterOp::from_wire(9).unwrap_err().to_string(), "Unknown operations type 9");
    assert_eq!((0..4).map(|id| AlterOp::from_wire(id).unwrap() as i8).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn lists_are_appended_to_and_subtracted_from() {
    let steps: [(AlterOp, &str, &str); 5] = [
        (APPEND, "compact", "delete,compact"),
        (APPEND, "compact", "delete,compact"),
        (SUBTRACT, "delete", "compact"),
        (SUBTRACT, "foo", "compact"),
        (SUBTRACT, "compact", ""),
    ];
    let mut image = image();
    for (op, value, expected) in steps {
        image = alter(&image, on_topic("a.b"), &[(op, "cleanup.policy", Some(value))]).unwrap();
        assert_eq!(image.overrides(&on_topic("a.b")).get("cleanup.policy"), Some(expected));
    }
    let image = alter(&image, on_topic("a.b"), &[(DELETE, "cleanup.policy", None)]).unwrap();
    assert_eq!(image.overrides(&on_topic("a.b")), ConfigOverrides::default());
    let image = alter(&image, on_broker(1), &[(APPEND, "log.cleanup.policy", Some("compact"))]).unwrap();
    assert_eq!(image.overrides(&on_broker(1)).get("log.cleanup.policy"), Some("delete,compact"));
}

#[test]
fn changes_that_change_nothing_make_no_record() {
    let image = image();
    let before = image.metadata_offset();
    for change in [(DELETE, "retention.ms", None), (DELETE, "no.such", None)] {
        assert_eq!(alter(&image, on_topic("a.b"), &[change]).unwrap().metadata_offset(), before);
    }
    let set = [(SET, "retention.ms", Some("5"))];
    let once = alter(&image, on_topic("a.b"), &set).unwrap();
    assert_eq!(once.metadata_offset(), before + 1);
    assert_eq!(alter(&once, on_topic("a.b"), &set).unwrap().metadata_offset(), before + 1);
}

#[test]
fn names_that_nobody_knows_are_kept_for_brokers() {
    let image = alter(&image(), on_broker(1), &[(SET, "no.such", Some("5"))]).unwrap();
    assert_eq!(image.overrides(&on_broker(1)).get("no.such"), Some("5"));
    let image = alter(&image, on_broker(1), &[(SET, "num.io.threads", Some("5"))]).unwrap();
    assert_eq!(image.overrides(&on_broker(1)).iter().count(), 2);
    assert!(alter(&image, ConfigResource::BrokerDefault, &[(SET, "min.insync.replicas", Some("2"))]).is_ok());
}

#[test]
fn what_is_kept_and_what_is_said_have_bounds() {
    let image = image();
    let long = "x".repeat(2 << 20);
    let list = "delete,".repeat(1 << 20) + "delete";
    for (resource, name, value) in [
        (on_topic("a.b"), "retention.ms", long.as_str()),
        (on_topic("a.b"), "cleanup.policy", &list),
        (on_topic("a.b"), &long, "1"),
        (on_topic(&long), "retention.ms", "1"),
        (on_broker(1), "no.such", &long),
        (on_broker(1), &long, "1"),
    ] {
        let error = alter(&image, resource, &[(SET, name, Some(value))]).unwrap_err();
        assert!(error.len() < 1000, "{} bytes of message", error.len());
    }
    let names: Vec<String> = (0..1001).map(|n| format!("plug.in.{n}")).collect();
    let changes: Vec<Change<'_>> = names.iter().map(|name| (SET, name.as_str(), Some("1"))).collect();
    assert!(alter(&image, on_broker(1), &changes[1..]).is_ok());
    assert_eq!(alter(&image, on_broker(1), &changes).unwrap_err(), "1001 configs on one resource are more than 1000");
    let changes: Vec<Change<'_>> = names.iter().map(|name| (SET, name.as_str(), None)).collect();
    assert!(alter(&image, on_broker(1), &changes).unwrap_err().len() < 1000);
    let refused =
        create(&image, &[topic(&long, 1, 1), with_configs(topic("n", 1, 1), &[("cleanup.policy", Some(&list))])]);
    for (_, answer) in refused.1 {
        assert!(answer.unwrap_err().to_string().len() < 1000);
    }
}

#[test]
fn a_resource_named_twice_is_refused_both_times() {
    let image = image();
    let alteration = ConfigAlteration {
        resource: on_topic("a.b"),
        changes: vec![ConfigChange { name: "retention.ms".into(), op: SET, value: Some("5".into()) }],
    };
    let (records, answers) =
        incremental_alter_configs(&image, &StaticConfig::default(), &[alteration.clone(), alteration]);
    assert_eq!(records, []);
    let refused = (on_topic("a.b"), Err(AlterConfigsError::DuplicateResource));
    assert_eq!(answers, [refused.clone(), refused]);
}

#[test]
fn the_older_request_replaces_everything() {
    let image = alter(&image(), on_topic("a.b"), &[(SET, "retention.ms", Some("5")), (SET, "segment.ms", Some("6"))]);
    let image = image.unwrap();
    let replace = |resource: ConfigResource, configs: &[(&str, Option<&str>)]| {
        let configs = configs.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect();
        let (records, mut answers) =
            alter_configs(&image, &StaticConfig::default(), &[ConfigReplacement { resource, configs }]);
        answers.remove(0).1.map(|()| applied(&image, &records)).map_err(|error| error.to_string())
    };
    let after = replace(on_topic("a.b"), &[("segment.ms", Some("7")), ("segment.bytes", Some("2000000"))]).unwrap();
    let overrides = after.overrides(&on_topic("a.b"));
    assert_eq!(overrides.iter().collect::<Vec<_>>(), [("segment.bytes", "2000000"), ("segment.ms", "7")]);
    assert!(replace(on_topic("a.b"), &[]).unwrap().overrides(&on_topic("a.b")).is_empty());
    type Given<'a> = Vec<(&'a str, Option<&'a str>)>;
    let refused: Vec<(ConfigResource, Given<'_>, &str)> = vec![
        (on_topic("a.b"), vec![("retention.ms", None)], "Null value not supported for : retention.ms"),
        (on_topic("a.b"), vec![("x", Some("1")), ("x", Some("1"))], "Error due to duplicate config keys"),
        (on_topic("zz"), vec![("retention.ms", Some("5"))], "The topic 'zz' does not exist."),
        (
            ConfigResource::BrokerDefault,
            vec![],
            "Cluster-level min.insync.replicas cannot be removed while ELR is enabled.",
        ),
        (
            on_broker(1),
            vec![("num.partitions", Some("5"))],
            "Cannot update these configs dynamically: [num.partitions]",
        ),
    ];
    for (resource, configs, expected) in refused {
        assert_eq!(replace(resource, &configs), Err(expected.to_owned()));
    }
}
