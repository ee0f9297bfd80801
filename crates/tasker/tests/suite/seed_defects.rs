//! Traps that the origin of this engine fell into, each under its number, where no picture of a rule says it already
//! (`scripts/test c0` and so on finds them all).

use std::time::Duration;

use sqlx::{Connection, Row};
use tasker::{
    context::TaskExecutionContext,
    readiness::StepReadinessStatus,
    workflow::{Definition, Draft},
};
use uuid::Uuid;

use crate::support::{Outcome, Play, TestDatabase, sketch, with_database, with_real_clock};

/// Graphs and histories with some of everything.
const PLAYS: &[(&str, &str)] = &[
    ("a, b > c > d; c > e", "submit submit(run_at=1h) 1.a:complete 1.b:failed 2.a:cancel"),
    ("a > b, c, d > e", "a:complete b:failed c:skipped d:waits(1h) task:pause"),
    ("a[concurrency=1] > b[attempts=1]", "submit submit submit(priority=high) 3.a:complete 3.b:lost 2.a:in_progress"),
    ("a, b", "submit submit 1.a:fatal 1.b:resolve 2.a:in_progress 2.task:cancel"),
];

#[test]
fn c01_every_graph_has_a_ready_or_running_step_until_it_ends() {
    with_database(async |db| {
        for seed in 0..25 {
            run_to_its_end(db, seed).await;
        }
    });
}

/// A random graph, run by claims of random sizes with random endings.
async fn run_to_its_end(db: &TestDatabase, seed: u64) {
    let mut state = seed;
    let mut chance = |of: u64| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) % of
    };
    let mut chains = Vec::new();
    for step in 0..1 + chance(12) {
        chains.push(format!("s{step}"));
        for _ in 0..chance(4).min(step) {
            chains.push(format!("s{} > s{step}", chance(step)));
        }
    }
    let graph = chains.join("; ");
    let mut play = Play::of(db, &graph).await;
    play.live("submit").await;
    for _ in 0..200 {
        let context = TaskExecutionContext::find(db, play.task()).await.unwrap().unwrap();
        match context.execution_status.as_str() {
            "all_complete" | "blocked_by_failures" => return,
            "has_ready_steps" => {}
            "waiting_for_retry" => db.advance("5m").await,
            other => panic!("seed {seed}, `{graph}` is {other}: {context:?}"),
        }
        let claims = play.worker.claim(db, 1 + chance(5) as i32).await;
        assert!(!claims.is_empty() || context.execution_status != "has_ready_steps");
        let ended: Vec<_> = claims
            .into_iter()
            .map(|claim| {
                let outcome = match chance(10) {
                    0 => Outcome::Fail { retryable: None, delay: None },
                    1 => Outcome::Skip,
                    _ => Outcome::Complete("1".into()),
                };
                (claim, outcome)
            })
            .collect();
        play.worker.settle(db, &ended).await;
    }
    panic!("seed {seed}, `{graph}` does not end");
}

#[test]
fn c02_states_are_one_type_in_the_database() {
    with_database(async |db| {
        let others: Vec<String> = db
            .column(
                "select format('%s.%s %s', c.relname, a.attname, a.atttypid::regtype) from pg_attribute a join pg_class c on c.oid = a.attrelid
                 where c.relnamespace = 'tasker'::regnamespace and c.relkind in ('r', 'v') and a.attnum > 0 and not a.attisdropped
                   and a.attname ~ '(^|_)state$|^status$' and c.relname <> 'events' -- of both
                   and a.atttypid not in ('tasker.step_state'::regtype, 'tasker.task_state'::regtype)",
            )
            .await;
        assert_eq!(others, [""; 0], "states that are not of a state's type");
    });
}

#[test]
fn c06_every_state_is_in_one_bucket_and_every_task_ends() {
    with_database(async |db| {
        let mut play = Play::of(db, "a, b, c, d, e, f").await;
        play.live("submit a:complete b:skipped c:resolve d:cancel e:failed f:in_progress").await;
        let c = TaskExecutionContext::find(db, play.task()).await.unwrap().unwrap();
        let counts = [
            c.pending_steps,
            c.in_progress_steps,
            c.completed_steps,
            c.failed_steps,
            c.cancelled_steps,
            c.resolved_manually_steps,
            c.skipped_steps,
        ];
        assert_eq!((counts, c.total_steps), ([0, 1, 1, 1, 1, 1, 1], 6));
        play.live("f:complete d:resolve +1s e:complete").await;
        let c = TaskExecutionContext::find(db, play.task()).await.unwrap().unwrap();
        assert!(c.is_complete() && c.recommended_action == "none");
    });
}

#[test]
fn c07_ties_on_created_at() {
    with_database(async |db| {
        // the clock does not move: all instants are equal, and the numbers alone order the transitions
        let mut play = Play::of(db, "a, b").await;
        play.live("submit a:failed a:retry a:failed a:retry a:complete").await;
        let row = sqlx::query(
            "select count(*), count(distinct at), count(distinct number) from tasker.workflow_step_transitions",
        )
        .fetch_one(db.pool())
        .await
        .unwrap();
        assert_eq!((row.get::<i64, _>(0), row.get::<i64, _>(1), row.get::<i64, _>(2)), (8, 1, 8));
        let state: String = db.value("select state::text from tasker.workflow_steps where step_number = 0").await;
        assert_eq!(state, "complete");
    });
}

#[test]
fn c08_a_step_that_has_failed_fifty_times_spoils_no_view() {
    with_database(async |db| {
        let mut play = Play::of(db, "a[attempts=1000000 base=1s max=366d]").await;
        play.live("submit").await;
        for _ in 0..50 {
            play.live("a:failed a:retry").await;
        }
        let last: f64 = db.value("select extract(epoch from max(next_retry_at) - tasker.now())::float8 from tasker.workflow_step_transitions where verb = 'settle'").await;
        assert!((15_811_200.0..=31_622_400.0).contains(&last));
        assert_eq!(
            db.value::<i64>("select count(*) from tasker.step_readiness_statuses where ready_for_execution").await,
            1
        );
    });
}

#[test]
fn c09_a_fresh_step_has_no_null_where_a_decision_is_made() {
    with_database(async |db| {
        Play::through(db, "a > b", "").await;
        let nulls: i64 = db
            .value(
                "select count(*) from tasker.step_readiness_statuses v where v.attempts is null or v.retry_limit is null or v.total_parents is null
                   or v.completed_parents is null or v.dependencies_satisfied is null or v.retry_eligible is null or v.ready_for_execution is null",
            )
            .await;
        assert_eq!(nulls, 0);
    });
}

#[test]
fn c10_a_limit_below_one_is_refused_at_every_door() {
    with_database(async |db| {
        let mut draft =
            Draft { namespace: "test".into(), name: "w".into(), version: "1.0.0".into(), ..Draft::default() };
        draft.steps.push(tasker::workflow::DraftStep { name: "a".into(), ..Default::default() });
        draft.steps[0].retry.max_attempts = 0;
        assert!(Definition::check(draft, &[]).is_err());
        let mut definition = sketch("a");
        definition.steps[0].retry.max_attempts = 0;
        assert_eq!(db.register(&definition).await.unwrap_err().sqlstate().as_deref(), Some("23514"));
    });
}

#[test]
fn c11_an_edge_is_unique_between_two_steps_of_one_workflow() {
    with_database(async |db| {
        let play = Play::of(db, "a > b").await;
        let id = play.named_task_id;
        for (from, to, sqlstate) in [(0, 1, "23505"), (0, 0, "23514")] {
            let insert =
                sqlx::query("insert into tasker.named_task_edges values ($1, $2, $3)").bind(id).bind(from).bind(to);
            let error = insert.execute(db.pool()).await.unwrap_err();
            assert_eq!(error.as_database_error().unwrap().code().unwrap(), sqlstate);
        }
    });
}

#[test]
fn c12_every_view_can_be_read_whole() {
    with_database(async |db| {
        for (graph, history) in PLAYS {
            Play::through(db, graph, history).await;
        }
        let views: Vec<String> = db
            .column("select relname::text from pg_class where relnamespace = 'tasker'::regnamespace and relkind = 'v'")
            .await;
        assert!(views.len() >= 8);
        for view in views {
            let sql = format!("select count(v::text) from tasker.{view} v");
            assert!(db.value::<i64>(&sql).await > 0 || view == "step_readiness_divergences", "{view}");
        }
    });
}

#[test]
fn c13_a_graph_of_a_million_paths_is_registered_and_read_like_any_other() {
    with_database(async |db| {
        // twelve layers of ten: 10^12 paths from top to bottom
        let layers: Vec<String> =
            (0..12).map(|layer| (0..10).map(|n| format!("s{layer}_{n}")).collect::<Vec<_>>().join(", ")).collect();
        let mut play = Play::of(db, &layers.join(" > ")).await;
        play.live("submit").await;
        let row: (i64, i32, i32, i64) = sqlx::query_as(
            "select count(*), max(max_depth_from_root), max(max_depth_to_leaf), sum(parent_count) from tasker.step_dag_relationships where task_id = $1",
        )
        .bind(play.task())
        .fetch_one(db.pool())
        .await
        .unwrap();
        assert_eq!(row, (120, 11, 11, 1100));
    });
}

#[test]
fn c14_depth_has_no_cap() {
    with_database(async |db| {
        let names: Vec<String> = (0..200).map(|n| format!("s{n}")).collect();
        Play::through(db, &names.join(" > "), "").await;
        let depths: Vec<i32> =
            db.column("select max_depth_from_root from tasker.step_dag_relationships order by step_number").await;
        assert_eq!(depths, (0..200).collect::<Vec<_>>());
    });
}

#[test]
fn neighbours_are_those_of_the_edges_however_large_the_task() {
    with_database(async |db| {
        for steps in [199, 200, 201, 300] {
            // a chain with a shortcut into each step
            let edges: Vec<String> = (2..steps).map(|n| format!("s{} > s{n}; s{} > s{n}", n - 1, n - 2)).collect();
            Play::of(db, &edges.join("; ")).await.live("submit").await;
        }
        let others = "
            select format('%s %s', r.name, r.task_id) from tasker.step_dag_relationships r
            where r.workflow_step_id <> tasker.step_id(r.task_id, r.step_number)
              or r.parent_step_ids <> array(select e.from_step_id from tasker.workflow_step_edges e where e.task_id = r.task_id and e.to_step = r.step_number order by e.from_step)
              or r.child_step_ids <> array(select e.to_step_id from tasker.workflow_step_edges e where e.task_id = r.task_id and e.from_step = r.step_number order by e.to_step)";
        assert_eq!(db.column::<String>(others).await, [""; 0]);
        assert_eq!(db.value::<i64>("select count(*) from tasker.step_dag_relationships").await, 900);
    });
}

#[test]
fn c15_depths_are_the_shortest_and_the_longest_path_from_a_root_and_the_longest_to_a_leaf() {
    with_database(async |db| {
        Play::through(db, "a > b > c > d; a > d > e; x", "").await;
        let rows: Vec<(String, i32, i32, i32, bool, bool)> = sqlx::query_as(
            "select name, min_depth_from_root, max_depth_from_root, max_depth_to_leaf, is_root_step, is_leaf_step
             from tasker.step_dag_relationships order by step_number",
        )
        .fetch_all(db.pool())
        .await
        .unwrap();
        let rows: Vec<_> = rows.iter().map(|r| (r.0.as_str(), r.1, r.2, r.3, r.4, r.5)).collect();
        assert_eq!(
            rows,
            [
                ("a", 0, 0, 4, true, false),
                ("b", 1, 1, 3, false, false),
                ("c", 2, 2, 2, false, false),
                ("d", 1, 3, 1, false, false),
                ("e", 2, 4, 0, false, true),
                ("x", 0, 0, 0, true, true),
            ]
        );
    });
}

#[test]
fn c18_a_workflow_without_steps_is_refused() {
    let draft = Draft { namespace: "test".into(), name: "w".into(), version: "1.0.0".into(), ..Draft::default() };
    assert!(Definition::check(draft, &[]).is_err());
}

#[test]
fn c19_exhausted_and_not_yet_are_told_apart() {
    with_database(async |db| {
        let mut play = Play::of(db, "a, b[attempts=1], c, d").await;
        play.live("submit a:asked(1h) b:failed c:fatal").await;
        let rows: Vec<(bool, i32, i32, bool)> = sqlx::query_as(
            "select retry_eligible, attempts, retry_limit, next_retry_at is not null from tasker.step_readiness_statuses order by step_number",
        )
        .fetch_all(db.pool())
        .await
        .unwrap();
        assert_eq!(rows, [(false, 1, 3, true), (false, 1, 1, false), (false, 1, 3, false), (true, 0, 3, true)]);
    });
}

#[test]
fn c21_the_time_until_ready_is_unknown_where_nobody_knows() {
    with_database(async |db| {
        let mut play = Play::of(db, "a, b[attempts=1], c, d, e > f").await;
        play.live("submit a:asked(1h) b:failed c:in_progress d:waits(2h)").await;
        let now = db.now().await;
        let mut times = Vec::new();
        for name in ["a", "b", "c", "d", "e", "f"] {
            let step = StepReadinessStatus::find(db, play.step(name)).await.unwrap().unwrap();
            times.push(step.time_until_ready(now));
        }
        let hours = |hours: u64| Some(Duration::from_secs(3600 * hours));
        assert_eq!(times, [hours(1), None, None, hours(2), hours(0), None]);
    });
}

#[test]
fn c23_time_goes_on_inside_a_long_transaction() {
    with_real_clock(async |db| {
        let mut session = db.session().await;
        let mut tx = session.begin().await.unwrap();
        sqlx::query("select now(), pg_sleep(0.01)").execute(&mut *tx).await.unwrap();
        let moved: bool = sqlx::query_scalar("select tasker.now() > now() and tasker.clock() >= tasker.now()")
            .fetch_one(&mut *tx)
            .await
            .unwrap();
        assert!(moved);
    });
}

#[test]
fn c23_no_decision_reads_another_clock() {
    with_database(async |db| {
        let bodies: Vec<String> = db
            .column(
                "select x.name from (
                   select p.proname as name, pg_get_functiondef(p.oid) as text from pg_proc p where p.pronamespace = 'tasker'::regnamespace
                   union all
                   select c.relname, pg_get_viewdef(c.oid) from pg_class c where c.relnamespace = 'tasker'::regnamespace and c.relkind = 'v') x
                 where x.text ~ '\\m(current_timestamp|localtimestamp|current_date|transaction_timestamp|statement_timestamp|clock_timestamp)\\M'
                   or x.text ~ '(^|[^.])\\mnow\\(\\)'",
            )
            .await;
        assert_eq!(bodies, [""; 0], "these ask another clock than the one that tests hold");
    });
}

#[test]
fn c26_nothing_that_a_view_says_is_cached() {
    with_database(async |db| {
        let mut play = Play::of(db, "a > b").await;
        play.live("submit").await;
        let mut session = db.session().await;
        let mut tx = session.begin().await.unwrap();
        let mut seen = Vec::new();
        for deed in ["a:in_progress", "a:complete", "b:waits(1h)", "+1h"] {
            play.live(deed).await;
            let statuses: Vec<String> =
                sqlx::query_scalar("select execution_status from tasker.task_execution_contexts")
                    .fetch_all(&mut *tx)
                    .await
                    .unwrap();
            seen.extend(statuses);
        }
        assert_eq!(seen, ["processing", "has_ready_steps", "scheduled", "has_ready_steps"]);
        tx.rollback().await.unwrap();
    });
}

#[test]
fn c27_writing_refreshes_nothing() {
    with_database(async |db| {
        let triggers: i64 = db
            .value("select count(*) from pg_trigger t join pg_class c on c.oid = t.tgrelid where c.relnamespace = 'tasker'::regnamespace and not t.tgisinternal")
            .await;
        let materialized: i64 = db
            .value("select count(*) from pg_class where relnamespace = 'tasker'::regnamespace and relkind = 'm'")
            .await;
        assert_eq!((triggers, materialized), (0, 0));
    });
}

#[test]
fn c29_any_filter_commutes_with_a_view() {
    with_database(async |db| {
        for (graph, history) in PLAYS {
            Play::through(db, graph, history).await;
        }
        for (view, key) in [
            ("step_readiness_statuses", ["task_id", "step_number"]),
            ("step_dag_relationships", ["task_id", "step_number"]),
            ("workflow_steps", ["task_id", "step_number"]),
            ("task_execution_contexts", ["task_id", "task_id"]),
            ("task_workflow_summaries", ["task_id", "task_id"]),
        ] {
            let [first, second] = key;
            for filter in
                [format!("v.{first} = e.{first} and v.{second} = e.{second}"), format!("v.{first} = e.{first}")]
            {
                let differences: i64 = db
                    .value(&format!(
                        "with everything as materialized (select v::text as line, v.{first}, v.{second} as number from tasker.{view} v),
                         e as (select line, {first}, number as {second} from everything)
                         select count(*) from e where e.line not in (select v::text from tasker.{view} v where {filter})",
                        // a view of tasks has one key
                    )
                    .replace("select line, task_id, number as task_id from", "select line, task_id from"))
                    .await;
                assert_eq!(differences, 0, "{view} filtered by {filter}");
            }
        }
    });
}

#[test]
fn c30_no_instant_is_left_behind() {
    with_database(async |db| {
        let mut play = Play::of(db, "a, b[attempts=2], c, d, e").await;
        play.live("submit a:asked(1h) +1h a:complete b:asked(1h) +1h b:failed c:asked(1h) c:resolve d:asked(1h) d:cancel e:asked(1h) +1h e:in_progress").await;
        let rows: Vec<(Option<f64>, bool)> =
            sqlx::query_as("select backoff_request_seconds, next_retry_at is null from tasker.step_readiness_statuses order by step_number")
                .fetch_all(db.pool())
                .await
                .unwrap();
        assert_eq!(rows, [(None, true), (None, true), (None, true), (None, true), (None, true)]);
    });
}

#[test]
fn c32_a_reader_of_snapshots_misses_nothing_that_commits_late() {
    with_database(async |db| {
        let play = Play::of(db, "a").await;
        let submit = format!("select tasker.submit_task('test', '{}')", play.definition.name);
        let [mut slow, mut fast, mut reader] = [db.session().await, db.session().await, db.session().await];
        let mut late = slow.begin().await.unwrap();
        let first: Uuid = sqlx::query_scalar(sqlx::AssertSqlSafe(submit.clone())).fetch_one(&mut *late).await.unwrap();
        let second: Uuid = sqlx::query_scalar(sqlx::AssertSqlSafe(submit)).fetch_one(&mut fast).await.unwrap();
        let window = "select pg_current_snapshot()::text, array(select h.task_id from tasker.task_transitions h
             where h.xid >= pg_snapshot_xmin($1::pg_snapshot) and not pg_visible_in_snapshot(h.xid, $1::pg_snapshot) order by h.number)";
        let (cursor, seen): (String, Vec<Uuid>) =
            sqlx::query_as(window).bind("1:1:").fetch_one(&mut reader).await.unwrap();
        assert_eq!(seen, [second]);
        late.commit().await.unwrap();
        let (cursor, seen): (String, Vec<Uuid>) =
            sqlx::query_as(window).bind(cursor).fetch_one(&mut reader).await.unwrap();
        assert_eq!(seen, [first], "its number is smaller, and it is not lost");
        let (_, seen): (String, Vec<Uuid>) = sqlx::query_as(window).bind(cursor).fetch_one(&mut reader).await.unwrap();
        assert_eq!(seen, [] as [Uuid; 0], "and nothing comes twice");
    });
}

#[test]
fn c33_a_content_hash_does_not_depend_on_the_order_of_members() {
    let (mut one, mut other) = (sketch("a"), sketch("a"));
    one.steps[0].with = serde_json::from_str(r#"{"x": 1, "y": {"p": 1, "q": 2}}"#).unwrap();
    other.steps[0].with = serde_json::from_str(r#"{"y": {"q": 2, "p": 1}, "x": 1}"#).unwrap();
    assert_eq!(one.content_hash(), other.content_hash());
    other.steps[0].with["x"] = 2.into();
    assert_ne!(one.content_hash(), other.content_hash());
}

#[test]
fn an_open_step_of_a_task_that_is_not_live_says_so() {
    with_database(async |db| {
        // no verb leads here: the answer of the view is total all the same
        let play = Play::through(db, "a", "").await;
        let mut session = db.session().await;
        let mut tx = session.begin().await.unwrap();
        sqlx::query("update tasker.tasks set state = 'failed', finished_at = now()").execute(&mut *tx).await.unwrap();
        let reason: String =
            sqlx::query_scalar("select blocking_reason from tasker.step_readiness_statuses where task_id = $1")
                .bind(play.task())
                .fetch_one(&mut *tx)
                .await
                .unwrap();
        let divergences: Vec<String> =
            sqlx::query_scalar("select what from tasker.step_readiness_divergences order by 1")
                .fetch_all(&mut *tx)
                .await
                .unwrap();
        assert_eq!(reason, "task_not_live");
        assert_eq!(
            divergences,
            ["a ready row for a step that cannot run", "the task's state against its last transition"]
        );
        tx.rollback().await.unwrap();
    });
}
