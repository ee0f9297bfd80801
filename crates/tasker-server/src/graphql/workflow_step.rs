//! Steps of tasks: how each stands, where it stands in the graph, and what came of it.

use std::sync::Arc;

use async_graphql::{ComplexObject, Context, SimpleObject, connection::Connection};
use tasker::{
    readiness::StepState,
    store::{self, Cause, WorkflowStepAttempt},
};
use uuid::Uuid;

use super::{
    scalars::{Json, cost, loads},
    task::{Task, Transition, transitions},
};
use crate::problem::Problem;

/// For how many parents or children a step counts in the limit on complexity; they are counted, too, when they are there.
const SOME: usize = 3;

/// A step of a task as it stands.
#[derive(Clone, SimpleObject)]
#[graphql(complex)]
pub(super) struct WorkflowStep {
    #[graphql(flatten)]
    pub item: Arc<store::WorkflowStep>,
}

impl WorkflowStep {
    fn id(&self) -> Uuid {
        self.item.readiness.workflow_step_id
    }

    async fn relatives(context: &Context<'_>, ids: &[Uuid]) -> Result<Option<Vec<WorkflowStep>>, Problem> {
        let loads = loads(context);
        loads.count(ids.len())?;
        let steps = loads.steps.some(ids).await?;
        Ok(Some(steps.into_iter().map(|item| WorkflowStep { item }).collect()))
    }
}

#[ComplexObject]
impl WorkflowStep {
    /// The result of a satisfied step, as it is stored.
    async fn result(&self, context: &Context<'_>) -> Result<Option<Json>, Problem> {
        Ok(loads(context).results.one(self.id()).await?.map(|result| Json::from(&*result)))
    }

    /// Its task.
    async fn task(&self, context: &Context<'_>) -> Result<Option<Task>, Problem> {
        Ok(Some(Task { item: loads(context).task(self.item.readiness.task_id).await? }))
    }

    /// The steps on which it depends, by step number.
    #[graphql(complexity = "1 + SOME * child_complexity")]
    async fn parents(&self, context: &Context<'_>) -> Result<Option<Vec<WorkflowStep>>, Problem> {
        Self::relatives(context, &self.item.parent_step_ids).await
    }

    /// The steps that depend on it, by step number.
    #[graphql(complexity = "1 + SOME * child_complexity")]
    async fn children(&self, context: &Context<'_>) -> Result<Option<Vec<WorkflowStep>>, Problem> {
        Self::relatives(context, &self.item.child_step_ids).await
    }

    /// Its last 1,000 attempts, the first first.
    #[graphql(complexity = "1 + SOME * child_complexity")]
    async fn workflow_step_attempts(
        &self,
        context: &Context<'_>,
    ) -> Result<Option<Arc<Vec<WorkflowStepAttempt>>>, Problem> {
        let loads = loads(context);
        let attempts = loads.attempts.one(self.id()).await?.unwrap_or_default();
        loads.count(attempts.len())?;
        Ok(Some(attempts))
    }

    /// Every cause why it does not run, followed up the graph to the roots of the trouble; of a step that may run, what can be seen.
    #[graphql(complexity = "1 + SOME * child_complexity")]
    async fn explain(&self, context: &Context<'_>) -> Result<Option<Arc<Vec<Cause>>>, Problem> {
        let loads = loads(context);
        let causes = loads.causes.one(self.id()).await?.unwrap_or_default();
        loads.count(causes.len())?;
        Ok(Some(causes))
    }

    /// What happened to it, the first first.
    #[graphql(complexity = "cost(first, child_complexity)")]
    async fn transitions(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "At most so many, 1 to 1000; 50 by default.")] first: Option<i32>,
        #[graphql(desc = "What follows this cursor.")] after: Option<String>,
    ) -> Result<Option<Connection<String, Transition>>, Problem> {
        let readiness = &self.item.readiness;
        transitions(loads(context), readiness.task_id, Some(readiness.step_number), first, after).await.map(Some)
    }
}

/// A step's state from now on.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(super) struct StepNow {
    /// The step's id.
    pub workflow_step_id: Uuid,
    /// Its state.
    pub state: StepState,
}

#[ComplexObject]
impl StepNow {
    /// The step.
    async fn workflow_step(&self, context: &Context<'_>) -> Result<Option<WorkflowStep>, Problem> {
        let step = loads(context).steps.one(self.workflow_step_id).await?;
        Ok(Some(WorkflowStep { item: step.ok_or_else(|| Problem::unknown_step(self.workflow_step_id))? }))
    }
}
