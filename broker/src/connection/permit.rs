//! How many connections the broker holds: in total, and from one address (`max.connections`, `max.connections.per.ip`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use instruments::Counter;

/// The limits, shared by the acceptor and the connections. Touched when a connection comes or goes, never in between.
pub struct ConnectionLimits {
    open: Mutex<Open>,
    /// Counted by the acceptor alone.
    pub accepted: Counter,
    pub refused_too_many: Counter,
    pub refused_from_address: Counter,
}

struct Open {
    total_max: usize,
    per_ip_max: usize,
    total: usize,
    per_ip: HashMap<IpAddr, usize>,
}

/// Why a connection is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionRefused {
    #[error("{limit} connections are open, as many as max.connections and --connections-max allow")]
    TooMany { limit: usize },
    #[error("{limit} connections from {ip} are open, as many as max.connections.per.ip allows")]
    TooManyFromAddress { ip: IpAddr, limit: usize },
}

/// The right to one connection; given back when dropped.
pub struct ConnectionPermit {
    limits: Arc<ConnectionLimits>,
    ip: IpAddr,
}

impl ConnectionLimits {
    pub fn new(total_max: usize, per_ip_max: usize) -> Arc<ConnectionLimits> {
        let open = Open { total_max, per_ip_max, total: 0, per_ip: HashMap::new() };
        Arc::new(ConnectionLimits {
            open: Mutex::new(open),
            accepted: Counter::new(),
            refused_too_many: Counter::new(),
            refused_from_address: Counter::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connections that may be open at once.
    pub fn total_max(&self) -> usize {
        self.lock().total_max
    }

    /// For connections that come from now on; those that are open stay.
    pub fn set(&self, total_max: usize, per_ip_max: usize) {
        let mut open = self.lock();
        (open.total_max, open.per_ip_max) = (total_max, per_ip_max);
    }

    /// Counts a connection from `ip` in, if it may come.
    pub fn admit(self: &Arc<Self>, ip: IpAddr) -> Result<ConnectionPermit, ConnectionRefused> {
        self.accepted.increment();
        let mut open = self.lock();
        if open.total >= open.total_max {
            self.refused_too_many.increment();
            return Err(ConnectionRefused::TooMany { limit: open.total_max });
        }
        if open.per_ip.get(&ip).copied().unwrap_or(0) >= open.per_ip_max {
            self.refused_from_address.increment();
            return Err(ConnectionRefused::TooManyFromAddress { ip, limit: open.per_ip_max });
        }
        open.total += 1;
        *open.per_ip.entry(ip).or_default() += 1;
        Ok(ConnectionPermit { limits: self.clone(), ip })
    }

    #[cfg(test)]
    fn open(&self) -> usize {
        self.lock().total
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut open = self.limits.lock();
        open.total -= 1;
        if let Some(count) = open.per_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                open.per_ip.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_limits_hold_and_permits_come_back() {
        let limits = ConnectionLimits::new(3, 2);
        let (a, b): (IpAddr, IpAddr) = ([127, 0, 0, 1].into(), [127, 0, 0, 2].into());
        let first = limits.admit(a).ok().unwrap();
        let _second = limits.admit(a).ok().unwrap();
        assert_eq!(limits.admit(a).err(), Some(ConnectionRefused::TooManyFromAddress { ip: a, limit: 2 }));
        let _third = limits.admit(b).ok().unwrap();
        assert_eq!(limits.admit(b).err(), Some(ConnectionRefused::TooMany { limit: 3 }));
        let counted = [&limits.accepted, &limits.refused_too_many, &limits.refused_from_address];
        assert_eq!(counted.map(Counter::get), [5, 1, 1]);
        drop(first);
        assert_eq!(limits.open(), 2);
        assert!(limits.admit(a).is_ok());
    }

    #[test]
    fn limits_that_change_hold_for_who_comes_then() {
        let limits = ConnectionLimits::new(2, 2);
        let (a, b): (IpAddr, IpAddr) = ([127, 0, 0, 1].into(), [127, 0, 0, 2].into());
        let _open = [limits.admit(a).ok().unwrap(), limits.admit(a).ok().unwrap()];
        limits.set(1, 1);
        assert_eq!(limits.open(), 2);
        assert_eq!(limits.admit(b).err(), Some(ConnectionRefused::TooMany { limit: 1 }));
        limits.set(9, 2);
        assert!(limits.admit(b).is_ok());
        assert_eq!(limits.admit(a).err(), Some(ConnectionRefused::TooManyFromAddress { ip: a, limit: 2 }));
    }
}
