//! The view that guards all that is remembered would be worth nothing if it saw nothing: each kind of damage is done once,
//! inside a transaction that is rolled back, and found by its name.

use sqlx::{AssertSqlSafe, Connection};

use crate::support::{Play, with_database};

/// A running step a, a due step b, a join c of both, a dead step d; a deadline and a unique key.
const GRAPH: &str = "a, b > c; d; e > f";
const HISTORY: &str = "submit(deadline=1h,unique=k) e:complete a:in_progress d:fatal";

/// Damage, and what is found.
const DAMAGE: &[(&str, &[&str])] = &[
    ("delete from tasker.ready_steps where step_number = 1", &["an open step has no ready row"]),
    (
        "insert into tasker.ready_steps select handler_id, lane, limit_key, queue_at, task_id, 3, 2, named_task_id from tasker.ready_steps where step_number = 1",
        &["a ready row for a step that cannot run", "the ready row's handler, lane or limit key"],
    ),
    ("update tasker.ready_steps set attempt = 2 where step_number = 1", &["the ready row's attempt"]),
    ("update tasker.ready_steps set named_task_id = 99 where step_number = 1", &["the ready row's workflow"]),
    ("update tasker.ready_steps set lane = 2 where step_number = 1", &["the ready row's handler, lane or limit key"]),
    (
        "update tasker.ready_steps set limit_key = 'x' where step_number = 1",
        &["the ready row's handler, lane or limit key"],
    ),
    (
        "update tasker.ready_steps set queue_at = queue_at + interval '1 h' where step_number = 1",
        &["the ready row's instant"],
    ),
    (
        "update tasker.ready_steps set queue_at = queue_at - interval '1 h' where step_number = 1",
        &["the ready row's instant"],
    ),
    (
        "update tasker.ready_steps set step_number = 77 where step_number = 1",
        &["a ready row without a step", "an open step has no ready row"],
    ),
    ("delete from tasker.leases", &["lease without a running step, or the reverse"]),
    ("update tasker.leases set attempt = 2", &["the lease's attempt, limit key or workflow"]),
    ("update tasker.leases set limit_key = 'x'", &["the lease's attempt, limit key or workflow"]),
    ("update tasker.leases set claim_id = gen_random_uuid()", &["the lease's claim"]),
    (
        "update tasker.leases set step_number = 77",
        &["a lease without a step", "lease without a running step, or the reverse"],
    ),
    (
        "insert into tasker.join_counts select task_id, 2, 1 from tasker.tasks",
        &["the count of satisfied parents", "the view's satisfied parents"],
    ),
    ("update tasker.tasks set open_leaves = open_leaves + 1", &["the count of open leaves"]),
    (
        "update tasker.tasks set paused = true",
        &[
            "a ready row for a step that cannot run",
            "a ready row for a step that cannot run",
            "the task's state against its last transition",
        ],
    ),
    ("delete from tasker.task_deadlines", &["the deadline of a live task"]),
    ("update tasker.task_deadlines set deadline = deadline + interval '1 s'", &["the deadline of a live task"]),
    ("delete from tasker.unique_live_keys", &["the unique key of a live task"]),
    (
        "update tasker.tasks set state = 'cancelled', finished_at = now()",
        &[
            "a lease of a task that is not live",
            "a ready row for a step that cannot run",
            "a ready row for a step that cannot run",
            "the deadline of a live task",
            "the task's state against its last transition",
            "the unique key of a live task",
        ],
    ),
];

#[test]
fn every_kind_of_damage_is_found() {
    with_database(async |db| {
        Play::through(db, GRAPH, HISTORY).await;
        let mut session = db.session().await;
        for (damage, expected) in DAMAGE {
            let mut tx = session.begin().await.unwrap();
            let done = sqlx::query(AssertSqlSafe(*damage)).execute(&mut *tx).await.unwrap();
            assert!(done.rows_affected() > 0, "{damage}");
            let found: Vec<String> =
                sqlx::query_scalar("select what from tasker.step_readiness_divergences order by what collate \"C\"")
                    .fetch_all(&mut *tx)
                    .await
                    .unwrap();
            assert_eq!(found, *expected, "{damage}");
            tx.rollback().await.unwrap();
        }
        // each word of the view has been heard
        let view: String = db.value("select pg_get_viewdef('tasker.step_readiness_divergences'::regclass)").await;
        let words: std::collections::BTreeSet<&str> =
            DAMAGE.iter().flat_map(|(_, found)| found.iter().copied()).collect();
        let mut unheard: Vec<&str> = Vec::new();
        for piece in view.split("THEN '").skip(1).chain(view.split("NULL::text, '").skip(1)) {
            let word = piece.split("'::text").next().unwrap();
            if !words.contains(word.replace("''", "'").as_str()) {
                unheard.push(word);
            }
        }
        assert!(words.len() > 15);
        assert_eq!(unheard, [""; 0], "no damage shows that the view can say this");
    });
}

#[test]
fn impossible_rows_are_refused_by_the_tables() {
    with_database(async |db| {
        Play::through(db, GRAPH, HISTORY).await;
        let mut session = db.session().await;
        for (change, constraint) in [
            ("update tasker.tasks set state = 'complete', finished_at = now()", "complete_means_no_open_leaf"),
            ("update tasker.tasks set open_leaves = -1", "complete_means_no_open_leaf"),
            ("update tasker.tasks set finished_at = now()", "ended_has_an_instant"),
            ("update tasker.tasks set task_id = gen_random_uuid()", "id_ends_in_24_zero_bits"),
            ("update tasker.tasks set lane = 3", "lane_is_known"),
            (
                "update tasker.workflow_step_transitions set claim_id = null where to_state = 'in_progress'",
                "running_has_a_claim",
            ),
            ("update tasker.workflow_step_transitions set attempt = -1", "attempts_are_counted"),
            ("update tasker.workflow_step_transitions set attempts_before = attempt + 1", "attempts_are_counted"),
            ("update tasker.workflow_step_transitions set retry_limit = 0", "limit_covers_the_attempts"),
            (
                "update tasker.workflow_step_transitions set next_retry_at = now() where to_state = 'complete'",
                "only_waiting_has_an_instant",
            ),
            ("update tasker.workflow_step_transitions set generation = 0", "generation_counts_retries"),
            ("update tasker.named_tasks_named_steps set retry_limit = 0", "at_least_one_attempt"),
            ("update tasker.named_tasks_named_steps set timeout = 0", "timeout_is_positive"),
            ("update tasker.named_tasks_named_steps set concurrency_limit = 1", "limit_has_a_key"),
            ("update tasker.named_tasks set total_steps = 0", "has_steps"),
            ("update tasker.task_namespaces set name = 'Bad'", "name_is_legal"),
        ] {
            let mut tx = session.begin().await.unwrap();
            let error = sqlx::query(AssertSqlSafe(change)).execute(&mut *tx).await.unwrap_err();
            let refused = error.as_database_error().and_then(|error| error.constraint()).map(str::to_string);
            assert_eq!(refused.as_deref(), Some(constraint), "{change}: {error}");
            tx.rollback().await.unwrap();
        }
    });
}
