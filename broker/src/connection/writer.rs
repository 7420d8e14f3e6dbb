//! Sending answers in order, as many as are ready at once.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;

use super::gathered::Gathered;
use super::response::{Response, ResponseBytes};
use super::socket::WriteHalf;
use super::{CloseReason, Connection};

/// A client that takes no byte for this long is cut off: it holds memory that others could use.
const STALLED_RESPONSE_MAX: Duration = Duration::from_secs(60);

/// Sends until the reader has ended and everything is answered.
pub async fn run(connection: &Rc<Connection>, socket: WriteHalf) -> Result<(), CloseReason> {
    socket.set_timeout(STALLED_RESPONSE_MAX)?;
    let mut sending = Sending { socket, gathered: Gathered::default(), releases: Vec::new() };
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
    gathered: Gathered,
    /// Released when everything has been sent.
    releases: Vec<ResponseBytes>,
}

impl Sending {
    async fn add(&mut self, mut response: ResponseBytes) -> Result<(), CloseReason> {
        for chunk in std::mem::take(&mut response.chunks) {
            self.gathered.add(chunk);
            if self.gathered.is_much() {
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

    async fn send(&mut self) -> Result<(), CloseReason> {
        self.gathered.send(&mut self.socket).await.map_err(|error| match error.kind() {
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
