//! Replaying journals into the segments, at start, before any log is opened.
//!
//! Order: everything that is still needed is written into the segments and synced, then each journal is marked as done,
//! then its files go. A power cut anywhere leaves a journal that is replayed again, to the same bytes, or one that is done.
//!
//! What does not belong anywhere any more is left out: frames of an earlier incarnation, of a topic that is gone, of a
//! segment that retention deleted. What should have a place and has none, because a partition's files are damaged, stays
//! in the journal's files: they are renamed and never read again by a start, so that nothing acknowledged is thrown away.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use instruments::Counter;
use protocol::Offset;
use uuid::Uuid;

use super::record::{Entry, EntryPlace, Malformed, RegionDamage, RegionHeader, Sequence};
use super::scan::{JournalDamage, RegionBytes, scan_regions};
use super::{KEPT_SUFFIX, REGION_SUFFIX};
use crate::checkpoint::{Checkpoint, CheckpointFile};
use crate::file::{Access, BLOCK_BYTES, IoError, Storage, StorageFile, block_ceil, block_floor};
use crate::frame::{self, FrameDamage, FrameSeed, Incarnation};
use crate::log::{DELETED_SUFFIX, LogIdentity};
use crate::segment::{NameKind, SegmentHeader, file_name, parse_file_name};
use crate::sidecar::STAGED_SUFFIX;

/// Bytes of a region read at a time, and segments written at the same time.
const READ_BYTES: u64 = 1 << 20;
const SEGMENTS_IN_FLIGHT: usize = 32;

/// Why the journals could not be replayed. No log may be opened then.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Io(#[from] IoError),
    #[error("{} is no region of a journal: {found}. It may hold acknowledged records: restore it, or move it away to start without them", path.display())]
    Header { path: PathBuf, found: RegionDamage },
    #[error(transparent)]
    Damaged(#[from] JournalDamage),
    #[error(
        "{} and {} are both of topic {} partition {}: which of them the journal belongs to is unknown. Move the copy out of \
         the data directory",
        first.display(), second.display(), identity.topic_id, identity.partition
    )]
    TwoDirectories { identity: LogIdentity, first: PathBuf, second: PathBuf },
    #[error("journal of shard {shard}, record {sequence}: {found}")]
    Record { shard: u32, sequence: Sequence, found: Malformed },
    #[error("journal of shard {shard}: the frames for {} partition {} do not fit their checksums: {found}", identity.topic_id, identity.partition)]
    Frame { shard: u32, identity: LogIdentity, found: FrameDamage },
}

/// What a replay found and did.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ReplayReport {
    pub journals: usize,
    /// Replayed, out of all that were whole.
    pub records: usize,
    pub valid_records: usize,
    /// Bytes of frames written into segments.
    pub bytes: u64,
    pub segments: usize,
    /// Frames that belong nowhere any more.
    pub stale_entries: usize,
    /// Frames that should have a place in a partition but have none; their journals' files were kept under these names.
    pub unplaced_entries: usize,
    pub kept: Vec<PathBuf>,
}

/// Where a segment's frames are to be written, in the order of their records.
type Pieces<'a> = Vec<(u64, &'a [u8])>;

/// A region's file in memory.
pub(crate) struct Region {
    pub(crate) path: PathBuf,
    pub(crate) header: RegionHeader,
    bytes: Vec<u8>,
}

/// Replays all journals in `journal_dir` into the partitions' directories below `root`, and removes them. `steps` rises with
/// everything that was read or written, so that a long replay is seen to get on.
pub async fn replay<S: Storage>(
    journal_storage: &S,
    journal_dir: &Path,
    storage: &S,
    root: &Path,
    steps: &Counter,
) -> Result<ReplayReport, ReplayError> {
    let mut report = ReplayReport::default();
    let mut journals: BTreeMap<(u32, Uuid), Vec<PathBuf>> = BTreeMap::new();
    for name in journal_storage.list_dir(journal_dir).await? {
        let path = journal_dir.join(&name);
        if name.ends_with(STAGED_SUFFIX) {
            // Never used: a region gets its name when it is complete.
            journal_storage.remove(&path).await?;
        } else if name.ends_with(REGION_SUFFIX) {
            let header = read_header(journal_storage, &path).await?;
            steps.increment();
            journals.entry((header.shard, header.journal)).or_default().push(path);
        }
    }
    if journals.is_empty() {
        return Ok(report);
    }
    let partitions = Partitions::find(storage, root, steps).await?;
    for ((shard, _), paths) in journals {
        report.journals += 1;
        let regions = read_regions(journal_storage, paths, steps).await?;
        let (unplaced, next_sequence) =
            replay_journal(storage, shard, &regions, &partitions, steps, &mut report).await?;
        report.unplaced_entries += unplaced;
        let regions: Vec<_> = regions.into_iter().map(|region| (region.path, region.header)).collect();
        if unplaced > 0 {
            report.kept.extend(keep(journal_storage, journal_dir, regions, next_sequence).await?);
        } else {
            remove(journal_storage, journal_dir, regions, next_sequence).await?;
        }
    }
    Ok(report)
}

pub(crate) fn views(regions: &[Region]) -> Vec<RegionBytes<'_>> {
    regions.iter().map(|Region { path, header, bytes }| RegionBytes { path, header: *header, bytes }).collect()
}

pub(crate) async fn read_header<S: Storage>(storage: &S, path: &Path) -> Result<RegionHeader, ReplayError> {
    let file = storage.open(path, Access::Read).await?;
    let header = RegionHeader::decode(&file.read_at(0, BLOCK_BYTES).await?);
    file.close().await?;
    header.map_err(|found| ReplayError::Header { path: path.to_owned(), found })
}

pub(crate) async fn read_regions<S: Storage>(
    storage: &S,
    paths: Vec<PathBuf>,
    steps: &Counter,
) -> Result<Vec<Region>, ReplayError> {
    let mut regions = Vec::new();
    for path in paths {
        let file = storage.open(&path, Access::Read).await?;
        let mut bytes = Vec::new();
        loop {
            let chunk = file.read_at(bytes.len() as u64, READ_BYTES as usize).await?;
            bytes.extend_from_slice(&chunk);
            steps.increment();
            if (chunk.len() as u64) < READ_BYTES {
                break;
            }
        }
        file.close().await?;
        match RegionHeader::decode(&bytes) {
            Ok(header) => regions.push(Region { path, header, bytes }),
            Err(found) => return Err(ReplayError::Header { path, found }),
        }
    }
    Ok(regions)
}

/// Gives the number of entries that have no place, and what comes after the newest record.
async fn replay_journal<S: Storage>(
    storage: &S,
    shard: u32,
    regions: &[Region],
    partitions: &Partitions,
    steps: &Counter,
    report: &mut ReplayReport,
) -> Result<(usize, Sequence), ReplayError> {
    let views = views(regions);
    let scanned = scan_regions(&views)?;
    report.valid_records += scanned.valid;
    report.records += scanned.records.len();
    let mut unplaced = 0;
    let mut segments: BTreeMap<PathBuf, Pieces<'_>> = BTreeMap::new();
    for record in &scanned.records {
        let entries =
            record.entries().map_err(|found| ReplayError::Record { shard, sequence: record.sequence, found })?;
        for entry in entries {
            let identity = entry.place.identity;
            let frames = read_frames(&entry).map_err(|found| ReplayError::Frame { shard, identity, found })?;
            match partitions.place(&entry, &frames) {
                Place::Segment(path) => segments.entry(path).or_default().push((entry.place.position, entry.frames)),
                Place::Stale => report.stale_entries += 1,
                Place::None => {
                    tracing::error!(
                        topic_id = %identity.topic_id, partition = %identity.partition, journal_shard = shard,
                        base_offset = %frames.base_offset, next_offset = %frames.next_offset,
                        "acknowledged records in the journal have no place in their partition's directory"
                    );
                    unplaced += 1;
                }
            }
        }
    }
    let mut segments = segments.into_iter();
    loop {
        let some: Vec<_> = segments.by_ref().take(SEGMENTS_IN_FLIGHT).collect();
        if some.is_empty() {
            return Ok((unplaced, scanned.next_sequence));
        }
        let written = join_all(some.into_iter().map(|(path, pieces)| write_pieces(storage, path, pieces, steps))).await;
        for written in written {
            match written? {
                Written::Bytes(bytes) => (report.segments, report.bytes) = (report.segments + 1, report.bytes + bytes),
                Written::Nothing { entries } => report.stale_entries += entries,
            }
        }
    }
}

/// What became of a segment's entries.
enum Written {
    Bytes(u64),
    /// They are of what the segment was compacted from, and had been written back before.
    Nothing {
        entries: usize,
    },
}

/// Writes frames where they belong, and syncs them. What lies around them in their blocks stays as it is.
async fn write_pieces<S: Storage>(
    storage: &S,
    path: PathBuf,
    mut pieces: Pieces<'_>,
    steps: &Counter,
) -> Result<Written, IoError> {
    let file = storage.open(&path, Access::ReadWrite).await?;
    let header = SegmentHeader::decode(&file.read_at(0, BLOCK_BYTES).await?);
    if header.is_ok_and(|header| header.compacted.is_some()) {
        file.close().await?;
        return Ok(Written::Nothing { entries: pieces.len() });
    }
    pieces.sort_by_key(|(position, _)| *position);
    let mut bytes = 0;
    let mut pieces = pieces.into_iter().peekable();
    while let Some((start, first)) = pieces.next() {
        let mut run = first.to_vec();
        while let Some((_, next)) = pieces.next_if(|(position, _)| *position == start + run.len() as u64) {
            run.extend_from_slice(next);
        }
        bytes += run.len() as u64;
        write_run(storage, &file, start, &run).await?;
        steps.increment();
    }
    file.sync_data().await?;
    steps.increment();
    file.close().await?;
    Ok(Written::Bytes(bytes))
}

async fn write_run<S: Storage>(storage: &S, file: &S::File, start: u64, run: &[u8]) -> Result<(), IoError> {
    let end = start + run.len() as u64;
    let (first_block, end_block) = (block_floor(start), block_ceil(end));
    file.allocate(end_block).await?;
    let mut buffer = storage.allocate_buffer((end_block - first_block) as usize);
    buffer.as_mut().fill(0);
    for block in [first_block, end_block - BLOCK_BYTES as u64] {
        let bytes = file.read_at(block, BLOCK_BYTES).await?;
        buffer.as_mut()[(block - first_block) as usize..][..bytes.len()].copy_from_slice(&bytes);
    }
    buffer.as_mut()[(start - first_block) as usize..][..run.len()].copy_from_slice(run);
    debug_assert_eq!(buffer.as_ref().len() as u64, end_block - first_block);
    file.write_at(buffer, first_block).await
}

/// What the frames of an entry say.
pub(crate) struct EntryFrames {
    pub(crate) incarnation: Incarnation,
    pub(crate) base_offset: Offset,
    pub(crate) next_offset: Offset,
}

pub(crate) fn read_frames(entry: &Entry<'_>) -> Result<EntryFrames, FrameDamage> {
    let identity = entry.place.identity;
    let seed = FrameSeed::new(identity.topic_id, identity.partition, entry.place.segment_base);
    let (first, _) = frame::decode(seed, entry.frames)?;
    let mut next_offset = first.next_offset();
    let mut rest = &entry.frames[first.frame_bytes() as usize..];
    while !rest.is_empty() {
        let (info, _) = frame::decode(seed, rest)?;
        next_offset = info.next_offset();
        rest = &rest[info.frame_bytes() as usize..];
    }
    Ok(EntryFrames { incarnation: first.incarnation, base_offset: first.base_offset, next_offset })
}

/// Where an entry's frames belong.
pub(crate) enum Place {
    Segment(PathBuf),
    /// Cut, deleted, or replaced since.
    Stale,
    None,
}

/// A partition's directory, as far as it decides about entries.
pub(crate) struct Partition {
    dir: PathBuf,
    pub(crate) checkpoint: Checkpoint,
    /// In order.
    segments: Vec<Offset>,
}

/// The partitions' directories by what is in them.
struct Partitions {
    by_identity: HashMap<LogIdentity, Partition>,
    /// Some checkpoint is unreadable, so an unknown identity may be that partition's.
    some_unreadable: bool,
}

impl Partitions {
    async fn find<S: Storage>(storage: &S, root: &Path, steps: &Counter) -> Result<Partitions, ReplayError> {
        let mut partitions = Partitions { by_identity: HashMap::new(), some_unreadable: false };
        // What a deletion has not finished removing is nobody's, and may have the identity of a log that began anew.
        let names = storage.list_dir(root).await?.into_iter().filter(|name| !name.ends_with(DELETED_SUFFIX));
        let dirs: Vec<PathBuf> = names.map(|name| root.join(name)).collect();
        for dirs in dirs.chunks(SEGMENTS_IN_FLIGHT) {
            steps.increment();
            for (dir, loaded) in dirs.iter().zip(join_all(dirs.iter().map(|dir| load(storage, dir))).await) {
                match loaded {
                    Loaded::Partition(partition) => {
                        let identity = partition.checkpoint.identity;
                        if let Some(other) = partitions.by_identity.insert(identity, *partition) {
                            return Err(ReplayError::TwoDirectories {
                                identity,
                                first: other.dir,
                                second: dir.clone(),
                            });
                        }
                    }
                    Loaded::Unreadable => {
                        tracing::warn!(dir = %dir.display(), "checkpoint unreadable while the journal is replayed");
                        partitions.some_unreadable = true;
                    }
                    Loaded::Other => {}
                }
            }
        }
        Ok(partitions)
    }

    fn place(&self, entry: &Entry<'_>, frames: &EntryFrames) -> Place {
        match self.by_identity.get(&entry.place.identity) {
            Some(partition) => partition.place(&entry.place, frames),
            None if self.some_unreadable => Place::None,
            None => Place::Stale,
        }
    }
}

impl Partition {
    /// For an entry of this partition.
    pub(crate) fn place(&self, entry: &EntryPlace, frames: &EntryFrames) -> Place {
        let Partition { dir, checkpoint, segments } = self;
        let base = entry.segment_base;
        // What is settled is in its segment: it was written back before the checkpoint said so. What lies below the log
        // start is not therefore: the segment is read from its begin, and must have no hole.
        let settled = checkpoint.settled;
        let is_settled =
            base < settled.segment_base || (base == settled.segment_base && entry.position < settled.position);
        if frames.incarnation < checkpoint.incarnation || is_settled {
            return Place::Stale;
        }
        if frames.incarnation > checkpoint.incarnation {
            return Place::None;
        }
        if segments.contains(&base) {
            return Place::Segment(dir.join(file_name(base, NameKind::Log)));
        }
        // Only what was written back is sealed, and only sealed segments are deleted.
        if segments.last().is_some_and(|last| *last > base) { Place::Stale } else { Place::None }
    }
}

/// What a directory turned out to be.
pub(crate) enum Loaded {
    Partition(Box<Partition>),
    Unreadable,
    /// No partition's directory.
    Other,
}

/// Looks at a directory that may be a partition's.
pub(crate) async fn load<S: Storage>(storage: &S, dir: &Path) -> Loaded {
    match CheckpointFile::load(storage, dir).await {
        Ok(Some(Ok((_, checkpoint)))) => match storage.list_dir(dir).await {
            Ok(names) => {
                let segments = names.iter().filter_map(|name| match parse_file_name(name) {
                    Some((base, NameKind::Log)) => Some(base),
                    _ => None,
                });
                let mut segments: Vec<Offset> = segments.collect();
                segments.sort_unstable();
                Loaded::Partition(Box::new(Partition { dir: dir.to_owned(), checkpoint, segments }))
            }
            Err(_) => Loaded::Unreadable,
        },
        Ok(None) => match storage.list_dir(dir).await {
            Ok(names) if names.iter().any(|name| matches!(parse_file_name(name), Some((_, NameKind::Log)))) => {
                Loaded::Unreadable
            }
            _ => Loaded::Other,
        },
        // A file of the data directory, not a directory.
        Err(error) if error.source.kind() == std::io::ErrorKind::NotADirectory => Loaded::Other,
        Ok(Some(Err(_))) | Err(_) => Loaded::Unreadable,
    }
}

/// Removes a journal that nothing is needed of. One file says so before any of the others goes, and goes last.
pub(super) async fn remove<S: Storage>(
    storage: &S,
    dir: &Path,
    regions: Vec<(PathBuf, RegionHeader)>,
    next_sequence: Sequence,
) -> Result<(), IoError> {
    let Some(((marked, header), others)) = regions.split_last() else { return Ok(()) };
    mark_done(storage, marked, header, next_sequence).await?;
    for (path, _) in others {
        storage.remove(path).await?;
    }
    storage.sync_dir(dir).await?;
    storage.remove(marked).await?;
    storage.sync_dir(dir).await
}

/// From here on nothing of the journal is replayed, as long as this file is there.
async fn mark_done<S: Storage>(
    storage: &S,
    path: &Path,
    header: &RegionHeader,
    next_sequence: Sequence,
) -> Result<(), IoError> {
    let file = storage.open(path, Access::ReadWrite).await?;
    let mut block = storage.allocate_buffer(BLOCK_BYTES);
    block.as_mut().copy_from_slice(&RegionHeader { done_before: next_sequence, ..*header }.encode());
    file.write_at(block, 0).await?;
    file.sync_data().await?;
    file.close().await
}

/// Renames a journal's files, so that no start reads them again. One says that the journal is done before any of the
/// others goes, and goes last: what had a place was replayed.
async fn keep<S: Storage>(
    storage: &S,
    dir: &Path,
    regions: Vec<(PathBuf, RegionHeader)>,
    next_sequence: Sequence,
) -> Result<Vec<PathBuf>, IoError> {
    let mut kept = Vec::new();
    let last = regions.len().saturating_sub(1);
    if let Some((marked, header)) = regions.last() {
        mark_done(storage, marked, header, next_sequence).await?;
    }
    for (at, (path, header)) in regions.into_iter().enumerate() {
        if at == last {
            storage.sync_dir(dir).await?;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let to = dir.join(format!("{name}.{}{KEPT_SUFFIX}", header.journal.simple()));
        storage.rename(&path, &to).await?;
        kept.push(to);
    }
    storage.sync_dir(dir).await?;
    Ok(kept)
}
