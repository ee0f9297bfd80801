//! The steps of tasks: listed and found, explained, and acted on.

use axum::{Json, extract::State, http::Uri};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tasker::{
    events::Transition,
    readiness::StepState,
    step_number_of,
    store::{Cause, StepVerb, Steps, WorkflowStep, WorkflowStepAttempt},
    task_of,
};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::tasks::{After, Why};
use crate::{
    App,
    access::Caller,
    acts,
    answer::{Body, Listed, Page, Path, Query, limit},
    problem::Problem,
};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Only the one with this name.
    name: Option<String>,
    /// From this number on: a page's `next`.
    #[param(minimum = 0)]
    from: Option<i32>,
    /// At most so many, 1 to 1000; 50 by default.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<i64>,
    /// Without their results.
    without_results: Option<bool>,
}

/// List a task's steps by number, with their parents and children
///
/// A page ends where its results and errors have 16 MiB, too.
#[utoipa::path(
    get, path = "/v1/tasks/{task_id}/workflow_steps", operation_id = "list_workflow_steps", security(("key" = ["read"])), tag = "workflow steps", params(("task_id" = Uuid, Path, description = "The task"), Which),
    responses((status = 200, body = Page<WorkflowStep>), Problem)
)]
pub(crate) async fn list(
    State(app): State<App>,
    uri: Uri,
    Path(task_id): Path<Uuid>,
    Query(which): Query<Which>,
) -> Result<Listed<WorkflowStep>, Problem> {
    let limit = limit(which.limit)?;
    let from = which.from.unwrap_or(0);
    if from < 0 {
        return Err(Problem::bad("bad_query", "from is a step's number, from 0"));
    }
    let steps = which.name.as_deref().map_or(Steps::From(from, limit as i32 + 1), Steps::Named);
    let store = app.tasker.store();
    let (items, is_cut) = store.workflow_steps_page(task_id, steps, !which.without_results.unwrap_or(false)).await?;
    if items.is_empty() && store.task(task_id).await?.is_none() {
        return Err(Problem::unknown_task(task_id));
    }
    // a page that ended early has one too many, too
    let limit = if is_cut { limit.min(items.len() as i64 - 1) } else { limit };
    Ok(Listed::new(items, limit, &uri, "from", |step| (step.readiness.step_number + 1).to_string()))
}

/// Show a step
#[utoipa::path(
    get, path = "/v1/workflow_steps/{workflow_step_id}", operation_id = "show_workflow_step", security(("key" = ["read"])), tag = "workflow steps",
    params(("workflow_step_id" = Uuid, Path, description = "The step")), responses((status = 200, body = WorkflowStep), Problem)
)]
pub(crate) async fn show(State(app): State<App>, Path(id): Path<Uuid>) -> Result<Json<WorkflowStep>, Problem> {
    let steps = app.tasker.store().workflow_steps(task_of(id), Steps::From(step_number_of(id), 1), true).await?;
    steps.into_iter().next().map(Json).ok_or_else(|| Problem::unknown_step(id))
}

/// A step's state from now on.
#[derive(Serialize, ToSchema)]
pub(crate) struct StepNow {
    /// The step.
    workflow_step_id: Uuid,
    /// Its state.
    state: StepState,
}

async fn act(
    app: &App,
    caller: &Caller,
    id: Uuid,
    verb: StepVerb<'_>,
    reason: Option<String>,
) -> Result<Json<StepNow>, Problem> {
    let state = acts::on_step(app, caller, id, verb, reason.as_deref()).await?;
    Ok(Json(StepNow { workflow_step_id: id, state }))
}

/// Begin a dead or cancelled step anew
///
/// One that waits for its retry is due now, and nothing else.
#[utoipa::path(
    post, path = "/v1/workflow_steps/{workflow_step_id}/retry", operation_id = "retry_step", security(("key" = ["operate"])), tag = "workflow steps", request_body = Option<Why>,
    params(("workflow_step_id" = Uuid, Path, description = "The step")), responses((status = 200, body = StepNow), Problem)
)]
pub(crate) async fn retry(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Body(why): Body<Why>,
) -> Result<Json<StepNow>, Problem> {
    act(&app, &caller, id, StepVerb::Retry, why.reason).await
}

/// Cancel an unfinished step of a live task, also while it runs
#[utoipa::path(
    post, path = "/v1/workflow_steps/{workflow_step_id}/cancel", operation_id = "cancel_step", security(("key" = ["operate"])), tag = "workflow steps", request_body = Option<Why>,
    params(("workflow_step_id" = Uuid, Path, description = "The step")), responses((status = 200, body = StepNow), Problem)
)]
pub(crate) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Body(why): Body<Why>,
) -> Result<Json<StepNow>, Problem> {
    act(&app, &caller, id, StepVerb::Cancel, why.reason).await
}

/// A result by hand.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resolution {
    /// The step's result: any JSON; `null` where it is left out.
    #[serde(default)]
    #[schema(value_type = Value)]
    result: Box<RawValue>,
    /// Kept in the history.
    reason: Option<String>,
}

/// Give a step that waits, has failed or is cancelled its result by hand
#[utoipa::path(
    post, path = "/v1/workflow_steps/{workflow_step_id}/resolve", operation_id = "resolve_step", security(("key" = ["operate"])), tag = "workflow steps", request_body = Resolution,
    params(("workflow_step_id" = Uuid, Path, description = "The step")), responses((status = 200, body = StepNow), Problem)
)]
pub(crate) async fn resolve(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Body(Resolution { result, reason }): Body<Resolution>,
) -> Result<Json<StepNow>, Problem> {
    act(&app, &caller, id, StepVerb::Resolve(&result), reason).await
}

/// An input by hand.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The handler's arguments, instead of those that its templates would give: any JSON.
    #[schema(value_type = Value)]
    input: Box<RawValue>,
    /// Kept in the history.
    reason: Option<String>,
}

/// Replace the input of a step that waits or has failed, from its next attempt on
#[utoipa::path(
    post, path = "/v1/workflow_steps/{workflow_step_id}/edit_input", operation_id = "edit_step_input", security(("key" = ["operate"])), tag = "workflow steps", request_body = Input,
    params(("workflow_step_id" = Uuid, Path, description = "The step")), responses((status = 200, body = StepNow), Problem)
)]
pub(crate) async fn edit_input(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Body(Input { input, reason }): Body<Input>,
) -> Result<Json<StepNow>, Problem> {
    act(&app, &caller, id, StepVerb::EditInput(&input), reason).await
}

/// Another limit.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limit {
    /// The greatest number of attempts, the first included.
    #[schema(minimum = 1)]
    retry_limit: i32,
    /// Kept in the history.
    reason: Option<String>,
}

/// Change an unfinished step's greatest number of attempts
#[utoipa::path(
    post, path = "/v1/workflow_steps/{workflow_step_id}/change_limit", operation_id = "change_retry_limit", security(("key" = ["operate"])), tag = "workflow steps", request_body = Limit,
    params(("workflow_step_id" = Uuid, Path, description = "The step")), responses((status = 200, body = StepNow), Problem)
)]
pub(crate) async fn change_limit(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Body(Limit { retry_limit, reason }): Body<Limit>,
) -> Result<Json<StepNow>, Problem> {
    act(&app, &caller, id, StepVerb::ChangeLimit(retry_limit), reason).await
}

/// List what happened to a step, the first first
#[utoipa::path(
    get, path = "/v1/workflow_steps/{workflow_step_id}/transitions", operation_id = "list_step_transitions", security(("key" = ["read"])), tag = "workflow steps",
    params(("workflow_step_id" = Uuid, Path, description = "The step"), After), responses((status = 200, body = Page<Transition>), Problem)
)]
pub(crate) async fn transitions(
    State(app): State<App>,
    uri: Uri,
    Path(id): Path<Uuid>,
    Query(after): Query<After>,
) -> Result<Listed<Transition>, Problem> {
    let listed = after.transitions(&app, &uri, task_of(id), Some(step_number_of(id))).await?;
    if listed.is_empty() {
        let _ = show(State(app), Path(id)).await?;
    }
    Ok(listed)
}

/// List a step's last 1,000 attempts, the first first
#[utoipa::path(
    get, path = "/v1/workflow_steps/{workflow_step_id}/attempts", operation_id = "list_attempts", security(("key" = ["read"])), tag = "workflow steps",
    params(("workflow_step_id" = Uuid, Path, description = "The step")), responses((status = 200, body = Page<WorkflowStepAttempt>), Problem)
)]
pub(crate) async fn attempts(
    State(app): State<App>,
    Path(id): Path<Uuid>,
) -> Result<Json<Page<WorkflowStepAttempt>>, Problem> {
    let items = app.tasker.store().attempts(id).await?;
    if items.is_empty() {
        let _ = show(State(app), Path(id)).await?;
    }
    Ok(Json(Page { items, next: None }))
}

/// Explain why a step does not run
///
/// Every cause, followed up the graph to the roots of the trouble; of a step that may run, what can be seen.
#[utoipa::path(
    get, path = "/v1/workflow_steps/{workflow_step_id}/explain", operation_id = "explain_step", security(("key" = ["read"])), tag = "workflow steps",
    params(("workflow_step_id" = Uuid, Path, description = "The step")), responses((status = 200, body = Page<Cause>), Problem)
)]
pub(crate) async fn explain(State(app): State<App>, Path(id): Path<Uuid>) -> Result<Json<Page<Cause>>, Problem> {
    Ok(Json(Page { items: app.tasker.store().explain_step(id).await?, next: None }))
}
