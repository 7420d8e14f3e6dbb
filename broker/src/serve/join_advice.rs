//! What whoever joins is told when nobody is found where `--join` says. Pure.
//!
//! The member may be yet to start, so this is tried for ever; but a wrong port is as likely, and what answers there tells.

use std::io;
use std::time::{Duration, Instant};

use crate::internal::handshake::HandshakeError;

/// Before the same is said of an address again.
const REPEAT_AFTER: Duration = Duration::from_secs(60);

const WANTED: &str = "--join wants a member's internal port (its --internal-addr, 9093 by default)";

/// What to do about an address. `is_own`: it is where this node itself is reached.
pub fn advice(error: &HandshakeError, is_own: bool) -> String {
    if is_own {
        return format!("it is this node's own address; {WANTED}");
    }
    let found = match error {
        HandshakeError::Io(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                return format!("nothing listens there; is that member running? {WANTED}");
            }
            io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                return format!(
                    "nothing answers there; is the host up, and does a firewall let this node through? {WANTED}"
                );
            }
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                "what listens there closed the connection without an answer, as a Kafka port does"
            }
            _ => return format!("is that the right address? {WANTED}"),
        },
        HandshakeError::NotOurs { found } if found.starts_with(b"HTTP/") => "an HTTP server answered",
        HandshakeError::NotOurs { .. } | HandshakeError::TooLong { .. } | HandshakeError::Malformed(_) => {
            "something else than Ringlog's internal port answered"
        }
        HandshakeError::TimedOut => "what listens there does not answer",
        HandshakeError::Refused(_) | HandshakeError::NotOffered { .. } => {
            return "that is a member, and it wants this node otherwise or not at all: see the error".to_owned();
        }
    };
    format!("{found}; {WANTED}")
}

/// What was said of one address: the same again only after a while, anything else at once.
#[derive(Debug, Default)]
pub struct Said {
    last: Option<(String, Instant)>,
    attempts: u64,
}

impl Said {
    /// Whether this is to be said now: then the number of attempts up to now.
    pub fn admit(&mut self, text: &str, now: Instant) -> Option<u64> {
        self.attempts += 1;
        let is_known = self.last.as_ref().is_some_and(|(said, at)| said == text && now < *at + REPEAT_AFTER);
        if is_known {
            return None;
        }
        self.last = Some((text.to_owned(), now));
        Some(self.attempts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::internal::handshake::Refused;

    #[test]
    fn what_answers_says_what_is_wrong() {
        let io = |kind: io::ErrorKind| HandshakeError::Io(kind.into());
        for (error, expected) in [
            (io(io::ErrorKind::ConnectionRefused), "nothing listens there"),
            (io(io::ErrorKind::TimedOut), "nothing answers there"),
            (io(io::ErrorKind::UnexpectedEof), "as a Kafka port does"),
            (io(io::ErrorKind::ConnectionReset), "as a Kafka port does"),
            (io(io::ErrorKind::Other), "is that the right address?"),
            (HandshakeError::NotOurs { found: *b"HTTP/1.1" }, "an HTTP server answered"),
            (HandshakeError::NotOurs { found: [0x15, 3, 3, 0, 2, 2, 50, 0] }, "something else"),
            (HandshakeError::TimedOut, "does not answer"),
        ] {
            let advice = advice(&error, false);
            assert!(advice.contains(expected) && advice.contains("internal port"), "{error:?}: {advice}");
        }
        let version = Refused::Version { oldest: 1, newest: 1, found_oldest: 2, found_newest: 2 };
        assert!(advice(&HandshakeError::Refused(version), false).contains("that is a member"));
        assert!(advice(&io(io::ErrorKind::ConnectionRefused), true).contains("own address"));
    }

    #[test]
    fn the_same_is_said_again_after_a_while_and_anything_else_at_once() {
        let (mut said, began) = (Said::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        assert_eq!(said.admit("a", at(0)), Some(1));
        assert_eq!(said.admit("a", at(1)), None);
        assert_eq!(said.admit("b", at(2)), Some(3));
        assert_eq!(said.admit("b", at(61)), None);
        assert_eq!(said.admit("b", at(62)), Some(5));
    }
}
