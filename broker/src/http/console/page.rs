//! The page itself: one document with its style and script, put together when this program is compiled.
//!
//! It loads nothing else. Its content security policy lets nothing run but this very script, by its hash, and lets it ask
//! nobody but this broker.

use std::io::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::Console;

const DOCUMENT: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// One after the other in one scope.
const SCRIPT: &str = concat!(
    "\n\"use strict\";\n",
    include_str!("page/dom.js"),
    include_str!("page/api.js"),
    include_str!("page/table.js"),
    include_str!("page/plot.js"),
    include_str!("page/live.js"),
    include_str!("page/overview.js"),
    include_str!("page/brokers.js"),
    include_str!("page/topics.js"),
    include_str!("page/records.js"),
    include_str!("page/groups.js"),
    include_str!("page/main.js"),
);

/// The page, ready to be sent.
pub struct Page {
    html: Bytes,
    gzipped: Bytes,
    etag: HeaderValue,
    policy: HeaderValue,
}

impl Page {
    pub fn assembled() -> Page {
        let html = DOCUMENT.replace("/*STYLE*/", STYLE).replace("/*SCRIPT*/", SCRIPT);
        let hash = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
        let policy = format!(
            "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash(SCRIPT),
            hash(STYLE)
        );
        let ascii = |text: String| HeaderValue::from_str(&text).expect("base64 and words");
        let mut gzipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzipped.write_all(html.as_bytes()).expect("memory takes all");
        Page {
            etag: ascii(format!("\"{}\"", &hash(&html)[..22])),
            policy: ascii(policy),
            gzipped: gzipped.finish().expect("memory takes all").into(),
            html: html.into(),
        }
    }
}

pub async fn page(State(console): State<Arc<Console>>, headers: HeaderMap) -> Response {
    let Page { html, gzipped, etag, policy } = &console.page;
    let about = [
        (header::ETAG, etag.clone()),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::VARY, HeaderValue::from_static("accept-encoding")),
        (header::CONTENT_SECURITY_POLICY, policy.clone()),
    ];
    let says = |name: HeaderName, word: &dyn Fn(&str) -> bool| {
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(',')).any(word)
    };
    if says(header::IF_NONE_MATCH, &|known| known.trim().trim_start_matches("W/").as_bytes() == etag.as_bytes()) {
        return (StatusCode::NOT_MODIFIED, about).into_response();
    }
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))];
    match says(header::ACCEPT_ENCODING, &|coding| coding.trim().eq_ignore_ascii_case("gzip")) {
        true => (about, kind, [(header::CONTENT_ENCODING, "gzip")], gzipped.clone()).into_response(),
        false => (about, kind, html.clone()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it weighs on its way: it is opened over bad lines in bad times.
    const GZIPPED_BYTES_MAX: usize = 24 << 10;

    #[test]
    fn the_page_is_whole_small_and_loads_nothing() {
        let page = Page::assembled();
        assert!(page.gzipped.len() < GZIPPED_BYTES_MAX, "{} bytes", page.gzipped.len());
        let html = std::str::from_utf8(&page.html).unwrap();
        assert_eq!(html.matches("<script>").count(), 1);
        assert!(html.contains(SCRIPT) && html.contains(STYLE));
        for foreign in ["http://", "https://", "@import", "url(", "innerHTML", "insertAdjacentHTML", "eval(", " src="] {
            // The namespace of SVG is a name, not an address.
            let rest = html.replace("http://www.w3.org/2000/svg", "");
            assert!(!rest.contains(foreign), "{foreign}");
        }
        // Else the script would end there.
        assert_eq!(html.matches("</script").count(), 1);
    }
}
