//! What operators and machines ask over HTTP, on the metadata core's runtime.
//!
//! - [`health`]: `/health/live`, `/health/ready`, `/health/safe-to-restart`; [`scrape`]: `/metrics`;
//!   [`console`]: `/`, `/api/v1`.
//!
//! Each module brings its own routes with the state that they read; `serve.rs` puts them together. Connections are bounded
//! ([`listener`], [`patience`]). Nothing here may keep the runtime busy for long: the metadata quorum runs on it.

pub mod console;
pub mod health;
mod listener;
mod patience;
pub mod scrape;

use std::io;
use std::net::SocketAddr;

use axum::Router;

use crate::acceptor::Claimed;

/// Starts to serve `routes` on the current runtime; returns the bound address.
pub fn serve(claimed: Claimed, routes: Router) -> io::Result<SocketAddr> {
    let listener = claimed.listen()?;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener::Bounded::new(listener), routes).await {
            tracing::error!(%error, "the HTTP server ended");
        }
    });
    Ok(address)
}
