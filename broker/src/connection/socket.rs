//! From an accepted socket to two halves, one to read and one to write.
//!
//! glommio's `TcpStream` cannot be split, so the descriptor is duplicated: both refer to the same connection, each waits
//! for readiness on its own. Where bytes are known or likely to be there, and to send many pieces at once, the system
//! calls are made here without it; glommio serves to wait.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::TcpStream as StdStream;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd};
use std::pin::Pin;
use std::task::ready;
use std::time::Duration;

use bytes::Bytes;
use futures_lite::{AsyncRead, AsyncWriteExt};
use glommio::net::TcpStream;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};

/// Pieces of one send; the kernel takes no more than 1024 (`IOV_MAX`).
const PIECES_PER_SEND: usize = 256;

/// The two halves of one connection.
pub struct Halves {
    pub reader: ReadHalf,
    pub writer: WriteHalf,
}

/// Must be called on the executor that will serve the connection.
pub fn split(socket: StdStream) -> io::Result<Halves> {
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    let twin = socket.try_clone()?;
    Ok(Halves { reader: ReadHalf { stream: adopt(socket) }, writer: WriteHalf { stream: adopt(twin) } })
}

fn adopt(socket: StdStream) -> TcpStream {
    // SAFETY: `into_raw_fd` gives up ownership of an open TCP socket, and the stream made here is its only owner.
    unsafe { TcpStream::from_raw_fd(socket.into_raw_fd()) }
}

fn descriptor(stream: &TcpStream) -> BorrowedFd<'_> {
    // SAFETY: the stream owns the descriptor and closes it only when it is dropped, which the borrow rules out.
    unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) }
}

pub struct ReadHalf {
    stream: TcpStream,
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
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, scratch))?;
            take_in(&scratch[..read]);
            Ok(read).into()
        })
        .await
    }

    /// Reads into the free memory of `buffer` what is there now; `None` if that is nothing.
    pub fn try_read(&self, buffer: &mut Vec<u8>) -> io::Result<Option<usize>> {
        loop {
            let room = rustix::buffer::spare_capacity(buffer);
            match recv(descriptor(&self.stream), room, RecvFlags::DONTWAIT) {
                Ok((read, _)) => return Ok(Some(read)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

pub struct WriteHalf {
    stream: TcpStream,
}

impl WriteHalf {
    /// A send during which the peer takes no byte for this long fails with `TimedOut`.
    pub fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        Ok(self.stream.set_write_timeout(Some(timeout))?)
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
            match sendmsg(descriptor(&self.stream), &slices, &mut SendAncillaryBuffer::default(), flags) {
                Ok(taken) => sent += taken,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    // The rest of a piece waits for room, and what comes behind tries again.
                    self.stream.write_all(&first[sent..]).await?;
                    sent = first.len();
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
}
