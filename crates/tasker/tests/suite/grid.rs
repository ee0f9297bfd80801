//! The transition grid: what each verb does to a step or a task in each situation, printed from the real SQL.
//!
//! The picture is in `grid.txt` beside this file; `UPDATE_EXPECT=1 scripts/test grid` prints it anew.

use std::time::Duration;

use expect_test::expect_file;
use tasker::store::Released;
use uuid::Uuid;

use crate::support::{Claim, Outcome, Play, TestDatabase, code, reap, with_database};

/// What becomes of a worker's claim, or of time.
const WORKER: &[&str] = &["claim", "complete", "skip", "fail", "fail for good", "wait", "release", "reap", "deadline"];
/// A person's verbs over the step.
const PERSON: &[&str] = &["s:cancel", "s:retry", "s:resolve", "s:edit", "s:limit(9)"];
/// A person's verbs over its task.
const TASK: &[&str] = &["task:cancel", "task:retry", "task:resolve", "task:pause", "task:resume"];

const HEAD: &str =
    "A state: the verb moved it there (or wrote it again). (answer): what the caller is told, nothing changed.
!code: it was refused. A dot: nothing happened.
";

/// A step s between a parent and a child, in a task that another root keeps live.
const LIVE: &str = "p > s > c; z";
/// The same in a task that fails when s is dead.
const ALONE: &str = "p > s > c";

#[test]
fn the_transition_grid() {
    with_database(async |db| {
        let mut picture = HEAD.to_string();
        let steps = [
            ("pending, its parent is not satisfied", ""),
            ("pending, due", "p:complete"),
            ("pending, waits for a timer", "p:complete s:waits(1h)"),
            ("pending, out of attempts", "p:complete s:failed +1s s:waits(1h) s:limit(1)"),
            ("in_progress", "p:complete s:in_progress"),
            ("failed, waits for its retry", "p:complete s:asked(1h)"),
            ("failed, out of attempts", "p:complete s:limit(1) s:failed"),
            ("failed, not retryable", "p:complete s:fatal"),
            ("complete", "p:complete s:complete"),
            ("skipped", "p:complete s:skipped"),
            ("resolved_manually", "p:complete s:resolve"),
            ("cancelled, its parent is satisfied", "p:complete s:cancel"),
            ("cancelled while it ran", "p:complete s:in_progress s:cancel"),
        ];
        let paused: Vec<(&str, String)> =
            steps.iter().map(|(name, history)| (*name, format!("{history} task:pause"))).collect();
        let paused: Vec<(&str, &str)> = paused.iter().map(|(name, history)| (*name, history.as_str())).collect();
        let of_failed = [
            ("pending, its parent is dead", "p:fatal"),
            ("pending, out of attempts", "p:complete s:failed +1s s:waits(1h) s:limit(1)"),
            ("failed, not retryable", "p:complete s:fatal"),
            ("complete, its child is dead", "p:complete s:complete c:fatal"),
            ("cancelled", "p:complete s:cancel"),
        ];
        let of_ended = [
            ("cancelled with its task", "p:complete task:cancel"),
            ("cancelled while it ran, with its task", "p:complete s:in_progress task:cancel"),
            ("cancelled, its task resolved by hand", "p:complete task:resolve"),
            ("complete, its task complete", "p:complete s:complete c:complete"),
        ];
        for (title, graph, rows, verbs) in [
            ("Steps of a live task, and their workers", LIVE, &steps[..], WORKER),
            ("Steps of a live task, and people", LIVE, &steps[..], PERSON),
            ("Steps of a live task, and what is done to the task", LIVE, &steps[..], TASK),
            ("Steps of a paused task, and their workers", LIVE, &paused[..], WORKER),
            ("Steps of a paused task, and people", LIVE, &paused[..], PERSON),
            ("Steps of a failed task, and their workers", ALONE, &of_failed[..], WORKER),
            ("Steps of a failed task, and people", ALONE, &of_failed[..], PERSON),
            ("Steps of a failed task, and what is done to the task", ALONE, &of_failed[..], TASK),
            ("Steps of a task that is over, and their workers", ALONE, &of_ended[..], WORKER),
            ("Steps of a task that is over, and people", ALONE, &of_ended[..], PERSON),
        ] {
            picture += &grid(db, title, graph, rows, verbs, step_cell).await;
        }
        let tasks = [
            ("pending", ""),
            ("pending, its first step claimed", "p:in_progress"),
            ("in_progress", "p:complete"),
            ("in_progress, a step running", "p:complete s:in_progress"),
            ("in_progress, a step dead", "p:complete z:fatal"),
            ("pending, paused", "task:pause"),
            ("in_progress, paused", "p:complete task:pause"),
            ("in_progress, paused, nothing open", "z:complete p:in_progress task:pause p:fatal"),
            ("complete", "p:complete s:complete c:complete z:complete"),
            ("failed", "z:complete p:fatal"),
            ("cancelled", "p:complete task:cancel"),
            ("resolved_manually", "p:complete task:resolve"),
        ];
        let verbs = [TASK, &["reap", "deadline"]].concat();
        picture += &grid(db, "Tasks", LIVE, &tasks, &verbs, task_cell).await;
        let last = [
            ("one leaf left, claimed", "z:complete p:complete s:complete c:in_progress"),
            ("one leaf left, claimed, paused", "z:complete p:complete s:complete c:in_progress task:pause"),
        ];
        let verbs = ["c complete", "c skip", "c fail", "c fail for good", "c release", "c:cancel", "c:limit(1)"];
        picture += &grid(db, "Tasks, and the end of their last step", LIVE, &last, &verbs, task_cell).await;
        expect_file!["grid.txt"].assert_eq(&picture);
    });
}

/// One table: a row for each situation, a column for each verb.
async fn grid(
    db: &TestDatabase,
    title: &str,
    graph: &str,
    situations: &[(&str, &str)],
    verbs: &[&str],
    cell: impl AsyncFn(&mut Play, &str) -> String,
) -> String {
    let mut play = Play::of(db, graph).await;
    let mut rows = vec![[&[""], verbs].concat().iter().map(|word| word.to_string()).collect::<Vec<_>>()];
    for (name, history) in situations {
        let mut row = vec![name.to_string()];
        for verb in verbs {
            // each cell is the last of the tasks, and begins long after the one before
            play.live("+1d submit(deadline=2h)").await;
            play.live(&of_the_last(&play, history)).await;
            row.push(cell(&mut play, verb).await);
        }
        rows.push(row);
    }
    let mut text = format!("\n{title}\n");
    let widths: Vec<usize> =
        (0..=verbs.len()).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap()).collect();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text += &format!("  {}\n", cells.join(" | ").trim_end());
    }
    text
}

/// Turns a history into one of the last task.
fn of_the_last(play: &Play<'_>, history: &str) -> String {
    let word = |word: &str| if word.contains(':') { format!("{}.{word}", play.tasks.len()) } else { word.to_string() };
    history.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

/// What a verb does to step s.
async fn step_cell(play: &mut Play<'_>, verb: &str) -> String {
    let (task, s) = (*play.tasks.last().unwrap(), play.number("s"));
    let last = format!(
        "select coalesce(max(number), 0) from tasker.workflow_step_transitions where task_id = '{task}' and step_number = {s}"
    );
    let before: i64 = play.db.value(&last).await;
    let answer = act(play, "s", verb).await;
    let after: i64 = play.db.value(&last).await;
    let state: String = play
        .db
        .value(&format!("select current_state::text from tasker.step_readiness_statuses where task_id = '{task}' and step_number = {s}"))
        .await;
    cell(answer, before < after, state)
}

/// What a verb does to the task.
async fn task_cell(play: &mut Play<'_>, verb: &str) -> String {
    let task = *play.tasks.last().unwrap();
    let count = format!("select count(*) from tasker.task_transitions where task_id = '{task}'");
    let before: i64 = play.db.value(&count).await;
    let (step, verb) = verb.split_once(' ').filter(|(step, _)| step.len() == 1).unwrap_or(("z", verb));
    let answer = act(play, step, verb).await;
    let after: i64 = play.db.value(&count).await;
    let state: String =
        play.db.value(&format!("select concat_ws(', ', state, case when paused then 'paused' end) from tasker.tasks where task_id = '{task}'")).await;
    cell(answer, before < after, state)
}

fn cell(answer: Result<Option<String>, String>, moved: bool, state: String) -> String {
    match answer {
        Err(refusal) => {
            assert!(!moved, "refused, and moved");
            format!("!{refusal}")
        }
        Ok(_) if moved => state,
        Ok(Some(answer)) => format!("({answer})"),
        Ok(None) => ".".into(),
    }
}

/// Does it. The answer is what a caller is told in whose hands nothing changed.
async fn act(play: &mut Play<'_>, step: &str, verb: &str) -> Result<Option<String>, String> {
    let (task, number) = (*play.tasks.last().unwrap(), play.number(step));
    let outcome = match verb {
        "claim" => {
            let word = format!("{}.{step}:in_progress", play.tasks.len());
            return Ok(play.act(&word).await.err());
        }
        "release" => {
            let claim = last_claim(play, task, number).await;
            let answers = play.db.release(&[(task, number, claim.claim_id)]).await.map_err(code)?;
            let answer = match answers[0] {
                Released::Released => "released",
                Released::Settled => "settled",
                Released::Cancelled => "cancelled",
                Released::LeaseLost => "lease_lost",
            };
            return Ok(Some(answer.into()));
        }
        "reap" | "deadline" => {
            if verb == "deadline" {
                play.db.advance("3h").await;
                let claims: Vec<_> =
                    play.claims.values().map(|claim| (claim.task_id, claim.step_number, claim.claim_id)).collect();
                play.db.heartbeat(play.worker.id, &claims, Duration::from_secs(30)).await.unwrap();
            } else {
                play.db.advance("31s").await;
            }
            reap(play.db).await;
            return Ok(None);
        }
        "complete" => Outcome::Complete("1".into()),
        "skip" => Outcome::Skip,
        "fail" => Outcome::Fail { retryable: None, delay: None },
        "fail for good" => Outcome::Fail { retryable: Some(false), delay: None },
        "wait" => Outcome::Wait(play.db.now().await),
        by_hand => {
            let word = format!("{}.{by_hand}", play.tasks.len());
            return play.act(&word).await.map(|()| None);
        }
    };
    let claim = last_claim(play, task, number).await;
    let answers = play.worker.settle(play.db, &[(claim, outcome)]).await;
    Ok(Some(answers[0].clone()))
}

/// The step's last claim, be it over or not; where there was none, one that nobody made.
async fn last_claim(play: &Play<'_>, task_id: Uuid, step_number: i32) -> Claim {
    let claims: Vec<Uuid> = play
        .db
        .column(&format!(
            "select claim_id from tasker.workflow_step_transitions where task_id = '{task_id}' and step_number = {step_number} and verb = 'claim' order by number desc limit 1"
        ))
        .await;
    Claim {
        task_id,
        step_number,
        attempt: 0,
        claim_id: claims.first().copied().unwrap_or_else(Uuid::new_v4),
        timer: None,
    }
}
