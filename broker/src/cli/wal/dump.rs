//! `ringlog wal dump`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use wal::inspect::{InspectError, InspectedFrame, Inspection, inspect};

use super::each_log;
use super::lines::{BatchLine, FindingLine, FrameLine, LogLine, SegmentLine};
use super::output::Output;

/// Shows every frame, or with `batches` every batch, of the logs at `path`.
pub(in crate::cli) fn dump(path: &Path, batches: bool, json: bool) -> ExitCode {
    each_log(path, |output, log, subjects| {
        if !batches {
            return dump_frames(output, log, json);
        }
        let name = log.file_name().filter(|_| subjects.many).map(|name| name.to_string_lossy());
        dump_batches(output, log, name.as_deref(), json)
    })
}

/// Everything about one log: its segments and frames in order, what is wrong, and a summary.
fn dump_frames(output: &mut Output, log: &Path, json: bool) -> Result<Inspection, InspectError> {
    let mut segment: Option<PathBuf> = None;
    let inspection = inspect(log, |frame: &InspectedFrame<'_>| {
        if segment.as_deref() != Some(frame.path) {
            segment = Some(frame.path.to_owned());
            output.show(&SegmentLine::new(frame.path), json);
        }
        output.show(&FrameLine::new(frame), json);
    })?;
    for finding in &inspection.findings {
        output.show(&FindingLine::new(finding), json);
    }
    output.show(&LogLine::new(log, &inspection), json);
    Ok(inspection)
}

/// The batches alone on standard output, where they can be compared; what is wrong goes to standard error.
fn dump_batches(output: &mut Output, log: &Path, name: Option<&str>, json: bool) -> Result<Inspection, InspectError> {
    let inspection = inspect(log, |frame| output.show(&BatchLine::new(&frame.batch, name), json))?;
    output.flush();
    for finding in &inspection.findings {
        eprintln!("{}", FindingLine::new(finding));
    }
    Ok(inspection)
}
