//! How much may wait for the next commit, and whose turn it is when that is used up.
//!
//! Contract: the write buffers of a shard hold at most the limit, or one larger batch. When there is no room, who wants some
//! queues, and is let in by turns as soon as a commit has taken what was gathered; nobody passes the queue. Without that,
//! those whose batches were just committed would come before those who wait, every time.
//!
//! Being let in is a pass for one append, to be used before the next await: it counts until then, until the next commit,
//! or until the commit loop finds nothing to do, so a pass that nobody uses holds up nobody.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

struct Waiter {
    bytes: u64,
    admitted: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// See the module's contract.
pub(crate) struct GatherRoom {
    limit_bytes: u64,
    /// In write buffers.
    gathered_bytes: Cell<u64>,
    /// Of waiters that were let in and do not know it yet.
    admitted_bytes: Cell<u64>,
    /// Of those that know it and have not appended.
    passed_bytes: Cell<u64>,
    queue: RefCell<VecDeque<Rc<Waiter>>>,
}

/// Leaves the queue, however the wait ends.
struct InQueue<'a>(&'a GatherRoom, Rc<Waiter>);

impl Drop for InQueue<'_> {
    fn drop(&mut self) {
        let InQueue(room, waiter) = self;
        if waiter.admitted.get() {
            // After a wait that was given up; one that came to its end has taken its bytes along.
            room.admitted_bytes.set(room.admitted_bytes.get() - waiter.bytes);
        } else {
            room.queue.borrow_mut().retain(|other| !Rc::ptr_eq(other, waiter));
        }
        room.admit_in_order();
    }
}

impl GatherRoom {
    pub(crate) fn new(limit_bytes: usize) -> GatherRoom {
        GatherRoom {
            limit_bytes: limit_bytes as u64,
            gathered_bytes: Cell::new(0),
            admitted_bytes: Cell::new(0),
            passed_bytes: Cell::new(0),
            queue: RefCell::default(),
        }
    }

    fn has_room(&self, bytes: u64) -> bool {
        let used = self.gathered_bytes.get() + self.admitted_bytes.get() + self.passed_bytes.get();
        used == 0 || used + bytes <= self.limit_bytes
    }

    /// Whether `bytes` may be appended now, without a pass.
    pub(crate) fn admits(&self, bytes: u64) -> bool {
        self.queue.borrow().is_empty() && self.has_room(bytes)
    }

    /// Notes an append, and that a pass for `pass_bytes` (0: none) is used up.
    pub(crate) fn add(&self, bytes: u64, pass_bytes: u64) {
        self.gathered_bytes.set(self.gathered_bytes.get() + bytes);
        self.passed_bytes.set(self.passed_bytes.get().saturating_sub(pass_bytes));
    }

    /// A commit has taken what was gathered.
    pub(crate) fn take(&self) {
        self.gathered_bytes.set(0);
        self.lapse();
    }

    /// Those who have a pass have had the time to use it.
    pub(crate) fn lapse(&self) {
        self.passed_bytes.set(0);
        self.admit_in_order();
    }

    fn admit_in_order(&self) {
        let mut queue = self.queue.borrow_mut();
        while let Some(first) = queue.pop_front_if(|first| self.has_room(first.bytes)) {
            self.admitted_bytes.set(self.admitted_bytes.get() + first.bytes);
            first.admitted.set(true);
            if let Some(waker) = first.waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }

    /// For those who wait for what will not come any more.
    pub(crate) fn wake_all(&self) {
        let wakers: Vec<Waker> =
            self.queue.borrow().iter().filter_map(|waiter| waiter.waker.borrow_mut().take()).collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Queues for a pass for `bytes`; `false` if `is_ended` comes first.
    pub(crate) async fn wait(&self, bytes: u64, is_ended: impl Fn() -> bool) -> bool {
        let waiter = Rc::new(Waiter { bytes, admitted: Cell::new(false), waker: RefCell::new(None) });
        self.queue.borrow_mut().push_back(waiter.clone());
        let queued = InQueue(self, waiter);
        // There may be room by now.
        self.admit_in_order();
        poll_fn(|cx| {
            if queued.1.admitted.get() {
                self.passed_bytes.set(self.passed_bytes.get() + bytes);
                return Poll::Ready(true);
            }
            if is_ended() {
                return Poll::Ready(false);
            }
            *queued.1.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::Context;

    use super::*;

    fn poll(wait: Pin<&mut impl Future<Output = bool>>) -> Option<bool> {
        match wait.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(admitted) => Some(admitted),
            Poll::Pending => None,
        }
    }

    #[test]
    fn room_is_given_in_order_and_nobody_passes() {
        let room = GatherRoom::new(100);
        room.add(80, 0);
        assert!(room.admits(20) && !room.admits(21));
        let (mut large, mut small) = (pin!(room.wait(90, || false)), pin!(room.wait(20, || false)));
        let mut last = pin!(room.wait(20, || false));
        assert_eq!([poll(large.as_mut()), poll(small.as_mut()), poll(last.as_mut())], [None; 3]);
        // There is room for a small one, but others came first.
        assert!(!room.admits(5));
        room.take();
        assert!(!room.admits(1), "others wait");
        assert_eq!(poll(large.as_mut()), Some(true));
        assert_eq!(poll(small.as_mut()), None, "a pass counts before it is used");
        room.add(90, 90);
        assert_eq!(poll(small.as_mut()), None);
        room.take();
        assert_eq!((poll(small.as_mut()), poll(last.as_mut())), (Some(true), Some(true)));
        assert!(!room.admits(61));
        room.lapse();
        assert!(room.admits(1000), "a single one may be larger than the limit");
    }

    #[test]
    fn who_gives_up_or_is_ended_leaves_the_queue() {
        let room = GatherRoom::new(100);
        room.add(100, 0);
        let ended = Cell::new(false);
        {
            let mut first = Box::pin(room.wait(50, || false));
            let mut second = pin!(room.wait(60, || ended.get()));
            assert!(poll(first.as_mut()).is_none() && poll(second.as_mut()).is_none());
            room.take();
            // Let in, and gone before it knew: the next one's turn.
            drop(first);
            assert_eq!(poll(second.as_mut()), Some(true));
            room.add(60, 60);
            let mut third = pin!(room.wait(60, || ended.get()));
            assert!(poll(third.as_mut()).is_none());
            ended.set(true);
            room.wake_all();
            assert_eq!(poll(third.as_mut()), Some(false));
        }
        assert!(room.queue.borrow().is_empty() && room.admitted_bytes.get() + room.passed_bytes.get() == 0);
    }
}
