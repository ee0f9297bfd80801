//! Reading registered workflows back: their versions, their graphs.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::{FromRow, types::Json};

use super::Store;
use crate::Error;

/// A workflow's version.
#[derive(Clone, Debug, Serialize, Deserialize, FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "graphql", derive(async_graphql::SimpleObject), graphql(name = "NamedTaskRow"))]
pub struct NamedTask {
    /// Its id.
    pub named_task_id: i32,
    /// The tenant.
    pub namespace: String,
    /// The workflow's name.
    pub name: String,
    /// The version.
    pub version: String,
    /// One line or more for people.
    pub description: Option<String>,
    /// How many steps it has.
    pub total_steps: i32,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
}

/// A node of a workflow's graph.
#[derive(Clone, Debug, Serialize, Deserialize, FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "graphql", derive(async_graphql::SimpleObject))]
pub struct NamedStep {
    /// Its number, from 0.
    pub step_number: i32,
    /// Its name.
    pub name: String,
    /// What runs it.
    pub handler: String,
    /// Names of its parents, by step number.
    pub depends_on: Vec<String>,
    /// The greatest number of attempts.
    pub retry_limit: i32,
    /// Whether a failure may be tried again.
    pub retryable: bool,
    /// The greatest duration of an attempt, in seconds; `None`: unlimited.
    pub timeout: Option<f64>,
    /// How many steps with this name (and key) may run at once, as this version says: the one that was registered last counts.
    pub concurrency_limit: Option<i32>,
    /// Edges on the longest path from a root: its level.
    pub max_depth_from_root: i32,
    /// Edges on the longest path to a leaf.
    pub max_depth_to_leaf: i32,
}

/// A workflow's version, whole.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NamedTaskGraph {
    /// What it is.
    #[serde(flatten)]
    pub named_task: NamedTask,
    /// JSON Schema of a task's input; `None`: any object.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub input: Option<Box<RawValue>>,
    /// Its nodes, by number.
    pub steps: Vec<NamedStep>,
    /// Names of the steps by level: those of a level wait for none of it and for nothing beyond it.
    pub execution_order: Vec<Vec<String>>,
}

/// The bare graph of a workflow's version.
#[derive(Clone, Debug)]
pub struct Graph {
    /// `namespace.name version`.
    pub title: String,
    /// Its nodes, by number.
    pub nodes: Vec<GraphNode>,
    /// From which step number to which, ascending.
    pub edges: Vec<(usize, usize)>,
}

/// A node of it.
#[derive(Clone, Debug)]
pub struct GraphNode {
    /// Its name.
    pub name: String,
    /// What runs it.
    pub handler: String,
    /// Edges on the longest path from a root.
    pub level: usize,
}

const NAMED_TASK: &str =
    "t.named_task_id, s.name as namespace, t.name, t.version, t.definition ->> 'description' as description, t.total_steps, t.created_at
     from tasker.named_tasks t join tasker.task_namespaces s on s.task_namespace_id = t.task_namespace_id";

impl Store {
    /// Workflows' versions, the last one registered first, at most so many. `within`: only of these namespaces; `before`: only those registered before
    /// this one.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn named_tasks(
        &self,
        namespace: Option<&str>,
        name: Option<&str>,
        within: Option<&[String]>,
        before: Option<i32>,
        at_most: i64,
    ) -> Result<Vec<NamedTask>, Error> {
        let sql = format!(
            "select {NAMED_TASK}
             where ($1::text is null or s.name = $1) and ($2::text is null or t.name = $2) and ($3::int is null or t.named_task_id < $3)
               and ($5::text[] is null or s.name = any($5))
             order by t.named_task_id desc limit $4"
        );
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(namespace)
            .bind(name)
            .bind(before)
            .bind(at_most)
            .bind(within)
            .fetch_all(&self.pool)
            .await?)
    }

    /// The id of a version of a workflow; without one, of its highest release.
    ///
    /// # Errors
    /// [`Error::Refused`] (`unknown_workflow`), [`Error::Database`].
    pub async fn find_named_task(&self, namespace: &str, name: &str, version: Option<&str>) -> Result<i32, Error> {
        super::find_workflow(&mut *self.pool.acquire().await?, namespace, name, version).await
    }

    /// A workflow's version with its graph; `None`: there is none with this id. Two statements, whatever its size.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn named_task(&self, named_task_id: i32) -> Result<Option<NamedTaskGraph>, Error> {
        Ok(self.named_task_graphs(&[named_task_id]).await?.into_iter().next())
    }

    /// Workflows' versions, of those that there are. One statement.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn named_tasks_of(&self, named_task_ids: &[i32]) -> Result<Vec<NamedTask>, Error> {
        let sql = format!("select {NAMED_TASK} where t.named_task_id = any($1)");
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(named_task_ids).fetch_all(&self.pool).await?)
    }

    /// Workflows' versions with their graphs, of those that there are. Two statements, whatever their number and size.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn named_task_graphs(&self, named_task_ids: &[i32]) -> Result<Vec<NamedTaskGraph>, Error> {
        #[derive(FromRow)]
        struct Whole {
            #[sqlx(flatten)]
            named_task: NamedTask,
            input: Option<Json<Box<RawValue>>>,
        }
        #[derive(FromRow)]
        struct Node {
            named_task_id: i32,
            #[sqlx(flatten)]
            step: NamedStep,
        }
        let sql = format!(
            "select nullif(t.definition -> 'input' #>> '{{}}', 'null')::json as input, {NAMED_TASK} where t.named_task_id = any($1)"
        );
        let found: Vec<Whole> =
            sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(named_task_ids).fetch_all(&self.pool).await?;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let nodes: Vec<Node> = sqlx::query_as(
            "select n.named_task_id, n.step_number, n.name, h.name as handler, n.retry_limit, n.retryable, n.timeout, n.concurrency_limit, n.max_depth_from_root, n.max_depth_to_leaf,
               array(select p.name from tasker.named_task_edges e
                 join tasker.named_tasks_named_steps p on p.named_task_id = e.named_task_id and p.step_number = e.from_step
                 where e.named_task_id = n.named_task_id and e.to_step = n.step_number order by e.from_step) as depends_on
             from tasker.named_tasks_named_steps n join tasker.handlers h on h.handler_id = n.handler_id
             where n.named_task_id = any($1) order by n.named_task_id, n.step_number",
        )
        .bind(named_task_ids)
        .fetch_all(&self.pool)
        .await?;
        let mut steps: HashMap<i32, Vec<NamedStep>> = HashMap::new();
        for Node { named_task_id, step } in nodes {
            steps.entry(named_task_id).or_default().push(step);
        }
        let graph = |Whole { named_task, input }: Whole| {
            let steps = steps.remove(&named_task.named_task_id).unwrap_or_default();
            let mut execution_order: Vec<Vec<String>> = Vec::new();
            for step in &steps {
                let level = step.max_depth_from_root as usize;
                execution_order.resize(execution_order.len().max(level + 1), Vec::new());
                execution_order[level].push(step.name.clone());
            }
            NamedTaskGraph { named_task, input: input.map(|Json(input)| input), steps, execution_order }
        };
        Ok(found.into_iter().map(graph).collect())
    }

    /// The bare graph of a version: all of its edges in one statement.
    ///
    /// # Errors
    /// [`Error::Refused`] (`unknown_workflow`), [`Error::Database`].
    pub async fn graph(&self, named_task_id: i32) -> Result<Graph, Error> {
        let title: Option<String> = sqlx::query_scalar(
            "select s.name || '.' || t.name || ' ' || t.version from tasker.named_tasks t
             join tasker.task_namespaces s on s.task_namespace_id = t.task_namespace_id where t.named_task_id = $1",
        )
        .bind(named_task_id)
        .fetch_optional(&self.pool)
        .await?;
        let title = title.ok_or_else(|| Error::Refused {
            code: "unknown_workflow".into(),
            message: format!("there is no workflow with the id {named_task_id}"),
        })?;
        let nodes: Vec<(String, String, i32)> = sqlx::query_as(
            "select n.name, h.name, n.max_depth_from_root from tasker.named_tasks_named_steps n
             join tasker.handlers h on h.handler_id = n.handler_id where n.named_task_id = $1 order by n.step_number",
        )
        .bind(named_task_id)
        .fetch_all(&self.pool)
        .await?;
        let edges: Vec<(i32, i32)> = sqlx::query_as(
            "select e.from_step, e.to_step from tasker.named_task_edges e where e.named_task_id = $1 order by e.from_step, e.to_step",
        )
        .bind(named_task_id)
        .fetch_all(&self.pool)
        .await?;
        let node = |(name, handler, level)| GraphNode { name, handler, level: level as usize };
        Ok(Graph {
            title,
            nodes: nodes.into_iter().map(node).collect(),
            edges: edges.into_iter().map(|(from, to)| (from as usize, to as usize)).collect(),
        })
    }
}
