//! Whether this broker is alive and serves: `/health/live`, `/health/ready`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metadata::image::MetadataImage;
use protocol::BrokerId;
use serde_json::json;
use tokio::sync::watch;

/// How far the broker has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Readiness {
    /// The cluster's controller is yet to register this broker; the Kafka port is closed.
    Joining = 0,
    /// Logs are being recovered, or the controller is yet to let this broker in; the Kafka port is closed.
    Recovering = 1,
    Ready = 2,
    /// The controller has fenced this broker: it did not hear of it in time. Clients are sent elsewhere.
    Fenced = 3,
    Stopping = 4,
}

/// The readiness as every thread sees it.
#[derive(Clone)]
pub struct Health {
    state: Arc<AtomicU8>,
}

impl Health {
    pub fn new(readiness: Readiness) -> Health {
        Health { state: Arc::new(AtomicU8::new(readiness as u8)) }
    }

    pub fn set(&self, readiness: Readiness) {
        self.state.store(readiness as u8, Ordering::Release);
    }

    /// Ready from now on whenever the controller lets this broker serve, until it stops.
    pub fn follow(&self, mut images: watch::Receiver<MetadataImage>, broker: BrokerId) {
        self.set(Readiness::Ready);
        let health = self.clone();
        tokio::spawn(async move {
            while images.changed().await.is_ok() {
                let (from, to) = match images.borrow_and_update().is_unfenced(broker) {
                    true => (Readiness::Fenced, Readiness::Ready),
                    false => (Readiness::Ready, Readiness::Fenced),
                };
                let (from, to) = (from as u8, to as u8);
                let _ = health.state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed);
            }
        });
    }

    fn answer(&self) -> (StatusCode, &'static str) {
        match self.state.load(Ordering::Acquire) {
            0 => (StatusCode::SERVICE_UNAVAILABLE, "waiting for the controller"),
            1 => (StatusCode::SERVICE_UNAVAILABLE, "logs are being recovered"),
            2 => (StatusCode::OK, "ready"),
            3 => (StatusCode::SERVICE_UNAVAILABLE, "fenced by the controller"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        }
    }
}

/// The pages of this module.
pub fn routes(health: Health) -> Router {
    Router::new().route("/health/live", get(live)).route("/health/ready", get(ready)).with_state(health)
}

async fn live() -> Response {
    json_response(StatusCode::OK, "alive")
}

async fn ready(State(health): State<Health>) -> Response {
    let (status, reason) = health.answer();
    json_response(status, reason)
}

fn json_response(status: StatusCode, reason: &str) -> Response {
    let body = json!({ "status": if status.is_success() { "ok" } else { "unavailable" }, "reason": reason });
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
