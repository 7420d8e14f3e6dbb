//! From an accepted socket to two glommio streams, one to read and one to write.
//!
//! glommio's `TcpStream` cannot be split, so the descriptor is duplicated: both refer to the same connection, each waits
//! for readiness on its own.

use std::io;
use std::net::TcpStream as StdStream;
use std::os::fd::{FromRawFd, IntoRawFd};

use glommio::net::TcpStream;

/// The two halves of one connection.
pub struct Halves {
    pub reader: TcpStream,
    pub writer: TcpStream,
}

/// Must be called on the executor that will serve the connection.
pub fn split(socket: StdStream) -> io::Result<Halves> {
    socket.set_nonblocking(true)?;
    socket.set_nodelay(true)?;
    let twin = socket.try_clone()?;
    Ok(Halves { reader: adopt(socket), writer: adopt(twin) })
}

fn adopt(socket: StdStream) -> TcpStream {
    // SAFETY: `into_raw_fd` gives up ownership of an open TCP socket, and the stream made here is its only owner.
    unsafe { TcpStream::from_raw_fd(socket.into_raw_fd()) }
}
