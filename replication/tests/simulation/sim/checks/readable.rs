//! Nothing is read that is not committed, and what was read once stays and stays the same.

use super::super::log::{Batch, Log};
use super::equal::Committed;
use super::{Checked, Checker};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct Readable {
    read: BTreeMap<i64, Batch>,
    given_up: usize,
}

fn wrong(text: String) -> Checked {
    Err((Checker::Readable, text))
}

impl Readable {
    pub fn on_read(&mut self, broker: usize, batches: &[Batch], committed: &Committed) -> Checked {
        for batch in batches.iter().filter(|batch| batch.base >= committed.floor) {
            if !committed.contains(batch) {
                return wrong(format!("broker {broker} hands out {batch:?}, which is not committed"));
            }
            let before = *self.read.entry(batch.base).or_insert(*batch);
            if before != *batch {
                return wrong(format!("broker {broker} hands out {batch:?}, where {before:?} was read before"));
            }
        }
        Ok(())
    }

    pub fn at_end(&self, broker: usize, log: &Log, committed: &Committed) -> Checked {
        match self.read.range(committed.deleted_to..).find(|(_, batch)| !log.holds(batch)) {
            Some((_, batch)) => wrong(format!("broker {broker} does not have {batch:?}, which was read")),
            None => Ok(()),
        }
    }

    /// What this leader's log does not have, or from there on, has been given up.
    pub fn on_lost(&mut self, log: &Log, from: i64) {
        let before = self.read.len();
        self.read.retain(|_, batch| log.keeps(batch, from));
        self.given_up += before - self.read.len();
    }

    pub fn count(&self) -> usize {
        self.read.len() + self.given_up
    }
}
