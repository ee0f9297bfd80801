//! Tasks and what hangs on them, as the views have it.

use std::sync::Arc;

use async_graphql::{ComplexObject, Context, SimpleObject, connection::Connection};
use serde_json::value::RawValue;
use tasker::{context, events, store};

use super::{
    loaders::Loads,
    named_task::NamedTask,
    scalars::{BigInt, Json, cost, loads, page, place, size},
    workflow_step::WorkflowStep,
};
use crate::problem::Problem;

/// A submission of a workflow.
#[derive(Clone, SimpleObject)]
#[graphql(complex)]
pub(super) struct Task {
    #[graphql(flatten)]
    pub item: Arc<store::TaskListItem>,
}

impl From<store::TaskListItem> for Task {
    fn from(item: store::TaskListItem) -> Task {
        Task { item: Arc::new(item) }
    }
}

#[ComplexObject]
impl Task {
    /// Names and values to find it by.
    async fn tags(&self) -> Option<Json> {
        self.item.tags.as_ref().map(|tags| Json::from(&*tags.0))
    }

    /// Its input, with the workflow's defaults.
    async fn context(&self, context: &Context<'_>) -> Result<Option<Json>, Problem> {
        let text = loads(context).contexts.one(self.item.task_id).await?;
        Ok(text.and_then(|text| RawValue::from_string(text.to_string()).ok()).map(|raw| Json::from(&*raw)))
    }

    /// The workflow's version.
    async fn named_task(&self, context: &Context<'_>) -> Result<Option<NamedTask>, Problem> {
        let item = loads(context).named_tasks.one(self.item.named_task_id).await?;
        Ok(item.map(|item| NamedTask { item }))
    }

    /// What it is doing.
    async fn execution_context(&self, context: &Context<'_>) -> Result<Option<context::TaskExecutionContext>, Problem> {
        loads(context).execution_contexts.one(self.item.task_id).await
    }

    /// What it is doing, and which steps that concerns.
    async fn workflow_summary(&self, context: &Context<'_>) -> Result<Option<TaskWorkflowSummary>, Problem> {
        let summary = loads(context).summaries.one(self.item.task_id).await?;
        Ok(summary.map(|summary| TaskWorkflowSummary { summary }))
    }

    /// Its steps by number.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn workflow_steps(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Only the one with this name.")] name: Option<String>,
        #[graphql(desc = "At most so many, 1 to 1000; 50 by default.")] first: Option<i32>,
        #[graphql(desc = "What follows this cursor.")] after: Option<String>,
    ) -> Result<Option<Connection<String, WorkflowStep>>, Problem> {
        let (loads, size) = (loads(context), size(first)?);
        let after = place(after, |text| text.parse::<i32>().ok())?;
        let wanted = store::StepPage {
            task_id: self.item.task_id,
            name,
            from: after.map_or(0, |number| number.saturating_add(1)),
            at_most: size as i32 + 1,
        };
        let steps = loads.step_pages.one(wanted).await?.unwrap_or_default();
        for step in &*steps {
            loads.steps.know(step.readiness.workflow_step_id, step.clone());
        }
        let edge = |step: &Arc<store::WorkflowStep>| {
            (step.readiness.step_number.to_string(), WorkflowStep { item: step.clone() })
        };
        page(loads, steps.iter(), size, after.is_some(), edge).map(Some)
    }

    /// What happened to it and to its steps, the first first.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn transitions(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "At most so many, 1 to 1000; 50 by default.")] first: Option<i32>,
        #[graphql(desc = "What follows this cursor.")] after: Option<String>,
    ) -> Result<Option<Connection<String, Transition>>, Problem> {
        transitions(loads(context), self.item.task_id, None, first, after).await.map(Some)
    }
}

/// A page of what happened to a task, or to one of its steps.
pub(super) async fn transitions(
    loads: &Loads,
    task_id: uuid::Uuid,
    step_number: Option<i32>,
    first: Option<i32>,
    after: Option<String>,
) -> Result<Connection<String, Transition>, Problem> {
    let size = size(first)?;
    let after = place(after, |text| text.parse().ok())?;
    let wanted = store::History { task_id, step_number, after, at_most: size + 1 };
    let found = loads.transitions.one(wanted).await?.unwrap_or_default();
    let edge = |transition: &events::Transition| {
        (transition.place().to_string(), Transition { transition: transition.clone() })
    };
    page(loads, found.iter(), size, after.is_some(), edge)
}

/// Something that happened to a task or to one of its steps.
#[derive(Clone, SimpleObject)]
#[graphql(complex)]
pub(super) struct Transition {
    #[graphql(flatten)]
    pub transition: events::Transition,
}

#[ComplexObject]
impl Transition {
    /// Its place in the order of events; what one call did at once shares one.
    async fn number(&self) -> BigInt {
        BigInt(self.transition.number)
    }
}

/// What a task is doing, and which steps that concerns.
#[derive(Clone, SimpleObject)]
#[graphql(complex)]
pub(super) struct TaskWorkflowSummary {
    #[graphql(flatten)]
    pub summary: context::TaskWorkflowSummary,
}

#[ComplexObject]
impl TaskWorkflowSummary {
    /// The blocking reasons of the steps that are neither finished, running nor ready, keyed by step id.
    async fn blocking_reasons(&self) -> Json {
        Json::from(&*self.summary.blocking_reasons.0)
    }
}

/// A task's state from now on.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(super) struct TaskNow {
    /// The task's id.
    pub task_id: uuid::Uuid,
    /// Its state.
    pub state: tasker::readiness::TaskState,
}

#[ComplexObject]
impl TaskNow {
    /// The task.
    async fn task(&self, context: &Context<'_>) -> Result<Option<Task>, Problem> {
        Ok(Some(Task { item: loads(context).task(self.task_id).await? }))
    }
}

/// A submitted task.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(super) struct SubmittedTask {
    /// Its id.
    pub task_id: uuid::Uuid,
    /// Whether it was there already: by its idempotency key, or as the live one of its unique key.
    pub existing: bool,
}

#[ComplexObject]
impl SubmittedTask {
    /// The task.
    async fn task(&self, context: &Context<'_>) -> Result<Option<Task>, Problem> {
        Ok(Some(Task { item: loads(context).task(self.task_id).await? }))
    }
}
