//! No record that was acknowledged with acks=all is lost.
//!
//! The promise: it was on the disk of every member of the ISR, and only members of the ISR, or replicas that have as much, are
//! elected. So every later leader has it from its first moment on, and in the end every replica. Disks that lose what was
//! synced leave the ISR and are not elected. What an unclean election gives up is promised no more.

use super::super::log::{Batch, Log};
use super::equal::Committed;
use super::{Checked, Checker};

#[derive(Debug, Default)]
pub struct Acknowledged {
    /// With the epochs of the leaders that acknowledged them.
    batches: Vec<(i32, Batch)>,
    count: usize,
}

impl Acknowledged {
    /// A leader acknowledges; `later` are the logs of those that lead at a later epoch already.
    pub fn on_acknowledged<'a>(
        &mut self,
        epoch: i32,
        batch: Batch,
        deleted_to: i64,
        mut later: impl Iterator<Item = (usize, &'a Log)>,
    ) -> Checked {
        self.batches.push((epoch, batch));
        self.count += 1;
        match later.find(|(_, log)| batch.base >= deleted_to && !log.holds(&batch)) {
            Some((broker, _)) => lost(broker, &batch),
            None => Ok(()),
        }
    }

    pub fn on_leader(&self, broker: usize, epoch: i32, log: &Log, committed: &Committed) -> Checked {
        let mut earlier = self.batches.iter().filter(|(by, _)| *by < epoch).map(|(_, batch)| batch);
        let lacks = earlier.find(|batch| batch.base >= committed.deleted_to && !log.holds(batch));
        lacks.map_or(Ok(()), |batch| lost(broker, batch))
    }

    pub fn at_end(&self, broker: usize, log: &Log, committed: &Committed) -> Checked {
        self.on_leader(broker, i32::MAX, log, committed)
    }

    /// What this leader's log does not have, or from there on, has been given up.
    pub fn on_lost(&mut self, log: &Log, from: i64) {
        self.batches.retain(|(_, batch)| log.keeps(batch, from));
    }

    pub fn count(&self) -> usize {
        self.count
    }
}

fn lost(broker: usize, batch: &Batch) -> Checked {
    Err((
        Checker::Acknowledged,
        format!("broker {broker} leads without {batch:?}, which was acknowledged with acks=all"),
    ))
}
