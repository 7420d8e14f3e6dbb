//! The batches that are sent: made once, then only their few changing bytes are written anew.
//!
//! Each batch of a workload has the same records but for its [`Marker`], which opens the first record's value. So a batch is
//! a short *head* up to and including the marker, written for each, and a *tail* that all share and that is never copied.
//! The checksum of the whole follows from the head's and the tail's, since CRC-32C is linear: what a batch costs the client
//! does not depend on its size. A compressed batch keeps the front of its first record in a stored, uncompressed part that
//! its codec provides for, so that the same holds ([`stored`]).
//!
//! Contents do not compress where the workload asks for no compression, and compress to about half where it does.
//! Timestamps are those of the sending; there is no producer id.

use std::sync::Arc;

use protocol::record_batch::HEADER_BYTES;
use protocol::records::BatchBuilder;

use crate::load::workload::{Compression, Workload};

mod content;
mod crc;
mod stored;
#[cfg(test)]
mod tests;

use content::Content;
use crc::CrcAppend;

/// Where the fields that are patched lie in a batch (Kafka protocol guide, "Record Batch").
const LENGTH_AT: usize = 8;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const BASE_TIMESTAMP_AT: usize = 27;
const MAX_TIMESTAMP_AT: usize = 35;
/// Bytes of a batch that its length field does not count.
const LENGTH_OVERHEAD: usize = 12;

/// Bytes of a [`Marker`], and with that the smallest value of a record.
pub(super) const VALUE_BYTES_MIN: usize = 24;

/// What tells a batch from all others, at the front of its first record's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marker {
    /// Tells batches of this run from others in the same topic.
    pub(super) run: u32,
    /// Number of the producer.
    pub(super) producer: u32,
    /// From 0, by producer and partition.
    pub(super) sequence: u64,
    /// The intended send time on the run's clock.
    pub(super) sent_ns: u64,
}

impl Marker {
    fn to_bytes(self) -> [u8; VALUE_BYTES_MIN] {
        let mut bytes = [0; VALUE_BYTES_MIN];
        bytes[..4].copy_from_slice(&self.run.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.producer.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[16..].copy_from_slice(&self.sent_ns.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; VALUE_BYTES_MIN]) -> Marker {
        let [run, producer] =
            [0, 4].map(|at| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes of a marker")));
        let [sequence, sent_ns] =
            [8, 16].map(|at| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes of a marker")));
        Marker { run, producer, sequence, sent_ns }
    }
}

/// What all batches of a workload have in common.
#[derive(Clone, Debug)]
pub(super) struct BatchTemplate {
    /// From the batch's first byte to behind the marker, or the stored part that holds it.
    head: Vec<u8>,
    tail: Arc<[u8]>,
    marker_at: usize,
    tail_crc: CrcAppend,
    compression: Compression,
    records: u32,
}

impl BatchTemplate {
    pub(super) fn new(workload: &Workload) -> BatchTemplate {
        let (records, compression) = (workload.batch_records(), workload.compression);
        let mut content = Content::new(compression != Compression::None);
        let mut builder = BatchBuilder::new();
        for _ in 0..records {
            let key = workload.key_bytes().map(|size| content.take(size));
            builder.append(0, key.as_deref(), Some(&content.take(workload.record_size)), &[]);
        }
        let plain = builder.build();
        let front = front_bytes(workload.key_bytes(), workload.record_size);
        let (front, rest) = plain[HEADER_BYTES..].split_at(front);
        let (stored, rest) = stored::parts(compression, front, rest);
        let mut head = plain[..HEADER_BYTES].to_vec();
        head.extend_from_slice(&stored.bytes);
        let marker_at = HEADER_BYTES + stored.front_at + front.len() - VALUE_BYTES_MIN;
        let length = (head.len() + rest.len() - LENGTH_OVERHEAD) as u32;
        head[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length.to_be_bytes());
        head[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&codec_id(compression).to_be_bytes());
        let tail_crc = CrcAppend::new(&rest);
        BatchTemplate { head, tail: rest.into(), marker_at, tail_crc, compression, records: records as u32 }
    }

    /// Bytes of each batch.
    pub(super) fn size_bytes(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// Records of each batch.
    pub(super) fn records(&self) -> u32 {
        self.records
    }

    /// What follows every head.
    pub(super) fn tail(&self) -> &Arc<[u8]> {
        &self.tail
    }

    /// Appends the head of the batch of this marker. `timestamp_ms` is since the Unix epoch, for all records.
    pub(super) fn write_head(&self, out: &mut Vec<u8>, marker: &Marker, timestamp_ms: u64) {
        let start = out.len();
        out.extend_from_slice(&self.head);
        let head = &mut out[start..];
        let timestamp = timestamp_ms.to_be_bytes();
        head[BASE_TIMESTAMP_AT..BASE_TIMESTAMP_AT + 8].copy_from_slice(&timestamp);
        head[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&timestamp);
        head[self.marker_at..self.marker_at + VALUE_BYTES_MIN].copy_from_slice(&marker.to_bytes());
        if self.compression == Compression::Gzip {
            stored::renew_gzip_trailer(&mut head[HEADER_BYTES..]);
        }
        let crc = self.tail_crc.append_to(crc32c::crc32c(&head[ATTRIBUTES_AT..]));
        head[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    }

    /// The marker of a batch of this size and kind; meaningless for others.
    pub(super) fn marker(&self, batch: &[u8]) -> Option<Marker> {
        let bytes = batch.get(self.marker_at..self.marker_at + VALUE_BYTES_MIN)?;
        Some(Marker::from_bytes(bytes.try_into().expect("as many bytes as were taken")))
    }
}

/// As attribute bits 0 to 2 have it.
fn codec_id(compression: Compression) -> i16 {
    match compression {
        Compression::None => 0,
        Compression::Gzip => 1,
        Compression::Snappy => 2,
        Compression::Lz4 => 3,
        Compression::Zstd => 4,
    }
}

/// How many records fit a batch of `batch_bytes` before compression, at least one.
pub(super) fn records_that_fit(batch_bytes: usize, key_bytes: Option<usize>, value_bytes: usize) -> usize {
    let (mut records, mut size) = (0, HEADER_BYTES);
    loop {
        size += record_bytes(records, key_bytes, value_bytes);
        if records > 0 && size > batch_bytes {
            return records;
        }
        records += 1;
    }
}

/// Bytes of the record at `offset_delta`, timestamp delta 0, without headers.
fn record_bytes(offset_delta: usize, key_bytes: Option<usize>, value_bytes: usize) -> usize {
    let body = 1 + 1 + varint_bytes(offset_delta) + field_bytes(key_bytes) + field_bytes(Some(value_bytes)) + 1;
    varint_bytes(body) + body
}

/// Bytes of a batch's first record up to and including its marker.
fn front_bytes(key_bytes: Option<usize>, value_bytes: usize) -> usize {
    let body = record_bytes(0, key_bytes, value_bytes);
    // Without the rest of the value, and the number of headers.
    body - 1 - (value_bytes - VALUE_BYTES_MIN)
}

fn field_bytes(size: Option<usize>) -> usize {
    size.map_or(1, |size| varint_bytes(size) + size)
}

/// Bytes of a number that is not negative as a zigzag varint.
fn varint_bytes(value: usize) -> usize {
    let bits = usize::BITS - (value << 1).leading_zeros();
    (bits.max(1) as usize).div_ceil(7)
}
