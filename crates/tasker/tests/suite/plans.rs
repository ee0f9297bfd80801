//! What views and verbs cost: index paths only, and as many pages as the task asks for, whatever else is stored. Pages are
//! counted by the server, never time by a clock.

use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::support::{
    Outcome, Play, TestDatabase, Worker,
    watch::{Cost, Watch},
    with_real_clock,
};

/// A view read for one task (`$1`), or for one step (`$1`, `$2`).
const READS: &[(&str, &str)] = &[
    ("step_readiness_statuses of a task", "select count(v::text) from tasker.step_readiness_statuses v where v.task_id = $1"),
    ("step_readiness_statuses of a step", "select count(v::text) from tasker.step_readiness_statuses v where v.task_id = $1 and v.step_number = $2"),
    (
        "step_readiness_statuses by the step's id",
        "select count(v::text) from tasker.step_readiness_statuses v
         where v.task_id = tasker.task_of(tasker.step_id($1, $2)) and v.step_number = tasker.step_number_of(tasker.step_id($1, $2))",
    ),
    ("task_execution_contexts", "select count(v::text) from tasker.task_execution_contexts v where v.task_id = $1"),
    ("task_workflow_summaries", "select count(v::text) from tasker.task_workflow_summaries v where v.task_id = $1"),
    ("step_dag_relationships of a task", "select count(v::text) from tasker.step_dag_relationships v where v.task_id = $1"),
    ("step_dag_relationships of a step", "select count(v::text) from tasker.step_dag_relationships v where v.task_id = $1 and v.step_number = $2"),
    ("workflow_steps of a task", "select count(v::text) from tasker.workflow_steps v where v.task_id = $1"),
    ("workflow_step_edges of a task", "select count(v::text) from tasker.workflow_step_edges v where v.task_id = $1"),
    ("workflow_step_attempts of a task", "select count(v::text) from tasker.workflow_step_attempts v where v.task_id = $1"),
    ("workflow_step_attempts of a step", "select count(v::text) from tasker.workflow_step_attempts v where v.task_id = $1 and v.step_number = $2"),
    ("step_readiness_divergences of a task", "select count(v::text) from tasker.step_readiness_divergences v where v.task_id = $1"),
    ("explain_step", "select count(v::text) from tasker.explain_step(tasker.step_id($1, $2)) v"),
];

/// The claim of the step in question.
const CLAIM: &str = "(select l.claim_id from tasker.leases l where l.task_id = $1 and l.step_number = $2)";

/// Verbs on step s of a fresh task "p > s > c; z", with the history that makes them possible.
fn verbs() -> Vec<(&'static str, &'static str, String)> {
    let settle = |outcome: &str, payload: &str| {
        format!(
            "select count(x::text) from tasker.exchange(by_worker => $1::uuid, s_tasks => array[$1::uuid], s_steps => array[$2::int], s_claims => array[{CLAIM}],
               outcomes => array['{outcome}'], payloads => array['{payload}'], error_kinds => array[null]::text[], retryables => array[null]::boolean[],
               delays => array[null]::float8[], instants => array[tasker.clock()], handlers => array[(select min(handler_id) from tasker.handlers)],
               lanes => '{{1}}', positions => '{{-infinity}}', keys => '{{\"\"}}', capacity => 0, lease => interval '30 s') x"
        )
    };
    let step =
        |call: &str| format!("select count(x::text) from tasker.{} x", call.replace('S', "tasker.step_id($1, $2)"));
    let task = |call: &str| format!("select count(x::text) from tasker.{} x", call.replace('T', "$1"));
    vec![
        ("settle: complete", "p:complete s:in_progress", settle("complete", "1")),
        ("settle: fail", "p:complete s:in_progress", settle("fail", "no")),
        ("settle: wait", "p:complete s:in_progress", settle("wait", "")),
        ("heartbeat", "p:complete s:in_progress", format!("select count(x) from tasker.heartbeat($1, array[$1::uuid], array[$2::int], array[{CLAIM}], interval '30 s') x")),
        ("release", "p:complete s:in_progress", format!("select count(x) from tasker.release_steps(array[$1::uuid], array[$2::int], array[{CLAIM}]) x")),
        ("cancel_step, waiting", "p:complete", step("cancel_step(S)")),
        ("cancel_step, running", "p:complete s:in_progress", step("cancel_step(S)")),
        ("retry_step, dead", "p:complete s:fatal", step("retry_step(S)")),
        ("retry_step, waiting", "p:complete s:asked(1h)", step("retry_step(S)")),
        ("resolve_step", "p:complete s:fatal", step("resolve_step(S, '1')")),
        ("edit_step_input", "p:complete", step("edit_step_input(S, '1')")),
        ("change_retry_limit", "p:complete s:asked(1h)", step("change_retry_limit(S, 9)")),
        ("cancel_task", "p:complete s:in_progress", task("cancel_task(T)")),
        ("retry_task", "p:complete s:fatal", task("retry_task(T)")),
        ("resolve_task", "p:complete s:in_progress", task("resolve_task(T)")),
        ("pause_task", "p:complete", task("pause_task(T)")),
        ("resume_task", "p:complete task:pause", task("resume_task(T)")),
        ("adopt", "p:complete s:in_progress", "select count(x::text) from tasker.adopt($1, '{}', interval '30 s') x".into()),
        (
            "claim_task",
            "p:complete",
            "select count(l_steps) from tasker.claim_task($1, $1, array(select n.handler_id from tasker.tasks k join tasker.named_tasks_named_steps n
               on n.named_task_id = k.named_task_id where k.task_id = $1), 5, interval '30 s')".into(),
        ),
        (
            "claim",
            "p:complete",
            "select count(l_steps) from tasker.claim(gen_random_uuid(), array(select n.handler_id from tasker.tasks k join tasker.named_tasks_named_steps n
               on n.named_task_id = k.named_task_id where k.task_id = $1), '{1,1,1,1}', array_fill('-infinity'::timestamptz, array[4]), '{\"\",\"\",\"\",\"\"}', 5,
               interval '30 s')".into(),
        ),
        ("reap, nothing expired", "p:complete", "select count(x::text) from tasker.reap(100, '-infinity') x".into()),
        ("submit_task", "p:complete", "select count(x) from tasker.submit_task('test', (select n.name from tasker.tasks k join tasker.named_tasks n
               on n.named_task_id = k.named_task_id where k.task_id = $1), idempotency_key => $1::text, unique_while_live => $1::text, deadline => now() + interval '1 d') x".into()),
    ]
}

/// Submits and runs four-step diamonds until so many steps are stored.
async fn fill(db: &TestDatabase, play: &Play<'_>, steps: i64) {
    let worker = Worker::new(db, play.definition.steps.iter().map(|step| step.handler.clone())).await;
    let mut connection = db.pool().acquire().await.unwrap();
    let stored: i64 =
        sqlx::query_scalar("select 4 * count(*) from tasker.tasks").fetch_one(&mut *connection).await.unwrap();
    let mut missing = (steps - stored) / 4;
    let mut ended = Vec::new();
    loop {
        if missing > 0 {
            let some = missing.min(500);
            sqlx::query("select count(*) from tasker.submit_tasks(array_fill($1::int, array[$2::int]), array_fill('{\"k\": 1}'::text, array[$2]), array_fill(null::text, array[$2]),
                 array_fill(null::text, array[$2]), array_fill(null::timestamptz, array[$2]), array_fill(null::smallint, array[$2]), array_fill(null::timestamptz, array[$2]),
                 array_fill(null::text, array[$2]), array_fill(null::text, array[$2]))")
                .bind(play.named_task_id)
                .bind(some as i32)
                .execute(&mut *connection)
                .await
                .unwrap();
            missing -= some;
        }
        let reply = worker.exchange(&mut connection, &ended, &worker.serves(), 1000, None).await.unwrap();
        if reply.claimed.is_empty() && missing == 0 {
            return;
        }
        ended = reply.claimed.into_iter().map(|claim| (claim, Outcome::Complete("{\"ok\":true}".into()))).collect();
    }
}

async fn run(watch: &Watch, sql: &str, task: Uuid, step: i32) -> Cost {
    let query = sqlx::query(AssertSqlSafe(sql.to_string()));
    let query = if sql.contains("$1") { query.bind(task) } else { query };
    let query = if sql.contains("$2") { query.bind(step) } else { query };
    query.execute(watch.store.pool()).await.unwrap_or_else(|error| panic!("{error}\n{sql}"));
    watch.cost()
}

/// What a statement may cost on a four-step task, in pages: the greatest figure of all modes and sizes, and a third on top.
const PAGES: &[(&str, i64)] = &[];

/// Everything once more in a session: reads and verbs, each twice, of which the second counts (the first also loads the
/// catalogue). What is wrong is added to `wrong`.
async fn examine(watch: &Watch, db: &TestDatabase, mode: &str, wrong: &mut Vec<String>) {
    let mut play = Play::of(db, "p > s > c; z").await;
    let mut judge = |what: &str, cost: Cost| {
        let bound = PAGES.iter().find(|(name, _)| *name == what).map_or(0, |(_, pages)| *pages);
        if cost.buffers > bound || !cost.sins.is_empty() {
            wrong.push(format!("{mode}: {what}: {} pages of {bound}, {:?}", cost.buffers, cost.sins));
        }
    };
    play.live("submit p:complete s:failed").await;
    for (what, sql) in READS {
        run(watch, sql, play.task(), 1).await;
        judge(what, run(watch, sql, play.task(), 1).await);
    }
    play.live("task:cancel").await;
    for (what, history, sql) in verbs() {
        let mut last = None;
        for _ in 0..2 {
            play.tasks.clear();
            play.claims.clear();
            play.live("submit").await;
            play.live(history).await;
            last = Some(run(watch, &sql, play.task(), 1).await);
            // whatever was submitted or claimed besides goes out of the way
            db.run("select count(tasker.cancel_task(k.task_id)) from tasker.tasks k where k.state in ('pending', 'in_progress', 'failed')").await;
        }
        judge(what, last.unwrap());
    }
}

/// No table is analyzed behind our back.
async fn without_autovacuum(db: &TestDatabase) {
    let tables: Vec<String> = db
        .column(
            "select oid::regclass::text from pg_class where relnamespace = 'tasker'::regnamespace and relkind = 'r'",
        )
        .await;
    for table in tables {
        db.run(&format!("alter table {table} set (autovacuum_enabled = off)")).await;
    }
}

const GENERIC: (&str, &str) = ("plan_cache_mode", "force_generic_plan");

#[test]
fn without_statistics_every_view_and_verb_takes_index_paths() {
    with_real_clock(async |db| {
        without_autovacuum(db).await;
        let diamond = Play::of(db, "a > b, c > d").await;
        let mut wrong = Vec::new();
        // its plans are made now, while everything is empty, and kept
        let old = Watch::new(db, &[GENERIC]).await;
        examine(&old, db, "while everything was empty", &mut wrong).await;
        for size in [10_000, 100_000] {
            fill(db, &diamond, size).await;
            examine(&old, db, &format!("{size} steps, plans of an empty database"), &mut wrong).await;
            examine(&Watch::new(db, &[]).await, db, &format!("{size} steps, no statistics"), &mut wrong).await;
        }
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    });
}

#[test]
fn with_statistics_every_view_and_verb_takes_index_paths() {
    with_real_clock(async |db| {
        without_autovacuum(db).await;
        let diamond = Play::of(db, "a > b, c > d").await;
        let mut wrong = Vec::new();
        fill(db, &diamond, 10_000).await;
        db.run("analyze").await;
        examine(&Watch::new(db, &[]).await, db, "10000 steps, analyzed", &mut wrong).await;
        fill(db, &diamond, 100_000).await;
        examine(&Watch::new(db, &[]).await, db, "100000 steps, statistics of 10000", &mut wrong).await;
        db.run("analyze").await;
        examine(&Watch::new(db, &[]).await, db, "100000 steps, analyzed", &mut wrong).await;
        examine(&Watch::new(db, &[GENERIC]).await, db, "100000 steps, analyzed, generic", &mut wrong).await;
        db.run("vacuum analyze").await;
        examine(&Watch::new(db, &[]).await, db, "100000 steps, vacuumed", &mut wrong).await;
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    });
}
