//! A leader counts only what replicas have acknowledged in its own epoch: when its high watermark rises, every member of the
//! ISR that it goes by has said in that epoch that it has everything before.

use super::{Checked, Checker};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub struct Counted {
    said: BTreeMap<(usize, i32), Said>,
    /// Brokers whose disks have lost something, or that had to remove it.
    forgotten: BTreeSet<usize>,
}

/// What a broker has said in a leader epoch.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    /// How its log ends, of which less may count than it says.
    position: i64,
    /// The largest end that it said is on its disk.
    durable: i64,
}

impl Said {
    fn end(self) -> i64 {
        self.position.max(self.durable)
    }
}

impl Counted {
    /// A follower says how its log ends.
    pub fn on_position(&mut self, broker: usize, epoch: i32, end: i64) {
        self.said.entry((broker, epoch)).or_default().position = end;
    }

    /// A follower says, on a stream of this epoch, that it has everything before `end`.
    pub fn on_said(&mut self, broker: usize, epoch: i32, end: i64) {
        let said = self.said.entry((broker, epoch)).or_default();
        said.durable = end.max(said.durable);
    }

    pub fn on_forgotten(&mut self, broker: usize) {
        self.forgotten.insert(broker);
    }

    /// Whether a broker that has lost something, or removed it, had everything before `end` when it said so in this epoch.
    pub fn had(&self, broker: usize, epoch: i32, end: i64) -> bool {
        self.forgotten.contains(&broker) && self.said.get(&(broker, epoch)).is_some_and(|said| said.end() >= end)
    }

    /// `members` without the leader.
    pub fn on_advance(&self, leader: usize, epoch: i32, to: i64, members: impl Iterator<Item = usize>) -> Checked {
        for member in members {
            let said = self.said.get(&(member, epoch)).map(|said| said.end());
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
