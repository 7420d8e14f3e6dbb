//! What must hold, one property per file. Each is told what happens and says what is wrong with it.

pub mod acknowledged;
pub mod counted;
pub mod elected;
pub mod epochs;
pub mod equal;
pub mod in_sync;
pub mod lease;
pub mod led;
pub mod longest;
pub mod min_insync;
pub mod monotonic;
pub mod order;
pub mod readable;
pub mod reassigned;
pub mod rules;
pub mod same_disk;

use super::controller::{Cause, TOPIC};
use super::log::{Batch, Log};
use metadata::controller::LogEnds;
use metadata::image::{MetadataImage, PartitionImage};
use protocol::newtypes::{BrokerId, PartitionId};

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
    Epochs,
    Elected,
    Longest,
    Lease,
    Reassigned,
    Led,
}

impl Checker {
    pub const ALL: [Checker; 17] = [
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
        Checker::Epochs,
        Checker::Elected,
        Checker::Longest,
        Checker::Lease,
        Checker::Reassigned,
        Checker::Led,
    ];
}

/// Why a property does not hold.
pub type Checked = Result<(), (Checker, String)>;

/// A change of a partition in the metadata.
pub struct Election<'a> {
    /// After it.
    pub image: &'a MetadataImage,
    pub cause: &'a Cause,
    pub partition: usize,
    pub before: &'a PartitionImage,
    pub now: &'a PartitionImage,
}

impl Election<'_> {
    /// Who has been elected, if anybody.
    pub fn elected(&self) -> Option<BrokerId> {
        self.now.leader.filter(|leader| self.before.leader != Some(*leader))
    }

    /// Whether anything was known of logs when somebody was elected.
    pub fn is_by_log(&self) -> bool {
        let told =
            |ends: &LogEnds, id: &BrokerId| ends.end_of(TOPIC, PartitionId(self.partition as i32), *id).is_some();
        let ends = self.cause.ends.as_ref().filter(|_| self.elected().is_some());
        ends.is_some_and(|ends| self.now.replicas.iter().any(|id| told(ends, id)))
    }

    /// Those of `members` that still count, whether they are alive or not.
    pub fn still<'a>(&'a self, members: &'a [BrokerId]) -> impl Iterator<Item = BrokerId> + 'a {
        let counts = |id: &BrokerId| self.cause.lost != Some(*id) && self.now.replicas.contains(id);
        members.iter().copied().filter(counts)
    }

    /// Whether it may lead, as the controller sees it.
    pub fn is_alive(&self, id: BrokerId) -> bool {
        self.cause.gone != Some(id) && self.image.is_unfenced(id)
    }

    /// Replicas in sync: before, or as the leader has just said.
    pub fn in_sync(&self) -> Vec<BrokerId> {
        let isr = if self.cause.isr_said { &self.now.isr } else { &self.before.isr };
        self.still(isr).filter(|id| self.is_alive(*id)).collect()
    }
}

/// Of one partition.
///
/// After an unclean election a leader may lack what was committed. What that is shows when it begins to lead: from then on
/// only what it has is committed, and whatever leaders of earlier epochs still do among themselves counts for nothing.
#[derive(Debug, Default)]
pub struct Checks {
    pub epochs: epochs::Epochs,
    /// The first leader of this epoch or a later one may lack what was committed.
    pub loss: Option<i32>,
    /// What is committed is what leaders of this epoch and later ones say.
    pub valid_from: i32,
    /// Times that what was committed was given up.
    pub losses: u64,
    pub committed: equal::Committed,
    pub acknowledged: acknowledged::Acknowledged,
    pub same_disk: same_disk::SameDisk,
    pub readable: readable::Readable,
    pub counted: counted::Counted,
    pub order: order::Order,
}

impl Checks {
    /// A broker begins to lead, and may be the one that lacks something.
    pub fn on_maybe_lost(&mut self, epoch: i32, log: &Log, high_watermark: i64) {
        if self.loss.is_none_or(|from| epoch < from) {
            return;
        }
        (self.loss, self.valid_from) = (None, epoch);
        self.losses += 1;
        let from = self.committed.on_lost(log, high_watermark);
        self.acknowledged.on_lost(log, from);
        self.readable.on_lost(log, from);
        self.same_disk.on_lost(log, from);
    }

    /// A broker begins to lead, and is the broker that the controller chose for that epoch.
    pub fn on_leader(&self, broker: usize, epoch: i32, log: &Log, high_watermark: i64) -> Vec<Checked> {
        if epoch < self.valid_from {
            return Vec::new();
        }
        vec![
            self.acknowledged.on_leader(broker, epoch, log, &self.committed),
            self.same_disk.on_leader(broker, epoch, log, &self.committed),
            self.committed.on_begin(broker, log, high_watermark),
            self.order.check(broker, log),
        ]
    }

    /// The high watermark of a leader rises.
    pub fn on_leader_advance(&mut self, broker: usize, epoch: i32, log: &Log, from: i64, to: i64) -> Checked {
        monotonic::check(broker, from, to)?;
        if epoch < self.valid_from {
            return Ok(());
        }
        self.committed.on_leader_advance(broker, log, from, to)
    }

    /// The high watermark of a follower rises.
    pub fn on_follower_advance(&self, broker: usize, epoch: i32, log: &Log, from: i64, to: i64) -> Checked {
        monotonic::check(broker, from, to)?;
        if epoch < self.valid_from {
            return Ok(());
        }
        self.committed.on_follower_advance(broker, log, from, to)
    }

    pub fn on_read(&mut self, broker: usize, epoch: i32, batches: &[Batch]) -> Checked {
        if epoch < self.valid_from {
            return Ok(());
        }
        self.readable.on_read(broker, batches, &self.committed)
    }

    /// The ISR in force, or what is committed, has changed. Who is excused may lack something.
    pub fn on_isr<'a>(
        &self,
        image: &PartitionImage,
        log_of: impl Fn(i32) -> &'a Log,
        excused: impl Fn(BrokerId) -> bool,
        fully: bool,
    ) -> Checked {
        match self.loss {
            Some(_) => Ok(()),
            None => in_sync::check(image, &self.committed, log_of, excused, fully),
        }
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
