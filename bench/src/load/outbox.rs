//! Requests on their way to the socket: many heads and the one tail that all batches share, written without copying it.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// Slices given to the kernel at once.
const SLICES_MAX: usize = 64;
/// Tails up to this size are copied: a slice costs more.
const COPIED_BYTES_MAX: usize = 1024;
/// Written heads are dropped once they take this much.
const WRITTEN_BYTES_MAX: usize = 64 * 1024;

#[derive(Debug)]
enum Segment {
    /// So many bytes of the heads.
    Heads(usize),
    Tail,
}

/// What is to be written to one connection, in order.
#[derive(Debug)]
pub(super) struct Outbox {
    tail: Arc<[u8]>,
    heads: Vec<u8>,
    /// Bytes at the front of `heads` that are written.
    heads_written: usize,
    segments: VecDeque<Segment>,
    /// Bytes of the first segment that are written.
    segment_written: usize,
}

impl Outbox {
    pub(super) fn new(tail: Arc<[u8]>) -> Outbox {
        Outbox { tail, heads: Vec::new(), heads_written: 0, segments: VecDeque::new(), segment_written: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Appends what `write` appends.
    pub(super) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.heads.len();
        write(&mut self.heads);
        self.count_heads(self.heads.len() - start);
    }

    /// Appends the shared tail.
    pub(super) fn push_tail(&mut self) {
        if self.tail.len() <= COPIED_BYTES_MAX {
            self.heads.extend_from_slice(&self.tail);
            self.count_heads(self.tail.len());
        } else {
            self.segments.push_back(Segment::Tail);
        }
    }

    fn count_heads(&mut self, added: usize) {
        match self.segments.back_mut() {
            Some(Segment::Heads(size)) => *size += added,
            _ => self.segments.push_back(Segment::Heads(added)),
        }
    }

    /// Writes until nothing is left (true) or the socket takes no more (false).
    pub(super) fn flush(&mut self, mut stream: &TcpStream) -> io::Result<bool> {
        while !self.segments.is_empty() {
            let written = {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let (mut heads_at, mut skip, mut count) = (self.heads_written, self.segment_written, 0);
                for (segment, slice) in self.segments.iter().zip(&mut slices) {
                    *slice = match segment {
                        Segment::Heads(size) => {
                            // What is written of the first segment is in `heads_written` already.
                            let size = size - skip;
                            heads_at += size;
                            IoSlice::new(&self.heads[heads_at - size..heads_at])
                        }
                        Segment::Tail => IoSlice::new(&self.tail[skip..]),
                    };
                    skip = 0;
                    count += 1;
                }
                stream.write_vectored(&slices[..count])
            };
            match written {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.drop_written();
                    return Ok(false);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.heads.clear();
        self.heads_written = 0;
        Ok(true)
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(segment) = self.segments.front() {
            let (size, is_head) = match segment {
                Segment::Heads(size) => (*size, true),
                Segment::Tail => (self.tail.len(), false),
            };
            let step = written.min(size - self.segment_written);
            written -= step;
            self.segment_written += step;
            if is_head {
                self.heads_written += step;
            }
            if self.segment_written < size {
                return;
            }
            self.segments.pop_front();
            self.segment_written = 0;
        }
        assert_eq!(written, 0, "no more can be written than was there");
    }

    fn drop_written(&mut self) {
        if self.heads_written > WRITTEN_BYTES_MAX {
            self.heads.drain(..self.heads_written);
            self.heads_written = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    /// Sends requests of `tail_bytes` through a socket that is read slowly in odd portions.
    fn check(tail_bytes: usize, requests: usize) {
        let tail: Arc<[u8]> = (0..tail_bytes).map(|n| (n * 7) as u8).collect();
        let head = |n: usize| -> Vec<u8> { (0..n % 97 + 1).map(|m| (n + m) as u8).collect() };
        let mut expected = Vec::new();
        for n in 0..requests {
            expected.extend_from_slice(&head(n));
            expected.extend_from_slice(&tail);
            expected.extend_from_slice(b"end");
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_nonblocking(true).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        other.set_nonblocking(true).unwrap();
        let (mut received, mut portion) = (Vec::new(), vec![0; 100_003]);
        let (mut outbox, mut pushed, mut blocked) = (Outbox::new(tail), 0, 0);
        while received.len() < expected.len() {
            let mut is_blocked = !outbox.flush(&stream).unwrap();
            while pushed < requests && !is_blocked {
                for _ in 0..(requests - pushed).min(7) {
                    outbox.push(|out| out.extend_from_slice(&head(pushed)));
                    outbox.push_tail();
                    outbox.push(|out| out.extend_from_slice(b"end"));
                    pushed += 1;
                }
                is_blocked = !outbox.flush(&stream).unwrap();
            }
            blocked += usize::from(is_blocked);
            match other.read(&mut portion) {
                Ok(size) => received.extend_from_slice(&portion[..size]),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        assert!(received == expected && outbox.is_empty());
        assert!(blocked > 0 || expected.len() < 8 << 20, "the socket was never full: nothing was tested");
    }

    #[test]
    fn everything_arrives_in_order_over_a_socket_that_is_full_now_and_then() {
        check(0, 1000);
        check(100, 100_000);
        check(COPIED_BYTES_MAX + 1, 20_000);
        check(65_000, 500);
    }
}
