//! Handing settlements in so that one that the database refuses never harms the others.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use tracing::warn;
use uuid::Uuid;

use crate::{
    Error,
    store::{Answer, Exchanged, Line, Position, Settlement, Store, Verdict},
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
        Verdict::Wait(_) => 100,
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
    pub positions: &'a mut [Position],
    pub capacity: usize,
    pub lease: Duration,
    pub only_task: Option<Uuid>,
    /// Whether to look into the queue, beside the released children.
    pub searches: bool,
    /// Where reaping goes on, if it is due.
    pub reap_from: Option<&'a mut DateTime<Utc>>,
}

/// Exchanges; a batch that the database refuses, or does not lock in time, is sent again in halves. A settlement that is
/// refused when it is sent alone becomes a failed attempt. What is left in `settlements` afterwards is not settled: on trouble
/// all that may be sent again, else what was not locked in time.
pub(super) async fn exchange(
    call: &mut Call<'_>,
    settlements: &mut Vec<Settlement>,
) -> Result<(Exchanged, Vec<(Settlement, Answer)>), Trouble> {
    match send(call, settlements, call.capacity).await {
        Ok(reply) => {
            let answered = settlements.drain(..).zip(reply.answers.clone()).collect();
            Ok((reply, answered))
        }
        Err(error) if !settlements.is_empty() && (is_refused(&error) || is_not_locked(&error)) => {
            let mut answered = Vec::new();
            // halves on a stack, the first half on top; they ask for no work
            let mut halves = vec![std::mem::take(settlements)];
            while let Some(mut half) = halves.pop() {
                let outcome = match half.len() {
                    1 => send_alone(call, &mut half[0]).await,
                    _ => send(call, &half, 0).await,
                };
                match outcome {
                    Ok(reply) => answered.extend(half.into_iter().zip(reply.answers)),
                    Err(error) if half.len() > 1 && (is_refused(&error) || is_not_locked(&error)) => {
                        let second = half.split_off(half.len() / 2);
                        halves.push(second);
                        halves.push(half);
                    }
                    Err(error) if is_not_locked(&error) => settlements.extend(half),
                    Err(error) if is_refused(&error) => {
                        warn!("a failure that the database refuses is given up, and its lease will expire: {error}");
                        answered.extend(half.into_iter().map(|settlement| (settlement, Answer::LeaseLost)));
                    }
                    Err(error) => {
                        settlements.extend(half);
                        settlements.extend(halves.drain(..).rev().flatten());
                        return Err(trouble(error));
                    }
                }
            }
            Ok((Exchanged { left_over: true, ..Exchanged::default() }, answered))
        }
        Err(error) => Err(trouble(error)),
    }
}

async fn send(call: &mut Call<'_>, settlements: &[Settlement], capacity: usize) -> Result<Exchanged, Error> {
    let Call { line, worker_id, positions, lease, only_task, searches, reap_from, .. } = call;
    let exchange = async |connection: &mut PgConnection| {
        let reap_from = reap_from.as_deref_mut();
        Store::exchange(
            connection,
            *worker_id,
            settlements,
            positions,
            capacity,
            *lease,
            *only_task,
            reap_from,
            *searches,
        )
        .await
    };
    line.call(patience(*lease), exchange).await
}

/// How long a call may take: what it leased would have expired; a lock is waited for a second.
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
