//! Against bytes that Kafka 4.3.0 wrote, and an encoder for the guard's tests.

use super::*;
use crate::request_guard;
use crate::response::ResponseBody;
use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetCommitResponse, OffsetFetchResponse};
use kafka_protocol::protocol::Encodable;

const TOPIC: Uuid = Uuid::from_u128(0x26fde58c_3a16_45a0_a4d6_3d9779e3e811);
const OTHER: Uuid = Uuid::from_u128(0x1_0000_0000_0000_0002);

fn unhex(hex: &str) -> Bytes {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal")).collect()
}

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn decoded(api: ApiKey, hex: &str) -> RequestBody {
    let mut body = unhex(hex);
    assert_eq!(request_guard::check(api, FIRST_VERSION, &body), Ok(body.len()));
    let request = decode(api, FIRST_VERSION, &mut body).unwrap().expect("a request by id");
    assert!(!body.has_remaining());
    assert_eq!(&encoded(&request)[..], &unhex(hex)[..], "written again");
    request
}

#[test]
fn commits_are_kafkas() {
    let hex = "03673100000007026d02690326fde58c3a1645a0a4d63d9779e3e8110300000001000000000000002a000000030278000000000200000000\
               0000002bffffffff00000000000000000000010000000000000002010000";
    let partition = |index, offset, epoch, metadata| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(offset)
            .with_committed_leader_epoch(epoch)
            .with_committed_metadata(metadata)
    };
    let partitions = vec![partition(1, 42, 3, Some(text("x"))), partition(2, 43, -1, None)];
    let topics = vec![
        OffsetCommitRequestTopic::default().with_topic_id(TOPIC).with_partitions(partitions),
        OffsetCommitRequestTopic::default().with_topic_id(OTHER),
    ];
    let expected = OffsetCommitRequest::default()
        .with_group_id(GroupId(text("g1")))
        .with_generation_id_or_member_epoch(7)
        .with_member_id(text("m"))
        .with_group_instance_id(Some(text("i")))
        .with_topics(topics);
    assert_eq!(decoded(ApiKey::OffsetCommit, hex), expected.into());
}

#[test]
fn fetches_are_kafkas() {
    let hex = "03036731026d000000070226fde58c3a1645a0a4d63d9779e3e81103000000000000012c000003673200ffffffff00000100";
    let topic = OffsetFetchRequestTopics::default().with_topic_id(TOPIC).with_partition_indexes(vec![0, 300]);
    let one = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(text("g1")))
        .with_member_id(Some(text("m")))
        .with_member_epoch(7)
        .with_topics(Some(vec![topic]));
    let all = OffsetFetchRequestGroup::default().with_group_id(GroupId(text("g2"))).with_topics(None);
    let expected = OffsetFetchRequest::default().with_groups(vec![one, all]).with_require_stable(true);
    assert_eq!(decoded(ApiKey::OffsetFetch, hex), expected.into());
}

/// The name, which the coordinator knows too, is not sent.
#[test]
fn answers_are_kafkas() {
    let body_of = |response: ResponseBody| {
        let frame = response.encode(FIRST_VERSION, 9).unwrap();
        // Length, correlation id, tagged fields of the header.
        frame[4 + 4 + 1..].to_vec()
    };
    let name = || kafka_protocol::messages::TopicName(text("t"));
    let partition = OffsetCommitResponsePartition::default().with_partition_index(1).with_error_code(100);
    let topic =
        OffsetCommitResponseTopic::default().with_name(name()).with_topic_id(TOPIC).with_partitions(vec![partition]);
    let commit = OffsetCommitResponse::default().with_throttle_time_ms(5).with_topics(vec![topic]);
    let hex = "000000050226fde58c3a1645a0a4d63d9779e3e81102000000010064000000";
    assert_eq!(body_of(commit.into()), unhex(hex));

    let partition = OffsetFetchResponsePartitions::default()
        .with_partition_index(1)
        .with_committed_offset(42)
        .with_committed_leader_epoch(3)
        .with_metadata(Some(text("x")));
    let topic =
        OffsetFetchResponseTopics::default().with_name(name()).with_topic_id(TOPIC).with_partitions(vec![partition]);
    let group = OffsetFetchResponseGroup::default().with_group_id(GroupId(text("g1"))).with_topics(vec![topic]);
    let fetch = OffsetFetchResponse::default().with_groups(vec![group]);
    let hex =
        "00000000020367310226fde58c3a1645a0a4d63d9779e3e8110200000001000000000000002a0000000302780000000000000000";
    assert_eq!(body_of(fetch.into()), unhex(hex));
}

/// A request by id as bytes, as clients write it.
pub(crate) fn encoded(request: &RequestBody) -> BytesMut {
    let mut out = BytesMut::new();
    match request {
        RequestBody::OffsetCommit(request) => {
            put_string(&mut out, Some(&request.group_id));
            out.put_i32(request.generation_id_or_member_epoch);
            put_string(&mut out, Some(&request.member_id));
            put_string(&mut out, request.group_instance_id.as_ref());
            put_array(&mut out, Some(&request.topics), |out, topic| {
                out.put_slice(topic.topic_id.as_bytes());
                put_array(out, Some(&topic.partitions), |out, partition| partition.encode(out, BEFORE).unwrap());
                put_tagged_fields(out, &topic.unknown_tagged_fields);
            });
            put_tagged_fields(&mut out, &request.unknown_tagged_fields);
        }
        RequestBody::OffsetFetch(request) => {
            put_array(&mut out, Some(&request.groups), |out, group| {
                put_string(out, Some(&group.group_id));
                put_string(out, group.member_id.as_ref());
                out.put_i32(group.member_epoch);
                put_array(out, group.topics.as_ref(), |out, topic| {
                    out.put_slice(topic.topic_id.as_bytes());
                    put_array(out, Some(&topic.partition_indexes), |out, partition| out.put_i32(*partition));
                    put_tagged_fields(out, &topic.unknown_tagged_fields);
                });
                put_tagged_fields(out, &group.unknown_tagged_fields);
            });
            out.put_u8(request.require_stable.into());
            put_tagged_fields(&mut out, &request.unknown_tagged_fields);
        }
        other => panic!("{} is the library's to write", other.api()),
    }
    out
}

fn put_array<T>(out: &mut BytesMut, elements: Option<&Vec<T>>, put: impl Fn(&mut BytesMut, &T)) {
    put_varint(out, elements.map_or(0, |elements| elements.len() + 1));
    elements.into_iter().flatten().for_each(|element| put(out, element));
}

fn put_string(out: &mut BytesMut, string: Option<&StrBytes>) {
    put_varint(out, string.map_or(0, |string| string.len() + 1));
    out.put_slice(string.map_or(&[], |string| string.as_bytes()));
}

fn put_tagged_fields(out: &mut BytesMut, fields: &TaggedFields) {
    put_varint(out, fields.len());
    for (tag, value) in fields {
        put_varint(out, *tag as usize);
        put_varint(out, value.len());
        out.put_slice(value);
    }
}

fn put_varint(out: &mut BytesMut, mut value: usize) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}
