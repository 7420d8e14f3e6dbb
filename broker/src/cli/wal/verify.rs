//! `ringlog wal verify`.

use std::process::ExitCode;

use wal::inspect::inspect;

use super::lines::{FindingLine, LogLine};
use super::reading::Shown;
use super::{each_log, journal};
use crate::cli::args::VerifyArgs;

/// Reads the logs at `path` to their end, and their journal, and says what is wrong with each.
pub(in crate::cli) fn verify(args: &VerifyArgs) -> ExitCode {
    let VerifyArgs { path, journal_dir, json } = args;
    if journal::is_it(path) {
        return journal::verify(path, *json);
    }
    each_log(
        path,
        journal_dir.as_deref(),
        Shown::Always,
        |output, reading, log, journal| {
            let inspection = inspect(log, journal, |frame| reading.at(frame))?;
            output.show(&LogLine::new(log, &inspection, journal.is_some()), *json);
            for finding in &inspection.findings {
                output.show(&FindingLine::new(finding), *json);
            }
            Ok(inspection)
        },
        |output, dir, view| journal::show(output, dir, &view.inspection, *json),
    )
}
