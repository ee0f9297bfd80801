//! Reading a task's steps back: how each stands, what came of it, and every cause why one does not run.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use super::Store;
use crate::{Error, readiness::StepState};

/// A step of a task as it stands, with what came of it.
#[derive(Clone, Debug, FromRow)]
pub struct StepItem {
    /// Its id.
    pub workflow_step_id: Uuid,
    /// Its number in the task, from 0.
    pub step_number: i32,
    /// Its name.
    pub name: String,
    /// What runs it.
    pub handler: String,
    /// Its state.
    pub state: StepState,
    /// Attempts so far, a running one included.
    pub attempts: i32,
    /// The greatest number of attempts.
    pub retry_limit: i32,
    /// Why it may not be claimed now, in one word; `None`: it may.
    pub blocking_reason: Option<String>,
    /// It may not start before this instant.
    pub next_retry_at: Option<DateTime<Utc>>,
    /// How many of its parents satisfy it.
    pub completed_parents: i32,
    /// How many parents it has.
    pub total_parents: i32,
    /// Whether no other step depends on it.
    pub is_leaf: bool,
    /// Of a step that is not satisfied: a stable word for its last transition's failure.
    pub error_kind: Option<String>,
    /// Of a step that is not satisfied: the message of its last failure, if that recorded one.
    pub error: Option<String>,
    /// The result of a satisfied step, JSON text as it is stored; `None` too where results were not asked for.
    pub result: Option<String>,
}

impl StepItem {
    /// Whether it runs again only when a person acts.
    pub fn is_dead(&self) -> bool {
        self.state == StepState::Cancelled
            || matches!(self.blocking_reason.as_deref(), Some("not_retryable" | "retries_exhausted"))
    }
}

/// One cause why a step does not run, or what can be seen of a step that may.
#[derive(Clone, Debug, Serialize, FromRow)]
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
    /// A task's steps by number, at most so many, from the number `from` on.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn steps_of(
        &self,
        task_id: Uuid,
        from: i32,
        at_most: i32,
        with_results: bool,
    ) -> Result<Vec<StepItem>, Error> {
        Ok(sqlx::query_as(
            "select v.workflow_step_id, v.step_number, v.name, h.name as handler, v.current_state as state, v.attempts, v.retry_limit,
               v.blocking_reason, v.next_retry_at, v.completed_parents, v.total_parents, n.child_count = 0 as is_leaf,
               s.error_kind, e.error, r.result::text as result
             from tasker.step_readiness_statuses v
             join tasker.handlers h on h.handler_id = v.handler_id
             join tasker.named_tasks_named_steps n on n.named_task_id = v.named_task_id and n.step_number = v.step_number
             left join lateral (
               select t.error_kind, t.number from tasker.workflow_step_transitions t
               where t.task_id = v.task_id and t.step_number = v.step_number
                 and v.current_state not in ('complete', 'resolved_manually', 'skipped')
               order by t.number desc limit 1) s on true
             left join lateral (
               select x.error from tasker.step_errors x
               where x.task_id = v.task_id and x.step_number = v.step_number and s.number is not null
               order by x.number desc limit 1) e on true
             left join tasker.step_results r on $4 and r.task_id = v.task_id and r.step_number = v.step_number
             where v.task_id = $1 and v.step_number >= $2 and v.step_number < $2 + $3
             order by v.step_number",
        )
        .bind(task_id)
        .bind(from)
        .bind(at_most)
        .bind(with_results)
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
