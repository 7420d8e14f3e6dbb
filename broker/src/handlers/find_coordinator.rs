//! FindCoordinator (key 10), versions 0-6: which broker coordinates a group.
//!
//! That is the leader of the `__consumer_offsets` partition that the group falls to, so every broker answers alike. The
//! first question creates the topic, and is answered once it is there. Transactions and share
//! groups are not served: their coordinators are refused as unsupported rather than promised for later.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::find_coordinator_response::{Coordinator, FindCoordinatorResponse};
use kafka_protocol::messages::{BrokerId, FindCoordinatorRequest};
use kafka_protocol::protocol::StrBytes;
use metadata::image::MetadataImage;
use metadata::record::BrokerState;
use protocol::PartitionId;

use super::topic_access::OFFSETS_TOPIC;
use super::{Context, availability};
use crate::groups::routing::partition_for_group;
use crate::logging::limit;

const KEY_TYPE_GROUP: i8 = 0;
const KEY_TYPE_TRANSACTION: i8 = 1;
const KEY_TYPE_SHARE: i8 = 2;
/// First version that asks for several keys at once (KIP-699).
const VERSION_BATCHED: i16 = 4;

pub async fn handle(context: &Context, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
    let version = context.version();
    let image = ready(context, request.key_type).await;
    let find = |key: &str| match &image {
        Ok(image) => coordinator_of(image, key, context.shard().cut_off()).ok_or_else(|| {
            let message = "no broker leads the group's partition at the moment";
            (ResponseError::CoordinatorNotAvailable, StrBytes::from_static_str(message))
        }),
        Err(refusal) => Err(refusal.clone()),
    };
    if version >= VERSION_BATCHED {
        let coordinators = request.coordinator_keys.into_iter().map(|key| {
            let coordinator = match find(&key) {
                Ok(broker) => Coordinator::default()
                    .with_node_id(BrokerId(broker.broker.0))
                    .with_host(broker.host.clone().into())
                    .with_port(broker.port.into()),
                Err((error, message)) => not_found(error, message),
            };
            coordinator.with_key(key)
        });
        return FindCoordinatorResponse::default().with_coordinators(coordinators.collect());
    }
    let response = FindCoordinatorResponse::default();
    match find(&request.key) {
        Ok(broker) => response
            .with_node_id(BrokerId(broker.broker.0))
            .with_host(broker.host.clone().into())
            .with_port(broker.port.into()),
        Err((error, message)) => {
            let response =
                response.with_error_code(error.code()).with_node_id(BrokerId(-1)).with_host("".into()).with_port(-1);
            if version >= 1 { response.with_error_message(Some(message)) } else { response }
        }
    }
}

fn not_found(error: ResponseError, message: StrBytes) -> Coordinator {
    Coordinator::default()
        .with_error_code(error.code())
        .with_error_message(Some(message))
        .with_node_id(BrokerId(-1))
        .with_host("".into())
        .with_port(-1)
}

/// The image in which coordinators of this type are to be looked up.
async fn ready(context: &Context, key_type: i8) -> Result<MetadataImage, (ResponseError, StrBytes)> {
    let refuse = |error: ResponseError, message: &'static str| Err((error, StrBytes::from_static_str(message)));
    match key_type {
        KEY_TYPE_GROUP => {}
        KEY_TYPE_TRANSACTION => return refuse(ResponseError::InvalidRequest, "transactions are not supported"),
        KEY_TYPE_SHARE => return refuse(ResponseError::InvalidRequest, "share groups are not supported"),
        _ => return refuse(ResponseError::InvalidRequest, "unknown coordinator key type"),
    }
    let shard = context.shard();
    if let Err(error) = shard.ensure_offsets_topic().await {
        if limit::REQUEST_FAILED.admit() {
            tracing::warn!(%error, "the topic of committed offsets could not be created");
        }
        return refuse(ResponseError::CoordinatorNotAvailable, "the topic of committed offsets cannot be created");
    }
    Ok(shard.image())
}

/// The broker that coordinates a group; `None` while none leads its partition, or the one that does is not known, or is this one
/// and cut off.
fn coordinator_of<'a>(
    image: &'a MetadataImage,
    group: &str,
    cut_off: Option<protocol::BrokerId>,
) -> Option<&'a BrokerState> {
    let topic = image.topic(OFFSETS_TOPIC).filter(|topic| topic.partition_count() > 0)?;
    let partition = PartitionId(partition_for_group(group, topic.partition_count()));
    image.broker(availability::leader_id(topic.partition(partition)?, cut_off)?).map(AsRef::as_ref)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::assignment::testing::{Assigned, TOPIC_ID, created, registration};

    #[test]
    fn a_group_is_coordinated_by_the_leader_of_its_partition() {
        // "a" falls to partition 1 of 4, "b" to 2, "c" to 3, "d" to 0.
        let partitions: [Assigned; 4] =
            [(&[1], Some(1), 0), (&[1, 2], Some(2), 0), (&[1], None, 3), (&[3], Some(3), 0)];
        let mut records = vec![registration(1), registration(2)];
        records.extend(created(TOPIC_ID, OFFSETS_TOPIC, &partitions));
        let image = MetadataImage::default().apply_batch(&records).unwrap().0;
        let found = |group| coordinator_of(&image, group, None).map(|broker| (broker.host.as_str(), broker.port));
        assert_eq!(found("d"), Some(("host1", 9001)));
        assert_eq!(found("a"), Some(("host2", 9002)));
        assert_eq!(found("b"), None, "nobody leads");
        assert_eq!(found("c"), None, "the leader is not registered");
        let cut_off = |group| coordinator_of(&image, group, Some(protocol::BrokerId(2))).map(|broker| broker.port);
        assert_eq!((cut_off("a"), cut_off("d")), (None, Some(9001)), "it does not send clients to itself");
        assert_eq!(coordinator_of(&MetadataImage::default(), "a", None), None, "no topic yet");
    }
}
