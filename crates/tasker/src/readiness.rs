//! The models of the step views: which steps may run now, and why not the others. Rust asks; it does not recompute.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{
    FromRow, Postgres, TypeInfo,
    error::BoxDynError,
    postgres::{PgTypeInfo, PgValueRef},
};
use uuid::Uuid;

use crate::{Error, store::Store};

/// A step's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "graphql", derive(async_graphql::Enum), graphql(rename_items = "snake_case"))]
pub enum StepState {
    /// Nothing has happened, or it may be claimed again.
    Pending,
    /// A worker runs it.
    InProgress,
    /// Done.
    Complete,
    /// Its last attempt failed.
    Failed,
    /// A person cancelled it.
    Cancelled,
    /// A person gave its result.
    ResolvedManually,
    /// Its handler had nothing to do.
    Skipped,
}

/// A task's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "graphql", derive(async_graphql::Enum), graphql(rename_items = "snake_case"))]
pub enum TaskState {
    /// No step has been claimed.
    Pending,
    /// Some step has been claimed.
    InProgress,
    /// Every step is satisfied.
    Complete,
    /// No step can run, and not all are satisfied.
    Failed,
    /// A person cancelled it.
    Cancelled,
    /// A person dealt with it.
    ResolvedManually,
}

macro_rules! words {
    ($type:ty as $sql:literal { $($variant:ident: $word:literal),* $(,)? }) => {
        impl $type {
            /// The word in the database, the APIs and the command line.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
        // an enum of the database travels as its word; a parameter is sent as text and cast in the statement
        impl sqlx::Type<Postgres> for $type {
            fn type_info() -> PgTypeInfo {
                <str as sqlx::Type<Postgres>>::type_info()
            }
            fn compatible(type_info: &PgTypeInfo) -> bool {
                type_info.name().rsplit('.').next() == Some($sql) || <str as sqlx::Type<Postgres>>::compatible(type_info)
            }
        }
        impl<'r> sqlx::Decode<'r, Postgres> for $type {
            fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
                Ok(value.as_str()?.parse()?)
            }
        }
        impl std::str::FromStr for $type {
            type Err = String;
            fn from_str(word: &str) -> Result<Self, String> {
                match word {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(format!("`{word}` is none of {}", [$($word),*].join(", "))),
                }
            }
        }
    };
}

words!(StepState as "step_state" {
    Pending: "pending", InProgress: "in_progress", Complete: "complete", Failed: "failed", Cancelled: "cancelled",
    ResolvedManually: "resolved_manually", Skipped: "skipped",
});
words!(TaskState as "task_state" {
    Pending: "pending", InProgress: "in_progress", Complete: "complete", Failed: "failed", Cancelled: "cancelled",
    ResolvedManually: "resolved_manually",
});

impl TaskState {
    /// Whether something may still start in it.
    pub fn is_live(self) -> bool {
        matches!(self, TaskState::Pending | TaskState::InProgress)
    }
}

/// A row of `tasker.step_readiness_statuses`.
#[derive(Clone, Debug, Serialize, Deserialize, FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "graphql", derive(async_graphql::SimpleObject))]
pub struct StepReadinessStatus {
    /// The step's id.
    pub workflow_step_id: Uuid,
    /// The task.
    pub task_id: Uuid,
    /// The step's number in it, from 0.
    pub step_number: i32,
    /// The named step.
    pub named_step_id: i32,
    /// Its name.
    pub name: String,
    /// Its state.
    pub current_state: StepState,
    /// Whether every parent satisfies it.
    pub dependencies_satisfied: bool,
    /// Whether attempts are left, it is retryable, and due.
    pub retry_eligible: bool,
    /// Whether it may be claimed now.
    pub ready_for_execution: bool,
    /// Why not, in one word.
    pub blocking_reason: Option<String>,
    /// When an attempt last failed.
    pub last_failure_at: Option<DateTime<Utc>>,
    /// It may not start before this instant.
    pub next_retry_at: Option<DateTime<Utc>>,
    /// How many parents it has.
    pub total_parents: i32,
    /// How many of them satisfy it.
    pub completed_parents: i32,
    /// Attempts so far, a running one included.
    pub attempts: i32,
    /// The greatest number of attempts.
    pub retry_limit: i32,
    /// The delay that the far side asked for, in seconds.
    pub backoff_request_seconds: Option<f64>,
    /// When it was last claimed.
    pub last_attempted_at: Option<DateTime<Utc>>,
}

/// The ids of all tasks that are live or have failed, each once, from the hot set and an index: a live task that is not paused
/// has a ready step or a lease.
pub(crate) const UNFINISHED_TASKS: &str = "(select k.task_id from (
     select r.task_id from tasker.ready_steps r union select l.task_id from tasker.leases l
     union select h.task_id from tasker.task_transitions h where h.paused or h.to_state = 'failed') u
   cross join lateral (
     select k.task_id from tasker.tasks k where k.task_id = u.task_id and k.state in ('pending', 'in_progress', 'failed') offset 0) k)";

const STEP_COLUMNS: &str = "select v.workflow_step_id, v.task_id, v.step_number, v.named_step_id, v.name, v.current_state, \
     v.dependencies_satisfied, v.retry_eligible, v.ready_for_execution, v.blocking_reason, v.last_failure_at, \
     v.next_retry_at, v.total_parents, v.completed_parents, v.attempts, v.retry_limit, \
     v.backoff_request_seconds, v.last_attempted_at from ";

/// Which steps to ask for. Built from [`StepReadinessStatus`]'s scopes; every scope can be narrowed by another.
#[derive(Clone, Debug)]
pub struct StepScope {
    conditions: Vec<&'static str>,
    task_id: Option<Uuid>,
    step_id: Option<Uuid>,
}

impl StepReadinessStatus {
    fn scope(condition: &'static str) -> StepScope {
        StepScope { conditions: vec![condition], task_id: None, step_id: None }
    }

    /// The steps of one task.
    pub fn for_task(task_id: Uuid) -> StepScope {
        StepScope { conditions: Vec::new(), task_id: Some(task_id), step_id: None }
    }

    /// Steps that may be claimed now. Over all tasks it starts from the queue.
    pub fn ready() -> StepScope {
        Self::scope("v.ready_for_execution")
    }

    /// Steps that wait for a parent. Over all tasks it reads every task that is live or has failed, and no other.
    pub fn blocked_by_dependencies() -> StepScope {
        Self::scope("v.blocking_reason = 'dependencies_not_satisfied'")
    }

    /// Steps that wait for a retry, or have none left. Over all tasks it reads every task that is live or has failed, and no other.
    pub fn blocked_by_retry() -> StepScope {
        Self::scope("v.blocking_reason in ('waiting_for_retry', 'retries_exhausted', 'not_retryable')")
    }

    /// One step; `None`: there is no such step.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn find(store: &Store, workflow_step_id: Uuid) -> Result<Option<StepReadinessStatus>, Error> {
        let scope = StepScope { conditions: Vec::new(), task_id: None, step_id: Some(workflow_step_id) };
        Ok(scope.all(store).await?.into_iter().next())
    }

    /// The steps of some tasks, by task and step number, at most so many. One statement.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn for_tasks(store: &Store, task_ids: &[Uuid], at_most: i64) -> Result<Vec<StepReadinessStatus>, Error> {
        let sql = format!(
            "{STEP_COLUMNS} (select distinct unnest((select $1::uuid[])) as id) w
             cross join lateral (select * from tasker.step_readiness_statuses v where v.task_id = w.id offset 0) v
             order by v.task_id, v.step_number limit $2"
        );
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(task_ids).bind(at_most).fetch_all(store.pool()).await?)
    }

    /// Whether its children may run.
    pub fn is_satisfied(&self) -> bool {
        matches!(self.current_state, StepState::Complete | StepState::ResolvedManually | StepState::Skipped)
    }

    /// Whether it runs again only when a person acts.
    pub fn is_dead(&self) -> bool {
        self.current_state == StepState::Cancelled
            || matches!(self.blocking_reason.as_deref(), Some("not_retryable" | "retries_exhausted"))
    }

    /// Whether it may be claimed now.
    pub fn can_execute_now(&self) -> bool {
        self.ready_for_execution
    }

    /// How long until it may be claimed, where only time holds it back: zero where it is ready, `None` where nobody knows.
    pub fn time_until_ready(&self, now: DateTime<Utc>) -> Option<Duration> {
        match self.blocking_reason.as_deref() {
            None => Some(Duration::ZERO),
            Some("waiting_for_retry" | "scheduled_for_later") => {
                Some((self.next_retry_at? - now).to_std().unwrap_or(Duration::ZERO))
            }
            Some(_) => None,
        }
    }
}

impl StepScope {
    /// Only this task's steps.
    pub fn for_task(mut self, task_id: Uuid) -> StepScope {
        self.task_id = Some(task_id);
        self
    }

    /// Only steps that may be claimed now.
    pub fn ready(mut self) -> StepScope {
        self.conditions.push("v.ready_for_execution");
        self
    }

    /// The rows, by task and step number.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn all(&self, store: &Store) -> Result<Vec<StepReadinessStatus>, Error> {
        let mut sql = String::from(STEP_COLUMNS);
        sql.push_str(&match (self.task_id, self.step_id) {
            (_, Some(_)) => {
                "tasker.step_readiness_statuses v where v.task_id = tasker.task_of($1) and v.step_number = tasker.step_number_of($1)".into()
            }
            (Some(_), None) => "tasker.step_readiness_statuses v where v.task_id = $1".into(),
            // over all tasks: from the hot set where that is all that can match, else from the live tasks; offset 0: one
            // after the other, whatever the planner believes of their number
            (None, None) if self.conditions.contains(&"v.ready_for_execution") => {
                "tasker.ready_steps r cross join lateral (
                   select * from tasker.step_readiness_statuses v where v.task_id = r.task_id and v.step_number = r.step_number offset 0) v
                 where $1::uuid is null"
                    .into()
            }
            (None, None) => format!(
                "{UNFINISHED_TASKS} k
                 cross join lateral (select * from tasker.step_readiness_statuses v where v.task_id = k.task_id offset 0) v
                 where $1::uuid is null"
            ),
        });
        for condition in &self.conditions {
            sql.push_str(" and ");
            sql.push_str(condition);
        }
        sql.push_str(" order by v.task_id, v.step_number");
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(self.step_id.or(self.task_id)).fetch_all(store.pool()).await?)
    }
}
