//! A leader counts only what replicas have acknowledged in its own epoch: when its high watermark rises, every member of the
//! ISR that it goes by has said in that epoch that it has everything before.

use super::{Checked, Checker};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct Counted {
    /// By broker and leader epoch: the largest end that it said is on its disk.
    said: BTreeMap<(usize, i32), i64>,
}

impl Counted {
    /// A follower says how its log ends, of which less may count than it says.
    pub fn on_position(&mut self, broker: usize, epoch: i32, end: i64) {
        self.said.insert((broker, epoch), end);
    }

    /// A follower says, on a stream of this epoch, that it has everything before `end`.
    pub fn on_said(&mut self, broker: usize, epoch: i32, end: i64) {
        let said = self.said.entry((broker, epoch)).or_insert(end);
        *said = end.max(*said);
    }

    /// `members` without the leader.
    pub fn on_advance(&self, leader: usize, epoch: i32, to: i64, members: impl Iterator<Item = usize>) -> Checked {
        for member in members {
            let said = self.said.get(&(member, epoch)).copied();
            if said.is_none_or(|end| end < to) {
                let text = format!(
                    "broker {leader} commits up to {to} in leader epoch {epoch}, and broker {member} has said {said:?} in it"
                );
                return Err((Checker::Counted, text));
            }
        }
        Ok(())
    }
}
