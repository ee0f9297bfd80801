//! One task driven to its end, or to where it rests.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use serde_json::json;
use tasker::{Driven, Error, Event, Outcome, Settings, StepError, Submission, Tasker, context::TaskExecutionContext};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{Proxy, Running, Stage, does, nothing, sketch, soon, with_real_clock};

async fn submit(tasker: &Tasker, graph: &str, submission: Submission) -> Uuid {
    let workflow = tasker.register_definition(&sketch(graph)).await.unwrap();
    tasker.submit_version(workflow, &json!({}), submission).await.unwrap().task_id
}

/// A drive in a task of its own.
struct Drive {
    stop: CancellationToken,
    ended: JoinHandle<Result<Driven, Error>>,
}

impl Drive {
    fn of(tasker: &Tasker, task: Uuid) -> Drive {
        Drive::with(tasker, task, Settings::default(), None)
    }

    fn with(tasker: &Tasker, task: Uuid, settings: Settings, observer: Option<tasker::Observer>) -> Drive {
        let (tasker, stop) = (tasker.clone(), CancellationToken::new());
        let token = stop.clone();
        Drive { stop, ended: tokio::spawn(async move { tasker.drive(task, settings, observer, token).await }) }
    }

    async fn ends(self) -> Result<Driven, Error> {
        soon("the end of a drive", self.ended).await.unwrap()
    }

    async fn rests(self) -> TaskExecutionContext {
        match self.ends().await.unwrap() {
            Driven::Rests(context) => *context,
            Driven::Interrupted => panic!("interrupted"),
        }
    }
}

#[test]
fn a_driven_task_waits_for_its_start_its_retries_and_its_timers_and_tells_what_happens() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        tasker.handle(
            "test.it",
            does(async |attempt| match (&*attempt.step_name, attempt.number, attempt.timer) {
                ("a", 1, _) => Err(StepError::new("not yet")),
                ("b", _, None) => Ok(Outcome::WaitUntil(Utc::now() + TimeDelta::milliseconds(300))),
                _ => Outcome::complete(&attempt.number),
            }),
        );
        let run_at = Utc::now() + TimeDelta::milliseconds(300);
        let graph = "a[handler=it base=300ms] > b[handler=it] > c[handler=it]";
        let task = submit(&tasker, graph, Submission { run_at: Some(run_at), ..Submission::default() }).await;
        let (tell, mut told) = mpsc::unbounded_channel();
        let context = Drive::with(&tasker, task, Settings::default(), Some(tell)).rests().await;
        assert!(context.is_complete() && Utc::now() > run_at);
        assert_eq!(db.ends(task).await, "a complete 2/3 handler_error: not yet\nb complete 1/3\nc complete 1/3");
        let mut events = Vec::new();
        while let Some(event) = told.recv().await {
            events.push(match event {
                Event::Started(claimed) => format!("{} starts", claimed.step_number),
                Event::Settled { step_number, verdict, .. } => {
                    let verdict = format!("{verdict:?}");
                    format!("{step_number} {}", verdict.split([' ', '(']).next().unwrap())
                }
            });
        }
        let expected = [
            "0 starts",
            "0 Fail",
            "0 starts",
            "0 Complete",
            "1 starts",
            "1 Wait",
            "1 starts",
            "1 Complete",
            "2 starts",
            "2 Complete",
        ];
        assert_eq!(events, expected);
    });
}

#[test]
fn a_driven_task_runs_none_but_its_own_steps() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        tasker.handle("test.it", nothing());
        let graph = "a[handler=it] > b[handler=it]";
        let other = submit(&tasker, graph, Submission::default()).await;
        let task = submit(&tasker, graph, Submission::default()).await;
        assert!(Drive::of(&tasker, task).rests().await.is_complete());
        assert_eq!(db.ends(other).await, "a pending 0/3\nb pending 0/3");
    });
}

#[test]
fn a_driven_task_rests_where_it_has_failed_was_paused_or_was_cancelled() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let (handler, mut stage) = Stage::new();
        tasker.handle("test.it", handler);
        let settings = || Settings { lease: Duration::from_secs(1), ..Settings::default() };
        let begin = async |graph: &str| {
            let task = submit(&tasker, graph, Submission::default()).await;
            (task, Drive::with(&tasker, task, settings(), None))
        };

        let (_, drive) = begin("a[handler=it] > b[handler=it]; c[handler=it]").await;
        let mut actors = [stage.enters().await, stage.enters().await];
        actors.sort_by_key(|actor| actor.attempt.step_name.to_string());
        let [a, c] = actors;
        a.answers(Err(StepError::fatal("no use")));
        // the other branch runs on
        c.completes("1");
        let context = drive.rests().await;
        assert_eq!((context.execution_status.as_str(), context.completed_steps), ("blocked_by_failures", 1));

        let (task, drive) = begin("a[handler=it] > b[handler=it]").await;
        let a = stage.enters().await;
        db.pause_task(task, Default::default()).await.unwrap();
        a.completes("1");
        let context = drive.rests().await;
        assert_eq!((context.execution_status.as_str(), context.completed_steps), ("paused", 1));
        // and goes on when it is driven again after it was resumed
        db.resume_task(task, Default::default()).await.unwrap();
        let drive = Drive::of(&tasker, task);
        stage.enters_as("b").await.completes("2");
        assert!(drive.rests().await.is_complete());

        let (task, drive) = begin("a[handler=it] > b[handler=it]").await;
        let a = stage.enters().await;
        db.cancel_task(task, Default::default()).await.unwrap();
        a.is_told_to_stop().await;
        a.completes("1");
        assert_eq!(drive.rests().await.execution_status, "cancelled");
    });
}

#[test]
fn an_interrupted_drive_gives_its_steps_back_and_another_goes_on() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let (handler, mut stage) = Stage::new();
        tasker.handle("test.it", handler);
        let task = submit(
            &tasker,
            "a[handler=it] > c[handler=it]; b[handler=it attempts=1]; d[handler=it]",
            Submission::default(),
        )
        .await;
        let drive = Drive::of(&tasker, task);
        let mut actors = vec![stage.enters().await, stage.enters().await, stage.enters().await];
        actors.sort_by_key(|actor| actor.attempt.step_name.to_string());
        let d = actors.pop().unwrap();
        d.completes("1");
        db.until(&format!("select count(*) = 1 from tasker.step_results where task_id = '{task}'")).await;
        drive.stop.cancel();
        for actor in actors {
            actor.is_told_to_stop().await;
            actor.answers(Err(StepError::new("interrupted")));
        }
        assert!(matches!(drive.ends().await, Ok(Driven::Interrupted)));
        assert_eq!(db.ends(task).await, "a pending 0/3\nc pending 0/3\nb failed 1/1 released: \nd complete 1/3");
        let drive = Drive::of(&tasker, task);
        for step in ["a", "c"] {
            stage.enters_as(step).await.completes("2");
        }
        assert_eq!(drive.rests().await.execution_status, "blocked_by_failures");
    });
}

#[test]
fn a_driven_task_waits_for_a_slot_that_another_task_holds() {
    with_real_clock(async |db| {
        let (tasker, other) = (db.tasker().await, db.tasker().await);
        let graph = "a[handler=it concurrency=1] > b[handler=it]";
        let (handler, mut stage) = Stage::new();
        other.handle("test.it", handler);
        let (handler, mut own_stage) = Stage::new();
        tasker.handle("test.it", handler);
        let holder = submit(&other, graph, Submission::default()).await;
        let holding = Drive::of(&other, holder);
        let held = stage.enters_as("a").await;
        let task = submit(&tasker, graph, Submission::default()).await;
        let drive = Drive::of(&tasker, task);
        db.until("select count(*) = 2 from tasker.workers").await;
        db.until(&format!("select execution_status = 'waiting_for_capacity' from tasker.task_execution_contexts where task_id = '{task}'")).await;
        assert!(own_stage.has_entered().is_none());
        held.completes("1");
        let own = own_stage.enters_as("a").await;
        let leases: i64 = db.value("select count(*) from tasker.leases where limit_key <> ''").await;
        assert_eq!(leases, 1);
        own.completes("2");
        own_stage.enters_as("b").await.completes("3");
        assert!(drive.rests().await.is_complete());
        stage.enters_as("b").await.completes("4");
        assert!(holding.rests().await.is_complete());
    });
}

#[test]
fn a_driven_task_leaves_to_others_what_it_cannot_run_and_asks_seldom() {
    with_real_clock(async |db| {
        let road = Proxy::to(db.options());
        let tasker = Tasker::connect(&road.url()).await.unwrap();
        tasker.handle(
            "test.it",
            does(async |attempt| match attempt.timer {
                None => Ok(Outcome::WaitUntil(Utc::now() + TimeDelta::milliseconds(1900))),
                Some(_) => Outcome::complete(&1),
            }),
        );
        let task = submit(&tasker, "a[handler=it] > c[handler=it]; b[handler=elsewhere]", Submission::default()).await;
        let drive = Drive::of(&tasker, task);
        let timer =
            format!("select timer is not null from tasker.workflow_steps where task_id = '{task}' and name = 'a'");
        db.until(&timer).await;
        road.more_exchanges(1).await;
        let before = road.requests();
        db.until(&format!(
            "select state = 'complete' from tasker.workflow_steps where task_id = '{task}' and name = 'a'"
        ))
        .await;
        let asked = road.requests() - before;
        assert!(asked <= 20, "{asked} requests in two seconds");
        let other = db.tasker().await;
        other.handle("test.elsewhere", nothing());
        let worker = Running::start(&other, Settings::default());
        assert!(drive.rests().await.is_complete());
        worker.stop().await;
    });
}

#[test]
fn a_drive_survives_the_loss_of_its_connections() {
    with_real_clock(async |db| {
        let road = Proxy::to(db.options());
        let tasker = Tasker::connect(&road.url()).await.unwrap();
        tasker.handle(
            "test.it",
            does(async |attempt| match attempt.number {
                1 => Err(StepError::retry_after(Duration::from_millis(60), "later")),
                _ => Outcome::complete(&1),
            }),
        );
        let names: Vec<String> = (0..12).map(|n| format!("s{n}[handler=it]")).collect();
        let task = submit(&tasker, &names.join(" > "), Submission::default()).await;
        let drive = Drive::of(&tasker, task);
        while !drive.ended.is_finished() {
            road.cut();
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        assert!(drive.rests().await.is_complete(), "{}", db.ends(task).await);
        let attempts: i64 = db.value("select sum(attempts)::bigint from tasker.workflow_steps").await;
        assert_eq!(attempts, 24);
    });
}

#[test]
fn a_task_that_does_not_exist_cannot_be_driven() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let error = Drive::of(&tasker, Uuid::nil()).ends().await.unwrap_err();
        assert_eq!(error.code(), "unknown_task");
    });
}
