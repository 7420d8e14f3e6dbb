//! How many reads of a shard are in flight at its disk at once.
//!
//! A disk serves a commit among the reads that are queued there: behind many of them an acknowledgement takes tens of times
//! as long, while a few reads of a chunk each reach the disk's bandwidth all the same (measured in docs/performance.md). So
//! reads wait here instead of there, for their turn: few have it at a time, one while there are commits. What somebody
//! waits for goes before read-ahead, in the order of coming, and read-ahead leaves a turn free where there are several.
//!
//! Deliberately absent: writes and syncs, which never wait for a read.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// While there are no commits.
pub(crate) const IN_FLIGHT_MAX: usize = 16;
/// While there are.
const IN_FLIGHT_BESIDE_COMMITS: usize = 1;
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
    /// Of those, reads ahead.
    ahead_in_flight: Cell<usize>,
    demanded: RefCell<VecDeque<Rc<Waiter>>>,
    ahead: RefCell<VecDeque<Rc<Waiter>>>,
    is_committing: Cell<bool>,
    last_commit: Cell<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Waiter {
    has_turn: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// A read's place in the queue, then its turn; dropped when the read has ended, or is no longer wanted. The kernel may
/// still be at a read whose future was dropped; those are too few to matter.
#[derive(Debug)]
pub(crate) struct ReadTurn<'a> {
    limit: &'a ReadLimit,
    kind: ReadKind,
    waiter: Rc<Waiter>,
}

impl Drop for ReadTurn<'_> {
    fn drop(&mut self) {
        let ReadTurn { limit, kind, waiter } = self;
        if waiter.has_turn.get() {
            limit.in_flight.set(limit.in_flight.get() - 1);
            limit.ahead_in_flight.set(limit.ahead_in_flight.get() - usize::from(*kind == ReadKind::Ahead));
        } else {
            limit.queue(*kind).borrow_mut().retain(|other| !Rc::ptr_eq(other, waiter));
        }
        limit.give_turns(Instant::now());
    }
}

impl ReadLimit {
    pub(crate) fn begin_commit(&self) {
        self.is_committing.set(true);
    }

    pub(crate) fn end_commit(&self, now: Instant) {
        self.is_committing.set(false);
        self.last_commit.set(Some(now));
    }

    /// Waits until a read may begin.
    pub(crate) async fn turn(&self, kind: ReadKind) -> ReadTurn<'_> {
        let turn = ReadTurn { limit: self, kind, waiter: Rc::default() };
        self.queue(kind).borrow_mut().push_back(turn.waiter.clone());
        self.give_turns(Instant::now());
        poll_fn(|cx| {
            if turn.waiter.has_turn.get() {
                return Poll::Ready(());
            }
            *turn.waiter.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        turn
    }

    fn queue(&self, kind: ReadKind) -> &RefCell<VecDeque<Rc<Waiter>>> {
        match kind {
            ReadKind::Demanded => &self.demanded,
            ReadKind::Ahead => &self.ahead,
        }
    }

    /// Gives the turns that are free to those who are next.
    fn give_turns(&self, now: Instant) {
        let max = self.max(now);
        while self.in_flight.get() < max {
            let demanded = self.demanded.borrow_mut().pop_front();
            let waiter = match demanded {
                Some(waiter) => waiter,
                None if self.ahead_in_flight.get() + 1 < max || self.in_flight.get() == 0 => {
                    let Some(waiter) = self.ahead.borrow_mut().pop_front() else { return };
                    self.ahead_in_flight.set(self.ahead_in_flight.get() + 1);
                    waiter
                }
                None => return,
            };
            self.in_flight.set(self.in_flight.get() + 1);
            waiter.has_turn.set(true);
            if let Some(waker) = waiter.waker.take() {
                waker.wake();
            }
        }
    }

    fn max(&self, now: Instant) -> usize {
        let is_recent = |commit| now.saturating_duration_since(commit) < COMMITS_LAST;
        if self.is_committing.get() || self.last_commit.get().is_some_and(is_recent) {
            IN_FLIGHT_BESIDE_COMMITS
        } else {
            IN_FLIGHT_MAX
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake};

    use super::*;

    type Turn<'a> = Pin<Box<dyn Future<Output = ReadTurn<'a>> + 'a>>;

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A future for a turn, and how often it was woken.
    struct Asked<'a>(Turn<'a>, Arc<Count>);

    impl<'a> Asked<'a> {
        fn new(limit: &'a ReadLimit, kind: ReadKind) -> Asked<'a> {
            let mut asked = Asked(Box::pin(limit.turn(kind)), Arc::default());
            assert!(asked.poll().is_none(), "it has its turn at once");
            asked
        }

        fn poll(&mut self) -> Option<ReadTurn<'a>> {
            match self.0.as_mut().poll(&mut Context::from_waker(&self.1.clone().into())) {
                Poll::Ready(turn) => Some(turn),
                Poll::Pending => None,
            }
        }

        fn was_woken(&self) -> bool {
            self.1.0.load(Ordering::Relaxed) > 0
        }
    }

    fn at_once(limit: &ReadLimit, kind: ReadKind) -> ReadTurn<'_> {
        futures_util::FutureExt::now_or_never(limit.turn(kind)).expect("there is room")
    }

    #[test]
    fn fewer_reads_are_in_flight_beside_commits() {
        let limit = ReadLimit::default();
        let now = Instant::now();
        assert_eq!(limit.max(now), IN_FLIGHT_MAX);
        limit.begin_commit();
        assert_eq!(limit.max(now + Duration::from_secs(100)), IN_FLIGHT_BESIDE_COMMITS);
        limit.end_commit(now);
        assert_eq!(limit.max(now + COMMITS_LAST - Duration::from_nanos(1)), IN_FLIGHT_BESIDE_COMMITS);
        assert_eq!(limit.max(now + COMMITS_LAST), IN_FLIGHT_MAX);
    }

    #[test]
    fn turns_come_in_order_and_to_nobody_who_came_later() {
        let limit = ReadLimit::default();
        let mut turns: Vec<_> = (0..IN_FLIGHT_MAX).map(|_| at_once(&limit, ReadKind::Demanded)).collect();
        let mut first = Asked::new(&limit, ReadKind::Demanded);
        let mut second = Asked::new(&limit, ReadKind::Demanded);
        turns.pop();
        assert!(first.was_woken() && !second.was_woken());
        // Whoever gave it back and asks again comes last.
        let third = Asked::new(&limit, ReadKind::Demanded);
        assert!(second.poll().is_none());
        turns.push(first.poll().expect("it was woken"));
        turns.pop();
        assert!(second.was_woken() && !third.was_woken());
    }

    #[test]
    fn demanded_reads_go_first_and_giving_up_holds_up_nobody() {
        let limit = ReadLimit::default();
        let mut turns: Vec<_> = (0..IN_FLIGHT_MAX).map(|_| at_once(&limit, ReadKind::Demanded)).collect();
        let ahead = Asked::new(&limit, ReadKind::Ahead);
        let waits = Asked::new(&limit, ReadKind::Demanded);
        let has_its_turn = Asked::new(&limit, ReadKind::Demanded);
        drop(waits);
        turns.pop();
        assert!(has_its_turn.was_woken() && !ahead.was_woken(), "the demanded read is first");
        drop(has_its_turn);
        assert!(ahead.was_woken());
        drop(ahead);
        turns.clear();
        assert_eq!((limit.in_flight.get(), limit.ahead_in_flight.get()), (0, 0));
    }

    #[test]
    fn read_ahead_has_the_only_turn_if_nobody_demands_it() {
        let limit = ReadLimit::default();
        limit.begin_commit();
        let ahead = at_once(&limit, ReadKind::Ahead);
        let next = Asked::new(&limit, ReadKind::Ahead);
        let demanded = Asked::new(&limit, ReadKind::Demanded);
        drop(ahead);
        assert!(demanded.was_woken() && !next.was_woken());
        drop(demanded);
        assert!(next.was_woken());
    }

    #[test]
    fn read_ahead_leaves_a_turn_to_what_may_be_demanded() {
        let limit = ReadLimit::default();
        let _ahead: Vec<_> = (1..IN_FLIGHT_MAX).map(|_| at_once(&limit, ReadKind::Ahead)).collect();
        let waits = Asked::new(&limit, ReadKind::Ahead);
        let demanded = at_once(&limit, ReadKind::Demanded);
        drop(demanded);
        assert!(!waits.was_woken());
    }
}
