//! Leases: workers that stop, die, hang or lose the database, and steps that are taken away from them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{TimeDelta, Utc};
use serde_json::json;
use tasker::{Outcome, Settings, StepError, Submission, Tasker};
use tokio::sync::Barrier;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{
    Moment, Process, Proxy, Running, Stage, TestDatabase, does, lease, nothing, sketch, with_real_clock,
};

const SHORT: Duration = Duration::from_secs(1);

/// A process with one handler, by a road of its own.
struct Far {
    road: Proxy,
    tasker: Tasker,
    stage: Stage,
}

impl Far {
    async fn to(db: &TestDatabase) -> Far {
        let road = Proxy::to(db.options());
        let tasker = Tasker::connect(&road.url()).await.unwrap();
        let (handler, stage) = Stage::new();
        tasker.handle("test.it", handler);
        Far { road, tasker, stage }
    }
}

async fn submit(tasker: &Tasker, graph: &str) -> Uuid {
    let workflow = tasker.register_definition(&sketch(graph)).await.unwrap();
    tasker.submit_version(workflow, &json!({}), Submission::default()).await.unwrap().task_id
}

#[test]
fn a_worker_that_stops_lets_its_handlers_finish_and_begins_nothing_new() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let (handler, mut stage) = Stage::new();
        tasker.handle("test.it", handler);
        let worker = Running::start(&tasker, Settings::default());
        let task = submit(&tasker, "a[handler=it] > c[handler=it]; b[handler=it] > d[handler=it]").await;
        let (one, two) = (stage.enters().await, stage.enters().await);
        worker.shut_down();
        submit(&tasker, "e[handler=it]").await;
        one.completes("1");
        db.until(&format!("select count(*) = 1 from tasker.step_results where task_id = '{task}'")).await;
        two.completes("2");
        worker.stop().await;
        assert!(stage.has_entered().is_none());
        let states: Vec<String> = db
            .column("select s.name || ' ' || coalesce(s.blocking_reason, 'ready') from tasker.step_readiness_statuses s order by s.task_id, s.step_number")
            .await;
        assert_eq!(states, ["a finished", "c ready", "b finished", "d ready", "e ready"]);
    });
}

#[test]
fn what_does_not_finish_in_time_is_given_back_and_another_worker_goes_on_at_once() {
    with_real_clock(async |db| {
        let (first, second) = (db.tasker().await, db.tasker().await);
        let (handler, mut stage) = Stage::new();
        first.handle("test.it", handler);
        let worker = Running::start(&first, Settings { drain: Duration::ZERO, ..lease(Duration::from_secs(60)) });
        let task = submit(&first, "a[handler=it]; b[handler=it attempts=1]; c[handler=it]").await;
        let mut actors = vec![stage.enters().await, stage.enters().await, stage.enters().await];
        actors.sort_by_key(|actor| actor.attempt.step_name.to_string());
        // the first ends just before, the others never by themselves
        actors.remove(0).completes("1");
        let (handler, mut other_stage) = Stage::new();
        second.handle("test.it", handler);
        let other = Running::start(&second, Settings { poll_interval: Duration::from_secs(20), ..Settings::default() });
        db.until("select count(*) = 2 from tasker.workers").await;
        let stopping = tokio::spawn(worker.stop());
        for actor in actors {
            actor.is_told_to_stop().await;
            actor.answers(Err(StepError::new("interrupted")));
        }
        stopping.await.unwrap();
        // not after the lease, nor after the other's poll interval
        let actor = other_stage.enters_as("c").await;
        assert_eq!(actor.attempt.number, 1);
        actor.completes("3");
        db.until_task(task, "failed").await;
        assert_eq!(db.ends(task).await, "a complete 1/3\nb failed 1/1 released: \nc complete 1/3");
        other.stop().await;
    });
}

#[test]
fn what_finishes_because_it_was_told_to_stop_is_kept() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let (handler, mut stage) = Stage::new();
        tasker.handle("test.it", handler);
        let worker = Running::start(&tasker, Settings { drain: Duration::ZERO, ..Settings::default() });
        let task = submit(&tasker, "a[handler=it]; b[handler=it]").await;
        let (one, two) = (stage.enters().await, stage.enters().await);
        let names = (one.attempt.step_name.clone(), two.attempt.step_name.clone());
        let stopping = tokio::spawn(worker.stop());
        one.is_told_to_stop().await;
        one.completes("\"in time\"");
        two.is_told_to_stop().await;
        two.answers(Err(StepError::new("interrupted")));
        stopping.await.unwrap();
        let ends = db.ends(task).await;
        assert!(ends.contains(&format!("{} complete 1/3", names.0)), "{ends}");
        assert!(ends.contains(&format!("{} pending 0/3", names.1)), "{ends}");
    });
}

#[test]
fn a_thousand_ends_at_the_last_moment_are_all_handed_in() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let everybody = Arc::new(Barrier::new(1201));
        let here = everybody.clone();
        tasker.handle(
            "test.it",
            does(move |attempt| {
                let here = here.clone();
                async move {
                    here.wait().await;
                    attempt.cancellation.cancelled().await;
                    Outcome::complete(&1)
                }
            }),
        );
        let names: Vec<String> = (0..1200).map(|n| format!("s{n}[handler=it]")).collect();
        let settings = Settings { concurrency: 2000, drain: Duration::ZERO, ..Settings::default() };
        let worker = Running::start(&tasker, settings);
        let task = submit(&tasker, &names.join(", ")).await;
        everybody.wait().await;
        worker.stop().await;
        assert_eq!(
            db.value::<String>(&format!("select state::text from tasker.tasks where task_id = '{task}'")).await,
            "complete"
        );
    });
}

#[test]
fn a_step_whose_task_is_locked_does_not_keep_the_others_from_being_given_back() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let (handler, mut stage) = Stage::new();
        tasker.handle("test.it", handler);
        let worker = Running::start(&tasker, Settings { drain: Duration::ZERO, ..Settings::default() });
        let (one, two) = (submit(&tasker, "a[handler=it]").await, submit(&tasker, "b[handler=it]").await);
        let actors = [stage.enters().await, stage.enters().await];
        let mut session = db.session().await;
        let lock = format!("begin; select from tasker.tasks where task_id = '{one}' for update");
        sqlx::raw_sql(sqlx::AssertSqlSafe(lock)).execute(&mut session).await.unwrap();
        let stopping = tokio::spawn(worker.stop());
        for actor in actors {
            actor.is_told_to_stop().await;
            actor.answers(Err(StepError::new("interrupted")));
        }
        stopping.await.unwrap();
        assert_eq!((db.ends(one).await.as_str(), db.ends(two).await.as_str()), ("a in_progress 1/3", "b pending 0/3"));
    });
}

#[test]
fn a_process_that_dies_leaves_its_steps_to_others_when_its_lease_expires() {
    with_real_clock(async |db| {
        let (handler, mut stage) = Stage::new();
        let process = Process::start(&db.url(), lease(SHORT), vec![("test.it".into(), handler)]).await;
        let tasker = db.tasker().await;
        let task = submit(&tasker, "a[handler=it base=1ms] > b[handler=it]; c[handler=it attempts=1]").await;
        let (one, two) = (stage.enters().await, stage.enters().await);
        assert_eq!((one.attempt.number, two.attempt.number), (1, 1));
        process.kill();
        one.until_dropped().await;
        tasker.handle("test.it", nothing());
        let worker = Running::start(&tasker, Settings::default());
        db.until_task(task, "failed").await;
        let expired = "lease_expired: the lease expired: the worker died, hung, or lost the database";
        assert_eq!(db.ends(task).await, format!("a complete 2/3 {expired}\nb complete 1/3\nc failed 1/1 {expired}"));
        worker.stop().await;
    });
}

#[test]
fn a_long_attempt_keeps_its_lease_while_its_connections_die_again_and_again() {
    with_real_clock(async |db| {
        let mut far = Far::to(db).await;
        let worker = Running::start(&far.tasker, lease(SHORT));
        let other = db.tasker().await;
        other.handle("test.other", nothing());
        let reaper = Running::start(&other, Settings::default());
        let task = submit(&far.tasker, "a[handler=it attempts=1]").await;
        let actor = far.stage.enters().await;
        let begun = Instant::now();
        while begun.elapsed() < 3 * SHORT {
            far.road.cut();
            // as many as a server's restart would leave behind in the pool
            tokio::time::sleep(SHORT / 5).await;
        }
        actor.completes("1");
        db.until_task(task, "complete").await;
        worker.stop().await;
        reaper.stop().await;
    });
}

#[test]
fn a_worker_that_cannot_reach_the_database_stops_its_handler_before_the_lease_ends() {
    cut_off(Proxy::close);
}

#[test]
fn a_worker_whose_database_falls_silent_stops_its_handler_before_the_lease_ends() {
    cut_off(Proxy::fall_silent);
}

fn cut_off(how: fn(&Proxy)) {
    with_real_clock(async |db| {
        let mut far = Far::to(db).await;
        let cut_off = Running::start(&far.tasker, lease(2 * SHORT));
        let task = submit(&far.tasker, "a[handler=it base=1ms]").await;
        let actor = far.stage.enters().await;
        how(&far.road);
        actor.is_told_to_stop().await;
        // it does not listen
        let dropped_at = actor.until_dropped().await;
        let lease_expires_at: Moment =
            db.value(&format!("select lease_expires_at from tasker.leases where task_id = '{task}'")).await;
        assert!(dropped_at < lease_expires_at, "dropped at {dropped_at}, after {lease_expires_at}");
        let other = db.tasker().await;
        let (handler, mut stage) = Stage::new();
        other.handle("test.it", handler);
        let worker = Running::start(&other, Settings::default());
        let again = stage.enters().await;
        assert_eq!(again.attempt.number, 2);
        again.completes("2");
        db.until_task(task, "complete").await;
        worker.stop().await;
        // the road is open again, and the first worker goes on with other work
        far.road.open();
        let next = submit(&other, "b[handler=it]").await;
        far.stage.enters_as("b").await.completes("1");
        db.until_task(next, "complete").await;
        cut_off.stop().await;
    });
}

#[test]
fn an_answer_that_comes_after_its_lease_was_lost_changes_nothing() {
    with_real_clock(async |db| {
        let mut far = Far::to(db).await;
        let late = Running::start(&far.tasker, lease(SHORT));
        let task = submit(&far.tasker, "a[handler=it base=1ms] > b[handler=other]").await;
        let actor = far.stage.enters().await;
        far.road.close();
        // it finishes in time, and nobody can be told
        actor.completes("\"late\"");
        let other = db.tasker().await;
        let (handler, mut stage) = Stage::new();
        other.handle("test.it", handler);
        let worker = Running::start(&other, Settings::default());
        let again = stage.enters().await;
        assert_eq!(again.attempt.number, 2);
        far.road.open();
        // the first of them brings the late answer
        far.road.more_exchanges(2).await;
        assert_eq!(
            db.ends(task).await,
            "a in_progress 2/3 lease_expired: the lease expired: the worker died, hung, or lost the database\nb pending 0/3"
        );
        again.completes("\"second\"");
        db.until(&format!("select count(*) = 1 from tasker.step_results where task_id = '{task}'")).await;
        assert_eq!(db.result_of(task, 0).await, "\"second\"");
        late.stop().await;
        worker.stop().await;
    });
}

#[test]
fn a_cancelled_task_stops_its_handlers_within_a_heartbeat_and_their_answers_are_not_kept() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let (handler, mut stage) = Stage::new();
        tasker.handle("test.it", handler);
        let worker = Running::start(&tasker, lease(3 * SHORT));
        let cancelled = submit(&tasker, "a[handler=it]; b[handler=it]").await;
        let (one, two) = (stage.enters().await, stage.enters().await);
        let other = submit(&tasker, "c[handler=it]").await;
        let c = stage.enters_as("c").await;
        db.cancel_task(cancelled, Default::default()).await.unwrap();
        one.is_told_to_stop().await;
        two.is_told_to_stop().await;
        // one answers all the same, the other never
        one.completes("1");
        two.until_dropped().await;
        assert!(!c.attempt.cancellation.is_cancelled());
        c.completes("2");
        db.until_task(other, "complete").await;
        worker.stop().await;
        assert_eq!(db.ends(cancelled).await, "a cancelled 1/3\nb cancelled 1/3");
        assert_eq!(
            db.value::<i64>(&format!("select count(*) from tasker.step_results where task_id = '{cancelled}'")).await,
            0
        );
    });
}

#[test]
fn a_wake_up_tells_a_handler_of_its_cancellation_long_before_the_next_heartbeat() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let (handler, mut stage) = Stage::new();
        tasker.handle("test.it", handler);
        let worker = Running::start(&tasker, lease(Duration::from_secs(3600)));
        let task = submit(&tasker, "a[handler=it]").await;
        let actor = stage.enters().await;
        db.cancel_task(task, Default::default()).await.unwrap();
        db.wake().await.unwrap();
        actor.is_told_to_stop().await;
        drop(actor);
        worker.stop().await;
    });
}

#[test]
fn a_worker_whose_future_is_dropped_leaves_no_handler_behind() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let (handler, mut stage) = Stage::new();
        tasker.handle("test.it", handler);
        let worker = tokio::spawn(tasker.worker(lease(Duration::from_secs(1))).run(CancellationToken::new()));
        let task = submit(&tasker, "a[handler=it]").await;
        let actor = stage.enters().await;
        worker.abort();
        actor.is_told_to_stop().await;
        drop(actor);
        // its lease expires, and somebody else goes on
        let other = Running::start(&tasker, Settings::default());
        stage.enters().await.completes("1");
        db.until_task(task, "complete").await;
        other.stop().await;
    });
}

#[test]
fn a_step_cancelled_while_it_runs_stops_alone_and_its_deadline_stops_all() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let (handler, mut stage) = Stage::new();
        tasker.handle("test.it", handler);
        let worker = Running::start(&tasker, lease(SHORT));
        let workflow = tasker.register_definition(&sketch("a[handler=it]; b[handler=it]")).await.unwrap();
        let deadline = Some(Utc::now() + TimeDelta::milliseconds(1500));
        let submission = Submission { deadline, ..Submission::default() };
        let task = tasker.submit_version(workflow, &json!({}), submission).await.unwrap().task_id;
        let mut actors = [stage.enters().await, stage.enters().await];
        actors.sort_by_key(|actor| actor.attempt.step_name.to_string());
        db.cancel_step(tasker::step_id(task, 0), Default::default()).await.unwrap();
        let [a, b] = actors;
        a.is_told_to_stop().await;
        assert!(!b.attempt.cancellation.is_cancelled());
        b.is_told_to_stop().await;
        b.completes("\"too late\"");
        db.until_task(task, "failed").await;
        worker.stop().await;
        assert_eq!(
            db.ends(task).await,
            "a cancelled 1/3\nb failed 1/3 deadline_passed: the task's deadline has passed"
        );
    });
}
