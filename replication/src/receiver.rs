//! The follower's end of a stream: what a follower does with its log because of what its leader sends.
//!
//! It follows one leader epoch only, the one that its own metadata names. An acknowledgement says that everything before an
//! offset is on this disk, and none is made before the two logs agree.

use protocol::newtypes::{LeaderEpoch, Offset};
use protocol::record_batch::BatchHeader;

use crate::divergence::{Cut, LogView, cut};
use crate::message::{Progress, Reason, Run, ToFollower};

#[cfg(test)]
mod tests;

/// What is to be done because of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The log is cut; then it is told how it ends ([`crate::message::ToLeader::Position`]).
    Cut(Cut),
    /// The logs agree: what is on disk is acknowledged from now on.
    Follow,
    /// Batches to be checked one by one ([`Receiver::check`]) and appended.
    Append(Run),
    /// The leader has told how far it is.
    Note,
    /// The leader has closed the stream.
    Closed(Reason),
}

/// See the module's documentation.
///
/// Invariants, while following: `acknowledged <= next`, and all batches checked so far lie before `next`, with gaps only where the leader said that there are.
#[derive(Clone, Debug)]
pub struct Receiver {
    leader_epoch: LeaderEpoch,
    state: State,
    /// As the leader last told.
    progress: Option<Progress>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The follower's position was told, or is about to be.
    Positioning {
        log_end: Offset,
    },
    /// The log is being cut.
    Cutting,
    Following {
        next: Offset,
        newest_epoch: LeaderEpoch,
        acknowledged: Offset,
    },
}

impl Receiver {
    /// A stream of this epoch; the log ends, on disk, at `log_end`.
    #[must_use]
    pub fn new(leader_epoch: LeaderEpoch, log_end: Offset) -> Receiver {
        Receiver { leader_epoch, state: State::Positioning { log_end }, progress: None }
    }

    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// How far the leader is, as last told.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        self.progress
    }

    #[must_use]
    pub fn is_following(&self) -> bool {
        matches!(self.state, State::Following { .. })
    }

    /// The log was cut, and ends, on disk, at `log_end`.
    pub fn on_cut(&mut self, log_end: Offset) {
        self.state = State::Positioning { log_end };
    }

    /// The leader says something on this stream.
    pub fn on_message(&mut self, message: ToFollower, log: &dyn LogView) -> Result<Action, Reason> {
        match (message, self.state) {
            (ToFollower::Cut { epoch, end }, State::Positioning { .. }) => {
                self.state = State::Cutting;
                if epoch > self.leader_epoch || end < Offset::ZERO {
                    return Err(Reason::Violation(format!("a cut at {end} of leader epoch {epoch}")));
                }
                Ok(Action::Cut(cut(epoch, end, log)))
            }
            (ToFollower::Restart { at }, State::Positioning { .. }) => {
                self.state = State::Cutting;
                if at < Offset::ZERO {
                    return Err(Reason::Violation(format!("a log cannot begin at {at}")));
                }
                Ok(Action::Cut(Cut::RestartAt(at)))
            }
            (ToFollower::Agreed(progress), State::Positioning { log_end }) => {
                let newest_epoch = log.latest_epoch().unwrap_or(LeaderEpoch::UNKNOWN);
                self.state = State::Following { next: log_end, newest_epoch, acknowledged: log_end };
                self.progress = Some(progress);
                Ok(Action::Follow)
            }
            (ToFollower::Batches { progress, run }, State::Following { .. }) => {
                self.progress = Some(progress);
                Ok(Action::Append(run))
            }
            (ToFollower::Progress(progress), State::Following { .. }) => {
                self.progress = Some(progress);
                Ok(Action::Note)
            }
            (ToFollower::Close(reason), _) => Ok(Action::Closed(reason)),
            (message, state) => {
                let what = match message {
                    ToFollower::Open { .. } => "another beginning",
                    ToFollower::Cut { .. } | ToFollower::Restart { .. } => "a cut",
                    ToFollower::Agreed(_) => "an agreement",
                    ToFollower::Batches { .. } => "batches",
                    ToFollower::Progress(_) => "progress",
                    ToFollower::Close(_) | ToFollower::Beat => "a beat",
                };
                Err(Reason::Violation(format!("{what} in state {state:?}")))
            }
        }
    }

    /// Whether a batch, whose checksum was verified, continues what was received before; notes that it does. It may begin
    /// later in a run that has gaps ([`Run::has_gaps`]).
    pub fn check(&mut self, header: &BatchHeader, has_gaps: bool) -> Result<(), Reason> {
        let leader_epoch = self.leader_epoch;
        let State::Following { next, newest_epoch, .. } = &mut self.state else {
            return Err(Reason::Violation("batches before the logs agreed".to_owned()));
        };
        let follows = header.base_offset == *next || has_gaps && header.base_offset > *next;
        if !follows || header.last_offset_delta < 0 || header.next_offset() <= *next {
            return Err(Reason::Violation(format!(
                "a batch with offsets {} to {} where {next} comes next",
                header.base_offset,
                header.last_offset()
            )));
        }
        if header.leader_epoch < *newest_epoch || header.leader_epoch > leader_epoch || header.leader_epoch.0 < 0 {
            return Err(Reason::Violation(format!(
                "a batch of leader epoch {} behind one of {newest_epoch}, from the leader of {leader_epoch}",
                header.leader_epoch
            )));
        }
        *next = header.next_offset();
        *newest_epoch = header.leader_epoch;
        Ok(())
    }

    /// Everything before `end` is on this disk: what is to be acknowledged, if that is news.
    pub fn on_durable(&mut self, end: Offset) -> Option<Offset> {
        let State::Following { next, acknowledged, .. } = &mut self.state else { return None };
        // What was appended by anybody else is not the leader's.
        let end = end.min(*next);
        if end <= *acknowledged {
            return None;
        }
        *acknowledged = end;
        Some(end)
    }

    /// What consumers may read here of what is on this disk: what the leader has called committed.
    #[must_use]
    pub fn high_watermark(&self, durable_end: Offset) -> Option<Offset> {
        match (self.state, self.progress) {
            (State::Following { next, .. }, Some(progress)) => Some(progress.high_watermark.min(next).min(durable_end)),
            _ => None,
        }
    }
}
