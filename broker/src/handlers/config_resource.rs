//! The resources of the config APIs: topics, groups and brokers, by Kafka's numbers.

use kafka_protocol::ResponseError;
use metadata::record::ConfigResource;
use protocol::BrokerId;

/// `resource_type` on the wire (Kafka's `ConfigResource.Type`).
pub const TYPE_TOPIC: i8 = 2;
pub const TYPE_BROKER: i8 = 4;
pub const TYPE_BROKER_LOGGER: i8 = 8;
pub const TYPE_CLIENT_METRICS: i8 = 16;
pub const TYPE_GROUP: i8 = 32;

/// Characters of a client's text that an error repeats.
const NAME_SHOWN_CHARS: usize = 300;

/// What a request names. An empty broker name is the default of all brokers.
pub fn parse(resource_type: i8, name: &str) -> Result<ConfigResource, (ResponseError, String)> {
    match resource_type {
        TYPE_TOPIC => Ok(ConfigResource::Topic(name.to_owned())),
        TYPE_GROUP => Ok(ConfigResource::Group(name.to_owned())),
        TYPE_BROKER if name.is_empty() => Ok(ConfigResource::BrokerDefault),
        TYPE_BROKER => match name.parse::<i32>() {
            // The number's usual form only, or one broker would have any number of names.
            Ok(id) if id.to_string() == name => Ok(ConfigResource::Broker(BrokerId(id))),
            _ => {
                let shown: String = name.chars().take(NAME_SHOWN_CHARS).collect();
                Err((ResponseError::InvalidRequest, format!("Node id must be an integer, but it is: {shown}")))
            }
        },
        other => Err((
            ResponseError::InvalidRequest,
            format!(
                "resource type {other} is not served: only topics (2), brokers (4) and groups (32) have configs here, and loggers of brokers (8) levels"
            ),
        )),
    }
}

/// The number and the name of a resource on the wire.
pub fn to_wire(resource: &ConfigResource) -> (i8, String) {
    match resource {
        ConfigResource::Topic(name) => (TYPE_TOPIC, name.clone()),
        ConfigResource::Group(name) => (TYPE_GROUP, name.clone()),
        ConfigResource::Broker(id) => (TYPE_BROKER, id.to_string()),
        ConfigResource::BrokerDefault => (TYPE_BROKER, String::new()),
    }
}

/// How one resource of an alteration is answered: its number and name, and the error if there is one.
pub struct Altered {
    pub resource_type: i8,
    pub resource_name: String,
    pub error: Option<(ResponseError, String)>,
}
