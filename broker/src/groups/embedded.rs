//! What members of a classic group tell one another through their coordinator (`ConsumerProtocolSubscription` and
//! `ConsumerProtocolAssignment`). A classic group's topics are read to know whose offsets may go; the rest is read and
//! written only where a group goes from one protocol to the other.
//!
//! A version that is not known is read as the last one that is, as Kafka does.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;

use super::records::{DecodeError, Reader};

/// Partitions of topics, by name.
pub(super) type NamedPartitions = BTreeMap<StrBytes, BTreeSet<i32>>;

const VERSION_MAX: i16 = 3;
const OWNED_VERSION: i16 = 1;
const GENERATION_VERSION: i16 = 2;
const RACK_VERSION: i16 = 3;

/// A member's subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) topics: BTreeSet<StrBytes>,
    pub(super) owned: NamedPartitions,
    pub(super) rack_id: Option<StrBytes>,
}

/// A member's assignment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct EmbeddedAssignment {
    pub(super) partitions: NamedPartitions,
    /// The leader told the member more than its partitions.
    pub(super) has_user_data: bool,
}

pub(super) fn version(bytes: &[u8]) -> Result<i16, DecodeError> {
    read_version(&mut Reader::new(bytes))
}

/// The topics of a subscription: the fields of version 0, which every version begins with, and nothing behind them.
pub(super) fn topics(bytes: &[u8]) -> Result<BTreeSet<StrBytes>, DecodeError> {
    version_0(&mut Reader::new(bytes)).map(|(_, topics)| topics)
}

pub(super) fn subscription(bytes: &[u8]) -> Result<Subscription, DecodeError> {
    let mut reader = Reader::new(bytes);
    let (version, topics) = version_0(&mut reader)?;
    let mut subscription = Subscription { topics, ..Subscription::default() };
    if version >= OWNED_VERSION {
        subscription.owned = partitions(&mut reader)?;
    }
    if version >= GENERATION_VERSION {
        reader.i32()?;
    }
    if version >= RACK_VERSION {
        subscription.rack_id = reader.nullable_string_of(version, "rack id")?.filter(|rack| !rack.is_empty());
    }
    Ok(subscription)
}

pub(super) fn assignment(bytes: &[u8]) -> Result<EmbeddedAssignment, DecodeError> {
    if bytes.is_empty() {
        return Ok(EmbeddedAssignment::default());
    }
    let mut reader = Reader::new(bytes);
    read_version(&mut reader)?;
    let partitions = partitions(&mut reader)?;
    let has_user_data = skip_user_data(&mut reader)? > 0;
    Ok(EmbeddedAssignment { partitions, has_user_data })
}

pub(super) fn encode_assignment(version: i16, partitions: &NamedPartitions) -> Bytes {
    let mut buffer = BytesMut::new();
    buffer.put_i16(version);
    buffer.put_i32(partitions.len() as i32);
    for (topic, partitions) in partitions {
        buffer.put_i16(topic.len() as i16);
        buffer.put_slice(topic.as_bytes());
        buffer.put_i32(partitions.len() as i32);
        partitions.iter().for_each(|partition| buffer.put_i32(*partition));
    }
    buffer.put_i32(-1);
    buffer.freeze()
}

/// The version and the topics; what is left in `reader` stands behind the user data.
fn version_0(reader: &mut Reader<'_>) -> Result<(i16, BTreeSet<StrBytes>), DecodeError> {
    let version = read_version(reader)?;
    let mut topics = BTreeSet::new();
    for _ in 0..count(reader)? {
        topics.insert(owned(reader.string("subscribed topic")?));
    }
    skip_user_data(reader)?;
    Ok((version, topics))
}

fn read_version(reader: &mut Reader<'_>) -> Result<i16, DecodeError> {
    let version = reader.i16()?;
    if version < 0 {
        return Err(DecodeError::Version { field: "consumer protocol", version, max: VERSION_MAX });
    }
    Ok(version.min(VERSION_MAX))
}

fn owned(string: &str) -> StrBytes {
    StrBytes::from_string(string.to_owned())
}

/// The number of elements of an array. It is believed only as far as elements follow: nothing is allocated for it.
fn count(reader: &mut Reader<'_>) -> Result<usize, DecodeError> {
    let count = reader.i32()?;
    usize::try_from(count).map_err(|_| DecodeError::Length { field: "array", length: count.into() })
}

fn partitions(reader: &mut Reader<'_>) -> Result<NamedPartitions, DecodeError> {
    let mut partitions = NamedPartitions::new();
    for _ in 0..count(reader)? {
        let of_topic = partitions.entry(owned(reader.string("topic")?)).or_default();
        for _ in 0..count(reader)? {
            of_topic.insert(reader.i32()?);
        }
    }
    Ok(partitions)
}

/// Nullable bytes; returns how many.
fn skip_user_data(reader: &mut Reader<'_>) -> Result<usize, DecodeError> {
    let length = reader.i32()?;
    if length == -1 {
        return Ok(0);
    }
    let count =
        usize::try_from(length).map_err(|_| DecodeError::Length { field: "user data", length: length.into() })?;
    reader.skip(count)?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version 3 as the Java consumer writes it: topics b and a, user data of two bytes, a-1 and a-0 owned, generation 7, rack r.
    const SUBSCRIPTION: &[u8] = &[
        0, 3, 0, 0, 0, 2, 0, 1, b'b', 0, 1, b'a', 0, 0, 0, 2, 9, 9, 0, 0, 0, 1, 0, 1, b'a', 0, 0, 0, 2, 0, 0, 0, 1, 0,
        0, 0, 0, 0, 0, 0, 7, 0, 1, b'r',
    ];

    fn text(string: &str) -> StrBytes {
        owned(string)
    }

    #[test]
    fn a_subscription_is_read_as_far_as_its_version_goes() {
        let owned: NamedPartitions = [(text("a"), [0, 1].into())].into();
        let topics: BTreeSet<StrBytes> = [text("a"), text("b")].into();
        let full = Subscription { topics: topics.clone(), owned: owned.clone(), rack_id: Some(text("r")) };
        assert_eq!(subscription(SUBSCRIPTION), Ok(full.clone()));
        let with_version = |version: u8| [&[0, version], &SUBSCRIPTION[2..]].concat();
        assert_eq!(subscription(&with_version(9)), Ok(full));
        let without_rack = Subscription { topics: topics.clone(), owned, rack_id: None };
        assert_eq!(subscription(&with_version(2)), Ok(without_rack));
        let topics_alone = Subscription { topics, ..Subscription::default() };
        assert_eq!(subscription(&with_version(0)), Ok(topics_alone));
    }

    #[test]
    fn no_piece_of_a_subscription_is_taken_for_one() {
        for length in 0..SUBSCRIPTION.len() {
            assert!(subscription(&SUBSCRIPTION[..length]).is_err(), "{length}");
        }
        assert!(subscription(&[0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 1, b'a']).is_err());
    }

    #[test]
    fn topics_of_every_version_are_read() {
        // Version 3 as the Java consumer sends it: topics t1, t2, null user data, no owned partitions, generation -1, no rack.
        let mut bytes = vec![0, 3, 0, 0, 0, 2, 0, 2, b't', b'1', 0, 2, b't', b'2'];
        bytes.extend([0xff; 4]);
        // Nothing behind the user data is looked at.
        let of_version_0 = topics(&bytes);
        bytes.extend([0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(topics(&bytes), Ok([text("t1"), text("t2")].into()));
        assert_eq!(of_version_0, topics(&bytes));
    }

    #[test]
    fn what_is_no_subscription_has_no_topics() {
        assert!(topics(b"").is_err());
        assert!(topics(b"any").is_err());
        // An array that claims far more than there is.
        assert!(topics(&[0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 1, b'a']).is_err());
        assert!(topics(&[0, 0, 0, 0, 0, 1, 0, 1, b'a']).is_err(), "user data is missing");
        assert!(topics(&[0xff, 0xfe, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]).is_err(), "negative version");
    }

    #[test]
    fn an_assignment_comes_back_as_it_was_written() {
        let partitions: NamedPartitions = [(text("a"), [0, 5].into()), (text("b"), [1].into())].into();
        let bytes = encode_assignment(1, &partitions);
        assert_eq!(version(&bytes), Ok(1));
        assert_eq!(assignment(&bytes), Ok(EmbeddedAssignment { partitions, has_user_data: false }));
        assert_eq!(assignment(b""), Ok(EmbeddedAssignment::default()));
        let custom = [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 9];
        assert!(assignment(&custom).is_ok_and(|assignment| assignment.has_user_data));
    }
}
