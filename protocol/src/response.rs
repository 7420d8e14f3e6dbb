//! From a response body to bytes for the socket: length, header, body.
//!
//! [`ResponseBody`] mirrors [`crate::request::RequestBody`]. FetchResponse can be encoded here too, but copies its
//! records: the data path uses [`crate::fetch_response`].

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages;
use kafka_protocol::protocol::Encodable;

use crate::api_versions::{ApiKey, served_apis};
use crate::frame::LENGTH_BYTES;
use crate::header::{put_response_header, response_header_bytes};

mod errors;
#[cfg(test)]
mod tests;

/// Why a response cannot be encoded: always our own mistake, never the client's.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The library refuses, for a field is set that the version does not have, or is too long.
    #[error("{api} response does not fit version {version}")]
    DoesNotFitVersion { api: ApiKey, version: i16, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{api} response of {bytes} bytes is longer than a frame can be")]
    TooLong { api: ApiKey, bytes: usize },
}

/// A response message that is served, with the API it belongs to.
pub trait Response: Encodable {
    const API: ApiKey;
}

macro_rules! define_response_body {
    ($($name:ident = $key:literal, $min:literal..$max:literal, flexible $flexible:expr,
        $request:ident, $response:ident;)*) => {
        /// The body of a response, one variant per API served.
        #[derive(Clone, Debug, PartialEq)]
        pub enum ResponseBody {
            $($name(messages::$response),)*
        }

        impl ResponseBody {
            /// The API whose response this is.
            #[must_use]
            pub fn api(&self) -> ApiKey {
                match self {
                    $(ResponseBody::$name(_) => ApiKey::$name,)*
                }
            }

            /// As [`encode_response`].
            pub fn encode(&self, version: i16, correlation_id: i32) -> Result<BytesMut, EncodeError> {
                match self {
                    $(ResponseBody::$name(body) => encode_response(body, version, correlation_id),)*
                }
            }
        }

        $(
            impl Response for messages::$response {
                const API: ApiKey = ApiKey::$name;
            }

            impl From<messages::$response> for ResponseBody {
                fn from(body: messages::$response) -> ResponseBody {
                    ResponseBody::$name(body)
                }
            }
        )*
    };
}
served_apis!(define_response_body);

/// The whole frame of a response: length, header in the version that belongs to `version` of the API, body.
pub fn encode_response<R: Response>(body: &R, version: i16, correlation_id: i32) -> Result<BytesMut, EncodeError> {
    let api = R::API;
    let does_not_fit = |source| EncodeError::DoesNotFitVersion { api, version, source };
    let size =
        response_header_bytes(api, version) + body.compute_size(version).map_err(|error| does_not_fit(error.into()))?;
    let length = i32::try_from(size).map_err(|_| EncodeError::TooLong { api, bytes: size })?;
    let mut out = BytesMut::with_capacity(LENGTH_BYTES + size);
    out.put_i32(length);
    put_response_header(&mut out, api, version, correlation_id);
    body.encode(&mut out, version).map_err(|error| does_not_fit(error.into()))?;
    debug_assert_eq!(out.len(), LENGTH_BYTES + size, "the library's size of a {api} response is off");
    Ok(out)
}
