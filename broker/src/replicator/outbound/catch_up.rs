//! How many streams of a shard may have the disk read for them at once.
//!
//! What was read waits in memory for its turn, and what was sent waits in the follower's memory for its disk. When a broker
//! comes back after an hour, thousands of streams begin to catch up: they take turns, some at a time, each a piece.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use super::stream::OutStream;

/// Streams at once. Each has up to a read of the disk and a follower's window in memory.
const STREAMS_MAX: usize = 16;
/// After so many bytes a stream lets others go on, if there are any.
pub const PIECE_BYTES: u64 = 16 << 20;

/// See the module's documentation.
#[derive(Default)]
pub struct CatchUp {
    active: Cell<usize>,
    waiting: RefCell<VecDeque<Rc<OutStream>>>,
}

impl CatchUp {
    /// Lets a stream go on; where too many do already it is made ready when its turn comes, and gets `false`.
    pub fn enter(&self, stream: &Rc<OutStream>) -> bool {
        if self.active.get() < STREAMS_MAX {
            self.active.set(self.active.get() + 1);
            return true;
        }
        self.waiting.borrow_mut().push_back(stream.clone());
        false
    }

    /// A stream that was let go on has nothing on its way any more.
    pub fn leave(&self) {
        self.active.set(self.active.get() - 1);
        self.admit();
    }

    pub fn others_wait(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }

    /// Makes as many of those that wait ready as may go on. Also to be called now and then: one that was made ready may have
    /// nothing to send any more.
    pub fn admit(&self) {
        for _ in self.active.get()..STREAMS_MAX {
            let Some(next) = self.waiting.borrow_mut().pop_front() else { return };
            next.admitted();
        }
    }
}
