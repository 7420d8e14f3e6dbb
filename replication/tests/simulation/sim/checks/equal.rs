//! All replicas are equal up to the high watermark: what any leader has called committed at an offset is what every replica
//! has there that calls it committed.

use super::super::log::{Batch, Log};
use super::{Checked, Checker};
use std::collections::{BTreeMap, BTreeSet};

/// All that was ever committed, by base offset, and what was deleted of it on purpose.
#[derive(Debug, Default)]
pub struct Committed {
    batches: BTreeMap<i64, Batch>,
    /// Whatever was given up since.
    ever: BTreeSet<Batch>,
    pub end: i64,
    pub deleted_to: i64,
    /// The most that was ever deleted: replicas that lost nothing keep that so.
    deleted_to_ever: i64,
    /// Where the log began of whoever led first after something was given up: what others have before is nobody's matter.
    pub floor: i64,
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
            self.ever.insert(*batch);
            self.end = self.end.max(batch.next());
        }
        Ok(())
    }

    pub fn on_follower_advance(&self, broker: usize, log: &Log, from: i64, to: i64) -> Checked {
        if to > log.end {
            return wrong(format!("broker {broker} takes {to} for committed, and its log ends at {}", log.end));
        }
        for batch in log.from(from.max(self.floor)).take_while(|batch| batch.base < to) {
            if !self.contains(batch) {
                let known = self.batches.get(&batch.base);
                return wrong(format!(
                    "broker {broker} has {batch:?} below its high watermark {to}, and not {known:?}"
                ));
            }
        }
        Ok(())
    }

    /// What this leader's log lacks is committed no more, and what was committed once and is there is again, whatever was given up
    /// in between: other replicas may know of it.
    /// Gives from where on anything may be another.
    pub fn on_lost(&mut self, log: &Log, high_watermark: i64) -> i64 {
        let lacking = self.batches.values().find(|batch| batch.next() > log.start && !log.holds(batch));
        // What is not on its disk may go yet.
        let from = lacking.map_or(self.end, |batch| batch.base).min(log.durable).max(log.start);
        let to = high_watermark.max(from).min(log.end);
        let is_known = |batch: &&Batch| batch.base < to || batch.next() <= log.durable && self.ever.contains(batch);
        let batches = log.batches().take_while(is_known).map(|batch| (batch.base, *batch)).collect();
        self.batches = batches;
        self.end = self.batches.values().next_back().map_or(log.start, Batch::next);
        // Others may have deleted more than it has, and keep that so.
        self.deleted_to_ever = self.deleted_to_ever.max(self.deleted_to);
        (self.deleted_to, self.floor) = (self.deleted_to_ever.min(log.end).max(log.start), log.start);
        from
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
