//! Kafka's error codes by name, in one place.
//!
//! The wire carries an `INT16`: 0 for success, otherwise [`ResponseError::code`]. Errors of other crates are mapped to
//! these names in `broker` only.

pub use kafka_protocol::error::ResponseError;

/// The error code of success.
pub const NONE: i16 = 0;

/// The error code of an optional error.
#[must_use]
pub fn code(error: Option<ResponseError>) -> i16 {
    error.map_or(NONE, |error| error.code())
}
