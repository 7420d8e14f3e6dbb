//! The console: one page at `/` and the JSON that it reads, under `/api/v1`. See docs/console.md.
//!
//! Read-only, and from any broker about the whole cluster: metadata is this broker's image, what leaders alone know is asked
//! of them over the internal port ([`peers`]), groups through the Kafka port ([`groups`]). There is no log-in, so
//! [`guard`] keeps other sites' pages out, and `--console` says whether records are shown.
//!
//! The metadata quorum runs on the same thread: whatever takes time (laying out JSON, decompressing) is done elsewhere. Requests
//! are few at a time, each has a deadline, and each answer a size that does not depend on what is asked for.
//!
//! - [`page`]: the page; [`cluster`], [`topics`], [`groups`], [`records`] with [`decode`], [`flow`]: what is told.
//! - [`answer`]: how it is told, and errors.
//!
//! Deliberately absent: anything that changes the cluster, log-in, and CORS.

mod answer;
mod cluster;
mod decode;
mod flow;
mod groups;
mod guard;
mod page;
mod peers;
mod query;
mod records;
mod topics;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Semaphore;

use crate::config::{ConsoleMode, Endpoint};
use crate::settings::Settings;
use answer::ConsoleError;
use guard::Hosts;
use page::Page;
pub use peers::Peers;

/// Requests that are worked on at a time.
const REQUESTS_MAX: usize = 8;
/// Of these, such as read records: each holds some megabytes.
const READS_MAX: usize = 2;
/// How long a request waits for its turn.
const TURN_TIME_MAX: Duration = Duration::from_secs(2);
/// How long a request may take once it has its turn.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);

/// What there is to tell of once this broker has joined its cluster.
struct Cluster {
    peers: Peers,
    /// Its static configs change with a reload.
    settings: Arc<Settings>,
}

/// What all requests share.
pub struct Console {
    mode: ConsoleMode,
    hosts: Hosts,
    page: Page,
    cluster: OnceLock<Cluster>,
    requests: Semaphore,
    reads: Semaphore,
}

impl Console {
    pub fn new(mode: ConsoleMode, http: &Endpoint) -> Arc<Console> {
        Arc::new(Console {
            mode,
            hosts: Hosts::new(http),
            page: Page::assembled(),
            cluster: OnceLock::new(),
            requests: Semaphore::new(REQUESTS_MAX),
            reads: Semaphore::new(READS_MAX),
        })
    }

    /// There is a cluster to tell of from now on.
    pub fn joined(&self, peers: Peers, settings: Arc<Settings>) {
        // Once in the life of a process.
        let _ = self.cluster.set(Cluster { peers, settings });
    }

    fn cluster(&self) -> Result<&Cluster, ConsoleError> {
        self.cluster.get().ok_or(ConsoleError::Joining)
    }

    fn peers(&self) -> Result<&Peers, ConsoleError> {
        Ok(&self.cluster()?.peers)
    }
}

/// The pages of this module; none if the console is off.
pub fn routes(console: Arc<Console>) -> Router {
    if console.mode == ConsoleMode::Off {
        return Router::new();
    }
    let api = Router::new()
        .route("/api/v1/cluster", get(cluster::cluster))
        .route("/api/v1/shards", get(flow::shards))
        .route("/api/v1/live", get(flow::live))
        .route("/api/v1/topics", get(topics::topics))
        .route("/api/v1/topics/{name}", get(topics::topic))
        .route("/api/v1/topics/{name}/records", get(records::records))
        .route("/api/v1/groups", get(groups::groups))
        .route("/api/v1/groups/{id}", get(groups::group))
        .route("/api/{*rest}", get(answer::no_such_path))
        .route_layer(middleware::from_fn_with_state(console.clone(), in_turn));
    Router::new()
        .route("/", get(page::page))
        .merge(api)
        .route_layer(middleware::from_fn_with_state(console.clone(), guard::guard))
        .with_state(console)
}

/// Few requests at a time, and each with a deadline.
async fn in_turn(State(console): State<Arc<Console>>, request: Request, next: Next) -> Response {
    let Ok(Ok(_turn)) = tokio::time::timeout(TURN_TIME_MAX, console.requests.acquire()).await else {
        return ConsoleError::Busy.into_response();
    };
    match tokio::time::timeout(REQUEST_TIME_MAX, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ConsoleError::Late.into_response(),
    }
}
