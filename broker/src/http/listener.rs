//! Accepts HTTP connections: so many at a time, fewer of one host, and none that takes too long ([`super::patience`]).
//!
//! What an answer takes is in memory until the other end has read it, so neither the number of connections nor the patience
//! with them may be without end. And health and metrics are to be told whoever holds connections: so one host has a part of
//! them only.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

use super::patience::{Limits, Patience};
use crate::connection::{ConnectionLimits, ConnectionPermit};
use crate::logging::limit;

/// Pause after an `accept` that failed for want of descriptors or memory.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// What is held at most.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Connections; further ones wait to be accepted.
    connections: usize,
    /// Connections of one host; further ones are closed.
    of_one_host: usize,
    patience: Limits,
}

const BOUNDS: Bounds = Bounds {
    connections: 512,
    of_one_host: 128,
    patience: Limits {
        still: Duration::from_secs(30),
        // Longer than any answer takes to be made.
        request: Duration::from_secs(30),
        // The largest ones have some megabytes, and may go through a slow tunnel.
        answer: Duration::from_secs(60),
    },
};

/// See the module's documentation.
pub struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
    /// Of each host; all together wait for a place.
    hosts: Arc<ConnectionLimits>,
    patience: Limits,
}

impl Bounded {
    pub fn new(listener: TcpListener) -> Bounded {
        Bounded::with(listener, BOUNDS)
    }

    fn with(listener: TcpListener, bounds: Bounds) -> Bounded {
        let Bounds { connections, of_one_host, patience } = bounds;
        let hosts = ConnectionLimits::new(usize::MAX, of_one_host);
        Bounded { listener, places: Arc::new(Semaphore::new(connections)), hosts, patience }
    }
}

impl Listener for Bounded {
    type Io = Moving;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Moving, SocketAddr) {
        let place = self.places.clone().acquire_owned().await.expect("the semaphore is never closed");
        loop {
            let (socket, peer) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // A connection that was reset while it waited concerns nobody else.
                    if error.kind() != io::ErrorKind::ConnectionAborted && error.kind() != io::ErrorKind::Interrupted {
                        if limit::ACCEPT_FAILED.admit() {
                            tracing::warn!(%error, "an HTTP connection could not be accepted");
                        }
                        tokio::time::sleep(ACCEPT_RETRY).await;
                    }
                    continue;
                }
            };
            match self.hosts.admit(host(peer.ip())) {
                Ok(of_host) => {
                    let patience = Patience::new(self.patience, Instant::now());
                    let timer = Box::pin(tokio::time::sleep_until(patience.until()));
                    return (Moving { socket, timer, patience, _place: place, _of_host: of_host }, peer);
                }
                Err(_) if limit::HTTP_REFUSED.admit() => {
                    tracing::warn!(%peer, "HTTP connection refused: its host has as many open as one may have");
                }
                Err(_) => {}
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Who a connection is counted for: in IPv6 a host has a whole network of addresses for itself.
fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

/// A connection that fails when it takes too long.
pub struct Moving {
    socket: TcpStream,
    timer: Pin<Box<Sleep>>,
    patience: Patience,
    _place: OwnedSemaphorePermit,
    _of_host: ConnectionPermit,
}

impl Moving {
    /// What the socket said, unless that is that it waits and has waited too long.
    fn watched<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let until = self.patience.until();
        if self.timer.deadline() != until {
            self.timer.as_mut().reset(until);
        }
        if polled.is_ready() {
            return polled;
        }
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn written(&mut self, polled: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if matches!(polled, Poll::Ready(Ok(1..))) {
            self.patience.sent(Instant::now());
        }
        self.watched(polled, cx)
    }
}

impl AsyncRead for Moving {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let had = buf.filled().len();
        let polled = Pin::new(&mut self.socket).poll_read(cx, buf);
        if buf.filled().len() > had {
            self.patience.received(Instant::now());
        }
        self.watched(polled, cx)
    }
}

impl AsyncWrite for Moving {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.written(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.written(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    /// Comes when all of an answer, as far as it is made, has been written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_flush(cx);
        if matches!(polled, Poll::Ready(Ok(()))) {
            self.patience.flushed();
        }
        polled
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
    use tokio::net::TcpSocket;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(100);
    /// Between two moves of somebody who is slow: far below [`SHORT`].
    const NOW_AND_THEN: Duration = Duration::from_millis(10);
    /// Larger than what sockets buffer.
    const LARGE_BYTES: usize = 64 << 20;
    /// Nothing of which is reached; each test makes one bound narrow.
    const PATIENT: Limits = Limits { still: LONG, request: LONG, answer: LONG };
    const WIDE: Bounds = Bounds { connections: 8, of_one_host: 8, patience: PATIENT };

    async fn served(bounds: Bounds) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes =
            Router::new().route("/", get(async || "there")).route("/large", get(async || vec![b'x'; LARGE_BYTES]));
        tokio::spawn(async move { axum::serve(Bounded::with(listener, bounds), routes).await });
        address
    }

    async fn asked(address: SocketAddr, path: &str) -> TcpStream {
        asked_from([127, 0, 0, 1], address, path).await
    }

    async fn asked_from(host: [u8; 4], address: SocketAddr, path: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((host, 0))).unwrap();
        let mut socket = socket.connect(address).await.unwrap();
        socket.write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()).await.unwrap();
        socket
    }

    async fn is_answered(socket: &mut TcpStream) -> bool {
        let mut answer = [0; 12];
        let read = tokio::time::timeout(LONG, socket.read_exact(&mut answer)).await.expect("an answer, or the end");
        read.is_ok() && &answer == b"HTTP/1.1 200"
    }

    #[tokio::test]
    async fn further_connections_wait_until_one_has_gone() {
        let address = served(Bounds { connections: 1, ..WIDE }).await;
        let mut first = asked(address, "/").await;
        assert!(is_answered(&mut first).await);
        let mut second = asked(address, "/").await;
        let early = tokio::time::timeout(Duration::from_millis(200), second.peek(&mut [0])).await;
        assert!(early.is_err(), "it was answered while another held the only place");
        drop(first);
        assert!(is_answered(&mut second).await);
    }

    #[tokio::test]
    async fn one_host_has_a_part_of_the_places_only() {
        let address = served(Bounds { of_one_host: 2, ..WIDE }).await;
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut socket = asked(address, "/").await;
            assert!(is_answered(&mut socket).await);
            held.push(socket);
        }
        assert!(!is_answered(&mut asked(address, "/").await).await, "a third one of the same host");
        assert!(is_answered(&mut asked_from([127, 0, 0, 2], address, "/").await).await);
    }

    #[test]
    fn a_host_is_an_address_of_ipv4_or_a_network_of_ipv6() {
        let host = |address: &str| host(address.parse().unwrap()).to_string();
        assert_eq!(host("10.1.2.3"), "10.1.2.3");
        assert_eq!(host("::ffff:10.1.2.3"), "10.1.2.3");
        assert_eq!(host("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }

    #[tokio::test]
    async fn a_connection_on_which_nothing_moves_is_closed() {
        let address = served(Bounds { patience: Limits { still: SHORT, ..PATIENT }, ..WIDE }).await;
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
    async fn a_request_that_comes_byte_by_byte_is_given_up() {
        let address = served(Bounds { patience: Limits { request: SHORT, ..PATIENT }, ..WIDE }).await;
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(b"GET / HTTP/1.1\r\nHost: h").await.unwrap();
        let (mut reading, mut writing) = socket.split();
        let mut answer = Vec::new();
        let trickling = async {
            loop {
                tokio::time::sleep(NOW_AND_THEN).await;
                if writing.write_all(b"x").await.is_err() {
                    return;
                }
            }
        };
        let closed = async {
            tokio::select! {
                _ = reading.read_to_end(&mut answer) => {}
                () = trickling => {}
            }
        };
        tokio::time::timeout(LONG, closed).await.expect("it is closed, though bytes come");
    }

    #[tokio::test]
    async fn an_answer_that_nobody_reads_is_given_up() {
        let patience = Limits { still: SHORT, ..PATIENT };
        let address = served(Bounds { connections: 1, patience, ..WIDE }).await;
        let _unread = asked(address, "/large").await;
        // Its place is free again only once the answer has been given up.
        assert!(is_answered(&mut asked(address, "/").await).await);
    }

    #[tokio::test]
    async fn an_answer_that_is_taken_slowly_is_given_up() {
        // Sockets take some megabytes at a time: often enough within the bound for it to be put off again and again.
        let patience = Limits { answer: 5 * SHORT, ..PATIENT };
        let address = served(Bounds { patience, ..WIDE }).await;
        let mut socket = asked(address, "/large").await;
        let (mut taken, mut piece) = (0, vec![0; 64 << 10]);
        let taking = async {
            while taken < LARGE_BYTES {
                match socket.read(&mut piece).await {
                    Ok(0) | Err(_) => return,
                    Ok(bytes) => taken += bytes,
                }
                tokio::time::sleep(NOW_AND_THEN).await;
            }
        };
        tokio::time::timeout(LONG, taking).await.expect("its end");
        assert!(taken < LARGE_BYTES, "all of it was waited for");
    }
}
