//! The journal that belongs to a path, and journals by themselves.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use metadata::store::DataDirectory;
use wal::inspect::{InspectError, JournalInspection, JournalItem, JournalView, inspect_journal, is_journal};

use super::Outcome;
use super::journal_lines::{EntryLine, JournalLine, RecordLine, RegionLine};
use super::lines::FindingLine;
use super::output::Output;
use crate::journal_dir::NAME_DEFAULT;
use crate::journal_dir::marker::{MARKER_FILE, Marker, MarkerError};

/// Why the journal of a log cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub(super) enum JournalError {
    #[error(transparent)]
    Marker(#[from] MarkerError),
    #[error(
        "{}: the data directory was last used with the journal {} (id {id}), which is not there, and the logs may end \
         too early without it; give --journal-dir where it lies", data_dir.join(MARKER_FILE).display(), was.display()
    )]
    NotThere { data_dir: PathBuf, was: PathBuf, id: uuid::Uuid },
    #[error("the journal in {} belongs to another data directory", dir.display())]
    OfAnother { dir: PathBuf },
    #[error(transparent)]
    Inspect(#[from] InspectError),
}

/// Whether a journal is meant, which may have nothing in it: after a stop in order its directory is empty. That one cannot be
/// told from any other, unless its marker says so, or it lies where a data directory has its journal by default.
pub(super) fn is_it(path: &Path) -> bool {
    if is_journal(path) {
        return true;
    }
    let Ok(dir) = path.canonicalize() else { return false };
    let is_marked = || Marker::read(&dir).ok().flatten().is_some_and(|marker| marker.journal_dir == dir);
    let is_default = || {
        let is_of_node = |data_dir: &Path| DataDirectory::is_new(data_dir).is_ok_and(|is_new| !is_new);
        dir.file_name().is_some_and(|name| name == NAME_DEFAULT) && dir.parent().is_some_and(is_of_node)
    };
    dir.is_dir() && (is_marked() || is_default())
}

/// Where the journal of the logs at `path` lies: as `given`, or as the data directory's marker says. `None` if no journal
/// is in use.
pub(super) fn find(path: &Path, given: Option<&Path>) -> Result<Option<PathBuf>, JournalError> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // A segment lies two levels below the data directory.
    let mut marker = None;
    for data_dir in path.ancestors().take(3) {
        marker = Marker::read(data_dir).ok().flatten().filter(|_| data_dir.is_dir()).map(|marker| (data_dir, marker));
        if marker.is_some() {
            break;
        }
    }
    let is_it = |dir: &Path, marker: &Marker| -> Result<bool, JournalError> {
        Ok(Marker::read(dir)?.is_some_and(|found| found.id == marker.id))
    };
    match (given, marker) {
        (Some(dir), Some((_, marker))) if !is_it(dir, &marker)? => Err(JournalError::OfAnother { dir: dir.to_owned() }),
        (Some(dir), _) => Ok(Some(dir.to_owned())),
        (None, None) => Ok(None),
        (None, Some((data_dir, marker))) => {
            // Data directories are copied and mounted elsewhere.
            let inside = marker.journal_dir.strip_prefix(&marker.data_dir).ok().map(|inside| data_dir.join(inside));
            for dir in inside.iter().chain([&marker.journal_dir]) {
                if is_it(dir, &marker)? {
                    return Ok(Some(dir.clone()));
                }
            }
            let Marker { id, journal_dir: was, .. } = marker;
            Err(JournalError::NotThere { data_dir: data_dir.to_owned(), was, id })
        }
    }
}

/// Reads the journal of the logs at `path`, if there is one, and where it lies.
pub(super) fn view(path: &Path, given: Option<&Path>) -> Result<Option<(PathBuf, JournalView)>, JournalError> {
    let Some(dir) = find(path, given)? else { return Ok(None) };
    let view = JournalView::read(&dir)?;
    Ok(Some((dir, view)))
}

/// Shows everything in the journals at `path`.
pub(super) fn dump(path: &Path, json: bool) -> ExitCode {
    let mut output = Output::new();
    let inspection = inspect_journal(path, |item| match item {
        JournalItem::Region { path, header } => output.show(&RegionLine::new(path, header), json),
        JournalItem::Record { position, record, needed } => {
            output.show(&RecordLine::new(position, record, needed), json);
        }
        JournalItem::Entry { place, bytes, frames } => output.show(&EntryLine::new(place, bytes, frames), json),
    });
    finish(&mut output, path, inspection, json)
}

/// Says what is wrong with the journals at `path`.
pub(super) fn verify(path: &Path, json: bool) -> ExitCode {
    finish(&mut Output::new(), path, inspect_journal(path, |_| {}), json)
}

fn finish(
    output: &mut Output,
    path: &Path,
    inspection: Result<JournalInspection, InspectError>,
    json: bool,
) -> ExitCode {
    let outcome = match inspection {
        Ok(inspection) => show(output, path, &inspection, json),
        Err(error) => {
            output.flush();
            eprintln!("error: {error}");
            Outcome::NotInspected
        }
    };
    output.flush();
    outcome.into()
}

/// The line of a journal and its findings.
pub(super) fn show(output: &mut Output, path: &Path, inspection: &JournalInspection, json: bool) -> Outcome {
    output.show(&JournalLine::new(path, inspection), json);
    for finding in &inspection.findings {
        output.show(&FindingLine::new(finding), json);
    }
    if inspection.is_good() { Outcome::Good } else { Outcome::Damaged }
}
