//! Why a load run failed: what, where, what was expected and what was found.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::client::ClientError;
use crate::interrupt::Interrupted;
use crate::load::verify::Fault;
use crate::load::wire::Malformed;

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    #[error("{broker}: {connection}: {action} failed: {source}")]
    Io { broker: SocketAddr, connection: String, action: &'static str, source: io::Error },
    #[error("{action} failed: {source}")]
    System { action: &'static str, source: io::Error },
    #[error("{broker} closed the connection of {connection}")]
    Closed { broker: SocketAddr, connection: String },
    #[error("{broker}: {connection}: an answer of {found} bytes is announced, expected at most {expected}")]
    AnswerSize { broker: SocketAddr, connection: String, expected: usize, found: usize },
    #[error("{broker}: {connection}: the answer has correlation id {found}, expected {expected}")]
    Correlation { broker: SocketAddr, connection: String, expected: i32, found: i32 },
    #[error("{broker}: {connection}: an answer came that was not asked for")]
    Unasked { broker: SocketAddr, connection: String },
    #[error("{broker}: {connection}: the answer is malformed: {source}")]
    Malformed { broker: SocketAddr, connection: String, source: Malformed },
    #[error("{broker}: {connection}: no answer within {seconds} s")]
    NoAnswer { broker: SocketAddr, connection: String, seconds: u64 },
    #[error("{request} of {connection} for {topic} partition {partition} gave error code {code} {message}")]
    Refused { request: &'static str, connection: String, topic: String, partition: i32, code: i16, message: String },
    #[error("{request} of {connection} gave error code {code}")]
    RequestRefused { request: &'static str, connection: String, code: i16 },
    #[error("{connection}: the answer is about partition {found} of {topic}, expected one of {expected:?}")]
    OtherPartition { connection: String, topic: String, expected: Vec<i32>, found: i32 },
    #[error("{connection}: the answer is about {found} partitions, expected {expected}")]
    PartitionCount { connection: String, expected: usize, found: usize },
    #[error("{connection}: the answer is about a topic or partition that was not asked for")]
    NotAsked { connection: String },
    #[error(
        "{topic} partition {partition}: a batch of {connection} was acknowledged at offset {found}, expected {expected} \
         or more"
    )]
    AcknowledgedBack { connection: String, topic: String, partition: i32, expected: i64, found: i64 },
    #[error(
        "{topic} partition {partition}: the offsets of its {batches} acknowledged batches are not each once those from \
         {first} to {end}"
    )]
    AcknowledgedTwice { topic: String, partition: i32, batches: u64, first: i64, end: i64 },
    #[error("{topic} partition {partition}: the log ends at offset {found}, expected {expected} by what was {by}")]
    EndOffset { topic: String, partition: i32, by: &'static str, expected: i64, found: i64 },
    #[error("{group}: {topic} partition {partition} at offset {offset}: {fault}")]
    Verify { group: String, topic: String, partition: i32, offset: i64, fault: Fault },
    #[error(
        "{group}: {topic} partition {partition} was read up to offset {found} only, expected {expected}; nothing came for \
         {seconds} s"
    )]
    Unread { group: String, topic: String, partition: i32, expected: i64, found: i64, seconds: u64 },
    #[error("{topic} is not there, and without producers nothing would be in it")]
    NoTopic { topic: String },
    #[error("{topic} has {found} partitions, expected {expected}")]
    Partitions { topic: String, expected: i32, found: usize },
    #[error("Metadata for {topic} gave error code {code}")]
    Metadata { topic: String, code: i16 },
    #[error("{topic} partition {partition} has no leader and all its replicas in sync after {limit:?}: {found}")]
    NotSettled { topic: String, partition: i32, limit: Duration, found: String },
    #[error(
        "{topic} partition {partition} ends with {in_sync} of {replicas} replicas in sync: not all of the load was replicated"
    )]
    OutOfSync { topic: String, partition: i32, replicas: usize, in_sync: usize },
    #[error("broker {id} is said to be at {address}, which cannot be resolved: {reason}")]
    Unresolved { id: i32, address: String, reason: String },
    #[error("{broker} is none of the brokers that the cluster tells of ({known}): it cannot be made the one leader")]
    NotListed { broker: SocketAddr, known: String },
    #[error(
        "{leaders} brokers lead partitions, and the load has {producers} producer(s) to connect to them: set producers to \
         {leaders} or more, or one_leader"
    )]
    TooFewProducers { leaders: usize, producers: usize },
    #[error("{broker} leads {found} partition(s) of a topic, fewer than partitions_per_request, which is {wanted}")]
    TooFewLed { broker: SocketAddr, found: usize, wanted: usize },
    #[error("{broker} serves {request} in versions {min} to {max}, expected one of {expected}")]
    Version { broker: SocketAddr, request: &'static str, min: i16, max: i16, expected: &'static str },
    #[error("{request} for {topic} gave error code {code} {message}")]
    Topic { request: &'static str, topic: String, code: i16, message: String },
    #[error("nothing to read: {topic} is empty")]
    Empty { topic: String },
}
