//! Whose turn it is on a connection that many streams share.
//!
//! Streams at the tail, whose follower is in sync, come before those that catch up; within each class they take turns by bytes
//! (deficit round robin). A stream that catches up has every eighth turn even so, or it never would.
//!
//! Nothing is kept of a stream that has nothing to send, so idle ones cost nothing.

use std::collections::VecDeque;

/// Bytes of a turn.
pub const TURN_BYTES: usize = 64 << 10;
/// Of so many turns one is for streams that catch up, if there are any.
const CATCH_UP_EVERY: u32 = 8;

/// What a stream's data are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The follower is in sync: producers wait for it.
    Tail,
    /// The follower is on its way there.
    CatchUp,
}

/// The streams that have something to send, by their numbers. A stream is in here once at most: whoever calls sees to it.
#[derive(Debug, Default)]
pub struct Turns {
    tail: VecDeque<Waiting>,
    catch_up: VecDeque<Waiting>,
    turn: u32,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    stream: u32,
    /// Bytes that it went over its last turn.
    debt: usize,
}

/// A stream's turn, to be given back by [`Turns::ended`].
#[derive(Debug)]
#[must_use]
pub struct Turn {
    pub stream: u32,
    class: Class,
    debt: usize,
}

impl Turns {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tail.is_empty() && self.catch_up.is_empty()
    }

    /// A stream has something to send.
    pub fn ready(&mut self, stream: u32, class: Class) {
        self.queue(class).push_back(Waiting { stream, debt: 0 });
    }

    /// A stream is gone.
    pub fn remove(&mut self, stream: u32) {
        self.tail.retain(|waiting| waiting.stream != stream);
        self.catch_up.retain(|waiting| waiting.stream != stream);
    }

    fn queue(&mut self, class: Class) -> &mut VecDeque<Waiting> {
        match class {
            Class::Tail => &mut self.tail,
            Class::CatchUp => &mut self.catch_up,
        }
    }

    /// The next turn, of at most [`TURN_BYTES`] or one batch that is larger.
    pub fn begin(&mut self) -> Option<Turn> {
        self.turn = self.turn.wrapping_add(1);
        let catch_up_first = self.turn.is_multiple_of(CATCH_UP_EVERY);
        let class = match (self.tail.is_empty(), self.catch_up.is_empty()) {
            (true, true) => return None,
            (false, true) => Class::Tail,
            (true, false) => Class::CatchUp,
            (false, false) if catch_up_first => Class::CatchUp,
            (false, false) => Class::Tail,
        };
        let queue = self.queue(class);
        loop {
            let mut first = queue.pop_front().expect("it is not empty");
            if first.debt < TURN_BYTES || queue.is_empty() {
                return Some(Turn { stream: first.stream, class, debt: first.debt });
            }
            // It has had this turn before.
            first.debt -= TURN_BYTES;
            queue.push_back(first);
        }
    }

    /// The turn's stream has sent `bytes`, and has more to send if `again` says of which class.
    pub fn ended(&mut self, turn: Turn, bytes: usize, again: Option<Class>) {
        if let Some(class) = again {
            let debt = (turn.debt + bytes).saturating_sub(TURN_BYTES);
            let debt = if class == turn.class { debt } else { 0 };
            self.queue(class).push_back(Waiting { stream: turn.stream, debt });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that each stream gets of `total`, if it sends pieces of its size for ever.
    fn shares(streams: &[(Class, usize)], total: usize) -> Vec<usize> {
        let mut turns = Turns::default();
        for (at, (class, _)) in streams.iter().enumerate() {
            turns.ready(at as u32, *class);
        }
        let mut sent = vec![0; streams.len()];
        while sent.iter().sum::<usize>() < total {
            let turn = turns.begin().expect("all go on for ever");
            let (class, piece) = streams[turn.stream as usize];
            let bytes = piece * (TURN_BYTES / piece).max(1);
            sent[turn.stream as usize] += bytes;
            turns.ended(turn, bytes, Some(class));
        }
        sent
    }

    #[test]
    fn streams_of_a_class_share_by_bytes_whatever_their_batches() {
        let sent = shares(&[(Class::Tail, 1 << 20), (Class::Tail, 100), (Class::Tail, TURN_BYTES)], 300 << 20);
        for bytes in sent {
            assert!((98 << 20..=102 << 20).contains(&bytes), "{bytes}");
        }
    }

    #[test]
    fn the_tail_comes_first_and_catching_up_is_never_starved() {
        let sent = shares(&[(Class::Tail, TURN_BYTES), (Class::CatchUp, TURN_BYTES)], 80 << 20);
        assert!((9 << 20..=11 << 20).contains(&sent[1]), "{sent:?}");
        let alone = shares(&[(Class::CatchUp, TURN_BYTES)], 1 << 20);
        assert_eq!(alone, [1 << 20]);
    }

    #[test]
    fn who_has_nothing_more_is_forgotten() {
        let mut turns = Turns::default();
        turns.ready(7, Class::Tail);
        turns.ready(8, Class::CatchUp);
        turns.remove(8);
        let turn = turns.begin().expect("one is ready");
        assert_eq!(turn.stream, 7);
        turns.ended(turn, 10, None);
        assert!(turns.is_empty() && turns.begin().is_none());
    }
}
