//! Finds out what listens at an address where the protocol that was meant is not spoken: a broker has three ports, and giving
//! one for the other is the commonest mistake.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connection::Connection;
use crate::internal::handshake::HandshakeError;
use crate::internal::links;

/// How long each attempt may take.
const ATTEMPT_TIME_MAX: Duration = Duration::from_secs(1);

/// What is spoken at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Spoken {
    /// Nobody listens.
    Nothing,
    Kafka,
    /// Ringlog's own protocol between brokers.
    Internal,
    Http,
    /// None of these, or too slowly.
    Unknown,
}

/// Asks in each of the protocols.
pub(in crate::cli) async fn what_is_spoken(host: &str, port: u16) -> Spoken {
    match timeout(ATTEMPT_TIME_MAX, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => return Spoken::Nothing,
        Ok(Err(_)) | Err(_) => return Spoken::Unknown,
    }
    if Connection::open(host, port, std::time::Instant::now() + ATTEMPT_TIME_MAX).await.is_ok() {
        return Spoken::Kafka;
    }
    if speaks_http(host, port).await {
        return Spoken::Http;
    }
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    match timeout(ATTEMPT_TIME_MAX, links::welcome(&format!("{host}:{port}"), None)).await {
        Ok(Ok(_) | Err(HandshakeError::Refused(_))) => Spoken::Internal,
        Ok(Err(_)) | Err(_) => Spoken::Unknown,
    }
}

async fn speaks_http(host: &str, port: u16) -> bool {
    let asked = async {
        let mut socket = TcpStream::connect((host, port)).await?;
        socket.write_all(b"GET /health/live HTTP/1.0\r\n\r\n").await?;
        let mut begin = [0; 5];
        socket.read_exact(&mut begin).await?;
        std::io::Result::Ok(&begin == b"HTTP/")
    };
    matches!(timeout(ATTEMPT_TIME_MAX, asked).await, Ok(Ok(true)))
}
