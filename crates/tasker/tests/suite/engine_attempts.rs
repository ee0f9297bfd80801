//! How attempts end: retries, timers, timeouts, panics, and handlers that misbehave.

use std::{
    panic::panic_any,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{TimeDelta, Utc};
use serde_json::json;
use tasker::{Outcome, Settings, StepError, Submission, Tasker, workflow::Definition};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::support::{Running, Stage, TestDatabase, does, lease, nothing, raw, sketch, soon, with_real_clock};

/// Submits a task of a sketched workflow.
async fn submit(tasker: &Tasker, graph: &str) -> Uuid {
    let workflow = tasker.register_definition(&sketch(graph)).await.unwrap();
    tasker.submit_version(workflow, &json!({}), Submission::default()).await.unwrap().task_id
}

#[test]
fn a_failed_attempt_is_tried_again_after_its_backoff_and_not_before() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let (handler, mut stage) = Stage::new();
        tasker.handle("test.it", handler);
        let worker = Running::start(&tasker, Settings::default());
        let task = submit(&tasker, "a[handler=it base=200ms max=300ms attempts=4]").await;
        for number in 1..=3 {
            let actor = stage.enters_as("a").await;
            assert_eq!((actor.attempt.number, actor.attempt.retry_limit, actor.attempt.generation), (number, 4, 0));
            actor.answers(Err(StepError::new(format!("failure {number}"))));
        }
        stage.enters().await.completes("true");
        db.until_task(task, "complete").await;
        assert_eq!(db.ends(task).await, "a complete 4/4 handler_error: failure 3");
        // between half of d and d, and the start within a moment after it
        let waits: Vec<f64> = db
            .column(
                "select extract(epoch from lead(a.started_at) over w - a.ended_at)::float8 * 1000 from tasker.workflow_step_attempts a
                 window w as (order by a.attempt) order by a.attempt limit 3",
            )
            .await;
        for (wait, d) in waits.iter().zip([200.0, 300.0, 300.0]) {
            assert!((d / 2.0..d + 400.0).contains(wait), "{waits:?}");
        }
        worker.stop().await;
    });
}

#[test]
fn what_is_fatal_is_not_tried_again_and_what_asks_for_a_delay_gets_it() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        tasker.handle(
            "test.it",
            does(async |attempt| match (&*attempt.step_name, attempt.number) {
                ("fatal", _) => Err(StepError::fatal("no use").kind("card_refused")),
                ("asked", 1) => Err(StepError::retry_after(Duration::from_millis(600), "busy")),
                ("day", _) => Err(StepError::retry_after(Duration::MAX, "come back never")),
                _ => Outcome::complete(&attempt.number),
            }),
        );
        let worker = Running::start(&tasker, Settings::default());
        // the delay that was asked for replaces a backoff of an hour, and one of a millisecond
        let task =
            submit(&tasker, "fatal[handler=it]; asked[handler=it base=1h max=1h]; day[handler=it base=1ms]").await;
        db.until(&format!(
            "select state = 'complete' from tasker.workflow_steps where task_id = '{task}' and name = 'asked'"
        ))
        .await;
        let expected = "fatal failed 1/3 card_refused: no use\nasked complete 2/3 handler_error: busy\nday failed 1/3 handler_error: come back never";
        assert_eq!(db.ends(task).await, expected);
        let waited: f64 = db
            .value(
                "select extract(epoch from max(a.started_at) - min(a.ended_at))::float8 from tasker.workflow_step_attempts a
                 join tasker.workflow_steps s using (workflow_step_id) where s.name = 'asked'",
            )
            .await;
        assert!((0.6..1.2).contains(&waited), "{waited}");
        let day: f64 = db.value("select backoff_request_seconds from tasker.workflow_steps where name = 'day'").await;
        assert_eq!(day, 86_400.0);
        worker.stop().await;
    });
}

#[test]
fn a_step_that_waits_holds_nothing_keeps_its_timer_and_gets_its_attempt_back() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let (handler, mut stage) = Stage::new();
        tasker.handle("test.it", handler);
        let worker = Running::start(&tasker, Settings { concurrency: 1, ..Settings::default() });
        let task = submit(&tasker, "a[handler=it attempts=1]; b[handler=it attempts=1]").await;
        let a = stage.enters_as("a").await;
        assert_eq!(a.attempt.timer, None);
        let timer = Utc::now() + TimeDelta::milliseconds(700);
        a.answers(Ok(Outcome::WaitUntil(timer)));
        // the worker has one place, and the step that waits does not take it
        stage.enters_as("b").await.completes("1");
        let again = stage.enters_as("a").await;
        assert!(Utc::now() >= timer);
        let stored = timer.timestamp_micros();
        assert_eq!((again.attempt.number, again.attempt.timer.unwrap().timestamp_micros()), (1, stored));
        // or for so long from now on, by the database's clock
        let now = db.now().await;
        again.answers(Ok(Outcome::WaitFor(Duration::from_millis(300))));
        let again = stage.enters_as("a").await;
        let waited = again.attempt.timer.unwrap() - now;
        assert!((300..2000).contains(&waited.num_milliseconds()) && db.now().await - now >= waited, "{waited}");
        again.completes("2");
        db.until_task(task, "complete").await;
        assert_eq!(db.ends(task).await, "a complete 1/1\nb complete 1/1");
        worker.stop().await;
    });
}

#[test]
fn a_skipped_step_lets_its_children_run_with_its_result() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        tasker.handle(
            "test.it",
            does(async |attempt| match &*attempt.step_name {
                "a" => Ok(Outcome::Skip(raw(r#"{"because":"empty"}"#))),
                _ => Outcome::complete(&attempt.results["a"]),
            }),
        );
        let worker = Running::start(&tasker, Settings::default());
        let task = submit(&tasker, "a[handler=it] > b[handler=it]").await;
        db.until_task(task, "complete").await;
        assert_eq!(db.ends(task).await, "a skipped 1/3\nb complete 1/3");
        assert_eq!(db.result_of(task, 1).await, r#"{"because":"empty"}"#);
        worker.stop().await;
    });
}

/// A workflow with timeouts.
fn with_timeout(steps: &str) -> Definition {
    let file = format!("name: timeouts\nnamespace: test\nversion: 1.0.0\nsteps:\n{steps}");
    Definition::from_yaml("timeouts.yaml", file.as_bytes(), None, &["test.it"]).unwrap()
}

#[test]
fn an_attempt_past_its_timeout_is_told_to_stop_and_counts_as_failed() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let workflow = tasker
            .register_definition(&with_timeout(
                "  - { name: a, handler: test.it, timeout: 100ms, retry: { max_attempts: 2, base_delay: 1ms } }",
            ))
            .await
            .unwrap();
        tasker.handle(
            "test.it",
            does(async |attempt| {
                // who listens to its token need not be dropped
                attempt.cancellation.cancelled().await;
                Outcome::complete("too late to be kept")
            }),
        );
        let worker = Running::start(&tasker, Settings::default());
        let task = tasker.submit_version(workflow, &json!({}), Submission::default()).await.unwrap().task_id;
        db.until_task(task, "failed").await;
        assert_eq!(db.ends(task).await, "a failed 2/2 timeout: it did not end within its timeout of 100ms");
        worker.stop().await;
    });
}

#[test]
fn a_handler_that_does_not_listen_is_dropped_after_its_timeout() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let workflow = tasker
            .register_definition(&with_timeout(
                "  - { name: a, handler: test.it, timeout: 100ms, retry: { max_attempts: 1 } }",
            ))
            .await
            .unwrap();
        let (handler, mut stage) = Stage::new();
        tasker.handle("test.it", handler);
        let worker = Running::start(&tasker, Settings::default());
        let task = tasker.submit_version(workflow, &json!({}), Submission::default()).await.unwrap().task_id;
        let actor = stage.enters().await;
        actor.is_told_to_stop().await;
        actor.until_dropped().await;
        db.until_task(task, "failed").await;
        assert_eq!(db.ends(task).await, "a failed 1/1 timeout: it did not end within its timeout of 100ms");
        worker.stop().await;
    });
}

#[test]
fn a_panic_is_a_failed_attempt_with_its_message_and_the_worker_lives_on() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        tasker.handle(
            "test.it",
            does(async |attempt| {
                tokio::task::yield_now().await;
                match (&*attempt.step_name, attempt.number) {
                    ("text", 1) => panic!("a text"),
                    ("format", 1) => panic!("step {} of {}", attempt.step_name, attempt.task_id),
                    ("any", 1) => panic_any(17),
                    ("index", 1) => Outcome::complete(&Vec::<u8>::new()[attempt.number as usize]),
                    ("nul", 1) => panic!("a\0b"),
                    _ => Outcome::complete("fine"),
                }
            }),
        );
        // before there is a future at all
        tasker.handle("test.early", {
            struct Early;
            impl tasker::Handler for Early {
                fn run(&self, attempt: tasker::Attempt) -> tasker::handlers::BoxFuture<Result<Outcome, StepError>> {
                    assert!(attempt.number > 1, "no future yet");
                    Box::pin(async { Outcome::complete("fine") })
                }
            }
            Arc::new(Early)
        });
        let worker = Running::start(&tasker, Settings::default());
        let graph = "text[handler=it base=1ms]; format[handler=it base=1ms]; any[handler=it base=1ms]; index[handler=it base=1ms]; \
                     nul[handler=it base=1ms]; early[handler=early base=1ms]; other[handler=it]";
        let task = submit(&tasker, graph).await;
        db.until_task(task, "complete").await;
        let expected = [
            "text complete 2/3 panic: the handler panicked: a text",
            &format!("format complete 2/3 panic: the handler panicked: step format of {task}"),
            "any complete 2/3 panic: the handler panicked: (no message)",
            "index complete 2/3 panic: the handler panicked: index out of bounds: the len is 0 but the index is 1",
            "nul complete 2/3 panic: the handler panicked: a\u{fffd}b",
            "early complete 2/3 panic: the handler panicked: no future yet",
            "other complete 1/3",
        ];
        assert_eq!(db.ends(task).await, expected.join("\n"));
        worker.stop().await;
    });
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("dropped");
        }
    }
}

#[test]
fn a_handler_that_panics_while_it_is_dropped_does_not_keep_its_step_for_ever() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let workflow = tasker
            .register_definition(&with_timeout(
                "  - { name: a, handler: test.it, timeout: 50ms, retry: { max_attempts: 2, base_delay: 1ms } }",
            ))
            .await
            .unwrap();
        tasker.handle(
            "test.it",
            does(async |attempt| {
                if attempt.number == 1 {
                    let _bomb = Bomb;
                    std::future::pending::<()>().await;
                }
                Outcome::complete("fine")
            }),
        );
        let worker = Running::start(&tasker, Settings::default());
        let task = tasker.submit_version(workflow, &json!({}), Submission::default()).await.unwrap().task_id;
        db.until_task(task, "complete").await;
        let ends = db.ends(task).await;
        assert!(ends.starts_with("a complete 2/2 "), "{ends}");
        worker.stop().await;
    });
}

#[test]
fn a_handler_that_blocks_its_thread_holds_up_what_shares_it_and_nothing_is_lost() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let (told, mut blocks) = mpsc::unbounded_channel();
        tasker.handle(
            "test.block",
            does(move |_| {
                let _ = told.send(Instant::now());
                async {
                    std::thread::sleep(Duration::from_millis(500));
                    Outcome::complete("done")
                }
            }),
        );
        tasker.handle("test.nothing", nothing());
        let worker = Running::start(&tasker, lease(Duration::from_secs(30)));
        let graph = "a[handler=block attempts=1] > b[handler=nothing]; c[handler=nothing] > d[handler=nothing]";
        let task = submit(&tasker, graph).await;
        soon("the blocking attempt", blocks.recv()).await.unwrap();
        db.until_task(task, "complete").await;
        assert_eq!(db.ends(task).await, "a complete 1/1\nb complete 1/3\nc complete 1/3\nd complete 1/3");
        worker.stop().await;
    });
}

#[test]
fn a_message_of_any_size_and_kind_is_kept_cleaned_and_cut() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        tasker.handle(
            "test.it",
            does(async |attempt| match &*attempt.step_name {
                "long" => Err(StepError::fatal("é".repeat(100_000)).kind("k".repeat(1000))),
                _ => Err(StepError::fatal("\0\u{1b}[31m\u{fffe}").kind("\0")),
            }),
        );
        let worker = Running::start(&tasker, Settings::default());
        let task = submit(&tasker, "long[handler=it]; odd[handler=it]").await;
        db.until_task(task, "failed").await;
        let sizes: Vec<i32> = db.column("select octet_length(error) from tasker.step_errors order by 1 desc").await;
        assert!(sizes.len() == 2 && (65_000..=65_536).contains(&sizes[0]), "{sizes:?}");
        let ends = db.ends(task).await;
        assert!(ends.ends_with("odd failed 1/3 \u{fffd}: \u{fffd}\u{fffd}[31m\u{fffe}"), "{ends:?}");
        worker.stop().await;
    });
}

#[test]
fn a_worker_runs_no_more_attempts_at_once_than_it_may() {
    with_real_clock(async |db: &TestDatabase| {
        let tasker = db.tasker().await;
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (n, m) = (now.clone(), most.clone());
        tasker.handle(
            "test.it",
            does(move |attempt| {
                let (now, most) = (n.clone(), m.clone());
                async move {
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    now.fetch_sub(1, Ordering::SeqCst);
                    Outcome::complete(&attempt.number)
                }
            }),
        );
        let names = |of: char| (0..60).map(|n| format!("{of}{n}[handler=it]")).collect::<Vec<_>>().join(", ");
        // children released by a settlement count as well as those that a search finds
        let task = submit(&tasker, &format!("{} > join[handler=it] > {}", names('a'), names('b'))).await;
        let worker = Running::start(&tasker, Settings { concurrency: 7, ..Settings::default() });
        db.until_task(task, "complete").await;
        assert_eq!(most.load(Ordering::SeqCst), 7);
        worker.stop().await;
    });
}
