//! Accepts HTTP connections: so many at a time, and none for which nothing moves.
//!
//! What an answer takes is in memory until the other end has read it, so neither the number of connections nor the patience
//! with them may be without end.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// Connections held at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 512;
/// A connection on which not a byte has moved for so long is closed. Longer than any answer takes.
const STILL_TIME_MAX: Duration = Duration::from_secs(30);
/// Pause after an `accept` that failed for want of descriptors or memory.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// See the module's documentation.
pub struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
    still_time_max: Duration,
}

impl Bounded {
    pub fn new(listener: TcpListener) -> Bounded {
        Bounded::with_limits(listener, CONNECTIONS_MAX, STILL_TIME_MAX)
    }

    fn with_limits(listener: TcpListener, connections_max: usize, still_time_max: Duration) -> Bounded {
        Bounded { listener, places: Arc::new(Semaphore::new(connections_max)), still_time_max }
    }
}

impl Listener for Bounded {
    type Io = Moving;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Moving, SocketAddr) {
        let place = self.places.clone().acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match self.listener.accept().await {
                Ok((socket, peer)) => {
                    let timer = Box::pin(tokio::time::sleep(self.still_time_max));
                    return (Moving { socket, timer, still_time_max: self.still_time_max, _place: place }, peer);
                }
                Err(error) => {
                    tracing::warn!(%error, "an HTTP connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails when nothing has moved on it for long.
pub struct Moving {
    socket: TcpStream,
    timer: Pin<Box<Sleep>>,
    still_time_max: Duration,
    _place: OwnedSemaphorePermit,
}

impl Moving {
    /// What the socket said, unless that is that it waits and has waited too long.
    fn watched<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.timer.as_mut().reset(Instant::now() + self.still_time_max);
            return polled;
        }
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Moving {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_read(cx, buf);
        self.watched(polled, cx)
    }
}

impl AsyncWrite for Moving {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.watched(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.watched(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    /// Larger than what sockets buffer.
    const LARGE_BYTES: usize = 64 << 20;

    async fn served(connections_max: usize, still_time_max: Duration) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes =
            Router::new().route("/", get(async || "there")).route("/large", get(async || vec![b'x'; LARGE_BYTES]));
        let bounded = Bounded::with_limits(listener, connections_max, still_time_max);
        tokio::spawn(async move { axum::serve(bounded, routes).await });
        address
    }

    async fn asked(address: SocketAddr, path: &str) -> TcpStream {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).await.unwrap();
        socket
    }

    #[tokio::test]
    async fn further_connections_wait_until_one_has_gone() {
        let address = served(1, LONG).await;
        let mut first = asked(address, "/").await;
        let mut answer = [0; 12];
        first.read_exact(&mut answer).await.unwrap();
        let mut second = asked(address, "/").await;
        let early = tokio::time::timeout(Duration::from_millis(200), second.read_exact(&mut answer)).await;
        assert!(early.is_err(), "it was answered while another held the only place");
        drop(first);
        second.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }

    #[tokio::test]
    async fn a_connection_on_which_nothing_moves_is_closed() {
        let address = served(8, Duration::from_millis(100)).await;
        // One that says nothing, and one that stops within a request.
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut half = TcpStream::connect(address).await.unwrap();
        half.write_all(b"GET / HTTP/1.1\r\nHo").await.unwrap();
        for socket in [&mut silent, &mut half] {
            let ended = tokio::time::timeout(LONG, socket.read_to_end(&mut Vec::new())).await;
            ended.expect("it is closed").ok();
        }
    }

    #[tokio::test]
    async fn an_answer_that_nobody_reads_is_given_up() {
        let address = served(1, Duration::from_millis(100)).await;
        let _unread = asked(address, "/large").await;
        // Its place is free again only once the answer has been given up.
        let mut next = asked(address, "/").await;
        let mut answer = [0; 12];
        tokio::time::timeout(LONG, next.read_exact(&mut answer)).await.expect("a place is free again").unwrap();
    }
}
