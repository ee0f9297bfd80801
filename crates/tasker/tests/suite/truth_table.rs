//! What the views say of a task is a total function of its steps' situations. Here it is written a second time, in plain
//! Rust, and both are asked about every vector of situations that three steps can be in.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use sqlx::FromRow;
use uuid::Uuid;

use crate::support::{Claim, Moment, Outcome, Play, TestDatabase, with_database};

/// Where a step stands. All but the first need satisfied parents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Situation {
    /// A parent is not satisfied.
    Blocked,
    /// Cancelled while a parent was not satisfied.
    CancelledBlocked,
    Due,
    /// Due, and its limit has no room.
    Full,
    /// Waits two hours for a retry.
    Retry,
    /// Waits an hour for a timer: earlier than the retry.
    Timer,
    /// Waits two hours for a timer: as early as the retry.
    LongTimer,
    Leased,
    Complete,
    Skipped,
    Resolved,
    Cancelled,
    Fatal,
    Exhausted,
}

use Situation::*;

/// What a step with satisfied parents can be in.
const OPEN: [Situation; 12] =
    [Due, Full, Retry, Timer, LongTimer, Leased, Complete, Skipped, Resolved, Cancelled, Fatal, Exhausted];

impl Situation {
    fn satisfies(self) -> bool {
        matches!(self, Complete | Skipped | Resolved)
    }

    fn is_open(self) -> bool {
        matches!(self, Due | Full | Retry | Timer | LongTimer)
    }

    fn state(self) -> &'static str {
        match self {
            Blocked | Due | Full | Timer | LongTimer => "pending",
            Leased => "in_progress",
            Complete => "complete",
            Skipped => "skipped",
            Resolved => "resolved_manually",
            Cancelled | CancelledBlocked => "cancelled",
            Retry | Fatal | Exhausted => "failed",
        }
    }

    /// Hours from now until it may start.
    fn hours(self) -> i64 {
        match self {
            Retry | LongTimer => 2,
            Timer => 1,
            _ => 0,
        }
    }
}

/// The second writing of the law of tasks.
#[derive(Debug, PartialEq, FromRow)]
struct Context {
    status: String,
    execution_status: String,
    recommended_action: String,
    percentage: i32,
    health_status: String,
    next_retry_at: Option<Moment>,
    counts: Vec<i64>,
    reasons: Vec<String>,
}

const STATES: [&str; 7] = ["pending", "in_progress", "complete", "failed", "cancelled", "resolved_manually", "skipped"];

fn oracle(steps: &[Situation], paused: bool, now: Moment) -> Context {
    let any = |test: &dyn Fn(Situation) -> bool| steps.iter().any(|step| test(*step));
    let earliest =
        |test: &dyn Fn(Situation) -> bool| steps.iter().filter(|step| test(**step)).map(|step| step.hours()).min();
    let all_satisfied = steps.iter().all(|step| step.satisfies());
    let has_failed = !all_satisfied && !paused && !any(&|step| step.is_open() || step == Leased);
    let next = earliest(&|step| step.is_open());
    let (execution_status, recommended_action) = if all_satisfied {
        ("all_complete", "none")
    } else if has_failed {
        ("blocked_by_failures", "handle_failures")
    } else if !paused && any(&|step| step == Due) {
        ("has_ready_steps", "execute_ready_steps")
    } else if any(&|step| step == Leased) {
        ("processing", "wait_for_completion")
    } else if next.is_none() {
        ("blocked_by_failures", "handle_failures")
    } else if paused {
        ("paused", "resume_task")
    } else if any(&|step| step == Full) {
        ("waiting_for_capacity", "wait_for_capacity")
    } else if earliest(&|step| step == Retry).is_some_and(|retry| Some(retry) == next) {
        ("waiting_for_retry", "wait_for_retry")
    } else {
        ("scheduled", "wait_until_scheduled")
    };
    let reason = |step: Situation| match step {
        Complete | Skipped | Resolved | Cancelled | CancelledBlocked => "finished",
        Leased => "in_progress",
        Fatal => "not_retryable",
        Exhausted => "retries_exhausted",
        Blocked => "dependencies_not_satisfied",
        _ if paused => "task_paused",
        Retry => "waiting_for_retry",
        Timer | LongTimer => "scheduled_for_later",
        Full => "concurrency_limit_reached",
        Due => "ready",
    };
    let satisfied = steps.iter().filter(|step| step.satisfies()).count();
    Context {
        status: if all_satisfied {
            "complete"
        } else if has_failed {
            "failed"
        } else {
            "live"
        }
        .into(),
        execution_status: execution_status.into(),
        recommended_action: recommended_action.into(),
        percentage: [0, 33, 67, 100][satisfied],
        health_status: if execution_status == "blocked_by_failures" {
            "blocked"
        } else if any(&|step| matches!(step.state(), "failed" | "cancelled")) {
            "recovering"
        } else {
            "healthy"
        }
        .into(),
        next_retry_at: next.map(|hours| now + TimeDelta::hours(hours)),
        counts: STATES.iter().map(|state| steps.iter().filter(|step| step.state() == *state).count() as i64).collect(),
        reasons: steps.iter().map(|step| reason(*step).into()).collect(),
    }
}

/// Every vector that a graph allows; `parents` are those of each of its three steps.
fn vectors(parents: [&[usize]; 3]) -> Vec<[Situation; 3]> {
    let mut vectors = vec![[Blocked; 3]];
    for (step, parents) in parents.iter().enumerate() {
        vectors = vectors
            .into_iter()
            .flat_map(|vector| {
                let free = parents.iter().all(|parent| vector[*parent].satisfies());
                let choice: &[Situation] = if free { &OPEN } else { &[Blocked, CancelledBlocked] };
                choice.iter().map(move |situation| {
                    let mut vector = vector;
                    vector[step] = *situation;
                    vector
                })
            })
            .collect();
    }
    vectors
}

#[test]
fn what_a_task_is_doing_is_a_total_function_of_its_steps() {
    with_database(async |db| {
        let keyed = |name: &str| format!("{name}[concurrency=1 key={name}]");
        let [a, b, c] = ["a", "b", "c"].map(keyed);
        check(db, &format!("{a}, {b}, {c}"), [&[], &[], &[]], true).await;
        check(db, &format!("{a} > {b} > {c}"), [&[], &[0], &[1]], false).await;
        check(db, &format!("{a}, {b} > {c}"), [&[], &[], &[0, 1]], false).await;
        check(db, &format!("{a} > {b}, {c}"), [&[], &[0], &[0]], false).await;
    });
}

/// Brings a task into each vector, paused and not, and compares. `pauses_early`: while all its steps are leased, so that it
/// can be without anything open, too.
async fn check(db: &TestDatabase, graph: &str, parents: [&[usize]; 3], pauses_early: bool) {
    let now = db.now().await;
    let mut play = Play::of(db, graph).await;
    hold_the_limits(&mut play).await;
    db.set_clock(now).await;
    let wanted: Vec<([Situation; 3], bool)> =
        vectors(parents).into_iter().flat_map(|vector| [(vector, false), (vector, true)]).collect();
    let tasks = submit(db, play.named_task_id, &wanted).await;
    let of: BTreeMap<Uuid, ([Situation; 3], bool)> = tasks.iter().copied().zip(wanted.iter().copied()).collect();
    let steps = |situation: Situation| {
        let of = &of;
        of.iter().flat_map(move |(task, (vector, _))| {
            (0..3).filter(move |n| vector[*n as usize] == situation).map(move |n| tasker::step_id(*task, n))
        })
    };
    by_hand(db, "tasker.cancel_step(u.id)", steps(CancelledBlocked).collect()).await;

    let (mut kept, mut first) = (Vec::new(), true);
    loop {
        let mut claims = Vec::new();
        loop {
            let some = play.worker.claim(db, 2000).await;
            if some.is_empty() {
                break;
            }
            claims.extend(some);
        }
        if claims.is_empty() {
            break;
        }
        if first && pauses_early {
            by_hand(
                db,
                "tasker.pause_task(u.id)",
                of.iter().filter(|(_, (_, paused))| *paused).map(|(task, _)| *task).collect(),
            )
            .await;
        }
        first = false;
        kept.extend(end(&play, &of, claims, now).await);
    }
    db.release(&kept).await.unwrap();
    if !pauses_early {
        let live = |vector: &[Situation; 3]| vector.iter().any(|step| step.is_open() || *step == Leased);
        by_hand(
            db,
            "tasker.pause_task(u.id)",
            of.iter().filter(|(_, (vector, paused))| *paused && live(vector)).map(|(task, _)| *task).collect(),
        )
        .await;
    }

    let mut differences = Vec::new();
    let said = contexts(db, &tasks).await;
    for (task, (vector, paused)) in &of {
        let paused = *paused && (pauses_early || vector.iter().any(|step| step.is_open() || *step == Leased));
        let expected = oracle(vector, paused, now);
        if said[task] != expected {
            differences.push(format!("{vector:?} paused: {paused}\n  {:?}\n  {expected:?}", said[task]));
        }
    }
    let shown: Vec<_> = differences.iter().take(10).map(String::as_str).collect();
    assert!(differences.is_empty(), "`{graph}`: {} of {} differ:\n{}", differences.len(), of.len(), shown.join("\n"));
}

/// A task for each step holds the slot "held" of that step.
async fn hold_the_limits(play: &mut Play<'_>) {
    for (index, name) in ["a", "b", "c"].iter().enumerate() {
        play.live(&format!("submit(context={{\"{name}\":\"held\"}})")).await;
        for parent in &["a", "b", "c"][..index] {
            if play.act(&format!("{}.{parent}:complete", index + 1)).await.is_err() {
                break;
            }
        }
        play.live(&format!("{}.{name}:in_progress", index + 1)).await;
    }
    // what these tasks do not hold is nobody's
    let rest = play.worker.claim(play.db, 100).await;
    assert!(rest.len() <= 6);
}

async fn submit(db: &TestDatabase, workflow: i32, wanted: &[([Situation; 3], bool)]) -> Vec<Uuid> {
    let contexts: Vec<String> = wanted
        .iter()
        .enumerate()
        .map(|(index, (vector, _))| {
            let key = |step: usize| if vector[step] == Full { "held".to_string() } else { index.to_string() };
            serde_json::json!({ "a": key(0), "b": key(1), "c": key(2) }).to_string()
        })
        .collect();
    sqlx::query_scalar(
        "select task_id from tasker.submit_tasks(array_fill($1::int, array[cardinality($2::text[])]), $2,
           array_fill(null::text, array[cardinality($2)]), array_fill(null::text, array[cardinality($2)]), array_fill(null::timestamptz, array[cardinality($2)]),
           array_fill(null::smallint, array[cardinality($2)]), array_fill(null::timestamptz, array[cardinality($2)]), array_fill(null::text, array[cardinality($2)]),
           array_fill(null::text, array[cardinality($2)])) order by ord",
    )
    .bind(workflow)
    .bind(&contexts)
    .fetch_all(db.pool())
    .await
    .unwrap()
}

/// A person's verb over each of many.
async fn by_hand(db: &TestDatabase, verb: &str, ids: Vec<Uuid>) {
    let sql = format!("select count({verb}) from unnest($1::uuid[]) u(id)");
    let query = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(sql)).bind(&ids);
    assert_eq!(query.fetch_one(db.pool()).await.unwrap() as usize, ids.len(), "{verb}");
}

/// Brings claimed steps to where they are to be. Gives the claims that are to be released at the very end.
async fn end(
    play: &Play<'_>,
    of: &BTreeMap<Uuid, ([Situation; 3], bool)>,
    claims: Vec<Claim>,
    now: Moment,
) -> Vec<(Uuid, i32, Uuid)> {
    let db = play.db;
    let (mut settle, mut keep, mut resolve, mut cancel, mut lower) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for claim in claims {
        let step = tasker::step_id(claim.task_id, claim.step_number);
        let key = (claim.task_id, claim.step_number, claim.claim_id);
        let wait = |hours| Outcome::Wait(now + TimeDelta::hours(hours));
        match of[&claim.task_id].0[claim.step_number as usize] {
            Complete => settle.push((claim, Outcome::Complete("1".into()))),
            Skipped => settle.push((claim, Outcome::Skip)),
            Fatal => settle.push((claim, Outcome::Fail { retryable: Some(false), delay: None })),
            Retry => settle.push((claim, Outcome::Fail { retryable: None, delay: Some(7200.0) })),
            Timer => settle.push((claim, wait(1))),
            LongTimer => settle.push((claim, wait(2))),
            Exhausted => {
                lower.push(step);
                settle.push((claim, Outcome::Fail { retryable: None, delay: None }));
            }
            Resolved => resolve.push((step, key)),
            Cancelled => cancel.push(step),
            Due => keep.push(key),
            Leased => {}
            other => panic!("a step that is to be {other:?} was claimed"),
        }
    }
    by_hand(db, "tasker.change_retry_limit(u.id, 1)", lower).await;
    let answers = play.worker.settle(db, &settle).await;
    assert!(answers.iter().all(|answer| answer == "settled"));
    let (steps, keys): (Vec<_>, Vec<_>) = resolve.into_iter().unzip();
    db.release(&keys).await.unwrap();
    by_hand(db, "tasker.resolve_step(u.id, '1')", steps).await;
    by_hand(db, "tasker.cancel_step(u.id)", cancel).await;
    keep
}

async fn contexts(db: &TestDatabase, tasks: &[Uuid]) -> BTreeMap<Uuid, Context> {
    #[derive(FromRow)]
    struct Row {
        task_id: Uuid,
        #[sqlx(flatten)]
        context: Context,
    }
    let rows: Vec<Row> = sqlx::query_as(
        "select c.task_id, case when c.status in ('pending', 'in_progress') then 'live' else c.status::text end as status, c.execution_status,
           c.recommended_action, round(c.completion_percentage)::int as percentage, c.health_status, c.next_retry_at,
           array[c.pending_steps, c.in_progress_steps, c.completed_steps, c.failed_steps, c.cancelled_steps, c.resolved_manually_steps, c.skipped_steps] as counts,
           array(select coalesce(v.blocking_reason, 'ready') from tasker.step_readiness_statuses v where v.task_id = c.task_id order by v.step_number) as reasons
         from unnest($1::uuid[]) t(task_id) cross join lateral (select * from tasker.task_execution_contexts c where c.task_id = t.task_id) c",
    )
    .bind(tasks)
    .fetch_all(db.pool())
    .await
    .unwrap();
    rows.into_iter().map(|row| (row.task_id, row.context)).collect()
}
