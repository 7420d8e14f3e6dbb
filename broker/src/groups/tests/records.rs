//! The records of `__consumer_offsets` against bytes that Kafka 4.3.0 wrote, and decoders against any bytes.

use bytes::Bytes;
use proptest::prelude::*;
use protocol::{LeaderEpoch, Offset, TopicId};
use uuid::Uuid;

use super::super::records::{
    DecodeError, EncodeError, GroupMetadataValue, MemberMetadata, OffsetCommitValue, RecordKey,
};
use super::scenario::{TestEnvironment, text};

pub(super) fn unhex(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2) && hex.is_ascii());
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal")).collect()
}

fn commit(offset: i64, metadata: &str, commit_timestamp_ms: i64) -> OffsetCommitValue {
    OffsetCommitValue {
        offset: Offset(offset),
        leader_epoch: LeaderEpoch::UNKNOWN,
        metadata: text(metadata),
        commit_timestamp_ms,
        expire_timestamp_ms: None,
        topic_id: TopicId::ZERO,
    }
}

#[test]
fn keys_are_kafkas() {
    let cases = [
        (
            "000100086432313739302d620002743100000000",
            RecordKey::OffsetCommit { group: text("d21790-b"), topic: text("t1"), partition: 0 },
        ),
        ("0002000d6432313739302d737461746963", RecordKey::GroupMetadata { group: text("d21790-static") }),
    ];
    for (hex, key) in cases {
        assert_eq!(RecordKey::decode(&unhex(hex)), Ok(key.clone()));
        assert_eq!(key.encode(), Ok(Bytes::from(unhex(hex))));
    }
    // Version 0 of an offset commit's key is read too.
    let old = RecordKey::OffsetCommit { group: text("g"), topic: text("t"), partition: 7 };
    assert_eq!(RecordKey::decode(&unhex("0000000167000174 00000007".replace(' ', "").as_str())), Ok(old));
    // Of share groups, streams groups, and nobody.
    for key_type in (9..=15).chain(17..=30).chain([-1, i16::MIN, i16::MAX]) {
        let mut key = i16::to_be_bytes(key_type).to_vec();
        key.extend([0, 1, b'g']);
        assert_eq!(RecordKey::decode(&key), Err(DecodeError::UnknownType { key_type }));
    }
}

#[test]
fn offset_commits_are_kafkas() {
    let cases = [
        (
            "00040000000000000005ffffffff01000001a205c94f0701001026fde58c3a1645a0a4d63d9779e3e811",
            OffsetCommitValue {
                topic_id: TopicId(Uuid::from_u128(0x26fde58c_3a16_45a0_a4d6_3d9779e3e811)),
                ..commit(5, "", 0x1a205c94f07)
            },
        ),
        (
            "00040000000000000007ffffffff036d64000001a205c94f07010010bdaf831da0da47bea23a205cca208e41",
            OffsetCommitValue {
                topic_id: TopicId(Uuid::from_u128(0xbdaf831d_a0da_47be_a23a_205cca208e41)),
                ..commit(7, "md", 0x1a205c94f07)
            },
        ),
        (
            "000100000000000000350003726574000001a205c963cc000001a205d8a60c",
            OffsetCommitValue { expire_timestamp_ms: Some(0x1a205d8a60c), ..commit(53, "ret", 0x1a205c963cc) },
        ),
    ];
    for (hex, value) in cases {
        assert_eq!(OffsetCommitValue::decode(&unhex(hex)), Ok(value.clone()));
        assert_eq!(value.encode(), Ok(Bytes::from(unhex(hex))));
    }
}

#[test]
fn group_metadata_is_kafkas() {
    let member_id = "i1-bbc8318e-bf1b-4b96-9323-8defaf374aee";
    let empty = GroupMetadataValue {
        protocol_type: text(""),
        generation: 0,
        protocol: None,
        leader: None,
        current_state_timestamp_ms: 0x1a205c978c5,
        members: vec![],
    };
    let stable = GroupMetadataValue {
        protocol_type: text("consumer"),
        generation: 1,
        protocol: Some(text("range")),
        leader: Some(text(member_id)),
        current_state_timestamp_ms: 0x1a205c978c6,
        members: vec![MemberMetadata {
            member_id: text(member_id),
            group_instance_id: Some(text("i1")),
            client_id: text("cid"),
            client_host: text("/127.0.0.1"),
            rebalance_timeout_ms: 3_000,
            session_timeout_ms: 10_000,
            subscription: Bytes::from_static(b"\0\0\0\0\0\x01\0\x02s1\xff\xff\xff\xff"),
            assignment: Bytes::from_static(b"p0"),
        }],
    };
    let cases = [
        ("0003000000000000ffffffff000001a205c978c500000000", empty),
        (
            "00030008636f6e73756d657200000001000572616e6765002769312d62626338333138652d626631622d346239362d393332332d3\
             86465666166333734616565000001a205c978c600000001002769312d62626338333138652d626631622d346239362d393332332d3\
             86465666166333734616565000269310003636964000a2f3132372e302e302e3100000bb8000027100000000e000000000001000273\
             31ffffffff000000027030",
            stable,
        ),
    ];
    for (hex, value) in cases {
        assert_eq!(GroupMetadataValue::decode(&unhex(hex)), Ok(value.clone()));
        assert_eq!(value.encode(), Ok(Bytes::from(unhex(hex))));
    }
}

/// Values of the other versions, put together by the schemas of Kafka 4.3.
#[test]
fn other_versions_are_read() {
    let cases = [
        ("0000 0000000000000005 00026d64 0000000000000009", commit(5, "md", 9)),
        ("0002 0000000000000005 00026d64 0000000000000009", commit(5, "md", 9)),
        (
            "0003 0000000000000005 00000004 00026d64 0000000000000009",
            OffsetCommitValue { leader_epoch: LeaderEpoch(4), ..commit(5, "md", 9) },
        ),
        // Version 4 with an unknown tagged field (tag 9, two bytes) and no topic id.
        ("0004 0000000000000005 ffffffff 036d64 0000000000000009 01 09 02 abcd", commit(5, "md", 9)),
    ];
    for (hex, value) in cases {
        assert_eq!(OffsetCommitValue::decode(&unhex(&hex.replace(' ', ""))), Ok(value), "{hex}");
    }
    let member = |rebalance_timeout_ms, instance_id: Option<&str>| GroupMetadataValue {
        protocol_type: text("c"),
        generation: 2,
        protocol: Some(text("p")),
        leader: Some(text("m")),
        current_state_timestamp_ms: -1,
        members: vec![MemberMetadata {
            member_id: text("m"),
            group_instance_id: instance_id.map(text),
            client_id: text("i"),
            client_host: text("h"),
            rebalance_timeout_ms,
            session_timeout_ms: 7,
            subscription: Bytes::from_static(b"s"),
            assignment: Bytes::from_static(b"a"),
        }],
    };
    let with_time = |value: GroupMetadataValue| GroupMetadataValue { current_state_timestamp_ms: 9, ..value };
    let start = "000163 00000002 000170 00016d";
    let rest = "000169 000168";
    let end = "00000007 0000000173 0000000161";
    let cases = [
        (format!("0000 {start} 00000001 00016d {rest} {end}"), member(-1, None)),
        (format!("0001 {start} 00000001 00016d {rest} 00000008 {end}"), member(8, None)),
        (format!("0002 {start} 0000000000000009 00000001 00016d {rest} 00000008 {end}"), with_time(member(8, None))),
        (
            format!("0003 {start} 0000000000000009 00000001 00016d 000178 {rest} 00000008 {end}"),
            with_time(member(8, Some("x"))),
        ),
        (
            "0004 0263 00000002 0270 026d 0000000000000009 02 026d 0278 0269 0268 00000008 00000007 0273 0261 00 00"
                .to_owned(),
            with_time(member(8, Some("x"))),
        ),
    ];
    for (hex, value) in cases {
        assert_eq!(GroupMetadataValue::decode(&unhex(&hex.replace(' ', ""))), Ok(value), "{hex}");
    }
}

#[test]
fn what_is_no_record_is_an_error_that_says_where() {
    assert!(matches!(RecordKey::decode(&[]), Err(DecodeError::Truncated { .. })));
    assert_eq!(
        RecordKey::decode(&unhex("00020005676f")),
        Err(DecodeError::Truncated { field: "group id", need: 5, have: 2 })
    );
    assert_eq!(RecordKey::decode(&unhex("0002ffff")), Err(DecodeError::Length { field: "group id", length: -1 }));
    assert_eq!(RecordKey::decode(&unhex("00020001ff")), Err(DecodeError::NotUtf8 { field: "group id" }));
    let version = DecodeError::Version { field: "offset commit value", version: 5, max: 4 };
    assert_eq!(OffsetCommitValue::decode(&unhex("00050000")), Err(version));
    // Two billion members in no bytes.
    let hex = "0003 000163 00000002 ffff ffff 0000000000000009 7fffffff".replace(' ', "");
    assert!(matches!(GroupMetadataValue::decode(&unhex(&hex)), Err(DecodeError::Truncated { .. })));
    let long = "x".repeat(32_768);
    let key = RecordKey::GroupMetadata { group: text(&long) };
    assert_eq!(key.encode(), Err(EncodeError::StringTooLong { field: "group id", length: 32_768 }));
}

pub(super) fn any_string() -> impl Strategy<Value = String> {
    proptest::collection::vec(any::<char>(), 0..8).prop_map(|chars| chars.into_iter().collect())
}

pub(super) fn any_bytes() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

prop_compose! {
    fn any_commit()(
        offset in any::<i64>(),
        epoch in any::<i32>(),
        metadata in any_string(),
        committed in any::<i64>(),
        expires in proptest::option::of(0..i64::MAX),
        topic_id in any::<u128>(),
    ) -> OffsetCommitValue {
        let old = expires.is_some();
        OffsetCommitValue {
            offset: Offset(offset),
            // The old format that has an expiry has neither of the others.
            leader_epoch: if old { LeaderEpoch::UNKNOWN } else { LeaderEpoch(epoch) },
            metadata: text(&metadata),
            commit_timestamp_ms: committed,
            expire_timestamp_ms: expires,
            topic_id: if old { TopicId::ZERO } else { TopicId(Uuid::from_u128(topic_id)) },
        }
    }
}

prop_compose! {
    fn any_member()(
        member_id in any_string(),
        instance_id in proptest::option::of(any_string()),
        client_id in any_string(),
        rebalance_timeout_ms in any::<i32>(),
        session_timeout_ms in any::<i32>(),
        subscription in any_bytes(),
        assignment in any_bytes(),
    ) -> MemberMetadata {
        MemberMetadata {
            member_id: text(&member_id),
            group_instance_id: instance_id.map(|id| text(&id)),
            client_id: text(&client_id),
            client_host: text("/::1"),
            rebalance_timeout_ms,
            session_timeout_ms,
            subscription,
            assignment,
        }
    }
}

prop_compose! {
    fn any_group()(
        protocol_type in any_string(),
        generation in any::<i32>(),
        protocol in proptest::option::of(any_string()),
        leader in proptest::option::of(any_string()),
        since in any::<i64>(),
        members in proptest::collection::vec(any_member(), 0..4),
    ) -> GroupMetadataValue {
        GroupMetadataValue {
            protocol_type: text(&protocol_type),
            generation,
            protocol: protocol.map(|name| text(&name)),
            leader: leader.map(|id| text(&id)),
            current_state_timestamp_ms: since,
            members,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(value in any_commit(), group in any_group()) {
        let bytes = value.encode().expect("fits");
        prop_assert_eq!(OffsetCommitValue::decode(&bytes), Ok(value));
        let bytes = group.encode().expect("fits");
        prop_assert_eq!(GroupMetadataValue::decode(&bytes), Ok(group));
    }

    #[test]
    fn a_record_cut_short_is_an_error(value in any_commit(), group in any_group(), cut in any::<proptest::sample::Index>()) {
        let bytes = value.encode().expect("fits");
        prop_assert!(OffsetCommitValue::decode(&bytes[..cut.index(bytes.len())]).is_err());
        let bytes = group.encode().expect("fits");
        prop_assert!(GroupMetadataValue::decode(&bytes[..cut.index(bytes.len())]).is_err());
    }

    /// Random bytes behind a plausible version, and good records with one byte changed: no panic, whatever comes out; and a
    /// coordinator that loads them keeps its invariants.
    #[test]
    fn any_bytes_can_be_decoded_and_loaded(
        version in 0i16..6,
        garbage in proptest::collection::vec(any::<u8>(), 0..120),
        group in any_group(),
        place in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut random = version.to_be_bytes().to_vec();
        random.extend(garbage);
        let mut damaged = group.encode().expect("fits").to_vec();
        let at = place.index(damaged.len());
        damaged[at] = byte;
        let mut coordinator = super::super::GroupCoordinator::new(super::super::GroupConfig::default());
        let keys = [
            RecordKey::GroupMetadata { group: text("g") }.encode().expect("fits"),
            RecordKey::OffsetCommit { group: text("g"), topic: text("t"), partition: 0 }.encode().expect("fits"),
            Bytes::from(random.clone()),
        ];
        for key in &keys {
            for value in [random.as_slice(), damaged.as_slice()] {
                // Errors are as good as success here.
                let _ = coordinator.load(key, Some(value));
                coordinator.check();
            }
        }
        coordinator.activate(0, 1);
        for now_ms in [1, i64::MAX / 2, i64::MAX] {
            coordinator.tick(now_ms, &TestEnvironment::default());
            coordinator.check();
        }
    }
}
