//! Submitting tasks: what a door refuses, keys that give the first task, and the caller's own transaction.

use std::time::Duration;

use serde_json::json;
use sqlx::Connection;
use tasker::{
    StepError, Submission, Submitted, WorkerOptions,
    handlers::Context,
    workflow::{Definition, Step, Workflow},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{Play, TestDatabase, code, with_database};

/// Submits by the door for any language; `arguments` are its named ones.
async fn submit(db: &TestDatabase, play: &Play<'_>, arguments: &str) -> Result<Uuid, String> {
    let comma = if arguments.is_empty() { "" } else { ", " };
    let sql = format!("select tasker.submit_task('test', '{}'{comma}{arguments})", play.definition.name);
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(db.pool()).await.map_err(|error| code(error.into()))
}

#[test]
fn the_same_key_and_body_give_the_first_task() {
    with_database(async |db| {
        let play = Play::of(db, "a").await;
        let first = submit(db, &play, r#"context => '{"a":1,"b":2}', idempotency_key => 'k', tags => '{"x":1}'"#)
            .await
            .unwrap();
        db.advance("29d").await;
        let again =
            submit(db, &play, r#"context => '{"b":2, "a":1}', idempotency_key => 'k', tags => '{"x": 1}'"#).await;
        assert_eq!(again, Ok(first), "c33: the order of an object's members is no difference");
        assert_eq!(db.value::<i64>("select count(*) from tasker.tasks").await, 1);
    });
}

#[test]
fn another_body_under_the_same_key_is_refused() {
    with_database(async |db| {
        let play = Play::of(db, "a").await;
        submit(db, &play, "idempotency_key => 'k'").await.unwrap();
        for other in [
            "context => '{\"a\":1}'",
            "priority => 'high'",
            "deadline => '2101-01-01'",
            "run_at => '2101-01-01'",
            "tags => '{}'",
            "summary => 's'",
        ] {
            assert_eq!(
                submit(db, &play, &format!("idempotency_key => 'k', {other}")).await,
                Err("idempotency_key_reused".into()),
                "{other}"
            );
        }
    });
}

#[test]
fn a_key_is_its_namespaces() {
    with_database(async |db| {
        let play = Play::of(db, "a").await;
        db.register(&Definition { namespace: "elsewhere".into(), ..play.definition.clone() }).await.unwrap();
        for key in ["idempotency_key => 'k'", "unique_while_live => 'k'"] {
            let mut tasks = Vec::new();
            for namespace in ["test", "elsewhere", "test", "elsewhere"] {
                let sql = format!("select tasker.submit_task('{namespace}', '{}', {key})", play.definition.name);
                tasks.push(db.value::<Uuid>(&sql).await);
            }
            assert_eq!((tasks[0], tasks[1]), (tasks[2], tasks[3]), "{key}");
            assert_ne!(tasks[0], tasks[1], "{key}");
            for (task, namespace) in tasks.iter().zip(["test", "elsewhere"]) {
                let of = format!(
                    "select s.name from tasker.tasks k join tasker.named_tasks n using (named_task_id)
                     join tasker.task_namespaces s using (task_namespace_id) where k.task_id = '{task}'"
                );
                assert_eq!(db.value::<String>(&of).await, namespace, "{key}");
            }
        }
    });
}

#[test]
fn a_key_is_kept_for_30_days() {
    with_database(async |db| {
        let play = Play::of(db, "a").await;
        let first = submit(db, &play, "idempotency_key => 'k'").await.unwrap();
        db.advance("31d").await;
        let second = submit(db, &play, "idempotency_key => 'k', context => '{\"a\":1}'").await.unwrap();
        assert_ne!(first, second);
        assert_eq!(submit(db, &play, "idempotency_key => 'k', context => '{\"a\":1}'").await, Ok(second));
    });
}

#[test]
fn one_live_task_has_a_unique_key() {
    with_database(async |db| {
        let mut play = Play::of(db, "a").await;
        play.live("submit(unique=k)").await;
        let first = play.task();
        assert_eq!(submit(db, &play, "unique_while_live => 'k', context => '{\"other\":1}'").await, Ok(first));
        play.live("a:complete").await;
        let second = submit(db, &play, "unique_while_live => 'k'").await.unwrap();
        assert_ne!(first, second);
        for (end, verb) in [("cancelled", "cancel_task"), ("resolved_manually", "resolve_task")] {
            let task = submit(db, &play, "unique_while_live => 'k'").await.unwrap();
            assert_eq!(db.value::<String>(&format!("select tasker.{verb}('{task}')::text")).await, end);
            assert_ne!(submit(db, &play, "unique_while_live => 'k'").await.unwrap(), task);
        }
    });
}

#[test]
fn both_keys_give_the_task_that_is_live() {
    with_database(async |db| {
        let play = Play::of(db, "a").await;
        let live = submit(db, &play, "unique_while_live => 'u'").await.unwrap();
        assert_eq!(submit(db, &play, "unique_while_live => 'u', idempotency_key => 'i'").await, Ok(live));
        assert_eq!(submit(db, &play, "unique_while_live => 'u', idempotency_key => 'i'").await, Ok(live));
        assert_eq!(db.value::<i64>("select count(*) from tasker.tasks").await, 1);
    });
}

#[test]
fn many_submissions_are_one_call_and_keys_count_inside_it() {
    with_database(async |db| {
        let play = Play::of(db, "a, b").await;
        let rows: Vec<(i32, Uuid, bool)> = sqlx::query_as(
            "select ord, task_id, existing from tasker.submit_tasks(array_fill($1::int, array[4]), array['{}','{}','{\"x\":1}','{}'],
               array['k','k',null,null], array[null,null,'u','u'], array_fill(null::timestamptz, array[4]), array_fill(null::smallint, array[4]),
               array_fill(null::timestamptz, array[4]), array_fill(null::text, array[4]), array_fill(null::text, array[4])) order by ord",
        )
        .bind(play.named_task_id)
        .fetch_all(db.pool())
        .await
        .unwrap();
        assert_eq!(rows.iter().map(|row| row.2).collect::<Vec<_>>(), [false, true, false, true]);
        assert!(rows[0].1 == rows[1].1 && rows[2].1 == rows[3].1 && rows[0].1 != rows[2].1);
        assert_eq!(db.value::<i64>("select count(*) from tasker.ready_steps").await, 4);
    });
}

#[test]
fn a_submission_commits_with_its_transaction_or_leaves_nothing() {
    with_database(async |db| {
        let play = Play::of(db, "a, b").await;
        let mut session = db.session().await;
        let mut tx = session.begin().await.unwrap();
        let sql = format!(
            "select tasker.submit_task('test', '{}', idempotency_key => 'k', unique_while_live => 'u', deadline => '2101-01-01')",
            play.definition.name
        );
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut *tx).await.unwrap();
        tx.rollback().await.unwrap();
        for table in [
            "tasks",
            "task_payloads",
            "task_deadlines",
            "task_transitions",
            "ready_steps",
            "idempotency_keys",
            "unique_live_keys",
        ] {
            assert_eq!(db.value::<i64>(&format!("select count(*) from tasker.{table}")).await, 0, "{table}");
        }
    });
}

#[test]
fn a_bad_submission_is_refused_before_anything_is_written() {
    with_database(async |db| {
        let play = Play::of(db, "a").await;
        assert_eq!(submit(db, &play, "priority => 'urgent'").await, Err("bad_priority".into()));
        assert_eq!(submit(db, &play, "context => null").await, Err("bad_context".into()));
        assert_eq!(submit(db, &play, "version => '9.9.9'").await, Err("unknown_workflow".into()));
        assert_eq!(
            submit(db, &play, "context => jsonb_build_object('a', repeat('x', 1048576))").await,
            Err("too_large".into())
        );
        let tasker = db.tasker().await;
        for (bad, submission, code) in [
            ("tags => '[1]'", Submission { tags: Some(json!([1])), ..Submission::default() }, "bad_tags"),
            (
                "tags => jsonb_build_object('a', repeat('x', 1048576))",
                Submission { tags: Some(json!({ "a": "x".repeat(1 << 20) })), ..Submission::default() },
                "too_large",
            ),
            (
                "summary => e'two\\nlines'",
                Submission { summary: Some("two\nlines".into()), ..Submission::default() },
                "bad_summary",
            ),
            (
                "idempotency_key => ''",
                Submission { idempotency_key: Some(String::new()), ..Submission::default() },
                "bad_key",
            ),
            (
                "unique_while_live => repeat('x', 256)",
                Submission { unique_while_live: Some("x".repeat(256)), ..Submission::default() },
                "bad_key",
            ),
        ] {
            assert_eq!(submit(db, &play, bad).await, Err(code.into()));
            let error = tasker.submit_version(play.named_task_id, &json!({}), submission).await.unwrap_err();
            assert_eq!(error.code(), code);
        }
        assert_eq!(db.value::<i64>("select count(*) from tasker.tasks").await, 0);
    });
}

#[test]
fn a_submission_without_a_version_takes_the_highest_release() {
    with_database(async |db| {
        let mut definition = Play::of(db, "a").await.definition;
        let mut ids = Vec::new();
        for version in ["2.0.0", "10.0.0", "9.0.0", "11.0.0-beta.1", "12.0.0+build"] {
            definition.version = version.into();
            ids.push(db.register(&definition).await.unwrap());
        }
        let find = async |version: &str| {
            db.value::<i32>(&format!("select tasker.find_workflow('test', '{}', {version})", definition.name)).await
        };
        assert_eq!(find("null").await, ids[1], "10.0.0: pre-releases and builds by name only");
        assert_eq!(find("'11.0.0-beta.1'").await, ids[3]);

        let tasker = db.tasker().await;
        let versioned = |version: &str| Submission { version: Some(version.into()), ..Submission::default() };
        let of = async |task: Submitted| {
            db.value::<i32>(&format!("select named_task_id from tasker.tasks where task_id = '{}'", task.task_id)).await
        };
        let name = &definition.name;
        let highest = tasker.submit("test", name, &json!({}), Submission::default()).await.unwrap();
        assert_eq!(of(highest).await, ids[1]);
        let beta = tasker.submit("test", name, &json!({}), versioned("11.0.0-beta.1")).await.unwrap();
        assert_eq!(of(beta).await, ids[3]);
        let unknown = tasker.submit("test", name, &json!({}), versioned("7.0.0")).await.unwrap_err();
        assert_eq!(unknown.code(), "unknown_workflow");
        let twice = tasker.submit_version(ids[0], &json!({}), versioned("2.0.0")).await.unwrap_err();
        assert_eq!(twice.code(), "bad_version");
        // the same body, whichever door it came through
        let keyed = Submission { idempotency_key: Some("k".into()), ..versioned("2.0.0") };
        let first = tasker.submit("test", name, &json!({}), keyed).await.unwrap();
        let again = format!("select tasker.submit_task('test', '{name}', version => '2.0.0', idempotency_key => 'k')");
        assert_eq!(db.value::<Uuid>(&again).await, first.task_id);
    });
}

#[test]
fn a_workflow_of_this_program_is_submitted_with_its_version_and_an_input_of_its_type() {
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Order {
        id: u64,
    }
    const SHIP: Step<u64> = Step::named("ship");
    async fn ship(cx: Context<Order>) -> Result<u64, StepError> {
        Ok(cx.input.id)
    }
    with_database(async |db| {
        let tasker = db.tasker().await;
        let build = |version: &str| Workflow::<Order>::new("shop", "fulfil_order", version).step(SHIP, ship);
        let old = build("1.0.0");
        tasker.register(&old).await.unwrap();
        tasker.register(&build("2.0.0")).await.unwrap();
        let task = tasker.submit_workflow(&old, &Order { id: 7 }, Submission::default()).await.unwrap().task_id;
        let row = "select n.version || k.context::text from tasker.tasks t
                   join tasker.named_tasks n using (named_task_id) join tasker.task_payloads k using (task_id) where t.task_id = ";
        assert_eq!(db.value::<String>(&format!("{row} '{task}'")).await, r#"1.0.0{"id": 7}"#);

        // and waited for, wherever it runs
        assert_eq!(tasker.result(task, SHIP).await.unwrap(), None);
        assert_eq!(tasker.wait(Uuid::nil()).await.unwrap_err().code(), "unknown_task");
        let stop = CancellationToken::new();
        let worker = tokio::spawn(db.tasker().await.worker(WorkerOptions::default()).run(stop.clone()));
        assert!(
            tokio::time::timeout(Duration::from_millis(100), tasker.wait(task)).await.is_err(),
            "it has no handler"
        );
        stop.cancel();
        worker.await.unwrap().unwrap();
        let stop = CancellationToken::new();
        let worker = tokio::spawn(tasker.worker(WorkerOptions::default()).run(stop.clone()));
        assert!(tasker.wait(task).await.unwrap().is_complete());
        assert_eq!(tasker.result(task, SHIP).await.unwrap(), Some(7));
        let other = tasker.result(task, Step::<String>::named("ship")).await.unwrap_err().to_string();
        assert!(other.starts_with("the result of `ship`: invalid type"), "{other}");
        stop.cancel();
        worker.await.unwrap().unwrap();
    });
}

#[test]
fn a_version_is_immutable() {
    with_database(async |db| {
        let play = Play::of(db, "a > b").await;
        assert_eq!(
            db.register(&play.definition).await.unwrap(),
            play.named_task_id,
            "the same content is the same version"
        );
        let mut changed = play.definition.clone();
        changed.steps[0].retry.max_attempts = 9;
        assert_eq!(db.register(&changed).await.map_err(code), Err("version_taken".into()));
    });
}

#[test]
fn ids_are_ordered_by_time_and_name_their_task() {
    with_database(async |db| {
        let mut play = Play::of(db, "a, b").await;
        play.live("submit submit +1h submit").await;
        assert!(play.tasks.is_sorted());
        assert!(play.tasks.iter().all(|task| task.get_version_num() == 7));
        let rows: Vec<(Uuid, Uuid, Uuid, i32, i32)> = sqlx::query_as(
            "select workflow_step_id, task_id, tasker.task_of(workflow_step_id), step_number, tasker.step_number_of(workflow_step_id) from tasker.workflow_steps",
        )
        .fetch_all(db.pool())
        .await
        .unwrap();
        for (step, task, of, number, numbered) in rows {
            assert_eq!((task, number), (of, numbered));
            assert_eq!((tasker::task_of(step), tasker::step_id(task, number)), (task, step), "Rust and SQL agree");
        }
    });
}

/// A busy worker does not look before the place where its last search ended: whatever instant was asked for, a step stands in the queue where it came up.
#[test]
fn what_was_due_long_ago_stands_where_it_came_up() {
    with_database(async |db| {
        let mut play = Play::of(db, "a > b").await;
        let is_at_the_end = async || {
            let at: Vec<String> = db.column("select (tasker.clock() - queue_at)::text from tasker.ready_steps").await;
            assert_eq!(at, ["00:00:00"]);
        };
        db.advance("1d").await;
        let name = &play.definition.name;
        play.tasks = db
            .column(&format!("select tasker.submit_task('test', '{name}', run_at => tasker.clock() - interval '2 h')"))
            .await;
        is_at_the_end().await;
        db.advance("1h").await;
        play.live("a:complete").await;
        is_at_the_end().await;
        db.advance("1h").await;
        play.live("task:pause +1h task:resume").await;
        is_at_the_end().await;
    });
}
