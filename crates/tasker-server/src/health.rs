//! Health: whether the process lives, whether it can serve, and what it is.

use axum::{Json, Router, extract::State, http::StatusCode, routing::get};
use serde_json::{Value, json};

use crate::App;

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
async fn ready(State(app): State<App>) -> (StatusCode, &'static str) {
    match (app.stop.is_cancelled(), app.database.answers()) {
        (true, _) => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n"),
        (false, true) => (StatusCode::OK, "ready\n"),
    }
}

async fn status(State(app): State<App>) -> Json<Value> {
    let store = app.tasker.store();
    let schema = match app.database.answers() {
        true => store.schema_version().await.ok(),
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
