//! The broker's three ports, claimed before anything that takes time: a port in use is known before a long recovery, and
//! connections are refused until somebody listens.

use std::io;
use std::net::SocketAddr;

use super::ServeError;
use crate::acceptor::{self, Claimed};
use crate::config::{Endpoint, HostPort, ServeConfig};

/// One of them.
pub struct Port {
    setting: &'static str,
    endpoint: Endpoint,
    claimed: Claimed,
    /// With the port number that was taken, where any was asked for.
    pub bound: SocketAddr,
}

/// All of them.
pub struct Ports {
    pub kafka: Port,
    pub internal: Port,
    pub http: Port,
}

impl Ports {
    pub fn claim(config: &ServeConfig) -> Result<Ports, ServeError> {
        Ok(Ports {
            kafka: Port::claim("kafka-addr", &config.kafka)?,
            internal: Port::claim("internal-addr", &config.internal)?,
            http: Port::claim("http-addr", &config.http)?,
        })
    }
}

impl Port {
    fn claim(setting: &'static str, endpoint: &Endpoint) -> Result<Port, ServeError> {
        let listen = &endpoint.listen;
        let address = listen.to_string();
        let resolved = listen.resolve().map_err(|source| ServeError::Resolve { setting, address, source })?;
        let claimed = acceptor::claim(&resolved).map_err(|source| bind_error(setting, listen, source))?;
        let bound = claimed.local_addr().map_err(|source| bind_error(setting, listen, source))?;
        Ok(Port { setting, endpoint: endpoint.clone(), claimed, bound })
    }

    /// The address that others are told.
    pub fn advertised(&self) -> HostPort {
        self.endpoint.advertised_as(self.bound.port())
    }

    /// Hands the socket to whoever listens on it.
    pub fn listen<T>(self, listen: impl FnOnce(Claimed) -> io::Result<T>) -> Result<T, ServeError> {
        listen(self.claimed).map_err(|source| bind_error(self.setting, &self.endpoint.listen, source))
    }

    /// The socket, for whoever reports errors by himself.
    pub fn into_claimed(self) -> Claimed {
        self.claimed
    }
}

fn bind_error(setting: &'static str, address: &HostPort, source: io::Error) -> ServeError {
    ServeError::Bind { setting, address: address.to_string(), source }
}
