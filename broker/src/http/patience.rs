//! How long an HTTP connection may take for what it is at. Pure: the time is passed in.
//!
//! That bytes move is not enough, for one now and then would keep a place for ever. So a request has to be there, and an
//! answer to be taken, by a time that no further byte puts off.

use std::time::Duration;

use tokio::time::Instant;

/// What is waited for, and how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Any byte, in either direction.
    pub still: Duration,
    /// From a request's first byte to the first one of its answer.
    pub request: Duration,
    /// From an answer's first byte until the system has taken the last one.
    pub answer: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Before the first request and between two.
    Idle,
    Request {
        until: Instant,
    },
    Answer {
        until: Instant,
    },
}

/// With one connection.
#[derive(Debug)]
pub struct Patience {
    limits: Limits,
    at: At,
    /// When the last byte moved.
    moved: Instant,
}

impl Patience {
    pub fn new(limits: Limits, now: Instant) -> Patience {
        Patience { limits, at: At::Idle, moved: now }
    }

    /// Bytes came.
    pub fn received(&mut self, now: Instant) {
        self.moved = now;
        // What comes during an answer is of a request that is not looked at before that has gone.
        if self.at == At::Idle {
            self.at = At::Request { until: now + self.limits.request };
        }
    }

    /// The system has taken bytes.
    pub fn sent(&mut self, now: Instant) {
        self.moved = now;
        if !matches!(self.at, At::Answer { .. }) {
            self.at = At::Answer { until: now + self.limits.answer };
        }
    }

    /// The system has taken all bytes that there are.
    pub fn flushed(&mut self) {
        if matches!(self.at, At::Answer { .. }) {
            self.at = At::Idle;
        }
    }

    /// When it ends if nothing happens before.
    pub fn until(&self) -> Instant {
        let still = self.moved + self.limits.still;
        match self.at {
            At::Idle => still,
            At::Request { until } | At::Answer { until } => still.min(until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { still: Duration::from_secs(5), request: Duration::from_secs(10), answer: Duration::from_secs(20) };

    /// A patience from second 0 on, and what second one is.
    fn begun() -> (Patience, impl Fn(u64) -> Instant) {
        let begin = Instant::now();
        (Patience::new(LIMITS, begin), move |second| begin + Duration::from_secs(second))
    }

    #[test]
    fn no_byte_of_a_request_puts_its_end_off() {
        let (mut patience, at) = begun();
        assert_eq!(patience.until(), at(5));
        patience.received(at(4));
        assert_eq!(patience.until(), at(9), "nothing moves");
        for second in [8, 10, 13] {
            patience.received(at(second));
        }
        assert_eq!(patience.until(), at(14), "ten seconds after the first byte");
        // With nothing to send, that is no end of anything.
        patience.flushed();
        assert_eq!(patience.until(), at(14));
    }

    #[test]
    fn no_byte_of_an_answer_puts_its_end_off() {
        let (mut patience, at) = begun();
        patience.received(at(1));
        for second in (2..20).step_by(3) {
            patience.sent(at(second));
            // The next request, before it is its turn.
            patience.received(at(second + 1));
        }
        assert_eq!(patience.until(), at(22), "twenty seconds after the first byte");
    }

    #[test]
    fn each_request_has_its_own_time() {
        let (mut patience, at) = begun();
        for second in [0, 30, 60] {
            patience.received(at(second));
            patience.sent(at(second + 1));
            patience.flushed();
            assert_eq!(patience.until(), at(second + 6), "between requests only stillness counts");
        }
    }
}
