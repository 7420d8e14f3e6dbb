//! Why a broker did not tell what it was asked.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::ResponseError;
use protocol::ApiKey;
use protocol::api_versions::VersionRange;
use protocol::frame::FrameError;
use protocol::response_guard;

use super::args::BOOTSTRAP_VARIABLE;
use super::wrong_port::Spoken;
use crate::clock::rounded;

/// See the module's documentation. `address` is where the broker was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub(in crate::cli) enum ClientError {
    #[error("{address}: the host name cannot be resolved: {source}")]
    Unresolved { address: String, source: Arc<io::Error> },
    #[error("{address}: cannot connect: {source}{}", if_refused(source))]
    Connect { address: String, source: Arc<io::Error> },
    #[error(
        "{address} is not a broker's port for Kafka clients, but {}; the Kafka port is that of --kafka-addr (9092 by \
         default), and is given by --bootstrap-server or {BOOTSTRAP_VARIABLE}",
        spoken_there(*spoken)
    )]
    WrongPort { address: String, spoken: Spoken },
    #[error("{address}: the connection broke while {api} was asked: {source}")]
    Broken { address: String, api: ApiKey, source: Arc<io::Error> },
    #[error("{address} closed the connection when {api} was asked{}", if_closed(*api))]
    Closed { address: String, api: ApiKey },
    #[error("{address}: no answer to {api} within {}{}", rounded(*waited), if_silent(*api))]
    NoAnswer { address: String, api: ApiKey, waited: Duration },
    #[error("{address}: no connection within {} (--timeout allows more time)", rounded(*waited))]
    NoConnection { address: String, waited: Duration },
    #[error("{address}: what it answers to {api} is not the Kafka protocol: {source}; is this the Kafka port?")]
    Frame { address: String, api: ApiKey, source: FrameError },
    #[error("{address}: its answer to {api} {version} cannot be read: {source}; is this the Kafka port?")]
    Guard { address: String, api: ApiKey, version: i16, source: response_guard::ResponseError },
    #[error("{address}: its answer to {api} {version} cannot be read: {reason}; is this the Kafka port?")]
    Unreadable { address: String, api: ApiKey, version: i16, reason: String },
    #[error("{address}: {api} {version} cannot be asked for: {reason}")]
    Unwritable { address: String, api: ApiKey, version: i16, reason: String },
    #[error(
        "{address} does not serve {api} in a version that this program knows: it needs {} to {}, the broker has {}",
        needed.min, needed.max, range(*found)
    )]
    NotServed { address: String, api: ApiKey, needed: VersionRange, found: Option<VersionRange> },
    #[error("{address}: {api} was refused with {}", code_name(*error))]
    Refused { address: String, api: ApiKey, error: ResponseError },
    #[error("{address}: {api} for {what} was refused with {}{}", code_name(*error), said(message))]
    RefusedOf { address: String, api: ApiKey, what: String, error: ResponseError, message: Option<String> },
    #[error("{address}: its answer to {api} says nothing of {what}")]
    Silent { address: String, api: ApiKey, what: String },
    #[error("no broker could be asked: {}", tried.join("; "))]
    NoBroker { tried: Vec<String> },
}

impl ClientError {
    /// The broker was not reached, or went away: another may answer, or the same one later.
    pub(in crate::cli) fn is_of_connection(&self) -> bool {
        matches!(
            self,
            ClientError::Connect { .. }
                | ClientError::Broken { .. }
                | ClientError::Closed { .. }
                | ClientError::NoAnswer { .. }
                | ClientError::NoConnection { .. }
        )
    }

    /// The error code that a broker answered with.
    pub(in crate::cli) fn refusal(&self) -> Option<ResponseError> {
        match self {
            ClientError::Refused { error, .. } | ClientError::RefusedOf { error, .. } => Some(*error),
            _ => None,
        }
    }
}

fn if_refused(source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("; is the broker running? --bootstrap-server or {BOOTSTRAP_VARIABLE} name another")
        }
        _ => String::new(),
    }
}

/// What a broker may wait for that took a request. The first that it is asked is answered by any broker at once.
fn if_silent(api: ApiKey) -> &'static str {
    match api {
        ApiKey::ApiVersions => "; is this the Kafka port? (--timeout allows more time)",
        ApiKey::CreateTopics
        | ApiKey::DeleteTopics
        | ApiKey::CreatePartitions
        | ApiKey::IncrementalAlterConfigs
        | ApiKey::ElectLeaders
        | ApiKey::AlterPartitionReassignments
        | ApiKey::ListPartitionReassignments
        | ApiKey::InitProducerId => {
            ": the broker is there, and waits for the cluster's controller, it seems; `ringlog cluster status`, which asks the \
             internal port, prints whether one is elected (--timeout allows more time)"
        }
        ApiKey::Produce | ApiKey::DeleteRecords => {
            ": the broker is there, and waits for replicas in sync, it seems; `ringlog topic describe --under-replicated` prints \
             partitions that lack some (--timeout allows more time)"
        }
        _ => ": the broker is there, and has not answered this (--timeout allows more time)",
    }
}

fn spoken_there(spoken: Spoken) -> &'static str {
    match spoken {
        Spoken::Internal => "Ringlog's port for other brokers (--internal-addr)",
        Spoken::Http => "a port that speaks HTTP (--http-addr)",
        Spoken::Nothing | Spoken::Kafka | Spoken::Unknown => "something else",
    }
}

fn if_closed(api: ApiKey) -> &'static str {
    match api {
        ApiKey::ApiVersions => "; is this the Kafka port (without TLS)?",
        _ => ": did the broker stop?",
    }
}

fn range(found: Option<VersionRange>) -> String {
    found.map_or("none".to_owned(), |found| format!("{} to {}", found.min, found.max))
}

fn said(message: &Option<String>) -> String {
    message.as_ref().filter(|message| !message.is_empty()).map_or(String::new(), |message| format!(": {message}"))
}

/// What a broker says to a refusal, with the error's name; and what to do where it is not the request's fault.
pub(in crate::cli) fn refused(error: ResponseError, message: Option<&str>) -> String {
    let said = match message.map(str::trim).filter(|message| !message.is_empty()) {
        Some(message) => format!("{} ({})", message.trim_end_matches('.'), code_name(error)),
        None => code_name(error),
    };
    match error {
        ResponseError::NotController => {
            format!("{said}; `ringlog cluster status` prints whether a controller is elected")
        }
        _ => said,
    }
}

/// As Kafka's protocol guide writes it: `COORDINATOR_NOT_AVAILABLE`.
pub(in crate::cli) fn code_name(error: ResponseError) -> String {
    if let ResponseError::Unknown(code) = error {
        return format!("error code {code}");
    }
    let mut name = String::new();
    for letter in format!("{error:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_is_silent_is_not_taken_for_another_port() {
        let silent = |api| {
            let waited = Duration::from_micros(15_000_500);
            ClientError::NoAnswer { address: "a:1".to_owned(), api, waited }.to_string()
        };
        assert!(
            silent(ApiKey::ApiVersions)
                .starts_with("a:1: no answer to ApiVersions within 15 s; is this the Kafka port?")
        );
        for api in ApiKey::ALL.iter().copied().filter(|api| *api != ApiKey::ApiVersions) {
            assert!(!silent(api).contains("is this the Kafka port"), "{api}");
        }
        assert!(silent(ApiKey::CreateTopics).contains("waits for the cluster's controller"));
    }

    #[test]
    fn codes_have_kafkas_names() {
        assert_eq!(code_name(ResponseError::CoordinatorNotAvailable), "COORDINATOR_NOT_AVAILABLE");
        assert_eq!(code_name(ResponseError::UnknownServerError), "UNKNOWN_SERVER_ERROR");
        assert_eq!(code_name(ResponseError::Unknown(4711)), "error code 4711");
    }
}
