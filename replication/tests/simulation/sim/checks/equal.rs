//! All replicas are equal up to the high watermark: what any leader has called committed at an offset is what every replica
//! has there that calls it committed.

use super::super::log::{Batch, Log};
use super::{Checked, Checker};
use std::collections::BTreeMap;

/// All that was ever committed, by base offset, and what was deleted of it on purpose.
#[derive(Debug, Default)]
pub struct Committed {
    batches: BTreeMap<i64, Batch>,
    pub end: i64,
    pub deleted_to: i64,
}

fn wrong(text: String) -> Checked {
    Err((Checker::Equal, text))
}

impl Committed {
    pub fn contains(&self, batch: &Batch) -> bool {
        self.batches.get(&batch.base) == Some(batch)
    }

    /// The last batch that was committed.
    pub fn last(&self) -> Option<&Batch> {
        self.batches.last_key_value().map(|(_, batch)| batch)
    }

    /// A leader begins with a high watermark that it knows from before.
    pub fn on_begin(&self, broker: usize, log: &Log, high_watermark: i64) -> Checked {
        self.on_follower_advance(broker, log, 0, high_watermark)
    }

    pub fn on_leader_advance(&mut self, broker: usize, log: &Log, from: i64, to: i64) -> Checked {
        if to > log.end {
            return wrong(format!("broker {broker} calls {to} committed, and its log ends at {}", log.end));
        }
        for batch in log.from(from).take_while(|batch| batch.base < to) {
            let known = *self.batches.entry(batch.base).or_insert(*batch);
            if known != *batch {
                return wrong(format!("broker {broker} commits {batch:?} where {known:?} was committed"));
            }
            if batch.next() > to {
                return wrong(format!("broker {broker} commits up to {to}, within {batch:?}"));
            }
            self.end = self.end.max(batch.next());
        }
        Ok(())
    }

    pub fn on_follower_advance(&self, broker: usize, log: &Log, from: i64, to: i64) -> Checked {
        if to > log.end {
            return wrong(format!("broker {broker} takes {to} for committed, and its log ends at {}", log.end));
        }
        for batch in log.from(from).take_while(|batch| batch.base < to) {
            if !self.contains(batch) {
                let known = self.batches.get(&batch.base);
                return wrong(format!(
                    "broker {broker} has {batch:?} below its high watermark {to}, and not {known:?}"
                ));
            }
        }
        Ok(())
    }

    /// What a log lacks of what is committed.
    pub fn lacks(&self, log: &Log) -> Option<&Batch> {
        self.batches.range(self.deleted_to..).map(|(_, batch)| batch).find(|batch| !log.holds(batch))
    }

    pub fn at_end(&self, broker: usize, log: &Log, high_watermark: i64) -> Checked {
        self.on_follower_advance(broker, log, 0, high_watermark)?;
        if high_watermark < self.end {
            return wrong(format!("the high watermark of broker {broker} ends at {high_watermark}, not {}", self.end));
        }
        match self.lacks(log) {
            Some(batch) => wrong(format!("broker {broker} lacks {batch:?}, which was committed")),
            None => Ok(()),
        }
    }
}
