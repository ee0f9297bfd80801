//! Submitting tasks, the verbs by hand, and reading tasks back.

use chrono::{DateTime, Datelike, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::{PgConnection, Postgres, Row, postgres::PgArguments, query::Query};
use uuid::Uuid;

use super::{Store, again, workflows::lane};
use crate::{
    Error,
    readiness::{StepState, TaskState},
    workflow::Priority,
};

/// The greatest size of a task's tags, in bytes: they stand in every line of a list and in what is told of an event.
const MAX_TAGS: usize = 16 << 10;

/// What may be said of a task when it is submitted.
#[derive(Clone, Debug, Default)]
pub struct Submission {
    /// Which version of the workflow; `None`: its highest release. Only where the workflow is named, and its version is not.
    pub version: Option<String>,
    /// The same key and body, within 30 days, gives the first task; 1 to 255 characters.
    pub idempotency_key: Option<String>,
    /// One live task of the namespace has this key at a time, else the live one is returned; 1 to 255 characters.
    pub unique_while_live: Option<String>,
    /// No step starts before this instant.
    pub run_at: Option<DateTime<Utc>>,
    /// Its lane; `None`: each node's own.
    pub priority: Option<Priority>,
    /// Open steps fail when it passes.
    pub deadline: Option<DateTime<Utc>>,
    /// An object of names and values to find it by; at most 16 KiB.
    pub tags: Option<serde_json::Value>,
    /// One line for people, at most 500 characters.
    pub summary: Option<String>,
    /// Who submits it, for the task's history; at most 255 characters.
    pub actor: Option<String>,
}

impl Submission {
    /// As `submit_task` checks it.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |code: &str, message: &str| Err(Error::Refused { code: code.into(), message: message.into() });
        if self.tags.as_ref().is_some_and(|tags| !tags.is_object()) {
            return refuse("bad_tags", "tags are an object of names and values");
        }
        let bytes = self.tags.as_ref().map_or(0, |tags| tags.to_string().len());
        if bytes > MAX_TAGS {
            return refuse("too_large", &format!("the object of tags has {bytes} bytes, and {MAX_TAGS} are allowed"));
        }
        if self.summary.as_ref().is_some_and(|text| text.chars().count() > 500 || text.contains(['\r', '\n'])) {
            return refuse("bad_summary", "a summary is one line of at most 500 characters");
        }
        let is_an_instant = |at: &DateTime<Utc>| (1..=9999).contains(&at.year());
        if ![self.run_at, self.deadline].iter().flatten().all(is_an_instant) {
            return refuse("bad_instant", "run_at and deadline are instants of the years 1 to 9999");
        }
        if self.actor.as_ref().is_some_and(|actor| actor.chars().count() > 255) {
            return refuse("bad_reason", "an actor's name has at most 255 characters");
        }
        let keys = [&self.idempotency_key, &self.unique_while_live];
        if keys.into_iter().flatten().any(|key| !(1..=255).contains(&key.chars().count())) {
            return refuse("bad_key", "an idempotency key or a unique key has 1 to 255 characters");
        }
        Ok(())
    }
}

/// A submitted task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = SubmittedTask))]
pub struct Submitted {
    /// Its id.
    pub task_id: Uuid,
    /// Whether it was there already: by its idempotency key, or as the live one of its unique key.
    pub existing: bool,
}

/// A task to be submitted.
pub(crate) struct NewTask {
    /// The workflow's version.
    pub named_task_id: i32,
    /// The input with its defaults, JSON text.
    pub context: String,
    /// What the caller asked for, JSON text: the body under an idempotency key.
    pub asked: String,
    /// What else was said.
    pub submission: Submission,
}

/// A query with the values of `tasker.submit_tasks` bound to it.
pub(super) fn bind<'q>(
    query: Query<'q, Postgres, PgArguments>,
    tasks: &[&NewTask],
) -> Query<'q, Postgres, PgArguments> {
    let column = |f: &dyn Fn(&Submission) -> Option<String>| tasks.iter().map(|t| f(&t.submission)).collect::<Vec<_>>();
    let instants =
        |f: &dyn Fn(&Submission) -> Option<DateTime<Utc>>| tasks.iter().map(|t| f(&t.submission)).collect::<Vec<_>>();
    let asked = |t: &&NewTask| t.submission.idempotency_key.is_some().then(|| t.asked.clone());
    query
        .bind(tasks.iter().map(|t| t.named_task_id).collect::<Vec<_>>())
        .bind(tasks.iter().map(|t| t.context.clone()).collect::<Vec<_>>())
        .bind(column(&|s| s.idempotency_key.clone()))
        .bind(column(&|s| s.unique_while_live.clone()))
        .bind(instants(&|s| s.run_at))
        .bind(tasks.iter().map(|t| t.submission.priority.map(lane)).collect::<Vec<_>>())
        .bind(instants(&|s| s.deadline))
        .bind(column(&|s| s.tags.as_ref().map(|t| t.to_string())))
        .bind(column(&|s| s.summary.clone()))
        .bind(tasks.iter().map(asked).collect::<Vec<_>>())
        .bind(column(&|s| s.actor.clone()))
}

/// Submits many tasks in the caller's transaction.
pub(crate) async fn submit(connection: &mut PgConnection, tasks: &[&NewTask]) -> Result<Vec<Submitted>, Error> {
    let submit =
        "select task_id, existing from tasker.submit_tasks($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) order by ord";
    let rows = bind(sqlx::query(submit), tasks).fetch_all(connection).await?;
    rows.iter()
        .map(|row| Ok(Submitted { task_id: row.try_get("task_id")?, existing: row.try_get("existing")? }))
        .collect()
}

/// Who does something by hand, and why.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByHand<'a> {
    /// Who.
    pub actor: Option<&'a str>,
    /// Why.
    pub reason: Option<&'a str>,
}

/// A verb over one id that gives the new state.
macro_rules! verbs {
    ($($(#[$doc:meta])* $name:ident($sql:literal) -> $state:ty;)*) => {
        impl Store {
            $($(#[$doc])*
            #[doc = ""]
            /// # Errors
            /// [`Error::Refused`]: `unknown_task` or `unknown_step`, `task_not_live`, `task_is_finished`, `step_is_finished`, `nothing_to_retry`, as the verb may be;
            /// [`Error::Database`].
            pub async fn $name(&self, id: Uuid, by: ByHand<'_>) -> Result<$state, Error> {
                again(|| sqlx::query_scalar($sql).bind(id).bind(by.reason).bind(by.actor).fetch_one(&self.pool)).await
            })*
        }
    };
}

verbs! {
    /// Cancels every unfinished step of a task, leased ones too, and the task.
    cancel_task("select tasker.cancel_task($1, $2, $3)") -> TaskState;
    /// Starts nothing new in a task until it is resumed.
    pause_task("select tasker.pause_task($1, $2, $3)") -> TaskState;
    /// Lets a paused task go on.
    resume_task("select tasker.resume_task($1, $2, $3)") -> TaskState;
    /// Begins every dead or cancelled step of a task anew.
    retry_task("select tasker.retry_task($1, $2, $3)") -> TaskState;
    /// Ends a task as dealt with by hand; its unfinished steps are cancelled.
    resolve_task("select tasker.resolve_task($1, $2, $3)") -> TaskState;
    /// Cancels an unfinished step of a live task.
    cancel_step("select tasker.cancel_step($1, $2, $3)") -> StepState;
    /// Begins a dead or cancelled step anew; a step that waits for its retry is due now.
    retry_step("select tasker.retry_step($1, $2, $3)") -> StepState;
}

impl Store {
    /// Gives a pending, failed or cancelled step, its parents satisfied, a result by hand.
    ///
    /// # Errors
    /// [`Error::Refused`]: `unknown_step`, `task_not_live`, `step_is_finished`, `step_in_progress`, `dependencies_not_satisfied`; [`Error::Json`]:
    /// what [`json::check`](crate::json::check) refuses; [`Error::Database`].
    pub async fn resolve_step(&self, id: Uuid, result: &RawValue, by: ByHand<'_>) -> Result<StepState, Error> {
        self.with_json("select tasker.resolve_step($1, $2::json, $3, $4)", id, result, by).await
    }

    /// Replaces the rendered arguments of a pending or failed step, from its next attempt on.
    ///
    /// # Errors
    /// [`Error::Refused`]: `unknown_step`, `task_not_live`, `step_not_waiting`; [`Error::Json`]; [`Error::Database`].
    pub async fn edit_step_input(&self, id: Uuid, input: &RawValue, by: ByHand<'_>) -> Result<StepState, Error> {
        self.with_json("select tasker.edit_step_input($1, $2::json, $3, $4)", id, input, by).await
    }

    /// Changes an unfinished step's greatest number of attempts, never below those counted.
    ///
    /// # Errors
    /// [`Error::Refused`]: `unknown_step`, `task_not_live`, `step_is_finished`, `limit_too_low`; [`Error::Database`].
    pub async fn change_retry_limit(&self, id: Uuid, limit: i32, by: ByHand<'_>) -> Result<StepState, Error> {
        let sql = "select tasker.change_retry_limit($1, $2, $3, $4)";
        again(|| sqlx::query_scalar(sql).bind(id).bind(limit).bind(by.reason).bind(by.actor).fetch_one(&self.pool))
            .await
    }

    async fn with_json(
        &self,
        sql: &'static str,
        id: Uuid,
        json: &RawValue,
        by: ByHand<'_>,
    ) -> Result<StepState, Error> {
        again(|| sqlx::query_scalar(sql).bind(id).bind(json.get()).bind(by.reason).bind(by.actor).fetch_one(&self.pool))
            .await
    }

    /// Whether a task goes on by itself, seen from its own row: a live one that is not paused does. `None`: there is no such task.
    pub(crate) async fn goes_on(&self, task_id: Uuid) -> Result<Option<bool>, Error> {
        let sql = "select state in ('pending', 'in_progress') and not paused from tasker.tasks where task_id = $1";
        Ok(sqlx::query_scalar(sql).bind(task_id).fetch_optional(&self.pool).await?)
    }

    /// The version with which a task runs; `None`: there is no such task.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn workflow_of(&self, task_id: Uuid) -> Result<Option<(i32, String)>, Error> {
        let row = sqlx::query(
            "select n.named_task_id, n.content_hash from tasker.tasks k
             join tasker.named_tasks n on n.named_task_id = k.named_task_id where k.task_id = $1",
        )
        .bind(task_id)
        .fetch_optional(&self.pool)
        .await?;
        row.map(|r| Ok((r.try_get(0)?, r.try_get(1)?))).transpose()
    }

    /// Contexts of tasks, as JSON text; of those that there are. One statement.
    ///
    /// # Errors
    /// [`Error::Refused`] (`too_many`: more than 32 MiB together), [`Error::Database`].
    pub async fn contexts_of(&self, task_ids: &[Uuid]) -> Result<Vec<(Uuid, String)>, Error> {
        let sql = "select task_id, context::text from tasker.task_payloads where task_id = any($1)";
        self.gather(sqlx::query_as(sql).bind(task_ids), |(_, context): &(Uuid, String)| context.len()).await
    }

    /// A task's context, as JSON text.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn context_of(&self, task_id: Uuid) -> Result<Option<String>, Error> {
        Ok(self.contexts_of(&[task_id]).await?.pop().map(|(_, context)| context))
    }
}
