//! The doors of Tasker over HTTP: REST under `/v1`, GraphQL at `/graphql`, events as they happen, health. It has no rule of its own: each route and each resolver is one call
//! on the library, and the views' words go out unchanged.

mod access;
mod acts;
mod answer;
mod connections;
mod database;
pub mod diagram;
mod docs;
mod etag;
mod following;
mod graphql;
mod health;
mod problem;
mod rest;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::DefaultBodyLimit, middleware, response::Redirect};
use tasker::Tasker;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::OpenApi;

pub use access::Access;
pub use graphql::schema as graphql_schema;
pub use problem::Problem;

/// The greatest size of a request's body, in bytes, but for definitions of workflows: 1 MiB.
pub const MAX_BODY: usize = tasker::json::MAX_BYTES;
/// After how long a request that is not done is given up, and so how long its statements may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What all routes share.
#[derive(Clone)]
pub(crate) struct App {
    tasker: Tasker,
    database: database::Watch,
    layouts: diagram::Layouts,
    door: access::Door,
    graphql: Arc<graphql::Graphql>,
    /// Who may read a definition now.
    definitions: Arc<Semaphore>,
    /// Places for those who follow what happens.
    followers: Arc<Semaphore>,
    /// Cancelled when the server is to end: what streams ends, and it is no longer ready.
    stop: CancellationToken,
}

/// The routes, and what they are.
pub fn routes(tasker: Tasker, access: Access, stop: CancellationToken) -> (Router, OpenApi) {
    let (rest, openapi) = rest::routes().split_for_parts();
    let app = App {
        database: database::Watch::start(tasker.clone(), stop.clone()),
        layouts: diagram::Layouts::default(),
        door: access::Door::new(access, &openapi),
        graphql: Arc::default(),
        definitions: Arc::new(Semaphore::new(1)),
        followers: Arc::new(Semaphore::new(following::MAX_FOLLOWERS)),
        tasker,
        stop,
    };
    let (document, page) = (openapi.clone(), docs::page(&openapi));
    let rest = rest
        .layer(middleware::from_fn(etag::tag))
        .layer(middleware::from_fn_with_state(app.clone(), access::enter))
        .layer(middleware::from_fn_with_state(app.clone(), database::guard))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(graphql::speak));
    // these are open to whoever reaches the server
    let router = Router::new()
        .merge(health::routes())
        .route("/openapi.json", axum::routing::get(async move || axum::Json(document)))
        .route("/docs", axum::routing::get(async move || page))
        .route("/", axum::routing::get(async || Redirect::temporary("/docs")))
        .layer(middleware::from_fn(etag::tag))
        .merge(rest)
        .fallback(problem::no_route)
        .method_not_allowed_fallback(problem::no_method)
        .layer(CatchPanicLayer::custom(problem::panicked))
        .with_state(app);
    (router, openapi)
}

/// Whether a server on an address asks for keys: it does where there are any, and has to where others than this machine can reach it.
///
/// # Errors
/// There are no keys, and others could reach it; the database's.
pub async fn access(tasker: &Tasker, address: SocketAddr) -> io::Result<Access> {
    let has_keys = tasker.store().has_keys().await.map_err(io::Error::other)?;
    if !has_keys && !address.ip().is_loopback() {
        let why = "there are no keys, and without keys the server listens on a loopback address only: `tasker key create` makes one";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(if has_keys { Access::Keys } else { Access::Open })
}

/// Serves until `stop` is cancelled; what is being answered then is answered to its end.
///
/// # Errors
/// The listener's; [`Access::Open`] on an address that others can reach.
pub async fn serve(listener: TcpListener, tasker: Tasker, access: Access, stop: CancellationToken) -> io::Result<()> {
    serve_with(listener, tasker, access, stop, Router::new()).await
}

/// The same for a developer: with GraphiQL, a page to ask GraphQL from, at `/graphiql`.
///
/// # Errors
/// As [`serve`].
pub async fn serve_dev(
    listener: TcpListener,
    tasker: Tasker,
    access: Access,
    stop: CancellationToken,
) -> io::Result<()> {
    serve_with(listener, tasker, access, stop, graphql::graphiql::routes()).await
}

async fn serve_with(
    listener: TcpListener,
    tasker: Tasker,
    access: Access,
    stop: CancellationToken,
    pages: Router,
) -> io::Result<()> {
    if access == Access::Open && !listener.local_addr()?.ip().is_loopback() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "without keys a server listens on a loopback address only",
        ));
    }
    let (router, _) = routes(tasker, access, stop.clone());
    connections::serve(listener, router.merge(pages), stop).await
}
