//! Our own style sheet, script and icon, embedded. Nothing is loaded from anywhere else, so an air-gapped host shows
//! the same pages.

use axum::{
    Router,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use sha2::{Digest, Sha256};

use crate::Realm;

struct Asset {
    content_type: &'static str,
    content: &'static str,
}

const STYLE: Asset = Asset { content_type: "text/css; charset=utf-8", content: include_str!("../assets/empery.css") };
const LIVE: Asset =
    Asset { content_type: "text/javascript; charset=utf-8", content: include_str!("../assets/live.js") };
const ICON: Asset = Asset { content_type: "image/svg+xml", content: include_str!("../assets/icon.svg") };

/// The files.
pub(crate) fn routes() -> Router<Realm> {
    Router::new()
        .route("/assets/empery.css", get(|headers: HeaderMap| async move { STYLE.answer(&headers) }))
        .route("/assets/live.js", get(|headers: HeaderMap| async move { LIVE.answer(&headers) }))
        .route("/assets/icon.svg", get(|headers: HeaderMap| async move { ICON.answer(&headers) }))
}

impl Asset {
    /// Asked for anew with each page, sent only when it changed: a new emperor's pages never meet an old one's files.
    fn answer(&self, headers: &HeaderMap) -> Response {
        let digest = Sha256::digest(self.content.as_bytes());
        let tag = format!("\"{}\"", digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect::<String>());
        let common = [(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
        let Ok(tag) = HeaderValue::from_str(&tag) else { return (common, self.content).into_response() };
        let known = headers.get(header::IF_NONE_MATCH) == Some(&tag);
        let common = (common, [(header::ETAG, tag)]);
        if known {
            return (StatusCode::NOT_MODIFIED, common).into_response();
        }
        (common, [(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type))], self.content).into_response()
    }
}
