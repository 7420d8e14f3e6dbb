//! The leader's end of a stream.
//!
//! A stream carries one partition's batches to one follower in one leader epoch. First the two find out where their logs part
//! ([`crate::divergence`]); from there on batches are pushed as they are appended, whether they are on the leader's disk yet or
//! not, as many as the follower's window allows to be on their way to its disk. So a follower that is slow holds up nobody but
//! itself.
//!
//! Who executes reads the log and sends; see [`Sender::window`] and [`Sender::on_sent`].

use std::collections::VecDeque;

use protocol::newtypes::{LeaderEpoch, Offset};

use crate::divergence::{BatchMark, LogTail, LogView, Meeting, Verdict, judge, meet};
use crate::message::{Progress, Reason, ToFollower};

#[cfg(test)]
mod tests;

/// What is to be done for a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// To be sent; the follower answers with its position.
    Send(ToFollower),
    /// The leader's batches that contain these offsets are to be looked up, and given to [`Sender::on_met`].
    LookUp { before: Option<Offset>, after: Option<Offset> },
    /// The two agree, and the follower has everything before `end`: batches follow.
    Agreed { end: Offset },
    /// The stream cannot go on; the follower is told why.
    Close(Reason),
}

/// See the module's documentation.
///
/// Invariants, while batches are sent: `durable <= next`, and the batches in flight are those between.
#[derive(Clone, Debug)]
pub struct Sender {
    leader_epoch: LeaderEpoch,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// The follower's position is awaited; a log within `expected`, if it was told to cut.
    Positioning {
        expected: Option<Expected>,
    },
    /// The leader's batches are being looked up.
    Meeting {
        tail: LogTail,
        window_bytes: usize,
        /// Where the leader's log begins, if the follower's is to begin there as well.
        starts_anew: Option<Offset>,
    },
    Sending(Sending),
    Closed,
}

/// What a follower's log must be like after a cut.
#[derive(Clone, Copy, Debug)]
enum Expected {
    Cut { epoch: LeaderEpoch, end: Offset },
    EmptyAt(Offset),
}

#[derive(Clone, Debug)]
struct Sending {
    /// To be sent next.
    next: Offset,
    durable: Offset,
    window_bytes: usize,
    in_flight: VecDeque<(Offset, usize)>,
    in_flight_bytes: usize,
    told: Progress,
}

impl Sender {
    /// A stream that was opened by [`ToFollower::Open`].
    #[must_use]
    pub fn new(leader_epoch: LeaderEpoch) -> Sender {
        Sender { leader_epoch, state: State::Positioning { expected: None } }
    }

    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// Whether acknowledgements count.
    #[must_use]
    pub fn has_agreed(&self) -> bool {
        matches!(self.state, State::Sending(_))
    }

    /// The follower says how its log ends.
    pub fn on_position(&mut self, tail: LogTail, window_bytes: usize, log: &dyn LogView) -> Step {
        let State::Positioning { expected } = self.state else {
            return self.close(Reason::Violation("a position that was not asked for".to_owned()));
        };
        if let Err(violation) = check(&tail, expected) {
            return self.close(Reason::Violation(violation));
        }
        match judge(&tail, log) {
            Verdict::Agrees => {
                let has_both = tail.last_batch.is_some() && log.log_start() < tail.log_end;
                let before = has_both.then(|| tail.log_end.prev());
                // An empty log may begin within a batch.
                let after = (tail.last_batch.is_none() && tail.log_end < log.log_end()).then_some(tail.log_end);
                self.state = State::Meeting { tail, window_bytes, starts_anew: None };
                Step::LookUp { before, after }
            }
            Verdict::Cut { epoch, end } => {
                self.state = State::Positioning { expected: Some(Expected::Cut { epoch, end }) };
                Step::Send(ToFollower::Cut { epoch, end })
            }
            Verdict::Restart => {
                // The log may begin within a batch, and only whole ones can be sent.
                let after = (log.log_start() < log.log_end()).then_some(log.log_start());
                self.state = State::Meeting { tail, window_bytes, starts_anew: Some(log.log_start()) };
                Step::LookUp { before: None, after }
            }
            Verdict::Ahead { found, newest } => {
                let text = format!("the follower's log has leader epoch {found}, and the leader's newest is {newest}");
                self.close(Reason::Diverged(text))
            }
        }
    }

    /// The leader's batches that were to be looked up; `None` where the log has none.
    pub fn on_met(&mut self, before: Option<BatchMark>, after: Option<BatchMark>, told: Progress) -> Step {
        let State::Meeting { tail, window_bytes, starts_anew } = self.state else { return self.close(Reason::Over) };
        let restart = |sender: &mut Sender, at| {
            sender.state = State::Positioning { expected: Some(Expected::EmptyAt(at)) };
            Step::Send(ToFollower::Restart { at })
        };
        if let Some(log_start) = starts_anew {
            let begin = after.map_or(log_start, |batch| batch.base_offset);
            // Begun there already, it may lie before the leader's log start: what it lacks comes with the batch there.
            if tail.log_end != begin || tail.last_batch.is_some() || tail.latest_epoch != LeaderEpoch::UNKNOWN {
                return restart(self, begin);
            }
        }
        match meet(&tail, before, after) {
            Meeting::Within { base_offset } => restart(self, base_offset),
            Meeting::Same => {
                let (next, durable) = (tail.log_end, tail.log_end);
                let (in_flight, in_flight_bytes) = (VecDeque::new(), 0);
                self.state = State::Sending(Sending { next, durable, window_bytes, in_flight, in_flight_bytes, told });
                Step::Agreed { end: tail.log_end }
            }
            Meeting::Differ { leader, follower } => {
                let text = format!("the follower has the batch {follower}, and the leader {leader}");
                self.close(Reason::Diverged(text))
            }
        }
    }

    fn close(&mut self, reason: Reason) -> Step {
        self.state = State::Closed;
        Step::Close(reason)
    }

    /// From where to send next, and at most how many bytes; one batch may be more if `at_least_one`. `None` while nothing may
    /// be sent.
    #[must_use]
    pub fn window(&self) -> Option<Window> {
        let State::Sending(sending) = &self.state else { return None };
        let bytes = sending.window_bytes.saturating_sub(sending.in_flight_bytes);
        let at_least_one = sending.in_flight.is_empty();
        (bytes > 0 || at_least_one).then_some(Window { from: sending.next, bytes, at_least_one })
    }

    /// Whether a log that ends at `log_end` has something that may be sent.
    #[must_use]
    pub fn may_send(&self, log_end: Offset) -> bool {
        self.window().is_some_and(|window| window.from < log_end)
    }

    /// The batches from [`Window::from`] up to `next`, of so many bytes, are on their way, and what was told with them.
    ///
    /// # Panics
    /// If nothing may be sent.
    pub fn on_sent(&mut self, next: Offset, bytes: usize, told: Progress) {
        let State::Sending(sending) = &mut self.state else { panic!("nothing may be sent before the logs agree") };
        assert!(next > sending.next, "sent up to {next}, and up to {} before", sending.next);
        sending.next = next;
        sending.in_flight.push_back((next, bytes));
        sending.in_flight_bytes += bytes;
        sending.told = told;
    }

    /// Whether anything that was sent is not on the follower's disk, for all that is known.
    #[must_use]
    pub fn has_in_flight(&self) -> bool {
        matches!(&self.state, State::Sending(sending) if !sending.in_flight.is_empty())
    }

    /// Whether the follower is to be told how far the leader is, and notes that it is.
    pub fn tell(&mut self, progress: Progress) -> bool {
        let State::Sending(sending) = &mut self.state else { return false };
        std::mem::replace(&mut sending.told, progress) != progress
    }

    /// Whether the follower has been told less than this.
    #[must_use]
    pub fn is_to_be_told(&self, progress: Progress) -> bool {
        matches!(&self.state, State::Sending(sending) if sending.told != progress)
    }

    /// Everything before `end` is on the follower's disk. Says whether that counts; the stream must be closed if it cannot be.
    pub fn on_durable(&mut self, end: Offset) -> Result<(), Reason> {
        let State::Sending(sending) = &mut self.state else {
            self.state = State::Closed;
            return Err(Reason::Violation(format!("offset {end} acknowledged before the logs agreed")));
        };
        if end > sending.next || end < sending.durable {
            let (next, durable) = (sending.next, sending.durable);
            self.state = State::Closed;
            let text = format!("offset {end} acknowledged, with {durable} acknowledged before and {next} sent");
            return Err(Reason::Violation(text));
        }
        sending.durable = end;
        while let Some((sent, bytes)) = sending.in_flight.front()
            && *sent <= end
        {
            sending.in_flight_bytes -= bytes;
            sending.in_flight.pop_front();
        }
        Ok(())
    }

    /// The stream is over.
    pub fn on_closed(&mut self) {
        self.state = State::Closed;
    }
}

/// What may be sent next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub from: Offset,
    pub bytes: usize,
    pub at_least_one: bool,
}

/// Whether a position is one that can be, and has come nearer where a cut was asked for.
fn check(tail: &LogTail, expected: Option<Expected>) -> Result<(), String> {
    if let Some(batch) = tail.last_batch {
        let ends_there = batch.last_offset.0.checked_add(1) == Some(tail.log_end.0);
        if !ends_there || batch.base_offset > batch.last_offset || batch.leader_epoch > tail.latest_epoch {
            return Err(format!("a log cannot end like this: {tail:?}"));
        }
    }
    if tail.log_end < Offset::ZERO {
        return Err(format!("a log cannot end at {}", tail.log_end));
    }
    let as_expected = match expected {
        None => true,
        Some(Expected::Cut { epoch, end }) => tail.latest_epoch <= epoch && tail.log_end <= end,
        Some(Expected::EmptyAt(at)) => {
            tail.log_end == at && tail.last_batch.is_none() && tail.latest_epoch == LeaderEpoch::UNKNOWN
        }
    };
    if as_expected { Ok(()) } else { Err(format!("told {expected:?}, and the log ends like this: {tail:?}")) }
}
