use std::fs;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use instruments::Counter;
use protocol::record_batch::BatchHeader;
use protocol::{LeaderEpoch, PartitionId, TopicId};

use super::super::{Inspection, find_logs, inspect, verify};
use super::*;
use crate::file::sim::SimStorage;
use crate::file::{BLOCK_BYTES, FlushScope};
use crate::journal::{self, FIRST_RECORD_POSITION, JournalConfig, JournalPlace};
use crate::segment::{NameKind, file_name};
use crate::{Log, LogConfig, ShardWal, ShardWalConfig};

const LOGS: i32 = 3;
/// Appended to each log once the journal is in use.
const JOURNALED: i64 = 5;
const RECORDS: i64 = 5;
const BATCH_BYTES: usize = 700;

fn batch() -> Vec<u8> {
    let mut bytes = vec![3; BATCH_BYTES];
    bytes[..8].fill(0);
    bytes[8..12].copy_from_slice(&(BATCH_BYTES as i32 - 12).to_be_bytes());
    bytes[16] = 2;
    bytes[21..23].fill(0);
    bytes[23..27].copy_from_slice(&(RECORDS as i32 - 1).to_be_bytes());
    bytes[43..57].fill(0xff);
    bytes[57..61].copy_from_slice(&(RECORDS as i32).to_be_bytes());
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn finish<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        // Nothing in it waits for anything outside of it.
        if let std::task::Poll::Ready(result) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return result;
        }
    }
}

fn root() -> &'static Path {
    Path::new("/data")
}

fn log_dir(root: &Path, partition: i32) -> PathBuf {
    root.join(format!("t-{partition}"))
}

/// A data directory in memory, with a journal from one life to the next.
struct Disk {
    storage: SimStorage,
    lives: u128,
}

impl Disk {
    fn new() -> Disk {
        let storage = SimStorage::new(1, FlushScope::Device, root());
        finish(storage.create_dir(&root().join("journal"))).unwrap();
        Disk { storage, lives: 0 }
    }

    /// Opens the logs, truncates them if that is wanted, appends to all of them at once until the journal is in use and [`JOURNALED`] times more, and ends
    /// without closing them. Gives their log end offset.
    fn live(&mut self, truncate_to: Option<Offset>) -> Offset {
        self.lives += 1;
        let config = JournalConfig {
            region_bytes: 16 * BLOCK_BYTES as u64,
            regions: 3,
            logs_min: 2,
            commits_before_use: 0,
            ..JournalConfig::default()
        };
        let storage = self.storage.clone();
        let id = Uuid::from_u128(self.lives);
        let place = JournalPlace { storage: storage.clone(), dir: root().join("journal"), shard: 0, id, config };
        let shard = ShardWal::with_journal(storage, root().into(), ShardWalConfig::default(), Some(place));
        let appends = async {
            let mut logs = Vec::new();
            for partition in 0..LOGS {
                let identity = LogIdentity { topic_id: TopicId(Uuid::from_u128(1)), partition: PartitionId(partition) };
                let dir = log_dir(root(), partition);
                logs.push(Log::open(&shard, &dir, identity, LogConfig::default(), 0).await.unwrap().0);
            }
            if let Some(end) = truncate_to {
                for log in &logs {
                    log.truncate_to(end).await.unwrap();
                }
            }
            let mut journaled = 0;
            while journaled < JOURNALED {
                let in_use = self.storage.files().iter().any(|path| is_region(path));
                journaled += i64::from(in_use);
                let bytes = batch();
                let header = BatchHeader::parse(&bytes).unwrap();
                for log in &logs {
                    log.reserve(bytes.len(), 0).await.unwrap();
                    log.append(&bytes, &header, LeaderEpoch(2), 0).unwrap();
                }
                for log in &logs {
                    log.wait_ackable(log.log_end_offset()).await.unwrap();
                }
            }
            shard.stop();
            logs[0].log_end_offset()
        };
        let (end, commits, background) =
            finish(async { futures_util::join!(appends, shard.run_commits(), shard.run_background()) });
        commits.unwrap();
        background.unwrap();
        end
    }

    /// The files as they are now, in a real directory.
    fn copy(&self) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for path in self.storage.files() {
            let to = dir.path().join(path.strip_prefix(root()).unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(to, self.storage.content(&path).unwrap()).unwrap();
        }
        dir
    }
}

fn is_region(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "journal")
}

fn view(dir: &tempfile::TempDir) -> JournalView {
    JournalView::read(&dir.path().join("journal")).unwrap()
}

/// Offsets of the frames shown for a log, and the inspection.
fn shown(path: &Path, journal: Option<&JournalView>) -> (Vec<i64>, Inspection) {
    let mut offsets = Vec::new();
    let inspection = inspect(path, journal, |frame| offsets.push(frame.frame.base_offset.0)).unwrap();
    (offsets, inspection)
}

#[test]
fn what_only_the_journal_has_is_shown_where_it_belongs() {
    let mut disk = Disk::new();
    let end = disk.live(None);
    let dir = disk.copy();
    assert_eq!(find_logs(dir.path()).unwrap(), [0, 1, 2].map(|partition| log_dir(dir.path(), partition)));
    let view = view(&dir);
    assert!(view.inspection.is_good(), "{:?}", view.inspection);
    for partition in 0..LOGS {
        let log = log_dir(dir.path(), partition);
        let (without, _) = shown(&log, None);
        let (offsets, inspection) = shown(&log, Some(&view));
        assert_eq!(offsets, (0..end.0 / RECORDS).map(|at| at * RECORDS).collect::<Vec<_>>());
        assert_eq!((inspection.log_end, &inspection.findings[..]), (end, &[][..]));
        assert_eq!(inspection.journal_frames as usize, offsets.len() - without.len());
        assert!(inspection.journal_frames >= JOURNALED as u64 - 1, "{inspection:?}");
        let (of_segment, _) = shown(&log.join(file_name(Offset(0), NameKind::Log)), Some(&view));
        assert_eq!(of_segment, offsets);
    }
}

#[test]
fn what_was_replayed_or_belongs_to_an_earlier_incarnation_adds_nothing() {
    let mut disk = Disk::new();
    let end = disk.live(None);
    let before = disk.copy();
    let old_view = view(&before);
    let report =
        finish(journal::replay(&disk.storage, &root().join("journal"), &disk.storage, root(), &Counter::new()))
            .unwrap();
    assert!(report.bytes > 0);
    let replayed = disk.copy();
    let (offsets, inspection) = shown(&log_dir(replayed.path(), 0), Some(&old_view));
    assert_eq!((offsets.len() as i64 * RECORDS, inspection.journal_frames), (end.0, 0));

    // What is written where the truncated frames stood is not covered by them.
    let end = disk.live(Some(Offset(end.0 - 3 * RECORDS)));
    let opened_again = disk.copy();
    let log = log_dir(opened_again.path(), 0);
    assert_eq!(shown(&log, Some(&old_view)).0, shown(&log, None).0);
    let (offsets, inspection) = shown(&log, Some(&view(&opened_again)));
    assert_eq!((offsets.len() as i64 * RECORDS, &inspection.findings[..]), (end.0, &[][..]));
    assert!(inspection.journal_frames > 0);
}

#[test]
fn a_segment_that_should_be_there_is_damage() {
    let mut disk = Disk::new();
    disk.live(None);
    let dir = disk.copy();
    let log = log_dir(dir.path(), 1);
    fs::remove_file(log.join(file_name(Offset(0), NameKind::Log))).unwrap();
    let inspection = verify(&log, Some(&view(&dir))).unwrap();
    let unplaced = inspection.findings.iter().find(|finding| matches!(finding, Finding::Unplaced { .. }));
    assert!(unplaced.is_some_and(Finding::is_damage), "{:?}", inspection.findings);
}

/// Each record's sequence with the number of its entries, and of frames in them.
fn records(path: &Path) -> (Vec<(u64, usize, usize)>, JournalInspection) {
    let mut records = Vec::new();
    let inspection = inspect_journal(path, |item| match item {
        JournalItem::Region { .. } => {}
        JournalItem::Record { record, .. } => records.push((record.sequence.0, 0, 0)),
        JournalItem::Entry { frames, bytes, .. } => {
            assert_eq!(bytes, frames.iter().map(FrameInfo::frame_bytes).sum::<u64>());
            let record = records.last_mut().expect("entries come behind their record");
            (record.1, record.2) = (record.1 + 1, record.2 + frames.len());
        }
    });
    (records, inspection.unwrap())
}

#[test]
fn a_journal_is_shown_by_itself() {
    let mut disk = Disk::new();
    disk.live(None);
    let dir = disk.copy();
    let journal = dir.path().join("journal");
    assert!(is_journal(&journal) && !is_journal(dir.path()) && !is_journal(&log_dir(dir.path(), 0)));
    let (found, inspection) = records(&journal);
    assert!(inspection.is_good() && inspection.journals == 1, "{inspection:?}");
    assert!(found.len() >= JOURNALED as usize - 1, "{found:?}");
    assert!(
        found.iter().all(|(_, entries, frames)| (*entries, *frames) == (LOGS as usize, LOGS as usize)),
        "{found:?}"
    );
    let region = journal.join("shard-0000-00.journal");
    assert!(is_journal(&region));
    let (of_region, one) = records(&region);
    assert_eq!((one.regions, of_region[0].0), (1, 1));

    let kept = journal.join("shard-0000-00.journal.00000000000000000000000000000001.kept");
    fs::rename(&region, &kept).unwrap();
    assert!(is_journal(&kept) && records(&kept).0 == of_region);
    assert_eq!(records(&journal).0, found);
}

#[test]
fn damage_in_a_journal_is_found_and_a_torn_end_is_none() {
    let mut disk = Disk::new();
    disk.live(None);
    let dir = disk.copy();
    let journal = dir.path().join("journal");
    let region = journal.join("shard-0000-00.journal");
    let good = fs::read(&region).unwrap();
    let (found, _) = records(&region);
    let positions: Vec<u64> = {
        let mut positions = Vec::new();
        inspect_journal(&region, |item| {
            if let JournalItem::Record { position, .. } = item {
                positions.push(position);
            }
        })
        .unwrap();
        positions
    };
    assert_eq!(positions[0], FIRST_RECORD_POSITION);
    let flipped = |byte: u64| {
        let mut bytes = good.clone();
        bytes[byte as usize] ^= 4;
        fs::write(&region, bytes).unwrap();
        records(&journal)
    };
    let (shown, inspection) = flipped(positions[1] + 50);
    assert_eq!(shown.len(), found.len() - 1);
    assert!(
        matches!(&inspection.findings[..], [Finding::Journal(damage)] if damage.missing == Sequence(2)),
        "{inspection:?}"
    );
    let (shown, inspection) = flipped(positions[positions.len() - 1] + 50);
    assert_eq!((shown.len(), &inspection.findings[..]), (found.len() - 1, &[][..]));
    let (_, inspection) = flipped(9);
    assert!(matches!(&inspection.findings[..], [Finding::RegionHeader { .. }, ..]), "{inspection:?}");
    assert!(!inspection.is_good());
}
