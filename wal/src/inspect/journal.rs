//! Looking at journals from outside: what is in their regions, and what of it belongs into a log's segments.
//!
//! A [`JournalView`] is read before the logs that it is laid over. Whatever a broker writes back meanwhile is then in the
//! segment as well, with the same bytes; what it appends meanwhile is missing, as in any log that is looked at while it is
//! written. Regions that go round while they are read look damaged: they are read again.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use instruments::Counter;
use protocol::Offset;
use uuid::Uuid;

use super::read_only::{Overlay, ReadOnlyStorage, run};
use super::{Finding, InspectError, LOOKS};
use crate::file::Storage;
use crate::frame::{self, FrameInfo, FrameSeed};
use crate::journal::replay::{
    Loaded, Partition, Place, Region, ReplayError, load, read_frames, read_header, read_regions, views,
};
use crate::journal::scan::RegionBytes;
use crate::journal::{Entry, EntryPlace, KEPT_SUFFIX, REGION_SUFFIX, Record, RegionHeader, Sequence, scan_regions};
use crate::log::LogIdentity;

#[cfg(test)]
mod tests;

/// One thing in a region, in the order of the file.
#[derive(Debug)]
pub enum JournalItem<'a> {
    Region {
        path: &'a Path,
        header: &'a RegionHeader,
    },
    Record {
        /// Bytes from the begin of the region.
        position: u64,
        record: &'a Record<'a>,
        /// Not settled yet: a start would replay it.
        needed: bool,
    },
    Entry {
        place: &'a EntryPlace,
        bytes: u64,
        frames: &'a [FrameInfo],
    },
}

/// What a look at journals saw.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct JournalInspection {
    pub journals: usize,
    pub regions: usize,
    /// Whole records.
    pub records: usize,
    /// Those that a start would replay, and what is in them.
    pub needed_records: usize,
    pub needed_entries: usize,
    /// Bytes of frames.
    pub needed_bytes: u64,
    pub findings: Vec<Finding>,
}

impl JournalInspection {
    /// No finding is damage.
    #[must_use]
    pub fn is_good(&self) -> bool {
        !self.findings.iter().any(Finding::is_damage)
    }
}

/// Whether `path` is a journal's: a region's file, or a directory that holds some. Also those that a replay kept.
#[must_use]
pub fn is_journal(path: &Path) -> bool {
    let is_region = |name: &str| name.ends_with(REGION_SUFFIX) || name.ends_with(KEPT_SUFFIX);
    match path.file_name().and_then(|name| name.to_str()) {
        Some(name) if is_region(name) && path.is_file() => true,
        _ => run(ReadOnlyStorage.list_dir(path)).is_ok_and(|names| names.iter().any(|name| is_region(name))),
    }
}

/// Reads a region's file, or all in a directory, and shows everything in them.
pub fn inspect_journal(
    path: &Path,
    mut on_item: impl FnMut(JournalItem<'_>),
) -> Result<JournalInspection, InspectError> {
    let (journals, mut inspection) = read(path, true)?;
    for regions in &journals {
        let settled = settled(&views(regions));
        for region in views(regions) {
            on_item(JournalItem::Region { path: region.path, header: &region.header });
            for (position, record) in region.records() {
                let needed = record.sequence >= settled;
                on_item(JournalItem::Record { position, record: &record, needed });
                for entry in entries(&record, region.path, needed, &mut inspection.findings) {
                    let frames = frames_of(&entry);
                    let (place, bytes) = (&entry.place, entry.frames.len() as u64);
                    on_item(JournalItem::Entry { place, bytes, frames: &frames });
                }
            }
        }
    }
    Ok(inspection)
}

/// What journals hold for logs, in memory.
#[derive(Debug, Default)]
pub struct JournalView {
    entries: HashMap<LogIdentity, Vec<HeldEntry>>,
    /// Of the journals themselves.
    pub inspection: JournalInspection,
}

#[derive(Debug)]
struct HeldEntry {
    place: EntryPlace,
    frames: Vec<u8>,
}

impl JournalView {
    /// Reads what a start would replay from the journals in `dir`. Damage is among the view's findings.
    pub fn read(dir: &Path) -> Result<JournalView, InspectError> {
        let (journals, mut inspection) = read(dir, false)?;
        let mut held: HashMap<LogIdentity, Vec<HeldEntry>> = HashMap::new();
        for regions in &journals {
            let views = views(regions);
            let settled = settled(&views);
            let mut needed: BTreeMap<Sequence, (Record<'_>, &Path)> = BTreeMap::new();
            for region in &views {
                let records = region.records().filter(|(_, record)| record.sequence >= settled);
                needed.extend(records.map(|(_, record)| (record.sequence, (record, region.path))));
            }
            for (record, path) in needed.values() {
                for Entry { place, frames } in entries(record, path, true, &mut inspection.findings) {
                    held.entry(place.identity).or_default().push(HeldEntry { place, frames: frames.to_vec() });
                }
            }
        }
        Ok(JournalView { entries: held, inspection })
    }

    /// What belongs into the segments of the partition in `dir`, by their base offsets; and how many entries should have a
    /// place in it and have none.
    pub(super) fn overlays(&self, dir: &Path) -> (HashMap<Offset, Overlay>, usize) {
        let (mut overlays, mut unplaced) = (HashMap::<Offset, Overlay>::new(), 0);
        let Loaded::Partition(partition) = run(load(&ReadOnlyStorage, dir)) else { return (overlays, unplaced) };
        for HeldEntry { place, frames } in self.entries.get(&partition.checkpoint.identity).into_iter().flatten() {
            match placed(&partition, place, frames) {
                Place::Segment(_) => overlays.entry(place.segment_base).or_default().add(place.position, frames),
                Place::Stale => {}
                Place::None => unplaced += 1,
            }
        }
        (overlays, unplaced)
    }
}

/// By the rules of the replay. Frames that are damaged are a finding of the journal's.
fn placed(partition: &Partition, place: &EntryPlace, frames: &[u8]) -> Place {
    match read_frames(&Entry { place: *place, frames }) {
        Ok(frames) => partition.place(place, &frames),
        Err(_) => Place::Stale,
    }
}

/// The regions of each journal below `path`. A directory's are checked for what is missing among them.
fn read(path: &Path, with_kept: bool) -> Result<(Vec<Vec<Region>>, JournalInspection), InspectError> {
    let mut look = 1;
    loop {
        let result = read_once(path, with_kept);
        let unsure = match &result {
            Ok((_, inspection)) => !inspection.is_good(),
            // A stop in order removes regions.
            Err(InspectError::Io(error)) => error.is_not_found() && path.exists(),
            Err(_) => false,
        };
        if look == LOOKS || !unsure {
            return result;
        }
        look += 1;
    }
}

fn read_once(path: &Path, with_kept: bool) -> Result<(Vec<Vec<Region>>, JournalInspection), InspectError> {
    let mut inspection = JournalInspection::default();
    let mut paths: BTreeMap<(u32, Uuid), Vec<PathBuf>> = BTreeMap::new();
    for path in region_paths(path, with_kept)? {
        match run(read_header(&ReadOnlyStorage, &path)) {
            Ok(header) => paths.entry((header.shard, header.journal)).or_default().push(path),
            Err(ReplayError::Header { path, found }) => {
                inspection.findings.push(Finding::RegionHeader { path, found });
            }
            Err(error) => return Err(io_error(error, &path)),
        }
    }
    let mut journals = Vec::new();
    for (_, paths) in paths {
        let regions =
            run(read_regions(&ReadOnlyStorage, paths, &Counter::new())).map_err(|error| io_error(error, path))?;
        let views = views(&regions);
        if path.is_dir()
            && let Err(damage) = scan_regions(&views)
        {
            inspection.findings.push(Finding::Journal(Box::new(damage)));
        }
        inspection.journals += 1;
        inspection.regions += regions.len();
        let settled = settled(&views);
        for (_, record) in views.iter().flat_map(RegionBytes::records) {
            inspection.records += 1;
            if record.sequence >= settled {
                let entries = record.entries().unwrap_or_default();
                inspection.needed_records += 1;
                inspection.needed_entries += entries.len();
                inspection.needed_bytes += entries.iter().map(|entry| entry.frames.len() as u64).sum::<u64>();
            }
        }
        journals.push(regions);
    }
    Ok((journals, inspection))
}

fn region_paths(path: &Path, with_kept: bool) -> Result<Vec<PathBuf>, InspectError> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let names = run(ReadOnlyStorage.list_dir(path))?;
    let is_region = |name: &String| name.ends_with(REGION_SUFFIX) || (with_kept && name.ends_with(KEPT_SUFFIX));
    Ok(names.into_iter().filter(is_region).map(|name| path.join(name)).collect())
}

fn io_error(error: ReplayError, path: &Path) -> InspectError {
    match error {
        ReplayError::Io(error) => InspectError::Io(error),
        _ => InspectError::NotALog { path: path.to_owned() },
    }
}

/// Every record below is in the logs' own files.
fn settled(regions: &[RegionBytes<'_>]) -> Sequence {
    let by_headers = regions.iter().map(|region| region.header.done_before);
    let by_records = regions.iter().flat_map(RegionBytes::records).map(|(_, record)| record.settled_before);
    by_headers.chain(by_records).max().unwrap_or_default()
}

/// The entries of a record; what is wrong with those that are needed is noted.
fn entries<'a>(record: &Record<'a>, path: &Path, needed: bool, findings: &mut Vec<Finding>) -> Vec<Entry<'a>> {
    let (path, sequence) = (path.to_owned(), record.sequence);
    let entries = match record.entries() {
        Ok(entries) => entries,
        Err(found) => {
            findings.extend(needed.then_some(Finding::JournalRecord { path, sequence, found }));
            return Vec::new();
        }
    };
    if needed {
        let damaged = entries.iter().filter_map(|entry| Some((entry.place.identity, read_frames(entry).err()?)));
        findings.extend(damaged.map(|(identity, found)| {
            let path = path.clone();
            Finding::JournalFrames { path, sequence, identity, found }
        }));
    }
    entries
}

/// As far as they are good.
fn frames_of(entry: &Entry<'_>) -> Vec<FrameInfo> {
    let LogIdentity { topic_id, partition } = entry.place.identity;
    let seed = FrameSeed::new(topic_id, partition, entry.place.segment_base);
    let mut rest = entry.frames;
    let mut frames = Vec::new();
    while let Ok((info, _)) = frame::decode(seed, rest) {
        rest = &rest[info.frame_bytes() as usize..];
        frames.push(info);
    }
    frames
}
