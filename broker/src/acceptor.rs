//! Accepting client connections and handing each to a shard.
//!
//! One thread, asleep in `accept`. The listening socket is bound once and exclusively (glommio's own listener sets
//! `SO_REUSEPORT`, with which a second broker on the port would go unnoticed), limits are checked in one place, and
//! connections are dealt out evenly.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use async_channel::Sender;
use socket2::{Domain, Protocol, Socket, Type};

use crate::connection::ConnectionLimits;
use crate::logging::limit;
use crate::shard::message::ShardMessage;

/// Connections that may wait to be accepted; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// Pause after an `accept` that failed for want of descriptors or memory, so that it is not tried in a tight loop.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// A bound socket that does not listen yet: the port is ours, and connections are refused.
pub struct Claimed {
    socket: Socket,
}

impl Claimed {
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let addr = self.socket.local_addr()?;
        addr.as_socket().ok_or_else(|| io::Error::other("not an IP address"))
    }

    pub fn listen(self) -> io::Result<TcpListener> {
        self.socket.listen(BACKLOG)?;
        Ok(self.socket.into())
    }
}

/// Binds the first of `addresses` that can be bound.
///
/// # Errors
/// The last address's error, when none can be bound.
pub fn claim(addresses: &[SocketAddr]) -> io::Result<Claimed> {
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the name resolves to no address");
    for address in addresses {
        match claim_one(*address) {
            Ok(claimed) => return Ok(claimed),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn claim_one(address: SocketAddr) -> io::Result<Claimed> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // For a restart while old connections linger in TIME_WAIT; a live listener on the port is still refused.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(Claimed { socket })
}

/// The accepting thread; [`Acceptor::stop`] ends it.
pub struct Acceptor {
    listener: Arc<TcpListener>,
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Acceptor {
    /// Starts to listen and to accept.
    pub fn spawn(
        claimed: Claimed,
        limits: Arc<ConnectionLimits>,
        shards: Vec<Sender<ShardMessage>>,
    ) -> io::Result<Acceptor> {
        let listener = Arc::new(claimed.listen()?);
        let stopping = Arc::new(AtomicBool::new(false));
        let accepting = Accepting { listener: listener.clone(), stopping: stopping.clone(), limits, shards };
        let thread = std::thread::Builder::new().name("acceptor".into()).spawn(move || accepting.run())?;
        Ok(Acceptor { listener, stopping, thread })
    }

    /// Stops accepting; connections that are open stay open.
    pub fn stop(self) {
        self.stopping.store(true, Ordering::Release);
        // On Linux this wakes a thread blocked in accept on the socket.
        if let Err(error) = rustix::net::shutdown(self.listener.as_fd(), rustix::net::Shutdown::Both) {
            tracing::warn!(%error, "could not shut the listening socket down");
            return;
        }
        if self.thread.join().is_err() {
            tracing::error!("the acceptor thread panicked");
        }
    }
}

struct Accepting {
    listener: Arc<TcpListener>,
    stopping: Arc<AtomicBool>,
    limits: Arc<ConnectionLimits>,
    shards: Vec<Sender<ShardMessage>>,
}

impl Accepting {
    fn run(self) {
        let mut next_shard = 0;
        loop {
            let accepted = self.listener.accept();
            if self.stopping.load(Ordering::Acquire) {
                return;
            }
            let (socket, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // A connection that was reset while it waited concerns nobody else.
                    if error.kind() != io::ErrorKind::ConnectionAborted && error.kind() != io::ErrorKind::Interrupted {
                        if limit::ACCEPT_FAILED.admit() {
                            tracing::warn!(%error, "accept failed; check the limit of open files (nofile)");
                        }
                        std::thread::sleep(ACCEPT_RETRY);
                    }
                    continue;
                }
            };
            match self.limits.admit(peer.ip()) {
                Ok(permit) => {
                    let message = ShardMessage::Connection { socket, peer, permit };
                    if self.shards[next_shard].try_send(message).is_err() {
                        return;
                    }
                    next_shard = (next_shard + 1) % self.shards.len();
                }
                Err(reason) if limit::CONNECTION_REFUSED.admit() => {
                    tracing::warn!(%peer, %reason, "connection refused");
                }
                Err(_) => {}
            }
        }
    }
}
