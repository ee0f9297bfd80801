//! Workflows' versions, with their graphs where these are asked for.

use std::sync::Arc;

use async_graphql::{ComplexObject, Context, SimpleObject};
use tasker::store::{self, NamedStep, NamedTaskGraph};

use super::scalars::{Json, loads};
use crate::problem::Problem;

/// For how many steps a workflow counts in the limit on complexity; they are counted, too, when they are there.
const SOME: usize = 20;

/// A workflow's version.
#[derive(Clone, SimpleObject)]
#[graphql(complex)]
pub(super) struct NamedTask {
    #[graphql(flatten)]
    pub item: store::NamedTask,
}

impl NamedTask {
    async fn graph(&self, context: &Context<'_>) -> Result<Option<Arc<NamedTaskGraph>>, Problem> {
        loads(context).graphs.one(self.item.named_task_id).await
    }
}

#[ComplexObject]
impl NamedTask {
    /// JSON Schema of a task's input; `null`: any object.
    async fn input(&self, context: &Context<'_>) -> Result<Option<Json>, Problem> {
        Ok(self.graph(context).await?.and_then(|graph| graph.input.as_deref().map(Json::from)))
    }

    /// Its nodes, by number.
    #[graphql(complexity = "1 + SOME * child_complexity")]
    async fn steps(&self, context: &Context<'_>) -> Result<Option<Vec<NamedStep>>, Problem> {
        loads(context).count(self.item.total_steps as usize)?;
        Ok(self.graph(context).await?.map(|graph| graph.steps.clone()))
    }

    /// Names of the steps by level: those of a level wait for none of it and for nothing beyond it.
    async fn execution_order(&self, context: &Context<'_>) -> Result<Option<Vec<Vec<String>>>, Problem> {
        loads(context).count(self.item.total_steps as usize)?;
        Ok(self.graph(context).await?.map(|graph| graph.execution_order.clone()))
    }
}
