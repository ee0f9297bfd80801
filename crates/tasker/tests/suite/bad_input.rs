//! What no door in Rust lets through, handed to the doors in SQL, and written past all doors: it is refused with a reason, or it stays
//! one step's own trouble; lists and views go on, and so does everybody else.

use std::fmt::Write;

use expect_test::expect_file;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use tasker::{
    Settings, Submission,
    context::TaskExecutionContext,
    handlers::{Context, function},
    readiness::StepReadinessStatus,
    store::Steps,
};
use uuid::Uuid;

use crate::support::{Play, Running, TestDatabase, sketch, with_database, with_real_clock};

/// JSON texts, and what is wrong with each.
fn texts() -> Vec<(&'static str, String)> {
    let nested = |depth: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    vec![
        ("as deep as may be", nested(63)),
        ("one deeper", nested(64)),
        ("ten thousand deep", nested(10_000)),
        ("a hundred thousand deep", nested(100_000)),
        ("no JSON", r#"{"a": }"#.into()),
        ("NUL", r#"{"a":"x\u0000y"}"#.into()),
        ("half of a character", r#"{"a":"\ud800"}"#.into()),
        ("thirty digits", r#"{"a":123456789012345678901234567890}"#.into()),
        ("beyond a double", r#"{"a":1e400}"#.into()),
        ("a number of 131,072 digits", r#"{"a":1e131071}"#.into()),
        ("minus nothing", r#"{"a":-0, "b":1.10}"#.into()),
        ("two megabytes", format!(r#"{{"a":"{}"}}"#, "x".repeat(2_000_000))),
        (
            "a hundred thousand members",
            format!("{{{}}}", (0..100_000).map(|n| format!(r#""{n}":1"#)).collect::<Vec<_>>().join(",")),
        ),
        ("a name twice", r#"{"a":1,"a":2}"#.into()),
        ("no object", "[1]".into()),
        ("a text", r#""x""#.into()),
        ("null", "null".into()),
        ("directions of writing", r#"{"a\u202e\u200b":"\ufeff"}"#.into()),
    ]
}

/// A reason: one of ours, or the database's that a value is invalid or too much.
fn is_refusal(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default().to_string();
    code == "TA001" || code.starts_with("22") || code.starts_with("54")
}

/// Calls a door, `$1` being the text. An error is a refusal, its first words.
async fn ask(db: &TestDatabase, what: &str, sql: String, text: &str) -> Result<Uuid, String> {
    let asked = sqlx::query_scalar(AssertSqlSafe(sql)).bind(text).fetch_one(db.pool()).await;
    asked.map_err(|error| {
        assert!(is_refusal(&error), "{what}: {error:?}");
        let said = error.as_database_error().unwrap().message();
        said.chars().take(60).collect()
    })
}

#[test]
fn whatever_comes_through_sql_is_refused_or_is_one_steps_own_trouble() {
    with_real_clock(async |db| {
        let definition = sketch("a > b");
        let workflow = db.register(&definition).await.unwrap();
        let name = &definition.name;
        let (mut accepted, mut refused): (Vec<(String, Uuid)>, _) = (Vec::new(), String::new());
        let mut came = |what: String, said: Result<Uuid, String>| match said {
            Ok(task) => accepted.push((what, task)),
            Err(said) => writeln!(refused, "{what}: {said}").unwrap(),
        };
        for (what, text) in texts() {
            for door in ["context => $1::jsonb", "context => jsonb_build_object('a', 1), tags => $1::jsonb"] {
                let sql = format!("select tasker.submit_task('test', '{name}', {door})");
                came(format!("{what}, {door}"), ask(db, what, sql, &text).await);
            }
            for door in ["tasker.resolve_step", "tasker.edit_step_input"] {
                let sql = format!("select tasker.submit_task('test', '{name}') where $1 is not null");
                let task = ask(db, what, sql, &text).await.unwrap();
                let step = tasker::step_id(task, 0);
                let sql = format!("select '{task}'::uuid where {door}('{step}', $1::json) is not null");
                let said = ask(db, what, sql, &text).await;
                // the task is there in any case
                came(format!("{what}, {door}"), Ok(task));
                if said.is_err() {
                    came(format!("{what}, {door}"), said);
                }
            }
        }
        for (what, arguments) in [
            ("a year that is none", "run_at => '10000-01-01'::timestamptz"),
            ("the end of time", "run_at => 'infinity'"),
            ("the beginning of time", "deadline => '-infinity'"),
            ("a long summary", "summary => repeat('x', 501)"),
            ("a summary of two lines", "summary => e'a\\nb'"),
            ("a summary that turns around", "summary => e'\\u202eabc'"),
            ("an empty key", "idempotency_key => ''"),
            ("a long key", "unique_while_live => repeat('x', 256)"),
            ("an unknown priority", "priority => 'urgent'"),
            ("no context", "context => null"),
            ("large tags", "tags => jsonb_build_object('a', repeat('x', 2000000))"),
            ("no such version", "version => '9.9.9'"),
        ] {
            let sql = format!("select tasker.submit_task('test', '{name}', {arguments}) where $1 = ''");
            came(what.into(), ask(db, what, sql, "").await);
        }
        // and past all doors
        let task = ask(db, "", format!("select tasker.submit_task('test', '{name}') where $1 = ''"), "").await.unwrap();
        db.run(&format!("update tasker.task_payloads set context = '[1e400]' where task_id = '{task}'")).await;
        accepted.push(("a row written by hand".into(), task));

        let tasker = db.tasker().await;
        for step in &definition.steps {
            tasker.handle(step.handler.clone(), function(async |cx: Context<Value>| Ok(cx.input.is_object())));
        }
        // one that is well comes last, and is not held up
        let well = tasker.submit_version(workflow, &json!({}), Submission::default()).await.unwrap().task_id;
        let worker = Running::start(&tasker, Settings::default());
        db.until_task(well, "complete").await;
        let mut ended = String::new();
        for (what, task) in &accepted {
            if what == "a year that is none" {
                continue; // it waits for that year
            }
            db.until(&format!("select state in ('complete', 'failed') from tasker.tasks where task_id = '{task}'"))
                .await;
            let ends = db.ends(*task).await;
            let first = ends.lines().next().unwrap_or_default();
            writeln!(ended, "{what}: {first}").unwrap();
            assert!(TaskExecutionContext::find(db, *task).await.unwrap().is_some(), "{what}");
            assert_eq!(StepReadinessStatus::for_task(*task).all(db).await.unwrap().len(), 2, "{what}");
            db.workflow_steps(*task, Steps::From(0, 10), true).await.unwrap();
        }
        worker.stop().await;
        expect_file!["bad_input.txt"]
            .assert_eq(&format!("Refused:\n{refused}\nAccepted, and how its step ended:\n{ended}"));
        assert_eq!(db.tasks(&Default::default(), None, 1000).await.unwrap().len(), accepted.len() + 1);
    });
}

#[test]
fn a_reason_or_a_name_without_end_is_refused_by_every_verb() {
    with_database(async |db| {
        let play = Play::through(db, "a", "").await;
        let verbs = [
            "cancel_task('T', W)",
            "retry_task('T', W)",
            "resolve_task('T', W)",
            "pause_task('T', W)",
            "resume_task('T', W)",
            "cancel_step('S', W)",
            "retry_step('S', W)",
            "resolve_step('S', '1', W)",
            "edit_step_input('S', '1', W)",
            "change_retry_limit('S', 5, W)",
        ];
        for verb in verbs {
            for words in ["reason => repeat('x', 2001)", "actor => repeat('x', 256)"] {
                let sql = verb.replace('T', &play.task().to_string()).replace('S', &play.step("a").to_string());
                let sql = format!("select tasker.{}::text", sql.replace('W', words));
                let refused = sqlx::query(AssertSqlSafe(sql)).execute(db.pool()).await.unwrap_err();
                let said = refused.as_database_error().unwrap();
                assert_eq!(said.code().as_deref(), Some("TA001"), "{verb}");
                assert!(said.message().contains("2,000 characters"), "{verb}: {said}");
            }
        }
    });
}

#[test]
fn what_a_person_gives_a_step_and_cannot_be_stored_is_refused() {
    with_database(async |db| {
        let play = Play::through(db, "a", "").await;
        for verb in ["edit_step_input", "resolve_step"] {
            for (value, code) in
                [(r#"{"a": "\u0000"}"#.to_string(), "22P05"), (format!("[\"{}\"]", "x".repeat(1 << 20)), "TA001")]
            {
                let sql = format!("select tasker.{verb}('{}', $1::json)", play.step("a"));
                let refused = sqlx::query(AssertSqlSafe(sql)).bind(&value).execute(db.pool()).await.unwrap_err();
                let said = refused.as_database_error().and_then(|error| error.code());
                assert_eq!(said.as_deref(), Some(code), "{verb}");
            }
        }
        for table in ["step_inputs", "step_results"] {
            assert_eq!(db.value::<i64>(&format!("select count(*) from tasker.{table}")).await, 0, "{table}");
        }
    });
}
