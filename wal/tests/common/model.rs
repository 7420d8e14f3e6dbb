//! What a log must still be, a power cut or not. The random workload that keeps it is in `workload`.

use protocol::record_batch::BatchHeader;
use protocol::{LeaderEpoch, Offset};
use wal::journal::{ReplayError, ReplayReport};
use wal::producer_state::SequenceCheck;
use wal::{Log, OpenError, ReadError, Storage};

use super::{BatchSpec, START_MS, batch, try_read_all};

/// What is wrong after a recovery.
#[derive(Debug)]
pub enum Violation {
    Replay(ReplayError),
    Unplaced(ReplayReport),
    Open { partition: i32, error: OpenError },
    Lost { partition: i32, acknowledged: Offset, log_end: Offset },
    Invented { partition: i32, appended: Offset, log_end: Offset },
    NotAtBatch { partition: i32, log_end: Offset },
    LogStart { partition: i32, expected: (Offset, Offset), found: Offset },
    Read { partition: i32, error: ReadError },
    Content { partition: i32, offset: Offset },
    Producer { partition: i32, producer_id: i64, found: String },
    Epoch { partition: i32, expected: Option<i32>, found: Option<LeaderEpoch> },
    LastBatch { partition: i32, before: Offset, found: Option<BatchHeader> },
}

#[derive(Clone, Debug)]
pub struct StoredBatch {
    pub header: BatchHeader,
    pub bytes: Vec<u8>,
}

/// One log. A change that is under way leaves two possible outcomes.
#[derive(Clone, Debug, Default)]
pub struct LogModel {
    /// Where the log begins without batches: where it was restarted last.
    pub begin: Offset,
    pub batches: Vec<StoredBatch>,
    /// Everything below was acknowledged.
    pub acknowledged: Offset,
    pub log_start: Offset,
    /// Largest log start that an unfinished change may have reached.
    pub log_start_max: Offset,
    /// Where an unfinished truncation cuts.
    pub cutting: Option<Offset>,
    /// Where an unfinished restart begins.
    pub restarting: Option<Offset>,
    /// The epoch that began at the log end and has written nothing.
    pub assigned: Option<i32>,
    /// All that ever did, and where: a sidecar written there may know them, however often they were taken back since.
    pub ever_assigned: Vec<(Offset, i32)>,
    pub next_sequence: [i32; PRODUCERS],
}

pub const PRODUCERS: usize = 3;
/// Producer ids begin here; smaller ones have none.
pub const FIRST_PRODUCER: i64 = 100;

impl LogModel {
    /// An empty log that begins at `begin`.
    pub fn empty(begin: Offset) -> LogModel {
        LogModel { begin, acknowledged: begin, log_start: begin, log_start_max: begin, ..LogModel::default() }
    }

    pub fn end(&self) -> Offset {
        self.batches.last().map_or(self.begin, |batch| batch.header.next_offset())
    }

    pub fn push(&mut self, header: BatchHeader, bytes: Vec<u8>) {
        if header.is_idempotent() {
            self.next_sequence[(header.producer_id.0 - FIRST_PRODUCER) as usize] = header.last_sequence() + 1;
        }
        self.assigned = None;
        self.batches.push(StoredBatch { header, bytes });
    }

    pub fn cut(&mut self, end: Offset) {
        self.assigned = None;
        self.batches.retain(|batch| batch.header.next_offset() <= end);
        self.acknowledged = self.acknowledged.min(end);
        for (at, next) in self.next_sequence.iter_mut().enumerate() {
            let of_producer = |batch: &&StoredBatch| batch.header.producer_id.0 == FIRST_PRODUCER + at as i64;
            *next = self.batches.iter().rfind(of_producer).map_or(0, |batch| batch.header.last_sequence() + 1);
        }
    }

    pub fn epoch(&self) -> Option<i32> {
        self.batches.last().map(|batch| batch.header.leader_epoch.0)
    }

    /// Checks a recovered log and takes over what it decided.
    pub async fn check<S: Storage>(&mut self, partition: i32, log: &Log<S>) -> Result<(), Violation> {
        if let Some(begin) = self.restarting.take() {
            let mut empty = LogModel::empty(begin);
            if empty.check_recovered(partition, log).await.is_ok() {
                *self = empty;
                return Ok(());
            }
        }
        self.check_recovered(partition, log).await
    }

    async fn check_recovered<S: Storage>(&mut self, partition: i32, log: &Log<S>) -> Result<(), Violation> {
        let log_end = log.log_end_offset();
        let promised = self.acknowledged.min(self.cutting.unwrap_or(self.acknowledged));
        if log_end < promised {
            return Err(Violation::Lost { partition, acknowledged: promised, log_end });
        }
        if log_end > self.end() {
            return Err(Violation::Invented { partition, appended: self.end(), log_end });
        }
        // Between what a cut leaves and what was there before, nothing but both ends is possible once all was durable.
        let at_batch = log_end == self.begin || self.batches.iter().any(|batch| batch.header.next_offset() == log_end);
        let after_everything = self.batches.is_empty() && log_end == self.end();
        if !at_batch && !after_everything {
            return Err(Violation::NotAtBatch { partition, log_end });
        }
        let log_start = log.log_start_offset();
        if log_start < self.log_start || log_start > self.log_start_max.max(self.log_start) {
            let expected = (self.log_start, self.log_start_max);
            return Err(Violation::LogStart { partition, expected, found: log_start });
        }
        self.cut(log_end);
        self.cutting = None;
        self.log_start = log_start;
        self.log_start_max = log_start;
        // A sidecar may have brought one back that wrote nothing.
        let latest = log.latest_epoch().map(|epoch| epoch.0);
        let mut assigned = self.ever_assigned.iter().filter(|(at, _)| *at == log_end).map(|(_, epoch)| *epoch);
        self.assigned = assigned.find(|epoch| latest == Some(*epoch));
        // What was recovered is durable.
        self.acknowledged = log_end;
        self.check_content(partition, log).await?;
        self.check_derived(partition, log)
    }

    pub async fn check_content<S: Storage>(&self, partition: i32, log: &Log<S>) -> Result<(), Violation> {
        let read = try_read_all(log, self.log_start, 3_000).await;
        let found = read.map_err(|error| Violation::Read { partition, error })?;
        let expected = self.batches.iter().filter(|batch| batch.header.next_offset() > self.log_start);
        let mut offset = self.log_start;
        let mut found = found.into_iter();
        for batch in expected {
            if found.next().as_ref() != Some(&batch.bytes) {
                return Err(Violation::Content { partition, offset });
            }
            offset = batch.header.next_offset();
        }
        if found.next().is_some() {
            return Err(Violation::Content { partition, offset });
        }
        for before in [self.end(), self.log_start, Offset(self.log_start.0.midpoint(self.end().0))] {
            self.check_batch_before(partition, log, before).await?;
        }
        Ok(())
    }

    pub async fn check_batch_before<S: Storage>(
        &self,
        partition: i32,
        log: &Log<S>,
        before: Offset,
    ) -> Result<(), Violation> {
        let read = if before == self.end() { log.last_batch().await } else { log.batch_before(before).await };
        let found = read.map_err(|error| Violation::Read { partition, error })?;
        let batch = self.batches.iter().find(|batch| batch.header.next_offset() >= before);
        let expected = batch.filter(|_| before > self.log_start).map(|batch| batch.header);
        if found == expected { Ok(()) } else { Err(Violation::LastBatch { partition, before, found }) }
    }

    pub fn check_derived<S: Storage>(&self, partition: i32, log: &Log<S>) -> Result<(), Violation> {
        for at in 0..PRODUCERS {
            let producer_id = FIRST_PRODUCER + at as i64;
            let producers = log.producer_state();
            let last = self.batches.iter().rfind(|batch| batch.header.producer_id.0 == producer_id);
            let violation = |found| Err(Violation::Producer { partition, producer_id, found });
            let Some(last) = last else {
                // Who has written nothing here is not known and may begin anywhere.
                let header = BatchHeader::parse(&batch(&from_producer(at, 7))).expect("a batch");
                if producers.check(&header) != Ok(SequenceCheck::Accept) {
                    return violation(format!("{:?} for a first batch", producers.check(&header)));
                }
                continue;
            };
            let found = producers.check(&last.header);
            let expected = (last.header.base_offset, last.header.last_offset());
            match found {
                Ok(SequenceCheck::Duplicate { base_offset, last_offset, .. })
                    if (base_offset, last_offset) == expected => {}
                found => return violation(format!("{found:?} for a repeat of {expected:?}")),
            }
            let next = BatchHeader { base_sequence: self.next_sequence[at], ..last.header };
            if producers.check(&next) != Ok(SequenceCheck::Accept) {
                return violation(format!("{:?} for the next batch", producers.check(&next)));
            }
            let gap = BatchHeader { base_sequence: self.next_sequence[at] + 1, ..last.header };
            if producers.check(&gap).is_ok() {
                return violation("a gap was accepted".to_owned());
            }
        }
        self.check_epochs(partition, log)
    }

    fn check_epochs<S: Storage>(&self, partition: i32, log: &Log<S>) -> Result<(), Violation> {
        let found = log.latest_epoch();
        let violation = |expected| Err(Violation::Epoch { partition, expected, found });
        for batch in self.batches.iter().filter(|batch| batch.header.next_offset() > self.log_start) {
            let epoch = batch.header.leader_epoch;
            if log.epoch_for_offset(batch.header.base_offset.max(self.log_start)) != Some(epoch) {
                return violation(Some(epoch.0));
            }
        }
        let expected = self.assigned.or(self.epoch());
        // With no batch left, the epoch cache may or may not remember the last one's.
        let remembers = self.assigned.is_some() || self.end() > self.log_start || self.batches.is_empty();
        if remembers && found != expected.map(LeaderEpoch) { violation(expected) } else { Ok(()) }
    }
}

fn from_producer(producer: usize, sequence: i32) -> BatchSpec {
    let plain = BatchSpec::plain(1, 0, START_MS);
    BatchSpec { producer_id: FIRST_PRODUCER + producer as i64, base_sequence: sequence, ..plain }
}
