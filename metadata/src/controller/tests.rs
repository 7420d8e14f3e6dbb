//! Decisions and their wording, as a Kafka 4.3 controller with one broker gave them.

use super::*;
use crate::config::{BrokerConfig, ConfigLayers, ConfigOverrides, StaticConfig};
use crate::image::MetadataImage;
use crate::record::{ConfigResource, MetadataRecord};
use crate::testing::{image_with_broker, with_broker};
use protocol::newtypes::{BrokerId, LeaderEpoch, Offset, PartitionId, ProducerId, TopicId};
use std::collections::BTreeMap;
use uuid::Uuid;

mod cluster;
mod committed;
mod elections;
mod elr;
mod impaired;
mod isr;
mod log_ends;
mod offsets_topic;
mod reassignments;

fn config(settings: &[(&'static str, &'static str)]) -> BrokerConfig {
    let static_config = StaticConfig::parse(settings.iter().copied()).unwrap();
    BrokerConfig::resolve(&ConfigLayers::of_static(&static_config))
}

/// Ids that no topic of the image has.
fn ids(image: &MetadataImage) -> impl FnMut() -> TopicId + use<> {
    let mut last = u128::from(image.metadata_offset()) << 64;
    move || {
        last += 1;
        TopicId(Uuid::from_u128(last))
    }
}

fn topic(name: &str, num_partitions: i32, replication_factor: i16) -> NewTopic {
    NewTopic { name: name.to_owned(), num_partitions, replication_factor, ..NewTopic::default() }
}

fn with_configs(mut topic: NewTopic, configs: &[(&str, Option<&str>)]) -> NewTopic {
    topic.configs = configs.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect();
    topic
}

fn assigned(name: &str, replicas: &[(i32, &[i32])]) -> NewTopic {
    let brokers = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect();
    let assignments = replicas.iter().map(|(id, on)| (PartitionId(*id), brokers(on))).collect();
    NewTopic { assignments, ..topic(name, -1, -1) }
}

fn create(image: &MetadataImage, topics: &[NewTopic]) -> Decision<String, CreatedTopic, CreateTopicsError> {
    create_topics(image, &config(&[]), topics, ids(image))
}

fn applied(image: &MetadataImage, records: &[MetadataRecord]) -> MetadataImage {
    image.apply_batch(records).expect("a decision applies to the image it was made on").0
}

/// With topic `a.b` of two partitions.
fn image() -> MetadataImage {
    let image = image_with_broker();
    let (records, answers) = create(&image, &[topic("a.b", 2, 1)]);
    answers[0].1.as_ref().unwrap();
    applied(&image, &records)
}

fn image_with_brokers(count: i32) -> MetadataImage {
    (2..=count).fold(image_with_broker(), |image, broker| with_broker(&image, broker))
}

#[test]
fn topics_are_refused_as_by_kafka() {
    let image = image();
    let long = "x".repeat(250);
    let refused: Vec<(NewTopic, String)> = vec![
        (topic("", 1, 1), "Topic name is invalid: the empty string is not allowed".into()),
        (topic(".", 1, 1), "Topic name is invalid: '.' is not allowed".into()),
        (topic("..", 1, 1), "Topic name is invalid: '..' is not allowed".into()),
        (
            topic(&long, 1, 1),
            format!("Topic name is invalid: the length of '{long}' is longer than the max allowed length 249"),
        ),
        (
            topic("é", 1, 1),
            "Topic name is invalid: 'é' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
                .into(),
        ),
        (topic("a_b", 1, 1), "Topic 'a_b' collides with existing topic: a.b".into()),
        (topic("a.b", 1, 1), "Topic 'a.b' already exists.".into()),
        (topic("__cluster_metadata", 1, 1), "Creation of internal topic __cluster_metadata is prohibited.".into()),
        (topic("n", 0, 1), "Number of partitions was set to an invalid non-positive value.".into()),
        (topic("n", -2, 1), "Number of partitions was set to an invalid non-positive value.".into()),
        (topic("n", 1, 0), "Replication factor must be larger than 0, or -1 to use the default value.".into()),
        (topic("n", 1, -2), "Replication factor must be larger than 0, or -1 to use the default value.".into()),
        (
            topic("n", 1, 2),
            "Unable to replicate the partition 2 time(s): The target replication factor of 2 cannot be reached because \
             only 1 broker(s) are registered or some brokers have all their log directories cordoned."
                .into(),
        ),
        (topic("n", 10_001, 1), "Excessively large number of partitions per request.".into()),
        (topic("n", i32::MAX, 1), "Excessively large number of partitions per request.".into()),
        (topic("n", 10_000, 1), "Unable to perform excessively large batch operation.".into()),
        (
            with_configs(topic("n", 1, 1), &[("retention.mss", Some("1"))]),
            "Unknown topic config name: retention.mss".into(),
        ),
        (
            with_configs(topic("n", 1, 1), &[("retention.ms", None)]),
            "Null value not supported for topic configs: retention.ms".into(),
        ),
        (
            with_configs(topic("n", 1, 1), &[("retention.ms", Some("-2"))]),
            "Invalid value -2 for configuration retention.ms: Value must be at least -1".into(),
        ),
        (
            with_configs(
                topic("n", 1, 1),
                &[("min.compaction.lag.ms", Some("10")), ("max.compaction.lag.ms", Some("5"))],
            ),
            "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)".into(),
        ),
        (assigned("n", &[(0, &[])]), "The manual partition assignment includes an empty replica list.".into()),
        (assigned("n", &[(0, &[1, 1])]), "The manual partition assignment includes the broker 1 more than once.".into()),
        (
            assigned("n", &[(0, &[7])]),
            "The manual partition assignment includes broker 7, but no such broker is registered.".into(),
        ),
        (
            assigned("n", &[(0, &[1]), (1, &[1, 2])]),
            "The manual partition assignment includes broker 2, but no such broker is registered.".into(),
        ),
        (assigned("n", &[(1, &[1])]), "partitions should be a consecutive 0-based integer sequence".into()),
        (assigned("n", &[(0, &[1]), (2, &[1])]), "partitions should be a consecutive 0-based integer sequence".into()),
        (assigned("n", &[(0, &[1]), (0, &[1])]), "Found multiple manual partition assignments for partition 0".into()),
        (
            NewTopic { replication_factor: 1, num_partitions: 1, ..assigned("n", &[(0, &[1])]) },
            "A manual partition assignment was specified, but replication factor was not set to -1.".into(),
        ),
        (
            NewTopic { num_partitions: 1, ..assigned("n", &[(0, &[1])]) },
            "A manual partition assignment was specified, but numPartitions was not set to -1.".into(),
        ),
    ];
    for (wanted, expected) in refused {
        let (records, answers) = create(&image, std::slice::from_ref(&wanted));
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0].1.as_ref().unwrap_err().to_string(), expected);
        assert_eq!(records, [], "{expected}");
    }
}

#[test]
fn what_is_created_is_what_was_asked_for() {
    let image = image();
    let wanted = [
        topic(&"x".repeat(249), 1, 1),
        topic("__consumer_offsets", 3, 1),
        with_configs(topic("n", -1, -1), &[("retention.ms", Some("5")), ("cleanup.policy", Some("compact"))]),
        assigned("m", &[(1, &[1]), (0, &[1])]),
    ];
    let (records, answers) = create_topics(&image, &config(&[("num.partitions", "4")]), &wanted, ids(&image));
    let counts: Vec<_> = answers
        .iter()
        .map(|(name, answer)| {
            let created = answer.as_ref().unwrap();
            (name.len(), created.num_partitions, created.replication_factor)
        })
        .collect();
    assert_eq!(counts, [(249, 1, 1), (18, 3, 1), (1, 4, 1), (1, 2, 1)]);
    let after = applied(&image, &records);
    let created = after.topic("n").unwrap();
    assert_eq!(created.id, answers[2].1.as_ref().unwrap().topic_id);
    let first = created.partition(PartitionId(0)).unwrap();
    assert_eq!(
        (&first.replicas[..], &first.isr[..], first.leader),
        (&[BrokerId(1)][..], &[BrokerId(1)][..], Some(BrokerId(1)))
    );
    assert_eq!((first.leader_epoch, first.partition_epoch), (LeaderEpoch(0), 0));
    assert_eq!(after.overrides(&ConfigResource::Topic("n".into())), answers[2].1.as_ref().unwrap().configs);
    assert_eq!(after.topic_count(), 5);
}

#[test]
fn one_bad_topic_does_not_keep_the_others_back() {
    let image = image();
    let wanted = [
        topic("d1", 1, 1),
        topic("a1", 1, 1),
        topic("a 2", 1, 1),
        topic("d1", 2, 1),
        topic("q.r", 1, 1),
        topic("q_r", 1, 1),
    ];
    let (records, answers) = create(&image, &wanted);
    let texts: Vec<_> = answers
        .iter()
        .map(|(name, answer)| {
            (name.as_str(), answer.as_ref().map_or_else(ToString::to_string, |_| "created".to_owned()))
        })
        .collect();
    let bad_name =
        "Topic name is invalid: 'a 2' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'";
    let expected = [
        ("d1", "Duplicate topic name."),
        ("a1", "created"),
        ("a 2", bad_name),
        ("q.r", "created"),
        ("q_r", "Topic 'q_r' collides with existing topic: q.r"),
    ];
    assert_eq!(texts, expected.map(|(name, text)| (name, text.to_owned())));
    let after = applied(&image, &records);
    assert!(after.topic("a1").is_some() && after.topic("q.r").is_some() && after.topic("d1").is_none());
}

#[test]
fn the_limits_of_a_request_count_all_its_topics() {
    let image = image();
    let outcome = |first, second| {
        let (records, answers) = create(&image, &[topic("x1", first, 1), topic("x2", second, 1)]);
        let error = |at: usize| answers[at].1.as_ref().err().cloned();
        (records.len(), error(0), error(1))
    };
    assert_eq!(outcome(5000, 4998), (10_000, None, None));
    let too_many = Some(CreateTopicsError::TooManyRecords);
    assert_eq!(outcome(5000, 4999), (0, too_many.clone(), too_many));
    let too_many = Some(CreateTopicsError::TooManyPartitions);
    assert_eq!(outcome(6000, 6000), (0, too_many.clone(), too_many));
}

#[test]
fn replicas_and_leaders_are_spread_evenly_and_over_racks() {
    // Racks: brokers 1 and 3 in one, 2 and 4 in the other.
    let image = image_with_brokers(4);
    let first = create(&image, &[topic("t", 7, 2)]).0;
    let image = applied(&image, &first);
    let second = create(&image, &[topic("u", 5, 2)]).0;
    let image = applied(&image, &second);
    let (mut leaders, mut replicas) = (BTreeMap::<BrokerId, usize>::new(), BTreeMap::<BrokerId, usize>::new());
    for (_, partition) in image.topics().flat_map(|topic| topic.partitions()) {
        assert_ne!(partition.replicas[0].0 % 2, partition.replicas[1].0 % 2, "two replicas on one rack");
        *leaders.entry(partition.replicas[0]).or_default() += 1;
        partition.replicas.iter().for_each(|broker| *replicas.entry(*broker).or_default() += 1);
    }
    assert_eq!(leaders.values().copied().collect::<Vec<_>>(), [3, 3, 3, 3]);
    assert_eq!(replicas.values().copied().collect::<Vec<_>>(), [6, 6, 6, 6]);
    // Two of three brokers share a rack: whatever the load, one replica goes to the other.
    let uneven = image_with_brokers(3);
    let uneven = applied(&uneven, &create(&uneven, &[topic("t", 6, 2)]).0);
    assert!(uneven.topic("t").unwrap().partitions().all(|(_, state)| state.replicas.contains(&BrokerId(2))));
    let all = create(&image, &[topic("v", 1, 4)]).0;
    assert_eq!(applied(&image, &all).partition("v", PartitionId(0)).unwrap().replicas.len(), 4, "more than racks");
}

#[test]
fn manual_replicas_must_be_even() {
    let image = image_with_brokers(2);
    let error = create(&image, &[assigned("n", &[(0, &[1]), (1, &[1, 2])])]).1.remove(0).1.unwrap_err();
    assert_eq!(
        error.to_string(),
        "The manual partition assignment includes a partition with 2 replica(s), but this is not consistent with previous \
         partitions, which have 1 replica(s)."
    );
    let (records, _) = create(&image, &[assigned("n", &[(0, &[2, 1])])]);
    assert_eq!(applied(&image, &records).partition("n", PartitionId(0)).unwrap().leader, Some(BrokerId(2)));
}

fn partitions(topic: &str, total_count: i32, assignments: Option<&[&[i32]]>) -> NewPartitions {
    let brokers = |ids: &&[i32]| ids.iter().copied().map(BrokerId).collect();
    let assignments = assignments.map(|all| all.iter().map(brokers).collect());
    NewPartitions { topic: topic.to_owned(), total_count, assignments }
}

#[test]
fn partitions_are_added_or_refused_as_by_kafka() {
    let image = image();
    let cases: Vec<(NewPartitions, Result<i32, &str>)> = vec![
        (partitions("a.b", 2, None), Err("Topic already has 2 partition(s).")),
        (partitions("a.b", 1, None), Err("The topic a.b currently has 2 partition(s); 1 would not be an increase.")),
        (partitions("a.b", -1, None), Err("The topic a.b currently has 2 partition(s); -1 would not be an increase.")),
        (partitions("zz", 3, None), Err("This server does not host this topic-partition.")),
        (
            partitions("a.b", 3, Some(&[&[7]])),
            Err("The manual partition assignment includes broker 7, but no such broker is registered."),
        ),
        (
            partitions("a.b", 4, Some(&[&[1]])),
            Err("Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified."),
        ),
        (
            partitions("a.b", 3, Some(&[&[1], &[1]])),
            Err("Attempted to add 1 additional partition(s), but only 2 assignment(s) were specified."),
        ),
        (
            partitions("a.b", 3, Some(&[])),
            Err("Attempted to add 1 additional partition(s), but only 0 assignment(s) were specified."),
        ),
        (partitions("a.b", 3, Some(&[&[]])), Err("The manual partition assignment includes an empty replica list.")),
        (
            partitions("a.b", 3, Some(&[&[1, 1]])),
            Err("The manual partition assignment includes the broker 1 more than once."),
        ),
        (partitions("a.b", 3, Some(&[&[1]])), Ok(3)),
        (partitions("a.b", 10_002, None), Ok(10_002)),
        (partitions("a.b", 10_003, None), Err("Excessively large number of partitions per request.")),
        (partitions("a.b", i32::MAX, None), Err("Excessively large number of partitions per request.")),
    ];
    for (wanted, expected) in cases {
        let (records, answers) = create_partitions(&image, std::slice::from_ref(&wanted));
        let answer = answers[0].1.as_ref().map(|count| *count).map_err(ToString::to_string);
        assert_eq!(answer, expected.map_err(str::to_owned));
        assert_eq!(records.len() as i32, expected.map_or(0, |total| total - 2));
        let after = applied(&image, &records);
        assert_eq!(after.topic("a.b").unwrap().partition_count(), expected.unwrap_or(2));
    }
    let twice = [partitions("a.b", 3, None), partitions("zz", 3, None), partitions("a.b", 4, None)];
    let (records, answers) = create_partitions(&image, &twice);
    assert_eq!(records, []);
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0], ("a.b".to_owned(), Err(CreatePartitionsError::DuplicateName)));
}

#[test]
fn topics_are_deleted_by_name_or_id() {
    let image = image();
    let id = image.topic("a.b").unwrap().id;
    let unknown = TopicId(Uuid::from_u128(5));
    let by = |name: Option<&str>, id| TopicToDelete { name: name.map(str::to_owned), id };
    let by_name = by(Some("a.b"), TopicId::ZERO);
    let texts = |wanted: &[TopicToDelete], enabled| {
        let (records, answers) = delete_topics(&image, enabled, wanted);
        let texts: Vec<_> = answers
            .iter()
            .map(|(_, answer)| answer.as_ref().map_or_else(ToString::to_string, |deleted| deleted.name.clone()))
            .collect();
        (records.len(), texts)
    };
    let deleted = (1, vec!["a.b".to_owned()]);
    assert_eq!(texts(std::slice::from_ref(&by_name), true), deleted);
    assert_eq!(texts(&[by(None, id)], true), deleted);
    let refused = [
        (vec![by(Some("zz"), TopicId::ZERO)], "This server does not host this topic-partition."),
        (vec![by(None, unknown)], "This server does not host this topic ID."),
        (vec![by(Some("a.b"), id)], "You may not specify both topic name and topic id."),
        (vec![by(None, TopicId::ZERO)], "Neither topic name nor id were specified."),
        (vec![by_name.clone(), by_name.clone()], "Duplicate topic name."),
        (vec![by(None, id), by(None, id)], "Duplicate topic id."),
    ];
    for (wanted, expected) in refused {
        assert_eq!(texts(&wanted, true), (0, vec![expected.to_owned()]));
    }
    assert_eq!(texts(std::slice::from_ref(&by_name), false), (0, vec!["Topic deletion is disabled.".to_owned()]));
    let both = texts(&[by_name, by(None, id)], true);
    assert_eq!(both, (1, vec!["a.b".to_owned(), "This server does not host this topic ID.".to_owned()]));
    let after = applied(&image, &delete_topics(&image, true, &[by(None, id)]).0);
    assert_eq!(after.topic("a.b"), None);
}

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

#[test]
fn producer_ids_are_never_given_twice() {
    let image = image();
    let (record, first) = allocate_producer_ids(&image).unwrap();
    assert_eq!(first, ProducerIdBlock { first: ProducerId(0), length: 1000 });
    let image = applied(&image, &[record]);
    assert_eq!(allocate_producer_ids(&image).unwrap().1.first, ProducerId(1000));
    let near_the_end = ProducerId(i64::MAX - 999);
    let image = applied(&image, &[MetadataRecord::ProducerIdsAllocated { next: near_the_end }]);
    assert_eq!(allocate_producer_ids(&image), Err(ProducerIdsExhausted { next: near_the_end }));
}
