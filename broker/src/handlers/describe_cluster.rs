//! DescribeCluster (key 60), versions 0-2 (KIP-700, KIP-919, KIP-1073).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{BrokerId, DescribeClusterRequest, DescribeClusterResponse};

use super::{Context, availability};

/// First version that can ask for fenced brokers, and says which are (KIP-1073).
const VERSION_FENCED: i16 = 2;
/// `endpoint_type` of brokers; 2 asks for controllers, which is for controllers to answer.
const ENDPOINT_BROKERS: i8 = 1;
/// "Not asked for": authorized operations are a bit field, and this is what Kafka leaves in it.
const OPERATIONS_NOT_REQUESTED: i32 = i32::MIN;
/// Without authorization everything is allowed; the operations that make sense on a cluster: Create, Alter, Describe,
/// ClusterAction, DescribeConfigs, AlterConfigs, IdempotentWrite.
pub const CLUSTER_OPERATIONS: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;

pub fn handle(context: &Context, request: DescribeClusterRequest) -> DescribeClusterResponse {
    let shard = context.shard();
    let version = context.version();
    let response = DescribeClusterResponse::default();
    let response = if version >= 1 { response.with_endpoint_type(request.endpoint_type) } else { response };
    if version >= 1 && request.endpoint_type != ENDPOINT_BROKERS {
        return response.with_error_code(ResponseError::MismatchedEndpointType.code()).with_error_message(Some(
            format!("this is a broker: endpoint type {} is not served here", request.endpoint_type).into(),
        ));
    }
    let image = shard.image();
    let brokers = image
        .brokers()
        .filter(|broker| request.include_fenced_brokers || !broker.is_fenced())
        .map(|broker| {
            let response = DescribeClusterBroker::default()
                .with_broker_id(BrokerId(broker.broker.0))
                .with_host(broker.host.clone().into())
                .with_port(broker.port.into())
                .with_rack(broker.rack.clone().map(Into::into));
            if version >= VERSION_FENCED { response.with_is_fenced(broker.is_fenced()) } else { response }
        })
        .collect();
    let controller = availability::controller_id(&image, shard.broker_id());
    let operations =
        if request.include_cluster_authorized_operations { CLUSTER_OPERATIONS } else { OPERATIONS_NOT_REQUESTED };
    response
        .with_cluster_id(shard.settings().cluster_id.clone().into())
        .with_controller_id(BrokerId(controller.0))
        .with_brokers(brokers)
        .with_cluster_authorized_operations(operations)
}
