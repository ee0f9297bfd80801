//! Submissions through the library's door, with workers behind it.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use serde_json::json;
use sqlx::Connection;
use tasker::{
    Outcome, Settings, Submission, Submitted, Tasker,
    workflow::{Definition, Priority},
};
use tokio::sync::mpsc;

use crate::support::{Running, does, nothing, sketch, soon, with_real_clock};

fn keyed(key: &str) -> Submission {
    Submission { idempotency_key: Some(key.into()), ..Submission::default() }
}

fn unique(key: &str) -> Submission {
    Submission { unique_while_live: Some(key.into()), ..Submission::default() }
}

/// A workflow of one step, called `test.one`.
async fn register_one(tasker: &Tasker, version: &str, input: &str) -> i32 {
    let file = format!(
        "name: one\nnamespace: test\nversion: {version}\ninput: {input}\nsteps: [{{ name: a, handler: test.it }}]"
    );
    let definition = Definition::from_yaml("one.yaml", file.as_bytes(), None, &["test.it"]).unwrap();
    tasker.register_definition(&definition).await.unwrap()
}

#[test]
fn a_submission_in_a_transaction_is_seen_when_that_commits_and_leaves_nothing_when_it_does_not() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        register_one(&tasker, "1.0.0", "{ type: object }").await;
        db.run("create schema shop; create table shop.orders (id int primary key)").await;
        tasker.handle("test.it", nothing());
        let worker = Running::start(&tasker, Settings::default());
        let mut session = db.session().await;
        let mut orders = async |id: i32, commit: bool| {
            let mut transaction = session.begin().await.unwrap();
            sqlx::query("insert into shop.orders values ($1)").bind(id).execute(&mut *transaction).await.unwrap();
            let submission = Submission {
                idempotency_key: Some(format!("order {id}")),
                unique_while_live: Some(format!("order {id}")),
                deadline: Some(Utc::now() + TimeDelta::hours(1)),
                ..Submission::default()
            };
            let submitted =
                tasker.submit_in(&mut transaction, "test", "one", &json!({ "order": id }), submission).await.unwrap();
            match commit {
                true => transaction.commit().await.unwrap(),
                false => transaction.rollback().await.unwrap(),
            }
            submitted.task_id
        };
        orders(1, false).await;
        for table in [
            "shop.orders",
            "tasker.tasks",
            "tasker.task_payloads",
            "tasker.ready_steps",
            "tasker.idempotency_keys",
            "tasker.unique_live_keys",
            "tasker.task_deadlines",
            "tasker.task_transitions",
        ] {
            assert_eq!(db.value::<i64>(&format!("select count(*) from {table}")).await, 0, "{table}");
        }
        let task = orders(2, true).await;
        db.until_task(task, "complete").await;
        // the key of the one that was rolled back is free
        let task = orders(1, true).await;
        tasker.wake();
        db.until_task(task, "complete").await;
        worker.stop().await;
    });
}

#[test]
fn the_same_key_and_body_give_the_first_task_whatever_was_released_meanwhile() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let schema = "{ type: object, properties: { count: { type: integer, default: 1 } } }";
        register_one(&tasker, "1.0.0", schema).await;
        let body = json!({ "name": "x" });
        let first = tasker.submit("test", "one", &body, keyed("k")).await.unwrap();
        assert!(!first.existing);
        // another default, another version: not the caller's doing
        register_one(&tasker, "1.1.0", "{ type: object, properties: { count: { type: integer, default: 2 } } }").await;
        let again = db.tasker().await.submit("test", "one", &body, keyed("k")).await.unwrap();
        assert_eq!(again, Submitted { task_id: first.task_id, existing: true });
        for (body, submission) in [
            (json!({ "name": "y" }), keyed("k")),
            (json!({ "name": "x", "count": 1 }), keyed("k")),
            (body.clone(), Submission { summary: Some("x".into()), ..keyed("k") }),
            (body.clone(), Submission { unique_while_live: Some("x".into()), ..keyed("k") }),
            (body.clone(), Submission { priority: Some(Priority::Normal), ..keyed("k") }),
            (body.clone(), Submission { run_at: Some(Utc::now()), ..keyed("k") }),
        ] {
            let error = tasker.submit("test", "one", &body, submission).await.unwrap_err();
            assert_eq!(error.code(), "idempotency_key_reused", "{error}");
        }
        assert_eq!(db.value::<i64>("select count(*) from tasker.tasks").await, 1);
    });
}

#[test]
fn a_hundred_at_once_under_one_key_are_one_task() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        register_one(&tasker, "1.0.0", "{ type: object }").await;
        let mut submitting = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let tasker = tasker.clone();
            submitting.spawn(async move { tasker.submit("test", "one", &json!({}), keyed("k")).await.unwrap() });
        }
        let submitted = soon("a hundred submissions", submitting.join_all()).await;
        assert_eq!(submitted.iter().filter(|s| !s.existing).count(), 1);
        assert!(submitted.iter().all(|s| s.task_id == submitted[0].task_id));
    });
}

#[test]
fn keys_that_repeat_within_one_call_give_one_task() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let one = register_one(&tasker, "1.0.0", "{ type: object }").await;
        let live = tasker.submit_version(one, &json!({}), unique("u")).await.unwrap();
        let both = |key: &str| Submission { unique_while_live: Some("u".into()), ..keyed(key) };
        let submitted = tasker
            .submit_many(
                one,
                vec![
                    (json!({ "n": 1 }), keyed("a")),
                    (json!({ "n": 1 }), keyed("a")),
                    (json!({}), unique("v")),
                    (json!({}), unique("v")),
                    // the key's first task is the live one that has the unique key, for whoever repeats it, too
                    (json!({}), both("b")),
                    (json!({}), both("b")),
                    (json!({}), Submission::default()),
                    (json!({}), Submission::default()),
                ],
            )
            .await
            .unwrap();
        assert_eq!(
            submitted.iter().map(|s| s.existing).collect::<Vec<_>>(),
            [false, true, false, true, true, true, false, false]
        );
        assert_eq!(submitted[0].task_id, submitted[1].task_id);
        assert_eq!(submitted[2].task_id, submitted[3].task_id);
        assert_eq!((submitted[4].task_id, submitted[5].task_id), (live.task_id, live.task_id));
        assert_ne!(submitted[6].task_id, submitted[7].task_id);
        assert_eq!(db.value::<i64>("select count(*) from tasker.tasks").await, 5);
        let again = tasker.submit_version(one, &json!({}), both("b")).await.unwrap();
        assert_eq!(again, Submitted { task_id: live.task_id, existing: true });
        // one bad element refuses the whole call
        let refused =
            tasker.submit_many(one, vec![(json!({}), Submission::default()), (json!({ "n": 2 }), keyed("a"))]).await;
        assert_eq!(refused.unwrap_err().code(), "idempotency_key_reused");
        let refused =
            tasker.submit_many(one, vec![(json!({}), Submission::default()), (json!([]), Submission::default())]).await;
        assert_eq!(refused.unwrap_err().code(), "json");
        assert_eq!(db.value::<i64>("select count(*) from tasker.tasks").await, 5);
    });
}

#[test]
fn of_a_unique_key_one_task_lives_at_a_time_however_many_submit() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let one = register_one(&tasker, "1.0.0", "{ type: object }").await;
        tasker.handle("test.it", nothing());
        let worker = Running::start(&tasker, Settings::default());
        let mut submitting = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let tasker = db.tasker().await;
            submitting.spawn(async move {
                let mut begun = 0;
                for _ in 0..60 {
                    begun += usize::from(!tasker.submit_version(one, &json!({}), unique("u")).await.unwrap().existing);
                }
                tasker.close().await;
                begun
            });
        }
        let begun: usize = soon("the submissions", submitting.join_all()).await.into_iter().sum();
        db.until("select count(*) = 0 from tasker.tasks where state <> 'complete'").await;
        worker.stop().await;
        assert_eq!(db.value::<i64>("select count(*) from tasker.tasks").await, begun as i64);
        let overlaps: i64 = db
            .value("select count(*) from tasker.tasks a join tasker.tasks b on a.task_id < b.task_id and b.created_at < a.finished_at and a.created_at < b.finished_at")
            .await;
        assert!(begun > 1 && overlaps == 0, "{begun} tasks, {overlaps} overlaps");
    });
}

#[test]
fn nothing_starts_before_its_time_or_goes_on_after_its_deadline() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let workflow = tasker.register_definition(&sketch("a[handler=it] > b[handler=hangs]")).await.unwrap();
        tasker.handle("test.it", nothing());
        tasker.handle(
            "test.hangs",
            does(async |attempt| {
                attempt.cancellation.cancelled().await;
                Outcome::complete(&1)
            }),
        );
        let worker = Running::start(&tasker, Settings { lease: Duration::from_secs(1), ..Settings::default() });
        let at = |milliseconds: i64| Some(Utc::now() + TimeDelta::milliseconds(milliseconds));
        let (run_at, deadline) = (at(400), at(900));
        let runs = Submission { run_at, deadline, ..Submission::default() };
        let runs = tasker.submit_version(workflow, &json!({}), runs).await.unwrap().task_id;
        let late = Submission { run_at: at(60_000), deadline: at(700), ..Submission::default() };
        let late = tasker.submit_version(workflow, &json!({}), late).await.unwrap().task_id;
        for task in [runs, late] {
            db.until_task(task, "failed").await;
        }
        let passed = "deadline_passed: the task's deadline has passed";
        assert_eq!(db.ends(runs).await, format!("a complete 1/3\nb failed 1/3 {passed}"));
        assert_eq!(db.ends(late).await, format!("a failed 0/3 {passed}\nb pending 0/3"));
        let early: bool = db.value(&format!("select min(a.started_at) < k.run_at from tasker.workflow_step_attempts a join tasker.tasks k using (task_id) where k.task_id = '{runs}' group by k.run_at")).await;
        assert!(!early);
        worker.stop().await;
    });
}

#[test]
fn what_is_urgent_goes_first() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let workflow = tasker.register_definition(&sketch("a[handler=it priority=low] > b[handler=it]")).await.unwrap();
        let mut named = Vec::new();
        for (name, priority) in [
            ("its own, low", None),
            ("low", Some(Priority::Low)),
            ("normal", Some(Priority::Normal)),
            ("high", Some(Priority::High)),
            ("second normal", Some(Priority::Normal)),
            ("second high", Some(Priority::High)),
        ] {
            let submission = Submission { priority, summary: Some(name.into()), ..Submission::default() };
            named.push((tasker.submit_version(workflow, &json!({}), submission).await.unwrap().task_id, name));
        }
        let (tell, mut told) = mpsc::unbounded_channel();
        tasker.handle(
            "test.it",
            does(move |attempt| {
                let _ = tell.send((attempt.task_id, attempt.step_name.to_string()));
                async { Outcome::complete(&1) }
            }),
        );
        let worker = Running::start(&tasker, Settings { concurrency: 1, ..Settings::default() });
        let mut order = Vec::new();
        while order.len() < 6 {
            let (task, step) = soon("an attempt", told.recv()).await.unwrap();
            if step == "a" {
                order.push(named.iter().find(|(id, _)| *id == task).unwrap().1);
            }
        }
        assert_eq!(order, ["high", "second high", "normal", "second normal", "its own, low", "low"]);
        db.until("select count(*) = 6 from tasker.tasks where state = 'complete'").await;
        worker.stop().await;
    });
}

#[test]
fn an_unknown_workflow_and_an_input_that_cannot_be_stored_are_refused() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let error = tasker.submit("test", "nothing", &json!({}), Submission::default()).await.unwrap_err();
        assert_eq!(error.code(), "unknown_workflow");
        register_one(&tasker, "1.0.0", "{ type: object }").await;
        for input in [json!({ "x": "\0" }), json!({ "x": "y".repeat(1 << 20) }), json!(1), json!(null)] {
            let error = tasker.submit("test", "one", &input, Submission::default()).await.unwrap_err();
            assert_eq!(error.code(), "json");
        }
        assert_eq!(db.value::<i64>("select count(*) from tasker.tasks").await, 0);
    });
}
