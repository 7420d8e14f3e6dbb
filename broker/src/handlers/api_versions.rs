//! ApiVersions (key 18), versions 0-4. An unknown version is answered before decoding, in [`super::dispatch`].

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use protocol::api_versions::{api_versions_response, is_valid_client_software};

use super::Context;

/// First version in which the client names its software (KIP-511).
const VERSION_CLIENT_SOFTWARE: i16 = 3;

pub fn handle(context: &Context, request: ApiVersionsRequest) -> ApiVersionsResponse {
    if context.version() >= VERSION_CLIENT_SOFTWARE
        && !(is_valid_client_software(&request.client_software_name)
            && is_valid_client_software(&request.client_software_version))
    {
        return ApiVersionsResponse::default().with_error_code(ResponseError::InvalidRequest.code());
    }
    tracing::debug!(
        peer = %context.connection.peer,
        software = %request.client_software_name,
        version = %request.client_software_version,
        "client"
    );
    api_versions_response()
}
