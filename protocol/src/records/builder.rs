//! Makes record batches: for internal topics, and for tests to play the producer.

use std::io::Write;

use crate::newtypes::{LeaderEpoch, Offset, ProducerId};
use crate::record_batch::{BatchParts, Compression, HEADER_BYTES, write_header};

use super::decompress::XERIAL_MAGIC;

/// Bytes of records that the Java client puts into one snappy block.
const SNAPPY_BLOCK_BYTES: usize = 32 * 1024;

/// Collects records and gives a v2 batch with a correct CRC-32C.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    compression: Compression,
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
    producer: (ProducerId, i16, i32),
    attributes: i16,
    base_timestamp: i64,
    max_timestamp: i64,
    record_count: i32,
    /// Records so far, encoded, not compressed.
    records: Vec<u8>,
    /// The record that is being encoded; kept for its capacity.
    record: Vec<u8>,
}

impl Default for BatchBuilder {
    fn default() -> BatchBuilder {
        BatchBuilder::new()
    }
}

impl BatchBuilder {
    /// A batch as a plain producer would send it: base offset 0, epoch unknown, no producer id, not compressed.
    #[must_use]
    pub fn new() -> BatchBuilder {
        BatchBuilder {
            compression: Compression::None,
            base_offset: Offset::ZERO,
            leader_epoch: LeaderEpoch::UNKNOWN,
            producer: (ProducerId::NONE, -1, -1),
            attributes: 0,
            base_timestamp: -1,
            max_timestamp: -1,
            record_count: 0,
            records: Vec::new(),
            record: Vec::new(),
        }
    }

    #[must_use]
    pub fn compression(self, compression: Compression) -> BatchBuilder {
        BatchBuilder { compression, ..self }
    }

    #[must_use]
    pub fn base_offset(self, base_offset: Offset) -> BatchBuilder {
        BatchBuilder { base_offset, ..self }
    }

    #[must_use]
    pub fn leader_epoch(self, leader_epoch: LeaderEpoch) -> BatchBuilder {
        BatchBuilder { leader_epoch, ..self }
    }

    /// Makes the batch one of an idempotent producer.
    #[must_use]
    pub fn producer(self, id: ProducerId, epoch: i16, base_sequence: i32) -> BatchBuilder {
        BatchBuilder { producer: (id, epoch, base_sequence), ..self }
    }

    /// Sets attribute bits other than the codec: 0x08 log append time, 0x10 transactional, 0x20 control.
    #[must_use]
    pub fn attributes(self, bits: i16) -> BatchBuilder {
        BatchBuilder { attributes: bits & !0x07, ..self }
    }

    /// Adds a record at the next offset. `timestamp` is in milliseconds since the Unix epoch.
    ///
    /// # Panics
    /// If the batch would pass the two gigabytes that its format can express: bound what goes in.
    pub fn append(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> &mut BatchBuilder {
        if self.record_count == 0 {
            self.base_timestamp = timestamp;
            self.max_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.record.clear();
        self.record.push(0);
        put_varlong(&mut self.record, timestamp.wrapping_sub(self.base_timestamp));
        put_varlong(&mut self.record, i64::from(self.record_count));
        put_bytes(&mut self.record, key);
        put_bytes(&mut self.record, value);
        put_varlong(&mut self.record, headers.len() as i64);
        for (name, value) in headers {
            put_bytes(&mut self.record, Some(name));
            put_bytes(&mut self.record, *value);
        }
        put_varlong(&mut self.records, self.record.len() as i64);
        self.records.extend_from_slice(&self.record);
        assert!(self.records.len() < i32::MAX as usize, "a record batch cannot hold two gigabytes");
        self.record_count += 1;
        self
    }

    /// Number of records so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.record_count as usize
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Bytes of the batch so far, before compression.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }

    /// The finished batch.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let mut batch = vec![0; HEADER_BYTES];
        compress(self.compression, &self.records, &mut batch);
        let (producer_id, producer_epoch, base_sequence) = self.producer;
        write_header(
            &mut batch,
            &BatchParts {
                base_offset: self.base_offset,
                leader_epoch: self.leader_epoch,
                attributes: self.attributes | self.compression.code(),
                last_offset_delta: self.record_count - 1,
                base_timestamp: self.base_timestamp,
                max_timestamp: self.max_timestamp,
                producer_id,
                producer_epoch,
                base_sequence,
                record_count: self.record_count,
            },
        );
        batch
    }
}

/// Appends `records`, compressed, to `out`.
pub(super) fn compress(compression: Compression, records: &[u8], out: &mut Vec<u8>) {
    const INFALLIBLE: &str = "writing to memory does not fail";
    match compression {
        Compression::None => out.extend_from_slice(records),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
            encoder.write_all(records).expect(INFALLIBLE);
            encoder.finish().expect(INFALLIBLE);
        }
        Compression::Snappy => {
            out.extend_from_slice(&XERIAL_MAGIC);
            out.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
            for block in records.chunks(SNAPPY_BLOCK_BYTES) {
                let compressed = snap::raw::Encoder::new().compress_vec(block).expect("a block is small");
                out.extend_from_slice(&(compressed.len() as u32).to_be_bytes());
                out.extend_from_slice(&compressed);
            }
        }
        Compression::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(out);
            encoder.write_all(records).expect(INFALLIBLE);
            encoder.finish().expect(INFALLIBLE);
        }
        Compression::Zstd => {
            zstd::stream::copy_encode(records, out, zstd::DEFAULT_COMPRESSION_LEVEL).expect(INFALLIBLE);
        }
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varlong(out, -1),
        Some(bytes) => {
            put_varlong(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}

/// Zigzag varint; INT32 and INT64 are written alike.
pub(super) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        out.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}
