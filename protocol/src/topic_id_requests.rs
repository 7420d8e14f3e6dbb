//! OffsetCommit and OffsetFetch of version 10, which name topics by id (KIP-848): the message library has their answers, but
//! the requests up to version 9 only.
//!
//! All is as in version 9, but for a topic's name, which its id stands in for. The messages are the library's: a topic's
//! name stays empty, its id is set. As elsewhere, [`crate::request_guard`] must have passed the bytes.

use bytes::{Buf, Bytes, TryGetError};
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{GroupId, OffsetCommitRequest, OffsetFetchRequest};
use kafka_protocol::protocol::{Decodable, StrBytes};
use std::collections::BTreeMap;
use uuid::Uuid;

use crate::api_versions::ApiKey;
use crate::request::RequestBody;

#[cfg(test)]
pub(crate) mod tests;

/// The version from which topics are named by id.
const FIRST_VERSION: i16 = 10;
/// Whatever holds no topic is laid out as in the version before.
const BEFORE: i16 = FIRST_VERSION - 1;

type Error = Box<dyn std::error::Error + Send + Sync>;
type TaggedFields = BTreeMap<i32, Bytes>;

/// The request, if it is one of these two in such a version; `None` leaves it to the library.
pub(crate) fn decode(api: ApiKey, version: i16, body: &mut Bytes) -> Result<Option<RequestBody>, Error> {
    Ok(match api {
        ApiKey::OffsetCommit if version >= FIRST_VERSION => Some(offset_commit(body)?.into()),
        ApiKey::OffsetFetch if version >= FIRST_VERSION => Some(offset_fetch(body)?.into()),
        _ => None,
    })
}

fn offset_commit(body: &mut Bytes) -> Result<OffsetCommitRequest, Error> {
    Ok(OffsetCommitRequest::default()
        .with_group_id(GroupId(string(body)?))
        .with_generation_id_or_member_epoch(body.try_get_i32()?)
        .with_member_id(string(body)?)
        .with_group_instance_id(nullable_string(body)?)
        .with_topics(array(body, commit_topic)?.unwrap_or_default())
        .with_unknown_tagged_fields(tagged_fields(body)?))
}

fn commit_topic(body: &mut Bytes) -> Result<OffsetCommitRequestTopic, Error> {
    let partition = |body: &mut Bytes| Ok(OffsetCommitRequestPartition::decode(body, BEFORE)?);
    Ok(OffsetCommitRequestTopic::default()
        .with_topic_id(uuid(body)?)
        .with_partitions(array(body, partition)?.unwrap_or_default())
        .with_unknown_tagged_fields(tagged_fields(body)?))
}

fn offset_fetch(body: &mut Bytes) -> Result<OffsetFetchRequest, Error> {
    Ok(OffsetFetchRequest::default()
        .with_groups(array(body, fetch_group)?.unwrap_or_default())
        .with_require_stable(body.try_get_u8()? != 0)
        .with_unknown_tagged_fields(tagged_fields(body)?))
}

fn fetch_group(body: &mut Bytes) -> Result<OffsetFetchRequestGroup, Error> {
    Ok(OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(string(body)?))
        .with_member_id(nullable_string(body)?)
        .with_member_epoch(body.try_get_i32()?)
        .with_topics(array(body, fetch_topic)?)
        .with_unknown_tagged_fields(tagged_fields(body)?))
}

fn fetch_topic(body: &mut Bytes) -> Result<OffsetFetchRequestTopics, Error> {
    Ok(OffsetFetchRequestTopics::default()
        .with_topic_id(uuid(body)?)
        .with_partition_indexes(array(body, |body| Ok(body.try_get_i32()?))?.unwrap_or_default())
        .with_unknown_tagged_fields(tagged_fields(body)?))
}

// The library keeps its decoders of plain values to itself.

/// A compact array, which may be null. The guard has held its count against the bytes that are there.
fn array<T>(body: &mut Bytes, element: impl Fn(&mut Bytes) -> Result<T, Error>) -> Result<Option<Vec<T>>, Error> {
    let Some(count) = varint(body)?.checked_sub(1) else { return Ok(None) };
    (0..count).map(|_| element(body)).collect::<Result<_, _>>().map(Some)
}

fn string(body: &mut Bytes) -> Result<StrBytes, Error> {
    Ok(nullable_string(body)?.unwrap_or_default())
}

fn nullable_string(body: &mut Bytes) -> Result<Option<StrBytes>, Error> {
    let Some(length) = varint(body)?.checked_sub(1) else { return Ok(None) };
    Ok(Some(StrBytes::from_utf8(slice(body, length)?)?))
}

fn uuid(body: &mut Bytes) -> Result<Uuid, Error> {
    Ok(Uuid::from_u128(body.try_get_u128()?))
}

/// Tagged fields (KIP-482), none of which version 10 knows.
fn tagged_fields(body: &mut Bytes) -> Result<TaggedFields, Error> {
    let mut fields = TaggedFields::new();
    for _ in 0..varint(body)? {
        let tag = varint(body)?;
        let size = varint(body)?;
        fields.insert(tag as i32, slice(body, size)?);
    }
    Ok(fields)
}

/// The next `length` bytes, which are not copied.
fn slice(body: &mut Bytes, length: u32) -> Result<Bytes, Error> {
    let (requested, available) = (length as usize, body.len());
    if requested > available {
        return Err(TryGetError { requested, available }.into());
    }
    Ok(body.split_to(requested))
}

fn varint(body: &mut Bytes) -> Result<u32, Error> {
    let mut value = 0;
    for shift in [0, 7, 14, 21, 28] {
        let byte = body.try_get_u8()?;
        value |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    Ok(value)
}
