//! Requests of one connection that must not overtake each other.

use std::cell::Cell;
use std::rc::Rc;

use crate::shard::event::LocalEvent;

/// The two orders of a connection; see [`super`].
pub struct Lanes {
    pub fetch: Rc<Lane>,
    pub control: Rc<Lane>,
}

impl Lanes {
    pub fn new() -> Lanes {
        Lanes { fetch: Rc::default(), control: Rc::default() }
    }
}

/// Turns are taken in the order of [`Lane::join`], and one is at work at a time.
#[derive(Default)]
pub struct Lane {
    joined: Cell<u64>,
    turn: Cell<u64>,
    moved: LocalEvent,
}

/// A place in a lane, held from joining until dropped.
pub struct LaneTurn {
    lane: Rc<Lane>,
    number: u64,
}

impl Lane {
    /// Takes the next place.
    pub fn join(self: &Rc<Self>) -> LaneTurn {
        let number = self.joined.get();
        self.joined.set(number + 1);
        LaneTurn { lane: self.clone(), number }
    }
}

impl LaneTurn {
    /// Waits until all who joined earlier have left.
    pub async fn come(&self) {
        while self.lane.turn.get() != self.number {
            self.lane.moved.listen().await;
        }
    }
}

impl Drop for LaneTurn {
    fn drop(&mut self) {
        // Places are dropped out of turn only when the whole connection goes, and then nobody waits any more.
        if self.lane.turn.get() == self.number {
            self.lane.turn.set(self.number + 1);
            self.lane.moved.notify();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn turns_come_in_the_order_of_joining() {
        let lane = Rc::new(Lane::default());
        let first = lane.join();
        let second = lane.join();
        assert!(second.come().now_or_never().is_none());
        assert!(first.come().now_or_never().is_some());
        drop(first);
        assert!(second.come().now_or_never().is_some());
    }
}
