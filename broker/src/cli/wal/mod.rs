//! `ringlog wal dump|verify`: looks into logs and journals on disk through [`wal::inspect`], reading only.
//!
//! What only the journal has of a log is shown with the log. Where the journal lies, the data directory's marker says.
//!
//! Exit statuses are those of the command line, with 1 for a damaged log and 2 for a path that could not be looked at:
//! a typing error must not pass for a good log. What the next start of the broker repairs by itself is shown and is no
//! damage.
//!
//! Deliberately absent: repair.

mod dump;
mod journal;
mod journal_lines;
mod lines;
mod output;
mod reading;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use wal::inspect::{InspectError, Inspection, JournalView, find_logs};

pub(super) use dump::dump;
pub(super) use verify::verify;

use super::EXIT_USAGE;
use output::Output;
use reading::{Reading, Shown};

/// A log may be damaged or its path unreadable; the worse of what all logs of a path come to is the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Good,
    Damaged,
    NotInspected,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> ExitCode {
        match outcome {
            Outcome::Good => ExitCode::SUCCESS,
            Outcome::Damaged => ExitCode::FAILURE,
            Outcome::NotInspected => ExitCode::from(EXIT_USAGE),
        }
    }
}

const GIVE: &str = "give a segment, a partition's directory, a data directory or a journal";

/// Why there is nothing to inspect.
#[derive(Debug, thiserror::Error)]
enum SubjectError {
    #[error("{0}; {GIVE}")]
    Inspect(#[from] InspectError),
    #[error("{} holds no partition's log; {GIVE}", path.display())]
    NoLogs { path: PathBuf },
}

/// What a path stands for: a segment by itself, or the logs of a directory in order of name.
struct Subjects {
    paths: Vec<PathBuf>,
    /// The path is a data directory, so that its logs must be told apart.
    many: bool,
}

impl Subjects {
    fn of(path: &Path) -> Result<Subjects, SubjectError> {
        if path.is_file() {
            return Ok(Subjects { paths: vec![path.to_owned()], many: false });
        }
        let paths = find_logs(path)?;
        match paths.as_slice() {
            [] => Err(SubjectError::NoLogs { path: path.to_owned() }),
            [only] if only == path => Ok(Subjects { paths, many: false }),
            _ => Ok(Subjects { paths, many: true }),
        }
    }
}

/// Inspects the logs at `path` one after the other and makes of it the exit status. Behind the logs of a data directory
/// comes `at_end`, with the journal of them all.
fn each_log(
    path: &Path,
    journal_dir: Option<&Path>,
    progress: Shown,
    mut inspect: impl FnMut(&mut Output, &mut Reading, &Path, Option<&JournalView>) -> Result<Inspection, InspectError>,
    at_end: impl FnOnce(&mut Output, &Path, &JournalView) -> Outcome,
) -> ExitCode {
    let not_inspected = |error: &dyn std::error::Error| {
        eprintln!("error: {error}");
        Outcome::NotInspected.into()
    };
    let subjects = match Subjects::of(path) {
        Ok(subjects) => subjects,
        Err(error) => return not_inspected(&error),
    };
    // Before the logs: what is written back meanwhile is seen twice rather than never.
    let journal = match journal::view(path, journal_dir) {
        Ok(journal) => journal,
        Err(error) => return not_inspected(&error),
    };
    let mut output = Output::new();
    let mut reading = Reading::of(&subjects, progress);
    let mut worst = Outcome::Good;
    for log in &subjects.paths {
        let result = inspect(&mut output, &mut reading, log, journal.as_ref().map(|(_, view)| view));
        // A large log takes a while: what is known is shown at once.
        reading.above(|| output.flush());
        let outcome = match result {
            Ok(inspection) if inspection.is_good() => Outcome::Good,
            Ok(_) => Outcome::Damaged,
            // Its topic was deleted meanwhile by a running broker.
            Err(_) if subjects.many && !log.exists() => Outcome::Good,
            Err(error) => {
                eprintln!("error: {error}");
                Outcome::NotInspected
            }
        };
        worst = worst.max(outcome);
    }
    drop(reading);
    if let Some((dir, view)) = &journal {
        worst = worst.max(at_end(&mut output, dir, view));
        output.flush();
    }
    worst.into()
}
