//! Non-blocking connections and the wait for them.
//!
//! Sockets are registered once, edge-triggered for both directions: whoever is told of an event goes on until the socket
//! has no more. Waits end in time to below a millisecond where the caller needs it.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::fd::OwnedFd;

use crate::load::error::LoadError;

/// Events taken at a time.
const EVENTS_MAX: usize = 256;
/// Waits shorter than this are timed to the nanosecond, which takes a system call more.
const PRECISE_WAIT_MAX_NS: u64 = 5_000_000;
/// Bytes read from a socket at a time, at least.
const READ_BYTES_MIN: usize = 64 * 1024;

/// What happened to the connection of this number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) connection: usize,
    pub(super) readable: bool,
    /// The other side has closed, or the connection is broken: reading on tells.
    pub(super) ends: bool,
}

/// Waits for many connections at once.
pub(super) struct Poller {
    epoll: OwnedFd,
    buffer: Vec<epoll::Event>,
}

impl Poller {
    pub(super) fn new() -> Result<Poller, LoadError> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(system_error("creating an epoll instance"))?;
        Ok(Poller { epoll, buffer: Vec::with_capacity(EVENTS_MAX) })
    }

    pub(super) fn add(&self, stream: &TcpStream, connection: usize) -> Result<(), LoadError> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        let data = epoll::EventData::new_u64(connection as u64);
        epoll::add(&self.epoll, stream, data, flags).map_err(system_error("registering a socket"))
    }

    /// Waits until something happens, `timeout_ns` at most, and puts it into `events`.
    pub(super) fn wait(&mut self, timeout_ns: u64, events: &mut Vec<Event>) -> Result<(), LoadError> {
        events.clear();
        self.buffer.clear();
        let mut timeout_ms = timeout_ns / 1_000_000;
        // epoll_wait knows milliseconds only, poll knows nanoseconds.
        if timeout_ns < PRECISE_WAIT_MAX_NS && timeout_ns > 0 {
            let timeout = Timespec { tv_sec: 0, tv_nsec: timeout_ns as _ };
            match poll(&mut [PollFd::new(&self.epoll, PollFlags::IN)], Some(&timeout)) {
                // Also after a time-out: what came since must not wait until what is due now has been dealt with.
                Ok(_) => timeout_ms = 0,
                Err(rustix::io::Errno::INTR) => return Ok(()),
                Err(errno) => return Err(system_error("waiting for sockets")(errno)),
            }
        }
        let timeout = Timespec { tv_sec: (timeout_ms / 1000) as _, tv_nsec: (timeout_ms % 1000 * 1_000_000) as _ };
        let spare = rustix::buffer::spare_capacity(&mut self.buffer);
        match epoll::wait(&self.epoll, spare, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(system_error("waiting for sockets")(errno)),
        }
        let failed = epoll::EventFlags::ERR | epoll::EventFlags::HUP | epoll::EventFlags::RDHUP;
        events.extend(self.buffer.iter().map(|event| {
            // The fields of a packed struct, copied out.
            let (flags, data) = (event.flags, event.data);
            Event {
                connection: data.u64() as usize,
                readable: flags.intersects(epoll::EventFlags::IN | failed),
                ends: flags.intersects(failed),
            }
        }));
        Ok(())
    }
}

fn system_error(action: &'static str) -> impl Fn(rustix::io::Errno) -> LoadError {
    move |errno| LoadError::System { action, source: errno.into() }
}

/// Connects, and makes the socket non-blocking.
pub(super) fn connect(broker: SocketAddr, name: impl Fn() -> String) -> Result<TcpStream, LoadError> {
    let io_error = |action| move |source| (action, source);
    let connected = TcpStream::connect(broker).map_err(io_error("connecting")).and_then(|stream| {
        stream.set_nodelay(true).map_err(io_error("setting TCP_NODELAY"))?;
        stream.set_nonblocking(true).map_err(io_error("making the socket non-blocking"))?;
        Ok(stream)
    });
    connected.map_err(|(action, source)| LoadError::Io { broker, connection: name(), action, source })
}

/// What reading a socket came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filled {
    /// Nothing more is there now.
    All,
    /// There may be more.
    Some,
    /// The other side has closed.
    End,
}

/// Frames as they arrive. A frame stays where it was received until the next is asked for.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// Initialised to its end, filled in `range`.
    buffer: Vec<u8>,
    filled: Range<usize>,
    ends: bool,
}

/// A frame whose announced length is above the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge {
    pub(super) size: usize,
}

impl Inbox {
    /// The end of the connection is near: from now on a read that does not fill its room is not taken for the last, since
    /// no other event would tell of the end behind it.
    pub(super) fn expect_end(&mut self) {
        self.ends = true;
    }

    /// Reads once.
    pub(super) fn fill(&mut self, mut stream: &TcpStream) -> io::Result<Filled> {
        self.make_room();
        let room = &mut self.buffer[self.filled.end..];
        match stream.read(room) {
            Ok(0) => Ok(Filled::End),
            Ok(size) => {
                let filled = if size < room.len() && !self.ends { Filled::All } else { Filled::Some };
                self.filled.end += size;
                Ok(filled)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Filled::All),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Filled::Some),
            Err(error) => Err(error),
        }
    }

    /// The next whole frame without its length, if it is there; `size_max` is for what is announced.
    pub(super) fn next_frame(&mut self, size_max: usize) -> Result<Option<Range<usize>>, TooLarge> {
        let Some(size) = self.announced() else { return Ok(None) };
        if size > size_max {
            return Err(TooLarge { size });
        }
        let start = self.filled.start + 4;
        if self.filled.end < start + size {
            return Ok(None);
        }
        self.filled.start = start + size;
        Ok(Some(start..start + size))
    }

    /// What lies at a place that [`Inbox::next_frame`] gave, until the next [`Inbox::fill`].
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.buffer[range]
    }

    /// The length at the front.
    fn announced(&self) -> Option<usize> {
        let length = self.buffer[self.filled.clone()].first_chunk()?;
        Some(u32::from_be_bytes(*length) as usize)
    }

    /// Makes room for the rest of the frame at the front, or for something.
    fn make_room(&mut self) {
        if self.filled.is_empty() {
            self.filled = 0..0;
        }
        let missing = self.announced().map_or(0, |size| (4 + size).saturating_sub(self.filled.len()));
        let room = missing.max(READ_BYTES_MIN);
        if self.buffer.len() - self.filled.end >= room {
            return;
        }
        if self.filled.start > 0 {
            self.buffer.copy_within(self.filled.clone(), 0);
            self.filled = 0..self.filled.len();
        }
        if self.buffer.len() - self.filled.end < room {
            self.buffer.resize(self.filled.end + room, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn frames_come_whole_however_they_are_cut() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let writer = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = Vec::new();
            for size in [0_usize, 5, 200_000, 1, 70_000, 3] {
                bytes.extend_from_slice(&(size as u32).to_be_bytes());
                bytes.extend((0..size).map(|n| n as u8));
            }
            for chunk in bytes.chunks(50_001) {
                stream.write_all(chunk).unwrap();
            }
        });
        let stream = connect(address, String::new).unwrap();
        let (mut poller, mut events, mut inbox) = (Poller::new().unwrap(), Vec::new(), Inbox::default());
        poller.add(&stream, 3).unwrap();
        let mut sizes = Vec::new();
        'all: loop {
            while !events.iter().any(|event: &Event| event.readable) {
                poller.wait(1_000_000, &mut events).unwrap();
            }
            assert!(events.iter().all(|event| event.connection == 3));
            if events.iter().any(|event| event.ends) {
                inbox.expect_end();
            }
            events.clear();
            loop {
                let filled = inbox.fill(&stream).unwrap();
                while let Some(range) = inbox.next_frame(1 << 20).unwrap() {
                    let frame = inbox.bytes(range);
                    assert!(frame.iter().enumerate().all(|(n, byte)| n as u8 == *byte));
                    sizes.push(frame.len());
                }
                match filled {
                    Filled::All => break,
                    Filled::Some => {}
                    Filled::End => break 'all,
                }
            }
        }
        assert_eq!(sizes, [0, 5, 200_000, 1, 70_000, 3]);
        writer.join().unwrap();
    }

    #[test]
    fn an_end_right_behind_the_last_bytes_is_seen_with_them() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = connect(listener.local_addr().unwrap(), String::new).unwrap();
        let (mut poller, mut events, mut inbox) = (Poller::new().unwrap(), Vec::new(), Inbox::default());
        let (mut other, _) = listener.accept().unwrap();
        other.write_all(&[0, 0, 0, 1, 9]).unwrap();
        drop(other);
        // Both are there before the one event that tells of both.
        poller.add(&stream, 0).unwrap();
        while !events.iter().any(|event: &Event| event.readable) {
            poller.wait(1_000_000, &mut events).unwrap();
        }
        assert!(events[0].ends);
        inbox.expect_end();
        assert_eq!(inbox.fill(&stream).unwrap(), Filled::Some);
        assert_eq!(inbox.next_frame(1), Ok(Some(4..5)));
        assert_eq!(inbox.fill(&stream).unwrap(), Filled::End);
    }

    #[test]
    fn an_announced_length_is_not_believed_blindly() {
        let mut inbox = Inbox { buffer: vec![0, 0, 1, 0, 9], filled: 0..5, ends: false };
        assert_eq!(inbox.next_frame(255), Err(TooLarge { size: 256 }));
        assert_eq!(inbox.next_frame(256), Ok(None));
    }
}
