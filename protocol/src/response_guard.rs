//! What a client checks of an answer before it decodes it: the counterpart of [`crate::request_guard`].
//!
//! The peer may be anything that listens on a port. Its frame is bounded ([`crate::frame`]), and what passes here can be
//! decoded in memory proportional to its size: see the request guard for why that does not go without saying. Only the APIs
//! and versions that this program asks for are understood; the layouts are in `schema`.

use bytes::{Buf, Bytes};

use crate::api_versions::{ApiKey, VersionRange};
use crate::request_guard::{GuardError, Limits, check_tagged_fields, walk};

mod schema;
#[cfg(test)]
mod tests;

/// Structs, strings in arrays, and tagged fields that one answer may hold in total: some 200 bytes each once decoded.
pub const ELEMENTS_MAX: usize = 1 << 22;
/// Plain numbers in arrays (partitions, mostly) that one answer may hold in total.
pub const FIXED_ELEMENTS_MAX: usize = 1 << 24;

/// Why an answer cannot be what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    #[error("an answer of {have} bytes is too short for a header")]
    Truncated { have: usize },
    #[error("it carries correlation id {found} where {expected} was expected")]
    Correlation { expected: i32, found: i32 },
    #[error("bad tagged fields of the response header: {0}")]
    Header(GuardError),
    #[error("{0}")]
    Body(GuardError),
}

/// The versions of an API whose answers are understood; `None` for those that are not asked for.
#[must_use]
pub const fn understood(api: ApiKey) -> Option<VersionRange> {
    match schema::layout_of(api) {
        Some((min, max, _)) => Some(VersionRange { min, max }),
        None => None,
    }
}

/// Checks an answer and takes its header off, so that `frame` is the body that may be decoded.
///
/// # Panics
/// Never on any bytes. The version must be one that is [`understood`].
pub fn open(api: ApiKey, version: i16, correlation_id: i32, frame: &mut Bytes) -> Result<(), ResponseError> {
    let have = frame.len();
    let found = frame.first_chunk::<4>().ok_or(ResponseError::Truncated { have })?;
    let found = i32::from_be_bytes(*found);
    if found != correlation_id {
        return Err(ResponseError::Correlation { expected: correlation_id, found });
    }
    frame.advance(4);
    // The answer to ApiVersions has the oldest header, whatever its version: the client does not know yet what is spoken.
    if api.is_flexible(version) && api != ApiKey::ApiVersions {
        let bytes = check_tagged_fields(frame).map_err(ResponseError::Header)?;
        frame.advance(bytes);
    }
    let limits = Limits { elements: ELEMENTS_MAX, fixed_elements: FIXED_ELEMENTS_MAX };
    let (_, _, fields) = schema::layout_of(api).expect("only understood APIs are asked");
    walk(fields, api, version, frame, limits).map(|_| ()).map_err(ResponseError::Body)
}
