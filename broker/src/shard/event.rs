//! A wake-up for tasks of one shard: no lock, no atomics, never lost.
//!
//! Waiting is always `while !condition { event.listen().await }`. [`LocalEvent::listen`] notes the generation when it is
//! called, and a notification raises it, so one that comes between the check and the first poll still wakes the waiter.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

#[derive(Default)]
pub struct LocalEvent {
    generation: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl LocalEvent {
    /// Wakes every waiter.
    pub fn notify(&self) {
        self.generation.set(self.generation.get().wrapping_add(1));
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    /// Resolves at the next [`LocalEvent::notify`] after this call.
    pub fn listen(&self) -> Listen<'_> {
        Listen { event: self, generation: self.generation.get() }
    }
}

pub struct Listen<'a> {
    event: &'a LocalEvent,
    generation: u64,
}

impl Future for Listen<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.event.generation.get() != self.generation {
            return Poll::Ready(());
        }
        let mut waiting = self.event.waiting.borrow_mut();
        if !waiting.iter().any(|w| w.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
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
}
