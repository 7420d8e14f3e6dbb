//! ListConfigResources (key 74), versions 0-1 (KIP-1142): the names of what may have configs.
//!
//! Groups are those that have configs of their own, topics and brokers all that there are. Each broker
//! has loggers. Client metrics (KIP-714) have no configs here, so there are none of them.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_config_resources_response::ConfigResource;
use kafka_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use kafka_protocol::protocol::StrBytes;
use metadata::image::MetadataImage;

use super::Context;
use super::config_resource::{TYPE_BROKER, TYPE_BROKER_LOGGER, TYPE_CLIENT_METRICS, TYPE_GROUP, TYPE_TOPIC};

/// In Kafka's order.
const TYPES: [i8; 5] = [TYPE_GROUP, TYPE_CLIENT_METRICS, TYPE_BROKER_LOGGER, TYPE_BROKER, TYPE_TOPIC];
/// First version in which the client says what it wants; before, it is client metrics.
const VERSION_TYPES: i16 = 1;

pub fn handle(context: &Context, request: &ListConfigResourcesRequest) -> ListConfigResourcesResponse {
    list(&context.shard().image(), context.version(), &request.resource_types)
}

fn list(image: &MetadataImage, version: i16, asked: &[i8]) -> ListConfigResourcesResponse {
    let answer = ListConfigResourcesResponse::default();
    if version < VERSION_TYPES {
        return answer;
    }
    if asked.iter().any(|asked| !TYPES.contains(asked)) {
        return answer.with_error_code(ResponseError::UnsupportedVersion.code());
    }
    let wanted = |resource_type| asked.is_empty() || asked.contains(&resource_type);
    let resource = |resource_type, name: String| {
        let name = StrBytes::from_string(name);
        ConfigResource::default().with_resource_type(resource_type).with_resource_name(name)
    };
    let mut resources = Vec::new();
    if wanted(TYPE_GROUP) {
        resources.extend(image.group_overrides().map(|(group, _)| resource(TYPE_GROUP, group.to_owned())));
    }
    if wanted(TYPE_BROKER_LOGGER) {
        resources
            .extend(image.unfenced_brokers().map(|broker| resource(TYPE_BROKER_LOGGER, broker.broker.to_string())));
    }
    if wanted(TYPE_BROKER) {
        resources.extend(image.unfenced_brokers().map(|broker| resource(TYPE_BROKER, broker.broker.to_string())));
    }
    if wanted(TYPE_TOPIC) {
        resources.extend(image.topics().map(|topic| resource(TYPE_TOPIC, topic.name.to_string())));
    }
    answer.with_config_resources(resources)
}

#[cfg(test)]
mod tests {
    use metadata::record::{self, MetadataRecord};

    use super::*;
    use crate::shard::assignment::testing::{TOPIC_ID, created, registration};

    #[test]
    fn what_is_asked_for_is_named() {
        let mut records = vec![registration(1)];
        records.extend(created(TOPIC_ID, "t", &[(&[1], Some(1), 0)]));
        records.push(MetadataRecord::ConfigChanged {
            resource: record::ConfigResource::Group("g".into()),
            name: "consumer.session.timeout.ms".into(),
            value: Some("50000".into()),
        });
        let image = MetadataImage::default().apply_batch(&records).unwrap().0;
        let listed = |version, asked: &[i8]| {
            let answer = list(&image, version, asked);
            let named = answer.config_resources.iter().map(|r| (r.resource_type, r.resource_name.to_string()));
            (answer.error_code, named.collect::<Vec<_>>())
        };
        let (group, topic) = ((32, "g".to_owned()), (2, "t".to_owned()));
        let (loggers, broker) = ((8, "1".to_owned()), (4, "1".to_owned()));
        assert_eq!(listed(1, &[]), (0, vec![group.clone(), loggers.clone(), broker, topic.clone()]));
        assert_eq!(listed(1, &[2]), (0, vec![topic]));
        assert_eq!(listed(1, &[8, 16, 32]), (0, vec![group, loggers]));
        assert_eq!(listed(1, &[32, 5]), (ResponseError::UnsupportedVersion.code(), vec![]));
        assert_eq!(listed(0, &[]), (0, vec![]));
    }
}
