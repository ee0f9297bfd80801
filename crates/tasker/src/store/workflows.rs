//! Registering workflows, and reading back what a worker needs to run their steps.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::TryStreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::{PgConnection, Row};

use super::Store;
use crate::{
    Error,
    workflow::{Definition, InputSchema, Priority},
};

/// A version's nodes, by step number.
#[derive(Debug)]
pub(crate) struct LoadedWorkflow {
    pub nodes: Vec<LoadedNode>,
    pub input: Option<InputSchema>,
}

/// What a worker needs to know of a node.
#[derive(Debug)]
pub(crate) struct LoadedNode {
    pub name: Arc<str>,
    pub handler: String,
    pub timeout: Option<Duration>,
    pub needs: Vec<i32>,
    pub with: Value,
}

impl Store {
    /// Writes a definition; the same content again gives the same id. Gives its `named_task_id`.
    ///
    /// # Errors
    /// [`Error::Refused`] (`version_taken`): the version has another content; [`Error::Database`].
    pub async fn register(&self, definition: &Definition) -> Result<i32, Error> {
        let levels = definition.levels();
        let steps = &definition.steps;
        let column_i32 = |f: &dyn Fn(usize) -> u32| (0..steps.len()).map(|i| f(i) as i32).collect::<Vec<i32>>();
        let seconds =
            |f: &dyn Fn(usize) -> Duration| (0..steps.len()).map(|i| f(i).as_secs_f64()).collect::<Vec<f64>>();
        let mut children = vec![Vec::new(); steps.len()];
        for (child, node) in steps.iter().enumerate() {
            node.parents.iter().for_each(|parent| children[*parent as usize].push(child));
        }
        Ok(sqlx::query_scalar(
            "select tasker.register_workflow($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15::json, $16, $17, $18, $19, $20, $21)",
        )
        .bind(&definition.namespace)
        .bind(&definition.name)
        .bind(&definition.version)
        .bind(json!(definition).to_string())
        .bind(definition.content_hash())
        .bind(steps.iter().map(|n| n.name.as_str()).collect::<Vec<_>>())
        .bind(steps.iter().map(|n| n.handler.as_str()).collect::<Vec<_>>())
        .bind(column_i32(&|i| steps[i].retry.max_attempts))
        .bind(steps.iter().map(|n| n.retry.retryable).collect::<Vec<_>>())
        .bind(seconds(&|i| steps[i].retry.base_delay))
        .bind(seconds(&|i| steps[i].retry.max_delay))
        .bind(steps.iter().map(|n| n.timeout.map(|t| t.as_secs_f64())).collect::<Vec<_>>())
        .bind(steps.iter().map(|n| lane(n.priority)).collect::<Vec<_>>())
        .bind(steps.iter().map(|n| n.concurrency.as_ref().map(|c| c.limit as i32)).collect::<Vec<_>>())
        .bind(json!(steps.iter().map(|n| n.concurrency.as_ref().map(|c| &c.key)).collect::<Vec<_>>()).to_string())
        .bind(steps.iter().map(|n| numbers(&n.needs)).collect::<Vec<_>>())
        .bind(steps.iter().map(|n| numbers(&n.parents)).collect::<Vec<_>>())
        .bind(children.iter().map(|children| numbers(children)).collect::<Vec<_>>())
        .bind(column_i32(&|i| levels[i].min_depth_from_root))
        .bind(column_i32(&|i| levels[i].max_depth_from_root))
        .bind(column_i32(&|i| levels[i].max_depth_to_leaf))
        .fetch_one(&self.pool)
        .await?)
    }

    pub(crate) async fn load_workflow(&self, named_task_id: i32) -> Result<LoadedWorkflow, Error> {
        let connection = &mut *self.pool.acquire().await?;
        let input = input_schema(connection, named_task_id).await?;
        let steps: String =
            sqlx::query_scalar("select (definition -> 'steps')::text from tasker.named_tasks where named_task_id = $1")
                .bind(named_task_id)
                .fetch_one(&mut *connection)
                .await?;
        let steps: Vec<StoredStep> =
            serde_json::from_str(&steps).map_err(|e| unreadable(named_task_id, e.to_string()))?;
        let mut withs: HashMap<String, Value> = steps.into_iter().map(|step| (step.name, step.with)).collect();
        // a workflow may have many: one row at a time
        let mut rows = sqlx::query(
            "select n.name, h.name as handler, n.timeout, n.needs
             from tasker.named_tasks_named_steps n join tasker.handlers h on h.handler_id = n.handler_id
             where n.named_task_id = $1 order by n.step_number",
        )
        .bind(named_task_id)
        .fetch(connection);
        let mut nodes = Vec::with_capacity(withs.len());
        while let Some(row) = rows.try_next().await? {
            let name: String = row.try_get("name")?;
            nodes.push(LoadedNode {
                with: withs.remove(&name).unwrap_or(Value::Null),
                name: name.into(),
                handler: row.try_get("handler")?,
                timeout: row.try_get::<Option<f64>, _>("timeout")?.map(Duration::from_secs_f64),
                needs: row.try_get("needs")?,
            });
        }
        Ok(LoadedWorkflow { nodes, input })
    }
}

/// What a worker reads of a step in a stored definition.
#[derive(Deserialize)]
struct StoredStep {
    name: String,
    #[serde(default)]
    with: Value,
}

/// Step numbers, as the text of an array.
fn numbers(numbers: &[impl ToString]) -> String {
    format!("{{{}}}", numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(","))
}

/// A priority's lane in the queue.
pub(crate) fn lane(priority: Priority) -> i16 {
    match priority {
        Priority::High => 0,
        Priority::Normal => 1,
        Priority::Low => 2,
    }
}

/// The `named_task_id` of a version, or of the highest release.
pub(crate) async fn find_workflow(
    connection: &mut PgConnection,
    namespace: &str,
    name: &str,
    version: Option<&str>,
) -> Result<i32, Error> {
    Ok(sqlx::query_scalar("select tasker.find_workflow($1, $2, $3)")
        .bind(namespace)
        .bind(name)
        .bind(version)
        .fetch_one(connection)
        .await?)
}

/// The schema of a version's input; `None`: it says none.
pub(crate) async fn input_schema(
    connection: &mut PgConnection,
    named_task_id: i32,
) -> Result<Option<InputSchema>, Error> {
    let stored: Option<Option<String>> =
        sqlx::query_scalar("select (definition -> 'input')::text from tasker.named_tasks where named_task_id = $1")
            .bind(named_task_id)
            .fetch_optional(connection)
            .await?;
    let schema = stored.ok_or_else(|| Error::Refused {
        code: "unknown_workflow".into(),
        message: format!("there is no workflow with the id {named_task_id}; register it first"),
    })?;
    match schema.as_deref() {
        None | Some("null") => Ok(None),
        Some(schema) => serde_json::from_str(schema)
            .map_err(|e| e.to_string())
            .and_then(|schema| InputSchema::compile(&schema))
            .map(Some)
            .map_err(|message| unreadable(named_task_id, message)),
    }
}

fn unreadable(named_task_id: i32, message: String) -> Error {
    Error::Json { what: format!("the definition of workflow {named_task_id}"), message }
}
