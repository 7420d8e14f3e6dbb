//! Taking requests from the socket.

use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures_lite::AsyncReadExt;
use futures_util::FutureExt;
use futures_util::future::{Either, select};
use glommio::net::TcpStream;
use glommio::timer::Timer;
use protocol::frame::FrameDecoder;

use super::response::Response;
use super::{CloseReason, Connection};
use crate::handlers;
use crate::shard::budget::Held;

/// Stands for "no limit": a timer cannot be set further ahead than the clock goes.
const IDLE_MAX_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// How long a request may stop arriving half-way.
const STALLED_REQUEST_MAX: Duration = Duration::from_secs(60);
/// The slowest that a large request may arrive, in bytes per second, after [`STALLED_REQUEST_MAX`].
const FRAME_RATE_MIN: u64 = 1 << 20;
/// A larger frame has a share of the shard's budget for requests under way before more of it is read; what is smaller is
/// bounded by the number of connections.
const UNCOUNTED_FRAME_BYTES: usize = 64 * 1024;
/// An idle connection keeps no more buffer than this.
const IDLE_BUFFER_BYTES: usize = 32 * 1024;

/// Reads until the client closes, misbehaves, or the broker stops.
pub async fn run(connection: &Rc<Connection>, mut socket: TcpStream) -> CloseReason {
    let shard = &connection.shard;
    let config = shard.broker_config();
    let decoder = FrameDecoder::new(usize::try_from(config.socket_request_max_bytes).unwrap_or(0));
    let idle_max = match u64::try_from(config.connections_max_idle_ms) {
        Ok(ms) => Duration::from_millis(ms).min(IDLE_MAX_MAX),
        // Kafka: a negative value turns the check off.
        Err(_) => IDLE_MAX_MAX,
    };
    let mut buffer = BytesMut::new();
    // A large frame on its way: its share of the budget, and until when it must be here.
    let mut arriving: Option<(Held, Instant)> = None;
    let mut stopped = pin!(shard.stopped().fuse());
    loop {
        loop {
            match decoder.next_frame(&mut buffer) {
                Ok(Some(frame)) => {
                    arriving = None;
                    let bytes = frame.len();
                    match handlers::dispatch(connection, frame) {
                        Ok(started) => connection.push(if started.keeps_frame { bytes } else { 0 }, started.response),
                        Err(reason) => {
                            // Earlier answers are sent first.
                            connection.push(0, close(&reason));
                            return CloseReason::Request(reason);
                        }
                    }
                    if !has_room_now(connection) {
                        // Let the answers of what has been taken in get out before more comes in.
                        match select(pin!(connection.has_room()), &mut stopped).await {
                            Either::Left(_) => {}
                            Either::Right(_) => return CloseReason::Shutdown,
                        }
                    }
                }
                Ok(None) => break,
                Err(error) => return CloseReason::Frame(error),
            }
        }
        if buffer.len() > UNCOUNTED_FRAME_BYTES && arriving.is_none() {
            let announced = decoder.announced_bytes(&buffer);
            // The whole frame is paid for before it is read: half-sent frames never grow past the budget together, and
            // who waits here holds up nobody else.
            match select(pin!(shard.arriving_budget().has_room()), &mut stopped).await {
                Either::Left(_) => {}
                Either::Right(_) => return CloseReason::Shutdown,
            }
            let deadline = STALLED_REQUEST_MAX + Duration::from_secs(announced as u64 / FRAME_RATE_MIN);
            arriving = Some((shard.arriving_budget().hold(announced), Instant::now() + deadline));
        }
        let patience = match &arriving {
            Some((_, deadline)) => deadline.saturating_duration_since(Instant::now()).min(STALLED_REQUEST_MAX),
            None if buffer.is_empty() => idle_max,
            None => STALLED_REQUEST_MAX.min(idle_max),
        };
        let read = {
            let read = read_more(&mut socket, &mut buffer, &decoder);
            match select(pin!(read), select(Timer::new(patience), &mut stopped)).await {
                Either::Left((read, _)) => Some(read),
                Either::Right((Either::Left(_), _)) => None,
                Either::Right((Either::Right(_), _)) => return CloseReason::Shutdown,
            }
        };
        match read {
            None if !buffer.is_empty() => return CloseReason::StalledRequest(patience),
            // The client waits for us, not we for it.
            None if connection.in_flight.get() > 0 => {}
            None => return CloseReason::Idle(patience),
            Some(Ok(0)) if buffer.is_empty() => return CloseReason::ClosedByClient,
            Some(Ok(0)) => return CloseReason::ClosedMidRequest { received: buffer.len() },
            Some(Ok(_)) => {}
            Some(Err(error)) => return CloseReason::Socket(error),
        }
    }
}

fn has_room_now(connection: &Connection) -> bool {
    connection.has_room().now_or_never().is_some()
}

fn close(reason: &str) -> futures_util::future::LocalBoxFuture<'static, Response> {
    let reason = reason.to_owned();
    async move { Response::Close { reason } }.boxed_local()
}

/// Reads once into the end of `buffer`. Cancelling it loses nothing: bytes are in the buffer or still in the socket.
async fn read_more(socket: &mut TcpStream, buffer: &mut BytesMut, decoder: &FrameDecoder) -> io::Result<usize> {
    if buffer.is_empty() && buffer.capacity() > IDLE_BUFFER_BYTES {
        *buffer = BytesMut::new();
    }
    let wanted = decoder.read_bytes_wanted(buffer);
    let filled = buffer.len();
    buffer.resize(filled + wanted, 0);
    let mut room = Room { buffer, filled };
    let read = socket.read(&mut room.buffer[filled..]).await?;
    room.filled += read;
    Ok(read)
}

/// Cuts the buffer back to what was filled, also when the read is cancelled.
struct Room<'a> {
    buffer: &'a mut BytesMut,
    filled: usize,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.buffer.truncate(self.filled);
    }
}
