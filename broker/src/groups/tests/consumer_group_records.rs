//! The records of KIP-848 against bytes that Kafka 4.3.0's own serializer wrote, and decoders against any bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use bytes::Bytes;
use kafka_protocol::protocol::StrBytes;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use protocol::TopicId;
use uuid::Uuid;

use super::super::records::consumer_group::{
    AssignmentWithEpochs, ClassicMemberMetadata, ClassicProtocol, ConsumerGroupCurrentMemberAssignmentValue,
    ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataValue, ConsumerGroupRegularExpressionValue,
    ConsumerGroupTargetAssignmentMemberValue, ConsumerGroupTargetAssignmentMetadataValue,
};
use super::super::records::{DecodeError, EncodeError, RecordKey};
use super::records::{any_bytes, any_string, unhex};
use super::scenario::text;

const T1: TopicId = TopicId(Uuid::from_u128(0x01020304_0506_0708_090a_0b0c0d0e0f10));
const T2: TopicId = TopicId(Uuid::from_u128(0x11121314_1516_1718_191a_1b1c1d1e1f20));

/// What all values have, so that one check serves all.
trait Value: Sized + Clone + Debug + PartialEq {
    fn written(&self) -> Result<Bytes, EncodeError>;
    fn read(bytes: &[u8]) -> Result<Self, DecodeError>;
}

macro_rules! values {
    ($($value:ty),* $(,)?) => {$(
        impl Value for $value {
            fn written(&self) -> Result<Bytes, EncodeError> {
                self.encode()
            }
            fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
                Self::decode(bytes)
            }
        }
    )*};
}

values!(
    ConsumerGroupMetadataValue,
    ConsumerGroupMemberMetadataValue,
    ConsumerGroupTargetAssignmentMetadataValue,
    ConsumerGroupTargetAssignmentMemberValue,
    ConsumerGroupCurrentMemberAssignmentValue,
    ConsumerGroupRegularExpressionValue,
);

/// `value` is what Kafka means by the bytes, and is written as them.
fn check(hex: &str, value: &impl Value) {
    check_read(hex, value);
    assert_eq!(value.written(), Ok(Bytes::from(spaced(hex))));
}

fn check_read<V: Value>(hex: &str, value: &V) {
    assert_eq!(V::read(&spaced(hex)).as_ref(), Ok(value), "{hex}");
}

fn spaced(hex: &str) -> Vec<u8> {
    unhex(&hex.split_whitespace().collect::<String>())
}

fn texts(strings: &[&str]) -> BTreeSet<StrBytes> {
    strings.iter().map(|string| text(string)).collect()
}

#[test]
fn keys_are_kafkas() {
    let group = || text("g1");
    let member_id = || text("m1");
    let cases = [
        ("000300026731", RecordKey::ConsumerGroupMetadata { group: group() }),
        ("000400026731", RecordKey::ConsumerGroupPartitionMetadata { group: group() }),
        ("00050002673100026d31", RecordKey::ConsumerGroupMemberMetadata { group: group(), member_id: member_id() }),
        ("000600026731", RecordKey::ConsumerGroupTargetAssignmentMetadata { group: group() }),
        (
            "00070002673100026d31",
            RecordKey::ConsumerGroupTargetAssignmentMember { group: group(), member_id: member_id() },
        ),
        (
            "00080002673100026d31",
            RecordKey::ConsumerGroupCurrentMemberAssignment { group: group(), member_id: member_id() },
        ),
        (
            "0010000267310003666f2a",
            RecordKey::ConsumerGroupRegularExpression { group: group(), regular_expression: text("fo*") },
        ),
    ];
    for (hex, key) in cases {
        assert_eq!(RecordKey::decode(&unhex(hex)), Ok(key.clone()));
        assert_eq!(key.encode(), Ok(Bytes::from(unhex(hex))));
        assert_eq!(unhex(hex)[..2], key.key_type().to_be_bytes());
        for cut in 0..unhex(hex).len() {
            assert!(RecordKey::decode(&unhex(hex)[..cut]).is_err(), "{hex} cut at {cut}");
        }
    }
}

#[test]
fn group_metadata_is_kafkas() {
    check(
        "0000 00000007 01 00 08 0123456789abcdef",
        &ConsumerGroupMetadataValue { epoch: 7, metadata_hash: 0x0123456789abcdef },
    );
    check("0000 00000007 00", &ConsumerGroupMetadataValue { epoch: 7, metadata_hash: 0 });
}

#[test]
fn member_metadata_is_kafkas() {
    let consumer = ConsumerGroupMemberMetadataValue {
        instance_id: None,
        rack_id: Some(text("r1")),
        client_id: text("cid"),
        client_host: text("/127.0.0.1"),
        subscribed_topic_names: texts(&["foo", "bar"]),
        subscribed_topic_regex: Some(text("")),
        rebalance_timeout_ms: 45_000,
        server_assignor: Some(text("uniform")),
        classic: None,
    };
    check(
        "0000 00 037231 04636964 0b2f3132372e302e302e31 03 04626172 04666f6f 01 0000afc8 08756e69666f726d 00",
        &consumer,
    );
    let with_regex = ConsumerGroupMemberMetadataValue {
        instance_id: Some(text("i1")),
        rack_id: None,
        client_host: text("h"),
        subscribed_topic_names: texts(&[]),
        subscribed_topic_regex: Some(text("foo.*")),
        rebalance_timeout_ms: -1,
        server_assignor: None,
        ..consumer
    };
    check("0000 036931 00 04636964 0268 01 06666f6f2e2a ffffffff 00 00", &with_regex);
    let classic = ConsumerGroupMemberMetadataValue {
        instance_id: None,
        subscribed_topic_names: texts(&["foo"]),
        subscribed_topic_regex: Some(text("")),
        rebalance_timeout_ms: 5,
        classic: Some(ClassicMemberMetadata {
            session_timeout_ms: 9_000,
            supported_protocols: vec![ClassicProtocol {
                name: text("range"),
                metadata: Bytes::from_static(&[1, 2, 3]),
            }],
        }),
        ..with_regex
    };
    let before = "0000 00 00 04636964 0268 02 04666f6f 01 00000005 00";
    check(&format!("{before} 01 00 12 01 00002328 02 0672616e6765 04010203 00 00"), &classic);
    // Null, though it is there.
    check_read(&format!("{before} 01 00 01 ff"), &ConsumerGroupMemberMetadataValue { classic: None, ..classic });
}

#[test]
fn target_assignments_are_kafkas() {
    check(
        "0000 00000007 01 00 08 000001a205c94f07",
        &ConsumerGroupTargetAssignmentMetadataValue { assignment_epoch: 7, assignment_timestamp_ms: 0x1a205c94f07 },
    );
    check(
        "0000 00000007 00",
        &ConsumerGroupTargetAssignmentMetadataValue { assignment_epoch: 7, assignment_timestamp_ms: 0 },
    );
    check(
        "0000 03 0102030405060708090a0b0c0d0e0f10 03 00000000 00000002 00
         1112131415161718191a1b1c1d1e1f20 02 00000001 00 00",
        &ConsumerGroupTargetAssignmentMemberValue {
            partitions: BTreeMap::from([(T1, BTreeSet::from([0, 2])), (T2, BTreeSet::from([1]))]),
        },
    );
    check("0000 01 00", &ConsumerGroupTargetAssignmentMemberValue { partitions: BTreeMap::new() });
}

#[test]
fn current_assignments_are_kafkas() {
    let value = ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: 7,
        previous_member_epoch: 6,
        state: 1,
        assigned: BTreeMap::from([(T1, BTreeMap::from([(0, 5), (2, 7)]))]),
        pending_revocation: BTreeMap::from([(T2, BTreeMap::from([(1, 3)]))]),
    };
    let start = "0000 00000007 00000006 01 02 0102030405060708090a0b0c0d0e0f10 03 00000000 00000002";
    let end = "02 1112131415161718191a1b1c1d1e1f20 02 00000001 01 00 05 02 00000003 00";
    check(&format!("{start} 01 00 09 03 00000005 00000007 {end}"), &value);
    // As Kafka wrote before it had the epochs; then one epoch for two partitions, and a null.
    let by_member_epoch = ConsumerGroupCurrentMemberAssignmentValue {
        assigned: BTreeMap::from([(T1, BTreeMap::from([(0, 7), (2, 7)]))]),
        ..value
    };
    check_read(&format!("{start} 00 {end}"), &by_member_epoch);
    check_read(&format!("{start} 01 00 05 02 00000005 {end}"), &by_member_epoch);
    check_read(&format!("{start} 01 00 01 00 {end}"), &by_member_epoch);
    let left = ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: -2,
        previous_member_epoch: 6,
        state: 0,
        assigned: BTreeMap::from([(T1, BTreeMap::from([(0, 0)]))]),
        pending_revocation: BTreeMap::new(),
    };
    check_read("0000 fffffffe 00000006 00 02 0102030405060708090a0b0c0d0e0f10 02 00000000 00 01 00", &left);
}

#[test]
fn regular_expressions_are_kafkas() {
    let value =
        ConsumerGroupRegularExpressionValue { topics: texts(&["fo", "foo"]), version: 12, timestamp_ms: 0x1a205c94f07 };
    check("0000 03 03666f 04666f6f 000000000000000c 000001a205c94f07 00", &value);
}

#[test]
fn fields_of_a_later_kafka_are_skipped_and_its_versions_are_errors() {
    let value = ConsumerGroupMetadataValue { epoch: 7, metadata_hash: 9 };
    check_read("0000 00000007 02 00 08 0000000000000009 05 03 aabbcc", &value);
    let assigned = ConsumerGroupTargetAssignmentMemberValue { partitions: BTreeMap::from([(T1, BTreeSet::from([4]))]) };
    check_read("0000 02 0102030405060708090a0b0c0d0e0f10 02 00000004 01 00 02 aabb 01 07 00", &assigned);
    for version in [-1i16, 1, 2] {
        let mut bytes = version.to_be_bytes().to_vec();
        bytes.extend([0; 40]);
        let is_error = |error| matches!(error, Some(DecodeError::Version { max: 0, version: v, .. }) if v == version);
        assert!(is_error(ConsumerGroupMetadataValue::decode(&bytes).err()));
        assert!(is_error(ConsumerGroupMemberMetadataValue::decode(&bytes).err()));
        assert!(is_error(ConsumerGroupTargetAssignmentMetadataValue::decode(&bytes).err()));
        assert!(is_error(ConsumerGroupTargetAssignmentMemberValue::decode(&bytes).err()));
        assert!(is_error(ConsumerGroupCurrentMemberAssignmentValue::decode(&bytes).err()));
        assert!(is_error(ConsumerGroupRegularExpressionValue::decode(&bytes).err()));
    }
}

#[test]
fn announced_lengths_are_not_believed() {
    // Four billion topics, partitions, names in no bytes.
    for hex in ["0000 ffffffff0f", "0000 02 0102030405060708090a0b0c0d0e0f10 ffffffff0f"] {
        let bytes = spaced(hex);
        let error = ConsumerGroupTargetAssignmentMemberValue::decode(&bytes).expect_err("too few bytes");
        assert!(matches!(error, DecodeError::Truncated { .. }), "{error}");
        assert!(ConsumerGroupRegularExpressionValue::decode(&bytes).is_err());
    }
    let long = ConsumerGroupRegularExpressionValue {
        topics: BTreeSet::from([text(&"x".repeat(32_768))]),
        version: 0,
        timestamp_ms: 0,
    };
    assert_eq!(long.encode(), Err(EncodeError::StringTooLong { field: "matching topics", length: 32_768 }));
    // The same length read: 0x8001 as a varint is one more than 32,768.
    let mut bytes = vec![0, 0, 2, 0x81, 0x80, 0x02];
    bytes.extend([b'x'; 32_768 + 17]);
    assert_eq!(
        ConsumerGroupRegularExpressionValue::decode(&bytes),
        Err(DecodeError::Length { field: "matching topics", length: 32_768 })
    );
}

fn any_topic() -> impl Strategy<Value = TopicId> {
    any::<u128>().prop_map(|id| TopicId(Uuid::from_u128(id)))
}

fn any_texts() -> impl Strategy<Value = BTreeSet<StrBytes>> {
    btree_set(any_string().prop_map(|string| text(&string)), 0..5)
}

fn any_optional_text() -> impl Strategy<Value = Option<StrBytes>> {
    option::of(any_string().prop_map(|string| text(&string)))
}

fn any_epochs() -> impl Strategy<Value = AssignmentWithEpochs> {
    btree_map(any_topic(), btree_map(any::<i32>(), any::<i32>(), 0..4), 0..3)
}

prop_compose! {
    fn any_member()(
        instance_id in any_optional_text(),
        rack_id in any_optional_text(),
        client_id in any_string(),
        subscribed_topic_names in any_texts(),
        subscribed_topic_regex in any_optional_text(),
        rebalance_timeout_ms in any::<i32>(),
        server_assignor in any_optional_text(),
        classic in option::of((any::<i32>(), vec((any_string(), any_bytes()), 0..3))),
    ) -> ConsumerGroupMemberMetadataValue {
        ConsumerGroupMemberMetadataValue {
            instance_id,
            rack_id,
            client_id: text(&client_id),
            client_host: text("/::1"),
            subscribed_topic_names,
            subscribed_topic_regex,
            rebalance_timeout_ms,
            server_assignor,
            classic: classic.map(|(session_timeout_ms, protocols)| ClassicMemberMetadata {
                session_timeout_ms,
                supported_protocols: protocols
                    .into_iter()
                    .map(|(name, metadata)| ClassicProtocol { name: text(&name), metadata })
                    .collect(),
            }),
        }
    }
}

prop_compose! {
    fn any_current()(
        member_epoch in any::<i32>(),
        previous_member_epoch in any::<i32>(),
        state in any::<i8>(),
        assigned in any_epochs(),
        pending_revocation in any_epochs(),
    ) -> ConsumerGroupCurrentMemberAssignmentValue {
        ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch, previous_member_epoch, state, assigned, pending_revocation,
        }
    }
}

/// What is written is read, and is an error when it is cut short.
fn round_trip<V: Value>(value: &V, cut: proptest::sample::Index) {
    let bytes = value.written().expect("fits");
    assert_eq!(V::read(&bytes).as_ref(), Ok(value));
    assert!(V::read(&bytes[..cut.index(bytes.len())]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(
        numbers in (any::<i32>(), any::<i64>()),
        member in any_member(),
        current in any_current(),
        target in btree_map(any_topic(), btree_set(any::<i32>(), 0..4), 0..3),
        topics in any_texts(),
        cut in any::<proptest::sample::Index>(),
    ) {
        let (epoch, number) = numbers;
        round_trip(&ConsumerGroupMetadataValue { epoch, metadata_hash: number }, cut);
        round_trip(
            &ConsumerGroupTargetAssignmentMetadataValue { assignment_epoch: epoch, assignment_timestamp_ms: number }, cut,
        );
        round_trip(&member, cut);
        round_trip(&current, cut);
        round_trip(&ConsumerGroupTargetAssignmentMemberValue { partitions: target }, cut);
        round_trip(&ConsumerGroupRegularExpressionValue { topics, version: number, timestamp_ms: epoch.into() }, cut);
    }

    /// Random bytes, and good records with one byte changed: no panic, whatever comes out.
    #[test]
    fn any_bytes_can_be_decoded(
        garbage in vec(any::<u8>(), 0..120),
        member in any_member(),
        current in any_current(),
        place in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut random = vec![0, 0];
        random.extend(garbage);
        let mut damaged = [member.encode().expect("fits").to_vec(), current.encode().expect("fits").to_vec()];
        for bytes in &mut damaged {
            let at = place.index(bytes.len());
            bytes[at] = byte;
        }
        for bytes in damaged.iter().chain([&random]) {
            // Errors are as good as success here.
            let _ = RecordKey::decode(bytes);
            let _ = ConsumerGroupMetadataValue::decode(bytes);
            let _ = ConsumerGroupMemberMetadataValue::decode(bytes);
            let _ = ConsumerGroupTargetAssignmentMetadataValue::decode(bytes);
            let _ = ConsumerGroupTargetAssignmentMemberValue::decode(bytes);
            let _ = ConsumerGroupCurrentMemberAssignmentValue::decode(bytes);
            let _ = ConsumerGroupRegularExpressionValue::decode(bytes);
        }
    }
}
