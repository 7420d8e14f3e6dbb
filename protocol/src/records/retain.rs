//! Taking records out of a batch, as compaction does: what remains keeps its offsets and its order.
//!
//! A batch is opened ([`OpenBatch`]), each of its records looked at, those that stay are put into a [`Retained`], and that
//! becomes a batch at the same place: base offset, last offset, sequence, epoch and codec are the old one's (KIP-98 counts on
//! sequences following from offsets). A batch of which nothing remains may be kept as an empty one ([`empty_batch`]).
//!
//! Deliberately absent: which records stay.

use std::borrow::Cow;
use std::io::Read;

use super::builder::{compress, put_varlong};
use super::{Fields, RecordStart, RecordsError, counted_header, decompress};
use crate::newtypes::Offset;
use crate::record_batch::{BatchHeader, BatchParts, DELETE_HORIZON_BIT, HEADER_BYTES, TimestampType, write_header};

/// A batch whose records lie in memory, decompressed.
pub struct OpenBatch<'a> {
    pub header: BatchHeader,
    records: Cow<'a, [u8]>,
}

/// A record of an [`OpenBatch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordSlice<'a> {
    pub offset: Offset,
    /// Milliseconds since the Unix epoch.
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    /// False for a tombstone.
    pub has_value: bool,
    /// The record, its length before it.
    whole: &'a [u8],
    /// From the offset delta on.
    behind_timestamp: &'a [u8],
}

impl<'a> OpenBatch<'a> {
    /// Opens the batch at the front of `bytes`, whose CRC was verified.
    ///
    /// # Errors
    /// If its records cannot be decompressed, or to no less than `decompressed_bytes_max`.
    pub fn open(bytes: &'a [u8], decompressed_bytes_max: u64) -> Result<OpenBatch<'a>, RecordsError> {
        let header = counted_header(bytes)?;
        let stored = &bytes[HEADER_BYTES..header.size_bytes];
        let compression = header.compression()?;
        if compression == crate::record_batch::Compression::None {
            return Ok(OpenBatch { header, records: Cow::Borrowed(stored) });
        }
        let reader =
            decompress::reader(compression, stored, decompressed_bytes_max).map_err(RecordsError::Decompress)?;
        let mut records = Vec::new();
        reader.take(decompressed_bytes_max).read_to_end(&mut records).map_err(RecordsError::Decompress)?;
        if records.len() as u64 == decompressed_bytes_max {
            return Err(RecordsError::TooLarge { limit: decompressed_bytes_max });
        }
        Ok(OpenBatch { header, records: Cow::Owned(records) })
    }

    /// Bytes of its records, decompressed.
    #[must_use]
    pub fn records_bytes(&self) -> usize {
        self.records.len()
    }

    /// Its records in order; ends after the first error.
    pub fn records(&self) -> impl Iterator<Item = Result<RecordSlice<'_>, RecordsError>> {
        let count = self.header.record_count;
        let mut rest = &self.records[..];
        let mut next = 0;
        std::iter::from_fn(move || {
            if next == count {
                let left_over = !std::mem::take(&mut rest).is_empty();
                return left_over.then_some(Err(RecordsError::LeftOver { count }));
            }
            let read = read_record(&self.header, next, rest);
            (next, rest) = match &read {
                Ok(record) => (next + 1, &rest[record.whole.len()..]),
                Err(_) => (count, &rest[..0]),
            };
            Some(read)
        })
    }
}

fn read_record<'a>(header: &BatchHeader, at: i32, bytes: &'a [u8]) -> Result<RecordSlice<'a>, RecordsError> {
    let mut fields = Fields { record: at, bytes };
    let length = fields.varint("length")?;
    let content = fields.take("length", length)?;
    let whole = &bytes[..bytes.len() - fields.bytes.len()];
    let mut fields = Fields { record: at, bytes: content };
    fields.take("attributes", 1)?;
    let timestamp_delta = fields.varlong("timestamp delta")?;
    let behind_timestamp = fields.bytes;
    let offset_delta = fields.varint("offset delta")? as i32;
    let start = RecordStart { timestamp_delta, offset_delta };
    let key = fields.bytes_field("key length")?;
    let has_value = fields.varint("value length")? >= 0;
    let (offset, timestamp) = (start.offset(header), start.timestamp(header));
    Ok(RecordSlice { offset, timestamp, key, has_value, whole, behind_timestamp })
}

/// Records that stay, on their way to becoming a batch.
pub struct Retained {
    header: BatchHeader,
    /// `Some`: from when on its tombstones may go (KIP-534).
    delete_horizon_ms: Option<i64>,
    records: Vec<u8>,
    count: i32,
    max_timestamp: i64,
}

impl Retained {
    /// None yet of the batch with this header. `delete_horizon_ms`, in milliseconds since the Unix epoch, is set if the batch
    /// has none.
    #[must_use]
    pub fn new(header: &BatchHeader, delete_horizon_ms: Option<i64>) -> Retained {
        let new_horizon = delete_horizon_ms.filter(|_| header.delete_horizon_ms().is_none());
        Retained { header: *header, delete_horizon_ms: new_horizon, records: Vec::new(), count: 0, max_timestamp: -1 }
    }

    /// Adds a record of that batch; to be called in the order of the batch.
    pub fn push(&mut self, record: &RecordSlice<'_>) {
        match self.delete_horizon_ms {
            // The batch's base timestamp becomes the horizon, and deltas count from there.
            Some(horizon) if self.header.timestamp_type() == TimestampType::CreateTime => {
                let mut content = vec![0];
                put_varlong(&mut content, record.timestamp.wrapping_sub(horizon));
                put_varlong(&mut self.records, (content.len() + record.behind_timestamp.len()) as i64);
                self.records.extend_from_slice(&content);
                self.records.extend_from_slice(record.behind_timestamp);
            }
            _ => self.records.extend_from_slice(record.whole),
        }
        self.count += 1;
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The batch of what was added.
    pub fn build(&self) -> Result<Vec<u8>, RecordsError> {
        let header = &self.header;
        let mut batch = vec![0; HEADER_BYTES];
        compress(header.compression()?, &self.records, &mut batch);
        let (attributes, base_timestamp) = match self.delete_horizon_ms {
            Some(horizon) => (header.attributes | DELETE_HORIZON_BIT, horizon),
            None => (header.attributes, header.base_timestamp),
        };
        let max_timestamp = match header.timestamp_type() {
            TimestampType::LogAppendTime => header.max_timestamp,
            TimestampType::CreateTime => self.max_timestamp,
        };
        write_header(&mut batch, &parts(header, attributes, base_timestamp, max_timestamp, self.count));
        Ok(batch)
    }
}

/// The batch with this header without records: where it was, its producer's sequence stays known.
#[must_use]
pub fn empty_batch(header: &BatchHeader) -> Vec<u8> {
    let mut batch = vec![0; HEADER_BYTES];
    // As Kafka writes it: nothing is compressed, and no tombstone is left that a horizon would be for.
    let attributes = header.attributes & !(0x07 | DELETE_HORIZON_BIT);
    write_header(&mut batch, &parts(header, attributes, header.max_timestamp, header.max_timestamp, 0));
    batch
}

fn parts(
    header: &BatchHeader,
    attributes: i16,
    base_timestamp: i64,
    max_timestamp: i64,
    record_count: i32,
) -> BatchParts {
    BatchParts {
        base_offset: header.base_offset,
        leader_epoch: header.leader_epoch,
        attributes,
        last_offset_delta: header.last_offset_delta,
        base_timestamp,
        max_timestamp,
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
        record_count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::newtypes::{LeaderEpoch, ProducerId};
    use crate::record_batch::Compression;
    use crate::records::{BatchBuilder, DECOMPRESSED_BYTES_MAX_DEFAULT, RecordReader};

    const CODECS: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    fn batch(codec: Compression, attributes: i16) -> Vec<u8> {
        let mut builder = BatchBuilder::new()
            .compression(codec)
            .base_offset(Offset(70))
            .leader_epoch(LeaderEpoch(3))
            .producer(ProducerId(9), 2, 40)
            .attributes(attributes);
        for at in 0..4i64 {
            let value = (at != 2).then_some(&b"value"[..]);
            builder.append(1_000 + at, Some(&[b'k', at as u8]), value, &[(b"h", Some(b"v"))]);
        }
        builder.build()
    }

    /// Offset, timestamp, key, value and number of headers of a record.
    type Found = (i64, i64, Vec<u8>, Option<Vec<u8>>, usize);

    fn read(bytes: &[u8]) -> Vec<Found> {
        BatchHeader::parse(bytes).unwrap().verify_stored(bytes).unwrap();
        let mut reader = RecordReader::open(bytes, DECOMPRESSED_BYTES_MAX_DEFAULT).unwrap();
        let mut found = Vec::new();
        while let Some(record) = reader.next_record().unwrap() {
            let (key, value) = (record.key.unwrap().to_vec(), record.value.map(<[u8]>::to_vec));
            found.push((record.offset.0, record.timestamp, key, value, record.headers.len()));
        }
        found
    }

    fn retain(bytes: &[u8], horizon: Option<i64>, keep: impl Fn(&RecordSlice<'_>) -> bool) -> Vec<u8> {
        let open = OpenBatch::open(bytes, DECOMPRESSED_BYTES_MAX_DEFAULT).unwrap();
        let mut retained = Retained::new(&open.header, horizon);
        for record in open.records() {
            let record = record.unwrap();
            if keep(&record) {
                retained.push(&record);
            }
        }
        retained.build().unwrap()
    }

    #[test]
    fn what_remains_keeps_its_place_in_every_codec() {
        for codec in CODECS {
            let before = batch(codec, 0);
            let after = retain(&before, None, |record| record.offset.0 % 2 == 1);
            let expected: Vec<_> = read(&before).into_iter().filter(|record| record.0 % 2 == 1).collect();
            assert_eq!(read(&after), expected, "{codec:?}");
            let (old, new) = (BatchHeader::parse(&before).unwrap(), BatchHeader::parse(&after).unwrap());
            assert_eq!((new.base_offset, new.last_offset()), (old.base_offset, old.last_offset()));
            assert_eq!((new.last_sequence(), new.producer_epoch), (old.last_sequence(), old.producer_epoch));
            assert_eq!((new.leader_epoch, new.compression().unwrap()), (old.leader_epoch, codec));
            assert_eq!((new.record_count, new.max_timestamp), (2, 1_003));
            assert!(old.is_intact() && !new.is_intact());
        }
    }

    #[test]
    fn a_horizon_is_set_once_and_changes_no_timestamp() {
        for codec in CODECS {
            let before = batch(codec, 0);
            let marked = retain(&before, Some(5_000), |_| true);
            assert_eq!(read(&marked), read(&before), "{codec:?}");
            let header = BatchHeader::parse(&marked).unwrap();
            assert_eq!((header.delete_horizon_ms(), header.is_intact()), (Some(5_000), false));
            let again = retain(&marked, Some(9_000), |record| record.offset != Offset(70));
            assert_eq!(BatchHeader::parse(&again).unwrap().delete_horizon_ms(), Some(5_000));
            assert_eq!(read(&again), read(&before)[1..]);
        }
        let appended = batch(Compression::None, 0x08);
        let marked = retain(&appended, Some(5_000), |_| true);
        assert_eq!(read(&marked), read(&appended), "the broker's time stays");
    }

    #[test]
    fn an_empty_batch_keeps_offsets_and_sequence() {
        let before = batch(Compression::Zstd, 0);
        let empty = empty_batch(&BatchHeader::parse(&before).unwrap());
        assert!(read(&empty).is_empty());
        let (old, new) = (BatchHeader::parse(&before).unwrap(), BatchHeader::parse(&empty).unwrap());
        assert_eq!((new.last_offset(), new.last_sequence()), (old.last_offset(), old.last_sequence()));
        assert_eq!((new.compression().unwrap(), new.max_timestamp), (Compression::None, old.max_timestamp));
    }

    #[test]
    fn a_tombstone_has_a_key_and_no_value() {
        let bytes = batch(Compression::Lz4, 0);
        let open = OpenBatch::open(&bytes, DECOMPRESSED_BYTES_MAX_DEFAULT).unwrap();
        let records: Vec<_> = open.records().map(Result::unwrap).collect();
        assert_eq!(records.iter().map(|record| record.has_value).collect::<Vec<_>>(), [true, true, false, true]);
        assert_eq!(records[2].key, Some(&[b'k', 2][..]));
    }

    #[test]
    fn a_limit_holds_and_no_cut_panics() {
        let bytes = batch(Compression::Gzip, 0);
        assert!(matches!(OpenBatch::open(&bytes, 10), Err(RecordsError::TooLarge { limit: 10 })));
        let plain = batch(Compression::None, 0);
        for len in HEADER_BYTES..plain.len() {
            let mut cut = plain[..len].to_vec();
            cut[8..12].copy_from_slice(&((len - 12) as i32).to_be_bytes());
            let open = OpenBatch::open(&cut, DECOMPRESSED_BYTES_MAX_DEFAULT).unwrap();
            assert!(open.records().any(|record| record.is_err()), "{len}");
        }
    }
}
