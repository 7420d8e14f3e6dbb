//! Waiting within one shard, on any executor.
//!
//! [`Notify`] is a condition variable for a single thread: a waiter re-checks its own condition whenever it is woken, so
//! a spurious or late wake-up costs one check and a missed one is impossible.
//!
//! Deliberately absent: threads, time, fairness. Waiters may be dropped at any point.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Wakes tasks of this thread that wait for some condition to become true.
#[derive(Debug, Default)]
pub(crate) struct Notify {
    waiters: RefCell<Vec<Waker>>,
}

impl Notify {
    /// Wakes every waiter, for each to look at its condition again.
    pub(crate) fn notify_all(&self) {
        let waiters = std::mem::take(&mut *self.waiters.borrow_mut());
        for waiter in waiters {
            waiter.wake();
        }
    }

    /// Resolves with the first value that `condition` gives. It is called at once and again after each notification.
    pub(crate) async fn wait_for<T>(&self, mut condition: impl FnMut() -> Option<T>) -> T {
        poll_fn(|cx| {
            if let Some(value) = condition() {
                return Poll::Ready(value);
            }
            let mut waiters = self.waiters.borrow_mut();
            if !waiters.iter().any(|waiter| waiter.will_wake(cx.waker())) {
                waiters.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}
