//! A wake-up for tasks of one shard: no lock, no atomics, never lost.
//!
//! Waiting is always `while !condition { event.listen().await }`. [`LocalEvent::listen`] notes the generation when it is
//! called, and a notification raises it, so one that comes between the check and the first poll still wakes the waiter.
//! A waiter that is dropped takes its waker with it: memory follows the number of those who wait now.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

#[derive(Default)]
pub struct LocalEvent {
    generation: Cell<u64>,
    waiting: RefCell<Waiting>,
}

/// The wakers of one generation, each at a place of its own.
#[derive(Default)]
struct Waiting {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

impl LocalEvent {
    /// Wakes every waiter.
    pub fn notify(&self) {
        self.generation.set(self.generation.get().wrapping_add(1));
        let waiting = self.waiting.take();
        for waker in waiting.wakers.into_iter().flatten() {
            waker.wake();
        }
    }

    /// Resolves at the next [`LocalEvent::notify`] after this call.
    pub fn listen(&self) -> Listen<'_> {
        Listen { event: self, generation: self.generation.get(), place: None }
    }
}

pub struct Listen<'a> {
    event: &'a LocalEvent,
    generation: u64,
    /// Where this waiter's waker is, while the generation lasts.
    place: Option<usize>,
}

impl Future for Listen<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.event.generation.get() != self.generation {
            return Poll::Ready(());
        }
        let mut waiting = self.event.waiting.borrow_mut();
        let place = match self.place {
            Some(place) => place,
            None => waiting.free.pop().unwrap_or_else(|| {
                waiting.wakers.push(None);
                waiting.wakers.len() - 1
            }),
        };
        match &mut waiting.wakers[place] {
            Some(waker) => waker.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
        drop(waiting);
        self.place = Some(place);
        Poll::Pending
    }
}

impl Drop for Listen<'_> {
    fn drop(&mut self) {
        // A notification has taken all wakers of its generation, this one too.
        if let Some(place) = self.place
            && self.event.generation.get() == self.generation
        {
            let mut waiting = self.event.waiting.borrow_mut();
            waiting.wakers[place] = None;
            waiting.free.push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn notification_between_listen_and_poll_is_not_lost() {
        let event = LocalEvent::default();
        let listen = event.listen();
        event.notify();
        assert!(listen.now_or_never().is_some());
    }

    #[test]
    fn earlier_notification_does_not_count() {
        let event = LocalEvent::default();
        event.notify();
        assert!(event.listen().now_or_never().is_none());
    }

    #[test]
    fn waiters_that_went_away_leave_nothing() {
        let event = LocalEvent::default();
        for _ in 0..1000 {
            assert!(event.listen().now_or_never().is_none());
        }
        assert_eq!(event.waiting.borrow().wakers.len(), 1);
    }

    #[test]
    fn a_waiter_dropped_after_a_notification_disturbs_nobody() {
        let event = LocalEvent::default();
        let mut old = event.listen();
        assert!((&mut old).now_or_never().is_none());
        event.notify();
        let mut new = event.listen();
        assert!((&mut new).now_or_never().is_none());
        drop(old);
        assert!(event.waiting.borrow().wakers[0].is_some(), "the new waiter's waker is still there");
        event.notify();
        assert!(new.now_or_never().is_some());
    }
}
