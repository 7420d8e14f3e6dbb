//! From an accepted socket to two halves, one to read and one to write.
//!
//! glommio's `TcpStream` waits for reading and for writing on its own, but cannot be split, so the halves share it and
//! borrow it for the length of a poll: a connection takes one descriptor and, while it is idle, one entry among what the
//! kernel polls. Where bytes are known or likely to be there, and to send many pieces at once, the system
//! calls are made here without it; glommio serves to wait.

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::TcpStream as StdStream;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::ready;

use bytes::Bytes;
use futures_lite::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use rustix::io::Errno;
use rustix::ioctl::{Getter, Opcode, ioctl};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};

/// Pieces of one send; the kernel takes no more than 1024 (`IOV_MAX`).
const PIECES_PER_SEND: usize = 256;

/// Bytes that the kernel has taken to send and the peer has not acknowledged (`SIOCOUTQ`, tcp(7)).
const SEND_QUEUE_BYTES: Opcode = 0x5411;

/// The two halves of one connection.
pub struct Halves {
    pub reader: ReadHalf,
    pub writer: WriteHalf,
}

/// Must be called on the executor that will serve the connection.
pub fn split(socket: StdStream) -> io::Result<Halves> {
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    // SAFETY: `into_raw_fd` gives up ownership of an open TCP socket, and the stream made here is its only owner.
    let stream = unsafe { TcpStream::from_raw_fd(socket.into_raw_fd()) };
    let shared = Shared(Rc::new(RefCell::new(stream)));
    let writer = WriteHalf { stream: shared.clone(), taken_bytes: Rc::default() };
    Ok(Halves { reader: ReadHalf { stream: shared }, writer })
}

/// The stream of both halves. It is never borrowed across an await.
#[derive(Clone)]
struct Shared(Rc<RefCell<TcpStream>>);

impl AsFd for Shared {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the stream owns the descriptor and closes it only when the last half is dropped, which the borrow rules out.
        unsafe { BorrowedFd::borrow_raw(self.0.borrow().as_raw_fd()) }
    }
}

pub struct ReadHalf {
    stream: Shared,
}

impl ReadHalf {
    /// Reads once into the first `len` bytes of `scratch`, as soon as there is something, and hands that to `take_in`; 0
    /// bytes are the end. Cancelling it loses nothing. `scratch` may be shared with other connections: it is used in one go.
    pub async fn read(
        &mut self,
        scratch: &RefCell<Vec<u8>>,
        len: usize,
        mut take_in: impl FnMut(&[u8]),
    ) -> io::Result<usize> {
        poll_fn(|cx| {
            let scratch = &mut scratch.borrow_mut()[..len];
            let read = ready!(Pin::new(&mut *self.stream.0.borrow_mut()).poll_read(cx, scratch))?;
            take_in(&scratch[..read]);
            Ok(read).into()
        })
        .await
    }

    /// Reads into the free memory of `buffer` what is there now; `None` if that is nothing.
    pub fn try_read(&self, buffer: &mut Vec<u8>) -> io::Result<Option<usize>> {
        loop {
            let room = rustix::buffer::spare_capacity(buffer);
            match recv(&self.stream, room, RecvFlags::DONTWAIT) {
                Ok((read, _)) => return Ok(Some(read)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

pub struct WriteHalf {
    stream: Shared,
    taken_bytes: Rc<Cell<u64>>,
}

/// How far a peer has got with what it is sent; can be asked during a send.
pub struct SendProgress {
    stream: Shared,
    taken_bytes: Rc<Cell<u64>>,
}

impl SendProgress {
    /// Bytes that the peer's kernel has acknowledged: ours takes megabytes at a time, and then none for long.
    pub fn acknowledged_bytes(&self) -> u64 {
        // SAFETY: the kernel writes one `int` for this request, as the type says.
        let unacknowledged = unsafe { ioctl(&self.stream, Getter::<SEND_QUEUE_BYTES, c_int>::new()) };
        let unacknowledged = unacknowledged.ok().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
        self.taken_bytes.get().saturating_sub(unacknowledged)
    }
}

impl WriteHalf {
    pub fn progress(&self) -> SendProgress {
        SendProgress { stream: self.stream.clone(), taken_bytes: self.taken_bytes.clone() }
    }

    /// Sends the pieces one behind the other, in as few sends as the socket allows.
    pub async fn send_all(&mut self, mut pieces: &[Bytes]) -> io::Result<()> {
        // Of the first piece, what has been sent.
        let mut sent = 0;
        while let Some(first) = pieces.first() {
            let slices: Vec<IoSlice<'_>> = std::iter::once(&first[sent..])
                .chain(pieces[1..].iter().map(|piece| &piece[..]))
                .take(PIECES_PER_SEND)
                .map(IoSlice::new)
                .collect();
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match sendmsg(&self.stream, &slices, &mut SendAncillaryBuffer::default(), flags) {
                Ok(taken) => {
                    sent += taken;
                    self.note_taken(taken);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    // The rest of a piece waits for room, and what comes behind tries again.
                    while sent < first.len() {
                        let taken = self.send_when_there_is_room(&first[sent..]).await?;
                        sent += taken;
                        self.note_taken(taken);
                    }
                }
                Err(error) => return Err(error.into()),
            }
            while let Some(first) = pieces.first()
                && sent >= first.len()
            {
                sent -= first.len();
                pieces = &pieces[1..];
            }
        }
        Ok(())
    }

    fn note_taken(&self, bytes: usize) {
        self.taken_bytes.set(self.taken_bytes.get() + bytes as u64);
    }

    async fn send_when_there_is_room(&self, bytes: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| Pin::new(&mut *self.stream.0.borrow_mut()).poll_write(cx, bytes)).await
    }
}
