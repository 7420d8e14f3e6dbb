//! How the console's API answers: JSON that is laid out on another thread than the metadata core's, and errors that say what
//! to do.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

/// Bytes of one answer at most. All answers are bounded by what they hold; this is asserted of each.
pub const ANSWER_BYTES_MAX: usize = 8 << 20;

/// JSON that was laid out.
#[derive(Debug)]
pub struct Answer(Vec<u8>);

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsoleError {
    #[error("parameter {name} is {found:?}, which is not {expected}")]
    BadParameter { name: &'static str, found: String, expected: String },
    #[error("the address of the request cannot be read: {reason}")]
    BadAddress { reason: String },
    #[error("there is no such path in this API")]
    NoSuchPath,
    #[error("there is no topic {topic:?}")]
    NoSuchTopic { topic: String },
    #[error("topic {topic:?} has no partition {partition}: it has {partitions}")]
    NoSuchPartition { topic: String, partition: i32, partitions: i32 },
    #[error("there is no group {group:?}")]
    NoSuchGroup { group: String },
    #[error("there is no broker {broker}")]
    NoSuchBroker { broker: i32 },
    #[error("this broker does not show records")]
    RecordsNotShown,
    #[error("partition {topic}-{partition} has no leader now")]
    NoLeader { topic: String, partition: i32 },
    #[error("{what} could not be asked: {reason}")]
    NotReached { what: String, reason: String },
    #[error("this broker has not joined its cluster yet")]
    Joining,
    #[error("too many requests to the console at once")]
    Busy,
    #[error("the answer did not come in time")]
    Late,
    #[error("the answer would have {bytes} bytes")]
    TooLarge { bytes: usize },
    #[error("{host:?} is not a name of this broker")]
    ForeignHost { host: String },
}

impl ConsoleError {
    fn status(&self) -> StatusCode {
        match self {
            ConsoleError::BadParameter { .. } | ConsoleError::BadAddress { .. } => StatusCode::BAD_REQUEST,
            ConsoleError::NoSuchPath
            | ConsoleError::NoSuchTopic { .. }
            | ConsoleError::NoSuchPartition { .. }
            | ConsoleError::NoSuchGroup { .. }
            | ConsoleError::NoSuchBroker { .. } => StatusCode::NOT_FOUND,
            ConsoleError::RecordsNotShown => StatusCode::FORBIDDEN,
            ConsoleError::NotReached { .. } => StatusCode::BAD_GATEWAY,
            ConsoleError::NoLeader { .. } | ConsoleError::Joining | ConsoleError::Busy => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            ConsoleError::Late => StatusCode::GATEWAY_TIMEOUT,
            ConsoleError::TooLarge { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            ConsoleError::ForeignHost { .. } => StatusCode::MISDIRECTED_REQUEST,
        }
    }

    fn what_to_do(&self) -> &'static str {
        match self {
            ConsoleError::BadParameter { .. } | ConsoleError::BadAddress { .. } | ConsoleError::NoSuchPath => {
                "see docs/console.md for what may be asked"
            }
            ConsoleError::NoSuchTopic { .. } | ConsoleError::NoSuchPartition { .. } => {
                "it may have been deleted, or be too new for this broker to know; /api/v1/topics lists all"
            }
            ConsoleError::NoSuchGroup { .. } => {
                "it may have been deleted, or its offsets have expired; /api/v1/groups lists all"
            }
            ConsoleError::NoSuchBroker { .. } => "/api/v1/cluster lists all",
            ConsoleError::RecordsNotShown => {
                "start it with --console records to show records to whoever reaches its HTTP address"
            }
            ConsoleError::NoLeader { .. } => {
                "one of its replicas has to come back; `ringlog partition show` tells which"
            }
            ConsoleError::NotReached { .. } => {
                "try again; if it stays so, look whether that broker runs and can be reached from here"
            }
            ConsoleError::Joining => "wait until /health/ready says ready; the log tells what it waits for",
            ConsoleError::Busy | ConsoleError::Late => "try again in a second",
            ConsoleError::TooLarge { .. } => "ask for less at a time",
            ConsoleError::ForeignHost { .. } => {
                "use its IP address, or make the name known by --advertised-http-addr; other names are refused so that \
                 pages of other sites cannot read this one"
            }
        }
    }
}

impl IntoResponse for ConsoleError {
    fn into_response(self) -> Response {
        let status = self.status();
        let body = json!({ "error": self.to_string(), "what_to_do": self.what_to_do() }).to_string();
        let mut response = Answer(body.into_bytes()).into_response();
        *response.status_mut() = status;
        if self == ConsoleError::Busy {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
        (headers, self.0).into_response()
    }
}

pub type Answered = Result<Answer, ConsoleError>;

/// Does on another thread what takes long enough to keep the quorum waiting: what is made becomes JSON there too.
pub async fn laid_out<T: Serialize + 'static>(
    make: impl FnOnce() -> Result<T, ConsoleError> + Send + 'static,
) -> Answered {
    let made = tokio::task::spawn_blocking(move || {
        let bytes = serde_json::to_vec(&make()?).expect("answers hold nothing that JSON cannot");
        match bytes.len() {
            bytes_found if bytes_found > ANSWER_BYTES_MAX => Err(ConsoleError::TooLarge { bytes: bytes_found }),
            _ => Ok(Answer(bytes)),
        }
    });
    made.await.expect("a panic ends the process")
}

pub async fn no_such_path() -> ConsoleError {
    ConsoleError::NoSuchPath
}
