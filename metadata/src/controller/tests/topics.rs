//! Topics and partitions that are created, and topics that are deleted.

use super::*;

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
