//! Reading a task's steps back: how each stands, what came of it, and every cause why one does not run.

use std::ops::Deref;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::{AssertSqlSafe, FromRow, types::Json};
use uuid::Uuid;

use super::{ByHand, Store};
use crate::{
    Error,
    readiness::{StepReadinessStatus, StepState},
};

/// A step as the views have it: its readiness, where it stands in the graph, and what came of it.
#[derive(Clone, Debug, Serialize, Deserialize, FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "graphql", derive(async_graphql::SimpleObject), graphql(name = "WorkflowStepRow"))]
pub struct WorkflowStep {
    /// Whether it may run now, and why not.
    #[serde(flatten)]
    #[sqlx(flatten)]
    #[cfg_attr(feature = "graphql", graphql(flatten))]
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
    #[cfg_attr(feature = "graphql", graphql(skip))]
    pub result: Option<Json<Box<RawValue>>>,
}

impl WorkflowStep {
    /// What may be large in it.
    fn bytes(&self) -> usize {
        self.result.as_ref().map_or(0, |result| result.get().len()) + self.error.as_ref().map_or(0, String::len)
    }
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
#[cfg_attr(feature = "graphql", derive(async_graphql::SimpleObject))]
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

/// How many bytes of results and errors a page of steps has, besides its last step's.
const MAX_PAGE: usize = 16 << 20;
/// How many attempts of a step are read at most: its history has all of them.
const MAX_ATTEMPTS: i64 = 1000;

/// Which of a task's steps.
#[derive(Clone, Copy, Debug)]
pub enum Steps<'a> {
    /// At most so many, by number, from this number on.
    From(i32, i32),
    /// The one with this name.
    Named(&'a str),
}

/// A verb over a step.
#[derive(Clone, Copy, Debug)]
pub enum StepVerb<'a> {
    /// Begins it anew; one that waits for its retry is due now.
    Retry,
    /// Cancels it, also while it runs.
    Cancel,
    /// Gives it its result.
    Resolve(&'a RawValue),
    /// Replaces its input.
    EditInput(&'a RawValue),
    /// Changes its greatest number of attempts.
    ChangeLimit(i32),
}

/// One cause why a step does not run, or what can be seen of a step that may.
#[derive(Clone, Debug, Serialize, Deserialize, FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "graphql", derive(async_graphql::SimpleObject))]
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

/// Some steps of a task: a page of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StepPage {
    /// The task.
    pub task_id: Uuid,
    /// Only the one with this name.
    pub name: Option<String>,
    /// From this number on, where no name is said.
    pub from: i32,
    /// At most so many.
    pub at_most: i32,
}

/// The query for rows of [`WorkflowStep`]: of the steps `v`, with their results where `results` holds.
fn workflow_steps(columns: &str, steps: &str, results: &str, rest: &str) -> String {
    format!(
        "select {columns} v.*, h.name as handler, d.max_depth_from_root, s.error_kind, e.error, r.result,
           array(select tasker.step_id_after(d.prefix, p) from (select unnest(d.parents) as p) p) as parent_step_ids,
           array(select tasker.step_id_after(d.prefix, c) from (select unnest(d.children) as c) c) as child_step_ids
         from {steps}
         join tasker.handlers h on h.handler_id = v.handler_id
         cross join lateral (
           select d.parents, d.children, d.max_depth_from_root, left(v.task_id::text, 30) as prefix from tasker.named_tasks_named_steps d
           where d.named_task_id = v.named_task_id and d.step_number = v.step_number offset 0) d
         left join lateral (
           select t.error_kind, t.number from tasker.workflow_step_transitions t
           where t.task_id = v.task_id and t.step_number = v.step_number and v.current_state not in ('complete', 'resolved_manually', 'skipped')
           order by t.number desc limit 1) s on true
         left join lateral (
           select x.error from tasker.step_errors x
           where x.task_id = v.task_id and x.step_number = v.step_number and s.number is not null order by x.number desc limit 1) e on true
         left join tasker.step_results r on {results} and r.task_id = v.task_id and r.step_number = v.step_number
         {rest}
         order by {columns} v.task_id, v.step_number"
    )
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
        Ok(self.steps_until(task_id, which, with_results, usize::MAX).await?.0)
    }

    /// The same as far as 16 MiB of results and errors go; and whether it ended there.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn workflow_steps_page(
        &self,
        task_id: Uuid,
        which: Steps<'_>,
        with_results: bool,
    ) -> Result<(Vec<WorkflowStep>, bool), Error> {
        self.steps_until(task_id, which, with_results, MAX_PAGE).await
    }

    async fn steps_until(
        &self,
        task_id: Uuid,
        which: Steps<'_>,
        with_results: bool,
        bytes: usize,
    ) -> Result<(Vec<WorkflowStep>, bool), Error> {
        let (from, to, name) = match which {
            Steps::From(from, at_most) => (from, from.saturating_add(at_most), None),
            Steps::Named(name) => (0, i32::MAX, Some(name)),
        };
        let sql = workflow_steps(
            "",
            "tasker.step_readiness_statuses v",
            "$4",
            // the number is in the index: a name is one node's
            match name {
                None => "where v.task_id = $1 and v.step_number >= $2 and v.step_number < $3 and $5::text is null",
                Some(_) => {
                    "where v.task_id = $1 and $2 <= $3 and v.step_number = (
                       select n.step_number from tasker.step_dag_relationships n where n.task_id = $1 and n.name = $5)"
                }
            },
        );
        let steps = sqlx::query_as(AssertSqlSafe(sql)).bind(task_id).bind(from).bind(to).bind(with_results).bind(name);
        self.until(steps, bytes, WorkflowStep::bytes).await
    }

    /// Pages of tasks' steps, without their results. One statement; each step with the place of its page in `pages`.
    ///
    /// # Errors
    /// [`Error::Refused`] (`too_many`: more than 32 MiB of results and errors), [`Error::Database`].
    pub async fn workflow_step_pages(&self, pages: &[StepPage]) -> Result<Vec<(usize, WorkflowStep)>, Error> {
        #[derive(FromRow)]
        struct Placed {
            place: i64,
            #[sqlx(flatten)]
            step: WorkflowStep,
        }
        let sql = workflow_steps(
            "w.place,",
            "unnest((select $1::uuid[]), (select $2::text[]), (select $3::int[]), (select $4::int[])) with ordinality w(task_id, name, low, high, place)
             cross join lateral (
               select w.low, w.high where w.name is null
               union all
               select n.step_number, n.step_number + 1 from tasker.step_dag_relationships n
               where n.task_id = w.task_id and n.name = w.name) b
             cross join lateral (
               select * from tasker.step_readiness_statuses v
               where v.task_id = w.task_id and v.step_number >= b.low and v.step_number < b.high offset 0) v",
            "false",
            "",
        );
        let placed = sqlx::query_as(AssertSqlSafe(sql))
            .bind(pages.iter().map(|page| page.task_id).collect::<Vec<_>>())
            .bind(pages.iter().map(|page| page.name.clone()).collect::<Vec<_>>())
            .bind(pages.iter().map(|page| page.from).collect::<Vec<_>>())
            .bind(pages.iter().map(|page| page.from.saturating_add(page.at_most)).collect::<Vec<_>>());
        let placed = self.gather(placed, |placed: &Placed| placed.step.bytes()).await?;
        Ok(placed.into_iter().map(|Placed { place, step }| (place as usize - 1, step)).collect())
    }

    /// Steps by their ids, without their results; of those that there are. One statement.
    ///
    /// # Errors
    /// [`Error::Refused`] (`too_many`: more than 32 MiB of results and errors), [`Error::Database`].
    pub async fn workflow_steps_of(&self, workflow_step_ids: &[Uuid]) -> Result<Vec<WorkflowStep>, Error> {
        let sql = workflow_steps(
            "",
            "unnest((select $1::uuid[])) w(id)
             cross join lateral (
               select * from tasker.step_readiness_statuses v
               where v.task_id = tasker.task_of(w.id) and v.step_number = tasker.step_number_of(w.id) offset 0) v",
            "false",
            "",
        );
        self.gather(sqlx::query_as(AssertSqlSafe(sql)).bind(workflow_step_ids), WorkflowStep::bytes).await
    }

    /// Results of satisfied steps, by the steps' ids. One statement.
    ///
    /// # Errors
    /// [`Error::Refused`] (`too_many`: more than 32 MiB of results and errors), [`Error::Database`].
    pub async fn results_of(&self, workflow_step_ids: &[Uuid]) -> Result<Vec<(Uuid, Json<Box<RawValue>>)>, Error> {
        let results = sqlx::query_as(
            "select w.id, r.result from unnest((select $1::uuid[])) w(id)
             cross join lateral (
               select r.result from tasker.step_results r
               where r.task_id = tasker.task_of(w.id) and r.step_number = tasker.step_number_of(w.id) offset 0) r",
        );
        type Row = (Uuid, Json<Box<RawValue>>);
        self.gather(results.bind(workflow_step_ids), |(_, result): &Row| result.get().len()).await
    }

    /// The last 1,000 attempts of each of many steps, each one's first one first. One statement.
    ///
    /// # Errors
    /// [`Error::Refused`] (`too_many`: more than 32 MiB of results and errors), [`Error::Database`].
    pub async fn attempts_of(&self, workflow_step_ids: &[Uuid]) -> Result<Vec<WorkflowStepAttempt>, Error> {
        let attempts = sqlx::query_as(
            "select a.workflow_step_id, a.attempt, a.claim_id, a.worker_id, a.started_at, a.ended_at, a.outcome, a.error_kind, a.error
             from unnest((select $1::uuid[])) w(id)
             cross join lateral (
               select * from tasker.workflow_step_attempts a
               where a.task_id = tasker.task_of(w.id) and a.step_number = tasker.step_number_of(w.id)
               order by a.number desc limit $2) a
             order by a.workflow_step_id, a.number",
        );
        let bytes = |attempt: &WorkflowStepAttempt| attempt.error.as_ref().map_or(0, String::len);
        self.gather(attempts.bind(workflow_step_ids).bind(MAX_ATTEMPTS), bytes).await
    }

    /// [`explain_step`](Store::explain_step) for many steps, all of which there are: each cause with the step asked about, and no more steps than it takes to
    /// have so many causes. One statement.
    ///
    /// # Errors
    /// `unknown_step`.
    pub async fn explain_steps(&self, workflow_step_ids: &[Uuid], at_most: i64) -> Result<Vec<(Uuid, Cause)>, Error> {
        #[derive(FromRow)]
        struct Told {
            asked: Uuid,
            #[sqlx(flatten)]
            cause: Cause,
        }
        let causes: Vec<Told> = sqlx::query_as(
            "select w.id as asked, c.* from unnest((select $1::uuid[])) w(id) cross join lateral tasker.explain_step(w.id) c limit $2",
        )
        .bind(workflow_step_ids)
        .bind(at_most)
        .fetch_all(&self.pool)
        .await?;
        Ok(causes.into_iter().map(|Told { asked, cause }| (asked, cause)).collect())
    }

    /// A step's last 1,000 attempts, the first one first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn attempts(&self, workflow_step_id: Uuid) -> Result<Vec<WorkflowStepAttempt>, Error> {
        self.attempts_of(&[workflow_step_id]).await
    }

    /// All causes why a step does not run, followed up the graph to the roots of the trouble; to a step that may run and
    /// does not, what can be seen.
    ///
    /// # Errors
    /// `unknown_step`.
    pub async fn explain_step(&self, workflow_step_id: Uuid) -> Result<Vec<Cause>, Error> {
        Ok(self.explain_steps(&[workflow_step_id], i64::MAX).await?.into_iter().map(|(_, cause)| cause).collect())
    }

    /// Does a verb to a step. Gives its state from then on.
    ///
    /// # Errors
    /// As the verb.
    pub async fn to_step(&self, verb: StepVerb<'_>, id: Uuid, by: ByHand<'_>) -> Result<StepState, Error> {
        match verb {
            StepVerb::Retry => self.retry_step(id, by).await,
            StepVerb::Cancel => self.cancel_step(id, by).await,
            StepVerb::Resolve(result) => self.resolve_step(id, result, by).await,
            StepVerb::EditInput(input) => self.edit_step_input(id, input, by).await,
            StepVerb::ChangeLimit(limit) => self.change_retry_limit(id, limit, by).await,
        }
    }
}
