//! Lists of tasks: by what is known of them, page by page, and a verb over all that match.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use chrono::{DateTime, Datelike, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use sqlx::{AssertSqlSafe, FromRow, Postgres, QueryBuilder, types::Json};
use uuid::Uuid;

use super::{ByHand, Store, again};
use crate::{
    Error,
    readiness::{TaskState, UNFINISHED_TASKS},
};

/// Whether one of a task's steps runs.
macro_rules! has_lease {
    () => {
        "exists (select from tasker.leases l where l.task_id = k.task_id offset 0)"
    };
}

/// A line of a list of tasks.
#[derive(Clone, Debug, Serialize, Deserialize, FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "graphql", derive(async_graphql::SimpleObject))]
pub struct TaskListItem {
    /// Its id.
    pub task_id: Uuid,
    /// The workflow's version.
    pub named_task_id: i32,
    /// `namespace.name`.
    pub workflow: String,
    /// The workflow's namespace.
    pub namespace: String,
    /// The workflow's name.
    pub name: String,
    /// The workflow's version.
    pub version: String,
    /// Its state: `in_progress` from the first claim on.
    pub state: TaskState,
    /// Whether it is paused.
    pub paused: bool,
    /// When it was submitted.
    pub created_at: DateTime<Utc>,
    /// No step starts before this instant.
    pub run_at: DateTime<Utc>,
    /// When its open steps fail.
    pub deadline: Option<DateTime<Utc>>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// Names and values to find it by, as they are stored.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    #[cfg_attr(feature = "graphql", graphql(skip))]
    pub tags: Option<Json<Box<RawValue>>>,
    /// One line for people.
    pub summary: Option<String>,
}

/// Which tasks: those of which all that is said holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "graphql", derive(async_graphql::InputObject))]
pub struct TaskFilter {
    /// Of workflows of this namespace.
    pub namespace: Option<String>,
    /// Of workflows of this name.
    pub name: Option<String>,
    /// Of this version.
    pub version: Option<String>,
    /// Whose state is this: `in_progress` from the first claim on.
    pub state: Option<TaskState>,
    /// That are paused, or are not.
    pub paused: Option<bool>,
    /// That are doing this: a word of `task_execution_contexts.execution_status`.
    pub execution_status: Option<String>,
    /// Whose tags contain this object.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub tags: Option<Value>,
    /// Whose context (their input) contains this object.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub context: Option<Value>,
    /// Submitted at this instant or later.
    pub created_after: Option<DateTime<Utc>>,
    /// Submitted before this instant.
    pub created_before: Option<DateTime<Utc>>,
    /// Of workflows of one of these namespaces: to what a caller is limited, never what he says.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(ignore))]
    #[cfg_attr(feature = "graphql", graphql(skip))]
    pub within: Option<Vec<String>>,
}

/// The words that `execution_status` can be, and whether a task that has not ended can be so.
const EXECUTION_STATUSES: [(&str, bool); 11] = [
    ("all_complete", false),
    ("cancelled", false),
    ("resolved_manually", false),
    ("blocked_by_failures", true),
    ("has_ready_steps", true),
    ("processing", true),
    ("paused", true),
    ("waiting_for_capacity", true),
    ("waiting_for_retry", true),
    ("scheduled", true),
    ("waiting_for_dependencies", true),
];

impl TaskFilter {
    fn check(&self) -> Result<(), Error> {
        let refuse = |code: &str, message: String| Err(Error::Refused { code: code.into(), message });
        if let Some(word) = &self.execution_status
            && !EXECUTION_STATUSES.iter().any(|(known, _)| known == word)
        {
            let known = EXECUTION_STATUSES.map(|(word, _)| word).join(", ");
            return refuse("bad_filter", format!("execution_status is one of {known}; {word:?} is none of them"));
        }
        let is_an_instant = |at: &DateTime<Utc>| (1..=9999).contains(&at.year());
        if ![self.created_after, self.created_before].iter().flatten().all(is_an_instant) {
            return refuse("bad_filter", "created_after and created_before are instants of the years 1 to 9999".into());
        }
        for (what, value) in [("tags", &self.tags), ("context", &self.context)] {
            if value.as_ref().is_some_and(|value| !value.is_object()) {
                return refuse("bad_filter", format!("{what} is an object of names and values that a task's contain"));
            }
        }
        Ok(())
    }

    /// Whether only tasks that are live or have failed can match.
    fn is_of_unfinished(&self) -> bool {
        let status = self.execution_status.as_deref();
        let unfinished = [TaskState::Pending, TaskState::InProgress, TaskState::Failed];
        self.state.is_some_and(|state| unfinished.contains(&state))
            || EXECUTION_STATUSES.iter().any(|(word, is_unfinished)| *is_unfinished && Some(*word) == status)
    }

    /// A query for the tasks that match, the newest first.
    fn query(&self, columns: &str, before: Option<Uuid>, at_most: i64) -> QueryBuilder<Postgres> {
        let mut sql = QueryBuilder::default();
        self.push(&mut sql, columns, before, at_most);
        sql
    }

    fn push(&self, sql: &mut QueryBuilder<Postgres>, columns: &str, before: Option<Uuid>, at_most: i64) {
        // from the hot set, or from what was ever paused, where that is all that can match
        let some = match self.paused {
            _ if self.is_of_unfinished() => Some(UNFINISHED_TASKS),
            Some(true) => Some(PAUSED_TASKS),
            _ => None,
        };
        let tasks = some.map_or("tasker.tasks k".into(), |some| {
            format!("{some} u cross join lateral (select * from tasker.tasks k where k.task_id = u.task_id offset 0) k")
        });
        sql.push(format!(
            "select {columns} from {tasks}
             {BESIDE} where true"
        ));
        // which workflows that is comes first: what is left is about a column of the task's own, and in an index
        let names = [("s.name", &self.namespace), ("n.name", &self.name), ("n.version", &self.version)];
        if self.within.is_some() || names.iter().any(|(_, text)| text.is_some()) {
            sql.push(
                " and k.named_task_id = any(array(select n.named_task_id from tasker.named_tasks n
                   join tasker.task_namespaces s on s.task_namespace_id = n.task_namespace_id where true",
            );
            for (condition, text) in names {
                if let Some(text) = text {
                    sql.push(format!(" and {condition} = ")).push_bind(text);
                }
            }
            if let Some(names) = &self.within {
                sql.push(" and s.name = any(").push_bind(names).push(")");
            }
            sql.push("))");
        }
        match self.state {
            // the claim does not write the task: as the views have it
            Some(TaskState::Pending) => {
                sql.push(concat!(" and k.state = 'pending' and not ", has_lease!()));
            }
            Some(TaskState::InProgress) => {
                sql.push(concat!(" and (k.state = 'in_progress' or k.state = 'pending' and ", has_lease!(), ")"));
            }
            Some(state) => {
                sql.push(" and k.state = ").push_bind(state.as_str()).push("::tasker.task_state");
            }
            None => {}
        }
        if let Some(paused) = self.paused {
            sql.push(" and k.paused = ").push_bind(paused);
        }
        for (column, object) in [("tags", &self.tags), ("context", &self.context)] {
            if let Some(object) = object {
                sql.push(format!(
                    " and k.task_id in (select p.task_id from tasker.task_payloads p where p.{column} @> "
                ))
                .push_bind(object)
                .push(")");
            }
        }
        // an id is made of the clock: nearly the instant, and in the index
        let near = |at: DateTime<Utc>| {
            let millis = at.timestamp_millis().clamp(0, (1 << 48) - 1) as u128;
            Uuid::from_u128(millis << 80)
        };
        if let Some(at) = self.created_after {
            sql.push(" and k.created_at >= ").push_bind(at);
            sql.push(" and k.task_id >= ").push_bind(near(at - TimeDelta::minutes(1)));
        }
        if let Some(at) = self.created_before {
            sql.push(" and k.created_at < ").push_bind(at);
            sql.push(" and k.task_id < ").push_bind(near(at + TimeDelta::minutes(1)));
        }
        if let Some(before) = before {
            sql.push(" and k.task_id < ").push_bind(before);
        }
        // what is over is so by its recorded state
        match self.execution_status.as_deref() {
            Some(state @ ("cancelled" | "resolved_manually")) => {
                sql.push(" and k.state = ").push_bind(state).push("::tasker.task_state");
            }
            Some("all_complete") => {
                sql.push(" and k.state in ('complete', 'pending', 'in_progress')");
            }
            _ => {}
        }
        if let Some(status) = &self.execution_status {
            sql.push(" and exists (select from tasker.task_execution_contexts c where c.task_id = k.task_id and c.execution_status = ");
            sql.push_bind(status).push(" offset 0)");
        }
        sql.push(" order by k.task_id desc limit ").push_bind(at_most);
    }
}

/// The ids of all tasks that were ever paused, and of some others, by an index.
const PAUSED_TASKS: &str =
    "(select distinct h.task_id from tasker.task_transitions h where h.paused or h.to_state = 'failed')";

/// What is known of a task besides its row: one probe of an index each, whatever the planner believes (offset 0).
const BESIDE: &str = "cross join lateral (select * from tasker.named_tasks n where n.named_task_id = k.named_task_id offset 0) n
     cross join lateral (select s.name from tasker.task_namespaces s where s.task_namespace_id = n.task_namespace_id offset 0) s
     cross join lateral (select p.tags, p.summary from tasker.task_payloads p where p.task_id = k.task_id offset 0) p";

/// The columns of [`TaskListItem`], of the tables that [`TaskFilter::query`] joins.
const ITEM: &str = concat!(
    "k.task_id, k.named_task_id, s.name || '.' || n.name as workflow, s.name as namespace, n.name, n.version, case when k.state = 'pending' and ",
    has_lease!(),
    " then 'in_progress' else k.state end as state, k.paused, k.created_at, k.run_at, k.deadline, k.finished_at, p.tags, p.summary"
);

/// A verb over a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "graphql", derive(async_graphql::Enum), graphql(rename_items = "snake_case"))]
pub enum TaskVerb {
    /// Cancels every unfinished step, leased ones too, and the task.
    Cancel,
    /// Starts nothing new until it is resumed.
    Pause,
    /// Lets a paused task go on.
    Resume,
    /// Begins every dead or cancelled step anew.
    Retry,
    /// Ends it as dealt with by hand.
    Resolve,
}

impl TaskVerb {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            TaskVerb::Cancel => "cancel",
            TaskVerb::Pause => "pause",
            TaskVerb::Resume => "resume",
            TaskVerb::Retry => "retry",
            TaskVerb::Resolve => "resolve",
        }
    }
}

/// What a verb over many tasks came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "graphql", derive(async_graphql::SimpleObject), graphql(name = "BulkReportRow"))]
pub struct BulkReport {
    /// How many tasks were looked at.
    pub matched: u64,
    /// How many of them it was done to.
    pub done: u64,
    /// How many refused it, by the refusal's code; `locked`: somebody had the task locked for more than a second.
    #[cfg_attr(feature = "graphql", graphql(skip))]
    pub refused: BTreeMap<String, u64>,
    /// Older tasks than this one have not been looked at; `None`: there is none.
    pub next: Option<Uuid>,
}

/// How many tasks of a verb over many are looked up at once.
const SOME: i64 = 100;
/// One that somebody has locked holds up the others for a second at most.
const FOR_A_SECOND: &str = "from (select set_config('lock_timeout', '1s', true) offset 0) patience";
/// After how long such a call ends, and says where to go on.
const BULK_TIME: Duration = Duration::from_secs(15);

impl Store {
    /// Tasks, the newest first, at most so many. `before`: only those older than that task.
    ///
    /// # Errors
    /// [`Error::Refused`] (`bad_filter`), [`Error::Database`].
    pub async fn tasks(
        &self,
        filter: &TaskFilter,
        before: Option<Uuid>,
        at_most: i64,
    ) -> Result<Vec<TaskListItem>, Error> {
        filter.check()?;
        Ok(filter.query(ITEM, before, at_most).build_query_as().fetch_all(&self.pool).await?)
    }

    /// One task's line; `None`: there is no such task.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn task(&self, task_id: Uuid) -> Result<Option<TaskListItem>, Error> {
        Ok(self.tasks_of(&[task_id], None).await?.into_iter().next())
    }

    /// Lines of tasks, of those that there are; `within`: only of these namespaces. One statement.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn tasks_of(&self, task_ids: &[Uuid], within: Option<&[String]>) -> Result<Vec<TaskListItem>, Error> {
        let sql = format!(
            "select {ITEM} from (select distinct unnest((select $1::uuid[])) as id) w
             cross join lateral (select * from tasker.tasks k where k.task_id = w.id offset 0) k
             {BESIDE} where $2::text[] is null or s.name = any($2)"
        );
        Ok(sqlx::query_as(AssertSqlSafe(sql)).bind(task_ids).bind(within).fetch_all(&self.pool).await?)
    }

    /// How many tasks match: counted up to so many.
    ///
    /// # Errors
    /// [`Error::Refused`] (`bad_filter`), [`Error::Database`].
    pub async fn count_tasks(&self, filter: &TaskFilter, at_most: i64) -> Result<i64, Error> {
        filter.check()?;
        let mut sql = QueryBuilder::new("select count(*) from (");
        filter.push(&mut sql, "k.task_id", None, at_most);
        Ok(sql.push(") m").build_query_scalar().fetch_one(&self.pool).await?)
    }

    /// Does a verb to every task that matches, the newest first, one after the other, each on its own; to at most so many, and for some 15 s.
    /// `before`: only to those older than that task.
    ///
    /// # Errors
    /// [`Error::Refused`] (`bad_filter`); [`Error::Database`]: what was done stays done.
    pub async fn to_tasks(
        &self,
        verb: TaskVerb,
        filter: &TaskFilter,
        before: Option<Uuid>,
        at_most: u64,
        by: ByHand<'_>,
    ) -> Result<BulkReport, Error> {
        filter.check()?;
        let (mut report, begin) = (BulkReport { next: before, ..BulkReport::default() }, Instant::now());
        while report.matched < at_most && begin.elapsed() < BULK_TIME {
            let wanted = SOME.min((at_most - report.matched) as i64);
            let ids: Vec<Uuid> =
                filter.query("k.task_id", report.next, wanted).build_query_scalar().fetch_all(&self.pool).await?;
            for id in &ids {
                if begin.elapsed() >= BULK_TIME {
                    return Ok(report);
                }
                match self.ask_task(verb, *id, by, FOR_A_SECOND).await {
                    Ok(_) => report.done += 1,
                    Err(Error::Refused { code, .. }) => *report.refused.entry(code).or_default() += 1,
                    Err(error) if error.sqlstate().as_deref() == Some("55P03") => {
                        *report.refused.entry("locked".into()).or_default() += 1;
                    }
                    Err(error) => return Err(error),
                }
                report.matched += 1;
                report.next = Some(*id);
            }
            if (ids.len() as i64) < wanted {
                report.next = None;
                break;
            }
        }
        Ok(report)
    }

    /// Does a verb to a task. Gives its state from then on.
    ///
    /// # Errors
    /// As the verb.
    pub async fn to_task(&self, verb: TaskVerb, task_id: Uuid, by: ByHand<'_>) -> Result<TaskState, Error> {
        self.ask_task(verb, task_id, by, "").await
    }

    /// `from`: what the statement does before the verb.
    async fn ask_task(&self, verb: TaskVerb, id: Uuid, by: ByHand<'_>, from: &str) -> Result<TaskState, Error> {
        let sql = format!("select tasker.{}_task($1, $2, $3) {from}", verb.as_str());
        let ask = || sqlx::query_scalar(AssertSqlSafe(sql.clone())).bind(id).bind(by.reason).bind(by.actor);
        again(|| ask().fetch_one(&self.pool)).await
    }
}
