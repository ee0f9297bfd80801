//! The models of the task views: what a task is doing, and what to do about it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::{FromRow, types::Json};
use uuid::Uuid;

use crate::{
    Error,
    readiness::{TaskState, UNFINISHED_TASKS},
    store::Store,
};

/// A row of `tasker.task_execution_contexts`.
#[derive(Clone, Debug, Serialize, Deserialize, FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "graphql", derive(async_graphql::SimpleObject))]
pub struct TaskExecutionContext {
    /// The task.
    pub task_id: Uuid,
    /// The workflow's version.
    pub named_task_id: i32,
    /// Its state: in progress from the first claim on.
    pub status: TaskState,
    /// Whether it is paused.
    pub paused: bool,
    /// How many steps it has; the counts by state add up to it.
    pub total_steps: i64,
    /// How many are pending.
    pub pending_steps: i64,
    /// How many are in progress.
    pub in_progress_steps: i64,
    /// How many are complete.
    pub completed_steps: i64,
    /// How many have failed, those that wait for a retry included.
    pub failed_steps: i64,
    /// How many are cancelled.
    pub cancelled_steps: i64,
    /// How many a person resolved.
    pub resolved_manually_steps: i64,
    /// How many their handlers skipped.
    pub skipped_steps: i64,
    /// How many may be claimed now.
    pub ready_steps: i64,
    /// What it is doing, in one word.
    pub execution_status: String,
    /// What to do about it, in one word.
    pub recommended_action: String,
    /// Satisfied steps of all steps, 0 to 100.
    pub completion_percentage: f64,
    /// `healthy`, `recovering`, `blocked` or `unknown`.
    pub health_status: String,
    /// The earliest instant over its open steps.
    pub next_retry_at: Option<DateTime<Utc>>,
}

/// A row of `tasker.task_workflow_summaries`.
#[derive(Clone, Debug, Serialize, FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "graphql", derive(async_graphql::SimpleObject), graphql(name = "TaskWorkflowSummaryRow"))]
pub struct TaskWorkflowSummary {
    /// Its execution context.
    #[serde(flatten)]
    #[sqlx(flatten)]
    #[cfg_attr(feature = "graphql", graphql(flatten))]
    pub context: TaskExecutionContext,
    /// Ids of its steps without parents.
    pub root_step_ids: Vec<Uuid>,
    /// How many there are.
    pub root_step_count: i64,
    /// Ids of the steps that are neither finished, running nor ready.
    pub blocked_step_ids: Vec<Uuid>,
    /// Their blocking reasons, keyed by step id.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    #[cfg_attr(feature = "graphql", graphql(skip))]
    pub blocking_reasons: Json<Box<RawValue>>,
    /// Ids of the steps that are ready.
    pub next_executable_step_ids: Vec<Uuid>,
    /// `batch_parallel` (more than 5 ready), `small_parallel` (more than 1), `sequential` (1) or `waiting`.
    pub processing_strategy: String,
}

impl TaskWorkflowSummary {
    /// One task's summary; `None`: there is no such task.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn find(store: &Store, task_id: Uuid) -> Result<Option<TaskWorkflowSummary>, Error> {
        Ok(Self::for_tasks(store, &[task_id]).await?.into_iter().next())
    }

    /// Summaries of tasks, of those that there are. One statement.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn for_tasks(store: &Store, task_ids: &[Uuid]) -> Result<Vec<TaskWorkflowSummary>, Error> {
        let columns = COLUMNS.trim_end_matches("from ");
        let sql = format!(
            "{columns}, c.root_step_ids, c.root_step_count, c.blocked_step_ids, c.blocking_reasons, c.next_executable_step_ids, c.processing_strategy
             from (select distinct unnest((select $1::uuid[])) as id) w
             cross join lateral (select * from tasker.task_workflow_summaries c where c.task_id = w.id offset 0) c"
        );
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(task_ids).fetch_all(store.pool()).await?)
    }
}

const COLUMNS: &str = "select c.task_id, c.named_task_id, c.status, c.paused, c.total_steps, c.pending_steps, c.in_progress_steps, c.completed_steps, \
     c.failed_steps, c.cancelled_steps, c.resolved_manually_steps, c.skipped_steps, c.ready_steps, c.execution_status, c.recommended_action, \
     c.completion_percentage::float8 as completion_percentage, c.health_status, c.next_retry_at from ";

impl TaskExecutionContext {
    /// One task's context; `None`: there is no such task.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn find(store: &Store, task_id: Uuid) -> Result<Option<TaskExecutionContext>, Error> {
        let sql = format!("{COLUMNS} tasker.task_execution_contexts c where c.task_id = $1");
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(task_id).fetch_optional(store.pool()).await?)
    }

    /// Contexts of tasks, in the order of their ids; of those that there are. One statement.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn for_tasks(store: &Store, task_ids: &[Uuid]) -> Result<Vec<TaskExecutionContext>, Error> {
        let sql = format!(
            "{COLUMNS} (select distinct unnest((select $1::uuid[])) as id) w
             cross join lateral (select * from tasker.task_execution_contexts c where c.task_id = w.id offset 0) c order by c.task_id"
        );
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(task_ids).fetch_all(store.pool()).await?)
    }

    /// Tasks with a step that may be claimed now. Starts from the queue.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn with_ready_steps(store: &Store) -> Result<Vec<TaskExecutionContext>, Error> {
        // offset 0: one task after the other, whatever the planner believes of their number
        Self::list(
            store,
            "(select distinct r.task_id as id from tasker.ready_steps r) r
             cross join lateral (select * from tasker.task_execution_contexts c where c.task_id = r.id offset 0) c where c.ready_steps > 0",
        )
        .await
    }

    /// Tasks that go on only when a person acts. Reads those that are live or have failed, and no other.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn blocked(store: &Store) -> Result<Vec<TaskExecutionContext>, Error> {
        Self::list(
            store,
            &format!(
                "{UNFINISHED_TASKS} k
                 cross join lateral (select * from tasker.task_execution_contexts c where c.task_id = k.task_id offset 0) c
                 where c.execution_status = 'blocked_by_failures'"
            ),
        )
        .await
    }

    /// Tasks whose steps are all satisfied. Reads all tasks.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn complete(store: &Store) -> Result<Vec<TaskExecutionContext>, Error> {
        Self::list(store, "tasker.task_execution_contexts c where c.execution_status = 'all_complete'").await
    }

    async fn list(store: &Store, from: &str) -> Result<Vec<TaskExecutionContext>, Error> {
        let sql = format!("{COLUMNS} {from} order by c.task_id");
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(store.pool()).await?)
    }

    /// Whether a step is ready or running.
    pub fn has_work_to_do(&self) -> bool {
        matches!(self.execution_status.as_str(), "has_ready_steps" | "processing")
    }

    /// Whether it goes on only when a person acts.
    pub fn is_blocked(&self) -> bool {
        self.execution_status == "blocked_by_failures"
    }

    /// Whether nothing more happens by itself: it has ended, is paused, or goes on only when a person acts.
    pub fn rests(&self) -> bool {
        matches!(self.recommended_action.as_str(), "none" | "handle_failures" | "resume_task")
    }

    /// Whether all its steps are satisfied.
    pub fn is_complete(&self) -> bool {
        self.execution_status == "all_complete"
    }
}
