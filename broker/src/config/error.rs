//! What can be wrong with a configuration.

use std::io;
use std::path::PathBuf;

use super::host_port::HostPort;
use super::origin::Origin;
use super::value::{ValueError, did_you_mean};

/// One thing wrong with the configuration. Every message says which place gave the value.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{origin}: cannot read the configuration file {}: {source}", path.display())]
    ReadFile { path: PathBuf, origin: Origin, source: io::Error },
    #[error("{}:{line}: not TOML: {message}", path.display())]
    Syntax { path: PathBuf, line: usize, message: String },
    #[error("{origin}: unknown setting {name:?}{}", did_you_mean(*suggestion))]
    UnknownName { name: String, origin: Origin, suggestion: Option<&'static str> },
    #[error("{origin}: {name} is {found} where {expected} is expected")]
    WrongType { name: String, origin: Origin, found: &'static str, expected: &'static str },
    #[error("{origin}: {name} is given twice")]
    Twice { name: String, origin: Origin },
    #[error("{origin}: {value:?} for {name} {reason}")]
    BadValue { name: &'static str, value: String, origin: Origin, reason: ValueError },
    #[error("{origin}: the value is not UTF-8 text")]
    NotUtf8 { origin: Origin },
    #[error("{origin}: {text:?} is not KEY=VALUE, as in num.partitions=3")]
    NotKeyValue { text: String, origin: Origin },
    #[error("{origin}: {source}")]
    Kafka { origin: Origin, source: metadata::config::ConfigError },
    /// Settings that are fine alone and exclude each other, so that no one place is to blame.
    #[error("Kafka settings: {0}")]
    KafkaConflict(metadata::config::ConfigError),
    #[error(
        "{origin}: {limit_bytes} bytes for {name} are less than a single request may have: raise it to \
         {request_bytes_max}, or lower socket.request.max.bytes"
    )]
    RequestNeverFits { name: &'static str, limit_bytes: u64, request_bytes_max: u64, origin: Origin },
    #[error("{origin}: {name} ({addr}) is a wildcard address, which nobody can connect to from elsewhere; {advice}")]
    AdvertisedWildcard { name: &'static str, addr: HostPort, origin: Origin, advice: String },
    #[error("{second_origin}: {second} ({addr}) is the same address as {first}; give each its own port")]
    SameAddress { first: &'static str, second: &'static str, second_origin: Origin, addr: HostPort },
}

/// Everything found wrong, in the order found; never empty.
#[derive(Debug, thiserror::Error)]
#[error("{}", lines(.0))]
pub struct ConfigErrors(pub Vec<ConfigError>);

fn lines(errors: &[ConfigError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> ConfigErrors {
        ConfigErrors(vec![error])
    }
}
