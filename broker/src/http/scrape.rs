//! `/metrics`, in the Prometheus text format.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::group_lag::Lag;
use crate::metrics::{self, ShardMetrics};

/// What a scrape reads.
#[derive(Clone)]
pub struct Sources {
    pub shards: Arc<[Arc<ShardMetrics>]>,
    pub lag: Arc<Lag>,
}

/// The pages of this module.
pub fn routes(sources: Sources) -> Router {
    Router::new().route("/metrics", get(metrics_text)).with_state(sources)
}

async fn metrics_text(State(sources): State<Sources>) -> Response {
    let mut text = metrics::render(&sources.shards);
    text.push_str(&sources.lag.text());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
