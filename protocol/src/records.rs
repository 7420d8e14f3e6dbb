//! The records inside one batch, read as a stream with a limit.
//!
//! The broker passes batches on as they are and looks inside only where Kafka's semantics ask for it: to find the
//! record of a timestamp, and to refuse null keys on compacted topics. Both need no more than a few numbers per record,
//! so [`scan`] decompresses in small pieces, skips keys and values, and holds none. [`RecordReader`] gives whole
//! records, one at a time, for internal topics and tests.
//!
//! Contract: the batch's header has been parsed and its CRC verified. A limit on decompressed bytes is always given,
//! for a few kilobytes can be made to decompress to gigabytes: it bounds the time spent, and with [`RecordReader`] the
//! memory.
//!
//! Deliberately absent: decompressing a batch as a whole, and the formats before 2.

use crate::newtypes::Offset;
use crate::record_batch::{BatchError, BatchHeader, HEADER_BYTES, TimestampType};

mod builder;
mod decompress;
mod input;
mod retain;
#[cfg(test)]
mod tests;

pub use builder::BatchBuilder;
use input::Input;
pub use retain::{OpenBatch, RecordSlice, Retained, empty_batch};

/// A limit on decompressed bytes that leaves room for a hundredfold compression of batches of Kafka's default size.
pub const DECOMPRESSED_BYTES_MAX_DEFAULT: u64 = 256 * 1024 * 1024;

/// Why the records of a batch cannot be read. `record` counts from 0 within the batch.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    #[error("bad record batch")]
    Batch(#[from] BatchError),
    #[error("records of the batch end within record {record} of {count}")]
    CutShort { record: i32, count: i32 },
    #[error("records of the batch cannot be decompressed")]
    Decompress(#[source] std::io::Error),
    #[error("records of the batch decompress to more than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("record {record}: {field} is {found}, which cannot be")]
    BadField { record: i32, field: &'static str, found: i64 },
    #[error("record {record}: its length says {expected} bytes, its fields take {found}")]
    Length { record: i32, expected: u64, found: u64 },
    #[error("bytes are left over after all {count} records of the batch")]
    LeftOver { count: i32 },
}

/// What is known of a record without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordMeta {
    pub offset: Offset,
    /// Milliseconds since the Unix epoch.
    pub timestamp: i64,
    pub has_key: bool,
}

/// A record, its content borrowed from the reader until the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub offset: Offset,
    /// Milliseconds since the Unix epoch.
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Vec<RecordHeader<'a>>,
}

/// A header of a record (KIP-82).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader<'a> {
    /// UTF-8 by convention; nobody checks.
    pub key: &'a [u8],
    pub value: Option<&'a [u8]>,
}

/// Visits every record of the batch at the front of `bytes` without its content, until `visit` says
/// [`std::ops::ControlFlow::Break`]. Only a walk to the end proves that the count is right and nothing is left over.
pub fn scan<B>(
    bytes: &[u8],
    decompressed_bytes_max: u64,
    visit: impl FnMut(RecordMeta) -> std::ops::ControlFlow<B>,
) -> Result<Option<B>, RecordsError> {
    scan_within(bytes, &mut { decompressed_bytes_max }, visit)
}

/// As [`scan`], and takes the bytes that the walk went over from `budget`: for several batches that one limit is for.
pub fn scan_within<B>(
    bytes: &[u8],
    budget: &mut u64,
    visit: impl FnMut(RecordMeta) -> std::ops::ControlFlow<B>,
) -> Result<Option<B>, RecordsError> {
    let mut cursor = Cursor::open(bytes, *budget)?;
    let found = walk(&mut cursor, visit);
    *budget = budget.saturating_sub(cursor.input.position());
    found
}

fn walk<B>(
    cursor: &mut Cursor<'_>,
    mut visit: impl FnMut(RecordMeta) -> std::ops::ControlFlow<B>,
) -> Result<Option<B>, RecordsError> {
    while let Some(start) = cursor.start_record()? {
        let has_key = cursor.skip_bytes_field("key length")?;
        if let std::ops::ControlFlow::Break(found) = visit(cursor.meta(start, has_key)) {
            return Ok(Some(found));
        }
        // Value and headers need not be understood, only passed over.
        let left = cursor.record_end - cursor.input.position();
        cursor.input.skip(left).map_err(|fault| cursor.error(fault))?;
    }
    Ok(None)
}

/// Offset and timestamp of the batch's first record at or after `timestamp`, as ListOffsets wants.
pub fn first_at_or_after(
    bytes: &[u8],
    timestamp: i64,
    decompressed_bytes_max: u64,
) -> Result<Option<(Offset, i64)>, RecordsError> {
    scan(bytes, decompressed_bytes_max, |record| {
        if record.timestamp >= timestamp {
            std::ops::ControlFlow::Break((record.offset, record.timestamp))
        } else {
            std::ops::ControlFlow::Continue(())
        }
    })
}

/// What a whole walk over a batch's records tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordsSummary {
    pub records: i32,
    pub null_keys: i32,
    /// Whether offsets rise by one from the base offset, as a producer has to number them.
    pub is_dense: bool,
    /// First record with the largest timestamp.
    pub max_timestamp: RecordMeta,
}

/// Walks over all records of the batch at the front of `bytes`. A batch of none (compaction leaves such) gives `None`.
pub fn summarize(bytes: &[u8], decompressed_bytes_max: u64) -> Result<Option<RecordsSummary>, RecordsError> {
    let base_offset = BatchHeader::parse(bytes)?.base_offset;
    let mut summary: Option<RecordsSummary> = None;
    scan(bytes, decompressed_bytes_max, |record| {
        let so_far =
            summary.get_or_insert(RecordsSummary { records: 0, null_keys: 0, is_dense: true, max_timestamp: record });
        so_far.is_dense &= record.offset.0.wrapping_sub(base_offset.0) == i64::from(so_far.records);
        so_far.records += 1;
        so_far.null_keys += i32::from(!record.has_key);
        if record.timestamp > so_far.max_timestamp.timestamp {
            so_far.max_timestamp = record;
        }
        std::ops::ControlFlow::<()>::Continue(())
    })?;
    Ok(summary)
}

/// Gives the records of one batch, one at a time.
pub struct RecordReader<'a> {
    cursor: Cursor<'a>,
    /// Content of the current record.
    content: Vec<u8>,
}

impl<'a> RecordReader<'a> {
    /// Opens the batch at the front of `bytes`.
    pub fn open(bytes: &'a [u8], decompressed_bytes_max: u64) -> Result<RecordReader<'a>, RecordsError> {
        Ok(RecordReader { cursor: Cursor::open(bytes, decompressed_bytes_max)?, content: Vec::new() })
    }

    /// The next record; `None` after the last. Not to be called again after an error.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, RecordsError> {
        let cursor = &mut self.cursor;
        let Some(start) = cursor.start_record()? else { return Ok(None) };
        let length = cursor.record_end - cursor.input.position();
        cursor.input.read_into(&mut self.content, length).map_err(|fault| cursor.error(fault))?;
        let mut fields = Fields { record: cursor.next - 1, bytes: &self.content };
        let key = fields.bytes_field("key length")?;
        let value = fields.bytes_field("value length")?;
        let count = fields.varint("header count")?;
        // Each takes two bytes at the least, so what is announced has to be there.
        if count < 0 || count > fields.bytes.len() as i64 / 2 {
            return Err(fields.bad("header count", count));
        }
        let mut headers = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let key = fields.bytes_field("header key length")?.ok_or_else(|| fields.bad("header key length", -1))?;
            headers.push(RecordHeader { key, value: fields.bytes_field("header value length")? });
        }
        if !fields.bytes.is_empty() {
            let (expected, left) = (length, fields.bytes.len() as u64);
            return Err(RecordsError::Length { record: fields.record, expected, found: expected - left });
        }
        let RecordMeta { offset, timestamp, .. } = cursor.meta(start, key.is_some());
        Ok(Some(Record { offset, timestamp, key, value, headers }))
    }
}

/// The header of a batch that says how many records it has.
fn counted_header(bytes: &[u8]) -> Result<BatchHeader, RecordsError> {
    let header = BatchHeader::parse(bytes)?;
    if header.record_count < 0 {
        let (count, last_offset_delta) = (header.record_count, header.last_offset_delta);
        return Err(BatchError::CountMismatch { count, last_offset_delta }.into());
    }
    Ok(header)
}

/// Where a record's deltas put it.
#[derive(Clone, Copy)]
struct RecordStart {
    timestamp_delta: i64,
    offset_delta: i32,
}

impl RecordStart {
    fn offset(self, header: &BatchHeader) -> Offset {
        Offset(header.base_offset.0.wrapping_add(i64::from(self.offset_delta)))
    }

    fn timestamp(self, header: &BatchHeader) -> i64 {
        match header.timestamp_type() {
            TimestampType::LogAppendTime => header.max_timestamp,
            TimestampType::CreateTime => header.base_timestamp.wrapping_add(self.timestamp_delta),
        }
    }
}

/// Walks over the records' bytes.
struct Cursor<'a> {
    header: BatchHeader,
    input: Input<'a>,
    /// The record after the current one.
    next: i32,
    /// Position at which the current record ends.
    record_end: u64,
}

impl<'a> Cursor<'a> {
    fn open(bytes: &'a [u8], decompressed_bytes_max: u64) -> Result<Cursor<'a>, RecordsError> {
        let header = counted_header(bytes)?;
        let compressed = &bytes[HEADER_BYTES..header.size_bytes];
        let reader = decompress::reader(header.compression()?, compressed, decompressed_bytes_max)
            .map_err(RecordsError::Decompress)?;
        let input = Input::new(reader, decompressed_bytes_max);
        Ok(Cursor { header, input, next: 0, record_end: 0 })
    }

    /// Reads a record up to its key; `None` after the last one.
    fn start_record(&mut self) -> Result<Option<RecordStart>, RecordsError> {
        if self.next == self.header.record_count {
            return match self.input.is_at_end() {
                Ok(true) => Ok(None),
                Ok(false) => Err(RecordsError::LeftOver { count: self.header.record_count }),
                Err(fault) => Err(self.error(fault)),
            };
        }
        self.next += 1;
        self.record_end = u64::MAX;
        let length = self.varint("length")?;
        let length = u64::try_from(length).map_err(|_| self.bad("length", length))?;
        self.record_end = self.input.position() + length;
        // One byte of attributes, none of which are defined.
        self.input.skip(1).map_err(|fault| self.error(fault))?;
        let timestamp_delta = self.varlong("timestamp delta")?;
        let offset_delta = self.varint("offset delta")?;
        let offset_delta = i32::try_from(offset_delta).map_err(|_| self.bad("offset delta", offset_delta))?;
        if self.input.position() > self.record_end {
            return Err(self.bad("length", length as i64));
        }
        Ok(Some(RecordStart { timestamp_delta, offset_delta }))
    }

    /// Passes over a length and as many bytes; says whether they were not null.
    fn skip_bytes_field(&mut self, field: &'static str) -> Result<bool, RecordsError> {
        let length = self.varint(field)?;
        if length < -1 {
            return Err(self.bad(field, length));
        }
        let bytes = length.max(0) as u64;
        if self.input.position().saturating_add(bytes) > self.record_end {
            return Err(self.bad(field, length));
        }
        self.input.skip(bytes).map_err(|fault| self.error(fault))?;
        Ok(length >= 0)
    }

    fn meta(&self, start: RecordStart, has_key: bool) -> RecordMeta {
        RecordMeta { offset: start.offset(&self.header), timestamp: start.timestamp(&self.header), has_key }
    }

    fn varint(&mut self, field: &'static str) -> Result<i64, RecordsError> {
        let value = self.varlong(field)?;
        if i32::try_from(value).is_err() { Err(self.bad(field, value)) } else { Ok(value) }
    }

    fn varlong(&mut self, field: &'static str) -> Result<i64, RecordsError> {
        let mut decoder = VarlongDecoder::default();
        loop {
            let byte = self.input.byte().map_err(|fault| self.error(fault))?;
            match decoder.push(byte) {
                Some(Some(value)) => return Ok(value),
                Some(None) => return Err(self.bad(field, i64::MAX)),
                None => {}
            }
        }
    }

    fn bad(&self, field: &'static str, found: i64) -> RecordsError {
        RecordsError::BadField { record: self.next - 1, field, found }
    }

    fn error(&self, fault: input::Fault) -> RecordsError {
        match fault {
            input::Fault::End => {
                RecordsError::CutShort { record: self.next.max(1) - 1, count: self.header.record_count }
            }
            input::Fault::Limit { limit } => RecordsError::TooLarge { limit },
            input::Fault::Io(error) => RecordsError::Decompress(error),
        }
    }
}

/// The fields of a record that is in memory.
struct Fields<'a> {
    record: i32,
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    fn bytes_field(&mut self, field: &'static str) -> Result<Option<&'a [u8]>, RecordsError> {
        match self.varint(field)? {
            -1 => Ok(None),
            length => self.take(field, length).map(Some),
        }
    }

    /// As many bytes as `field` says.
    fn take(&mut self, field: &'static str, length: i64) -> Result<&'a [u8], RecordsError> {
        let (content, rest) = usize::try_from(length)
            .ok()
            .and_then(|length| self.bytes.split_at_checked(length))
            .ok_or_else(|| self.bad(field, length))?;
        self.bytes = rest;
        Ok(content)
    }

    fn varint(&mut self, field: &'static str) -> Result<i64, RecordsError> {
        let value = self.varlong(field)?;
        if i32::try_from(value).is_err() { Err(self.bad(field, value)) } else { Ok(value) }
    }

    fn varlong(&mut self, field: &'static str) -> Result<i64, RecordsError> {
        let mut decoder = VarlongDecoder::default();
        for (at, &byte) in self.bytes.iter().enumerate() {
            if let Some(value) = decoder.push(byte) {
                self.bytes = &self.bytes[at + 1..];
                return value.ok_or_else(|| self.bad(field, i64::MAX));
            }
        }
        Err(self.bad(field, i64::MAX))
    }

    fn bad(&self, field: &'static str, found: i64) -> RecordsError {
        RecordsError::BadField { record: self.record, field, found }
    }
}

/// Zigzag varints, a byte at a time.
#[derive(Default)]
struct VarlongDecoder {
    value: u64,
    shift: u32,
}

impl VarlongDecoder {
    /// `None` while more bytes are due, `Some(None)` if it does not fit 64 bits.
    fn push(&mut self, byte: u8) -> Option<Option<i64>> {
        if self.shift == 63 && byte > 1 {
            return Some(None);
        }
        self.value |= u64::from(byte & 0x7f) << self.shift;
        self.shift += 7;
        (byte < 0x80).then_some(Some((self.value >> 1) as i64 ^ -((self.value & 1) as i64)))
    }
}
