//! Record batches as the console shows them: pure, and bounded whatever the batches hold.
//!
//! Batches may come from anybody: what does not decode is shown as what it is, with why, and does not hide the rest.

use std::collections::VecDeque;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use protocol::Offset;
use protocol::record_batch::{BatchHeader, Compression, TimestampType, batches};
use protocol::records::{Record, RecordReader, RecordsError};
use serde::Serialize;

/// Bytes of a key that are shown.
const KEY_BYTES_MAX: usize = 4 << 10;
/// Bytes of a value that are shown.
const VALUE_BYTES_MAX: usize = 16 << 10;
/// Headers of a record that are shown, and bytes of each one's name and value.
const HEADERS_MAX: usize = 32;
const HEADER_BYTES_MAX: usize = 1 << 10;
/// Bytes of keys, values and headers in one answer, about: further records are left for the next.
pub const SHOWN_BYTES_MAX: usize = 1 << 20;
/// Bytes that one answer's batches may decompress to.
pub const DECOMPRESSED_BYTES_MAX: u64 = 32 << 20;

/// What one offset, or one batch that cannot be read, holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Line {
    Record(Shown),
    /// A transaction's end: `commit`, `abort` or `unknown`.
    Control {
        offset: i64,
        timestamp_ms: i64,
        marker: &'static str,
        producer_id: i64,
    },
    /// A batch that cannot be decoded.
    Unreadable {
        offset: i64,
        last_offset: i64,
        bytes: usize,
        problem: String,
    },
}

impl Line {
    /// The last offset of it.
    fn offset(&self) -> i64 {
        match self {
            Line::Record(shown) => shown.offset,
            Line::Control { offset, .. } => *offset,
            Line::Unreadable { last_offset, .. } => *last_offset,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    pub offset: i64,
    pub timestamp_ms: i64,
    /// `create_time` or `log_append_time`.
    pub timestamp_type: &'static str,
    pub leader_epoch: i32,
    pub compression: &'static str,
    pub transactional: bool,
    /// `null` if the producer is not idempotent.
    pub producer_id: Option<i64>,
    pub key: Option<Blob>,
    pub value: Option<Blob>,
    pub headers: Vec<Header>,
    /// Headers that are not shown.
    pub headers_omitted: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Header {
    pub name: Blob,
    pub value: Option<Blob>,
}

/// Bytes of a client's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Blob {
    /// `utf-8` or `base64`.
    pub encoding: &'static str,
    /// All, or the first part of it.
    pub data: String,
    /// How many bytes there are.
    pub bytes: usize,
    pub truncated: bool,
}

impl Blob {
    fn of(bytes: &[u8], bytes_max: usize) -> Blob {
        let shown = &bytes[..bytes.len().min(bytes_max)];
        let truncated = shown.len() < bytes.len();
        let text = match std::str::from_utf8(shown) {
            Ok(text) => Some(text),
            // Cut within a character.
            Err(error) if truncated && error.error_len().is_none() => {
                std::str::from_utf8(&shown[..error.valid_up_to()]).ok()
            }
            Err(_) => None,
        };
        let (encoding, data) = match text {
            Some(text) => ("utf-8", text.to_owned()),
            None => ("base64", STANDARD.encode(shown)),
        };
        Blob { encoding, data, bytes: bytes.len(), truncated }
    }
}

/// What is wanted of the batches that are handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// As many as this, the first ones.
    First(usize),
    /// The last ones.
    Last(usize),
}

/// Gathers lines out of batches that follow one another.
#[derive(Debug)]
pub struct Gathering {
    wanted: Wanted,
    lines: VecDeque<(Line, usize)>,
    bytes: usize,
    decompressed_left: u64,
    /// Lower ones are not wanted.
    next_offset: i64,
    /// There may be more than was gathered.
    full: bool,
    /// A batch was left for the next answer, for want of what it would decompress to.
    short: bool,
}

impl Gathering {
    pub fn new(wanted: Wanted, from: i64) -> Gathering {
        Gathering {
            wanted,
            lines: VecDeque::new(),
            bytes: 0,
            decompressed_left: DECOMPRESSED_BYTES_MAX,
            next_offset: from,
            full: false,
            short: false,
        }
    }

    /// Whether no more is to be handed in.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Whether batches were left that were handed in.
    pub fn is_short(&self) -> bool {
        self.short
    }

    /// Where to read on: after what was gathered, or what lies there if nothing else was.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// What lies before the log start is gone, though the batch around it still holds it.
    pub fn starts_at(&mut self, log_start: i64) {
        self.next_offset = self.next_offset.max(log_start);
    }

    /// There is nothing to read on from beyond the end.
    pub fn ends_at(&mut self, high_watermark: i64) {
        self.next_offset = self.next_offset.min(high_watermark);
    }

    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// In order of offset.
    pub fn into_lines(self) -> Vec<Line> {
        self.lines.into_iter().map(|(line, _)| line).collect()
    }

    /// Takes whole batches, one behind the other.
    pub fn take(&mut self, bytes: &[u8]) {
        for batch in batches(bytes) {
            if self.full {
                return;
            }
            match batch {
                Ok((header, batch)) => self.take_batch(&header, batch),
                Err(error) => {
                    let offset = self.next_offset;
                    let problem = error.to_string();
                    self.add(Line::Unreadable { offset, last_offset: offset, bytes: bytes.len(), problem }, 0);
                    // Where the next one begins nobody can tell.
                    self.full = true;
                }
            }
        }
    }

    fn take_batch(&mut self, header: &BatchHeader, batch: &[u8]) {
        let last_offset = header.last_offset().0;
        if last_offset < self.next_offset {
            return;
        }
        let before = self.decompressed_left;
        let outcome = match header.verify_stored(batch) {
            Ok(()) if header.is_control() => self.take_control(header, batch),
            Ok(()) => self.take_records(header, batch),
            Err(error) => Err(error.into()),
        };
        match outcome {
            Ok(()) => {}
            // Others have used up what this one needs: the next answer has all of it for this one, or says that it is not
            // enough. What used some was shown or passed over, so each answer gets on.
            Err(RecordsError::TooLarge { .. }) if before < DECOMPRESSED_BYTES_MAX => {
                (self.full, self.short) = (true, true);
            }
            Err(error) => {
                let offset = header.base_offset.0.max(self.next_offset);
                let problem = described(&error);
                self.add(Line::Unreadable { offset, last_offset, bytes: batch.len(), problem }, 0);
            }
        }
        if !self.full {
            // Compaction may have taken the last ones.
            self.next_offset = self.next_offset.max(last_offset.saturating_add(1));
        }
    }

    fn take_control(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<(), RecordsError> {
        let mut reader = RecordReader::open(batch, self.decompressed_left)?;
        while let Some(record) = reader.next_record()? {
            // Its key is a version and a type (KIP-98).
            let marker = match record.key.and_then(|key| key.get(2..4)) {
                Some([0, 0]) => "abort",
                Some([0, 1]) => "commit",
                _ => "unknown",
            };
            let (offset, timestamp_ms) = (record.offset.0, record.timestamp);
            if offset >= self.next_offset
                && !self.add(Line::Control { offset, timestamp_ms, marker, producer_id: header.producer_id.0 }, 0)
            {
                break;
            }
        }
        Ok(())
    }

    fn take_records(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<(), RecordsError> {
        let mut reader = RecordReader::open(batch, self.decompressed_left)?;
        // Within a batch that decompresses well, what was read counts, not what was sent.
        let mut read = 0_u64;
        let outcome = loop {
            match reader.next_record() {
                Ok(Some(record)) => {
                    read += size(&record);
                    if record.offset >= Offset(self.next_offset) {
                        let (shown, bytes) = shown(header, &record);
                        if !self.add(Line::Record(shown), bytes) {
                            break Ok(());
                        }
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.decompressed_left = self.decompressed_left.saturating_sub(read);
        outcome
    }

    /// Whether there is room for more.
    fn add(&mut self, line: Line, bytes: usize) -> bool {
        let over = self.bytes.saturating_add(bytes) > SHOWN_BYTES_MAX;
        match self.wanted {
            Wanted::First(max) if self.lines.len() >= max || over && !self.lines.is_empty() => self.full = true,
            Wanted::First(max) => {
                self.next_offset = line.offset().saturating_add(1);
                self.bytes += bytes;
                self.lines.push_back((line, bytes));
                self.full = self.lines.len() >= max;
            }
            Wanted::Last(max) => {
                self.next_offset = line.offset().saturating_add(1);
                self.bytes += bytes;
                self.lines.push_back((line, bytes));
                while self.lines.len() > max || self.bytes > SHOWN_BYTES_MAX && self.lines.len() > 1 {
                    self.bytes -= self.lines.pop_front().map_or(0, |(_, bytes)| bytes);
                }
            }
        }
        !self.full
    }
}

fn described(error: &RecordsError) -> String {
    use std::error::Error;
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

fn size(record: &Record<'_>) -> u64 {
    let headers = record.headers.iter().map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len));
    let fields = [record.key, record.value].into_iter().flatten().map(<[u8]>::len);
    fields.chain(headers).map(|bytes| bytes as u64).sum::<u64>() + 8
}

/// A record, and how many bytes are shown of it.
fn shown(header: &BatchHeader, record: &Record<'_>) -> (Shown, usize) {
    let headers = record.headers.iter().take(HEADERS_MAX).map(|header| Header {
        name: Blob::of(header.key, HEADER_BYTES_MAX),
        value: header.value.map(|value| Blob::of(value, HEADER_BYTES_MAX)),
    });
    let shown = Shown {
        offset: record.offset.0,
        timestamp_ms: record.timestamp,
        timestamp_type: match header.timestamp_type() {
            TimestampType::CreateTime => "create_time",
            TimestampType::LogAppendTime => "log_append_time",
        },
        leader_epoch: header.leader_epoch.0,
        compression: match header.compression() {
            Ok(Compression::None) | Err(_) => "none",
            Ok(Compression::Gzip) => "gzip",
            Ok(Compression::Snappy) => "snappy",
            Ok(Compression::Lz4) => "lz4",
            Ok(Compression::Zstd) => "zstd",
        },
        transactional: header.is_transactional(),
        producer_id: header.is_idempotent().then_some(header.producer_id.0),
        key: record.key.map(|key| Blob::of(key, KEY_BYTES_MAX)),
        value: record.value.map(|value| Blob::of(value, VALUE_BYTES_MAX)),
        headers: headers.collect(),
        headers_omitted: record.headers.len().saturating_sub(HEADERS_MAX),
    };
    let blobs = shown.key.iter().chain(&shown.value);
    let of_headers = shown.headers.iter().flat_map(|header| std::iter::once(&header.name).chain(&header.value));
    let bytes = blobs.chain(of_headers).map(|blob| blob.data.len()).sum::<usize>();
    // What is around it.
    (shown, bytes + 256)
}

#[cfg(test)]
mod tests;
