use kafka_protocol::messages;

use super::*;

/// The broker listener of Kafka 4.3, by its own answer to ApiVersions; the APIs served here.
const KAFKA_4_3: &[(&str, i16, i16, i16)] = &[
    ("Produce", 0, 0, 13),
    ("Fetch", 1, 4, 18),
    ("ListOffsets", 2, 1, 11),
    ("Metadata", 3, 0, 13),
    ("OffsetCommit", 8, 2, 10),
    ("OffsetFetch", 9, 1, 10),
    ("FindCoordinator", 10, 0, 6),
    ("JoinGroup", 11, 0, 9),
    ("Heartbeat", 12, 0, 4),
    ("LeaveGroup", 13, 0, 5),
    ("SyncGroup", 14, 0, 5),
    ("DescribeGroups", 15, 0, 6),
    ("ListGroups", 16, 0, 5),
    ("ApiVersions", 18, 0, 4),
    ("CreateTopics", 19, 2, 7),
    ("DeleteTopics", 20, 1, 6),
    ("DeleteRecords", 21, 0, 2),
    ("InitProducerId", 22, 0, 5),
    ("OffsetForLeaderEpoch", 23, 2, 4),
    ("DescribeConfigs", 32, 1, 4),
    ("AlterConfigs", 33, 0, 2),
    ("DescribeLogDirs", 35, 1, 5),
    ("CreatePartitions", 37, 0, 3),
    ("DeleteGroups", 42, 0, 2),
    ("ElectLeaders", 43, 0, 2),
    ("IncrementalAlterConfigs", 44, 0, 1),
    ("AlterPartitionReassignments", 45, 0, 1),
    ("ListPartitionReassignments", 46, 0, 0),
    ("OffsetDelete", 47, 0, 0),
    ("DescribeQuorum", 55, 0, 2),
    ("DescribeCluster", 60, 0, 2),
    ("UnregisterBroker", 64, 0, 0),
    ("ConsumerGroupHeartbeat", 68, 0, 1),
    ("ConsumerGroupDescribe", 69, 0, 1),
    ("ListConfigResources", 74, 0, 1),
    ("DescribeTopicPartitions", 75, 0, 0),
];

/// Where the highest version is deliberately lower than Kafka 4.3's: the message library ends there.
const ENDS_EARLIER: &[(&str, i16)] = &[("ListOffsets", 10), ("DescribeLogDirs", 4)];

#[test]
fn what_is_advertised_is_what_kafka_advertises() {
    let ours: Vec<_> =
        ApiKey::ALL.iter().map(|api| (api.name(), api.key(), api.advertised().min, api.advertised().max)).collect();
    let expected: Vec<_> = KAFKA_4_3
        .iter()
        .map(|&(name, key, min, max)| {
            let earlier = ENDS_EARLIER.iter().find(|(api, _)| *api == name);
            (name, key, min, earlier.map_or(max, |&(_, max)| max))
        })
        .collect();
    assert_eq!(ours, expected);
}

#[test]
fn what_is_advertised_is_served_but_for_produce() {
    for &api in ApiKey::ALL {
        assert_eq!(ApiKey::from_key(api.key()), Some(api));
        let expected = match api {
            ApiKey::Produce => VersionRange { min: 3, max: 13 },
            _ => api.advertised(),
        };
        assert_eq!(api.served(), expected, "{api}");
    }
    assert_eq!(ApiKey::from_key(-1), None);
    assert_eq!(ApiKey::from_key(4), None);
}

#[test]
fn the_message_library_has_every_version_and_agrees_on_headers() {
    for &api in ApiKey::ALL {
        let theirs = messages::ApiKey::try_from(api.key()).unwrap();
        let (served, library) = (api.served(), theirs.valid_versions());
        assert!(library.min <= served.min && served.max <= library.max, "{api}: {served:?} in {library}");
        for version in served.min..=served.max {
            assert_eq!(api.request_header_version(version), theirs.request_header_version(version), "{api} {version}");
            assert_eq!(
                api.response_header_version(version),
                theirs.response_header_version(version),
                "{api} {version}"
            );
        }
    }
}

#[test]
fn the_answers_name_what_a_client_may_ask() {
    let all = api_versions_response();
    assert_eq!(all.error_code, 0);
    let produce = all.api_keys.iter().find(|api| api.api_key == 0).unwrap();
    assert_eq!((produce.min_version, produce.max_version), (0, 13));
    assert_eq!(all.api_keys.len(), ApiKey::ALL.len());

    let unsupported = unsupported_api_versions_response();
    assert_eq!(unsupported.error_code, 35);
    let named: Vec<_> =
        unsupported.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
    assert_eq!(named, [(18, 0, 4)]);
}

#[test]
fn client_software_is_checked_as_kafka_does() {
    for good in ["librdkafka", "apache-kafka-java", "4.3.0", "a", "0", "a.b-c"] {
        assert!(is_valid_client_software(good), "{good}");
    }
    for bad in ["", "-a", "a-", ".1", "1.", "a b", "a_b", "ä"] {
        assert!(!is_valid_client_software(bad), "{bad}");
    }
}
