//! Byte budgets that bound what one shard holds in memory for its clients.
//!
//! A budget is a counter, not a lock: nobody queues for it in a way that lets one stalled client hold up another. A
//! reader that finds its budget spent stops reading from its socket until bytes come back (TCP pushes back on the
//! client); a fetch that finds it spent answers with less.

use std::cell::Cell;
use std::rc::Rc;

use super::event::LocalEvent;

/// A number of bytes that may be held at once.
pub struct ByteBudget {
    limit_bytes: usize,
    used_bytes: Cell<usize>,
    released: LocalEvent,
}

impl ByteBudget {
    pub fn new(limit_bytes: usize) -> Rc<ByteBudget> {
        Rc::new(ByteBudget { limit_bytes, used_bytes: Cell::new(0), released: LocalEvent::default() })
    }

    #[cfg(test)]
    fn used_bytes(&self) -> usize {
        self.used_bytes.get()
    }

    /// Takes up to `want_bytes`, possibly none.
    pub fn take_up_to(self: &Rc<Self>, want_bytes: usize) -> Held {
        let bytes = want_bytes.min(self.limit_bytes.saturating_sub(self.used_bytes.get()));
        self.hold(bytes)
    }

    /// Takes `bytes` whether they fit or not: for what has already been received and cannot be un-received. The caller
    /// bounds it otherwise and calls [`ByteBudget::has_room`] before it takes in more.
    pub fn hold(self: &Rc<Self>, bytes: usize) -> Held {
        self.used_bytes.set(self.used_bytes.get() + bytes);
        Held { budget: self.clone(), bytes }
    }

    /// Waits until less than the limit is held.
    pub async fn has_room(&self) {
        while self.used_bytes.get() >= self.limit_bytes {
            self.released.listen().await;
        }
    }

    fn release(&self, bytes: usize) {
        let was_full = self.used_bytes.get() >= self.limit_bytes;
        self.used_bytes.set(self.used_bytes.get() - bytes);
        if was_full && self.used_bytes.get() < self.limit_bytes {
            self.released.notify();
        }
    }
}

/// Bytes taken from a [`ByteBudget`]; they go back when this is dropped.
pub struct Held {
    budget: Rc<ByteBudget>,
    bytes: usize,
}

impl Held {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives back all but `bytes`, or takes more so that `bytes` are held.
    pub fn resize(&mut self, bytes: usize) {
        if bytes < self.bytes {
            self.budget.release(self.bytes - bytes);
        } else {
            self.budget.used_bytes.set(self.budget.used_bytes.get() + bytes - self.bytes);
        }
        self.bytes = bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn takes_no_more_than_is_left_and_gives_back_on_drop() {
        let budget = ByteBudget::new(100);
        let first = budget.take_up_to(70);
        let second = budget.take_up_to(70);
        assert_eq!((first.bytes(), second.bytes()), (70, 30));
        drop(first);
        assert_eq!(budget.used_bytes(), 30);
        assert_eq!(budget.take_up_to(1000).bytes(), 70);
    }

    #[test]
    fn waits_only_while_full() {
        let budget = ByteBudget::new(100);
        let mut held = budget.hold(150);
        assert!(budget.has_room().now_or_never().is_none());
        held.resize(99);
        assert!(budget.has_room().now_or_never().is_some());
    }
}
