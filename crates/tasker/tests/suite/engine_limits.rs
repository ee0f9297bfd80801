//! Concurrency limits under several workers: never above the limit, counted where it matters, inside the handler.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::json;
use tasker::{Driven, Outcome, Settings, Submission, Tasker, workflow::Priority};
use tokio_util::sync::CancellationToken;

use crate::support::{Running, does, sketch, soon, with_real_clock};

/// How many attempts of each kind run now, and how many ran at most.
#[derive(Clone, Default)]
struct Census(Arc<Mutex<HashMap<String, (usize, usize)>>>);

impl Census {
    fn count_in(&self, tasker: &Tasker) {
        let census = self.clone();
        tasker.handle(
            "test.it",
            does(move |attempt| {
                let census = census.clone();
                async move {
                    let input: serde_json::Value = serde_json::from_str(attempt.input.get())?;
                    let kind = format!("{} {}", attempt.step_name, input["customer"]["id"]);
                    {
                        let mut census = census.0.lock().unwrap();
                        let (now, most) = census.entry(kind.clone()).or_default();
                        *now += 1;
                        *most = (*most).max(*now);
                    }
                    // long enough to meet the others
                    tokio::time::sleep(Duration::from_millis(4)).await;
                    census.0.lock().unwrap().get_mut(&kind).unwrap().0 -= 1;
                    Outcome::complete(&1)
                }
            }),
        );
    }

    fn most(&self) -> Vec<(String, usize)> {
        let census = self.0.lock().unwrap();
        let mut most: Vec<(String, usize)> = census.iter().map(|(kind, (_, most))| (kind.clone(), *most)).collect();
        most.sort();
        most
    }
}

/// A root and a child with limits of their own, by customer.
const GRAPH: &str =
    "a[handler=it concurrency=2 key=customer.id] > b[handler=it], c[handler=it concurrency=3 key=customer.id]";

#[test]
fn four_workers_never_run_more_than_the_limit_and_reach_it() {
    with_real_clock(async |db| {
        let census = Census::default();
        let mut workers = Vec::new();
        for _ in 0..4 {
            let tasker = db.tasker().await;
            census.count_in(&tasker);
            let settings = Settings { poll_interval: Duration::from_millis(100), ..Settings::default() };
            workers.push(Running::start(&tasker, settings));
        }
        let tasker = db.tasker().await;
        let workflow = tasker.register_definition(&sketch(GRAPH)).await.unwrap();
        let lanes = [None, Some(Priority::High), Some(Priority::Normal), Some(Priority::Low)];
        let tasks = (0..180).map(|n| {
            let submission = Submission { priority: lanes[n % 4], ..Submission::default() };
            (json!({ "customer": { "id": n % 3 } }), submission)
        });
        tasker.submit_many(workflow, tasks.collect()).await.unwrap();
        db.until("select count(*) = 180 from tasker.tasks where state = 'complete'").await;
        for (kind, most) in census.most() {
            match &kind[..1] {
                "a" => assert_eq!(most, 2, "{kind}"),
                "c" => assert!(most <= 3, "{kind}: {most}"),
                _ => {}
            }
        }
        for worker in workers {
            worker.stop().await;
        }
    });
}

#[test]
fn driven_tasks_and_a_worker_keep_a_common_limit() {
    with_real_clock(async |db| {
        let census = Census::default();
        let tasker = db.tasker().await;
        census.count_in(&tasker);
        let workflow = tasker.register_definition(&sketch(GRAPH)).await.unwrap();
        let settings = || Settings { poll_interval: Duration::from_millis(100), ..Settings::default() };
        let worker = Running::start(&tasker, settings());
        let mut drives = Vec::new();
        for task in tasker.submit_many(workflow, vec![(json!({}), Submission::default()); 12]).await.unwrap() {
            let tasker = tasker.clone();
            drives.push(tokio::spawn(async move {
                tasker.drive(task.task_id, settings(), None, CancellationToken::new()).await
            }));
        }
        for drive in drives {
            let Driven::Rests(context) = soon("a drive", drive).await.unwrap().unwrap() else { panic!("interrupted") };
            assert!(context.is_complete());
        }
        let most = census.most();
        assert!(most[0].1 <= 2 && most[2].1 <= 3, "{most:?}");
        worker.stop().await;
    });
}

#[test]
fn a_slot_that_a_failure_a_timer_or_a_cancellation_frees_is_used_by_the_next() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        tasker.handle(
            "test.it",
            does(async |attempt| {
                let input: serde_json::Value = serde_json::from_str(attempt.input.get())?;
                match (input["how"].as_str(), attempt.timer) {
                    (Some("fails"), _) => Err(tasker::StepError::fatal("no")),
                    (Some("waits"), None) => {
                        Ok(Outcome::WaitUntil(chrono::Utc::now() + chrono::TimeDelta::milliseconds(50)))
                    }
                    (Some("hangs"), _) => std::future::pending().await,
                    _ => Outcome::complete(&1),
                }
            }),
        );
        let workflow = tasker.register_definition(&sketch("a[handler=it concurrency=1]")).await.unwrap();
        let settings = Settings { lease: Duration::from_secs(1), ..Settings::default() };
        let worker = Running::start(&tasker, settings);
        let inputs = ["fails", "waits", "hangs", "works", "waits", "works"];
        let tasks = inputs.iter().map(|how| (json!({ "how": how }), Submission::default())).collect();
        let tasks = tasker.submit_many(workflow, tasks).await.unwrap();
        db.until(&format!("select count(*) = 1 from tasker.leases where task_id = '{}'", tasks[2].task_id)).await;
        db.cancel_task(tasks[2].task_id, Default::default()).await.unwrap();
        db.until("select count(*) = 4 from tasker.tasks where state = 'complete'").await;
        worker.stop().await;
    });
}
