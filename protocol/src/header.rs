//! The header in front of every request and response (Kafka protocol guide, "Headers"; KIP-482).
//!
//! The first eight bytes of a request (API key, version, correlation id) mean the same in every version, so that even a
//! request of an unknown version can be answered. Request header version 0 belongs to ControlledShutdown 0 alone and is
//! deliberately absent, like the API.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;

use crate::api_versions::{ApiKey, VersionRange};
use crate::request_guard::{GuardError, check_tagged_fields};

/// Bytes of API key, version and correlation id.
const FIXED_BYTES: usize = 8;

/// Who asks for what, and how the answer finds its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    pub api: ApiKey,
    pub version: i16,
    /// Chosen by the client; its answer carries it back.
    pub correlation_id: i32,
    /// The client's `client.id`: a slice of the frame, so a copy is what to keep for longer than the request.
    pub client_id: Option<StrBytes>,
}

/// Why a request header cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("request header cut short: {have} bytes where at least {need} are needed")]
    Truncated { need: usize, have: usize },
    /// Kafka closes the connection.
    #[error("API key {key} (version {version}) is not served")]
    UnknownApi { key: i16, version: i16, correlation_id: i32 },
    /// Kafka closes the connection, but for ApiVersions, which is answered in version 0
    /// ([`crate::api_versions::unsupported_api_versions_response`]).
    #[error("{api} version {version} is not served, only {} to {}", served.min, served.max)]
    UnsupportedVersion { api: ApiKey, version: i16, correlation_id: i32, served: VersionRange },
    #[error("{api} version {version}: client id has length {length}, expected -1 or what fits the {have} bytes left")]
    ClientIdLength { api: ApiKey, version: i16, length: i16, have: usize },
    #[error("{api} version {version}: client id is not UTF-8")]
    ClientIdNotUtf8 { api: ApiKey, version: i16 },
    #[error("{api} version {version}: bad tagged fields of the request header")]
    TaggedFields { api: ApiKey, version: i16, source: GuardError },
}

/// Reads the header at the front of `frame` and leaves the body there. Unknown tagged fields are checked and skipped.
pub fn parse_request_header(frame: &mut Bytes) -> Result<RequestHeader, HeaderError> {
    let Some(fixed) = frame.first_chunk::<FIXED_BYTES>() else {
        return Err(HeaderError::Truncated { need: FIXED_BYTES, have: frame.len() });
    };
    let [k0, k1, v0, v1, c0, c1, c2, c3] = *fixed;
    let (key, version) = (i16::from_be_bytes([k0, k1]), i16::from_be_bytes([v0, v1]));
    let correlation_id = i32::from_be_bytes([c0, c1, c2, c3]);
    let Some(api) = ApiKey::from_key(key) else {
        return Err(HeaderError::UnknownApi { key, version, correlation_id });
    };
    let served = api.served();
    if !served.contains(version) {
        return Err(HeaderError::UnsupportedVersion { api, version, correlation_id, served });
    }
    frame.advance(FIXED_BYTES);
    let client_id = parse_client_id(api, version, frame)?;
    if api.request_header_version(version) >= 2 {
        let size = check_tagged_fields(frame).map_err(|source| HeaderError::TaggedFields { api, version, source })?;
        frame.advance(size);
    }
    Ok(RequestHeader { api, version, correlation_id, client_id })
}

/// The client id keeps its 2-byte length in flexible versions too, so that the header can be read before the version is
/// understood.
fn parse_client_id(api: ApiKey, version: i16, frame: &mut Bytes) -> Result<Option<StrBytes>, HeaderError> {
    let Some(length) = frame.first_chunk::<2>().copied().map(i16::from_be_bytes) else {
        return Err(HeaderError::Truncated { need: FIXED_BYTES + 2, have: FIXED_BYTES + frame.len() });
    };
    frame.advance(2);
    if length == -1 {
        return Ok(None);
    }
    match usize::try_from(length) {
        Ok(size) if size <= frame.len() => StrBytes::from_utf8(frame.split_to(size))
            .map(Some)
            .map_err(|_| HeaderError::ClientIdNotUtf8 { api, version }),
        _ => Err(HeaderError::ClientIdLength { api, version, length, have: frame.len() }),
    }
}

/// Bytes of the response header for a version of an API.
#[must_use]
pub const fn response_header_bytes(api: ApiKey, version: i16) -> usize {
    4 + api.response_header_version(version) as usize
}

/// Writes the response header: correlation id, and for flexible versions an empty set of tagged fields.
pub fn put_response_header(out: &mut BytesMut, api: ApiKey, version: i16, correlation_id: i32) {
    out.put_i32(correlation_id);
    if api.response_header_version(version) >= 1 {
        out.put_u8(0);
    }
}

#[cfg(test)]
mod tests;
