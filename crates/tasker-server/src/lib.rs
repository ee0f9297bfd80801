//! The doors of Tasker over HTTP: REST under `/v1`, events as they happen, health. It has no rule of its own: each route is one call on the
//! library, and the views' words go out unchanged.

mod answer;
mod database;
mod etag;
mod health;
mod problem;
mod rest;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use tasker::Tasker;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::OpenApi;

pub use problem::Problem;

/// The greatest size of a request's body, in bytes, but for definitions of workflows: 1 MiB.
pub const MAX_BODY: usize = tasker::json::MAX_BYTES;
/// After how long a request that is not done is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// What all routes share.
#[derive(Clone)]
pub(crate) struct App {
    tasker: Tasker,
    database: database::Watch,
    /// Cancelled when the server is to end: what streams ends, and it is no longer ready.
    stop: CancellationToken,
}

/// The routes, and what they are.
pub fn routes(tasker: Tasker, stop: CancellationToken) -> (Router, OpenApi) {
    let app = App { database: database::Watch::start(tasker.clone(), stop.clone()), tasker, stop };
    let (rest, openapi) = rest::routes().split_for_parts();
    let document = openapi.clone();
    let rest = rest
        .layer(middleware::from_fn(etag::tag))
        .layer(middleware::from_fn_with_state(app.clone(), database::guard))
        .layer(DefaultBodyLimit::max(MAX_BODY));
    let router = Router::new()
        .merge(health::routes())
        .merge(rest)
        .route("/openapi.json", axum::routing::get(async move || axum::Json(document)))
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method)
        .layer(middleware::from_fn(only_local))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .with_state(app);
    (router, openapi)
}

/// Without keys whoever reaches the server may do everything: so only this machine's own programs may. A page in a browser is none of them, whatever
/// name it has found for this address: a request that names another host, or comes from another origin, is refused.
async fn only_local(request: Request, next: Next) -> Response {
    if is_local(request.headers()) {
        return next.run(request).await;
    }
    let detail =
        "without keys this server answers this machine's own programs only, under localhost or a loopback address";
    Problem::new(StatusCode::FORBIDDEN, "not_local", detail).into_response()
}

fn is_local(headers: &HeaderMap) -> bool {
    let is_local = |host: &str| {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    let text = |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let origin = text(header::ORIGIN).map(|origin| origin.split_once("://").map_or("", |(_, host)| host));
    text(header::HOST).is_some_and(is_local) && origin.is_none_or(is_local)
}

/// Listens on an address that may be served.
///
/// # Errors
/// The address is taken, or is not this machine's; others than this machine can reach it.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    require_loopback(address)?;
    TcpListener::bind(address).await
}

fn require_loopback(address: SocketAddr) -> io::Result<()> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    let why = "without keys the server listens on a loopback address only, since whoever reaches it may do everything";
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

/// Serves until `stop` is cancelled; what is being answered then is answered to its end.
///
/// # Errors
/// The listener's; an address that others than this machine can reach.
pub async fn serve(listener: TcpListener, tasker: Tasker, stop: CancellationToken) -> io::Result<()> {
    require_loopback(listener.local_addr()?)?;
    let (router, _) = routes(tasker, stop.clone());
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}
