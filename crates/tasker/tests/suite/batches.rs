//! What the doors ask of many tasks, or of many of their steps, in one statement: by index paths, and as many pages as it is about.

use tasker::{
    context::{TaskExecutionContext, TaskWorkflowSummary},
    readiness::StepReadinessStatus,
    store::{History, StepPage, Steps, TaskFilter},
};
use uuid::Uuid;

use crate::{
    plans::{UNVACUUMED, stored},
    support::{Play, watch::Watch, with_database, with_real_clock},
};

/// Four steps each, ended long ago among thousands of others.
const TASKS: usize = 20;

#[test]
fn many_at_once_are_read_by_index_paths() {
    with_real_clock(async |db| {
        stored(db).await;
        let tasks: Vec<Uuid> = db
            .column(&format!(
                "select task_id from (select task_id from tasker.tasks where state = 'complete' order by task_id limit 1000) k order by md5(task_id::text) limit {TASKS}"
            ))
            .await;
        let steps: Vec<Uuid> = tasks.iter().flat_map(|task| (0..4).map(|n| tasker::step_id(*task, n))).collect();
        let histories: Vec<History> = tasks
            .iter()
            .map(|task| History { task_id: *task, step_number: Some(1), after: None, at_most: 10 })
            .collect();
        let whole: Vec<History> =
            tasks.iter().map(|task| History { task_id: *task, step_number: None, after: None, at_most: 10 }).collect();
        let page = |name: Option<&str>| {
            let page = |task: &Uuid| StepPage { task_id: *task, name: name.map(str::to_owned), from: 0, at_most: 2 };
            tasks.iter().map(page).collect::<Vec<_>>()
        };
        let (named, first) = (page(Some("d")), page(None));
        let names = ["test".to_owned()];
        let of_shop =
            TaskFilter { namespace: Some("test".into()), within: Some(names.clone().into()), ..TaskFilter::default() };
        let waiting = TaskFilter { execution_status: Some("scheduled".into()), ..TaskFilter::default() };
        db.run("select tasker.begin_event_epoch()").await;
        let mut wrong = Vec::new();
        for mode in ["without statistics", "with"] {
            if mode == "with" {
                db.run("analyze").await;
            }
            let watch = Watch::new(db, &[]).await;
            let store = &watch.store;
            let events = store.read_events(None, Some(tasks[0]), 100).await.unwrap().events;
            watch.cost();
            // the last time counts: the first loads the catalogue, and after five the server may keep a plan
            for time in 1..=7 {
                let counts = time == 7;
                let mut judge = |what: &str, found: usize, wanted: usize, pages: usize| {
                    let cost = watch.cost();
                    assert_eq!(found, wanted, "{what}");
                    if counts
                        && (cost.buffers > pages as i64 || !cost.sins.is_empty() || cost.statements > 1 + pages / 10)
                    {
                        wrong.push(format!("{mode}, {what}: {pages}, {cost:?}"));
                    }
                };
                let found = store.tasks_of(&tasks, Some(&names)).await.unwrap().len();
                judge("lines of tasks", found, TASKS, TASKS * 60);
                let found = TaskWorkflowSummary::for_tasks(store, &tasks).await.unwrap().len();
                judge("summaries", found, TASKS, TASKS * 45);
                let found = TaskExecutionContext::for_tasks(store, &tasks).await.unwrap().len();
                judge("contexts", found, TASKS, TASKS * 45);
                let found = StepReadinessStatus::for_tasks(store, &tasks, 1000).await.unwrap().len();
                judge("readiness", found, 4 * TASKS, TASKS * 45);
                let found = store.workflow_steps(tasks[0], Steps::From(0, 10), true).await.unwrap().len();
                judge("a task's steps", found, 4, 120);
                let found = store.workflow_steps(tasks[0], Steps::Named("d"), true).await.unwrap().len();
                judge("a step by its name", found, 1, 60);
                let found = store.workflow_steps_of(&steps).await.unwrap().len();
                judge("steps", found, steps.len(), steps.len() * 50);
                let found = store.workflow_step_pages(&first).await.unwrap().len();
                judge("pages of steps", found, 2 * TASKS, TASKS * 100);
                let found = store.workflow_step_pages(&named).await.unwrap().len();
                judge("steps by their name", found, TASKS, TASKS * 60);
                let found = store.results_of(&steps).await.unwrap().len();
                judge("results", found, steps.len(), steps.len() * 8);
                let found = store.attempts_of(&steps).await.unwrap().len();
                assert!(found >= steps.len());
                judge("attempts", found, found, steps.len() * 20);
                let found = store.explain_steps(&steps, i64::MAX).await.unwrap().len();
                judge("explanations", found, found, steps.len() * 95);
                let found = store.transitions_of(&histories).await.unwrap().len();
                assert!(found >= 2 * TASKS);
                judge("histories of steps", found, found, TASKS * 20);
                let found = store.transitions_of(&whole).await.unwrap().len();
                assert!(found >= 10 * TASKS);
                judge("histories of tasks", found, found, TASKS * 40);
                let found = store.event_payloads(&events).await.unwrap().len();
                judge("payloads of events", found, 5, 250);
                // what is to be first is read in its order, from one end, and what has not ended from the hot set, whole
                let mut judge_list = |what: &str, found: usize, pages: i64, read: &[&str]| {
                    let cost = watch.cost();
                    assert_eq!(found, 50, "{what}");
                    let unseen = |sin: &&String| !read.iter().any(|table| sin.contains(&format!("of {table} ")));
                    if counts && (cost.buffers > pages || cost.sins.iter().any(|sin| unseen(&sin))) {
                        wrong.push(format!("{mode}, {what}: {pages}, {cost:?}"));
                    }
                };
                let found = store.tasks(&TaskFilter::default(), None, 50).await.unwrap().len();
                judge_list("a page of tasks", found, 500, &["tasks"]);
                if mode == "with" {
                    let found = store.tasks(&of_shop, None, 50).await.unwrap().len();
                    judge_list("a page of a namespace's tasks", found, 500, &["tasks"]);
                }
                let found = store.tasks(&waiting, None, 50).await.unwrap().len();
                judge_list("a page of tasks that wait", found, UNVACUUMED, &["ready_steps", "leases"]);
            }
            // what it is asked of many is planned once, for any number
            let planned_anew: Vec<String> = sqlx::query_scalar(
                "select statement from pg_prepared_statements where custom_plans > 5 and statement like '%unnest(%'",
            )
            .fetch_all(store.pool())
            .await
            .unwrap();
            assert_eq!(planned_anew, [""; 0], "{mode}");
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

#[test]
fn of_a_step_with_a_great_many_attempts_the_last_thousand_are_read() {
    with_database(async |db| {
        let mut play = Play::through(db, "s", "").await;
        for _ in 0..1005 {
            play.act("s:in_progress").await.unwrap();
            play.act("s:released").await.unwrap();
        }
        let store = db.another_store().await;
        let read: Vec<Uuid> = store.attempts(play.step("s")).await.unwrap().iter().map(|one| one.claim_id).collect();
        let claims: Vec<Uuid> = db
            .column("select claim_id from tasker.workflow_step_transitions where verb = 'claim' order by number")
            .await;
        assert_eq!((claims.len(), read), (1005, claims[5..].to_vec()));
    });
}
