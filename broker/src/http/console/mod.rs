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
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

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
    requests: Arc<Semaphore>,
    reads: Arc<Semaphore>,
}

impl Console {
    pub fn new(mode: ConsoleMode, http: &Endpoint) -> Arc<Console> {
        Arc::new(Console {
            mode,
            hosts: Hosts::new(http),
            page: Page::assembled(),
            cluster: OnceLock::new(),
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            reads: Arc::new(Semaphore::new(READS_MAX)),
        })
    }

    /// There is a cluster to tell of from now on.
    pub fn joined(&self, peers: Peers, settings: Arc<Settings>) {
        // Once in the life of a process.
        let _ = self.cluster.set(Cluster { peers, settings });
    }

    /// A place among the reads and then one among all requests: whoever waits for the first must not hold one of the second.
    async fn read_turn(&self) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), AcquireError> {
        let read = self.reads.clone().acquire_owned().await?;
        Ok((read, self.requests.clone().acquire_owned().await?))
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
        .route("/api/v1/groups", get(groups::groups))
        .route("/api/v1/groups/{id}", get(groups::group))
        .route("/api/{*rest}", get(answer::no_such_path))
        .route_layer(middleware::from_fn_with_state(console.clone(), in_turn));
    let reads = Router::new()
        .route("/api/v1/topics/{name}/records", get(records::records))
        .route_layer(middleware::from_fn_with_state(console.clone(), reads_in_turn));
    Router::new()
        .route("/", get(page::page))
        .merge(api)
        .merge(reads)
        .route_layer(middleware::from_fn_with_state(console.clone(), guard::guard))
        .with_state(console)
}

/// Few requests at a time, and each with a deadline.
async fn in_turn(State(console): State<Arc<Console>>, request: Request, next: Next) -> Response {
    answered(tokio::time::timeout(TURN_TIME_MAX, console.requests.clone().acquire_owned()).await, request, next).await
}

/// The same of reads, of which there are fewer.
async fn reads_in_turn(State(console): State<Arc<Console>>, request: Request, next: Next) -> Response {
    answered(tokio::time::timeout(TURN_TIME_MAX, console.read_turn()).await, request, next).await
}

async fn answered<T: Send + 'static, E>(
    turn: Result<Result<T, AcquireError>, E>,
    request: Request,
    next: Next,
) -> Response {
    let Ok(Ok(turn)) = turn else { return ConsoleError::Busy.into_response() };
    // A client that hangs up ends nothing that other threads do for it, so its turn lasts as long as that.
    let running = tokio::spawn(async move {
        let response = next.run(request).await;
        drop(turn);
        response
    });
    match tokio::time::timeout(REQUEST_TIME_MAX, running).await {
        Ok(response) => response.expect("a panic ends the process"),
        Err(_) => ConsoleError::Late.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::HostPort;

    fn console() -> Arc<Console> {
        let address: HostPort = "127.0.0.1:9094".parse().unwrap();
        let endpoint = Endpoint { listen: address.clone(), advertised: address };
        Console::new(ConsoleMode::Records, &endpoint)
    }

    #[tokio::test]
    async fn a_read_that_waits_for_others_keeps_no_other_request_waiting() {
        let console = console();
        let running = console.reads.acquire_many(READS_MAX as u32).await.unwrap();
        let mut waiting = pin!(console.read_turn());
        assert!(poll!(waiting.as_mut()).is_pending());
        assert_eq!(console.requests.available_permits(), REQUESTS_MAX);
        drop(running);
        let turn = waiting.await.unwrap();
        assert_eq!(console.requests.available_permits(), REQUESTS_MAX - 1, "it is one of all requests");
        drop(turn);
        assert_eq!(
            (console.requests.available_permits(), console.reads.available_permits()),
            (REQUESTS_MAX, READS_MAX)
        );
    }

    /// Of a console without a cluster, over a socket.
    async fn asked(console: &Arc<Console>, path: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let routes = routes(console.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await });
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        serving.abort();
        answer
    }

    #[tokio::test]
    async fn a_turn_lasts_as_long_as_what_is_done_in_it() {
        let console = console();
        let (go_on, wait) = tokio::sync::watch::channel(false);
        let slow = move || {
            let mut wait = wait.clone();
            async move {
                let _ = wait.wait_for(|go_on| *go_on).await;
                "done"
            }
        };
        let turns = middleware::from_fn_with_state(console.clone(), in_turn);
        let routes = Router::new().route("/slow", get(slow)).route_layer(turns);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await });
        let taken = |turns| {
            let console = console.clone();
            async move {
                while console.requests.available_permits() != REQUESTS_MAX - turns {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        };
        for turns in 1..=REQUESTS_MAX {
            let mut socket = TcpStream::connect(address).await.unwrap();
            socket.write_all(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
            taken(turns).await;
            socket.shutdown().await.unwrap();
            drop(socket);
        }
        // The server has seen that they are gone when it has got to one that came later.
        let answer = asked(&console, "/api/v1/cluster").await;
        assert!(answer.contains(&ConsoleError::Busy.to_string()), "{answer}");
        go_on.send(true).unwrap();
        taken(0).await;
        serving.abort();
    }

    #[tokio::test]
    async fn only_reads_want_a_place_among_reads() {
        let console = console();
        // As if none came free in time.
        console.reads.close();
        let busy = ConsoleError::Busy.to_string();
        let answer = asked(&console, "/api/v1/topics/t/records").await;
        assert!(answer.contains(&busy) && answer.contains("retry-after: 1"), "{answer}");
        for path in ["/api/v1/cluster", "/api/v1/topics", "/api/v1/topics/t"] {
            let answer = asked(&console, path).await;
            assert!(answer.contains(&ConsoleError::Joining.to_string()), "{path}: {answer}");
        }
    }
}
