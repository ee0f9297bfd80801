//! Health: whether the process lives, whether it can serve, and what it is.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::App;

/// Within what time the database has to say its version.
const ANSWER: Duration = Duration::from_millis(1500);

/// The paths, and the spellings that Kubernetes knows.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/health/live", get(live))
        .route("/livez", get(live))
        .route("/health/ready", get(ready))
        .route("/readyz", get(ready))
        .route("/healthz", get(ready))
        .route("/health/status", get(status))
}

async fn live() -> &'static str {
    "live\n"
}

/// Ready: the database answers, and the server is not about to end.
async fn ready(State(app): State<App>) -> Response {
    let not_ready = |why| (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], why).into_response();
    match (app.stop.is_cancelled(), app.database.answers()) {
        (true, _) => not_ready("draining\n"),
        (false, false) => not_ready("the database does not answer\n"),
        (false, true) => "ready\n".into_response(),
    }
}

async fn status(State(app): State<App>) -> Json<Value> {
    let store = app.tasker.store();
    let schema = match app.database.answers() {
        // it may have gone silent just now
        true => timeout(ANSWER, store.schema_version()).await.ok().and_then(Result::ok),
        false => None,
    };
    Json(json!({
        "status": if app.stop.is_cancelled() { "draining" } else if schema.is_some() { "ready" } else { "unavailable" },
        "version": env!("CARGO_PKG_VERSION"),
        "database": if schema.is_some() { "answers" } else { "does_not_answer" },
        "schema_version": schema,
        "embedded": store.is_single(),
    }))
}
