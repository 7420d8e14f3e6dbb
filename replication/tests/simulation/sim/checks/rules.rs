//! The two ends of a stream understand each other: neither finds that the other breaks the rules, or that the logs differ
//! where they must not, and they agree within few rounds.

use super::{Checked, Checker};
use replication::message::Reason;

/// Each round takes an epoch from the follower's log, and nobody leads that often between two streams.
const ROUNDS_MAX: u32 = 60;

pub fn on_close(broker: usize, reason: &Reason) -> Checked {
    match reason {
        Reason::Diverged(_) | Reason::Violation(_) => {
            Err((Checker::Rules, format!("broker {broker} closes a stream: {reason}")))
        }
        _ => Ok(()),
    }
}

pub fn on_round(broker: usize, rounds: u32) -> Checked {
    if rounds <= ROUNDS_MAX {
        return Ok(());
    }
    Err((Checker::Rules, format!("broker {broker} does not agree with a follower within {rounds} rounds")))
}
