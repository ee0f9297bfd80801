//! Reading what happened, in the order in which it can be understood.

use serde_json::value::RawValue;
use sqlx::{AssertSqlSafe, FromRow, Row, postgres::PgRow, types::Json};
use uuid::Uuid;

use super::Store;
use crate::{
    Error,
    events::{Cursor, Event, Payload, Place, Transition, Window},
};

impl FromRow<'_, PgRow> for Event {
    fn from_row(row: &PgRow) -> Result<Event, sqlx::Error> {
        Ok(Event { cursor: Cursor::trusted(row.try_get("cursor")?), transition: Transition::from_row(row)? })
    }
}

/// What happened to whom, and from where on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct History {
    /// The task.
    pub task_id: Uuid,
    /// One of its steps; `None`: the task and all of its steps.
    pub step_number: Option<i32>,
    /// After this place; `None`: from the beginning.
    pub after: Option<Place>,
    /// At most so many.
    pub at_most: i64,
}

/// The columns of [`Transition`].
const COLUMNS: &str = "number, task_id, step_number, workflow_step_id, kind, to_state, at, attempt, error_kind, next_retry_at, actor, reason";

impl Store {
    /// A cursor behind everything that has happened.
    ///
    /// # Errors
    /// [`Error::Refused`] (`not_the_primary`), [`Error::Database`].
    pub async fn events_now(&self) -> Result<Cursor, Error> {
        Ok(Cursor::trusted(sqlx::query_scalar("select tasker.events_now()").fetch_one(&self.pool).await?))
    }

    /// What happened after a cursor (`None`: from the beginning), to everything or to one task. At most so many, 1 to 100,000.
    ///
    /// # Errors
    /// [`Error::Refused`]: `cursor_gone` (a restored dump, or a failover, began another history), `not_the_primary`, `bad_limit`; [`Error::Database`].
    pub async fn read_events(
        &self,
        after: Option<&Cursor>,
        task_id: Option<Uuid>,
        at_most: i32,
    ) -> Result<Window, Error> {
        match self.window(after, task_id, at_most).await {
            Err(Error::Refused { code, .. }) if code == "no_epoch" => {
                sqlx::query("select tasker.begin_event_epoch()").execute(&self.pool).await?;
                self.window(after, task_id, at_most).await
            }
            answer => answer,
        }
    }

    async fn window(&self, after: Option<&Cursor>, task_id: Option<Uuid>, at_most: i32) -> Result<Window, Error> {
        let sql = format!("select cursor, {COLUMNS} from tasker.read_events($1, $2, $3)");
        let mut rows = sqlx::query(AssertSqlSafe(sql))
            .bind(after.map(Cursor::as_str))
            .bind(at_most)
            .bind(task_id)
            .fetch_all(&self.pool)
            .await?;
        let mut next = None;
        if let Some(last) = rows.pop_if(|last| last.try_get::<Option<i64>, _>("number").is_ok_and(|n| n.is_none())) {
            next = Some(Cursor::trusted(last.try_get("cursor")?));
        }
        let events = rows.iter().map(Event::from_row).collect::<Result<Vec<_>, _>>()?;
        let is_whole = next.is_some();
        let next = next.or_else(|| events.last().map(|event| event.cursor.clone()));
        Ok(Window { next: next.ok_or(sqlx::Error::RowNotFound)?, events, is_whole })
    }

    /// What happened to a task, or to one of its steps, in its order.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn transitions(&self, of: &History) -> Result<Vec<Transition>, Error> {
        let found = self.transitions_of(std::slice::from_ref(of)).await?;
        Ok(found.into_iter().map(|(_, transition)| transition).collect())
    }

    /// The same for many tasks and steps, each from its own place on. One statement; each transition with the place of what it was asked for in `of`.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn transitions_of(&self, of: &[History]) -> Result<Vec<(usize, Transition)>, Error> {
        let after = |history: &History| history.after.unwrap_or(Place { number: -1, step_number: None });
        let sql = format!(
            "select w.place, e.* from unnest((select $1::uuid[]), (select $2::int[]), (select $3::bigint[]), (select $4::int[]), (select $5::bigint[]))
               with ordinality w(task_id, step_number, after, after_step, at_most, place)
             cross join lateral (
               (select {COLUMNS} from tasker.events e
                where w.step_number is null and e.task_id = w.task_id and (e.number, coalesce(e.step_number, -1)) > (w.after, w.after_step)
                order by e.number, coalesce(e.step_number, -1) limit w.at_most)
               union all
               (select {COLUMNS} from tasker.events e
                where e.step_number = w.step_number and e.task_id = w.task_id and (e.number, e.step_number) > (w.after, w.after_step)
                order by e.number limit w.at_most)) e
             order by w.place, e.number, coalesce(e.step_number, -1)"
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(of.iter().map(|history| history.task_id).collect::<Vec<_>>())
            .bind(of.iter().map(|history| history.step_number).collect::<Vec<_>>())
            .bind(of.iter().map(|history| after(history).number).collect::<Vec<_>>())
            .bind(of.iter().map(|history| after(history).step_number.unwrap_or(-1)).collect::<Vec<_>>())
            .bind(of.iter().map(|history| history.at_most).collect::<Vec<_>>())
            .fetch_all(&self.pool)
            .await?;
        let read = |row: &PgRow| Ok((row.try_get::<i64, _>("place")? as usize - 1, Transition::from_row(row)?));
        rows.iter().map(read).collect()
    }

    /// What the views say now of the tasks and steps to which something happened: one query, whatever their number.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn event_payloads(&self, events: &[Event]) -> Result<Vec<Payload>, Error> {
        let mut of: Vec<(Uuid, i32)> = events.iter().map(|e| (e.task_id, e.step_number.unwrap_or(-1))).collect();
        of.extend(events.iter().map(|event| (event.task_id, -1)));
        of.sort_unstable();
        of.dedup();
        let (tasks, steps): (Vec<Uuid>, Vec<i32>) = of.into_iter().unzip();
        let rows = sqlx::query(
            "select w.task_id, nullif(w.step_number, -1) as step_number, p.payload
             from unnest((select $1::uuid[]), (select $2::int[])) w(task_id, step_number)
             cross join lateral (
               select row_to_json(x) as payload from (
                 select c.*, s.name as namespace, n.name as workflow, n.version, y.summary, y.tags
                 from tasker.task_execution_contexts c
                 join tasker.named_tasks n on n.named_task_id = c.named_task_id
                 join tasker.task_namespaces s on s.task_namespace_id = n.task_namespace_id
                 join tasker.task_payloads y on y.task_id = c.task_id
                 where w.step_number = -1 and c.task_id = w.task_id) x
               union all
               select row_to_json(x) from (
                 select v.*, array(
                   select p.name from tasker.named_task_edges e
                   join tasker.named_tasks_named_steps p on p.named_task_id = e.named_task_id and p.step_number = e.from_step
                   where e.named_task_id = v.named_task_id and e.to_step = v.step_number order by p.step_number) as dependencies
                 from tasker.step_readiness_statuses v
                 where w.step_number >= 0 and v.task_id = w.task_id and v.step_number = w.step_number) x
               offset 0) p",
        )
        .bind(tasks)
        .bind(steps)
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Payload {
                    task_id: row.try_get("task_id")?,
                    step_number: row.try_get("step_number")?,
                    json: row.try_get::<Json<Box<RawValue>>, _>("payload")?.0,
                })
            })
            .collect()
    }
}
