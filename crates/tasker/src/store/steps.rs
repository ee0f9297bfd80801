//! Reading a task's steps back: how each stands, what came of it, and every cause why one does not run.

use std::ops::Deref;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::{AssertSqlSafe, FromRow, types::Json};
use uuid::Uuid;

use super::Store;
use crate::{Error, readiness::StepReadinessStatus};

/// A step as the views have it: its readiness, where it stands in the graph, and what came of it.
#[derive(Clone, Debug, Serialize, Deserialize, FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkflowStep {
    /// Whether it may run now, and why not.
    #[serde(flatten)]
    #[sqlx(flatten)]
    pub readiness: StepReadinessStatus,
    /// What runs it.
    pub handler: String,
    /// Ids of its parents, by step number.
    pub parent_step_ids: Vec<Uuid>,
    /// Ids of its children, by step number.
    pub child_step_ids: Vec<Uuid>,
    /// Edges on the longest path from a root: its level.
    pub max_depth_from_root: i32,
    /// Of a step that is not satisfied: a stable word for its last transition's failure.
    pub error_kind: Option<String>,
    /// Of a step that is not satisfied: the message of its last failure, if that recorded one.
    pub error: Option<String>,
    /// The result of a satisfied step, as it is stored; `null` too where results were not asked for.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Value>))]
    pub result: Option<Json<Box<RawValue>>>,
}

impl Deref for WorkflowStep {
    type Target = StepReadinessStatus;

    fn deref(&self) -> &StepReadinessStatus {
        &self.readiness
    }
}

/// An attempt of a step: a row of `tasker.workflow_step_attempts`.
#[derive(Clone, Debug, Serialize, Deserialize, FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkflowStepAttempt {
    /// The step's id.
    pub workflow_step_id: Uuid,
    /// The attempt's number; a number given back is used again.
    pub attempt: i32,
    /// The claim.
    pub claim_id: Uuid,
    /// Who ran it.
    pub worker_id: Option<Uuid>,
    /// When it was claimed.
    pub started_at: DateTime<Utc>,
    /// When the claim ended; `None` while it runs.
    pub ended_at: Option<DateTime<Utc>>,
    /// `in_progress`, `complete`, `skipped`, `failed`, `cancelled`, `waits` (until an instant) or `released`.
    pub outcome: String,
    /// A stable word for the failure.
    pub error_kind: Option<String>,
    /// The message of the failure.
    pub error: Option<String>,
}

/// Which of a task's steps.
#[derive(Clone, Copy, Debug)]
pub enum Steps<'a> {
    /// At most so many, by number, from this number on.
    From(i32, i32),
    /// The one with this name.
    Named(&'a str),
}

/// One cause why a step does not run, or what can be seen of a step that may.
#[derive(Clone, Debug, Serialize, Deserialize, FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Cause {
    /// The step that has it: the one asked about, or one that it waits for.
    pub workflow_step_id: Uuid,
    /// That step's number.
    pub step_number: i32,
    /// That step's name.
    pub name: String,
    /// The cause, in one word.
    pub cause: String,
    /// A sentence.
    pub detail: String,
    /// Whether it keeps the step from being claimed.
    pub blocks: bool,
    /// The earliest instant at which the step asked about could start, where that is known.
    pub start_at: Option<DateTime<Utc>>,
}

impl Store {
    /// A task's steps, with their parents and children. One statement, whatever their number.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn workflow_steps(
        &self,
        task_id: Uuid,
        which: Steps<'_>,
        with_results: bool,
    ) -> Result<Vec<WorkflowStep>, Error> {
        let (from, to, name) = match which {
            Steps::From(from, at_most) => (from, from.saturating_add(at_most), None),
            Steps::Named(name) => (0, i32::MAX, Some(name)),
        };
        let sql = format!(
            "select v.*, h.name as handler, d.parent_step_ids, d.child_step_ids, d.max_depth_from_root, s.error_kind, e.error, r.result
             from tasker.step_readiness_statuses v
             join tasker.handlers h on h.handler_id = v.handler_id
             cross join lateral (
               select d.parent_step_ids, d.child_step_ids, d.max_depth_from_root from tasker.step_dag_relationships d
               where d.task_id = v.task_id and d.step_number = v.step_number offset 0) d
             left join lateral (
               select t.error_kind, t.number from tasker.workflow_step_transitions t
               where t.task_id = v.task_id and t.step_number = v.step_number and v.current_state not in ('complete', 'resolved_manually', 'skipped')
               order by t.number desc limit 1) s on true
             left join lateral (
               select x.error from tasker.step_errors x
               where x.task_id = v.task_id and x.step_number = v.step_number and s.number is not null order by x.number desc limit 1) e on true
             left join tasker.step_results r on $4 and r.task_id = v.task_id and r.step_number = v.step_number
             where v.task_id = $1 and {}
             order by v.step_number",
            // the number is in the index: a name is one node's
            match name {
                None => "v.step_number >= $2 and v.step_number < $3 and $5::text is null",
                Some(_) => {
                    "$2 <= $3 and v.step_number = (
                       select n.step_number from tasker.tasks k join tasker.named_tasks_named_steps n on n.named_task_id = k.named_task_id
                       where k.task_id = $1 and n.name = $5)"
                }
            }
        );
        Ok(sqlx::query_as(AssertSqlSafe(sql))
            .bind(task_id)
            .bind(from)
            .bind(to)
            .bind(with_results)
            .bind(name)
            .fetch_all(&self.pool)
            .await?)
    }

    /// A step's attempts, the first one first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn attempts(&self, workflow_step_id: Uuid) -> Result<Vec<WorkflowStepAttempt>, Error> {
        Ok(sqlx::query_as(
            "select a.workflow_step_id, a.attempt, a.claim_id, a.worker_id, a.started_at, a.ended_at, a.outcome, a.error_kind, a.error
             from tasker.workflow_step_attempts a
             where a.task_id = tasker.task_of($1) and a.step_number = tasker.step_number_of($1) order by a.started_at, a.attempt",
        )
        .bind(workflow_step_id)
        .fetch_all(&self.pool)
        .await?)
    }

    /// The id of the step with this name in a task; `None`: it has none.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn step_named(&self, task_id: Uuid, name: &str) -> Result<Option<Uuid>, Error> {
        let id = sqlx::query_scalar(
            "select tasker.step_id(k.task_id, n.step_number) from tasker.tasks k
             join tasker.named_tasks_named_steps n on n.named_task_id = k.named_task_id
             where k.task_id = $1 and n.name = $2",
        );
        Ok(id.bind(task_id).bind(name).fetch_optional(&self.pool).await?)
    }

    /// All causes why a step does not run, followed up the graph to the roots of the trouble; to a step that may run and
    /// does not, what can be seen.
    ///
    /// # Errors
    /// `unknown_step`.
    pub async fn explain_step(&self, workflow_step_id: Uuid) -> Result<Vec<Cause>, Error> {
        let causes = sqlx::query_as("select * from tasker.explain_step($1)");
        Ok(causes.bind(workflow_step_id).fetch_all(&self.pool).await?)
    }
}
