//! Whether this broker is alive, serves, and may be stopped: `/health/live`, `/health/ready`, `/health/safe-to-restart`.
//!
//! Status 200 or 503, and a JSON object that says why: `status` (`ok` or `unavailable`), `reason`, and `checks`, one object for
//! each component with its own `name`, `status` and `reason`. See docs/health.md.
//!
//! - [`live`], [`ready`]: from what this process knows of itself.
//! - [`restart`]: from what the controller says now; [`decision`] decides.

mod decision;
mod live;
mod ready;
mod restart;

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use crate::lease::Lease;
use crate::lifecycle::Lifecycle;
use crate::metadata_core::Observer;

/// What the pages read. `Clone` is cheap.
#[derive(Clone)]
pub struct Health {
    lifecycle: Lifecycle,
    serving: Arc<OnceLock<Serving>>,
    /// Held by whoever has the controller asked: one at a time, however many ask here.
    asking: Arc<Mutex<()>>,
}

/// What there is only once the broker serves.
pub struct Serving {
    pub observer: Observer,
    pub lease: Arc<Lease>,
}

impl Health {
    pub fn new(lifecycle: Lifecycle) -> Health {
        Health { lifecycle, serving: Arc::default(), asking: Arc::default() }
    }

    /// To be called once, when the Kafka port listens.
    pub fn serves(&self, serving: Serving) {
        let _ = self.serving.set(serving);
    }
}

/// The pages of this module.
pub fn routes(health: Health) -> Router {
    Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/health/safe-to-restart", get(safe_to_restart))
        .with_state(health)
}

async fn live(State(health): State<Health>) -> Report {
    live::report(&health.lifecycle)
}

async fn ready(State(health): State<Health>) -> Report {
    ready::report(&ready::Seen::of(&health))
}

async fn safe_to_restart(State(health): State<Health>) -> Report {
    restart::report(&health).await
}

/// One component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Check {
    name: String,
    status: Status,
    reason: String,
    /// What else there is to say of it.
    #[serde(flatten)]
    more: Map<String, Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Unavailable,
}

impl Check {
    fn new(name: impl Into<String>, ok: bool, reason: impl Into<String>) -> Check {
        let status = if ok { Status::Ok } else { Status::Unavailable };
        Check { name: name.into(), status, reason: reason.into(), more: Map::new() }
    }

    fn with(mut self, name: &str, value: impl Into<Value>) -> Check {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    fn is_ok(&self) -> bool {
        self.status == Status::Ok
    }
}

/// A page: fine if every check is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Report {
    status: Status,
    reason: String,
    checks: Vec<Check>,
}

impl Report {
    /// The reason is that of all checks that are not fine, or `fine`.
    fn of(checks: Vec<Check>, fine: &str) -> Report {
        let reasons: Vec<&str> = checks.iter().filter(|check| !check.is_ok()).map(|check| &*check.reason).collect();
        match reasons.is_empty() {
            true => Report { status: Status::Ok, reason: fine.to_owned(), checks },
            false => Report { status: Status::Unavailable, reason: reasons.join("; "), checks },
        }
    }
}

impl IntoResponse for Report {
    fn into_response(self) -> Response {
        let status = match self.status {
            Status::Ok => StatusCode::OK,
            Status::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        let body = serde_json::to_string(&self).expect("it holds nothing that JSON cannot");
        // An answer is of its moment.
        let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
        (status, headers, body).into_response()
    }
}
