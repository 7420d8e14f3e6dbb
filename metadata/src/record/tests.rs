//! The bytes of records: stable, checked, and harmless when they are garbage.

use super::codec::{CodecError, VERSION, decode, encode};
use super::*;
use crate::checked::checksum;
use crate::testing::{history, registration, request, start};
use proptest::prelude::*;

const WHAT: &str = "record batch";

/// Of the kinds that version 1 knew.
fn one_of_each() -> Vec<MetadataRecord> {
    let topic_id = TopicId(Uuid::from_u128(7));
    let config = |resource, value: Option<&str>| MetadataRecord::ConfigChanged {
        resource,
        name: "retention.ms".to_owned(),
        value: value.map(str::to_owned),
    };
    vec![
        MetadataRecord::ClusterCreated { cluster_id: ClusterId(Uuid::from_u128(1)) },
        MetadataRecord::BrokerRegistered(registration(300, 2)),
        MetadataRecord::TopicCreated { topic_id, name: "t".to_owned() },
        MetadataRecord::PartitionChanged(PartitionRecord {
            topic_id,
            partition: PartitionId(200),
            replicas: vec![BrokerId(300), BrokerId(1)],
            isr: vec![BrokerId(300)],
            leader: Some(BrokerId(300)),
            leader_epoch: LeaderEpoch(5),
            partition_epoch: 6,
        }),
        MetadataRecord::TopicDeleted { topic_id },
        config(ConfigResource::Topic("t".to_owned()), Some("5")),
        config(ConfigResource::Broker(BrokerId(300)), None),
        config(ConfigResource::BrokerDefault, Some("-1")),
        MetadataRecord::ProducerIdsAllocated { next: ProducerId(1000) },
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Of the kinds that came with version 2.
fn one_of_each_of_version_2() -> Vec<MetadataRecord> {
    let partition = PartitionRecord {
        topic_id: TopicId(Uuid::from_u128(7)),
        partition: PartitionId(200),
        replicas: vec![BrokerId(300), BrokerId(1)],
        isr: vec![BrokerId(300)],
        leader: None,
        leader_epoch: LeaderEpoch(5),
        partition_epoch: 6,
    };
    let start = start(300, 2);
    vec![
        MetadataRecord::NodeBound(start.node),
        MetadataRecord::NodeRemoved { node: BrokerId(300) },
        MetadataRecord::BrokerChanged(BrokerState {
            broker: BrokerId(300),
            incarnation: start.incarnation,
            epoch: 1000,
            host: start.host,
            port: start.port,
            rack: start.rack,
            shards: start.shards,
            fenced_at: Some(2000),
        }),
        MetadataRecord::PartitionReassigning { partition, adding: vec![BrokerId(1)], removing: vec![BrokerId(300)] },
    ]
}

/// Of the kind that came with version 3.
fn one_of_each_of_version_3() -> Vec<MetadataRecord> {
    let partition = PartitionRecord {
        topic_id: TopicId(Uuid::from_u128(7)),
        partition: PartitionId(200),
        replicas: vec![BrokerId(300), BrokerId(1), BrokerId(2)],
        isr: vec![],
        leader: None,
        leader_epoch: LeaderEpoch(5),
        partition_epoch: 6,
    };
    let (adding, removing) = (vec![BrokerId(1)], vec![BrokerId(300)]);
    let (elr, last_known_elr) = (vec![BrokerId(2), BrokerId(300)], vec![BrokerId(300)]);
    vec![MetadataRecord::PartitionUnderMinIsr { partition, adding, removing, elr, last_known_elr }]
}

/// Of the kind that came with version 4.
fn one_of_each_of_version_4() -> Vec<MetadataRecord> {
    vec![MetadataRecord::ReplicaCountChosen { topic_id: TopicId(Uuid::from_u128(7)), partition: PartitionId(200) }]
}

/// With the kind of resource that came with version 5.
fn one_of_each_of_version_5() -> Vec<MetadataRecord> {
    vec![MetadataRecord::ConfigChanged {
        resource: ConfigResource::Group("g".to_owned()),
        name: "consumer.session.timeout.ms".to_owned(),
        value: Some("50000".to_owned()),
    }]
}

/// What a version wrote must be read for ever: a change here needs a new version and a reader for the old one.
#[test]
fn versions_are_these_bytes() {
    let read = |hex: &str| {
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        decode(&bytes).unwrap()
    };
    assert_eq!(read(include_str!("tests/version-1.hex").trim()), one_of_each());
    let all = [one_of_each(), one_of_each_of_version_2()].concat();
    assert_eq!(read(include_str!("tests/version-2.hex").trim()), all);
    let all = [all, one_of_each_of_version_3()].concat();
    assert_eq!(read(include_str!("tests/version-3.hex").trim()), all);
    let all = [all, one_of_each_of_version_4()].concat();
    assert_eq!(read(include_str!("tests/version-4.hex").trim()), all);
    let all = [all, one_of_each_of_version_5()].concat();
    assert_eq!(hex(&encode(&all)), include_str!("tests/version-5.hex").trim());
    assert_eq!(read(include_str!("tests/version-5.hex").trim()), all);
}

/// A version that was changed into another one which exists, with a checksum that does not know.
#[test]
fn a_flipped_bit_of_the_version_is_noticed() {
    let of_version_2 = include_str!("tests/version-2.hex").trim();
    let read = |bytes: &[u8]| decode(bytes).map(|records| records.len());
    let bytes: Vec<u8> = (0..of_version_2.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&of_version_2[at..at + 2], 16).unwrap())
        .collect();
    assert_eq!(read(&bytes), Ok(13));
    for (bytes, version) in [(bytes, 3), (encode(&one_of_each()), 2), (encode(&one_of_each()), 1)] {
        let flipped = [&[version][..], &bytes[1..]].concat();
        assert!(matches!(read(&flipped), Err(CodecError::CrcMismatch { .. })), "{version}");
    }
}

#[test]
fn an_unknown_version_is_named() {
    let mut bytes = encode(&one_of_each());
    bytes[0] = VERSION + 1;
    assert_eq!(
        decode(&bytes),
        Err(CodecError::UnknownVersion { what: WHAT, found: VERSION + 1, oldest: 1, newest: VERSION })
    );
    let text = decode(&bytes).unwrap_err().to_string();
    assert_eq!(text, "record batch has format version 6, this program reads versions 1 to 5");
}

#[test]
fn trailing_bytes_and_short_batches_are_refused() {
    let with_crc = |body: &[u8]| [&[VERSION][..], &checksum(VERSION, body).to_le_bytes()[..], body].concat();
    let body = encode(&one_of_each())[5..].to_vec();
    assert_eq!(
        decode(&with_crc(&[&body[..], b"xy"].concat())),
        Err(CodecError::TrailingBytes { what: WHAT, bytes: 2 })
    );
    assert!(matches!(decode(&with_crc(&body[..body.len() - 1])), Err(CodecError::Malformed { .. })));
    assert_eq!(decode(&[VERSION, 0, 0]), Err(CodecError::Truncated { what: WHAT, found_bytes: 3 }));
}

proptest! {
    #[test]
    fn what_is_written_is_read(requests in proptest::collection::vec(request(), 0..30)) {
        for batch in history(&requests) {
            prop_assert_eq!(decode(&encode(&batch)), Ok(batch));
        }
    }

    #[test]
    fn a_changed_bit_is_noticed(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut bytes = encode(&one_of_each());
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(decode(&bytes).is_err());
    }

    /// Behind a checksum that fits, so that the decoder itself is reached.
    #[test]
    fn garbage_neither_panics_nor_takes_memory(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = [&[VERSION][..], &checksum(VERSION, &body).to_le_bytes()[..], &body[..]].concat();
        if let Ok(records) = decode(&bytes) {
            prop_assert!(records.len() <= body.len());
        }
        let _ = decode(&body);
    }
}
