//! What views and verbs cost: index paths only, and as many pages as the task asks for, whatever else is stored. Pages are
//! counted by the server, never time by a clock.

use sqlx::AssertSqlSafe;
use tasker::{context::TaskExecutionContext, readiness::StepReadinessStatus};
use uuid::Uuid;

use crate::support::{
    Claim, Outcome, Play, TestDatabase, Worker, sketch,
    watch::{Cost, Watch},
    with_real_clock,
};

/// A view read for one task (`$1`), or for one step (`$1`, `$2`).
pub const READS: &[(&str, &str)] = &[
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
    ("events of a task", "select count(v::text) from tasker.events v where v.task_id = $1"),
    ("read_events of a task", "select count(v::text) from tasker.read_events(null, 1000, $1) v"),
    ("read_events, nothing new", "select count(v::text) from tasker.read_events(tasker.events_now(), 1000) v"),
];

/// The engine's one call by the worker `$1`: ends the attempt of the step (`$1`, `$2`) where an outcome is given, and takes
/// up to `capacity` steps of the task's workflow.
pub fn exchange(ended: Option<(&str, &str)>, capacity: i32, only_task: &str) -> String {
    let of_step = |value: &str| if ended.is_some() { format!("array[{value}]") } else { "'{}'".into() };
    let (outcome, payload) = ended.unwrap_or_default();
    format!(
        "select count(x::text) from tasker.exchange(by_worker => $1, s_tasks => {}, s_steps => {}, s_claims => {}, outcomes => {}, payloads => {},
           error_kinds => {none}::text[], retryables => {none}::boolean[], delays => {none}::float8[], instants => {none}::timestamptz[],
           handlers => {HANDLERS}, lanes => '{{1,1,1,1}}', positions => array_fill('-infinity'::timestamptz, array[4]),
           keys => array_fill(''::text, array[4]), capacity => {capacity}, lease => interval '30 s', only_task => {only_task}) x",
        of_step("$1::uuid"),
        of_step("$2::int"),
        of_step(CLAIM),
        of_step(&format!("'{outcome}'")),
        of_step(&format!("'{payload}'")),
        none = of_step("null"),
    )
}

/// The handlers of a task's workflow.
pub const HANDLERS: &str = "array(select n.handler_id from tasker.tasks k join tasker.named_tasks_named_steps n
    on n.named_task_id = any(array[k.named_task_id]) where k.task_id = $1)";

/// The claim of the step in question.
const CLAIM: &str = "(select l.claim_id from tasker.leases l where l.task_id = $1 and l.step_number = $2)";

const REAP: &str = "select count(x::text) from tasker.reap(100, '-infinity') x";

/// Verbs over step s of a fresh task `p > s > c; z`, each with the history that makes it possible.
pub fn verbs() -> Vec<(&'static str, &'static str, String)> {
    let call = |call: &str| {
        let call = call.replace("STEP", "tasker.step_id($1, $2)").replace("TASK", "$1");
        let held = format!("array[$1::uuid], array[$2::int], array[{CLAIM}]");
        format!("select count(x::text) from tasker.{} x", call.replace("HELD", &held))
    };
    vec![
        ("settle: complete", "p:complete s:in_progress", exchange(Some(("complete", "1")), 0, "null")),
        ("settle: fail", "p:complete s:in_progress", exchange(Some(("fail", "no")), 0, "null")),
        ("settle, and take the child", "p:complete s:in_progress", exchange(Some(("complete", "1")), 5, "null")),
        ("claim", "p:complete", exchange(None, 5, "null")),
        ("claim in one task", "p:complete", exchange(None, 5, "$1")),
        ("heartbeat", "p:complete s:in_progress", call("heartbeat($1, HELD, interval '30 s')")),
        ("adopt", "p:complete s:in_progress", call("adopt($1, '{}', interval '30 s')")),
        ("release", "p:complete s:in_progress", call("release_steps(HELD)")),
        ("cancel_step, waiting", "p:complete", call("cancel_step(STEP)")),
        ("cancel_step, running", "p:complete s:in_progress", call("cancel_step(STEP)")),
        ("retry_step, dead", "p:complete s:fatal", call("retry_step(STEP)")),
        ("retry_step, waiting", "p:complete s:asked(1h)", call("retry_step(STEP)")),
        ("resolve_step", "p:complete s:fatal", call("resolve_step(STEP, '1')")),
        ("edit_step_input", "p:complete", call("edit_step_input(STEP, '1')")),
        ("change_retry_limit", "p:complete s:asked(1h)", call("change_retry_limit(STEP, 9)")),
        ("cancel_task", "p:complete s:in_progress", call("cancel_task(TASK)")),
        ("retry_task", "p:complete s:fatal", call("retry_task(TASK)")),
        ("resolve_task", "p:complete s:in_progress", call("resolve_task(TASK)")),
        ("pause_task", "p:complete", call("pause_task(TASK)")),
        ("resume_task", "p:complete task:pause", call("resume_task(TASK)")),
        ("reap, nothing expired", "p:complete", REAP.into()),
        ("reap, a lease expired", "p:complete s:in_progress", REAP.into()),
        (
            "submit_task",
            "",
            "select count(x) from tasker.submit_task('test', (select n.name from tasker.tasks k join tasker.named_tasks n
               on n.named_task_id = any(array[k.named_task_id]) where k.task_id = $1), idempotency_key => $1::text,
               unique_while_live => $1::text, deadline => now() + interval '1 d') x"
                .into(),
        ),
    ]
}

/// Submits and runs four-step diamonds until so many steps are stored: with keys, errors and results; one task in ten waits
/// for tomorrow, with a deadline and a unique key.
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
            sqlx::query(
                "select count(s) from (
                   select array_agg($1) as workflows, array_agg(format('{\"n\": %s}', n)) as contexts,
                     array_agg(case when n % 3 = 0 then gen_random_uuid()::text end) as keys,
                     array_agg(case when n % 10 = 0 then gen_random_uuid()::text end) as unique_keys,
                     array_agg(case when n % 10 = 0 then now() + interval '1 d' end) as starts,
                     array_agg(case when n % 10 = 0 then now() + interval '2 d' end) as deadlines,
                     array_fill(null::text, array[$2]) as nothing, array_fill(null::smallint, array[$2]) as lanes
                   from generate_series(1, $2) n) a
                 cross join lateral tasker.submit_tasks(workflows, contexts, keys, unique_keys, starts, lanes, deadlines, nothing, nothing) s",
            )
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
        let end = |claim: Claim| match claim.attempt == 1 && claim.claim_id.as_u128().is_multiple_of(10) {
            true => (claim, Outcome::Fail { retryable: None, delay: Some(0.0) }),
            false => (claim, Outcome::Complete("{\"ok\":true}".into())),
        };
        ended = reply.claimed.into_iter().map(end).collect();
    }
}

pub async fn run(watch: &Watch, sql: &str, task: Uuid, step: i32) -> Cost {
    let query = sqlx::query(AssertSqlSafe(sql.to_string()));
    let query = if sql.contains("$1") { query.bind(task) } else { query };
    let query = if sql.contains("$2") { query.bind(step) } else { query };
    query.execute(watch.store.pool()).await.unwrap_or_else(|error| panic!("{error}\n{sql}"));
    watch.cost()
}

/// What a statement may cost on a four-step task, in pages: the greatest figure of all modes and sizes, and a third on top.
const PAGES: &[(&str, i64)] = &[
    ("step_readiness_statuses of a task", 45),
    ("step_readiness_statuses of a step", 20),
    ("step_readiness_statuses by the step's id", 20),
    ("task_execution_contexts", 45),
    ("task_workflow_summaries", 45),
    ("step_dag_relationships of a task", 35),
    ("step_dag_relationships of a step", 20),
    ("workflow_steps of a task", 25),
    ("workflow_step_edges of a task", 10),
    ("workflow_step_attempts of a task", 25),
    ("workflow_step_attempts of a step", 15),
    ("step_readiness_divergences of a task", 225),
    ("explain_step", 95),
    ("events of a task", 20),
    ("read_events of a task", 35),
    // it reads again what the oldest open transaction of the whole server may not have seen: the other tests'
    ("read_events, nothing new", 500),
    ("settle: complete", 85),
    ("settle: fail", 95),
    ("settle, and take the child", 210),
    ("claim", 160),
    ("claim in one task", 160),
    ("heartbeat", 30),
    ("release", 90),
    ("cancel_step, waiting", 70),
    ("cancel_step, running", 70),
    ("retry_step, dead", 95),
    ("retry_step, waiting", 95),
    ("resolve_step", 125),
    ("edit_step_input", 95),
    ("change_retry_limit", 100),
    ("cancel_task", 130),
    ("retry_task", 100),
    ("resolve_task", 135),
    ("pause_task", 40),
    ("resume_task", 135),
    ("reap, nothing expired", 20),
    ("reap, a lease expired", 110),
    ("submit_task", 95),
    // it reads all leases of the last half minute, dead ones too where nobody has vacuumed: as many as were claimed
    ("adopt", 3000),
];

/// How often a statement runs before its costs count as too high: the server may just have vacuumed a catalogue or written
/// statistics, which a session then reads again. That only ever adds pages, and not every time.
const TIMES: usize = 5;

fn bound(what: &str) -> i64 {
    PAGES.iter().find(|(name, _)| *name == what).map_or(0, |(_, pages)| *pages)
}

/// What something costs at last, where it is more than it may each time.
async fn too_much(what: &str, mut once: impl AsyncFnMut() -> Cost) -> Option<Cost> {
    // the first also loads the catalogue
    let mut last = Some(once().await);
    for _ in 0..TIMES {
        let cost = once().await;
        if cost.buffers <= bound(what) && cost.sins.is_empty() {
            return None;
        }
        last = Some(cost);
    }
    last
}

/// Everything once more in a session: reads and verbs. What is wrong is added to `wrong`.
async fn examine(watch: &Watch, db: &TestDatabase, mode: &str, wrong: &mut Vec<String>) {
    let mut play = Play::of(db, "p > s > c; z").await;
    db.run("select tasker.begin_event_epoch()").await;
    let mut judge = |what: &str, cost: Option<Cost>| {
        if let Some(Cost { buffers, sins, .. }) = cost {
            wrong.push(format!("{mode}: {what}: {buffers} pages of {}, {sins:?}", bound(what)));
        }
    };
    // in an hour: what is due has a queue before it, which an explanation counts
    play.live("submit p:complete s:asked(1h)").await;
    for (what, sql) in READS {
        let cost = too_much(what, async || {
            what_is_dead_is_dead_to_all(db).await;
            run(watch, sql, play.task(), 1).await
        });
        judge(what, cost.await);
    }
    play.live("task:cancel").await;
    for (what, history, sql) in verbs() {
        let cost = too_much(what, async || {
            play.tasks.clear();
            play.claims.clear();
            play.live("submit").await;
            play.live(history).await;
            if what.ends_with("expired") && what.contains("lease") {
                db.run("update tasker.leases set lease_expires_at = now() - interval '1 s'").await;
            }
            what_is_dead_is_dead_to_all(db).await;
            let cost = run(watch, &sql, play.task(), 1).await;
            // whatever was submitted or claimed besides goes out of the way
            db.run("select count(tasker.cancel_task(k.task_id)) from tasker.tasks k where k.state in ('pending', 'in_progress', 'failed') and k.run_at <= now()").await;
            cost
        });
        judge(what, cost.await);
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

/// Other workflows, of 7,000 steps together, without tasks: what asks for one task must not read them.
async fn register_others(db: &TestDatabase) {
    for n in 0..20 {
        let layer = |l: usize| (0..10).map(|i| format!("o{n}_{l}_{i}")).collect::<Vec<_>>().join(", ");
        db.register(&sketch(&(0..10).map(layer).collect::<Vec<_>>().join(" > "))).await.unwrap();
    }
    let chain = (0..5_000).map(|n| format!("o{n}")).collect::<Vec<_>>().join(" > ");
    db.register(&sketch(&chain)).await.unwrap();
}

/// Ten thousand steps of diamonds that have been through the engine, of which the server knows nothing until it is told to look.
pub async fn stored(db: &TestDatabase) -> Play<'_> {
    without_autovacuum(db).await;
    let diamond = Play::of(db, "a > b, c > d").await;
    register_others(db).await;
    fill(db, &diamond, 10_000).await;
    diamond
}

/// How many steps are stored at most: 100,000, or as many as `TASKER_TEST_STORED` says.
fn largest() -> i64 {
    std::env::var("TASKER_TEST_STORED").map_or(100_000, |text| text.parse().unwrap())
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
        register_others(db).await;
        for size in [10_000, largest()] {
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
        let diamond = stored(db).await;
        let mut wrong = Vec::new();
        db.run("analyze").await;
        examine(&Watch::new(db, &[]).await, db, "10000 steps, analyzed", &mut wrong).await;
        let size = largest();
        fill(db, &diamond, size).await;
        examine(&Watch::new(db, &[]).await, db, &format!("{size} steps, statistics of 10000"), &mut wrong).await;
        db.run("analyze").await;
        examine(&Watch::new(db, &[]).await, db, &format!("{size} steps, analyzed"), &mut wrong).await;
        examine(&Watch::new(db, &[GENERIC]).await, db, &format!("{size} steps, analyzed, generic"), &mut wrong).await;
        db.run("vacuum analyze").await;
        examine(&Watch::new(db, &[]).await, db, &format!("{size} steps, vacuumed"), &mut wrong).await;
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    });
}

#[test]
fn pages_follow_the_size_of_a_task() {
    with_real_clock(async |db| {
        stored(db).await;
        db.run("select tasker.begin_event_epoch()").await;
        let watch = Watch::new(db, &[]).await;
        let mut pages = Vec::new();
        let mut plays = Vec::new();
        for width in [50, 400] {
            let middle: Vec<String> = (0..width).map(|n| format!("m{n}")).collect();
            let mut play = Play::of(db, &format!("a > {} > z", middle.join(", "))).await;
            play.live("submit a:complete m0:failed m1:in_progress").await;
            plays.push(play);
        }
        for play in plays {
            for (what, sql) in READS {
                run(&watch, sql, play.task(), 1).await;
                let cost = run(&watch, sql, play.task(), 1).await;
                assert_eq!(cost.sins, [""; 0], "{what} of a task of {} steps", play.definition.steps.len());
                pages.push((*what, cost.buffers));
            }
        }
        let (small, large) = pages.split_at(READS.len());
        for ((what, small), (_, large)) in small.iter().zip(large) {
            // eight times the steps: eight times the pages for a task, the same for a step
            let factor = if what.ends_with("of a step") || what.ends_with("id") { 1 } else { 8 };
            assert!(*large <= factor * small + 40, "{what}: {small} pages of 50 steps, {large} of 400");
        }
    });
}

#[test]
fn a_step_of_a_long_task_costs_what_one_of_a_short_task_does() {
    with_real_clock(async |db| {
        stored(db).await;
        // from here on, the planner believes that tasks are small
        db.run("analyze").await;
        let watch = Watch::new(db, &[]).await;
        let mut statements = Vec::new();
        for before in [0, 1_000] {
            let steps: Vec<String> = (0..before).map(|n| format!("q{n} > ")).collect();
            let mut play = Play::of(db, &format!("{}p > s > c; z", steps.concat())).await;
            // each step needs its parent's result
            db.run(&format!(
                "update tasker.named_tasks_named_steps set needs = array[step_number - 1]
                 where named_task_id = {} and max_depth_from_root > 0",
                play.named_task_id
            ))
            .await;
            let reads = READS.iter().filter(|(what, _)| what.ends_with("of a step"));
            let reads = reads.map(|(what, sql)| (*what, "p:complete", sql.to_string()));
            let calls = verbs().into_iter().filter(|(_, _, sql)| sql.contains("tasker.exchange"));
            let served = HANDLERS.replace("where", &format!("where n.step_number >= {before} and"));
            let calls = calls.map(|(what, history, sql)| (what, history, sql.replace(HANDLERS, &served)));
            for (what, history, sql) in reads.chain(calls) {
                let mut counted = 0;
                let cost = too_much(what, async || {
                    play.tasks.clear();
                    play.claims.clear();
                    play.live("submit").await;
                    let task = play.task();
                    db.run(&format!("select count(tasker.resolve_step(tasker.step_id('{task}', n), '1')) from generate_series(0, {before} - 1) n")).await;
                    play.live(history).await;
                    what_is_dead_is_dead_to_all(db).await;
                    // a thousand steps went through the queue of this task just now
                    db.run("vacuum tasker.ready_steps").await;
                    db.run("vacuum tasker.leases").await;
                    let cost = run(&watch, &sql, task, before + 1).await;
                    db.run(&format!("select tasker.cancel_task('{task}')")).await;
                    counted = cost.statements;
                    cost
                })
                .await;
                assert!(cost.is_none(), "{what}, after {before} steps: {}, {cost:?}", bound(what));
                statements.push((what, counted));
            }
        }
        let (short, long) = statements.split_at(statements.len() / 2);
        assert_eq!(short, long, "statements, those inside included");
        assert!(short.contains(&("settle, and take the child", 15)), "{short:?}");
    });
}

/// Waits until no transaction of the server, in any database, is older than now: as long as one is, what has died since is read again.
async fn what_is_dead_is_dead_to_all(db: &TestDatabase) {
    let now: String = db.value("select pg_current_xact_id()::text").await;
    db.until(&format!("select pg_snapshot_xmin(pg_current_snapshot()) > '{now}'::xid8")).await;
}

/// What asks for all of the hot set may read all of it.
fn only_of_the_hot_set(cost: &Cost) -> bool {
    cost.sins.iter().all(|sin| sin.contains("of ready_steps") || sin.contains("of leases"))
}

/// Pages of a hot set through which 10,000 steps went, where nobody has vacuumed it: one for each, where the server cannot yet know that
/// what is dead is dead to all. (That nothing else is read from end to end is asked beside it.)
pub const UNVACUUMED: i64 = 12_000;

#[test]
fn lists_over_all_tasks_start_from_the_hot_set() {
    with_real_clock(async |db| {
        stored(db).await;
        let mut play = Play::of(db, "p > s > c; z").await;
        play.live("submit submit submit 3.z:complete submit 4.p:fatal 4.z:complete submit 5.task:pause").await;
        db.run("select count(tasker.cancel_task(k.task_id)) from tasker.tasks k where k.run_at > now() and k.state = 'pending'").await;
        what_is_dead_is_dead_to_all(db).await;
        for analyzed in [false, true] {
            if analyzed {
                db.run("analyze").await;
            }
            let watch = Watch::new(db, &[]).await;
            for _ in 0..2 {
                assert_eq!(StepReadinessStatus::ready().all(&watch.store).await.unwrap().len(), 5);
                let cost = watch.cost();
                assert!(
                    only_of_the_hot_set(&cost) && cost.buffers < 400,
                    "ready steps, analyzed: {analyzed}: {cost:?}"
                );
                assert_eq!(TaskExecutionContext::with_ready_steps(&watch.store).await.unwrap().len(), 3);
                let cost = watch.cost();
                assert!(
                    only_of_the_hot_set(&cost) && cost.buffers < 400,
                    "tasks with ready steps, analyzed: {analyzed}: {cost:?}"
                );
                let waiting = StepReadinessStatus::blocked_by_dependencies().all(&watch.store).await.unwrap();
                assert_eq!(waiting.len(), 10, "two of each unfinished task");
                let cost = watch.cost();
                assert!(
                    only_of_the_hot_set(&cost) && cost.buffers < UNVACUUMED,
                    "waiting steps, analyzed: {analyzed}: {cost:?}"
                );
                assert_eq!(StepReadinessStatus::blocked_by_retry().all(&watch.store).await.unwrap().len(), 1);
                let cost = watch.cost();
                assert!(
                    only_of_the_hot_set(&cost) && cost.buffers < UNVACUUMED,
                    "dead steps, analyzed: {analyzed}: {cost:?}"
                );
                assert_eq!(TaskExecutionContext::blocked(&watch.store).await.unwrap().len(), 1);
                let cost = watch.cost();
                assert!(
                    only_of_the_hot_set(&cost) && cost.buffers < UNVACUUMED,
                    "blocked tasks, analyzed: {analyzed}: {cost:?}"
                );
            }
        }
    });
}

#[test]
fn looking_for_divergences_of_live_tasks_does_not_recount_history() {
    with_real_clock(async |db| {
        stored(db).await;
        db.run("select count(tasker.cancel_task(k.task_id)) from tasker.tasks k where k.run_at > now() and k.state = 'pending'").await;
        what_is_dead_is_dead_to_all(db).await;
        for check in [
            include_str!("../../sql/doctor/divergences.sql"),
            include_str!("../../sql/doctor/counts.sql"),
            include_str!("../../sql/doctor/histories.sql"),
            include_str!("../../sql/doctor/limits.sql"),
        ] {
            let watch = Watch::new(db, &[]).await;
            let found = (if check.contains("$1") { sqlx::query(check).bind(false) } else { sqlx::query(check) })
                .fetch_all(watch.store.pool())
                .await
                .unwrap();
            let cost = watch.cost();
            assert!(found.is_empty() && cost.buffers < 500, "{cost:?} {check}");
        }
    });
}
