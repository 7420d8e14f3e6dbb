//! A record that was acknowledged with acks=1 is on its leader's disk. Another leader may never have had it; but when the same
//! broker leads again, and nobody has led in between, it is there.

use super::super::log::{Batch, Log};
use super::equal::Committed;
use super::{Checked, Checker};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct SameDisk {
    batches: Vec<(i32, Batch)>,
    /// Who was elected; epochs without a leader are absent.
    leaders: BTreeMap<i32, usize>,
}

impl SameDisk {
    pub fn on_elected(&mut self, epoch: i32, broker: usize) {
        self.leaders.insert(epoch, broker);
    }

    pub fn on_acknowledged(&mut self, epoch: i32, batch: Batch) {
        self.batches.push((epoch, batch));
    }

    /// What this leader's log does not have, or from there on, has been given up.
    pub fn on_lost(&mut self, log: &Log, from: i64) {
        self.batches.retain(|(_, batch)| log.keeps(batch, from));
    }

    /// A broker's disk has lost some of what it had.
    pub fn on_forgotten(&mut self, broker: usize) {
        let leaders = &self.leaders;
        self.batches.retain(|(epoch, _)| leaders.get(epoch) != Some(&broker));
    }

    pub fn on_leader(&self, broker: usize, epoch: i32, log: &Log, committed: &Committed) -> Checked {
        let since = self.leaders.range(..epoch).rev().take_while(|(_, leader)| **leader == broker).map(|(at, _)| *at);
        let Some(since) = since.last() else { return Ok(()) };
        let mut own = self.batches.iter().filter(|(by, _)| (since..epoch).contains(by)).map(|(_, batch)| batch);
        match own.find(|batch| batch.base >= committed.deleted_to && !log.holds(batch)) {
            Some(batch) => {
                let text =
                    format!("broker {broker} leads again, and lacks {batch:?}, which it acknowledged with acks=1");
                Err((Checker::SameDisk, text))
            }
            None => Ok(()),
        }
    }
}
