//! Ports that brokers are told to listen on before they start.
//!
//! They are below those that the kernel gives to clients: a broker that others call before it listens could lose a port of
//! that range to one of their connections, even to one to that very port, which then is connected to itself.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

const RANGE_FILE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// `count` addresses of this machine that are free now, all different. Another process may take one before the broker does;
/// then its start fails, loudly.
pub fn free_addresses(count: usize) -> io::Result<Vec<SocketAddr>> {
    let range = candidates()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
    // Programs that look at the same time begin elsewhere.
    let start = (now ^ std::process::id().rotate_left(20)) as usize % range.len();
    // Held until all are found, so that none is found twice.
    let mut held = Vec::with_capacity(count);
    for port in range.clone().cycle().skip(start).take(range.len()) {
        if held.len() == count {
            break;
        }
        held.extend(TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
    }
    if held.len() < count {
        return Err(io::Error::other(format!("{} of {count} found free in {range:?}", held.len())));
    }
    held.iter().map(TcpListener::local_addr).collect()
}

/// The upper half of what is below the kernel's own.
fn candidates() -> io::Result<Range<u16>> {
    let text = fs::read_to_string(RANGE_FILE)?;
    let first: Option<u16> = text.split_whitespace().next().and_then(|first| first.parse().ok());
    match first {
        Some(first) if first >= 4096 => Ok(first / 2..first),
        _ => Err(io::Error::other(format!("{RANGE_FILE} leaves too few ports to servers: {text:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_free_different_and_not_the_clients() {
        let mut found = free_addresses(20).unwrap();
        let clients = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(found.iter().all(|address| address.port() < clients.port()), "{found:?}, {clients}");
        let bound: Vec<_> = found.iter().map(TcpListener::bind).collect();
        assert!(bound.iter().all(Result::is_ok), "{bound:?}");
        found.sort();
        found.dedup();
        assert_eq!(found.len(), 20);
    }

    #[test]
    fn more_than_there_are_is_an_error() {
        let error = free_addresses(65_000).unwrap_err().to_string();
        assert!(error.contains("of 65000 found free"), "{error}");
    }
}
