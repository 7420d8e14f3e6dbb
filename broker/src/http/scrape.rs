//! `/metrics`, in the Prometheus text format or in OpenMetrics, as the client wants it.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use instruments::Format;

use crate::metrics::Scraper;

/// The pages of this module.
pub fn routes(scraper: Arc<Scraper>) -> Router {
    Router::new().route("/metrics", get(metrics_text)).with_state(scraper)
}

async fn metrics_text(State(scraper): State<Arc<Scraper>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    ([(header::CONTENT_TYPE, format.content_type())], scraper.scrape(format).await).into_response()
}
