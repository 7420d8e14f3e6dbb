//! `ringlog wal dump`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use wal::inspect::{InspectError, InspectedFrame, Inspection, JournalView, inspect};

use super::lines::{BatchLine, FindingLine, FrameLine, LogLine, SegmentLine};
use super::output::Output;
use super::reading::{Reading, Shown};
use super::{Outcome, each_log, journal};
use crate::cli::args::DumpArgs;

/// Shows every frame, or with `batches` every batch, of the logs at `path`; or everything in a journal.
pub(in crate::cli) fn dump(args: &DumpArgs) -> ExitCode {
    let DumpArgs { path, journal_dir, batches, json } = args;
    if journal::is_it(path) {
        return journal::dump(path, *json);
    }
    each_log(
        path,
        journal_dir.as_deref(),
        Shown::UnlessLinesAre,
        |output, reading, log, journal| {
            if !batches {
                return dump_frames(output, reading, log, journal, *json);
            }
            dump_batches(output, reading, log, journal, *json)
        },
        |output, dir, view| {
            if !batches {
                return journal::show(output, dir, &view.inspection, *json);
            }
            view.inspection.findings.iter().for_each(|finding| eprintln!("{}", FindingLine::new(finding)));
            if view.inspection.is_good() { Outcome::Good } else { Outcome::Damaged }
        },
    )
}

/// Everything about one log: its segments and frames in order, what is wrong, and a summary.
fn dump_frames(
    output: &mut Output,
    reading: &mut Reading,
    log: &Path,
    journal: Option<&JournalView>,
    json: bool,
) -> Result<Inspection, InspectError> {
    let mut segment: Option<PathBuf> = None;
    let inspection = inspect(log, journal, |frame: &InspectedFrame<'_>| {
        reading.at(frame);
        if segment.as_deref() != Some(frame.path) {
            segment = Some(frame.path.to_owned());
            output.show(&SegmentLine::new(frame), json);
        }
        output.show(&FrameLine::new(frame), json);
    })?;
    for finding in &inspection.findings {
        output.show(&FindingLine::new(finding), json);
    }
    output.show(&LogLine::new(log, &inspection, journal.is_some()), json);
    Ok(inspection)
}

/// The batches alone on standard output, where they can be compared; what is wrong goes to standard error.
///
/// From the one with the log start offset on: what lies below is gone for readers, and each replica removes it when its
/// segments allow it.
fn dump_batches(
    output: &mut Output,
    reading: &mut Reading,
    log: &Path,
    journal: Option<&JournalView>,
    json: bool,
) -> Result<Inspection, InspectError> {
    let name = log.file_name().filter(|_| reading.many()).map(|name| name.to_string_lossy());
    let inspection = inspect(log, journal, |frame| {
        reading.at(frame);
        if !frame.below_log_start {
            output.show(&BatchLine::new(&frame.batch, name.as_deref()), json);
        }
    })?;
    output.flush();
    for finding in &inspection.findings {
        eprintln!("{}", FindingLine::new(finding));
    }
    Ok(inspection)
}
