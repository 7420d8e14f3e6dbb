//! One client connection: requests in, responses out in the same order.
//!
//! The reader takes whole frames from the socket and starts each request at once; the writer awaits the answers in order
//! and sends what is ready in one go. Between them lies a queue of [`Slot`]s. What is started how:
//!
//! - Produce is appended before the next frame is looked at, and waits for the disk together with those behind it.
//! - Fetches of one connection run one after the other, and the next starts only when the answer before has been sent: a
//!   client that does not read its answers holds at most one in memory.
//! - Everything else runs one after the other too, as on Kafka, where a connection has one request at work: an offset
//!   commit is seen by the offset fetch sent right behind it.
//!
//! Bounds: requests in flight and their bytes per connection, request and response bytes per shard, connections per broker.
//! Beyond them the reader stops reading, and TCP holds up the client; answers to Produce and Fetch tell it for how long
//! (`throttle_time_ms`). A connection that is silent for `connections.max.idle.ms`, or stops in the middle of a frame or of an
//! answer, is closed, and one that gets on too slowly with either while others wait for the memory ([`pace`]).

pub mod gathered;
mod lanes;
mod pace;
mod permit;
pub mod reader;
pub mod response;
pub mod socket;
mod writer;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::{Either, LocalBoxFuture, select};
use glommio::timer::Timer;
use protocol::ApiKey;

pub use lanes::{LaneTurn, Lanes};
use pace::TooSlow;
pub use permit::{ConnectionLimits, ConnectionPermit};
use response::Response;

use crate::logging::limit;
use crate::metrics::shard::Closed;
use crate::shard::Shard;
use crate::shard::budget::{ByteBudget, Held};
use crate::shard::event::LocalEvent;

/// How long a client that sends no more (or nonsense) still gets answers: a long poll must not keep a connection that
/// nobody may be listening on.
const ANSWERS_AFTER_END_MAX: Duration = Duration::from_secs(10);

/// What any request under way is counted as at least: its task and its place here.
const SLOT_BYTES: usize = 1024;
/// No client is told to wait longer than this, as with Kafka's quotas (their window of a second).
const THROTTLE_MAX: Duration = Duration::from_secs(1);

/// An answer on its way.
pub struct Slot {
    pub response: LocalBoxFuture<'static, Response>,
    pub arrival: Option<Arrival>,
}

/// When a request had arrived, and which.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub api: ApiKey,
    pub at: Instant,
}

/// Why a connection ended, for the log.
#[derive(Debug, thiserror::Error)]
pub enum CloseReason {
    #[error("the client closed the connection")]
    ClosedByClient,
    #[error("the client closed the connection in the middle of a request: {received} bytes of it had come")]
    ClosedMidRequest { received: usize },
    #[error("malformed frame: {0}")]
    Frame(#[from] protocol::frame::FrameError),
    #[error("{0}")]
    Request(String),
    #[error("silent for {0:?}")]
    Idle(Duration),
    #[error("a request stopped arriving half-way for {0:?}")]
    StalledRequest(Duration),
    #[error("a request was not complete after {within:?}: {arrived} bytes of it had come")]
    UnfinishedRequest { arrived: usize, within: Duration },
    #[error(
        "a request came too slowly while others waited for the memory kept for it: {moved} bytes in {within:?}, where {least} a \
         second are expected",
        least = pace::RATE_MIN
    )]
    SlowRequest { moved: u64, within: Duration },
    #[error("the client did not take an answer for {0:?}")]
    StalledResponse(Duration),
    #[error(
        "the client took an answer too slowly while others waited for the memory that it holds: {moved} bytes in {within:?}, \
         where {least} a second are expected",
        least = pace::RATE_MIN
    )]
    SlowResponse { moved: u64, within: Duration },
    #[error("socket: {0}")]
    Socket(#[from] std::io::Error),
    #[error("the broker is shutting down")]
    Shutdown,
}

impl CloseReason {
    fn of_request(slow: TooSlow) -> CloseReason {
        match slow {
            TooSlow::Stalled(stalled) => CloseReason::StalledRequest(stalled),
            TooSlow::WaitedFor { moved, within } => CloseReason::SlowRequest { moved, within },
        }
    }

    fn of_response(slow: TooSlow) -> CloseReason {
        match slow {
            TooSlow::Stalled(stalled) => CloseReason::StalledResponse(stalled),
            TooSlow::WaitedFor { moved, within } => CloseReason::SlowResponse { moved, within },
        }
    }

    fn counted(&self) -> Closed {
        match self {
            CloseReason::ClosedByClient => Closed::ByClient,
            CloseReason::ClosedMidRequest { .. } => Closed::MidRequest,
            CloseReason::Frame(_) => Closed::MalformedFrame,
            CloseReason::Request(_) => Closed::BadRequest,
            CloseReason::Idle(_) => Closed::Idle,
            CloseReason::StalledRequest(_)
            | CloseReason::UnfinishedRequest { .. }
            | CloseReason::SlowRequest { .. } => Closed::StalledRequest,
            CloseReason::StalledResponse(_) | CloseReason::SlowResponse { .. } => Closed::StalledResponse,
            CloseReason::Socket(_) => Closed::Socket,
            CloseReason::Shutdown => Closed::Shutdown,
        }
    }
}

/// What the reader, the writer and the request handlers of one connection share.
pub struct Connection {
    pub shard: Rc<Shard>,
    pub peer: SocketAddr,
    pub lanes: Lanes,
    slots: RefCell<VecDeque<Slot>>,
    /// What requests keep occupied whose responses are not there yet, the oldest first.
    taken_in: RefCell<VecDeque<TakenIn>>,
    slot_added: LocalEvent,
    slot_taken: LocalEvent,
    in_flight: Cell<usize>,
    /// Requests that were pushed, and those whose answers went on to be sent.
    pushed: Cell<u64>,
    answered: Cell<u64>,
    request_budget: Rc<ByteBudget>,
    reading_ended: Cell<bool>,
    /// For how long the shard's limits have held it up since an answer last told so.
    held_up: Cell<Duration>,
}

/// A request's bytes in the connection's and in the shard's budget.
pub struct TakenIn([Held; 2]);

impl TakenIn {
    /// From now on `bytes` are in memory for the request.
    fn resize(&mut self, bytes: usize) {
        self.0.iter_mut().for_each(|held| held.resize(bytes));
    }

    fn keep_only(&mut self, bytes: usize) {
        if bytes < self.0[0].bytes() {
            self.resize(bytes);
        }
    }
}

impl Connection {
    fn new(shard: Rc<Shard>, peer: SocketAddr) -> Rc<Connection> {
        let limit = shard.settings().memory().connection_request_bytes_max;
        Rc::new(Connection {
            request_budget: ByteBudget::new(usize::try_from(limit).unwrap_or(usize::MAX)),
            shard,
            peer,
            lanes: Lanes::new(),
            slots: RefCell::default(),
            taken_in: RefCell::default(),
            slot_added: LocalEvent::default(),
            slot_taken: LocalEvent::default(),
            in_flight: Cell::new(0),
            pushed: Cell::new(0),
            answered: Cell::new(0),
            reading_ended: Cell::new(false),
            held_up: Cell::default(),
        })
    }

    /// Queues an answer behind those of earlier requests. `request_bytes` is what the request still keeps in memory; `arrival`
    /// is when it came, if it is one.
    fn push(
        &self,
        mut request: TakenIn,
        request_bytes: usize,
        arrival: Option<Arrival>,
        response: LocalBoxFuture<'static, Response>,
    ) {
        request.resize(request_bytes + SLOT_BYTES);
        self.in_flight.set(self.in_flight.get() + 1);
        self.pushed.set(self.pushed.get() + 1);
        self.taken_in.borrow_mut().push_back(request);
        self.slots.borrow_mut().push_back(Slot { response, arrival });
        self.slot_added.notify();
    }

    /// Of the request at this place no more than so many bytes are in memory any more, though it is not answered yet.
    pub fn keep_only(&self, place: u64, request_bytes: usize) {
        let mut taken_in = self.taken_in.borrow_mut();
        // The last of them is the one that was pushed last.
        let first_place = self.pushed.get() - taken_in.len() as u64;
        let at = place.checked_sub(first_place).and_then(|at| usize::try_from(at).ok());
        if let Some(request) = at.and_then(|at| taken_in.get_mut(at)) {
            request.keep_only(request_bytes + SLOT_BYTES);
        }
    }

    /// The oldest request's response is there: it keeps nothing any more.
    fn responded(&self) {
        let oldest = self.taken_in.borrow_mut().pop_front();
        debug_assert!(oldest.is_some(), "one for each slot");
    }

    /// Takes a request of `bytes` in, if there is room for it now.
    fn take_in_now(&self, bytes: usize) -> Option<TakenIn> {
        if self.in_flight.get() >= self.requests_max() {
            return None;
        }
        let bytes = bytes + SLOT_BYTES;
        let own = self.request_budget.admit_now(bytes)?;
        Some(TakenIn([own, self.shard.request_budget().admit_now_or_small(bytes)?]))
    }

    /// Takes a request of `bytes` in as soon as there is room for it.
    async fn take_in(&self, bytes: usize) -> TakenIn {
        let bytes = bytes + SLOT_BYTES;
        while self.in_flight.get() >= self.requests_max() {
            self.slot_taken.listen().await;
        }
        let own = self.request_budget.admit(bytes).await;
        let since = Instant::now();
        let of_shard = self.shard.request_budget().admit_or_small(bytes).await;
        self.note_held_up(since);
        TakenIn([own, of_shard])
    }

    fn requests_max(&self) -> usize {
        self.shard.settings().memory().connection_requests_max
    }

    /// The shard's limits have held the connection up since then.
    pub fn note_held_up(&self, since: Instant) {
        self.held_up.set(self.held_up.get().saturating_add(since.elapsed()));
    }

    /// For how long it was held up, in milliseconds, for an answer to tell (KIP-219); starts anew.
    pub fn throttle_time_ms(&self) -> i32 {
        let held_up = self.held_up.take().min(THROTTLE_MAX);
        i32::try_from(held_up.as_millis()).expect("a second at most")
    }

    /// The next answer to send, or `None` once the client has sent its last request and all are answered.
    async fn next_slot(&self) -> Option<Slot> {
        loop {
            if let Some(slot) = self.slots.borrow_mut().pop_front() {
                return Some(slot);
            }
            if self.reading_ended.get() {
                return None;
            }
            self.slot_added.listen().await;
        }
    }

    /// The place in the order of answers of the request that is pushed next.
    pub fn next_place(&self) -> u64 {
        self.pushed.get()
    }

    /// Waits until all requests before this place are answered. Whoever takes a share of the shard's room for answers does so
    /// then: an answer that waits for room must not stand before one that has it.
    pub async fn come_to_front(&self, place: u64) {
        while self.answered.get() < place {
            self.slot_taken.listen().await;
        }
    }

    fn answered(&self) {
        self.in_flight.set(self.in_flight.get() - 1);
        self.answered.set(self.answered.get() + 1);
        self.slot_taken.notify();
    }
}

/// Serves a connection to its end.
pub async fn serve(shard: Rc<Shard>, socket: TcpStream, peer: SocketAddr, permit: ConnectionPermit) {
    let _counted = shard.count_connection();
    let reason = match socket::split(socket) {
        Ok(halves) => {
            let connection = Connection::new(shard.clone(), peer);
            let reason = serve_halves(&connection, halves).await;
            // Answers that were not sent know the connection, which has them: none would ever go, nor what they hold.
            drop(connection.slots.take());
            drop(connection.taken_in.take());
            reason
        }
        Err(error) => CloseReason::Socket(error),
    };
    drop(permit);
    shard.metrics().closed(reason.counted());
    match reason {
        CloseReason::ClosedByClient | CloseReason::Shutdown => tracing::debug!(%peer, %reason, "connection closed"),
        CloseReason::Idle(_) | CloseReason::Socket(_) => {
            if limit::CONNECTION_CLOSED.admit() {
                tracing::info!(%peer, %reason, "connection closed");
            }
        }
        _ => {
            if limit::CONNECTION_CLOSED.admit() {
                tracing::warn!(%peer, %reason, "connection closed");
            }
        }
    }
}

async fn serve_halves(connection: &Rc<Connection>, halves: socket::Halves) -> CloseReason {
    let reading = async {
        let reason = reader::run(connection, halves.reader).await;
        connection.reading_ended.set(true);
        connection.slot_added.notify();
        reason
    };
    let writing = writer::run(connection, halves.writer);
    // What the client asked before it closed its half, or before it sent garbage, is still answered. If the answers
    // cannot be sent, there is no use in reading on: dropping the reader ends it.
    match select(std::pin::pin!(reading), std::pin::pin!(writing)).await {
        // A socket that failed takes no answers either.
        Either::Left((reason @ CloseReason::Socket(_), _)) => reason,
        Either::Left((reason, writing)) => match select(writing, Timer::new(ANSWERS_AFTER_END_MAX)).await {
            Either::Left((Ok(()), _)) | Either::Right(_) => reason,
            Either::Left((Err(failed), _)) => failed,
        },
        Either::Right((Err(failed), _)) => failed,
        Either::Right((Ok(()), reading)) => reading.await,
    }
}
