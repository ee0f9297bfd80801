//! Handing settlements in so that one that the database refuses, or whose task somebody has locked, never harms the others.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use tracing::warn;
use uuid::Uuid;

use crate::{
    Error,
    store::{Answer, Exchanged, Line, NewTask, Positions, Settlement, Store, Verdict},
};

/// The greatest number of settlements in one call.
const MAX_SETTLEMENTS: usize = 500;
/// The greatest size of their payloads together, in bytes.
const MAX_BYTES: usize = 16 << 20;

/// Takes from the front as many settlements as one call carries.
pub(super) fn take(waiting: &mut Vec<Settlement>) -> Vec<Settlement> {
    let mut bytes = 0;
    let fitting = waiting
        .iter()
        .take(MAX_SETTLEMENTS)
        .take_while(|s| {
            bytes += size(s);
            bytes <= MAX_BYTES
        })
        .count();
    waiting.drain(..fitting.max(1).min(waiting.len())).collect()
}

fn size(settlement: &Settlement) -> usize {
    match &settlement.verdict {
        Verdict::Complete(text) | Verdict::Skip(text) | Verdict::Fail { error: text, .. } => text.len() + 100,
        Verdict::Wait(_) | Verdict::WaitFor(_) => 100,
    }
}

/// Settlements whose task somebody has locked: looked at again every second, until then they hold up nothing.
pub(super) struct SetAside {
    settlements: Vec<Settlement>,
    next_look: Instant,
}

const LOOK_INTERVAL: Duration = Duration::from_secs(1);

impl SetAside {
    pub(super) fn new() -> SetAside {
        SetAside { settlements: Vec::new(), next_look: Instant::now() }
    }

    pub(super) fn len(&self) -> usize {
        self.settlements.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.settlements.is_empty()
    }

    /// How long until they are looked at.
    pub(super) fn next_in(&self) -> Option<Duration> {
        (!self.is_empty()).then(|| self.next_look.saturating_duration_since(Instant::now()))
    }

    /// Adds what was not locked in time.
    pub(super) fn add(&mut self, settlements: &mut Vec<Settlement>) {
        if !settlements.is_empty() {
            self.settlements.append(settlements);
            self.next_look = Instant::now() + LOOK_INTERVAL;
        }
    }

    /// Brings what can be locked again back to those that wait to be sent, and takes those of the tasks that cannot out of
    /// them.
    pub(super) async fn look(
        &mut self,
        waiting: &mut Vec<Settlement>,
        line: &mut Line,
        lease: Duration,
    ) -> Result<(), Error> {
        if self.is_empty() {
            return Ok(());
        }
        if self.next_look <= Instant::now() {
            self.next_look = Instant::now() + LOOK_INTERVAL;
            waiting.extend(take_not_locked(line, lease, &mut self.settlements).await?);
        }
        let locked: HashSet<Uuid> = self.settlements.iter().map(|s| s.task_id).collect();
        self.settlements.extend(waiting.extract_if(.., |settlement| locked.contains(&settlement.task_id)));
        Ok(())
    }

    /// All of them.
    pub(super) fn take(&mut self) -> Vec<Settlement> {
        std::mem::take(&mut self.settlements)
    }
}

/// How a call failed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Nothing was changed, or nobody knows: the same settlements may be sent again.
    Again(Error),
    /// No use in sending it again: a defect, or a schema that is not there.
    Fatal(Error),
}

/// A worker's side of an exchange.
pub(super) struct Call<'a> {
    pub line: &'a mut Line,
    pub worker_id: Uuid,
    pub handlers: &'a [i32],
    /// Where to look into the queue, beside the released children.
    pub positions: Option<&'a mut Positions>,
    pub capacity: usize,
    pub lease: Duration,
    pub only_task: Option<Uuid>,
    /// Where reaping goes on, if it is due.
    pub reap_from: Option<&'a mut DateTime<Utc>>,
    /// A task to submit first; only without settlements.
    pub submission: Option<&'a NewTask>,
}

/// Exchanges. What has an answer moves from `settlements` to `answered`, whether there is trouble or not. Those whose task
/// somebody has locked stay in `settlements`, and on trouble all that may be sent again.
pub(super) async fn exchange(
    call: &mut Call<'_>,
    settlements: &mut Vec<Settlement>,
    answered: &mut Vec<(Settlement, Answer)>,
) -> Result<Exchanged, Trouble> {
    match send(call, settlements, call.capacity).await {
        Ok(reply) => {
            answered.extend(settlements.drain(..).zip(reply.answers.iter().copied()));
            return Ok(reply);
        }
        Err(error) if !settlements.is_empty() && is_refused(&error) => in_halves(call, settlements, answered).await?,
        Err(error) if !settlements.is_empty() && is_not_locked(&error) => {
            let mut free = take_not_locked(call.line, call.lease, settlements).await.map_err(trouble)?;
            let outcome = in_halves(call, &mut free, answered).await;
            settlements.append(&mut free);
            outcome?;
        }
        Err(error) => return Err(trouble(error)),
    }
    Ok(Exchanged { left_over: true, ..Exchanged::default() })
}

/// Takes out those whose task nobody has locked.
pub(super) async fn take_not_locked(
    line: &mut Line,
    lease: Duration,
    settlements: &mut Vec<Settlement>,
) -> Result<Vec<Settlement>, Error> {
    let tasks: Vec<Uuid> = settlements.iter().map(|s| s.task_id).collect();
    let ask = async |connection: &mut PgConnection| Store::not_locked(connection, &tasks).await;
    let free: HashSet<Uuid> = line.call(patience(lease), ask).await?.into_iter().collect();
    Ok(settlements.extract_if(.., |settlement| free.contains(&settlement.task_id)).collect())
}

/// Sends settlements, asking for no work; where the database refuses them, again in halves. One that is refused when it is
/// sent alone becomes a failed attempt.
async fn in_halves(
    call: &mut Call<'_>,
    settlements: &mut Vec<Settlement>,
    answered: &mut Vec<(Settlement, Answer)>,
) -> Result<(), Trouble> {
    // on a stack, the first half on top
    let mut halves = vec![std::mem::take(settlements)];
    while let Some(mut half) = halves.pop() {
        let outcome = match half.len() {
            0 => continue,
            1 => send_alone(call, &mut half[0]).await,
            _ => send(call, &half, 0).await,
        };
        match outcome {
            Ok(reply) => answered.extend(half.into_iter().zip(reply.answers)),
            Err(error) if is_refused(&error) && half.len() > 1 => {
                let second = half.split_off(half.len() / 2);
                halves.push(second);
                halves.push(half);
            }
            Err(error) if is_refused(&error) => {
                warn!("a failure that the database refuses is given up, and its lease will expire: {error}");
                answered.extend(half.into_iter().map(|settlement| (settlement, Answer::LeaseLost)));
            }
            // locked just now
            Err(error) if is_not_locked(&error) => settlements.extend(half),
            Err(error) => {
                settlements.extend(half);
                settlements.extend(halves.drain(..).rev().flatten());
                return Err(trouble(error));
            }
        }
    }
    Ok(())
}

async fn send(call: &mut Call<'_>, settlements: &[Settlement], capacity: usize) -> Result<Exchanged, Error> {
    let Call { line, worker_id, handlers, positions, lease, only_task, reap_from, submission, .. } = call;
    let exchange = async |connection: &mut PgConnection| {
        Store::exchange(
            connection,
            *worker_id,
            settlements,
            handlers,
            positions.as_deref_mut(),
            capacity,
            *lease,
            *only_task,
            reap_from.as_deref_mut(),
            *submission,
        )
        .await
    };
    line.call(patience(*lease), exchange).await
}

/// How long a call may take: what it leased would have expired; a lock is waited for a second, a turn for three.
pub(super) fn patience(lease: Duration) -> Duration {
    lease.max(Duration::from_secs(5))
}

/// A single settlement; refused, it is a failed attempt.
async fn send_alone(call: &mut Call<'_>, settlement: &mut Settlement) -> Result<Exchanged, Error> {
    match send(call, std::slice::from_ref(settlement), 0).await {
        Err(error) if is_refused(&error) => {
            settlement.verdict = Verdict::Fail {
                error: crate::json::clean(
                    &format!("the database refused its answer: {error}"),
                    crate::json::MAX_MESSAGE_BYTES,
                ),
                kind: "result_not_storable".into(),
                retryable: Some(false),
                delay: None,
            };
            send(call, std::slice::from_ref(settlement), 0).await
        }
        outcome => outcome,
    }
}

/// The data is at fault: SQLSTATE classes 22 (data), 23 (constraint), 54 (program limit).
fn is_refused(error: &Error) -> bool {
    error.sqlstate().is_some_and(|s| s.starts_with("22") || s.starts_with("23") || s.starts_with("54"))
}

/// The database has said no, and rolled back. (A session that is ended may have committed just before.)
pub(super) fn changed_nothing(error: &Error) -> bool {
    match error.sqlstate() {
        Some(state) => !state.starts_with("57") && !state.starts_with("08"),
        None => matches!(error, Error::Refused { .. }),
    }
}

/// Somebody holds a lock that the batch needs.
fn is_not_locked(error: &Error) -> bool {
    error.sqlstate().as_deref() == Some("55P03")
}

/// A serialisation failure, a deadlock, a lost connection or a server that starts, stops or is full passes; the rest does not.
pub(super) fn trouble(error: Error) -> Trouble {
    let passes = match error.sqlstate().as_deref() {
        Some(state) => {
            matches!(state, "40001" | "40P01" | "55P03" | "25006" | "26000")
                || ["08", "53", "57", "58", "XX"].iter().any(|class| state.starts_with(class))
        }
        None => matches!(
            error,
            Error::Database(
                sqlx::Error::Io(_)
                    | sqlx::Error::PoolTimedOut
                    | sqlx::Error::Protocol(_)
                    | sqlx::Error::Tls(_)
                    | sqlx::Error::WorkerCrashed
            )
        ),
    };
    match passes || is_refused(&error) {
        true => Trouble::Again(error),
        false => Trouble::Fatal(error),
    }
}

/// Asks again, for a few seconds, where the database is away.
pub(super) async fn with_patience<T, F>(ask: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut failures = 0;
    loop {
        match ask().await.map_err(trouble) {
            Err(Trouble::Again(_)) if failures < 6 => {
                failures += 1;
                tokio::time::sleep(backoff(failures)).await;
            }
            Err(Trouble::Again(error) | Trouble::Fatal(error)) => return Err(error),
            Ok(answer) => return Ok(answer),
        }
    }
}

/// Full jitter: uniform up to 50 ms * 2^failures, at most 5 s.
pub(super) fn backoff(failures: u32) -> Duration {
    let most = Duration::from_millis(50 << failures.min(7)).min(Duration::from_secs(5));
    let random = u32::from_ne_bytes(*Uuid::new_v4().as_bytes().first_chunk().unwrap_or(&[128; 4]));
    most.mul_f64(0.5 + f64::from(random) / f64::from(u32::MAX) / 2.0)
}
