//! Waiting within one shard, on any executor.
//!
//! [`Notify`] is a condition variable for a single thread: a waiter re-checks its own condition whenever it is woken, so
//! a spurious or late wake-up costs one check and a missed one is impossible.
//!
//! Deliberately absent: threads, time, fairness. Waiters may be dropped at any point.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Lets every task run that is waiting to run now.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Wakes tasks of this thread that wait for some condition to become true.
#[derive(Debug, Default)]
pub(crate) struct Notify {
    waiters: RefCell<Vec<Waker>>,
    /// Notifications so far: says whether a waiter's place in `waiters` is still its own.
    notifications: Cell<u64>,
}

impl Notify {
    /// Wakes every waiter, for each to look at its condition again.
    pub(crate) fn notify_all(&self) {
        self.notifications.set(self.notifications.get() + 1);
        let waiters = std::mem::take(&mut *self.waiters.borrow_mut());
        for waiter in waiters {
            waiter.wake();
        }
    }

    /// Resolves with the first value that `condition` gives. It is called at once and again after each notification.
    pub(crate) async fn wait_for<T>(&self, mut condition: impl FnMut() -> Option<T>) -> T {
        let mut place: Option<(u64, usize)> = None;
        poll_fn(|cx| {
            if let Some(value) = condition() {
                return Poll::Ready(value);
            }
            let mut waiters = self.waiters.borrow_mut();
            match place {
                Some((notifications, at)) if notifications == self.notifications.get() => {
                    waiters[at].clone_from(cx.waker());
                }
                _ => {
                    place = Some((self.notifications.get(), waiters.len()));
                    waiters.push(cx.waker().clone());
                }
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::Context;

    use super::*;

    #[test]
    fn a_waiter_keeps_one_place_and_is_woken() {
        let (notify, ready) = (Notify::default(), Cell::new(false));
        let mut wait = pin!(notify.wait_for(|| ready.get().then_some(7)));
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..3 {
            assert!(wait.as_mut().poll(&mut cx).is_pending());
            assert!(wait.as_mut().poll(&mut cx).is_pending());
            assert_eq!(notify.waiters.borrow().len(), 1);
            notify.notify_all();
            assert!(notify.waiters.borrow().is_empty());
        }
        ready.set(true);
        assert_eq!(wait.as_mut().poll(&mut cx), Poll::Ready(7));
    }
}
