//! ETags on what is read: who has it already is told so, and no more.

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};

/// Larger answers have none.
const MAX: usize = 4 << 20;

/// What is tagged: JSON, pictures, and the page of the document.
const KINDS: [&str; 5] = ["application/json", "image/svg+xml", "text/plain", "text/vnd.graphviz", "text/html"];

/// Adds an ETag to an answer, or answers that it has not changed.
pub(crate) async fn tag(request: Request, next: Next) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let response = next.run(request).await;
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_tagged = KINDS.contains(&kind.split(';').next().unwrap_or_default());
    let is_small = axum::body::HttpBody::size_hint(response.body()).exact().is_some_and(|size| size <= MAX as u64);
    if response.status() != StatusCode::OK || !is_tagged || !is_small {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let Ok(bytes) = to_bytes(body, MAX).await else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let hash = format!("{:x}", Sha256::digest(&bytes));
    let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", &hash[..32])) else {
        return Response::from_parts(head, Body::from(bytes));
    };
    let matches = |known: &HeaderValue| {
        known.to_str().is_ok_and(|known| {
            known
                .split(',')
                .map(|one| one.trim().trim_start_matches("W/"))
                .any(|one| one == "*" || one.as_bytes() == tag.as_bytes())
        })
    };
    let is_known = known.as_ref().is_some_and(matches);
    head.headers.insert(header::ETAG, tag);
    if is_known {
        head.status = StatusCode::NOT_MODIFIED;
        head.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(head, Body::empty());
    }
    Response::from_parts(head, Body::from(bytes))
}
