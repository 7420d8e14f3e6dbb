//! Lines on standard output, many of them.

use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};

use serde::Serialize;

use crate::cli::EXIT_USAGE;

/// Buffered standard output. Where it cannot be written to, the process ends: reading on would be for nobody.
pub(super) struct Output {
    stdout: BufWriter<StdoutLock<'static>>,
}

impl Output {
    pub(super) fn new() -> Output {
        Output { stdout: BufWriter::new(io::stdout().lock()) }
    }

    /// As text, or with `json` as an object; on a line of its own.
    pub(super) fn show(&mut self, line: &(impl Display + Serialize), json: bool) {
        let written = if json {
            serde_json::to_writer(&mut self.stdout, line)
                .map_err(io::Error::from)
                .and_then(|()| self.stdout.write_all(b"\n"))
        } else {
            writeln!(self.stdout, "{line}")
        };
        or_end(written);
    }

    /// Must be called at the end; before something is written to standard error it keeps the two in order.
    pub(super) fn flush(&mut self) {
        or_end(self.stdout.flush());
    }
}

fn or_end(outcome: io::Result<()>) {
    match outcome {
        Ok(()) => {}
        // `| head` has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            eprintln!("error: cannot write to standard output: {error}");
            std::process::exit(i32::from(EXIT_USAGE));
        }
    }
}
