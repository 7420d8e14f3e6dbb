//! A replica's log on a simulated disk: what is not synced may be gone after a crash, in whole or from any batch on.
//!
//! The epochs are kept as `wal`'s leader epoch cache keeps them.

use super::random::Random;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use protocol::newtypes::{LeaderEpoch, Offset, ProducerId};
use protocol::record_batch::{BatchHeader, HEADER_BYTES};
use replication::divergence::{BatchMark, Cut, LogTail, LogView};
use std::collections::VecDeque;

/// A batch, with its number for content: no two that were produced have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Batch {
    pub base: i64,
    pub last: i64,
    pub epoch: i32,
    pub number: u32,
}

impl Batch {
    pub fn next(&self) -> i64 {
        self.last + 1
    }

    pub fn bytes(&self) -> usize {
        HEADER_BYTES + 20 * (self.last - self.base + 1) as usize
    }

    fn mark(&self) -> BatchMark {
        BatchMark {
            base_offset: Offset(self.base),
            last_offset: Offset(self.last),
            leader_epoch: LeaderEpoch(self.epoch),
            crc: self.number,
        }
    }

    /// What a broker reads of the bytes of a batch.
    pub fn header(&self) -> BatchHeader {
        BatchHeader {
            base_offset: Offset(self.base),
            size_bytes: self.bytes(),
            leader_epoch: LeaderEpoch(self.epoch),
            magic: 2,
            crc: self.number,
            attributes: 0,
            last_offset_delta: (self.last - self.base) as i32,
            base_timestamp: 0,
            max_timestamp: 0,
            producer_id: ProducerId::NONE,
            producer_epoch: -1,
            base_sequence: -1,
            record_count: (self.last - self.base + 1) as i32,
        }
    }
}

pub fn encode(batches: &[Batch]) -> Bytes {
    let mut out = BytesMut::with_capacity(24 * batches.len());
    for batch in batches {
        out.put_i64(batch.base);
        out.put_i64(batch.last);
        out.put_i32(batch.epoch);
        out.put_u32(batch.number);
    }
    out.freeze()
}

pub fn decode(mut bytes: Bytes) -> Vec<Batch> {
    let mut batches = Vec::new();
    while !bytes.is_empty() {
        let (base, last, epoch, number) = (bytes.get_i64(), bytes.get_i64(), bytes.get_i32(), bytes.get_u32());
        batches.push(Batch { base, last, epoch, number });
    }
    batches
}

/// A log, and which part of it survives a crash.
///
/// Invariants: `start <= end`, `durable <= end`; batches are without a gap and reach from at most `start` to `end`.
#[derive(Clone, Debug, Default)]
pub struct Log {
    pub start: i64,
    pub end: i64,
    /// Everything before is on disk.
    pub durable: i64,
    batches: VecDeque<Batch>,
    /// Epochs, and where they begin: both rise.
    epochs: Vec<(i32, i64)>,
    /// How often it was cut: a sync that began before a cut says nothing of what is there after it.
    pub cuts: u64,
}

impl Log {
    pub fn append(&mut self, batch: Batch) {
        assert_eq!(batch.base, self.end, "a log has no gaps");
        self.assign(batch.epoch, batch.base);
        self.batches.push_back(batch);
        self.end = batch.next();
    }

    /// An epoch begins at the end of the log.
    pub fn begin(&mut self, epoch: i32) {
        self.assign(epoch, self.end);
    }

    fn assign(&mut self, epoch: i32, from: i64) {
        if self.epochs.last().is_some_and(|(latest, start)| *latest == epoch && *start <= from) {
            return;
        }
        while self.epochs.last().is_some_and(|(latest, start)| *latest >= epoch || *start >= from) {
            self.epochs.pop();
        }
        self.epochs.push((epoch, from));
    }

    pub fn synced(&mut self, cuts: u64, end: i64) {
        if cuts == self.cuts {
            self.durable = self.durable.max(end);
        }
    }

    pub fn is_synced(&self) -> bool {
        self.durable == self.end
    }

    /// Atomic, and on disk when it is done.
    pub fn cut(&mut self, cut: Cut) {
        self.cuts += 1;
        match cut {
            Cut::TruncateTo(to) => self.truncate(to.0),
            Cut::RestartAt(Offset(at)) => {
                self.batches.clear();
                self.epochs.clear();
                (self.start, self.end, self.durable) = (at, at, at);
            }
        }
    }

    fn truncate(&mut self, to: i64) {
        while let Some(batch) = self.batches.back().filter(|batch| batch.last >= to) {
            self.end = batch.base;
            self.batches.pop_back();
        }
        self.epochs.retain(|(_, start)| *start < self.end.min(to));
        self.durable = self.durable.min(self.end);
        self.start = self.start.min(self.end);
    }

    /// Deletes what lies before. A batch goes when all of it does.
    pub fn raise_start(&mut self, to: i64) {
        let to = to.min(self.end);
        if to <= self.start {
            return;
        }
        self.start = to;
        while self.batches.front().is_some_and(|batch| batch.last < to) {
            self.batches.pop_front();
        }
        let after = self.epochs.partition_point(|(_, start)| *start <= to);
        if let Some(first) = after.checked_sub(1) {
            self.epochs.drain(..first);
            self.epochs[0].1 = to;
        }
    }

    /// The process is gone, and the log is recovered: some of what was not synced may be there.
    pub fn crash(&mut self, random: &mut Random) {
        let unsynced = self.batches.iter().filter(|batch| batch.base >= self.durable).count();
        let lost = random.index(unsynced + 1);
        let assigned = self.epochs.last().copied();
        for _ in 0..lost {
            let batch = self.batches.pop_back().expect("it was counted");
            self.end = batch.base;
        }
        self.epochs.retain(|(_, start)| *start < self.end);
        // Whether an epoch in which nothing was written is remembered is up to how it is kept.
        if let Some((epoch, start)) = assigned
            && start == self.end
            && random.happens(50)
        {
            self.assign(epoch, start);
        }
        self.cuts += 1;
        self.durable = self.end;
    }

    /// Some of what was on disk is gone, from any batch on. Says whether anything is.
    pub fn lose(&mut self, random: &mut Random) -> bool {
        let lost = random.index(self.batches.len() + 1);
        let Some(first) = (self.batches.len() - lost..self.batches.len()).next() else { return false };
        let to = self.batches[first].base;
        self.truncate(to.max(self.start));
        self.cuts += 1;
        self.durable = self.end;
        true
    }

    /// All of it is gone, and it begins anew.
    pub fn wipe(&mut self) {
        *self = Log { cuts: self.cuts + 1, ..Log::default() };
    }

    /// A process that stops in order leaves nothing unsynced.
    pub fn sync_all(&mut self) {
        self.cuts += 1;
        self.durable = self.end;
    }

    pub fn batches(&self) -> impl DoubleEndedIterator<Item = &Batch> + '_ {
        self.batches.iter()
    }

    fn position(&self, offset: i64) -> usize {
        self.batches.partition_point(|batch| batch.last < offset)
    }

    /// Batches from the one that contains `offset` on.
    pub fn from(&self, offset: i64) -> impl Iterator<Item = &Batch> + '_ {
        self.batches.range(self.position(offset)..)
    }

    /// Where the first batch begins that is still there.
    pub fn first(&self) -> i64 {
        self.batches.front().map_or(self.end, |batch| batch.base)
    }

    pub fn containing(&self, offset: Offset) -> Option<BatchMark> {
        self.batches.get(self.position(offset.0)).filter(|batch| batch.base <= offset.0).map(Batch::mark)
    }

    pub fn holds(&self, batch: &Batch) -> bool {
        self.batches.get(self.position(batch.base)) == Some(batch)
    }

    /// Whether this batch lies before `to` and is here, or was deleted here.
    pub fn keeps(&self, batch: &Batch, to: i64) -> bool {
        batch.base < to && (batch.base < self.start || self.holds(batch))
    }

    pub fn tail(&self) -> LogTail {
        LogTail {
            log_end: Offset(self.end),
            latest_epoch: self.latest_epoch().unwrap_or(LeaderEpoch::UNKNOWN),
            last_batch: self.batches.back().map(Batch::mark),
        }
    }
}

impl LogView for Log {
    fn log_start(&self) -> Offset {
        Offset(self.start)
    }

    fn log_end(&self) -> Offset {
        Offset(self.end)
    }

    fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.last().map(|(epoch, _)| LeaderEpoch(*epoch))
    }

    fn epoch_end(&self, requested: LeaderEpoch) -> (LeaderEpoch, Offset) {
        let after = self.epochs.partition_point(|(epoch, _)| *epoch <= requested.0);
        let floor = after.checked_sub(1).map(|at| LeaderEpoch(self.epochs[at].0));
        match (floor, self.epochs.get(after)) {
            (Some(epoch), None) if epoch == requested => (epoch, Offset(self.end)),
            (_, None) => (LeaderEpoch::UNKNOWN, Offset(-1)),
            (floor, Some((_, start))) => (floor.unwrap_or(requested), Offset(*start)),
        }
    }
}
