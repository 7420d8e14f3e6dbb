//! `ringlog wal verify`.

use std::path::Path;
use std::process::ExitCode;

use super::each_log;
use super::lines::{FindingLine, LogLine};

/// Reads the logs at `path` to their end and says what is wrong with each.
pub(in crate::cli) fn verify(path: &Path, json: bool) -> ExitCode {
    each_log(path, |output, log, _| {
        let inspection = wal::inspect::verify(log)?;
        output.show(&LogLine::new(log, &inspection), json);
        for finding in &inspection.findings {
            output.show(&FindingLine::new(finding), json);
        }
        Ok(inspection)
    })
}
