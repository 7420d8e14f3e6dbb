//! What is on the wire between Kafka clients and the broker, and nothing that acts on it.
//!
//! A connection's bytes go through [`frame`] (lengths), [`header`], [`request_guard`] (bounds) and the message library
//! into a [`request::Request`]; answers go back through [`response`], or through [`fetch_response`] where records are
//! not to be copied. A client checks what it is answered with [`response_guard`]. [`record_batch`] and [`records`] look at
//! the records themselves. What is served at all is one list, in [`api_versions`].
//!
//! Everything here is pure and takes bytes from anybody: none may panic, or allocate beyond what it was given.

pub mod api_versions;
pub mod error_code;
pub mod fetch_response;
pub mod frame;
pub mod header;
pub mod newtypes;
pub mod produce_records;
pub mod record_batch;
pub mod records;
pub mod request;
pub mod request_guard;
pub mod response;
pub mod response_guard;
#[cfg(test)]
mod testing;
mod topic_id_requests;

pub use api_versions::ApiKey;
/// Message structs of the Kafka protocol, from the `kafka-protocol` crate.
pub use kafka_protocol::messages;
pub use kafka_protocol::protocol::StrBytes;
pub use newtypes::{BrokerId, LeaderEpoch, Offset, PartitionId, ProducerId, TopicId};
