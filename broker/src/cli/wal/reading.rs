//! How far the logs of a path are read, for whoever sits at a terminal.

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use wal::inspect::InspectedFrame;

use super::Subjects;
use crate::cli::progress::Bar;

/// Bytes between two looks at the clock.
const STEP_BYTES: u64 = 1 << 20;

/// Whether there is a bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Always,
    /// Not where lines run over the same terminal.
    UnlessLinesAre,
}

pub(super) struct Reading {
    bar: Option<Bar>,
    many: bool,
    /// Of all segments, in bytes.
    total: u64,
    /// In segments before this one.
    before: u64,
    /// Which, and how large it is.
    segment: (PathBuf, u64),
    /// Where the bar stands.
    shown: u64,
}

impl Reading {
    pub fn of(subjects: &Subjects, shown: Shown) -> Reading {
        let is_shown = match shown {
            Shown::Always => true,
            Shown::UnlessLinesAre => !std::io::stdout().is_terminal(),
        };
        Reading {
            bar: (is_shown && std::io::stderr().is_terminal()).then(Bar::of_bytes),
            many: subjects.many,
            total: subjects.paths.iter().map(|path| segment_bytes(path)).sum(),
            before: 0,
            segment: (PathBuf::new(), 0),
            shown: 0,
        }
    }

    /// There are several logs.
    pub fn many(&self) -> bool {
        self.many
    }

    pub fn at(&mut self, frame: &InspectedFrame<'_>) {
        let Some(bar) = &mut self.bar else { return };
        if self.segment.0 != frame.path {
            self.before += self.segment.1;
            self.segment = (frame.path.to_owned(), size(frame.path));
        }
        let done = self.before + frame.position;
        if done >= self.shown + STEP_BYTES {
            self.shown = done;
            bar.at(done, self.total, frame.path.display().to_string());
        }
    }

    /// Writes lines that stay.
    pub fn above(&self, write: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.above(write),
            None => write(),
        }
    }
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Of a log's directory, or of one segment.
fn segment_bytes(path: &Path) -> u64 {
    let Ok(files) = fs::read_dir(path) else { return size(path) };
    let files = files.flatten().map(|file| file.path());
    files.filter(|file| file.extension().is_some_and(|extension| extension == "log")).map(|file| size(&file)).sum()
}
