//! Sending answers in order, as many as are ready at once.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;

use super::response::{Response, ResponseBytes};
use super::socket::WriteHalf;
use super::{CloseReason, Connection};
use crate::shard::queues::breathe_after;

/// Pieces below this are copied together: a piece of its own costs the kernel about as much.
const COPY_PIECE_BYTES_MAX: usize = 1024;
/// What has come together is sent when it reaches this, in bytes and in pieces.
const GATHERED_BYTES: usize = 512 * 1024;
const GATHERED_PIECES: usize = 256;
/// A client that takes no byte for this long is cut off: it holds memory that others could use.
const STALLED_RESPONSE_MAX: Duration = Duration::from_secs(60);

/// Sends until the reader has ended and everything is answered.
pub async fn run(connection: &Rc<Connection>, socket: WriteHalf) -> Result<(), CloseReason> {
    socket.set_timeout(STALLED_RESPONSE_MAX)?;
    let mut sending =
        Sending { socket, pieces: Vec::new(), gathered_bytes: 0, small: BytesMut::new(), releases: Vec::new() };
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
    socket: WriteHalf,
    /// To be sent, in order.
    pieces: Vec<Bytes>,
    gathered_bytes: usize,
    /// Small ones copied together, behind those.
    small: BytesMut,
    /// Released when everything has been sent.
    releases: Vec<ResponseBytes>,
}

impl Sending {
    async fn add(&mut self, mut response: ResponseBytes) -> Result<(), CloseReason> {
        for chunk in std::mem::take(&mut response.chunks) {
            self.gathered_bytes += chunk.len();
            if chunk.len() <= COPY_PIECE_BYTES_MAX {
                self.small.extend_from_slice(&chunk);
            } else {
                self.end_small();
                self.pieces.push(chunk);
            }
            if self.gathered_bytes >= GATHERED_BYTES || self.pieces.len() >= GATHERED_PIECES {
                self.send().await?;
            }
        }
        self.releases.push(response);
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), CloseReason> {
        self.send().await?;
        self.releases.clear();
        Ok(())
    }

    fn end_small(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(self.small.split().freeze());
        }
    }

    async fn send(&mut self) -> Result<(), CloseReason> {
        self.end_small();
        self.socket.send_all(&self.pieces).await.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => CloseReason::StalledResponse(STALLED_RESPONSE_MAX),
            _ => CloseReason::Socket(error),
        })?;
        self.pieces.clear();
        breathe_after(std::mem::take(&mut self.gathered_bytes)).await;
        Ok(())
    }
}

impl Connection {
    /// Whether another answer is queued; it may still be waiting for its outcome.
    fn has_queued_slot(&self) -> bool {
        !self.slots.borrow().is_empty()
    }
}
