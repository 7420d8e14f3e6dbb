//! How many reads of a shard are in flight at its disk at once.
//!
//! A disk serves a commit among the reads that are queued there: behind many of them an acknowledgement takes tens of times
//! as long, while a few reads of a chunk each reach the disk's bandwidth all the same (measured in docs/performance.md). So
//! reads wait here instead of there: few are in flight, fewer while there are commits, and what somebody waits for goes
//! before read-ahead.
//!
//! Deliberately absent: writes and syncs, which never wait for a read.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::sync::Notify;

/// While there are no commits.
const IN_FLIGHT_MAX: usize = 16;
/// While there are.
const IN_FLIGHT_BESIDE_COMMITS: usize = 2;
/// So long after a commit the next is expected.
const COMMITS_LAST: Duration = Duration::from_secs(1);

/// Who a read is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadKind {
    /// Somebody waits for it.
    Demanded,
    /// Nobody does yet.
    Ahead,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct ReadLimit {
    in_flight: Cell<usize>,
    /// Demanded reads that wait for their turn.
    demanded: Cell<usize>,
    last_commit: Cell<Option<Instant>>,
    changed: Notify,
}

/// One read's leave to be in flight; dropped when it has ended.
#[derive(Debug)]
pub(crate) struct ReadTurn<'a>(&'a ReadLimit);

impl Drop for ReadTurn<'_> {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
        self.0.changed.notify_all();
    }
}

/// A demanded read that waits, or no longer does.
struct Demand<'a>(&'a ReadLimit);

impl Drop for Demand<'_> {
    fn drop(&mut self) {
        self.0.demanded.set(self.0.demanded.get() - 1);
        self.0.changed.notify_all();
    }
}

impl ReadLimit {
    /// A commit begins.
    pub(crate) fn note_commit(&self, now: Instant) {
        self.last_commit.set(Some(now));
    }

    /// Waits until a read may begin.
    pub(crate) async fn turn(&self, kind: ReadKind) -> ReadTurn<'_> {
        let _demand = (kind == ReadKind::Demanded).then(|| {
            self.demanded.set(self.demanded.get() + 1);
            Demand(self)
        });
        self.changed.wait_for(|| self.may_begin(kind, Instant::now()).then(|| self.begin())).await
    }

    fn may_begin(&self, kind: ReadKind, now: Instant) -> bool {
        self.in_flight.get() < self.max(now) && (kind == ReadKind::Demanded || self.demanded.get() == 0)
    }

    /// At least one, so that whoever waits is woken when that has ended.
    fn max(&self, now: Instant) -> usize {
        match self.last_commit.get() {
            Some(commit) if now.saturating_duration_since(commit) < COMMITS_LAST => IN_FLIGHT_BESIDE_COMMITS,
            _ => IN_FLIGHT_MAX,
        }
    }

    fn begin(&self) -> ReadTurn<'_> {
        self.in_flight.set(self.in_flight.get() + 1);
        ReadTurn(self)
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn fewer_reads_are_in_flight_beside_commits() {
        let limit = ReadLimit::default();
        let now = Instant::now();
        assert_eq!(limit.max(now), IN_FLIGHT_MAX);
        limit.note_commit(now);
        assert_eq!(limit.max(now + COMMITS_LAST - Duration::from_nanos(1)), IN_FLIGHT_BESIDE_COMMITS);
        assert_eq!(limit.max(now + COMMITS_LAST), IN_FLIGHT_MAX);
    }

    #[test]
    fn demanded_reads_go_first_and_dropping_any_of_them_holds_up_nobody() {
        let limit = ReadLimit::default();
        let mut turns: Vec<_> =
            (0..IN_FLIGHT_MAX).map(|_| poll(pin!(limit.turn(ReadKind::Ahead))).expect("there is room")).collect();
        let mut ahead = pin!(limit.turn(ReadKind::Ahead));
        assert!(poll(ahead.as_mut()).is_none());
        {
            let mut given_up = pin!(limit.turn(ReadKind::Demanded));
            assert!(poll(given_up.as_mut()).is_none());
            turns.pop();
            assert!(poll(ahead.as_mut()).is_none(), "the demanded read is first");
        }
        let read_ahead = poll(ahead.as_mut()).expect("nobody else waits any more");
        let mut demanded = pin!(limit.turn(ReadKind::Demanded));
        assert!(poll(demanded.as_mut()).is_none());
        drop(read_ahead);
        assert!(poll(demanded.as_mut()).is_some());
        turns.clear();
        assert_eq!((limit.in_flight.get(), limit.demanded.get()), (0, 0));
    }
}
