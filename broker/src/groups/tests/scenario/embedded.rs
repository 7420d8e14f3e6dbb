//! What clients keep within requests, in the short form that scenarios write it in.

use bytes::{BufMut, Bytes, BytesMut};

use super::topic_partition;

/// A subscription as classic members write it, version 3: `@t+u+t-0` for topics t and u, with t-0 owned. Other text stays.
pub(super) fn embedded_subscription(metadata: &str) -> Bytes {
    let Some(words) = metadata.strip_prefix('@') else { return Bytes::copy_from_slice(metadata.as_bytes()) };
    let (owned, topics): (Vec<&str>, Vec<&str>) = words.split('+').partition(|word| word.contains('-'));
    let mut bytes = BytesMut::new();
    bytes.put_i16(3);
    bytes.put_i32(topics.len() as i32);
    for topic in topics {
        bytes.put_i16(topic.len() as i16);
        bytes.put_slice(topic.as_bytes());
    }
    bytes.put_i32(-1);
    put_embedded(&mut bytes, &owned);
    bytes.put_i32(0);
    bytes.put_i16(-1);
    bytes.freeze()
}

/// An assignment as leaders write it, version 3: `@t-0+t-1`. Other text stays.
pub(super) fn embedded_assignment(assignment: &str) -> Bytes {
    let Some(words) = assignment.strip_prefix('@') else { return Bytes::copy_from_slice(assignment.as_bytes()) };
    let partitions: Vec<&str> = words.split('+').filter(|word| !word.is_empty()).collect();
    let mut bytes = BytesMut::new();
    bytes.put_i16(3);
    put_embedded(&mut bytes, &partitions);
    bytes.put_i32(-1);
    bytes.freeze()
}

fn put_embedded(bytes: &mut BytesMut, partitions: &[&str]) {
    bytes.put_i32(partitions.len() as i32);
    for word in partitions {
        let (topic, partition) = topic_partition(word);
        bytes.put_i16(topic.len() as i16);
        bytes.put_slice(topic.as_bytes());
        bytes.put_i32(1);
        bytes.put_i32(partition);
    }
}
