//! Which records of a journal are to be replayed, and whether one that is needed is missing. Pure.
//!
//! A power cut leaves at most the one record that was being written in pieces: the next begins only when it is durable. So
//! the records from the newest settled point to the newest that is whole must all be there; a gap among them is damage,
//! and refused. What lies below the settled point may be overwritten in part and is not looked for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::record::{FIRST_RECORD_POSITION, Record, RegionHeader, Sequence};
use crate::file::BLOCK_BYTES;

/// A record that was durable is not there any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the journal lacks record {missing}{}, although record {newest} was written after it was durable and everything \
     below record {settled} only is in the partitions' files. Restore {} from a backup, or move the journal's files away \
     to start without what they hold",
    expected_at(found), dir.display()
)]
pub struct JournalDamage {
    pub dir: PathBuf,
    pub missing: Sequence,
    /// File and position where it was expected, if the record before it is there.
    pub found: Option<(PathBuf, u64)>,
    pub newest: Sequence,
    pub settled: Sequence,
}

fn expected_at(place: &Option<(PathBuf, u64)>) -> String {
    place.as_ref().map_or_else(String::new, |(path, position)| format!(" at byte {position} of {}", path.display()))
}

/// One region as it was read.
pub struct RegionBytes<'a> {
    pub path: &'a Path,
    pub header: RegionHeader,
    /// The whole file.
    pub bytes: &'a [u8],
}

impl<'a> RegionBytes<'a> {
    /// Whole records and where they begin, stale ones included.
    pub(crate) fn records(&self) -> impl Iterator<Item = (u64, Record<'a>)> + use<'a> {
        let (journal, bytes, mut position) = (self.header.journal, self.bytes, FIRST_RECORD_POSITION);
        std::iter::from_fn(move || {
            while let Some(bytes) = bytes.get(position as usize..).filter(|bytes| !bytes.is_empty()) {
                let start = position;
                // Whatever a block does not begin, the next one may: what is left of earlier laps is told by its sequence.
                if let Some(record) = Record::decode(journal, bytes) {
                    position += record.bytes;
                    return Some((start, record));
                }
                position += BLOCK_BYTES as u64;
            }
            None
        })
    }
}

/// What one journal holds.
pub struct Scanned<'a> {
    /// To be replayed, in order.
    pub records: Vec<Record<'a>>,
    /// Whole records in all, stale ones included.
    pub valid: usize,
    /// After the newest.
    pub next_sequence: Sequence,
}

/// Looks through all regions of one journal.
pub fn scan_regions<'a>(regions: &[RegionBytes<'a>]) -> Result<Scanned<'a>, JournalDamage> {
    let mut found: BTreeMap<Sequence, (Record<'a>, &'a Path, u64)> = BTreeMap::new();
    let mut settled = Sequence(0);
    for region in regions {
        settled = settled.max(region.header.done_before);
        for (position, record) in region.records() {
            settled = settled.max(record.settled_before);
            found.insert(record.sequence, (record, region.path, position));
        }
    }
    let newest = found.last_key_value().map_or(Sequence(0), |(sequence, _)| *sequence);
    let valid = found.len();
    let mut records = Vec::new();
    let mut expected = settled.max(Sequence(1));
    let mut place = None;
    for (sequence, (record, path, position)) in found.range(settled..) {
        if *sequence != expected {
            let dir = path.parent().unwrap_or(path).to_owned();
            return Err(JournalDamage { dir, missing: expected, found: place, newest, settled });
        }
        expected = expected.next();
        place = Some((path.to_path_buf(), position + record.bytes));
        records.push(*record);
    }
    Ok(Scanned { records, valid, next_sequence: newest.next() })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::record::{RecordWriter, record_bytes};
    use super::*;

    const JOURNAL: Uuid = Uuid::from_u128(5);

    fn record(sequence: u64, settled_before: u64, blocks: u64) -> Vec<u8> {
        let mut bytes = vec![0; (blocks * BLOCK_BYTES as u64) as usize];
        assert!(bytes.len() as u64 >= record_bytes(0, 0));
        let writer = RecordWriter::new(&mut bytes);
        writer.finish(JOURNAL, Sequence(sequence), Sequence(settled_before));
        bytes
    }

    /// Regions of eight blocks with the given records.
    struct Regions(Vec<(PathBuf, RegionHeader, Vec<u8>)>);

    impl Regions {
        fn new(contents: &[&[(u64, u64)]]) -> Regions {
            let region = |(at, records): (usize, &&[(u64, u64)])| {
                let region_bytes = 8 * BLOCK_BYTES as u64;
                let header = RegionHeader {
                    journal: JOURNAL,
                    shard: 0,
                    region: at as u32,
                    region_bytes,
                    done_before: Sequence(0),
                };
                let mut bytes = header.encode();
                records.iter().for_each(|(sequence, settled)| bytes.extend(record(*sequence, *settled, 1)));
                bytes.resize(region_bytes as usize, 0);
                (PathBuf::from(format!("/journal/{at}")), header, bytes)
            };
            Regions(contents.iter().enumerate().map(region).collect())
        }

        fn block(&mut self, region: usize, block: usize) -> &mut [u8] {
            &mut self.0[region].2[block * BLOCK_BYTES..][..BLOCK_BYTES]
        }

        /// Sequences to be replayed, or the missing one.
        fn scan(&self) -> Result<Vec<u64>, u64> {
            let regions: Vec<_> =
                self.0.iter().map(|(path, header, bytes)| RegionBytes { path, header: *header, bytes }).collect();
            match scan_regions(&regions) {
                Ok(scanned) => Ok(scanned.records.iter().map(|record| record.sequence.0).collect()),
                Err(damage) => Err(damage.missing.0),
            }
        }
    }

    #[test]
    fn records_are_replayed_in_order_from_the_settled_point_on() {
        assert_eq!(Regions::new(&[&[], &[]]).scan(), Ok(vec![]));
        assert_eq!(Regions::new(&[&[(1, 1), (2, 1)], &[(3, 1)]]).scan(), Ok(vec![1, 2, 3]));
        // The first region is in its second lap; behind its new record lies what is left of the first.
        assert_eq!(Regions::new(&[&[(6, 4), (2, 1), (3, 1)], &[(4, 1), (5, 4)]]).scan(), Ok(vec![4, 5, 6]));
        assert_eq!(Regions::new(&[&[(1, 1), (2, 2), (3, 3)]]).scan(), Ok(vec![3]));
    }

    #[test]
    fn a_torn_last_record_is_no_damage() {
        let mut regions = Regions::new(&[&[(1, 1), (2, 1), (3, 1)], &[]]);
        regions.block(0, 3)[100] ^= 1;
        assert_eq!(regions.scan(), Ok(vec![1, 2, 3]), "only padding");
        regions.block(0, 3)[20] ^= 1;
        assert_eq!(regions.scan(), Ok(vec![1, 2]));
        // The begin of the first region's second lap, torn: what is left of its first lap is settled.
        let mut regions = Regions::new(&[&[(1, 1), (2, 1), (3, 1)], &[(4, 1), (5, 4)]]);
        regions.block(0, 1).fill(0xff);
        assert_eq!(regions.scan(), Ok(vec![4, 5]));
    }

    #[test]
    fn a_missing_record_that_is_needed_is_damage() {
        let mut regions = Regions::new(&[&[(1, 1), (2, 1), (3, 1)], &[(4, 1), (5, 2)]]);
        regions.block(0, 1)[20] ^= 1;
        assert_eq!(regions.scan(), Ok(vec![2, 3, 4, 5]), "the first is settled");
        regions.block(0, 3)[20] ^= 1;
        assert_eq!(regions.scan(), Err(3));
        let mut regions = Regions::new(&[&[(1, 1), (2, 1)], &[(3, 1)]]);
        regions.block(0, 1)[20] ^= 1;
        assert_eq!(regions.scan(), Err(1));
        let mut regions = Regions::new(&[&[(1, 1)], &[(2, 1), (3, 1)]]);
        regions.block(1, 1)[20] ^= 1;
        assert_eq!(regions.scan(), Err(2));
    }

    #[test]
    fn nothing_is_replayed_of_a_journal_that_is_done() {
        let mut regions = Regions::new(&[&[(1, 1), (2, 1)], &[(3, 1)]]);
        regions.0[1].1.done_before = Sequence(4);
        assert_eq!(regions.scan(), Ok(vec![]));
    }
}
