//! What must hold, one property per file. Each is told what happens and says what is wrong with it.

pub mod acknowledged;
pub mod counted;
pub mod equal;
pub mod in_sync;
pub mod min_insync;
pub mod monotonic;
pub mod order;
pub mod readable;
pub mod rules;
pub mod same_disk;

use super::log::{Batch, Log};
use metadata::image::PartitionImage;

/// Names the property that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Checker {
    Acknowledged,
    SameDisk,
    MinInsync,
    Equal,
    Readable,
    Monotonic,
    Order,
    InSync,
    Counted,
    Rules,
    Progress,
}

impl Checker {
    pub const ALL: [Checker; 11] = [
        Checker::Acknowledged,
        Checker::SameDisk,
        Checker::MinInsync,
        Checker::Equal,
        Checker::Readable,
        Checker::Monotonic,
        Checker::Order,
        Checker::InSync,
        Checker::Counted,
        Checker::Rules,
        Checker::Progress,
    ];
}

/// Why a property does not hold.
pub type Checked = Result<(), (Checker, String)>;

/// Of one partition.
#[derive(Debug, Default)]
pub struct Checks {
    pub committed: equal::Committed,
    pub acknowledged: acknowledged::Acknowledged,
    pub same_disk: same_disk::SameDisk,
    pub readable: readable::Readable,
    pub counted: counted::Counted,
    pub order: order::Order,
}

impl Checks {
    /// A broker begins to lead, and is the broker that the controller chose for that epoch.
    pub fn on_leader(&self, broker: usize, epoch: i32, log: &Log, high_watermark: i64) -> [Checked; 4] {
        [
            self.acknowledged.on_leader(broker, epoch, log, &self.committed),
            self.same_disk.on_leader(broker, epoch, log, &self.committed),
            self.committed.on_begin(broker, log, high_watermark),
            self.order.check(broker, log),
        ]
    }

    /// The high watermark of a leader rises.
    pub fn on_leader_advance(&mut self, broker: usize, log: &Log, from: i64, to: i64) -> Checked {
        monotonic::check(broker, from, to)?;
        self.committed.on_leader_advance(broker, log, from, to)
    }

    /// The high watermark of a follower rises.
    pub fn on_follower_advance(&self, broker: usize, log: &Log, from: i64, to: i64) -> Checked {
        monotonic::check(broker, from, to)?;
        self.committed.on_follower_advance(broker, log, from, to)
    }

    pub fn on_read(&mut self, broker: usize, batches: &[Batch]) -> Checked {
        self.readable.on_read(broker, batches, &self.committed)
    }

    /// The ISR in force, or what is committed, has changed.
    pub fn on_isr<'a>(&self, image: &PartitionImage, log_of: impl Fn(i32) -> &'a Log, fully: bool) -> Checked {
        in_sync::check(image, &self.committed, log_of, fully)
    }

    /// All is over and well: every replica has everything.
    pub fn at_end(&self, broker: usize, log: &Log, high_watermark: i64) -> [Checked; 4] {
        [
            self.acknowledged.at_end(broker, log, &self.committed),
            self.readable.at_end(broker, log, &self.committed),
            self.order.check(broker, log),
            self.committed.at_end(broker, log, high_watermark),
        ]
    }
}
