//! Pictures of workflows and tasks.

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::{
    App,
    answer::{Path, Query},
    diagram::Format,
    problem::Problem,
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct How {
    /// What it is written in; `svg` where it is left out.
    #[serde(default)]
    #[param(inline)]
    format: Format,
}

/// Opened by itself an image has styles of its own, and nothing that runs.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

fn answer(format: Format, picture: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, format.content_type()),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, picture).into_response()
}

/// Draw a task, with its steps' states
#[utoipa::path(
    get, path = "/v1/tasks/{task_id}/diagram", operation_id = "draw_task", security(("key" = ["read"])), tag = "tasks", params(("task_id" = Uuid, Path, description = "The task"), How),
    responses(
        (status = 200, description = "The picture", content((String = "image/svg+xml"), (String = "text/plain"), (String = "text/vnd.graphviz"), (Object = "application/json"))),
        Problem
    )
)]
pub(crate) async fn of_task(
    State(app): State<App>,
    Path(task_id): Path<Uuid>,
    Query(how): Query<How>,
) -> Result<Response, Problem> {
    Ok(answer(how.format, app.layouts.of_task(&app.tasker, task_id, how.format).await?))
}

/// Draw a workflow's version
#[utoipa::path(
    get, path = "/v1/named_tasks/{namespace}/{name}/{version}/diagram", operation_id = "draw_named_task", security(("key" = ["read"])), tag = "named tasks",
    params(
        ("namespace" = String, Path, description = "The tenant"), ("name" = String, Path, description = "The workflow's name"),
        ("version" = String, Path, description = "The version"), How
    ),
    responses(
        (status = 200, description = "The picture", content((String = "image/svg+xml"), (String = "text/plain"), (String = "text/vnd.graphviz"), (Object = "application/json"))),
        Problem
    )
)]
pub(crate) async fn of_workflow(
    State(app): State<App>,
    Path((namespace, name, version)): Path<(String, String, String)>,
    Query(how): Query<How>,
) -> Result<Response, Problem> {
    let id = app.tasker.store().find_named_task(&namespace, &name, Some(&version)).await?;
    Ok(answer(how.format, app.layouts.of_workflow(&app.tasker, id, how.format).await?))
}
