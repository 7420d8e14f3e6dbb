//! `HOST:PORT` as operators write it.
//!
//! A host is an IPv4 address, an IPv6 address in brackets or a DNS name. Reading checks a name's form only; whether it
//! exists is asked when [`HostPort::resolve`] is called. IPv6 zone ids (`fe80::1%eth0`) are not supported.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// Longest DNS name in text form (RFC 1035, 2.3.4).
const NAME_BYTES_MAX: usize = 253;
/// Longest label of a DNS name (RFC 1035, 2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// Where a port is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    Ip(IpAddr),
    /// A DNS name, as given.
    Name(String),
}

impl Host {
    /// Whether it stands for every local address (`0.0.0.0`, `::`), which nobody can connect to from elsewhere.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        matches!(self, Host::Ip(ip) if ip.is_unspecified())
    }

    /// Whether only this machine reaches it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            Host::Ip(ip) => ip.is_loopback(),
            Host::Name(name) => name.eq_ignore_ascii_case("localhost"),
        }
    }
}

impl fmt::Display for Host {
    /// Without brackets: what a resolver or a Kafka `host` field takes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Ip(ip) => ip.fmt(f),
            Host::Name(name) => f.write_str(name),
        }
    }
}

/// A host and a TCP port; displayed as it is written, IPv6 in brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    pub host: Host,
    /// 0 means any free port when bound, and "the port that was bound" when advertised.
    pub port: u16,
}

impl HostPort {
    /// The addresses to bind or connect to: of a name, all that the system's resolver gives, so this may block.
    ///
    /// # Errors
    /// If the resolver fails or does not know the name.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        match &self.host {
            Host::Ip(ip) => Ok(vec![SocketAddr::new(*ip, self.port)]),
            Host::Name(name) => Ok((name.as_str(), self.port).to_socket_addrs()?.collect()),
        }
    }
}

/// Why a text is no `HOST:PORT`. Messages continue a sentence that has named the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostPortError {
    #[error("has no port; write HOST:PORT, as in {host}:9092")]
    NoPort { host: String },
    #[error("has no host; write 0.0.0.0:{port} for every IPv4 address or [::]:{port} for every address")]
    NoHost { port: String },
    #[error("has the port {port:?}, which is not a number from 0 to 65535")]
    BadPort { port: String },
    #[error("looks like an IPv6 address without brackets; write it as in [::1]:9092")]
    Unbracketed,
    #[error("has {address:?} in brackets, which is not an IPv6 address")]
    BadIpv6 { address: String },
    #[error("has the host {host:?}, which is neither an IP address nor a DNS name")]
    BadHost { host: String },
}

impl FromStr for HostPort {
    type Err = HostPortError;

    fn from_str(text: &str) -> Result<HostPort, HostPortError> {
        if let Some(rest) = text.strip_prefix('[') {
            return bracketed(rest);
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(HostPortError::NoPort { host: text.to_owned() });
        };
        if host.contains(':') {
            return Err(HostPortError::Unbracketed);
        }
        if host.is_empty() {
            return Err(HostPortError::NoHost { port: port.to_owned() });
        }
        let port = parse_port(port)?;
        Ok(HostPort { host: parse_host(host)?, port })
    }
}

/// `::1]:9092`, the opening bracket being gone.
fn bracketed(rest: &str) -> Result<HostPort, HostPortError> {
    let Some((address, after)) = rest.split_once(']') else {
        return Err(HostPortError::BadIpv6 { address: rest.to_owned() });
    };
    let ip = address.parse().map_err(|_| HostPortError::BadIpv6 { address: address.to_owned() })?;
    match after.strip_prefix(':') {
        Some(port) => Ok(HostPort { host: Host::Ip(IpAddr::V6(ip)), port: parse_port(port)? }),
        None => Err(HostPortError::NoPort { host: format!("[{address}]") }),
    }
}

fn parse_port(port: &str) -> Result<u16, HostPortError> {
    let digits_only = port.bytes().all(|b| b.is_ascii_digit());
    port.parse().ok().filter(|_| digits_only).ok_or_else(|| HostPortError::BadPort { port: port.to_owned() })
}

fn parse_host(host: &str) -> Result<Host, HostPortError> {
    if let Ok(ip) = host.parse() {
        return Ok(Host::Ip(IpAddr::V4(ip)));
    }
    let labels = || host.strip_suffix('.').unwrap_or(host).split('.');
    // A name whose last label is a number is an IPv4 address gone wrong (WHATWG URL, "ends in a number").
    let numeric = labels().next_back().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
    if host.len() > NAME_BYTES_MAX || numeric || !labels().all(is_label) {
        return Err(HostPortError::BadHost { host: host.to_owned() });
    }
    Ok(Host::Name(host.to_owned()))
}

/// Underscores are let through: container networks use them.
fn is_label(label: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=LABEL_BYTES_MAX).contains(&label.len())
        && label.bytes().all(allowed)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            host => write!(f, "{host}:{}", self.port),
        }
    }
}

/// A listener: where it binds, and what others are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub listen: HostPort,
    /// Never a wildcard. Its port is 0 where the bound one is to be used: see [`Endpoint::advertised_as`].
    pub advertised: HostPort,
}

impl Endpoint {
    /// What to tell others once the listener is bound to `bound_port`.
    #[must_use]
    pub fn advertised_as(&self, bound_port: u16) -> HostPort {
        let port = if self.advertised.port == 0 { bound_port } else { self.advertised.port };
        HostPort { host: self.advertised.host.clone(), port }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Result<HostPort, HostPortError> {
        text.parse()
    }

    #[test]
    fn accepted_forms_display_as_written() {
        for text in
            ["127.0.0.1:9092", "[::1]:9092", "[::]:0", "localhost:0", "broker-1.example.com:65535", "a_b:1", "x.:9"]
        {
            assert_eq!(parsed(text).map(|addr| addr.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn the_host_of_an_ipv6_address_has_no_brackets() {
        assert_eq!(parsed("[::1]:9092").map(|addr| addr.host.to_string()).as_deref(), Ok("::1"));
    }

    #[test]
    fn addresses_resolve_to_themselves_and_names_by_the_system() {
        assert_eq!(parsed("[::1]:9").unwrap().resolve().unwrap(), ["[::1]:9".parse().unwrap()]);
        let localhost = parsed("localhost:9").unwrap().resolve().unwrap();
        assert!(!localhost.is_empty() && localhost.iter().all(|addr| addr.ip().is_loopback()), "{localhost:?}");
    }

    #[test]
    fn refused_forms_say_what_to_write() {
        let cases = [
            ("localhost", "has no port; write HOST:PORT, as in localhost:9092"),
            ("[::1]", "has no port; write HOST:PORT, as in [::1]:9092"),
            (":9092", "has no host; write 0.0.0.0:9092 for every IPv4 address or [::]:9092 for every address"),
            ("::1:9092", "looks like an IPv6 address without brackets; write it as in [::1]:9092"),
            ("h:65536", r#"has the port "65536", which is not a number from 0 to 65535"#),
            ("h:+1", r#"has the port "+1", which is not a number from 0 to 65535"#),
            ("h:", r#"has the port "", which is not a number from 0 to 65535"#),
            ("[1.2.3.4]:1", r#"has "1.2.3.4" in brackets, which is not an IPv6 address"#),
            ("[fe80::1%eth0]:1", r#"has "fe80::1%eth0" in brackets, which is not an IPv6 address"#),
            ("[::1", r#"has "::1" in brackets, which is not an IPv6 address"#),
            ("256.1.1.1:1", r#"has the host "256.1.1.1", which is neither an IP address nor a DNS name"#),
            ("-a:1", r#"has the host "-a", which is neither an IP address nor a DNS name"#),
            ("a..b:1", r#"has the host "a..b", which is neither an IP address nor a DNS name"#),
            ("a b:1", r#"has the host "a b", which is neither an IP address nor a DNS name"#),
        ];
        for (text, expected) in cases {
            assert_eq!(parsed(text).map_err(|error| error.to_string()), Err(expected.to_owned()), "{text}");
        }
        assert!(parsed(&format!("{}:1", "a".repeat(64))).is_err());
        assert!(parsed(&format!("{}:1", ["a"; 128].join("."))).is_err());
    }

    #[test]
    fn an_advertised_port_of_zero_is_the_bound_one() {
        let endpoint = |advertised: &str| Endpoint {
            listen: parsed("127.0.0.1:0").unwrap(),
            advertised: parsed(advertised).unwrap(),
        };
        assert_eq!(endpoint("h:0").advertised_as(4711).to_string(), "h:4711");
        assert_eq!(endpoint("h:9").advertised_as(4711).to_string(), "h:9");
    }

    proptest! {
        #[test]
        fn any_text_is_an_error_or_comes_back(text in "[a-c0-9.:\\[\\]%-]{0,20}") {
            if let Ok(addr) = parsed(&text) {
                prop_assert_eq!(parsed(&addr.to_string()), Ok(addr));
            }
        }
    }
}
