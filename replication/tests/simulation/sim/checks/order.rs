//! Records of one producer lie in a log in the order in which it produced them, each once.

use super::super::log::Log;
use super::{Checked, Checker};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub struct Order {
    /// Who produced the batch of this number, and as which of its.
    produced: BTreeMap<u32, (usize, u64)>,
}

impl Order {
    pub fn on_produced(&mut self, number: u32, producer: usize, sequence: u64) {
        self.produced.insert(number, (producer, sequence));
    }

    pub fn check(&self, broker: usize, log: &Log) -> Checked {
        let mut last: BTreeMap<usize, u64> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for batch in log.batches() {
            let (producer, sequence) = self.produced[&batch.number];
            let before = last.insert(producer, sequence);
            if before.is_some_and(|before| before >= sequence) || !seen.insert(batch.number) {
                let text = format!(
                    "broker {broker} has {batch:?}, number {sequence} of producer {producer}, behind its number {before:?}"
                );
                return Err((Checker::Order, text));
            }
        }
        Ok(())
    }
}
