//! Sending answers in order, as many as are ready at once.
//!
//! What an answer holds of the shard's budget goes back as its pieces leave, and with it their memory.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{Either, select};
use glommio::timer::Timer;

use super::gathered::Gathered;
use super::pace::{LOOK_INTERVAL, Pace};
use super::response::{Response, ResponseBytes};
use super::socket::{SendProgress, WriteHalf};
use super::{Arrival, CloseReason, Connection, Slot};

/// Sends until the reader has ended and everything is answered.
pub async fn run(connection: &Rc<Connection>, socket: WriteHalf) -> Result<(), CloseReason> {
    let mut sending = Sending {
        connection,
        progress: socket.progress(),
        socket,
        gathered: Gathered::default(),
        releases: Vec::new(),
        answers: Vec::new(),
        pace: None,
    };
    while let Some(Slot { mut response, arrival }) = connection.next_slot().await {
        let response = match (&mut response).now_or_never() {
            Some(response) => response,
            None => {
                // Nothing more is ready: what is can go while we wait.
                sending.flush().await?;
                response.await
            }
        };
        connection.responded();
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
    progress: SendProgress,
    gathered: Gathered,
    /// What is given back as it is sent; the last may have been gathered in part.
    releases: Vec<ResponseBytes>,
    /// Requests whose answers are under way.
    answers: Vec<Arrival>,
    /// Since the socket was full first, until all is sent.
    pace: Option<Pace>,
}

impl Sending<'_> {
    async fn add(&mut self, mut response: ResponseBytes) -> Result<(), CloseReason> {
        let chunks = std::mem::take(&mut response.chunks);
        let mut unsent_bytes: usize = chunks.iter().map(Bytes::len).sum();
        let mut gathered_bytes = 0;
        self.releases.push(response);
        for chunk in chunks {
            gathered_bytes += chunk.len();
            self.gathered.add(chunk);
            if self.gathered.is_much() {
                self.send().await?;
                unsent_bytes -= std::mem::take(&mut gathered_bytes);
                let before = self.releases.len() - 1;
                self.releases.drain(..before);
                self.releases[0].hold_at_most(unsent_bytes);
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), CloseReason> {
        self.send().await?;
        self.releases.clear();
        self.pace = None;
        if !self.answers.is_empty() {
            let (now, metrics) = (Instant::now(), self.connection.shard.metrics());
            self.answers.drain(..).for_each(|Arrival { api, at }| metrics.answered(api, now - at));
        }
        Ok(())
    }

    /// Sends what has been gathered.
    async fn send(&mut self) -> Result<(), CloseReason> {
        let Sending { gathered, socket, progress, releases, pace, .. } = self;
        let mut sending = pin!(gathered.send(socket));
        // Most of the time the socket has room, and no clock is looked at.
        if let Poll::Ready(sent) = poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx))).await {
            return Ok(sent?);
        }
        loop {
            match select(&mut sending, Timer::new(LOOK_INTERVAL)).await {
                Either::Left((sent, _)) => return Ok(sent?),
                Either::Right(_) => {
                    let (now, moved) = (Instant::now(), progress.acknowledged_bytes());
                    let is_waited_for = releases.iter().any(ResponseBytes::is_waited_for);
                    let pace = pace.get_or_insert_with(|| Pace::new(now, moved));
                    pace.look(now, moved, is_waited_for).map_err(CloseReason::of_response)?;
                }
            }
        }
    }
}

impl Connection {
    /// Whether another answer is queued; it may still be waiting for its outcome.
    fn has_queued_slot(&self) -> bool {
        !self.slots.borrow().is_empty()
    }
}
