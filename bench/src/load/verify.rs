//! Whether what is read is what was written: each batch of each producer once, in order, undamaged, at dense offsets.
//!
//! A [`PartitionCheck`] follows one partition as one consumer group reads it. Producers number their batches by partition
//! from 0, so a lost, repeated or reordered batch shows as a wrong number whoever else wrote in between. That the end was
//! reached is the caller's to check, by [`PartitionCheck::next_offset`].

use protocol::record_batch::{BatchError, BatchHeader};
use protocol::records::{RecordReader, RecordsError};

use crate::load::batch::{BatchTemplate, Marker};

/// What is wrong with a batch that was read.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("the batch is damaged: {0}")]
    Batch(#[from] BatchError),
    #[error("the batch begins at offset {found}, expected {expected}")]
    Offset { expected: i64, found: i64 },
    #[error("the batch has {found} bytes, expected {expected} as in every batch of this workload")]
    Size { expected: usize, found: usize },
    #[error("the batch has {found} records, expected {expected} as in every batch of this workload")]
    Records { expected: u32, found: i32 },
    #[error("the batch is of run {found:08x}, expected {expected:08x}: somebody else writes to this topic")]
    Run { expected: u32, found: u32 },
    #[error("the batch is of producer {found}, expected one below {expected}")]
    Producer { expected: usize, found: u32 },
    #[error("batch {found} of producer {producer} follows where batch {expected} was expected: {} lost", found - expected)]
    Lost { producer: u32, expected: u64, found: u64 },
    #[error("batch {found} of producer {producer} comes again or late where batch {expected} was expected")]
    Again { producer: u32, expected: u64, found: u64 },
    #[error("the records cannot be decoded: {0}")]
    Undecodable(#[from] RecordsError),
    #[error("record {record} has offset {found}, expected {expected}")]
    RecordOffset { record: u32, expected: i64, found: i64 },
    #[error("record {record} has a value of {found:?} bytes, expected {expected}")]
    Value { record: u32, expected: usize, found: Option<usize> },
}

/// What every batch of a run is compared with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    pub(super) template: &'a BatchTemplate,
    pub(super) record_size: usize,
    /// Decode every record.
    pub(super) full: bool,
}

/// One partition as one group reads it.
#[derive(Clone, Debug)]
pub(super) struct PartitionCheck {
    next_offset: i64,
    /// Of which all batches must be; unknown before the first if nothing was produced in this run.
    run: Option<u32>,
    /// By producer, the number of the next batch.
    next_sequences: Box<[u64]>,
    /// Whether producers may be there that were not announced: the log was written by an earlier run.
    is_foreign: bool,
}

impl PartitionCheck {
    /// Reading begins at `offset`, where the producers of `run` have written as many batches as `sequences` says.
    pub(super) fn new(offset: i64, run: u32, sequences: Box<[u64]>) -> PartitionCheck {
        PartitionCheck { next_offset: offset, run: Some(run), next_sequences: sequences, is_foreign: false }
    }

    /// Reading begins at `offset` with the first batch of an earlier run, of which nothing else is known.
    pub(super) fn of_earlier_run(offset: i64) -> PartitionCheck {
        PartitionCheck { next_offset: offset, run: None, next_sequences: Box::default(), is_foreign: true }
    }

    /// Where reading goes on.
    pub(super) fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// Checks the next batch, parsed already, and gives its marker.
    pub(super) fn batch(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
        expected: &Expected<'_>,
    ) -> Result<Marker, Fault> {
        let template = expected.template;
        if header.base_offset.0 != self.next_offset {
            return Err(Fault::Offset { expected: self.next_offset, found: header.base_offset.0 });
        }
        header.verify(batch)?;
        if batch.len() != template.size_bytes() {
            return Err(Fault::Size { expected: template.size_bytes(), found: batch.len() });
        }
        if i64::from(header.record_count) != i64::from(template.records()) {
            return Err(Fault::Records { expected: template.records(), found: header.record_count });
        }
        let marker = template.marker(batch).expect("a batch as large as the template has room for its marker");
        let run = *self.run.get_or_insert(marker.run);
        if marker.run != run {
            return Err(Fault::Run { expected: run, found: marker.run });
        }
        let producer = marker.producer as usize;
        if self.is_foreign && producer >= self.next_sequences.len() && producer < FOREIGN_PRODUCERS_MAX {
            let mut sequences = std::mem::take(&mut self.next_sequences).into_vec();
            sequences.resize(producer + 1, 0);
            self.next_sequences = sequences.into();
        }
        let Some(next_sequence) = self.next_sequences.get_mut(producer) else {
            return Err(Fault::Producer { expected: self.next_sequences.len(), found: marker.producer });
        };
        let (sequence, found) = (*next_sequence, marker.sequence);
        match found.cmp(&sequence) {
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Greater => {
                return Err(Fault::Lost { producer: marker.producer, expected: sequence, found });
            }
            std::cmp::Ordering::Less => {
                return Err(Fault::Again { producer: marker.producer, expected: sequence, found });
            }
        }
        if expected.full {
            check_records(header, batch, expected)?;
        }
        *next_sequence += 1;
        self.next_offset = header.next_offset().0;
        Ok(marker)
    }
}

/// Producers of an earlier run at most; keeps a damaged number from taking memory.
const FOREIGN_PRODUCERS_MAX: usize = 100_000;
/// Bytes that a batch may decompress to: that of the largest workload, and some.
const DECOMPRESSED_BYTES_MAX: u64 = 256 << 20;

fn check_records(header: &BatchHeader, batch: &[u8], expected: &Expected<'_>) -> Result<(), Fault> {
    let mut reader = RecordReader::open(batch, DECOMPRESSED_BYTES_MAX)?;
    let mut number = 0_u32;
    while let Some(record) = reader.next_record()? {
        let (offset, found) = (header.base_offset.0 + i64::from(number), record.offset.0);
        if found != offset {
            return Err(Fault::RecordOffset { record: number, expected: offset, found });
        }
        let found = record.value.map(<[u8]>::len);
        if found != Some(expected.record_size) {
            return Err(Fault::Value { record: number, expected: expected.record_size, found });
        }
        number += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
