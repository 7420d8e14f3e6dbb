//! Taking requests from the socket.

use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use glommio::timer::Timer;
use protocol::frame::{FrameAssembler, FrameDecoder};
use protocol::request;

use super::pace::{self, LOOK_INTERVAL, Pace};
use super::response::Response;
use super::socket::ReadHalf;
use super::{Arrival, CloseReason, Connection};
use crate::handlers::{self, Started};
use crate::shard::budget::Held;

/// Stands for "no limit": a timer cannot be set further ahead than the clock goes.
const IDLE_MAX_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long a request may stop arriving half-way.
const STALLED_REQUEST_MAX: Duration = pace::STALLED_MAX;
/// The slowest that a large request may arrive while others wait for its memory, in bytes per second, after
/// [`STALLED_REQUEST_MAX`].
const FRAME_RATE_MIN: u64 = 1 << 20;
/// The memory that a shard's connections share for reading: many small requests at once. A frame of this size never shares
/// its memory with another.
pub const READ_SCRATCH_BYTES: usize = 32 * 1024;
/// What is read of a frame that is likely large, to know its length; all else of it is not copied once more. A frame of
/// which so much has come, and that is not whole, has a share of the shard's budget for requests on their way before more of
/// it is read; what is less is bounded by the number of connections.
const LARGE_FRAME_BEGIN_BYTES: usize = 4 * 1024;

/// Reads until the client closes, misbehaves, or the broker stops.
pub async fn run(connection: &Rc<Connection>, mut socket: ReadHalf) -> CloseReason {
    let shard = &connection.shard;
    let config = shard.broker_config();
    let decoder = FrameDecoder::new(usize::try_from(config.socket_request_max_bytes).unwrap_or(0));
    let idle_max = match u64::try_from(config.connections_max_idle_ms) {
        Ok(ms) => Duration::from_millis(ms).min(IDLE_MAX_MAX),
        // Kafka: a negative value turns the check off.
        Err(_) => IDLE_MAX_MAX,
    };
    let mut frames = FrameAssembler::new(decoder);
    let mut flow = Flow::default();
    let mut arriving: Option<Arriving> = None;
    let mut stopped = pin!(shard.stopped().fuse());
    loop {
        loop {
            match frames.next_frame() {
                Ok(Some(frame)) => {
                    let at = Instant::now();
                    // Paid for before it is decoded, which may take several times its bytes.
                    let request = request::inspect(frame);
                    let bytes = request.as_ref().map_or(0, handlers::decoded_bytes);
                    let taken_in = match connection.take_in_now(bytes) {
                        Some(taken_in) => taken_in,
                        None => match select(pin!(connection.take_in(bytes)), &mut stopped).await {
                            Either::Left((taken_in, _)) => taken_in,
                            Either::Right(_) => return CloseReason::Shutdown,
                        },
                    };
                    arriving = None;
                    match handlers::dispatch(connection, request) {
                        Ok(Started { api, response, request_bytes }) => {
                            connection.push(taken_in, request_bytes, Some(Arrival { api, at }), response);
                        }
                        Err(reason) => {
                            // Earlier answers are sent first.
                            connection.push(taken_in, 0, None, close(&reason));
                            return CloseReason::Request(reason);
                        }
                    }
                }
                Ok(None) => break,
                Err(error) => return CloseReason::Frame(error),
            }
        }
        if frames.partial_bytes() >= LARGE_FRAME_BEGIN_BYTES && arriving.is_none() {
            let announced = frames.announced_bytes();
            // The whole frame is paid for before it is read: half-sent frames never grow past the budget together, and
            // who waits here holds up nobody else.
            let since = Instant::now();
            let held = match shard.arriving_budget().admit_now_or_small(announced) {
                Some(held) => held,
                None => match select(shard.arriving_budget().admit_or_small(announced), &mut stopped).await {
                    Either::Left((held, _)) => held,
                    Either::Right(_) => return CloseReason::Shutdown,
                },
            };
            connection.note_held_up(since);
            arriving = Some(Arriving::begin(held, announced, frames.partial_bytes(), Instant::now()));
            frames.reserve_announced();
        }
        if connection.take_in_now(0).is_none() {
            let since = Instant::now();
            // Let the answers of what has been taken in get out before more comes in.
            match select(pin!(connection.take_in(0)), &mut stopped).await {
                Either::Left(_) => {}
                Either::Right(_) => return CloseReason::Shutdown,
            }
            if let Some(arriving) = &mut arriving {
                arriving.excuse(since.elapsed());
            }
        }
        let patience = match &mut arriving {
            Some(arriving) => match arriving.patience(frames.partial_bytes(), Instant::now()) {
                Ok(patience) => patience,
                Err(reason) => return reason,
            },
            None if frames.is_empty() => idle_max,
            None => STALLED_REQUEST_MAX.min(idle_max),
        };
        let read = {
            let read = read_more(connection, &mut socket, &mut frames, &mut flow);
            match select(pin!(read), select(Timer::new(patience), &mut stopped)).await {
                Either::Left((read, _)) => Some(read),
                Either::Right((Either::Left(_), _)) => None,
                Either::Right((Either::Right(_), _)) => return CloseReason::Shutdown,
            }
        };
        match read {
            // Looked at again, and given up if it is time.
            None if arriving.is_some() => {}
            None if !frames.is_empty() => return CloseReason::StalledRequest(patience),
            // The client waits for us, not we for it.
            None if connection.in_flight.get() > 0 => {}
            None => return CloseReason::Idle(patience),
            Some(Ok(0)) if frames.is_empty() => return CloseReason::ClosedByClient,
            Some(Ok(0)) => return CloseReason::ClosedMidRequest { received: frames.partial_bytes() },
            Some(Ok(_)) => {}
            Some(Err(error)) => return CloseReason::Socket(error),
        }
    }
}

fn close(reason: &str) -> futures_util::future::LocalBoxFuture<'static, Response> {
    let reason = reason.to_owned();
    async move { Response::Close { reason } }.boxed_local()
}

/// A large frame on its way.
struct Arriving {
    /// Its share of the budget.
    held: Held,
    began: Instant,
    /// When it must be here, if others wait.
    deadline: Instant,
    pace: Pace,
}

impl Arriving {
    /// `arrived`: bytes of it that have come.
    fn begin(held: Held, announced: usize, arrived: usize, now: Instant) -> Arriving {
        let deadline = now + STALLED_REQUEST_MAX + Duration::from_secs(announced as u64 / FRAME_RATE_MIN);
        Arriving { held, began: now, deadline, pace: Pace::new(now, arrived as u64) }
    }

    /// It was not the client that made the rest of the request wait.
    fn excuse(&mut self, held_up: Duration) {
        self.deadline += held_up;
        self.pace.excuse(Instant::now(), held_up);
    }

    /// For how long to wait until it is looked at again; or why it is waited for no more.
    fn patience(&mut self, arrived: usize, now: Instant) -> Result<Duration, CloseReason> {
        let is_waited_for = self.held.is_waited_for();
        self.pace.look(now, arrived as u64, is_waited_for).map_err(CloseReason::of_request)?;
        match self.deadline.saturating_duration_since(now) {
            Duration::ZERO if is_waited_for => {
                Err(CloseReason::UnfinishedRequest { arrived, within: now - self.began })
            }
            Duration::ZERO => Ok(LOOK_INTERVAL),
            left => Ok(left.min(LOOK_INTERVAL)),
        }
    }
}

/// What a connection's last reads say about the next.
#[derive(Clone, Copy, Debug, Default)]
struct Flow {
    /// The last read did not empty the socket, as far as one can tell.
    more_is_there: bool,
    /// The last frame was larger than the shared memory: of the next only the begin comes through it.
    frames_are_large: bool,
}

/// Reads once. Cancelling it loses nothing: bytes are in `frames` or still in the socket.
///
/// Small requests come through memory that the shard's connections share, many at once; what is missing of a large one
/// is read to where it stays.
async fn read_more(
    connection: &Connection,
    socket: &mut ReadHalf,
    frames: &mut FrameAssembler,
    flow: &mut Flow,
) -> io::Result<usize> {
    let is_large = frames.announced_bytes() >= READ_SCRATCH_BYTES;
    if flow.more_is_there
        && let Some(partial) = frames.partial_mut()
    {
        let room = partial.capacity() - partial.len();
        if let Some(read) = socket.try_read(partial)? {
            frames.extended();
            flow.more_is_there = read == room;
            flow.frames_are_large = is_large;
            return Ok(read);
        }
    }
    // What comes whole waits uncounted if there is no room for it.
    let shard = &connection.shard;
    let is_short = shard.request_budget().is_short() || shard.arriving_budget().is_short();
    let takes_little = flow.frames_are_large || is_short;
    let room = if takes_little { LARGE_FRAME_BEGIN_BYTES } else { READ_SCRATCH_BYTES };
    let read = socket.read(connection.shard.read_scratch(), room, |bytes| frames.take_in(bytes)).await?;
    flow.more_is_there = read == room;
    flow.frames_are_large &= frames.partial_mut().is_some();
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::budget::ByteBudget;

    #[test]
    fn a_large_request_may_take_its_time_unless_others_wait_for_its_memory() {
        let (budget, began) = (ByteBudget::new(100), Instant::now());
        let mut arriving = Arriving::begin(budget.hold(100), 10 << 20, 0, began);
        // It comes at 100 KiB/s, a tenth of what is asked of it where it matters.
        let mut at =
            |seconds: u64| arriving.patience(seconds as usize * (100 << 10), began + Duration::from_secs(seconds));
        assert!((1..=100).all(|seconds| at(seconds).is_ok()));
        let mut waiting = pin!(budget.admit(1));
        assert!(waiting.as_mut().now_or_never().is_none());
        let ended = (101..=103).find_map(|seconds| at(seconds).err());
        assert!(matches!(ended, Some(CloseReason::UnfinishedRequest { .. })), "{ended:?}");
    }
}
