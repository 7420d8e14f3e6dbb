//! Logs for tests: a record a batch, whose content follows from its epoch and offset unless it is said to differ.

use crate::divergence::{BatchMark, Cut, LogTail, LogView};
use protocol::newtypes::{LeaderEpoch, Offset};

/// Epochs and end of a log, and what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TestLog {
    pub start: i64,
    /// Epoch and CRC of every record from `start` on.
    pub records: Vec<(i32, u32)>,
    /// Epochs, and where they begin.
    pub epochs: Vec<(i32, i64)>,
}

impl TestLog {
    /// A log that begins at 0 with these epochs, from where each of them begins, and ends at `end`.
    pub fn new(epochs: &[(i32, i64)], end: i64) -> TestLog {
        let mut log = TestLog::default();
        for (at, (epoch, from)) in epochs.iter().enumerate() {
            assert_eq!(log.end(), *from, "epochs leave no gap");
            let to = epochs.get(at + 1).map_or(end, |(_, next)| *next);
            log.begin(*epoch);
            (*from..to).for_each(|_| log.append(*epoch));
        }
        log
    }

    pub fn end(&self) -> i64 {
        self.start + self.records.len() as i64
    }

    pub fn append(&mut self, epoch: i32) {
        self.begin(epoch);
        self.records.push((epoch, (epoch as u32) << 16 | self.end() as u32));
    }

    /// The epoch begins at the end, if it has not begun before.
    pub fn begin(&mut self, epoch: i32) {
        let end = self.end();
        if self.epochs.last().is_none_or(|(latest, _)| *latest < epoch) {
            self.epochs.retain(|(_, from)| *from < end);
            self.epochs.push((epoch, end));
        }
    }

    pub fn truncate(&mut self, to: i64) {
        self.records.truncate((to - self.start).max(0) as usize);
        self.epochs.retain(|(_, from)| *from < to);
    }

    pub fn raise_start(&mut self, to: i64) {
        self.records.drain(..(to - self.start) as usize);
        self.start = to;
        let after = self.epochs.partition_point(|(_, from)| *from <= to);
        if let Some(first) = after.checked_sub(1) {
            self.epochs.drain(..first);
            self.epochs[0].1 = to;
        }
    }

    pub fn cut(&mut self, cut: Cut) {
        match cut {
            Cut::TruncateTo(to) => self.truncate(to.0),
            Cut::RestartAt(at) => *self = TestLog { start: at.0, ..TestLog::default() },
        }
    }

    pub fn at(&self, offset: Offset) -> Option<BatchMark> {
        let (epoch, crc) = *self.records.get(usize::try_from(offset.0 - self.start).ok()?)?;
        Some(BatchMark { base_offset: offset, last_offset: offset, leader_epoch: LeaderEpoch(epoch), crc })
    }

    pub fn tail(&self) -> LogTail {
        LogTail {
            log_end: Offset(self.end()),
            latest_epoch: self.latest_epoch().unwrap_or(LeaderEpoch::UNKNOWN),
            last_batch: self.at(Offset(self.end() - 1)),
        }
    }
}

impl LogView for TestLog {
    fn log_start(&self) -> Offset {
        Offset(self.start)
    }

    fn log_end(&self) -> Offset {
        Offset(self.end())
    }

    fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.last().map(|(epoch, _)| LeaderEpoch(*epoch))
    }

    fn epoch_end(&self, requested: LeaderEpoch) -> (LeaderEpoch, Offset) {
        let after = self.epochs.partition_point(|(epoch, _)| *epoch <= requested.0);
        let floor = after.checked_sub(1).map(|at| LeaderEpoch(self.epochs[at].0));
        match (floor, self.epochs.get(after)) {
            (Some(epoch), None) if epoch == requested => (epoch, self.log_end()),
            (_, None) => (LeaderEpoch::UNKNOWN, Offset(-1)),
            (floor, Some((_, from))) => (floor.unwrap_or(requested), Offset(*from)),
        }
    }
}
