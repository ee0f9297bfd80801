//! Workflows' versions: registered, listed, shown with their graph.

use axum::{
    Json,
    extract::{Request, State},
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use tasker::{
    store::{NamedTask, NamedTaskGraph},
    workflow::MAX_BYTES,
};
use utoipa::IntoParams;

use crate::{
    App,
    access::Caller,
    acts::{self, Registered},
    answer::{Listed, Page, Path, Query, limit, require},
    problem::Problem,
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Only of this namespace.
    namespace: Option<String>,
    /// Only of this name.
    name: Option<String>,
    /// Only those registered before this one: a page's `next`.
    before: Option<i32>,
    /// At most so many, 1 to 1000; 50 by default.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<i64>,
}

/// List workflows' versions, the last one registered first
#[utoipa::path(get, path = "/v1/named_tasks", operation_id = "list_named_tasks", security(("key" = ["read"])), tag = "named tasks", params(Which), responses((status = 200, body = Page<NamedTask>), Problem))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    uri: Uri,
    Query(which): Query<Which>,
) -> Result<Listed<NamedTask>, Problem> {
    let limit = limit(which.limit)?;
    let store = app.tasker.store();
    let items = store
        .named_tasks(which.namespace.as_deref(), which.name.as_deref(), caller.namespaces(), which.before, limit + 1)
        .await?;
    Ok(Listed::new(items, limit, &uri, "before", |item| item.named_task_id.to_string()))
}

/// Register a workflow's version
///
/// The body is a workflow as in a file, in YAML or JSON, at most 16 MiB. The same content again changes nothing; another one under the same version is
/// refused (`version_taken`).
#[utoipa::path(
    post, path = "/v1/named_tasks", operation_id = "register_named_task", security(("key" = ["register"])), tag = "named tasks",
    request_body(content((String = "application/yaml"), (Object = "application/json"))),
    responses((status = 201, body = Registered), Problem)
)]
pub(crate) async fn register(State(app): State<App>, caller: Caller, request: Request) -> Result<Response, Problem> {
    require(&request, &["application/yaml", "application/json", "application/x-yaml", "text/yaml"])?;
    let bytes = axum::body::to_bytes(request.into_body(), MAX_BYTES).await.map_err(|_| {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            format!("a definition has at most {} MiB", MAX_BYTES >> 20),
        )
    })?;
    let registered = acts::register(&app, &caller, bytes.into()).await?;
    let Registered { namespace, name, version, .. } = &registered;
    let place = format!("/v1/named_tasks/{namespace}/{name}/{version}");
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Json(registered)).into_response())
}

/// Show a workflow's highest release, with its graph and execution order
#[utoipa::path(
    get, path = "/v1/named_tasks/{namespace}/{name}", operation_id = "show_latest_named_task", security(("key" = ["read"])), tag = "named tasks",
    params(("namespace" = String, Path, description = "The tenant"), ("name" = String, Path, description = "The workflow's name")),
    responses((status = 200, body = NamedTaskGraph), Problem)
)]
pub(crate) async fn latest(
    State(app): State<App>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Json<NamedTaskGraph>, Problem> {
    graph(&app, &namespace, &name, None).await
}

/// Show a workflow's version, with its graph and execution order
#[utoipa::path(
    get, path = "/v1/named_tasks/{namespace}/{name}/{version}", operation_id = "show_named_task", security(("key" = ["read"])), tag = "named tasks",
    params(
        ("namespace" = String, Path, description = "The tenant"), ("name" = String, Path, description = "The workflow's name"),
        ("version" = String, Path, description = "The version")
    ),
    responses((status = 200, body = NamedTaskGraph), Problem)
)]
pub(crate) async fn version(
    State(app): State<App>,
    Path((namespace, name, version)): Path<(String, String, String)>,
) -> Result<Json<NamedTaskGraph>, Problem> {
    graph(&app, &namespace, &name, Some(&version)).await
}

async fn graph(app: &App, namespace: &str, name: &str, version: Option<&str>) -> Result<Json<NamedTaskGraph>, Problem> {
    let store = app.tasker.store();
    let id = store.find_named_task(namespace, name, version).await?;
    let graph = store.named_task(id).await?;
    graph.map(Json).ok_or_else(|| Problem::unknown_workflow(namespace, name))
}
