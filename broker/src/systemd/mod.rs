//! What the service manager is told (sd_notify(3)): how the start, the service and the stop get on, and that all goes on.
//!
//! - [`Manager`]: one message. Where no manager listens (`NOTIFY_SOCKET` is not set) nothing of this has any effect.
//! - [`telling`]: `STATUS=` and `EXTEND_TIMEOUT_USEC=` from how far the broker is; [`status`] has the words.
//! - [`watchdog`]: `WATCHDOG=1` for as long as every shard makes progress.
//!
//! All of it runs on the metadata core's thread, so that the manager hears nothing either if that is stuck. A message is never
//! waited for: if the manager does not take it, it is lost, and the next one may not be. The messages' words are the crate
//! `sd-notify`'s; the socket is our own, since the crate's blocks and takes no abstract address. The broker starts no processes,
//! so nobody inherits the variables.

pub mod status;
pub mod telling;
pub mod watchdog;

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use sd_notify::NotifyState;

/// Names the manager's socket: a path, or an abstract address after `@`.
const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";

/// The service manager. `Clone` is cheap.
#[derive(Clone, Default)]
pub struct Manager(Option<Arc<Socket>>);

struct Socket {
    socket: UnixDatagram,
    address: SocketAddr,
    /// That messages are lost has been said.
    has_complained: AtomicBool,
}

impl Manager {
    /// The one that the environment names, if it names one.
    pub fn of_environment() -> Manager {
        let Some(address) = std::env::var_os(SOCKET_VARIABLE).filter(|address| !address.is_empty()) else {
            return Manager::default();
        };
        match Socket::open(&address) {
            Ok(socket) => Manager(Some(Arc::new(socket))),
            Err(error) => {
                let address: OsString = address;
                tracing::warn!(?address, %error, "the service manager cannot be told anything: {SOCKET_VARIABLE} is no address");
                Manager::default()
            }
        }
    }

    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Sends one message that says all of it.
    pub fn tell(&self, states: &[NotifyState<'_>]) {
        let Some(socket) = &self.0 else { return };
        let mut message = String::new();
        for state in states {
            writeln!(message, "{state}").expect("writing to a string");
        }
        let sent = socket.socket.send_to_addr(message.as_bytes(), &socket.address);
        if let Err(error) = sent
            && !socket.has_complained.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(%error, "a message to the service manager was lost; this is said once");
        }
    }

    /// A new configuration is about to be read. To be followed by [`Manager::ready`].
    pub fn reloading(&self) {
        // systemd takes the end of a reload for this one's if it comes after this time.
        let now = NotifyState::MonotonicUsec(i128::from(crate::clock::monotonic_ns() / 1000));
        self.tell(&[NotifyState::Reloading, now]);
    }

    /// The start, or a reload, has come to its end.
    pub fn ready(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    pub fn stopping(&self) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    }

    /// The process is about to end because of `error`.
    pub fn failed(&self, error: &(dyn std::error::Error + 'static), text: &str) {
        let text = status::one_line(&format!("failed: {text}"));
        let status = NotifyState::Status(&text);
        match errno(error) {
            Some(errno) => self.tell(&[NotifyState::Stopping, status, NotifyState::Errno(errno)]),
            None => self.tell(&[NotifyState::Stopping, status]),
        }
    }
}

impl Socket {
    fn open(address: &OsStr) -> io::Result<Socket> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Socket { socket, address: socket_address(address)?, has_complained: AtomicBool::new(false) })
    }
}

fn socket_address(address: &OsStr) -> io::Result<SocketAddr> {
    match address.as_bytes() {
        [b'@', name @ ..] if !name.is_empty() => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(address),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "neither an absolute path nor @ and a name")),
    }
}

/// The system's error that is the cause of this one.
fn errno(error: &(dyn std::error::Error + 'static)) -> Option<u32> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let number = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        if let Some(number) = number {
            return u32::try_from(number).ok();
        }
        cause = error.source();
    }
    None
}

/// Within what the manager wants to hear from the watchdog, if it does.
pub fn watchdog_patience() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|patience| !patience.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager_at(address: &OsStr) -> Manager {
        Manager(Some(Arc::new(Socket::open(address).unwrap())))
    }

    fn received(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 512];
        let count = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }

    #[test]
    fn messages_reach_a_path_and_an_abstract_address() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let at_path = UnixDatagram::bind(&path).unwrap();
        manager_at(path.as_os_str()).ready();
        assert_eq!(received(&at_path), "READY=1\n");

        let name = format!("ringlog-test-{}", uuid::Uuid::new_v4());
        let hidden = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        manager_at(OsStr::new(&format!("@{name}"))).stopping();
        assert_eq!(received(&hidden), "STOPPING=1\nSTATUS=stopping\n");
    }

    #[test]
    fn a_reload_says_when_it_began() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let before = crate::clock::monotonic_ns() / 1000;
        manager_at(path.as_os_str()).reloading();
        let message = received(&socket);
        let usec = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").and_then(|rest| rest.trim_end().parse().ok());
        assert!(usec.is_some_and(|usec: u64| usec >= before), "{message:?}");
    }

    /// A manager that takes no more messages must not hold up the metadata quorum.
    #[test]
    fn a_manager_that_reads_nothing_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let _socket = UnixDatagram::bind(&path).unwrap();
        let manager = manager_at(path.as_os_str());
        for _ in 0..10_000 {
            manager.tell(&[NotifyState::Watchdog]);
        }
        assert!(manager.0.unwrap().has_complained.load(Ordering::Relaxed));
    }

    #[test]
    fn other_addresses_are_refused() {
        for address in ["", "@", "relative/path", "vsock:2:1234"] {
            assert!(Socket::open(OsStr::new(address)).is_err(), "{address:?}");
        }
    }

    #[test]
    fn a_failure_says_which_error_of_the_system_caused_it() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot open it")]
        struct Outer(#[source] io::Error);
        assert_eq!(errno(&Outer(io::Error::from_raw_os_error(28))), Some(28));
        assert_eq!(errno(&Outer(io::Error::other("none of the system's"))), None);
    }
}
