//! Tasks: submitted, listed, shown, and acted on, one by one or as many as match.

use std::str::FromStr;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use tasker::{
    Submitted,
    context::{TaskExecutionContext, TaskWorkflowSummary},
    events::Transition,
    readiness::{StepReadinessStatus, TaskState},
    store::{BulkReport, History, TaskFilter, TaskListItem, TaskVerb},
};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{
    App,
    access::Caller,
    acts::{self, Bulk, NewTask},
    answer::{Body, Listed, Page, Path, Query, limit},
    problem::Problem,
};

/// Submit a task
///
/// With an `Idempotency-Key` the same request, sent again within 30 days, gives the first task (200); the same key with another body is refused
/// (`idempotency_key_reused`).
#[utoipa::path(
    post, path = "/v1/tasks", operation_id = "submit_task", security(("key" = ["submit"])), tag = "tasks", request_body = NewTask,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 characters")),
    responses((status = 201, body = Submitted), (status = 200, description = "It was there already", body = Submitted), Problem)
)]
pub(crate) async fn submit(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Body(mut task): Body<NewTask>,
) -> Result<Response, Problem> {
    let key = headers.get("idempotency-key").map(|key| key.to_str().map(str::to_owned));
    task.idempotency_key =
        key.transpose().map_err(|_| Problem::bad("bad_key", "the Idempotency-Key is plain ASCII"))?;
    let submitted = acts::submit(&app, &caller, task).await?;
    let status = if submitted.existing { StatusCode::OK } else { StatusCode::CREATED };
    let place = format!("/v1/tasks/{}", submitted.task_id);
    Ok((status, [(header::LOCATION, place)], Json(submitted)).into_response())
}

/// Which tasks, as a query has it.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Which {
    /// Only of workflows of this namespace.
    namespace: Option<String>,
    /// Only of workflows of this name.
    name: Option<String>,
    /// Only of this version.
    version: Option<String>,
    /// Only in this state: `in_progress` from the first claim on.
    state: Option<TaskState>,
    /// Only those that are paused, or that are not.
    paused: Option<bool>,
    /// Only those that are doing this: a word of the context's `execution_status`.
    execution_status: Option<String>,
    /// Only those whose tags contain this object: `{"region":"eu"}`.
    tags: Option<String>,
    /// Only those whose context (their input) contains this object: `{"order":{"id":7}}`.
    context: Option<String>,
    /// Only those submitted at this instant or later.
    created_after: Option<DateTime<Utc>>,
    /// Only those submitted before this instant.
    created_before: Option<DateTime<Utc>>,
    /// Only those older than this task: a page's `next`.
    before: Option<Uuid>,
    /// At most so many, 1 to 1000; 50 by default.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<i64>,
}

impl Which {
    fn filter(self, caller: &Caller) -> Result<TaskFilter, Problem> {
        let object = |what: &str, text: Option<String>| {
            let read = |text: String| {
                tasker::json::check(&text).map_err(|why| Problem::bad("bad_filter", format!("{what}: {why}")))?;
                Value::from_str(&text).map_err(|why| Problem::bad("bad_filter", format!("{what}: {why}")))
            };
            text.map(read).transpose()
        };
        Ok(TaskFilter {
            namespace: self.namespace,
            name: self.name,
            version: self.version,
            state: self.state,
            paused: self.paused,
            execution_status: self.execution_status,
            tags: object("tags", self.tags)?,
            context: object("context", self.context)?,
            created_after: self.created_after,
            created_before: self.created_before,
            within: caller.within(),
        })
    }
}

/// List tasks, the newest first
#[utoipa::path(get, path = "/v1/tasks", operation_id = "list_tasks", security(("key" = ["read"])), tag = "tasks", params(Which), responses((status = 200, body = Page<TaskListItem>), Problem))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    uri: Uri,
    Query(which): Query<Which>,
) -> Result<Listed<TaskListItem>, Problem> {
    let (before, limit) = (which.before, limit(which.limit)?);
    let items = app.tasker.store().tasks(&which.filter(&caller)?, before, limit + 1).await?;
    Ok(Listed::new(items, limit, &uri, "before", |item| item.task_id.to_string()))
}

/// A task, whole but for its steps.
#[derive(Serialize, ToSchema)]
pub(crate) struct TaskDetails {
    /// What it is.
    #[serde(flatten)]
    task: TaskListItem,
    /// Its input, with the workflow's defaults.
    #[schema(value_type = Object)]
    context: Box<RawValue>,
    /// What it is doing, and which steps that concerns.
    workflow_summary: TaskWorkflowSummary,
}

/// Show a task, with its context and summary
#[utoipa::path(
    get, path = "/v1/tasks/{task_id}", operation_id = "show_task", security(("key" = ["read"])), tag = "tasks", params(("task_id" = Uuid, Path, description = "The task")),
    responses((status = 200, body = TaskDetails), Problem)
)]
pub(crate) async fn show(State(app): State<App>, Path(task_id): Path<Uuid>) -> Result<Json<TaskDetails>, Problem> {
    let store = app.tasker.store();
    let unknown = || Problem::unknown_task(task_id);
    let task = store.task(task_id).await?.ok_or_else(unknown)?;
    let context = store.context_of(task_id).await?.ok_or_else(unknown)?;
    let workflow_summary = TaskWorkflowSummary::find(store, task_id).await?.ok_or_else(unknown)?;
    let context = RawValue::from_string(context).unwrap_or_default();
    Ok(Json(TaskDetails { task, context, workflow_summary }))
}

/// Why something is done.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Why {
    /// Kept in the history.
    pub reason: Option<String>,
}

/// A task's state from now on.
#[derive(Serialize, ToSchema)]
pub(crate) struct TaskNow {
    /// The task.
    task_id: Uuid,
    /// Its state.
    state: TaskState,
}

/// Cancel, pause, resume, retry or resolve a task
///
/// `cancel`: every unfinished step, leased ones too. `pause`: nothing new starts until `resume`. `retry`: every dead or cancelled step begins anew.
/// `resolve`: it ends as dealt with by hand.
#[utoipa::path(
    post, path = "/v1/tasks/{task_id}/{verb}", operation_id = "act_on_task", security(("key" = ["operate"])), tag = "tasks", request_body = Option<Why>,
    params(("task_id" = Uuid, Path, description = "The task"), ("verb" = TaskVerb, Path, description = "What to do")),
    responses((status = 200, body = TaskNow), Problem)
)]
pub(crate) async fn act(
    State(app): State<App>,
    caller: Caller,
    Path((task_id, verb)): Path<(Uuid, TaskVerb)>,
    Body(why): Body<Why>,
) -> Result<Json<TaskNow>, Problem> {
    let state = acts::on_task(&app, &caller, task_id, verb, why.reason.as_deref()).await?;
    Ok(Json(TaskNow { task_id, state }))
}

/// What a verb over many tasks would touch.
#[derive(Serialize, ToSchema)]
pub(crate) struct Preview {
    /// How many tasks match; counted up to 10,001.
    matched: i64,
    /// The newest of them, at most 20.
    newest: Vec<TaskListItem>,
}

/// Do something to all tasks that match
///
/// The newest first, each on its own: what was done stays done, and what refuses is counted. `next` of the answer, given as `before`, goes on.
#[utoipa::path(post, path = "/v1/tasks/bulk", operation_id = "act_on_tasks", security(("key" = ["operate"])), tag = "tasks", request_body = Bulk, responses((status = 200, body = BulkReport), Problem))]
pub(crate) async fn bulk(
    State(app): State<App>,
    caller: Caller,
    Body(bulk): Body<Bulk>,
) -> Result<Json<BulkReport>, Problem> {
    Ok(Json(acts::on_tasks(&app, &caller, bulk).await?))
}

/// See what doing something to all tasks that match would touch
#[utoipa::path(post, path = "/v1/tasks/bulk/preview", operation_id = "preview_tasks", security(("key" = ["read"])), tag = "tasks", request_body = Option<TaskFilter>, responses((status = 200, body = Preview), Problem))]
pub(crate) async fn preview(
    State(app): State<App>,
    caller: Caller,
    Body(filter): Body<TaskFilter>,
) -> Result<Json<Preview>, Problem> {
    let (matched, newest) = acts::preview(&app, &caller, filter).await?;
    Ok(Json(Preview { matched, newest }))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct After {
    /// What follows this place: a page's `next`.
    after: Option<String>,
    /// At most so many, 1 to 1000; 50 by default.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<i64>,
}

impl After {
    /// A task's transitions, or one step's.
    pub async fn transitions(
        self,
        app: &App,
        uri: &Uri,
        task_id: Uuid,
        step_number: Option<i32>,
    ) -> Result<Listed<Transition>, Problem> {
        let limit = limit(self.limit)?;
        let bad = |()| Problem::bad("bad_query", "after is the next of a page, as it came");
        let after = self.after.map(|place| place.parse().map_err(bad)).transpose()?;
        let wanted = History { task_id, step_number, after, at_most: limit + 1 };
        let items = app.tasker.store().transitions(&wanted).await?;
        if items.is_empty() && step_number.is_none() && app.tasker.store().task(task_id).await?.is_none() {
            return Err(Problem::unknown_task(task_id));
        }
        Ok(Listed::new(items, limit, uri, "after", |transition| transition.place().to_string()))
    }
}

/// List what happened to a task and its steps, the first first
#[utoipa::path(
    get, path = "/v1/tasks/{task_id}/transitions", operation_id = "list_task_transitions", security(("key" = ["read"])), tag = "tasks", params(("task_id" = Uuid, Path, description = "The task"), After),
    responses((status = 200, body = Page<Transition>), Problem)
)]
pub(crate) async fn transitions(
    State(app): State<App>,
    uri: Uri,
    Path(task_id): Path<Uuid>,
    Query(after): Query<After>,
) -> Result<Listed<Transition>, Problem> {
    after.transitions(&app, &uri, task_id, None).await
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Tasks {
    /// Ids of tasks, with commas between them, at most 100.
    task_ids: String,
}

impl Tasks {
    async fn ids(&self, app: &App, caller: &Caller) -> Result<Vec<Uuid>, Problem> {
        let ids: Result<Vec<Uuid>, _> = self.task_ids.split(',').map(|id| Uuid::try_parse(id.trim())).collect();
        let ids = ids.ok().filter(|ids| ids.len() <= 100).ok_or_else(|| {
            Problem::bad("bad_query", "task_ids are the ids of at most 100 tasks, with commas between them")
        })?;
        caller.there(app, ids).await
    }
}

/// Execution contexts of many tasks at once
#[utoipa::path(
    get, path = "/v1/task_execution_contexts", operation_id = "list_task_execution_contexts", security(("key" = ["read"])), tag = "tasks", params(Tasks), responses((status = 200, body = Page<TaskExecutionContext>), Problem)
)]
pub(crate) async fn contexts(
    State(app): State<App>,
    caller: Caller,
    Query(tasks): Query<Tasks>,
) -> Result<Json<Page<TaskExecutionContext>>, Problem> {
    let items = TaskExecutionContext::for_tasks(app.tasker.store(), &tasks.ids(&app, &caller).await?).await?;
    Ok(Json(Page { items, next: None }))
}

/// How many rows of readiness an answer has at most.
const MAX_READINESS: i64 = 100_000;

/// Readiness of the steps of many tasks at once
#[utoipa::path(
    get, path = "/v1/step_readiness_statuses", operation_id = "list_step_readiness_statuses", security(("key" = ["read"])), tag = "workflow steps", params(Tasks),
    responses((status = 200, body = Page<StepReadinessStatus>), Problem)
)]
pub(crate) async fn readiness(
    State(app): State<App>,
    caller: Caller,
    Query(tasks): Query<Tasks>,
) -> Result<Json<Page<StepReadinessStatus>>, Problem> {
    let items =
        StepReadinessStatus::for_tasks(app.tasker.store(), &tasks.ids(&app, &caller).await?, MAX_READINESS + 1).await?;
    if items.len() as i64 > MAX_READINESS {
        return Err(Problem::bad(
            "too_many",
            format!("these tasks have more than {MAX_READINESS} steps: ask for fewer"),
        ));
    }
    Ok(Json(Page { items, next: None }))
}
