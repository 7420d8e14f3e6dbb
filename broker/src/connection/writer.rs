//! Sending answers in order, as many as are ready at once.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_lite::AsyncWriteExt;
use futures_util::FutureExt;
use glommio::net::TcpStream;

use super::response::{Response, ResponseBytes};
use super::{CloseReason, Connection};

/// Chunks below this are copied together: one send for many small answers costs less than a send for each.
const COPY_CHUNK_BYTES_MAX: usize = 16 * 1024;
/// What is copied together is sent when it reaches this.
const COALESCED_BYTES: usize = 128 * 1024;
/// A client that takes no byte for this long is cut off: it holds memory that others could use.
const STALLED_RESPONSE_MAX: Duration = Duration::from_secs(60);

/// Sends until the reader has ended and everything is answered.
pub async fn run(connection: &Rc<Connection>, socket: TcpStream) -> Result<(), CloseReason> {
    socket.set_write_timeout(Some(STALLED_RESPONSE_MAX)).map_err(io::Error::from)?;
    let mut sending = Sending { socket, pending: BytesMut::new(), releases: Vec::new() };
    while let Some(mut slot) = connection.next_slot().await {
        let response = match (&mut slot.response).now_or_never() {
            Some(response) => response,
            None => {
                // Nothing more is ready: what is can go while we wait.
                sending.flush().await?;
                (&mut slot.response).await
            }
        };
        match response {
            Response::Silent => {}
            Response::Close { reason } => {
                sending.flush().await?;
                return Err(CloseReason::Request(reason));
            }
            Response::Send(bytes) => sending.add(bytes).await?,
        }
        drop(slot);
        connection.answered();
        if !connection.has_queued_slot() {
            sending.flush().await?;
        }
    }
    sending.flush().await
}

struct Sending {
    socket: TcpStream,
    pending: BytesMut,
    /// Released when `pending` has been sent.
    releases: Vec<ResponseBytes>,
}

impl Sending {
    async fn add(&mut self, mut response: ResponseBytes) -> Result<(), CloseReason> {
        for chunk in std::mem::take(&mut response.chunks) {
            if chunk.len() <= COPY_CHUNK_BYTES_MAX {
                self.pending.extend_from_slice(&chunk);
                if self.pending.len() >= COALESCED_BYTES {
                    self.send_pending().await?;
                }
            } else {
                self.send_pending().await?;
                self.send(&chunk).await?;
            }
        }
        self.releases.push(response);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), CloseReason> {
        self.send_pending().await?;
        self.releases.clear();
        Ok(())
    }

    async fn send_pending(&mut self) -> Result<(), CloseReason> {
        if !self.pending.is_empty() {
            let pending = self.pending.split().freeze();
            self.send(&pending).await?;
        }
        Ok(())
    }

    async fn send(&mut self, bytes: &Bytes) -> Result<(), CloseReason> {
        self.socket.write_all(bytes).await.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => CloseReason::StalledResponse(STALLED_RESPONSE_MAX),
            _ => CloseReason::Socket(error),
        })
    }
}

impl Connection {
    /// Whether another answer is queued; it may still be waiting for its outcome.
    fn has_queued_slot(&self) -> bool {
        !self.slots.borrow().is_empty()
    }
}
