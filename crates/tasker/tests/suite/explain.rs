//! Why a step does not run: all causes, followed up the graph. Complete: there are none exactly when it can be claimed.
//! Sound: take them away, and it can.

use expect_test::{Expect, expect};
use sqlx::FromRow;

use crate::support::{Chance, Moment, Play, TestDatabase, seed, watch::Watch, with_database, with_real_clock};

#[derive(Debug, FromRow)]
struct Cause {
    step_number: i32,
    name: String,
    cause: String,
    detail: String,
    blocks: bool,
    start_at: Option<Moment>,
}

async fn explain(play: &Play<'_>, step: i32) -> Vec<Cause> {
    sqlx::query_as("select * from tasker.explain_step($1)")
        .bind(tasker::step_id(*play.tasks.last().unwrap(), step))
        .fetch_all(play.db.pool())
        .await
        .unwrap()
}

/// The picture of what is said of one step.
fn check(graph: &str, history: &str, step: &str, picture: Expect) {
    with_database(async |db| {
        let play = Play::through(db, graph, history).await;
        let mut lines = String::new();
        for cause in explain(&play, play.number(step)).await {
            let start = cause.start_at.map(|at| format!(" (could start at {})", at.format("%H:%M:%S")));
            let mark = if cause.blocks { "" } else { "(blocks nothing) " };
            let detail = cause.detail.replace(&play.worker.id.to_string(), "W");
            lines += &format!("{}: {mark}{}: {detail}{}\n", cause.name, cause.cause, start.unwrap_or_default());
        }
        picture.assert_eq(&lines);
    });
}

#[test]
fn a_step_that_is_ready_has_no_cause() {
    check("a > b", "a:complete", "b", expect![]);
}

#[test]
fn all_that_holds_a_step_back_is_said_at_once() {
    check(
        "a > b",
        "a:complete b:asked(1h) task:pause",
        "b",
        expect![[r#"
        b: task_paused: its task is paused: resume it
        b: waiting_for_retry: not before 2100-01-01 01:00:00.001+00
    "#]],
    );
}

#[test]
fn the_trouble_is_followed_to_its_roots() {
    check(
        "a, b > c > d; e > d; f",
        "a:complete b:fatal e:in_progress",
        "d",
        expect![[r#"
        d: dependencies_not_satisfied: 0 of 2 parents are satisfied
        b: not_retryable: its last failure (test_error) may not be retried: retry it by hand, or resolve it
        c: dependencies_not_satisfied: 1 of 2 parents are satisfied
        e: in_progress: attempt 1 of 3 runs on worker W
    "#]],
    );
}

#[test]
fn an_ancestor_that_is_ready_is_a_cause_too() {
    check(
        "a > b > c",
        "",
        "c",
        expect![[r#"
        c: dependencies_not_satisfied: 0 of 1 parents are satisfied
        a: ready: it is ready, and has not been claimed yet
        b: dependencies_not_satisfied: 0 of 1 parents are satisfied
    "#]],
    );
}

#[test]
fn what_only_time_holds_back_says_when_it_could_start() {
    check(
        "a",
        "a:asked(90m)",
        "a",
        expect![[r#"
        a: waiting_for_retry: not before 2100-01-01 01:30:00.001+00 (could start at 01:30:00)
    "#]],
    );
    check(
        "a",
        "submit(run_at=2h)",
        "a",
        expect![[r#"
        a: scheduled_for_later: not before 2100-01-01 02:00:00.001+00 (could start at 02:00:00)
    "#]],
    );
    check(
        "a, b",
        "submit(run_at=2h) task:pause",
        "a",
        expect![[r#"
        a: task_paused: its task is paused: resume it
        a: scheduled_for_later: not before 2100-01-01 02:00:00.001+00
    "#]],
    );
}

#[test]
fn a_full_limit_says_how_full_it_is() {
    check(
        "a[concurrency=1]",
        "submit submit 1.a:in_progress",
        "a",
        expect![[r#"
        a: concurrency_limit_reached: 1 of 1 slots of its key are taken
    "#]],
    );
}

#[test]
fn what_is_over_says_so() {
    check(
        "a, b",
        "a:complete",
        "a",
        expect![[r#"
        a: finished: it is complete
    "#]],
    );
    check(
        "a, b",
        "a:cancel",
        "a",
        expect![[r#"
        a: finished: it is cancelled
    "#]],
    );
    check(
        "a[attempts=1], b",
        "a:failed",
        "a",
        expect![[r#"
        a: retries_exhausted: 1 of 1 attempts are used: retry it by hand, or resolve it
    "#]],
    );
}

#[test]
fn a_ready_step_says_that_others_stand_before_it() {
    check(
        "a",
        "submit submit submit",
        "a",
        expect![[r#"
        a: (blocks nothing) queued: 2 steps stand before it in its queue
    "#]],
    );
}

#[test]
fn a_ready_step_says_that_no_live_worker_offers_its_handler() {
    check(
        "a",
        "+2m",
        "a",
        expect![[r#"
        a: (blocks nothing) no_worker: no live worker has offered the handler "test.sketch_a4f0e9f3.a"
    "#]],
    );
}

#[test]
fn an_unknown_step_is_refused() {
    with_database(async |db| {
        let play = Play::through(db, "a", "").await;
        let asked = sqlx::query("select tasker.explain_step($1)")
            .bind(tasker::step_id(play.task(), 1))
            .execute(db.pool())
            .await;
        assert_eq!(crate::support::code(asked.unwrap_err().into()), "unknown_step");
    });
}

#[test]
fn explanations_are_sound_and_complete() {
    with_database(async |db| {
        let first = seed();
        for seed in first..first + 150 {
            let mut chance = Chance::mixed(seed);
            let (graph, history, mut play) = random_play(db, &mut chance).await;
            let names: Vec<String> = play.definition.steps.iter().map(|step| step.name.clone()).collect();
            for name in &names {
                complete(&play, name, &format!("seed {seed}, `{graph}`, `{history}`, {name}")).await;
            }
            let target = &names[chance.of(names.len())];
            sound(&mut play, target, &format!("seed {seed}, `{graph}`, `{history}`, {target}")).await;
        }
    });
}

async fn random_play<'a>(db: &'a TestDatabase, chance: &mut Chance) -> (String, String, Play<'a>) {
    const GRAPHS: [&str; 6] = [
        "a > b, c > d",
        "a, b > c; c > d; b > e",
        "a > b > c",
        "a[attempts=1], b, c",
        "a > b, c; b > d; d, c > e",
        "a, b, c > d",
    ];
    const STEP: [&str; 16] = [
        "in_progress",
        "complete",
        "complete",
        "complete",
        "skipped",
        "failed",
        "fatal",
        "asked(1h)",
        "waits(1h)",
        "released",
        "cancel",
        "retry",
        "resolve",
        "limit(1)",
        "limit(7)",
        "edit",
    ];
    const OTHER: [&str; 7] = ["task:pause", "task:resume", "task:retry", "+1m", "+2h", "reap", "task:pause"];
    let mut graph = GRAPHS[chance.of(GRAPHS.len())].to_string();
    if chance.of(2) == 0 {
        graph = graph.replacen('b', "b[concurrency=1 key=k]", 1);
    }
    let mut play = Play::of(db, &graph).await;
    // the key of a task's own, or one that a second task may have filled
    db.advance("1d").await;
    let context = if chance.of(2) == 0 { r#"{"k":1}"# } else { r#"{"k":2}"# };
    let run_at = if chance.of(4) == 0 { ",run_at=30m" } else { "" };
    play.live(&format!(r#"submit(context={{"k":1}}) submit(context={context}{run_at})"#)).await;
    let mut history = format!("{context}{run_at}");
    for _ in 0..4 + chance.of(8) {
        let task = if chance.of(4) == 0 { 1 } else { 2 };
        let word = match chance.of(4) {
            0 => OTHER[chance.of(OTHER.len())].to_string(),
            _ => format!(
                "{}:{}",
                play.definition.steps[chance.of(play.definition.steps.len())].name,
                STEP[chance.of(STEP.len())]
            ),
        };
        let word = if word.contains(':') { format!("{task}.{word}") } else { word };
        // refusals are as good as anything
        if play.act(&word).await.is_ok() {
            history += &format!(" {word}");
        }
    }
    (graph, history, play)
}

/// No cause exactly where the step is ready, and exactly where a claim gets it.
async fn complete(play: &Play<'_>, name: &str, what: &str) {
    let task = play.tasks.last().unwrap();
    let number = play.number(name);
    let causes = explain(play, number).await;
    let ready: bool = play
        .db
        .value(&format!("select ready_for_execution from tasker.step_readiness_statuses where task_id = '{task}' and step_number = {number}"))
        .await;
    let blocks = causes.iter().any(|cause| cause.blocks);
    assert_eq!(ready, !blocks, "{what}: {causes:?}");
    let mut transaction = play.db.pool().begin().await.unwrap();
    let handler = play.worker.handler(&play.definition.steps[number as usize].handler);
    let reply = play.worker.exchange(&mut transaction, &[], &[handler], 1, Some(*task)).await.unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(reply.claimed.len(), usize::from(!blocks), "{what}: {causes:?}");
    let only_time =
        |reason: &Option<String>| matches!(reason.as_deref(), Some("waiting_for_retry" | "scheduled_for_later"));
    let (reason, at): (Option<String>, Option<Moment>) =
        sqlx::query_as("select blocking_reason, next_retry_at from tasker.step_readiness_statuses where task_id = $1 and step_number = $2")
            .bind(task)
            .bind(number)
            .fetch_one(play.db.pool())
            .await
            .unwrap();
    let said = causes.iter().find_map(|cause| cause.start_at);
    assert_eq!(said, at.filter(|_| only_time(&reason) && causes.len() == 1), "{what}: {causes:?}");
}

/// Takes the causes away, those of ancestors by a person's hand, and finds the step ready.
async fn sound(play: &mut Play<'_>, target: &str, what: &str) {
    let number = play.number(target);
    let mut causes = explain(play, number).await;
    let of_target =
        |word: &str, causes: &[Cause]| causes.iter().any(|cause| cause.step_number == number && cause.cause == word);
    let state: String = play.db.value(&format!("select current_state::text from tasker.step_readiness_statuses where task_id = '{}' and step_number = {number}", play.tasks[1])).await;
    if matches!(state.as_str(), "complete" | "skipped" | "resolved_manually" | "in_progress") {
        return;
    }
    let limit_is_full = of_target("concurrency_limit_reached", &causes);
    let wait = of_target("waiting_for_retry", &causes) || of_target("scheduled_for_later", &causes);
    let dead = of_target("not_retryable", &causes)
        || of_target("retries_exhausted", &causes)
        || of_target("finished", &causes);
    let paused = of_target("task_paused", &causes);
    // ancestors stand before their descendants
    causes.sort_by_key(|cause| cause.step_number);
    for cause in causes.iter().filter(|cause| cause.step_number != number) {
        if cause.cause == "in_progress" {
            let word = format!("2.{}:cancel", cause.name);
            play.act(&word).await.unwrap_or_else(|code| panic!("{what}: {code}"));
        }
        let step = tasker::step_id(play.tasks[1], cause.step_number);
        match play.act(&format!("2.{}:resolve", cause.name)).await {
            Ok(()) => {}
            Err(code) if code == "step_is_finished" => {} // two causes of one ancestor
            Err(code) => panic!("{what}: {step} is a cause, and cannot be taken away: {code}"),
        }
    }
    if dead {
        play.act(&format!("2.{target}:retry")).await.unwrap_or_else(|code| panic!("{what}: {code}"));
    }
    if paused {
        play.act("2.task:resume").await.unwrap();
    }
    if limit_is_full {
        let holders: Vec<(uuid::Uuid, i32, uuid::Uuid)> =
            sqlx::query_as("select task_id, step_number, claim_id from tasker.leases where limit_key <> ''")
                .fetch_all(play.db.pool())
                .await
                .unwrap();
        play.db.release(&holders).await.unwrap();
    }
    if wait {
        play.db.advance("4h").await;
    }
    let after = explain(play, number).await;
    assert!(
        !after.iter().any(|cause| cause.blocks),
        "{what}: {causes:?} were taken away, and there are others: {after:?}"
    );
    play.act(&format!("2.{target}:in_progress")).await.unwrap_or_else(|code| panic!("{what}: {code}"));
}

/// Each cause costs as much, however many there are: a step's place in the graph is looked up, and the graph is not read for it.
#[test]
fn a_long_explanation_costs_what_as_many_short_ones_do() {
    with_real_clock(async |db| {
        let chain = (0..400).map(|n| format!("s{n}")).collect::<Vec<_>>().join(" > ");
        let play = Play::through(db, &chain, "submit").await;
        let watch = Watch::new(db, &[]).await;
        let causes = watch.store.explain_step(play.step("s399")).await.unwrap().len();
        let first = watch.cost();
        watch.store.explain_step(play.step("s399")).await.unwrap();
        let cost = watch.cost();
        assert!(causes == 400 && cost.buffers < 400 * 40, "{causes} causes: {cost:?}, the first time {first:?}");
    });
}
