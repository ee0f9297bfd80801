//! What can be done. Each is the operation of the same name in REST, is kept under that name, and is done by the same function.

use async_graphql::{Context, Object, SimpleObject};
use tasker::{
    access::Permission,
    store::{self, StepVerb, TaskFilter, TaskVerb},
};
use uuid::Uuid;

use super::{
    loads::Scope,
    scalars::{Json, loads},
    takes,
    task::{SubmittedTask, TaskNow},
    workflow_step::StepNow,
};
use crate::{
    acts::{self, Bulk, NewTask, Registered},
    problem::Problem,
};

/// The root of mutations.
pub(super) struct Mutation;

/// What a verb over many tasks came to.
#[derive(SimpleObject)]
pub(super) struct BulkReport {
    #[graphql(flatten)]
    report: store::BulkReport,
    /// How many refused it, by the refusal's code.
    refused: Vec<Refusals>,
}

/// How many tasks refused for the same reason.
#[derive(SimpleObject)]
pub(super) struct Refusals {
    /// The refusal's code.
    code: String,
    /// How many.
    count: u64,
}

/// Does a verb to a step that is there for the caller.
async fn act_on_step(
    context: &Context<'_>,
    workflow_step_id: Uuid,
    verb: StepVerb<'_>,
    reason: Option<String>,
) -> Result<Option<StepNow>, Problem> {
    let loads = loads(context);
    loads.finds_step(workflow_step_id).await?;
    let Scope { app, caller } = &loads.scope;
    let state = acts::on_step(app, caller, workflow_step_id, verb, reason.as_deref()).await?;
    loads.forget();
    Ok(Some(StepNow { workflow_step_id, state }))
}

#[Object]
impl Mutation {
    /// Register a workflow's version: a workflow as in a file, in YAML or JSON. The same content again changes nothing; another one under the same version
    /// is refused (`version_taken`).
    #[graphql(directive = takes::apply(Permission::Register.as_str().into()))]
    async fn register_named_task(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The text of the file.")] definition: String,
    ) -> Result<Option<Registered>, Problem> {
        let Scope { app, caller } = &loads(context).scope;
        acts::register(app, caller, definition.into_bytes()).await.map(Some)
    }

    /// Submit a task. With an idempotency key the same, sent again within 30 days, gives the first task; the same key with another body is refused
    /// (`idempotency_key_reused`).
    #[graphql(directive = takes::apply(Permission::Submit.as_str().into()))]
    async fn submit_task(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "What is submitted.")] task: NewTask,
    ) -> Result<Option<SubmittedTask>, Problem> {
        let Scope { app, caller } = &loads(context).scope;
        let submitted = acts::submit(app, caller, task).await?;
        Ok(Some(SubmittedTask { task_id: submitted.task_id, existing: submitted.existing }))
    }

    /// Cancel, pause, resume, retry or resolve a task.
    #[graphql(directive = takes::apply(Permission::Operate.as_str().into()))]
    async fn act_on_task(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The task.")] task_id: Uuid,
        #[graphql(desc = "What to do.")] verb: TaskVerb,
        #[graphql(desc = "Kept in the history.")] reason: Option<String>,
    ) -> Result<Option<TaskNow>, Problem> {
        let loads = loads(context);
        loads.finds_task(task_id).await?;
        let Scope { app, caller } = &loads.scope;
        let state = acts::on_task(app, caller, task_id, verb, reason.as_deref()).await?;
        loads.forget();
        Ok(Some(TaskNow { task_id, state }))
    }

    /// Do something to all tasks that match: the newest first, each on its own. What was done stays done, and what refuses is counted. `next` of the
    /// answer, given as `before`, goes on.
    #[graphql(directive = takes::apply(Permission::Operate.as_str().into()))]
    async fn act_on_tasks(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "What to do.")] verb: TaskVerb,
        #[graphql(desc = "To which tasks; an empty one matches all.")] filter: TaskFilter,
        #[graphql(desc = "Kept in the history of each.")] reason: Option<String>,
        #[graphql(desc = "Only to those older than this task: a report's `next`.")] before: Option<Uuid>,
        #[graphql(desc = "To at most so many, 1 to 10,000; 1,000 by default.")] limit: Option<u64>,
    ) -> Result<Option<BulkReport>, Problem> {
        let bulk = Bulk { verb, filter, reason, before, limit };
        let loads = loads(context);
        let Scope { app, caller } = &loads.scope;
        let mut report = acts::on_tasks(app, caller, bulk).await?;
        loads.forget();
        let refused = std::mem::take(&mut report.refused).into_iter();
        Ok(Some(BulkReport { report, refused: refused.map(|(code, count)| Refusals { code, count }).collect() }))
    }

    /// Begin a dead or cancelled step anew. One that waits for its retry is due now, and nothing else.
    #[graphql(directive = takes::apply(Permission::Operate.as_str().into()))]
    async fn retry_step(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The step.")] workflow_step_id: Uuid,
        #[graphql(desc = "Kept in the history.")] reason: Option<String>,
    ) -> Result<Option<StepNow>, Problem> {
        act_on_step(context, workflow_step_id, StepVerb::Retry, reason).await
    }

    /// Cancel an unfinished step of a live task, also while it runs.
    #[graphql(directive = takes::apply(Permission::Operate.as_str().into()))]
    async fn cancel_step(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The step.")] workflow_step_id: Uuid,
        #[graphql(desc = "Kept in the history.")] reason: Option<String>,
    ) -> Result<Option<StepNow>, Problem> {
        act_on_step(context, workflow_step_id, StepVerb::Cancel, reason).await
    }

    /// Give a step that waits, has failed or is cancelled its result by hand.
    #[graphql(directive = takes::apply(Permission::Operate.as_str().into()))]
    async fn resolve_step(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The step.")] workflow_step_id: Uuid,
        #[graphql(desc = "Its result: any JSON; `null` where it is left out.")] result: Option<Json>,
        #[graphql(desc = "Kept in the history.")] reason: Option<String>,
    ) -> Result<Option<StepNow>, Problem> {
        let result = result.map(|result| result.raw().to_owned()).unwrap_or_default();
        act_on_step(context, workflow_step_id, StepVerb::Resolve(&result), reason).await
    }

    /// Replace the input of a step that waits or has failed, from its next attempt on.
    #[graphql(directive = takes::apply(Permission::Operate.as_str().into()))]
    async fn edit_step_input(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The step.")] workflow_step_id: Uuid,
        #[graphql(desc = "The handler's arguments, instead of those that its templates would give: any JSON.")]
        input: Json,
        #[graphql(desc = "Kept in the history.")] reason: Option<String>,
    ) -> Result<Option<StepNow>, Problem> {
        act_on_step(context, workflow_step_id, StepVerb::EditInput(input.raw()), reason).await
    }

    /// Change an unfinished step's greatest number of attempts.
    #[graphql(directive = takes::apply(Permission::Operate.as_str().into()))]
    async fn change_retry_limit(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The step.")] workflow_step_id: Uuid,
        #[graphql(desc = "The greatest number of attempts, the first included.")] retry_limit: i32,
        #[graphql(desc = "Kept in the history.")] reason: Option<String>,
    ) -> Result<Option<StepNow>, Problem> {
        act_on_step(context, workflow_step_id, StepVerb::ChangeLimit(retry_limit), reason).await
    }
}
