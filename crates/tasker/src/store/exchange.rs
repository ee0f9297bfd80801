//! A worker's calls: exchange, heartbeat, adopt, release, reap.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Row, postgres::PgRow, postgres::types::PgInterval};
use uuid::Uuid;

use super::{NewTask, Positions, Store, Submitted, tasks};
use crate::Error;

/// How a claim ended, handed in by a worker.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The task.
    pub task_id: Uuid,
    /// The step's number in it.
    pub step_number: i32,
    /// The claim that it ends.
    pub claim_id: Uuid,
    /// What the handler said.
    pub verdict: Verdict,
}

/// A handler's answer in the form that is stored.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Done; JSON text.
    Complete(String),
    /// Nothing to do; JSON text.
    Skip(String),
    /// Ask again at this instant.
    Wait(DateTime<Utc>),
    /// Ask again so long after this was recorded.
    WaitFor(Duration),
    /// The attempt failed.
    Fail {
        /// A message for people, at most 64 KiB, without NUL.
        error: String,
        /// A stable word.
        kind: String,
        /// `None`: as the node says.
        retryable: Option<bool>,
        /// The delay that the far side asked for, in seconds.
        delay: Option<f64>,
    },
}

/// What became of a settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is recorded, now or by an earlier call.
    Settled,
    /// The lease was gone: nothing was changed.
    LeaseLost,
    /// The step was cancelled meanwhile: nothing was changed.
    Cancelled,
}

/// What became of a heartbeat's claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// The lease runs anew from now on.
    Renewed,
    /// The lease is gone: stop.
    LeaseLost,
    /// The step is cancelled: stop.
    Cancelled,
    /// The row was locked: ask again.
    Unknown,
}

/// What became of a released claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Released {
    /// The attempt is given back.
    Released,
    /// It had been settled.
    Settled,
    /// The step was cancelled meanwhile.
    Cancelled,
    /// The lease was gone.
    LeaseLost,
}

/// A step that the worker holds now.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The task.
    pub task_id: Uuid,
    /// The step's number in it.
    pub step_number: i32,
    /// The workflow's version.
    pub named_task_id: i32,
    /// The attempt's number.
    pub attempt: i32,
    /// The fence.
    pub claim_id: Uuid,
    /// The greatest number of attempts.
    pub retry_limit: i32,
    /// How often it was retried by hand.
    pub generation: i32,
    /// The instant for which it asked to wait.
    pub timer: Option<DateTime<Utc>>,
    /// The task's context, JSON text; `None`: too large to send along, fetch it.
    pub context: Option<String>,
    /// Arguments that a person put in place of the rendered ones, JSON text.
    pub input: Option<String>,
    /// An object of results by step number, JSON text; `None`: too large to send along, fetch them.
    pub results: Option<String>,
}

/// An exchange's reply.
#[derive(Clone, Debug, Default)]
pub struct Exchanged {
    /// One for each settlement handed in, in their order.
    pub answers: Vec<Answer>,
    /// What the worker holds now.
    pub claimed: Vec<Claimed>,
    /// When the next step is due, where nothing is due now.
    pub next_in: Option<Duration>,
    /// Whether work that is due was left for others.
    pub left_over: bool,
    /// The task that was submitted first.
    pub submitted: Option<Submitted>,
}

const EXCHANGE: &str = "select x.* from tasker.exchange($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21) x";
/// The exchange depends on the submission, and so comes after it.
const SUBMIT_AND_EXCHANGE: &str = "select s.task_id as submitted_id, s.existing, x.*
    from tasker.submit_tasks($22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32) s
    cross join lateral tasker.exchange($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,
      case when s.task_id is not null then $15::int end, $16, $17, $18, $19, $20, $21) x";

impl Store {
    /// Settles, releases children, finishes tasks, claims: one call, one transaction, one round trip.
    /// `positions` are moved on; none: look for nothing beside the released children of these handlers. `only_task`: claim in this task alone. `reap_from`: reap first, in the same call, and move
    /// this position on; only without settlements. `submission`: a task to submit before anything else.
    #[expect(clippy::too_many_arguments, reason = "one call of the engine, made in one place")]
    pub(crate) async fn exchange(
        connection: &mut PgConnection,
        worker_id: Uuid,
        settlements: &[Settlement],
        handlers: &[i32],
        mut positions: Option<&mut Positions>,
        capacity: usize,
        lease: Duration,
        only_task: Option<Uuid>,
        mut reap_from: Option<&mut DateTime<Utc>>,
        submission: Option<&NewTask>,
    ) -> Result<Exchanged, Error> {
        let columns = Columns::of(settlements);
        // without lanes it does not look into the queue
        let from = positions.as_deref().map(Positions::columns).unwrap_or_default();
        let query = sqlx::query(if submission.is_some() { SUBMIT_AND_EXCHANGE } else { EXCHANGE })
            .bind(worker_id)
            .bind(&columns.tasks)
            .bind(&columns.steps)
            .bind(&columns.claims)
            .bind(&columns.outcomes)
            .bind(&columns.payloads)
            .bind(&columns.kinds)
            .bind(&columns.retryables)
            .bind(&columns.delays)
            .bind(&columns.instants)
            .bind(if positions.is_some() { &from.handlers } else { handlers })
            .bind(&from.lanes)
            .bind(&from.from)
            .bind(&from.after_keys)
            .bind(i32::try_from(capacity).unwrap_or(i32::MAX))
            .bind(interval(lease))
            .bind(only_task)
            .bind(reap_from.as_deref())
            .bind(&from.known_pairs)
            .bind(&from.known_keys)
            .bind(&from.known_from);
        let query = match submission {
            Some(task) => tasks::bind(query, &[task]),
            None => query,
        };
        let rows = query.fetch_all(connection).await?;
        let mut reply = Exchanged::default();
        for row in rows {
            if let Some(left_over) = row.try_get::<Option<bool>, _>("left_over")? {
                reply.left_over = left_over;
                if submission.is_some() {
                    let (task_id, existing) = (row.try_get("submitted_id")?, row.try_get("existing")?);
                    reply.submitted = Some(Submitted { task_id, existing });
                }
                if let (Some(from), Some(next)) = (reap_from.as_deref_mut(), row.try_get("next_reap_from")?) {
                    *from = next;
                }
                reply.answers = row
                    .try_get::<Option<Vec<String>>, _>("answers")?
                    .unwrap_or_default()
                    .iter()
                    .map(|a| match a.as_str() {
                        "settled" => Answer::Settled,
                        "cancelled" => Answer::Cancelled,
                        _ => Answer::LeaseLost,
                    })
                    .collect();
                reply.next_in = row.try_get::<Option<PgInterval>, _>("next_in")?.map(duration);
                if let Some(positions) = positions.as_deref_mut() {
                    positions.move_on(&row)?;
                }
            } else {
                reply.claimed.push(claimed(&row)?);
            }
        }
        Ok(reply)
    }

    /// Settles in the caller's transaction; children that may start then are left to whoever looks.
    pub(crate) async fn settle_in(connection: &mut PgConnection, settlement: &Settlement) -> Result<Answer, Error> {
        let (settlements, nobody) = (std::slice::from_ref(settlement), Uuid::nil());
        let reply =
            Store::exchange(connection, nobody, settlements, &[], None, 0, Duration::ZERO, None, None, None).await?;
        Ok(reply.answers.first().copied().unwrap_or(Answer::LeaseLost))
    }

    /// Which of the tasks nobody has locked at this moment.
    pub(crate) async fn not_locked(connection: &mut PgConnection, tasks: &[Uuid]) -> Result<Vec<Uuid>, Error> {
        let free = sqlx::query_scalar(
            "select k.task_id from tasker.tasks k where k.task_id = any($1) for no key update skip locked",
        );
        Ok(free.bind(tasks).fetch_all(connection).await?)
    }

    /// Leases under this worker's id that it does not know of: the reply to the call that made them was lost.
    /// They run anew from now on.
    pub(crate) async fn adopt(
        connection: &mut PgConnection,
        worker_id: Uuid,
        known: &[Uuid],
        lease: Duration,
    ) -> Result<Vec<Claimed>, Error> {
        let rows = sqlx::query("select * from tasker.adopt($1, $2, $3)")
            .bind(worker_id)
            .bind(known)
            .bind(interval(lease))
            .fetch_all(connection)
            .await?;
        rows.iter().map(claimed).collect()
    }

    /// Extends leases. One answer for each claim, in their order.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn heartbeat(
        connection: &mut PgConnection,
        worker_id: Uuid,
        claims: &[(Uuid, i32, Uuid)],
        lease: Duration,
    ) -> Result<Vec<Beat>, Error> {
        let (tasks, steps, ids) = split(claims);
        let answers: Vec<String> = sqlx::query_scalar("select tasker.heartbeat($1, $2, $3, $4, $5)")
            .bind(worker_id)
            .bind(tasks)
            .bind(steps)
            .bind(ids)
            .bind(interval(lease))
            .fetch_one(connection)
            .await?;
        Ok(answers
            .iter()
            .map(|a| match a.as_str() {
                "renewed" => Beat::Renewed,
                "cancelled" => Beat::Cancelled,
                "unknown" => Beat::Unknown,
                _ => Beat::LeaseLost,
            })
            .collect())
    }

    /// Gives claims back. One answer for each, in their order. Where somebody has locked the tasks of some, the others are given
    /// back all the same, and theirs is [`Released::LeaseLost`]: their lease will expire.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn release(&self, claims: &[(Uuid, i32, Uuid)]) -> Result<Vec<Released>, Error> {
        match self.release_all(claims).await {
            Err(error) if error.sqlstate().as_deref() == Some("55P03") => {}
            answers => return answers,
        }
        let tasks: Vec<Uuid> = claims.iter().map(|(task, ..)| *task).collect();
        let free = Store::not_locked(&mut *self.pool.acquire().await?, &tasks).await?;
        let is_free = |claim: &&(Uuid, i32, Uuid)| free.contains(&claim.0);
        let mut released =
            self.release_all(&claims.iter().filter(is_free).copied().collect::<Vec<_>>()).await?.into_iter();
        let answer = |claim| is_free(&claim).then(|| released.next()).flatten().unwrap_or(Released::LeaseLost);
        Ok(claims.iter().map(answer).collect())
    }

    async fn release_all(&self, claims: &[(Uuid, i32, Uuid)]) -> Result<Vec<Released>, Error> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let (tasks, steps, ids) = split(claims);
        let answers: Vec<String> = sqlx::query_scalar("select tasker.release_steps($1, $2, $3)")
            .bind(tasks)
            .bind(steps)
            .bind(ids)
            .fetch_one(&self.pool)
            .await?;
        Ok(answers
            .iter()
            .map(|a| match a.as_str() {
                "released" => Released::Released,
                "settled" => Released::Settled,
                "cancelled" => Released::Cancelled,
                _ => Released::LeaseLost,
            })
            .collect())
    }

    /// Turns at most so many expired leases into failed attempts, acts on as many passed deadlines, and moves the
    /// position on. Gives how many of each.
    pub(crate) async fn reap(
        connection: &mut PgConnection,
        at_most: i32,
        from: &mut DateTime<Utc>,
        worker_id: Option<Uuid>,
    ) -> Result<(i32, i32), Error> {
        let row = sqlx::query("select reaped, overdue, next_position from tasker.reap($1, $2, $3)")
            .bind(at_most)
            .bind(*from)
            .bind(worker_id)
            .fetch_one(connection)
            .await?;
        *from = row.try_get("next_position")?;
        Ok((row.try_get("reaped")?, row.try_get("overdue")?))
    }

    /// Records a worker and what it serves. Gives the handlers' ids, in their order.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn register_worker(
        &self,
        worker_id: Uuid,
        handlers: &[String],
        description: &str,
    ) -> Result<Vec<i32>, Error> {
        let ids: Option<Vec<i32>> = sqlx::query_scalar("select tasker.register_worker($1, $2, $3)")
            .bind(worker_id)
            .bind(handlers)
            .bind(description)
            .fetch_one(&self.pool)
            .await?;
        Ok(ids.unwrap_or_default())
    }

    /// Ends every lease at once: for the embedded database, whose lock on the folder proves that nobody runs anything.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn end_all_leases(&self) -> Result<(), Error> {
        sqlx::query("update tasker.leases set lease_expires_at = tasker.clock() - interval '1 second'")
            .execute(&self.pool)
            .await?;
        let mut from = DateTime::UNIX_EPOCH;
        while Store::reap(&mut *self.pool.acquire().await?, 1000, &mut from, None).await?.0 > 0 {}
        Ok(())
    }

    /// Which of these claims have no lease any more.
    pub(crate) async fn lost_claims(
        connection: &mut PgConnection,
        claims: &[(Uuid, i32, Uuid)],
    ) -> Result<Vec<Uuid>, Error> {
        let (tasks, steps, ids) = split(claims);
        let sql = "select tasker.lost_claims($1, $2, $3)";
        Ok(sqlx::query_scalar(sql).bind(tasks).bind(steps).bind(ids).fetch_one(connection).await?)
    }

    /// Results of the named steps of a task, by step number, JSON text: what was too large to travel with the claim.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn results(&self, task_id: Uuid, steps: &[i32]) -> Result<Vec<(i32, String)>, Error> {
        let results = sqlx::query_as(
            "select step_number, result::text from tasker.step_results
             where task_id = $1 and step_number = any($2) order by step_number",
        );
        Ok(results.bind(task_id).bind(steps).fetch_all(&self.pool).await?)
    }

    /// The result of the step with this name, JSON text; `None`: there is none.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn result(&self, task_id: Uuid, step: &str) -> Result<Option<String>, Error> {
        let result = sqlx::query_scalar(
            "select r.result::text from tasker.step_dag_relationships n
             join tasker.step_results r on r.task_id = n.task_id and r.step_number = n.step_number
             where n.task_id = $1 and n.name = $2",
        );
        Ok(result.bind(task_id).bind(step).fetch_optional(&self.pool).await?)
    }
}

/// Settlements as the columns that the verb takes.
#[derive(Default)]
struct Columns {
    tasks: Vec<Uuid>,
    steps: Vec<i32>,
    claims: Vec<Uuid>,
    outcomes: Vec<&'static str>,
    payloads: Vec<Option<String>>,
    kinds: Vec<Option<String>>,
    retryables: Vec<Option<bool>>,
    delays: Vec<Option<f64>>,
    instants: Vec<Option<DateTime<Utc>>>,
}

/// A handler that waits for a later instant than the last of the year 9999 waits for that.
const LAST: DateTime<Utc> = DateTime::from_timestamp(253_402_300_799, 0).expect("it is the year 9999");
/// Seven thousand years, in seconds: one that waits for longer waits for that.
const AN_AGE: f64 = 7_000.0 * 365.25 * 86_400.0;

impl Columns {
    fn of(settlements: &[Settlement]) -> Columns {
        let mut c = Columns::default();
        for s in settlements {
            c.tasks.push(s.task_id);
            c.steps.push(s.step_number);
            c.claims.push(s.claim_id);
            let (outcome, payload, kind, retryable, delay, instant) = match &s.verdict {
                Verdict::Complete(result) => ("complete", Some(result.clone()), None, None, None, None),
                Verdict::Skip(result) => ("skip", Some(result.clone()), None, None, None, None),
                Verdict::Wait(at) => ("wait", None, None, None, None, Some((*at).min(LAST))),
                Verdict::WaitFor(time) => ("wait", None, None, None, Some(time.as_secs_f64().min(AN_AGE)), None),
                Verdict::Fail { error, kind, retryable, delay } => {
                    ("fail", Some(error.clone()), Some(kind.clone()), *retryable, *delay, None)
                }
            };
            c.outcomes.push(outcome);
            c.payloads.push(payload);
            c.kinds.push(kind);
            c.retryables.push(retryable);
            c.delays.push(delay);
            c.instants.push(instant);
        }
        c
    }
}

fn claimed(row: &PgRow) -> Result<Claimed, Error> {
    Ok(Claimed {
        task_id: row.try_get("task_id")?,
        step_number: row.try_get("step_number")?,
        named_task_id: row.try_get("named_task_id")?,
        attempt: row.try_get("attempt")?,
        claim_id: row.try_get("claim_id")?,
        retry_limit: row.try_get("retry_limit")?,
        generation: row.try_get("generation")?,
        timer: row.try_get("timer")?,
        context: row.try_get("context")?,
        input: row.try_get("input")?,
        results: row.try_get("results")?,
    })
}

fn split(claims: &[(Uuid, i32, Uuid)]) -> (Vec<Uuid>, Vec<i32>, Vec<Uuid>) {
    let mut columns = (Vec::new(), Vec::new(), Vec::new());
    for (task, step, claim) in claims {
        columns.0.push(*task);
        columns.1.push(*step);
        columns.2.push(*claim);
    }
    columns
}

fn interval(duration: Duration) -> PgInterval {
    PgInterval { months: 0, days: 0, microseconds: i64::try_from(duration.as_micros()).unwrap_or(i64::MAX) }
}

fn duration(interval: PgInterval) -> Duration {
    let micros = interval.microseconds.saturating_add(i64::from(interval.days).saturating_mul(86_400_000_000));
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}
