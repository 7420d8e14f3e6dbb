//! Keeps pages of other sites from reading the console through the browser of somebody who can reach it.
//!
//! A browser lets a page read only what comes from the page's own origin, so no header of CORS is ever sent. What is left is a
//! name that another site has pointed at this address (DNS rebinding): then the page's origin is that name, and the browser
//! sends it as `Host`. So only names that are this broker's are served: IP addresses, `localhost`, and those configured.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Console;
use super::answer::ConsoleError;
use crate::config::{Endpoint, Host};

/// Longest name that is repeated in an error.
const SHOWN_BYTES_MAX: usize = 253;

/// The names that this broker goes by.
#[derive(Clone, Debug)]
pub struct Hosts(Vec<String>);

impl Hosts {
    pub fn new(http: &Endpoint) -> Hosts {
        let names = [&http.listen.host, &http.advertised.host].into_iter().filter_map(|host| match host {
            Host::Name(name) => Some(name.to_ascii_lowercase()),
            Host::Ip(_) => None,
        });
        Hosts(names.collect())
    }

    /// Whether a `Host` header names this broker. Its port does not matter: it may have been forwarded.
    fn are_called(&self, host: &str) -> bool {
        let name = match host.strip_prefix('[') {
            Some(rest) => {
                let Some((address, _)) = rest.split_once(']') else { return false };
                return matches!(address.parse(), Ok(IpAddr::V6(_)));
            }
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        matches!(name.parse(), Ok(IpAddr::V4(_)))
            || name == "localhost"
            || name.ends_with(".localhost")
            || self.0.contains(&name)
    }
}

/// Lets a request through whose host is this broker's, and adds what browsers are to know of the answer.
pub async fn guard(State(console): State<Arc<Console>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).map_or(Ok(""), HeaderValue::to_str).unwrap_or("");
    // HTTP/1.0 clients may send none; no browser is that old.
    let called = host.is_empty() && request.headers().get(header::HOST).is_none() || console.hosts.are_called(host);
    let mut response = match called {
        true => next.run(request).await,
        false => {
            let host = host.chars().take(SHOWN_BYTES_MAX).collect();
            ConsoleError::ForeignHost { host }.into_response()
        }
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // The page has its own, which lets its script run.
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HostPort;

    fn hosts(listen: &str, advertised: &str) -> Hosts {
        let address = |text: &str| text.parse::<HostPort>().unwrap();
        Hosts::new(&Endpoint { listen: address(listen), advertised: address(advertised) })
    }

    #[test]
    fn addresses_localhost_and_configured_names_are_this_broker_whatever_the_port() {
        let hosts = hosts("0.0.0.0:9094", "Broker-1.example:9094");
        for host in [
            "127.0.0.1",
            "127.0.0.1:9094",
            "10.1.2.3:80",
            "[::1]",
            "[::1]:9094",
            "[fe80::1]:1",
            "localhost",
            "LOCALHOST:1",
            "localhost.:1",
            "a.localhost:1",
            "broker-1.example",
            "BROKER-1.EXAMPLE:31000",
        ] {
            assert!(hosts.are_called(host), "{host}");
        }
    }

    #[test]
    fn names_that_anybody_may_point_here_are_not() {
        let hosts = hosts("127.0.0.1:9094", "127.0.0.1:9094");
        for host in [
            "",
            "evil.example",
            "evil.example:9094",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "evillocalhost",
            "[evil]",
            "[::1",
            "[127.0.0.1]",
            "broker-1.example",
            "127.0.0.1@evil.example",
            "2130706433",
            "0x7f.1",
            "localhost/../evil",
            "\u{130}localhost",
        ] {
            assert!(!hosts.are_called(host), "{host}");
        }
    }
}
