//! Lines of standard input, as they come: read by a thread, since a read from a terminal cannot be given up.

use std::io::{self, BufRead, Read};

use tokio::sync::mpsc;

/// Longest line, in bytes: far beyond what brokers take by default, and no more memory than that.
pub(super) const LINE_BYTES_MAX: u64 = 64 << 20;
/// Lines that wait to be sent.
const WAITING_MAX: usize = 1000;

/// Why a line could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    #[error("cannot read standard input: {0}")]
    Io(#[from] io::Error),
    #[error("line {line} is longer than {LINE_BYTES_MAX} bytes")]
    TooLong { line: u64 },
}

/// Without their ends; ends with the input, or after an error.
pub(super) fn of_stdin() -> mpsc::Receiver<Result<Vec<u8>, LineError>> {
    let (lines, receiver) = mpsc::channel(WAITING_MAX);
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        let mut count = 0;
        loop {
            count += 1;
            let line = match next(&mut input, count) {
                Ok(None) => return,
                Ok(Some(line)) => Ok(line),
                Err(error) => Err(error),
            };
            let failed = line.is_err();
            // Nobody wants more.
            if lines.blocking_send(line).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

/// `None` at the end.
fn next(input: &mut impl BufRead, count: u64) -> Result<Option<Vec<u8>>, LineError> {
    let mut line = Vec::new();
    let read = input.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    } else if read as u64 > LINE_BYTES_MAX {
        return Err(LineError::TooLong { line: count });
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_without_their_ends_and_the_last_needs_none() {
        let mut input = &b"a\r\n\nb\xff"[..];
        let mut found = Vec::new();
        while let Some(line) = next(&mut input, 1).unwrap() {
            found.push(line);
        }
        assert_eq!(found, [&b"a"[..], b"", b"b\xff"]);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut input = io::BufReader::new(io::repeat(b'x'));
        assert!(matches!(next(&mut input, 3), Err(LineError::TooLong { line: 3 })));
    }
}
