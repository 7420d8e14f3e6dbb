//! Targets for what the log keeps beside its segments.

use protocol::record_batch::BatchHeader;
use protocol::{LeaderEpoch, Offset, PartitionId, ProducerId, TopicId};
use wal::frame::{self, FrameSeed};
use wal::leader_epoch_cache::LeaderEpochCache;
use wal::producer_state::ProducerStateTable;

/// Gives what is behind the checksum a chance: `data` as it is, and with a checksum that fits.
fn with_and_without_crc(data: &[u8], check: impl Fn(&[u8])) {
    check(data);
    let mut forged = data.to_vec();
    let mut crc = crc_of(data);
    forged.append(&mut crc);
    check(&forged);
}

/// CRC-32 (IEEE), bit by bit: the target needs no crate for it.
fn crc_of(data: &[u8]) -> Vec<u8> {
    let mut crc = u32::MAX;
    for &byte in data {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    (!crc).to_be_bytes().to_vec()
}

/// A snapshot that is read is written again as an equal one, and can be asked and cut.
pub fn producer_snapshot(data: &[u8]) {
    with_and_without_crc(data, |bytes| {
        let Ok(table) = ProducerStateTable::restore(bytes) else { return };
        assert_eq!(ProducerStateTable::restore(&table.snapshot()).as_ref(), Ok(&table));
        for producer_id in 0..4 {
            let _ = table.check(&BatchHeader {
                base_offset: Offset::ZERO,
                size_bytes: 61,
                leader_epoch: LeaderEpoch(0),
                magic: 2,
                crc: 0,
                attributes: 0,
                last_offset_delta: 3,
                base_timestamp: 0,
                max_timestamp: 0,
                producer_id: ProducerId(producer_id),
                producer_epoch: 0,
                base_sequence: i32::MAX - 1,
                record_count: 4,
            });
        }
        let mut cut = table.clone();
        let _ = cut.truncate_to(Offset(table.end_offset().0 / 2));
        let _ = cut.expire(i64::MAX, 1);
    });
}

/// A cache that is read is written again as the same bytes, but for the reserved ones.
pub fn leader_epoch_cache(data: &[u8]) {
    with_and_without_crc(data, |bytes| {
        let Ok(cache) = LeaderEpochCache::decode(bytes) else { return };
        let again = cache.encode();
        assert_eq!(again.len(), bytes.len());
        assert_eq!(LeaderEpochCache::decode(&again).as_ref(), Ok(&cache));
        for epoch in [-1, 0, 1, i32::MAX] {
            let _ = cache.end_offset_for(LeaderEpoch(epoch), Offset(i64::MAX));
        }
        let mut cut = cache.clone();
        cut.truncate_from_start(Offset(5));
        cut.truncate_from_end(Offset(3));
        assert_eq!(LeaderEpochCache::decode(&cut.encode()), Ok(cut));
    });
}

/// A frame that is read says no more than its bytes hold.
pub fn wal_frame(data: &[u8]) {
    let seed = FrameSeed::new(TopicId::ZERO, PartitionId(0), Offset::ZERO);
    if let Ok((info, payload)) = frame::decode(seed, data) {
        assert_eq!(info.payload_bytes as usize, payload.len());
        assert!(info.frame_bytes() <= data.len() as u64);
        assert!(info.base_offset <= info.last_offset);
    }
}

/// A partition's directory of any content: the first byte says how the rest is cut into segment, index, snapshot and
/// checkpoint. Whatever is found wrong is reported, and no byte changes.
pub fn wal_files(data: &[u8]) {
    let Some((cut, content)) = data.split_first() else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let part = content.len() * usize::from(*cut) / 256;
    let (segment, rest) = content.split_at(part);
    let third = rest.len() / 3;
    let files = [
        ("00000000000000000000.log", segment),
        ("00000000000000000000.index", &rest[..third]),
        ("00000000000000000005.snapshot", &rest[third..2 * third]),
        ("checkpoint", &rest[2 * third..]),
    ];
    for (name, bytes) in files {
        std::fs::write(dir.path().join(name), bytes).expect("a file");
    }
    let _ = wal::inspect::verify(dir.path());
    let _ = wal::inspect::verify(&dir.path().join("00000000000000000000.log"));
    for (name, bytes) in files {
        assert_eq!(std::fs::read(dir.path().join(name)).expect("still there"), bytes);
    }
}
