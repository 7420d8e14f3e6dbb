//! From a frame to a request: header, guard, body.
//!
//! [`RequestBody`] is a closed enum with a variant per API served, so a handler that is missing does not compile.
//! Bodies are the message library's own types; records and strings in them are slices of the frame, nothing is copied.
//! A value that outlives the request therefore keeps the whole frame alive: copy what is stored.

use bytes::Bytes;
use kafka_protocol::messages;
use kafka_protocol::protocol::Decodable;

use crate::api_versions::{ApiKey, VersionRange, served_apis};
use crate::header::{HeaderError, RequestHeader, parse_request_header};
use crate::request_guard::{self, GuardError, Measured};
use crate::topic_id_requests;

#[cfg(test)]
mod tests;

/// A decoded request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub header: RequestHeader,
    pub body: RequestBody,
}

/// Why a frame is not a request that can be handled.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The header names an API that is not served. Kafka closes the connection.
    #[error("API key {key} (version {version}) is not served")]
    UnknownApi { key: i16, version: i16, correlation_id: i32 },
    /// The header names a version that is not served. Kafka answers for ApiVersions, in version 0, and otherwise closes
    /// the connection.
    #[error("{api} version {version} is not served, only {} to {}", served.min, served.max)]
    UnsupportedVersion { api: ApiKey, version: i16, correlation_id: i32, served: VersionRange },
    /// The header itself is broken. The connection is to be closed.
    #[error("malformed request header")]
    MalformedHeader(#[source] HeaderError),
    /// Lengths, counts or nulls in the body are wrong. The connection is to be closed.
    #[error("malformed {api} request, version {version}, correlation id {correlation_id}")]
    MalformedBody { api: ApiKey, version: i16, correlation_id: i32, source: GuardError },
    /// The body has the right shape and still cannot be decoded: text that is not UTF-8. The connection is to be
    /// closed.
    #[error("{api} request, version {version}, correlation id {correlation_id}, cannot be decoded")]
    Undecodable { api: ApiKey, version: i16, correlation_id: i32, source: Box<dyn std::error::Error + Send + Sync> },
}

impl From<HeaderError> for RequestError {
    fn from(error: HeaderError) -> RequestError {
        match error {
            HeaderError::UnknownApi { key, version, correlation_id } => {
                RequestError::UnknownApi { key, version, correlation_id }
            }
            HeaderError::UnsupportedVersion { api, version, correlation_id, served } => {
                RequestError::UnsupportedVersion { api, version, correlation_id, served }
            }
            HeaderError::Truncated { .. }
            | HeaderError::ClientIdLength { .. }
            | HeaderError::ClientIdNotUtf8 { .. }
            | HeaderError::TaggedFields { .. } => RequestError::MalformedHeader(error),
        }
    }
}

macro_rules! define_request_body {
    ($($name:ident = $key:literal, $min:literal..$max:literal, flexible $flexible:expr,
        $request:ident, $response:ident;)*) => {
        /// The body of a request, one variant per API served.
        #[derive(Clone, Debug, PartialEq)]
        pub enum RequestBody {
            $($name(messages::$request),)*
        }

        impl RequestBody {
            /// The API whose request this is.
            #[must_use]
            pub fn api(&self) -> ApiKey {
                match self {
                    $(RequestBody::$name(_) => ApiKey::$name,)*
                }
            }
        }

        $(impl From<messages::$request> for RequestBody {
            fn from(body: messages::$request) -> RequestBody {
                RequestBody::$name(body)
            }
        })*

        /// The library's decoder for the API; the guard must have passed the same bytes.
        fn decode_body(
            api: ApiKey,
            version: i16,
            body: &mut Bytes,
        ) -> Result<RequestBody, Box<dyn std::error::Error + Send + Sync>> {
            Ok(match api {
                $(ApiKey::$name => RequestBody::$name(messages::$request::decode(body, version)?),)*
            })
        }
    };
}
served_apis!(define_request_body);

/// A frame whose header is known and whose body may be decoded, in memory that can be told from its measures.
#[derive(Clone, Debug)]
pub struct Inspected {
    pub header: RequestHeader,
    /// Of the body.
    pub measured: Measured,
    /// Bytes of the frame, without its length.
    pub frame_bytes: usize,
    body: Bytes,
}

/// Looks at one frame, without its length, and allocates nothing for its body: for callers that charge memory first.
/// Bytes after the last field are ignored, as Kafka does.
pub fn inspect(mut frame: Bytes) -> Result<Inspected, RequestError> {
    let frame_bytes = frame.len();
    let header = parse_request_header(&mut frame)?;
    let RequestHeader { api, version, correlation_id, .. } = header;
    let malformed = |source| RequestError::MalformedBody { api, version, correlation_id, source };
    let measured = request_guard::measure(api, version, &frame).map_err(malformed)?;
    Ok(Inspected { header, measured, frame_bytes, body: frame })
}

impl Inspected {
    /// Decodes the body.
    pub fn decode(mut self) -> Result<Request, RequestError> {
        let RequestHeader { api, version, correlation_id, .. } = self.header;
        let decoded = match topic_id_requests::decode(api, version, &mut self.body) {
            Ok(Some(by_id)) => Ok(by_id),
            Ok(None) => decode_body(api, version, &mut self.body),
            Err(error) => Err(error),
        };
        let undecodable = |source| RequestError::Undecodable { api, version, correlation_id, source };
        Ok(Request { header: self.header, body: decoded.map_err(undecodable)? })
    }
}

/// [`inspect`] and [`Inspected::decode`] in one go.
pub fn decode_request(frame: Bytes) -> Result<Request, RequestError> {
    inspect(frame)?.decode()
}
