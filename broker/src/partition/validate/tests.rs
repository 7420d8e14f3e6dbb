use super::*;
use metadata::config::{BrokerConfig, CleanupPolicy, ConfigLayers};
use protocol::record_batch::Compression;
use protocol::records::BatchBuilder;

const VERSION: i16 = 13;
const NOW_MS: i64 = 1_700_000_000_000;

fn config() -> TopicConfig {
    BrokerConfig::resolve(&ConfigLayers::default()).topic_defaults
}

fn batch(keys: &[Option<&[u8]>]) -> BatchBuilder {
    let mut builder = BatchBuilder::new();
    for (at, key) in keys.iter().enumerate() {
        builder.append(NOW_MS + at as i64, *key, Some(b"value"), &[]);
    }
    builder
}

/// The code and the blamed record of a refused batch; `None` for one that is accepted.
fn verdict(records: Vec<u8>, config: &TopicConfig) -> Option<(ResponseError, Option<i32>)> {
    let mut budget = walk_budget(records.len());
    let verdict = validate(&Bytes::from(records), VERSION, config, NOW_MS, &mut budget);
    verdict.err().map(|refused| (refused.error, refused.record))
}

/// Overwrites part of a batch and renews its checksum.
fn altered(mut batch: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

fn crc32c(bytes: &[u8]) -> u32 {
    // Bitwise and slow on purpose: another implementation than the one under test.
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (!(crc & 1)).wrapping_add(1)))
    })
}

#[test]
fn whole_batches_of_every_codec_pass() {
    use Compression::*;
    for codec in [None, Gzip, Snappy, Lz4, Zstd] {
        let records = batch(&[Some(b"k"), Option::None, Some(b"")]).compression(codec).build();
        assert_eq!(verdict(records, &config()), Option::None, "{codec:?}");
    }
}

#[test]
fn a_count_that_the_records_do_not_bear_out_is_refused_in_every_codec() {
    for codec in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let records = batch(&[Some(b"k"), Some(b"l")]).compression(codec).build();
        for count in [1i32, 3, i32::MAX] {
            // Last offset delta at 23, record count at 57.
            let records = altered(records.clone(), 23, &(count - 1).to_be_bytes());
            let records = altered(records, 57, &count.to_be_bytes());
            let found = verdict(records, &config());
            assert_eq!(found.map(|(error, _)| error), Some(ResponseError::InvalidRecord), "{codec:?} {count}");
        }
    }
}

#[test]
fn compacted_topics_need_keys() {
    let compacted = TopicConfig { cleanup_policy: CleanupPolicy { delete: false, compact: true }, ..config() };
    let records = batch(&[Some(b"k"), None]).build();
    assert_eq!(verdict(records.clone(), &compacted), Some((ResponseError::InvalidRecord, Some(1))));
    assert_eq!(verdict(records, &config()), None);
    assert_eq!(verdict(batch(&[Some(b""), Some(b"k")]).build(), &compacted), None, "an empty key is a key");
}

#[test]
fn timestamps_out_of_range_are_refused_unless_the_broker_gives_them() {
    let strict = TopicConfig { timestamp_before_max_ms: 0, timestamp_after_max_ms: 10, ..config() };
    let at = |timestamps: &[i64]| {
        let mut builder = BatchBuilder::new();
        for timestamp in timestamps {
            builder.append(*timestamp, Some(b"k"), None, &[]);
        }
        builder.build()
    };
    assert_eq!(verdict(at(&[NOW_MS, NOW_MS + 10]), &strict), None);
    assert_eq!(verdict(at(&[NOW_MS, NOW_MS + 11]), &strict), Some((ResponseError::InvalidTimestamp, None)));
    assert_eq!(verdict(at(&[NOW_MS, NOW_MS - 1]), &strict), Some((ResponseError::InvalidTimestamp, Some(1))));
    assert_eq!(verdict(at(&[-1]), &strict), None, "no timestamp is not an old one");
    let appended = TopicConfig { timestamp_type: TimestampType::LogAppendTime, ..strict };
    assert_eq!(verdict(at(&[0, NOW_MS * 2]), &appended), None);
}

#[test]
fn a_batch_over_max_message_bytes_is_too_large() {
    let records = batch(&[Some(b"k")]).build();
    let size = i32::try_from(records.len()).unwrap();
    let fits = TopicConfig { max_message_bytes: size, ..config() };
    let too_small = TopicConfig { max_message_bytes: size - 1, ..config() };
    assert_eq!(verdict(records.clone(), &fits), None);
    assert_eq!(verdict(records, &too_small), Some((ResponseError::MessageTooLarge, None)));
}

#[test]
fn transactional_batches_are_refused() {
    let records = batch(&[Some(b"k")]).producer(protocol::ProducerId(5), 0, 0).attributes(0x10).build();
    assert_eq!(verdict(records, &config()), Some((ResponseError::InvalidTxnState, None)));
}

#[test]
fn batches_of_one_request_share_what_may_be_walked_over() {
    let large = vec![0u8; 1 << 20];
    let mut builder = BatchBuilder::new();
    builder.append(NOW_MS, None, Some(&large), &[]);
    let records = Bytes::from(builder.compression(Compression::Zstd).build());
    assert!(records.len() < 1 << 12, "a megabyte of zeros is small when compressed");
    let mut budget = 3 << 20;
    let mut check = || validate(&records, VERSION, &config(), NOW_MS, &mut budget).map(|_| ()).map_err(|r| r.error);
    assert_eq!(check(), Ok(()));
    assert_eq!(check(), Ok(()));
    assert_eq!(check(), Err(ResponseError::InvalidRecord), "the third is over what is left");
}
