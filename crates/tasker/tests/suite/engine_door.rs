//! Tasks that an idle worker of the process submits in its own call.

use std::time::Duration;

use serde_json::json;
use tasker::{Outcome, Settings, Submission, Tasker};
use tokio::sync::mpsc;

use crate::support::{Fate, Proxy, Running, TestDatabase, does, nothing, sketch, soon, with_real_clock};

/// Whether the tasks' submissions and their first claims are of one transaction each.
const TOGETHER: &str = "
    select count(*) filter (where t.xid = h.xid) from tasker.task_transitions t
    join tasker.workflow_step_transitions h on h.task_id = t.task_id and h.verb = 'claim' and h.step_number = 0
    where t.verb = 'submit'";

async fn all_are_complete(db: &TestDatabase, tasks: i64) {
    db.until(&format!("select count(*) = {tasks} and bool_and(state = 'complete') from tasker.tasks")).await;
}

#[test]
fn an_idle_worker_submits_and_claims_in_one_transaction() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        tasker.handle("test.it", nothing());
        let workflow = tasker.register_definition(&sketch("a[handler=it] > b[handler=it]")).await.unwrap();
        let worker = Running::start(&tasker, Settings::default());
        for n in 1..=20 {
            tasker.submit_version(workflow, &json!({}), Submission::default()).await.unwrap();
            all_are_complete(db, n).await;
        }
        let together: i64 = db.value(TOGETHER).await;
        assert!(together >= 10, "{together} of 20: the worker was idle most times");
        let keyed = Submission { idempotency_key: Some("k".into()), ..Submission::default() };
        let [first, again] = [
            tasker.submit_version(workflow, &json!({}), keyed.clone()).await.unwrap(),
            tasker.submit_version(workflow, &json!({}), keyed).await.unwrap(),
        ];
        assert_eq!((first.task_id, first.existing, again.existing), (again.task_id, false, true));
        worker.stop().await;
    });
}

#[test]
fn many_that_submit_at_once_beside_two_workers_lose_nothing() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        tasker.handle("test.it", nothing());
        let workflow = tasker.register_definition(&sketch("a[handler=it] > b[handler=it]")).await.unwrap();
        let workers = [Running::start(&tasker, Settings::default()), Running::start(&tasker, Settings::default())];
        let submitters: Vec<_> = (0..8)
            .map(|_| {
                let tasker = tasker.clone();
                tokio::spawn(async move {
                    for _ in 0..25 {
                        tasker.submit_version(workflow, &json!({}), Submission::default()).await.unwrap();
                    }
                })
            })
            .collect();
        for submitter in submitters {
            soon("the submitters", submitter).await.unwrap();
        }
        all_are_complete(db, 200).await;
        for worker in workers {
            worker.stop().await;
        }
    });
}

#[test]
fn a_worker_that_serves_nothing_of_a_task_submits_it_for_others() {
    with_real_clock(async |db| {
        let (tasker, other) = (db.tasker().await, db.tasker().await);
        tasker.handle("test.else", nothing());
        other.handle("test.it", nothing());
        let workers = [Running::start(&tasker, Settings::default()), Running::start(&other, Settings::default())];
        let workflow = tasker.register_definition(&sketch("a[handler=it]")).await.unwrap();
        for n in 1..=5 {
            tasker.submit_version(workflow, &json!({}), Submission::default()).await.unwrap();
            all_are_complete(db, n).await;
        }
        for worker in workers {
            worker.stop().await;
        }
    });
}

#[test]
fn what_the_database_refuses_is_told_to_its_submitter_alone() {
    with_real_clock(async |db| {
        db.run("alter table tasker.task_payloads add constraint not_poisonous check (summary <> 'poison')").await;
        let tasker = db.tasker().await;
        tasker.handle("test.it", nothing());
        let workflow = tasker.register_definition(&sketch("a[handler=it]")).await.unwrap();
        let worker = Running::start(&tasker, Settings::default());
        for n in 1..=5 {
            let poison = Submission { summary: Some("poison".into()), ..Submission::default() };
            let refused = tasker.submit_version(workflow, &json!({}), poison).await.unwrap_err();
            assert_eq!(refused.sqlstate().as_deref(), Some("23514"), "{refused}");
            tasker.submit_version(workflow, &json!({}), Submission::default()).await.unwrap();
            all_are_complete(db, n).await;
        }
        worker.stop().await;
    });
}

#[test]
fn a_call_that_is_lost_submits_once_or_not_at_all_and_says_that_nobody_knows() {
    for fate in [Fate::LosesItsReply, Fate::IsLost, Fate::IsAbandoned] {
        with_real_clock(async |db| {
            let road = Proxy::to(db.options());
            let tasker = Tasker::connect(&road.url()).await.unwrap();
            let (tell, mut told) = mpsc::unbounded_channel();
            tasker.handle(
                "test.it",
                does(move |attempt| {
                    tell.send(attempt.task_id).unwrap();
                    async { Outcome::complete(&1) }
                }),
            );
            let workflow = tasker.register_definition(&sketch("a[handler=it]")).await.unwrap();
            let worker = Running::start(&tasker, Settings::default());
            let (mut unknown, mut known) = (0, Vec::new());
            for _ in 0..4 {
                road.more_exchanges(1).await;
                // until its reply has come, the worker is not idle
                tokio::time::sleep(Duration::from_millis(50)).await;
                road.decide(move |_| fate);
                let submitted = tasker.submit_version(workflow, &json!({}), Submission::default()).await;
                road.decide(|_| Fate::Arrives);
                match submitted {
                    Ok(submitted) => known.push(submitted.task_id),
                    Err(error) => {
                        assert!(error.to_string().contains("may have been submitted or not"), "{error}");
                        unknown += 1;
                    }
                }
            }
            assert!(unknown > 0, "{fate:?}: no call was lost");
            known.push(tasker.submit_version(workflow, &json!({}), Submission::default()).await.unwrap().task_id);
            for task in &known {
                db.until_task(*task, "complete").await;
            }
            db.until("select bool_and(state = 'complete') from tasker.tasks").await;
            let tasks: i64 = db.value("select count(*) from tasker.tasks").await;
            let expected = match fate {
                Fate::LosesItsReply => known.len() + unknown..=known.len() + unknown,
                Fate::IsLost => known.len()..=known.len(),
                _ => known.len()..=known.len() + unknown,
            };
            assert!(expected.contains(&(tasks as usize)), "{fate:?}: {tasks} tasks, {expected:?} expected");
            worker.stop().await;
            let mut runs = Vec::new();
            while let Ok(task) = told.try_recv() {
                runs.push(task);
            }
            runs.sort();
            runs.dedup();
            assert_eq!(runs.len(), tasks as usize, "{fate:?}");
        });
    }
}
