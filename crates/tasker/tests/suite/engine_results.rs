//! Answers that cannot be stored fail their own step, and nobody else's: the same batch's others are recorded once.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use serde_json::json;
use tasker::{Event, Outcome, Settings, StepError, Submission, Tasker};
use tokio::sync::{Barrier, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{Fate, Proxy, Running, TestDatabase, does, lease, raw, sketch, with_real_clock};

/// Submits a task of so many independent steps `s0`, `s1`, .. and runs it in a worker that has room for all of them. Nobody
/// answers before all run, so that the answers come together.
async fn together(
    db: &TestDatabase,
    tasker: &Tasker,
    count: usize,
    lease: Duration,
    answer: impl Fn(usize) -> Result<Outcome, StepError> + Send + Sync + 'static,
) -> (Uuid, Running) {
    let names: Vec<String> = (0..count).map(|n| format!("s{n}[handler=it attempts=2 base=1ms]")).collect();
    let workflow = tasker.register_definition(&sketch(&names.join(", "))).await.unwrap();
    let (barrier, answer) = (Arc::new(Barrier::new(count)), Arc::new(answer));
    tasker.handle(
        "test.it",
        does(move |attempt| {
            let (barrier, answer) = (barrier.clone(), answer.clone());
            async move {
                if attempt.number == 1 {
                    barrier.wait().await;
                }
                answer(attempt.step_name[1..].parse()?)
            }
        }),
    );
    let task = tasker.submit_version(workflow, &json!({}), Submission::default()).await.unwrap().task_id;
    let worker = Running::start(tasker, Settings { concurrency: count, lease, ..Settings::default() });
    db.until(&format!("select state in ('complete', 'failed') from tasker.tasks where task_id = '{task}'")).await;
    (task, worker)
}

/// Every step but these was settled once, by its first attempt.
async fn the_others_are_complete(db: &TestDatabase, task: Uuid, count: i64, bad: &[usize]) {
    let names = bad.iter().map(|n| format!("'s{n}'")).collect::<Vec<_>>().join(", ");
    let good: i64 = db
        .value(&format!(
            "select count(*) from tasker.workflow_steps s where s.task_id = '{task}' and s.name not in ({names}) and s.state = 'complete' and s.attempts = 1
               and (select count(*) from tasker.workflow_step_transitions h where h.task_id = s.task_id and h.step_number = s.step_number) = 2"
        ))
        .await;
    assert_eq!(good, count - bad.len() as i64);
}

#[test]
fn what_the_validator_refuses_fails_its_own_step() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
        let large = format!("\"{}\"", "x".repeat(1 << 20));
        let (task, worker) = together(db, &tasker, 100, lease(Duration::from_secs(30)).lease, move |n| match n {
            // past the door of `Outcome::complete`
            3 => Ok(Outcome::Complete(raw(&large))),
            17 => Ok(Outcome::Skip(raw(r#"["a\u0000b"]"#))),
            42 => Ok(Outcome::Complete(raw(r#""\ud800""#))),
            64 => Ok(Outcome::Complete(raw("1e999"))),
            98 => Ok(Outcome::Complete(raw(&deep))),
            // through it
            99 => Outcome::complete(&"y".repeat(1 << 20)),
            n => Outcome::complete(&n),
        })
        .await;
        let bad = [3, 17, 42, 64, 98, 99];
        the_others_are_complete(db, task, 100, &bad).await;
        let ends = db.ends(task).await;
        for n in bad {
            let line = ends.lines().nth(n).unwrap();
            let expected = format!("s{n} failed 1/2 result_not_storable: its result cannot be stored: ");
            assert!(line.starts_with(&expected), "{line}");
        }
        worker.stop().await;
    });
}

#[test]
fn what_the_database_refuses_fails_its_own_step_and_the_batch_is_sent_again_in_halves() {
    with_real_clock(async |db| {
        db.run("alter table tasker.step_results add constraint not_poisonous check (result::text not like '%poison%')")
            .await;
        let road = Proxy::to(db.options());
        let tasker = Tasker::connect(&road.url()).await.unwrap();
        let bad = [0, 1, 77, 150, 255];
        let (task, worker) = together(db, &tasker, 256, Duration::from_secs(30), move |n| match bad.contains(&n) {
            true => Outcome::complete("poison"),
            false => Outcome::complete(&n),
        })
        .await;
        the_others_are_complete(db, task, 256, &bad).await;
        let ends = db.ends(task).await;
        for n in bad {
            let expected = format!(
                "s{n} failed 1/2 result_not_storable: the database refused its answer: the database failed: \
                 new row for relation \"step_results\" violates check constraint \"not_poisonous\""
            );
            let line = ends.lines().nth(n).unwrap();
            assert!(line.starts_with(&expected), "{line}");
        }
        // five needles in a haystack of 256 are found in at most 2 * 5 * 8 halves, and not by sending 256 times
        assert!(road.exchanges() < 110, "{} exchanges", road.exchanges());
        worker.stop().await;
    });
}

#[test]
fn large_inputs_of_steps_that_are_claimed_together_reach_each_of_them() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        tasker.handle("test.it", does(async |attempt| Outcome::complete(&attempt.input.get().len())));
        let workflow = tasker.register_definition(&sketch("a[handler=it]")).await.unwrap();
        // together they are twice what travels with a claim
        let tasks = (0..16).map(|n| (json!({ "n": n, "pad": "x".repeat(500_000) }), Submission::default())).collect();
        tasker.submit_many(workflow, tasks).await.unwrap();
        let worker = Running::start(&tasker, Settings::default());
        db.until("select count(*) = 16 from tasker.tasks where state = 'complete'").await;
        let lengths: Vec<String> = db.column("select distinct result::text from tasker.step_results order by 1").await;
        assert!(lengths.iter().all(|length| length.parse::<usize>().unwrap() > 500_000), "{lengths:?}");
        worker.stop().await;
    });
}

#[test]
fn an_instant_that_postgres_cannot_hold_fails_its_own_step() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let (task, worker) = together(db, &tasker, 20, Duration::from_secs(30), |n| match n {
            7 => Ok(Outcome::WaitUntil(DateTime::<Utc>::MIN_UTC)),
            n => Outcome::complete(&n),
        })
        .await;
        the_others_are_complete(db, task, 20, &[7]).await;
        let ends = db.ends(task).await;
        let line = ends.lines().nth(7).unwrap();
        assert!(line.starts_with("s7 failed 1/2 result_not_storable: the database refused its answer"), "{line}");
        worker.stop().await;
    });
}

#[test]
fn the_end_of_time_is_an_instant_like_any_other() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        tasker.handle("test.it", does(async |_| Ok(Outcome::WaitUntil(DateTime::<Utc>::MAX_UTC))));
        let workflow = tasker.register_definition(&sketch("a[handler=it]")).await.unwrap();
        let worker = Running::start(&tasker, Settings::default());
        let task = tasker.submit_version(workflow, &json!({}), Submission::default()).await.unwrap().task_id;
        db.until(&format!(
            "select blocking_reason = 'scheduled_for_later' and attempts = 0 from tasker.step_readiness_statuses where task_id = '{task}'"
        ))
        .await;
        worker.stop().await;
    });
}

#[test]
fn what_is_refused_even_as_a_failure_holds_up_nobody() {
    with_real_clock(async |db| {
        // the message about the refusal names the constraint, and is refused like the first
        db.run("alter table tasker.step_errors add constraint poison check (error not like '%poison%')").await;
        let tasker = db.tasker().await;
        let (task, worker) = together(db, &tasker, 64, Duration::from_secs(1), |n| match n {
            0 => Err(StepError::new("poison")),
            n => Outcome::complete(&n),
        })
        .await;
        the_others_are_complete(db, task, 64, &[0]).await;
        let ends = db.ends(task).await;
        assert!(ends.starts_with("s0 failed 2/2 lease_expired: "), "{}", ends.lines().next().unwrap());
        worker.stop().await;
    });
}

#[test]
fn forty_megabytes_of_results_come_in_batches_of_sixteen() {
    with_real_clock(async |db| {
        let road = Proxy::to(db.options());
        let tasker = Tasker::connect(&road.url()).await.unwrap();
        let megabyte = format!("\"{}\"", "x".repeat((1 << 20) - 2));
        let (task, worker) =
            together(db, &tasker, 40, Duration::from_secs(30), move |_| Ok(Outcome::Complete(raw(&megabyte)))).await;
        let bytes: i64 = db
            .value(&format!("select sum(octet_length(result::text)) from tasker.step_results where task_id = '{task}'"))
            .await;
        assert_eq!(bytes, 40 << 20);
        worker.stop().await;
    });
}

#[test]
fn a_connection_that_is_lost_between_two_halves_loses_no_answer() {
    with_real_clock(async |db| {
        db.run("alter table tasker.step_results add constraint not_poisonous check (result::text not like '%poison%')")
            .await;
        let road = Proxy::to(db.options());
        let tasker = Tasker::connect(&road.url()).await.unwrap();
        let names: Vec<String> = (0..32).map(|n| format!("s{n}[handler=it attempts=1]")).collect();
        let workflow = tasker.register_definition(&sketch(&names.join(", "))).await.unwrap();
        let barrier = Arc::new(Barrier::new(32));
        tasker.handle(
            "test.it",
            does(move |attempt| {
                let barrier = barrier.clone();
                async move {
                    barrier.wait().await;
                    if &*attempt.step_name != "s21" {
                        return Outcome::complete("good");
                    }
                    // the last of its batch, so that the first half is answered before the connection is lost
                    tokio::task::yield_now().await;
                    Outcome::complete("poison")
                }
            }),
        );
        let task = tasker.submit_version(workflow, &json!({}), Submission::default()).await.unwrap().task_id;
        road.decide(|number| if [3, 7, 9, 14].contains(&number) { Fate::LosesItsReply } else { Fate::Arrives });
        let (tell, mut told) = mpsc::unbounded_channel();
        tasker.drive(task, Settings::default(), Some(tell), CancellationToken::new()).await.unwrap();
        the_others_are_complete(db, task, 32, &[21]).await;
        let mut settled = Vec::new();
        while let Some(event) = told.recv().await {
            if let Event::Settled { step_number, .. } = event {
                settled.push(step_number);
            }
        }
        settled.sort();
        assert_eq!(settled, (0..32).collect::<Vec<_>>());
    });
}
