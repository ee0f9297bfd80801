//! What is done for those who ask, through whichever door: it is seen whether the thing is there for them, what they ask for is kept, and then the library
//! does it.

use async_graphql::InputObject;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use tasker::{
    Error, Submission, Submitted,
    readiness::{StepState, TaskState},
    store::{BulkReport, StepVerb, Store, TaskFilter, TaskListItem, TaskVerb},
    workflow::{Definition, Priority},
};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{App, access::Caller, graphql::Json, problem::Problem};

/// How many tasks a call acts on at most.
const MAX_BULK: u64 = 10_000;

/// A task to be submitted.
#[derive(Deserialize, ToSchema, InputObject)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTask {
    /// The workflow's namespace; `default` where it is left out.
    namespace: Option<String>,
    /// The workflow's name.
    name: String,
    /// The workflow's version; its highest release where it is left out.
    version: Option<String>,
    /// The task's input: an object, at most 1 MiB.
    #[schema(value_type = Option<Object>)]
    input: Option<Json>,
    /// The same key and body, within 30 days, gives the first task; 1 to 255 characters.
    #[serde(skip)]
    pub idempotency_key: Option<String>,
    /// One live task of the namespace has this key at a time, else the live one is given back; 1 to 255 characters.
    unique_while_live: Option<String>,
    /// No step starts before this instant.
    run_at: Option<DateTime<Utc>>,
    /// `high`, `normal` or `low`; each step's own where it is left out.
    priority: Option<Priority>,
    /// Open steps fail when it passes.
    deadline: Option<DateTime<Utc>>,
    /// Names and values to find it by; at most 16 KiB.
    #[schema(value_type = Option<Object>)]
    tags: Option<Value>,
    /// One line for people, at most 500 characters.
    summary: Option<String>,
}

/// Submits a task.
pub(crate) async fn submit(app: &App, caller: &Caller, task: NewTask) -> Result<Submitted, Problem> {
    let NewTask { namespace, name, input, .. } = task;
    let namespace = namespace.unwrap_or_else(|| "default".into());
    let input =
        input.map_or_else(|| RawValue::from_string("{}".into()).unwrap_or_default(), |json| json.raw().to_owned());
    if !caller.is_within(&namespace) {
        return Err(Problem::unknown_workflow(&namespace, &name));
    }
    let submission = Submission {
        version: task.version,
        idempotency_key: task.idempotency_key,
        unique_while_live: task.unique_while_live,
        run_at: task.run_at,
        priority: task.priority,
        deadline: task.deadline,
        tags: task.tags,
        summary: task.summary,
        actor: caller.actor().map(str::to_owned),
    };
    let object = format!("{namespace}.{name}");
    // the record names the task, and so is kept with it
    let mut transaction = app.tasker.store().pool().begin().await.map_err(Error::from)?;
    match app.tasker.submit_in(&mut transaction, &namespace, &name, &input, submission).await {
        Ok(submitted) => {
            let object = format!("{object} {}", submitted.task_id);
            Store::audit_in(&mut transaction, caller.record("submit_task", &object, None)).await?;
            transaction.commit().await.map_err(Error::from)?;
            app.tasker.wake();
            Ok(submitted)
        }
        Err(refused) => {
            transaction.rollback().await.map_err(Error::from)?;
            caller.asks(app, "submit_task", &object, None).await?;
            Err(refused.into())
        }
    }
}

/// What was registered.
#[derive(Serialize, ToSchema, async_graphql::SimpleObject)]
#[graphql(name = "Registered")]
pub(crate) struct Registered {
    /// The version's id.
    pub named_task_id: i32,
    /// The tenant.
    pub namespace: String,
    /// The workflow's name.
    pub name: String,
    /// The version.
    pub version: String,
}

/// Registers a workflow's version, from YAML or JSON.
pub(crate) async fn register(app: &App, caller: &Caller, text: Vec<u8>) -> Result<Registered, Problem> {
    // one after the other: whoever has left is not noticed there, and the rest of the machine is for others
    let turn = app.definitions.clone().acquire_owned().await;
    // JSON is YAML
    let definition = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        Definition::from_yaml("the body", &text, None, &[])
    });
    let definition = definition.await;
    let definition = definition
        .map_err(|_| Problem::bad("definition", "the definition cannot be read"))?
        .map_err(|refused| Problem::bad("definition", refused.to_string()))?;
    if !caller.is_within(&definition.namespace) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            format!("this key is not for the namespace {}", definition.namespace),
        ));
    }
    let object = format!("{}.{} {}", definition.namespace, definition.name, definition.version);
    caller.asks(app, "register_named_task", &object, None).await?;
    let named_task_id = app.tasker.register_definition(&definition).await?;
    let Definition { namespace, name, version, .. } = definition;
    Ok(Registered { named_task_id, namespace, name, version })
}

/// Does a verb to a task. Gives its state from then on.
pub(crate) async fn on_task(
    app: &App,
    caller: &Caller,
    task_id: Uuid,
    verb: TaskVerb,
    reason: Option<&str>,
) -> Result<TaskState, Problem> {
    let by = caller.asks(app, "act_on_task", &format!("{} {task_id}", verb.as_str()), reason).await?;
    let state = app.tasker.store().to_task(verb, task_id, by).await?;
    app.tasker.wake();
    Ok(state)
}

/// A verb over all tasks that match.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bulk {
    /// What to do.
    pub verb: TaskVerb,
    /// To which tasks; an empty one matches all.
    pub filter: TaskFilter,
    /// Kept in the history of each.
    pub reason: Option<String>,
    /// Only to those older than this task: a report's `next`.
    pub before: Option<Uuid>,
    /// To at most so many, 1 to 10,000; 1,000 by default.
    pub limit: Option<u64>,
}

/// Does a verb to all tasks that match and are there for the caller.
pub(crate) async fn on_tasks(app: &App, caller: &Caller, mut bulk: Bulk) -> Result<BulkReport, Problem> {
    let limit = bulk.limit.unwrap_or(1_000);
    if !(1..=MAX_BULK).contains(&limit) {
        return Err(Problem::bad("bad_limit", format!("limit is a number from 1 to {MAX_BULK}")));
    }
    bulk.filter.within = caller.within();
    let filter = serde_json::to_string(&bulk.filter).unwrap_or_default();
    let before = bulk.before.map(|task| format!(" before {task}")).unwrap_or_default();
    let object = format!("{} at most {limit}{before}: {filter}", bulk.verb.as_str());
    let by = caller.asks(app, "act_on_tasks", &object, bulk.reason.as_deref()).await?;
    let report = app.tasker.store().to_tasks(bulk.verb, &bulk.filter, bulk.before, limit, by).await?;
    app.tasker.wake();
    Ok(report)
}

/// How many tasks match, counted up to 10,001, and the newest of them, at most 20.
pub(crate) async fn preview(
    app: &App,
    caller: &Caller,
    mut filter: TaskFilter,
) -> Result<(i64, Vec<TaskListItem>), Problem> {
    let store = app.tasker.store();
    filter.within = caller.within();
    let matched = store.count_tasks(&filter, MAX_BULK as i64 + 1).await?;
    Ok((matched, store.tasks(&filter, None, 20).await?))
}

/// Does a verb to a step. Gives its state from then on.
pub(crate) async fn on_step(
    app: &App,
    caller: &Caller,
    id: Uuid,
    verb: StepVerb<'_>,
    reason: Option<&str>,
) -> Result<StepState, Problem> {
    let (action, object) = match verb {
        StepVerb::Retry => ("retry_step", id.to_string()),
        StepVerb::Cancel => ("cancel_step", id.to_string()),
        StepVerb::Resolve(_) => ("resolve_step", id.to_string()),
        StepVerb::EditInput(_) => ("edit_step_input", id.to_string()),
        StepVerb::ChangeLimit(limit) => ("change_retry_limit", format!("{id} {limit}")),
    };
    let by = caller.asks(app, action, &object, reason).await?;
    let state = app.tasker.store().to_step(verb, id, by).await?;
    app.tasker.wake();
    Ok(state)
}
