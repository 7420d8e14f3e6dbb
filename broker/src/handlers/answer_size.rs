//! How much memory the answer to a request is likely to take, before it is worked at. Pure.
//!
//! An answer that may be large waits until the shard has room for it. The numbers are of the message library's decoded
//! structs with what their encoding takes beside them, rounded up; they need not be right, only not far too small.

use metadata::image::MetadataImage;
use protocol::TopicId;
use protocol::request::RequestBody;
use protocol::request_guard::Measured;

/// An element of the answer for an element of the request, as most APIs have it.
const ELEMENT_BYTES: usize = 128;
/// A topic and a partition in answers that describe them.
const TOPIC_BYTES: usize = 256;
const PARTITION_BYTES: usize = 256;
/// All configs of one resource, with their synonyms.
const RESOURCE_BYTES: usize = 32 * 1024;
/// About groups.
const GROUPS_BYTES: usize = 64 * 1024;
/// Partitions that DescribeTopicPartitions answers at most (KIP-966).
const DESCRIBED_PARTITIONS_MAX: usize = 2_000;

/// For an answer that has an element for each of the request's.
pub fn of_elements(measured: Measured) -> usize {
    (measured.elements + measured.fixed_elements).saturating_mul(ELEMENT_BYTES)
}

/// For the answer to `body`.
pub fn estimate(body: &RequestBody, measured: Measured, image: &MetadataImage) -> usize {
    let whole_cluster = || image.topic_count() * TOPIC_BYTES + image.partition_count() * PARTITION_BYTES;
    let about_cluster = match body {
        RequestBody::Metadata(request) => match &request.topics {
            Some(topics) if !topics.is_empty() => {
                let partitions = topics.iter().filter_map(|asked| {
                    let named = asked.name.as_ref().and_then(|name| image.topic(name.as_str()));
                    named.or_else(|| image.topic_by_id(TopicId(asked.topic_id)))
                });
                let partitions: usize = partitions.map(|topic| topic.partition_count().max(0) as usize).sum();
                // A topic that is named again is answered once.
                (topics.len() * TOPIC_BYTES + partitions * PARTITION_BYTES).min(whole_cluster())
            }
            // None, or in version 0 all.
            Some(_) | None => whole_cluster(),
        },
        RequestBody::DescribeTopicPartitions(_) => {
            DESCRIBED_PARTITIONS_MAX.min(image.partition_count()) * PARTITION_BYTES
        }
        RequestBody::DescribeLogDirs(_) | RequestBody::ListPartitionReassignments(_) => whole_cluster(),
        RequestBody::DescribeConfigs(request) => {
            request.resources.len().min(image.topic_count() + image.brokers().count() + 1) * RESOURCE_BYTES
        }
        // What there is of groups is not known here; each has room for much before it is worked at.
        RequestBody::ListGroups(_)
        | RequestBody::DescribeGroups(_)
        | RequestBody::ConsumerGroupDescribe(_)
        | RequestBody::OffsetFetch(_) => GROUPS_BYTES,
        _ => 0,
    };
    of_elements(measured).saturating_add(about_cluster)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::assignment::testing::{TOPIC, image_of};
    use crate::shard::budget::SMALL_BYTES;
    use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
    use kafka_protocol::messages::{MetadataRequest, TopicName};

    fn measured(elements: usize) -> Measured {
        Measured { bytes: 0, elements, fixed_elements: 0 }
    }

    fn metadata(topics: Option<Vec<&'static str>>) -> RequestBody {
        let named = |name| MetadataRequestTopic::default().with_name(Some(TopicName(protocol::StrBytes::from(name))));
        let topics = topics.map(|names| names.into_iter().map(named).collect());
        MetadataRequest::default().with_topics(topics).into()
    }

    #[test]
    fn an_answer_about_the_cluster_grows_with_it() {
        let partition: (&[i32], Option<i32>, i32) = (&[1], Some(1), 0);
        let image = image_of(&[1], &[partition; 200]);
        let of = |topics, elements| estimate(&metadata(topics), measured(elements), &image);
        let all = of(None, 0);
        assert!(all > 200 * PARTITION_BYTES, "{all}");
        assert!(of(Some(vec![TOPIC]), 1) >= 200 * PARTITION_BYTES);
        assert!(of(Some(vec!["missing"]), 1) <= SMALL_BYTES);
        let often = of(Some(vec![TOPIC; 1000]), 1000);
        assert!(often < 2 * all + 1000 * ELEMENT_BYTES, "named again, answered once: {often}");
    }

    #[test]
    fn other_answers_grow_with_their_requests() {
        let body = RequestBody::from(kafka_protocol::messages::OffsetForLeaderEpochRequest::default());
        let image = image_of(&[1], &[]);
        assert!(estimate(&body, measured(10), &image) <= SMALL_BYTES);
        assert!(estimate(&body, measured(100_000), &image) >= 100_000 * 50);
    }
}
