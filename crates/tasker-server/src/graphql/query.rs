//! What can be asked.

use async_graphql::{Context, Object, SimpleObject, connection::Connection};
use tasker::{
    access::Permission,
    context::TaskExecutionContext,
    readiness::StepReadinessStatus,
    store::{self, TaskFilter},
};
use uuid::Uuid;

use super::{
    named_task::NamedTask,
    scalars::{cost, loads, page, place, size},
    takes,
    task::Task,
    workflow_step::WorkflowStep,
};
use crate::{acts, diagram::Format, problem::Problem};

/// The root of queries.
pub(super) struct Query;

/// Of how many tasks something is asked at once at most.
const MAX_TASKS: usize = 100;

/// For how many steps a task counts in the limit on complexity; they are counted, too, when they are there.
const SOME: usize = 50;

/// What a verb over many tasks would touch.
#[derive(SimpleObject)]
pub(super) struct Preview {
    /// How many tasks match; counted up to 10,001.
    matched: i64,
    /// The newest of them, at most 20.
    newest: Vec<Task>,
}

fn some(task_ids: &[Uuid]) -> Result<&[Uuid], Problem> {
    if task_ids.len() > MAX_TASKS {
        return Err(Problem::bad("bad_query", format!("taskIds are the ids of at most {MAX_TASKS} tasks")));
    }
    Ok(task_ids)
}

#[Object]
impl Query {
    /// Workflows' versions, the last one registered first.
    #[graphql(directive = takes::apply(Permission::Read.as_str().into()), complexity = "cost(first, child_complexity)")]
    async fn named_tasks(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Only of this namespace.")] namespace: Option<String>,
        #[graphql(desc = "Only of this name.")] name: Option<String>,
        #[graphql(desc = "At most so many, 1 to 1000; 50 by default.")] first: Option<i32>,
        #[graphql(desc = "What follows this cursor.")] after: Option<String>,
    ) -> Result<Option<Connection<String, NamedTask>>, Problem> {
        let (loads, size) = (loads(context), size(first)?);
        let before = place(after, |text| text.parse().ok())?;
        let store = loads.scope.app.tasker.store();
        let within = loads.scope.caller.namespaces();
        let found = store.named_tasks(namespace.as_deref(), name.as_deref(), within, before, size + 1);
        let found = loads.alone(found).await?;
        let edge = |item: store::NamedTask| (item.named_task_id.to_string(), NamedTask { item });
        page(loads, found, size, before.is_some(), edge).map(Some)
    }

    /// A workflow's version; its highest release where none is said.
    #[graphql(directive = takes::apply(Permission::Read.as_str().into()))]
    async fn named_task(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The tenant.")] namespace: String,
        #[graphql(desc = "The workflow's name.")] name: String,
        #[graphql(desc = "The version.")] version: Option<String>,
    ) -> Result<Option<NamedTask>, Problem> {
        let loads = loads(context);
        let unknown = || Problem::unknown_workflow(&namespace, &name);
        if !loads.scope.caller.is_within(&namespace) {
            return Err(unknown());
        }
        let store = loads.scope.app.tasker.store();
        let id = loads.alone(store.find_named_task(&namespace, &name, version.as_deref())).await?;
        let item = loads.named_tasks.one(id).await?.ok_or_else(unknown)?;
        Ok(Some(NamedTask { item }))
    }

    /// Tasks, the newest first.
    #[graphql(directive = takes::apply(Permission::Read.as_str().into()), complexity = "cost(first, child_complexity)")]
    async fn tasks(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Only those of which all that it says holds.")] filter: Option<TaskFilter>,
        #[graphql(desc = "At most so many, 1 to 1000; 50 by default.")] first: Option<i32>,
        #[graphql(desc = "What follows this cursor.")] after: Option<String>,
    ) -> Result<Option<Connection<String, Task>>, Problem> {
        let (loads, size) = (loads(context), size(first)?);
        let before = place(after, |text| Uuid::try_parse(text).ok())?;
        let filter = TaskFilter { within: loads.scope.caller.within(), ..filter.unwrap_or_default() };
        let found = loads.alone(loads.scope.app.tasker.store().tasks(&filter, before, size + 1)).await?;
        let edge = |item: store::TaskListItem| (item.task_id.to_string(), Task::from(item));
        page(loads, found, size, before.is_some(), edge).map(Some)
    }

    /// A task.
    #[graphql(directive = takes::apply(Permission::Read.as_str().into()))]
    async fn task(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Its id.")] task_id: Uuid,
    ) -> Result<Option<Task>, Problem> {
        Ok(Some(Task { item: loads(context).task(task_id).await? }))
    }

    /// A step of a task.
    #[graphql(directive = takes::apply(Permission::Read.as_str().into()))]
    async fn workflow_step(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Its id.")] workflow_step_id: Uuid,
    ) -> Result<Option<WorkflowStep>, Problem> {
        let loads = loads(context);
        loads.finds_step(workflow_step_id).await?;
        let step = loads.steps.one(workflow_step_id).await?;
        Ok(Some(WorkflowStep { item: step.ok_or_else(|| Problem::unknown_step(workflow_step_id))? }))
    }

    /// Execution contexts of many tasks at once.
    #[graphql(directive = takes::apply(Permission::Read.as_str().into()), complexity = "1 + task_ids.len() * child_complexity")]
    async fn task_execution_contexts(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Ids of tasks, at most 100.")] task_ids: Vec<Uuid>,
    ) -> Result<Option<Vec<TaskExecutionContext>>, Problem> {
        let loads = loads(context);
        let there = loads.there(some(&task_ids)?).await?;
        loads.execution_contexts.some(&there).await.map(Some)
    }

    /// Readiness of the steps of many tasks at once.
    #[graphql(directive = takes::apply(Permission::Read.as_str().into()), complexity = "1 + task_ids.len() * SOME * child_complexity")]
    async fn step_readiness_statuses(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Ids of tasks, at most 100.")] task_ids: Vec<Uuid>,
    ) -> Result<Option<Vec<StepReadinessStatus>>, Problem> {
        let loads = loads(context);
        let there = loads.there(some(&task_ids)?).await?;
        let store = loads.scope.app.tasker.store();
        let at_most = loads.left() as i64 + 1;
        let found = loads.alone(StepReadinessStatus::for_tasks(store, &there, at_most)).await?;
        loads.count(found.len())?;
        Ok(Some(found))
    }

    /// What doing something to all tasks that match would touch.
    #[graphql(directive = takes::apply(Permission::Read.as_str().into()), complexity = "1 + 20 * child_complexity")]
    async fn preview_tasks(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which tasks; an empty one matches all.")] filter: TaskFilter,
    ) -> Result<Option<Preview>, Problem> {
        let loads = loads(context);
        let (matched, newest) = loads.alone(acts::preview(&loads.scope.app, &loads.scope.caller, filter)).await?;
        loads.count(newest.len())?;
        Ok(Some(Preview { matched, newest: newest.into_iter().map(Task::from).collect() }))
    }

    /// A picture of a task, with its steps' states.
    #[graphql(directive = takes::apply(Permission::Read.as_str().into()))]
    async fn draw_task(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The task.")] task_id: Uuid,
        #[graphql(desc = "What it is written in; `svg` where it is left out.")] format: Option<Format>,
    ) -> Result<Option<String>, Problem> {
        let loads = loads(context);
        loads.finds_task(task_id).await?;
        let app = &loads.scope.app;
        Ok(Some(loads.alone(app.layouts.of_task(&app.tasker, task_id, format.unwrap_or_default())).await?))
    }

    /// A picture of a workflow's version.
    #[graphql(directive = takes::apply(Permission::Read.as_str().into()))]
    async fn draw_named_task(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The tenant.")] namespace: String,
        #[graphql(desc = "The workflow's name.")] name: String,
        #[graphql(desc = "The version.")] version: String,
        #[graphql(desc = "What it is written in; `svg` where it is left out.")] format: Option<Format>,
    ) -> Result<Option<String>, Problem> {
        let loads = loads(context);
        let app = &loads.scope.app;
        if !loads.scope.caller.is_within(&namespace) {
            return Err(Problem::unknown_workflow(&namespace, &name));
        }
        let draw = async {
            let id = app.tasker.store().find_named_task(&namespace, &name, Some(&version)).await?;
            app.layouts.of_workflow(&app.tasker, id, format.unwrap_or_default()).await
        };
        Ok(Some(loads.alone(draw).await?))
    }
}
