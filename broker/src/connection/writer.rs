//! Sending answers in order, as many as are ready at once.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use glommio::timer::Timer;

use super::gathered::Gathered;
use super::response::{Response, ResponseBytes};
use super::socket::WriteHalf;
use super::{Arrival, CloseReason, Connection, Slot};

/// A client that takes no byte for this long is cut off: it holds memory that others could use.
const STALLED_RESPONSE_MAX: Duration = Duration::from_secs(60);
/// The same while others do wait for that memory.
const STALLED_AND_WAITED_FOR_MAX: Duration = Duration::from_secs(10);

/// Sends until the reader has ended and everything is answered.
pub async fn run(connection: &Rc<Connection>, socket: WriteHalf) -> Result<(), CloseReason> {
    socket.set_timeout(STALLED_RESPONSE_MAX)?;
    let mut sending =
        Sending { connection, socket, gathered: Gathered::default(), releases: Vec::new(), answers: Vec::new() };
    while let Some(Slot { mut response, request, arrival }) = connection.next_slot().await {
        let response = match (&mut response).now_or_never() {
            Some(response) => response,
            None => {
                // Nothing more is ready: what is can go while we wait.
                sending.flush().await?;
                response.await
            }
        };
        drop(request);
        match response {
            Response::Silent => sending.answers.extend(arrival),
            Response::Close { reason } => {
                sending.flush().await?;
                return Err(CloseReason::Request(reason));
            }
            Response::Send(bytes) => {
                sending.answers.extend(arrival);
                sending.add(bytes).await?;
            }
        }
        connection.answered();
        if !connection.has_queued_slot() {
            sending.flush().await?;
        }
    }
    sending.flush().await
}

struct Sending<'a> {
    connection: &'a Connection,
    socket: WriteHalf,
    gathered: Gathered,
    /// Released when everything has been sent.
    releases: Vec<ResponseBytes>,
    /// Requests whose answers are under way.
    answers: Vec<Arrival>,
}

impl Sending<'_> {
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
        if !self.answers.is_empty() {
            let (now, metrics) = (Instant::now(), self.connection.shard.metrics());
            self.answers.drain(..).for_each(|Arrival { api, at }| metrics.answered(api, now - at));
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), CloseReason> {
        let taken = self.socket.taken_bytes();
        let mut sending = pin!(self.gathered.send(&mut self.socket));
        // Most of the time the socket has room, and no clock is looked at.
        let sent = match poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx))).await {
            Poll::Ready(sent) => sent,
            Poll::Pending => loop {
                let before = taken.get();
                match select(&mut sending, Timer::new(STALLED_AND_WAITED_FOR_MAX)).await {
                    Either::Left((sent, _)) => break sent,
                    Either::Right(_) => {
                        if self.connection.shard.response_budget().is_waited_for() && taken.get() == before {
                            return Err(CloseReason::StalledResponse(STALLED_AND_WAITED_FOR_MAX));
                        }
                    }
                }
            },
        };
        sent.map_err(|error| match error.kind() {
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
