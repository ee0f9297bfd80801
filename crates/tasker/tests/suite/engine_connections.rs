//! What the network and the server do to a worker: replies that are lost, sessions that are killed, rows that are locked.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tasker::{Driven, Event, Outcome, Settings, Submission, Tasker};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{Fate, Proxy, Running, Stage, TestDatabase, does, lease, nothing, sketch, soon, with_real_clock};

const DIAMOND: &str = "a[handler=it] > b[handler=it], c[handler=it] > d[handler=it]";

/// How often each step was run, by its id.
#[derive(Clone, Default)]
struct Runs(Arc<Mutex<HashMap<Uuid, u32>>>);

impl Runs {
    /// Handles `test.it` by counting.
    fn count_in(&self, tasker: &Tasker) {
        let runs = self.clone();
        tasker.handle(
            "test.it",
            does(move |attempt| {
                *runs.0.lock().unwrap().entry(attempt.workflow_step_id).or_default() += 1;
                async { Outcome::complete(&1) }
            }),
        );
    }

    /// So many steps ran, each of them once.
    fn are_one_each(&self, steps: usize) {
        let runs = self.0.lock().unwrap();
        let twice = runs.values().filter(|count| **count > 1).count();
        assert_eq!((runs.len(), twice), (steps, 0), "(steps that ran, steps that ran twice)");
    }
}

async fn submit_diamonds(tasker: &Tasker, count: usize) {
    let workflow = tasker.register_definition(&sketch(DIAMOND)).await.unwrap();
    tasker.submit_many(workflow, vec![(json!({}), Submission::default()); count]).await.unwrap();
}

async fn all_are_complete(db: &TestDatabase, steps: i64) {
    db.until("select count(*) = 0 from tasker.tasks where state <> 'complete'").await;
    let first: i64 =
        db.value("select count(*) from tasker.workflow_steps where state = 'complete' and attempts = 1").await;
    assert_eq!(first, steps);
}

#[test]
fn an_exchange_that_loses_its_reply_is_done_once_and_what_it_leased_is_run_once() {
    for fate in [Fate::LosesItsReply, Fate::IsLost, Fate::IsAbandoned] {
        with_real_clock(async |db| {
            let runs = Runs::default();
            let mut workers = Vec::new();
            for salt in 0..2 {
                let road = Proxy::to(db.options());
                road.decide(move |number| if (number + salt) % 5 == 3 { fate } else { Fate::Arrives });
                let tasker = Tasker::connect(&road.url()).await.unwrap();
                runs.count_in(&tasker);
                let settings = Settings { concurrency: 30, ..Settings::default() };
                workers.push((Running::start(&tasker, settings), road));
            }
            submit_diamonds(&db.tasker().await, 150).await;
            all_are_complete(db, 600).await;
            runs.are_one_each(600);
            for (worker, road) in workers {
                road.decide(|_| Fate::Arrives);
                worker.stop().await;
                assert!(road.exchanges() > 10, "nothing was lost");
            }
        });
    }
}

#[test]
fn a_settlement_sent_again_gets_its_first_answer() {
    with_real_clock(async |db| {
        let road = Proxy::to(db.options());
        let tasker = Tasker::connect(&road.url()).await.unwrap();
        let runs = Runs::default();
        runs.count_in(&tasker);
        let workflow = tasker.register_definition(&sketch(DIAMOND)).await.unwrap();
        let task = tasker.submit_version(workflow, &json!({}), Submission::default()).await.unwrap().task_id;
        // every reply is lost once: the sending again goes through
        road.decide(|number| if number % 2 == 0 { Fate::LosesItsReply } else { Fate::Arrives });
        let (tell, mut told) = mpsc::unbounded_channel();
        let driven = tasker.drive(task, Settings::default(), Some(tell), CancellationToken::new()).await.unwrap();
        let Driven::Rests(context) = driven else { panic!("interrupted") };
        assert!(context.is_complete(), "{}", db.ends(task).await);
        runs.are_one_each(4);
        let (mut started, mut settled) = (Vec::new(), Vec::new());
        while let Some(event) = told.recv().await {
            match event {
                Event::Started(claimed) => started.push(claimed.step_number),
                Event::Settled { step_number, .. } => settled.push(step_number),
            }
        }
        started.sort();
        settled.sort();
        assert_eq!((started, settled), (vec![0, 1, 2, 3], vec![0, 1, 2, 3]));
    });
}

async fn run(session: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_string())).execute(session).await.unwrap();
}

#[test]
fn four_thousand_diamonds_survive_the_killing_of_their_sessions() {
    with_real_clock(async |db| {
        let runs = Runs::default();
        let mut workers = Vec::new();
        for _ in 0..2 {
            let tasker = db.tasker().await;
            runs.count_in(&tasker);
            workers.push(Running::start(&tasker, Settings::default()));
        }
        let submitter = db.tasker().await;
        for _ in 0..8 {
            submit_diamonds(&submitter, 500).await;
        }
        // those of the engine are called tasker; ours are not among them
        let mut session = db.session().await;
        let mut killed = 0;
        soon("four thousand diamonds", async {
            loop {
                let pids: Vec<i32> = sqlx::query_scalar(
                    "select pid from pg_stat_activity where datname = current_database() and application_name = 'tasker'
                     order by md5(pid || ' ' || $1) limit 1",
                )
                .bind(killed)
                .fetch_all(&mut session)
                .await
                .unwrap();
                for pid in pids {
                    run(&mut session, &format!("select pg_terminate_backend({pid})")).await;
                    killed += 1;
                }
                let open: i64 = sqlx::query_scalar("select count(*) from tasker.tasks where state <> 'complete'")
                    .fetch_one(&mut session)
                    .await
                    .unwrap();
                if open == 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
        })
        .await;
        assert!(killed > 10, "only {killed} were killed");
        runs.are_one_each(16_000);
        let first: i64 =
            sqlx::query_scalar("select count(*) from tasker.workflow_steps where state = 'complete' and attempts = 1")
                .fetch_one(&mut session)
                .await
                .unwrap();
        assert_eq!(first, 16_000);
        for worker in workers {
            worker.stop().await;
        }
    });
}

#[test]
fn a_database_that_is_away_is_waited_for_at_the_start_and_later() {
    with_real_clock(async |db| {
        let road = Proxy::to(db.options());
        let tasker = Tasker::connect(&road.url()).await.unwrap();
        tasker.handle("test.it", nothing());
        road.close();
        let worker = Running::start(&tasker, Settings::default());
        let other = db.tasker().await;
        submit_diamonds(&other, 3).await;
        road.more_refusals(3).await;
        road.open();
        db.until("select count(*) = 3 from tasker.tasks where state = 'complete'").await;
        road.close();
        submit_diamonds(&other, 3).await;
        road.more_refusals(3).await;
        road.open();
        db.until("select count(*) = 6 from tasker.tasks where state = 'complete'").await;
        worker.stop().await;
    });
}

#[test]
fn a_task_that_somebody_has_locked_is_settled_later_and_the_others_meanwhile() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let (handler, mut stage) = Stage::new();
        tasker.handle("test.it", handler);
        tasker.handle("test.other", nothing());
        let workflow = tasker.register_definition(&sketch("a[handler=it attempts=1]")).await.unwrap();
        let worker = Running::start(&tasker, lease(Duration::from_secs(1)));
        // somebody else reaps, all the while
        let reaper = Running::start(&db.tasker().await, Settings::default());
        let submitted = tasker.submit_many(workflow, vec![(json!({}), Submission::default()); 8]).await.unwrap();
        let mut actors = Vec::new();
        for _ in 0..8 {
            actors.push(stage.enters().await);
        }
        let locked = submitted[3].task_id;
        let mut session = db.session().await;
        run(&mut session, &format!("begin; select from tasker.tasks where task_id = '{locked}' for update")).await;
        for actor in actors {
            actor.completes("1");
        }
        db.until("select count(*) = 7 from tasker.tasks where state = 'complete'").await;
        // new work is begun and ended, again and again, for longer than the lease
        let others = tasker.register_definition(&sketch("b[handler=other] > c[handler=other]")).await.unwrap();
        for _ in 0..5 {
            let task = tasker.submit_version(others, &json!({}), Submission::default()).await.unwrap().task_id;
            db.until_task(task, "complete").await;
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        assert_eq!(db.ends(locked).await, "a in_progress 1/1");
        run(&mut session, "commit").await;
        db.until_task(locked, "complete").await;
        worker.stop().await;
        reaper.stop().await;
    });
}

#[test]
fn a_wide_task_that_somebody_has_locked_costs_the_others_a_second_once() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let (handler, mut stage) = Stage::new();
        tasker.handle("test.it", handler);
        tasker.handle("test.other", nothing());
        let names: Vec<String> = (0..60).map(|n| format!("s{n}[handler=it attempts=1]")).collect();
        let wide = tasker.register_definition(&sketch(&names.join(", "))).await.unwrap();
        let worker = Running::start(&tasker, Settings::default());
        let wide = tasker.submit_version(wide, &json!({}), Submission::default()).await.unwrap().task_id;
        let mut actors = Vec::new();
        for _ in 0..60 {
            actors.push(stage.enters().await);
        }
        let mut session = db.session().await;
        run(&mut session, &format!("begin; select from tasker.tasks where task_id = '{wide}' for update")).await;
        let others = tasker.register_definition(&sketch("b[handler=other] > c[handler=other]")).await.unwrap();
        while !actors.is_empty() {
            // more and more of its steps end, and cannot be recorded
            actors.drain(..actors.len().min(15)).for_each(|actor| actor.completes("1"));
            let task = tasker.submit_version(others, &json!({}), Submission::default()).await.unwrap().task_id;
            db.until_task(task, "complete").await;
        }
        run(&mut session, "commit").await;
        db.until_task(wide, "complete").await;
        worker.stop().await;
    });
}

#[test]
fn a_migration_that_replaces_everything_disturbs_nobody() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let runs = Runs::default();
        runs.count_in(&tasker);
        let worker = Running::start(&tasker, Settings { concurrency: 20, ..Settings::default() });
        submit_diamonds(&db.tasker().await, 500).await;
        for _ in 0..3 {
            db.run("update tasker.schema_objects set content_hash = 'another'").await;
            assert!(db.migrate().await.unwrap().replaced);
        }
        db.until("select count(*) = 500 from tasker.tasks where state = 'complete'").await;
        runs.are_one_each(2000);
        worker.stop().await;
    });
}

#[test]
fn what_came_by_sql_without_a_word_starts_within_the_poll_interval() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        tasker.register_definition(&sketch("a[handler=it]")).await.unwrap();
        tasker.handle("test.it", nothing());
        let worker = Running::start(&tasker, Settings::default());
        let name = sketch("a[handler=it]").name;
        for _ in 0..3 {
            let task: Uuid = db.value(&format!("select tasker.submit_task('test', '{name}')")).await;
            db.until_task(task, "complete").await;
        }
        let longest: f64 =
            db.value("select max(extract(epoch from finished_at - created_at))::float8 from tasker.tasks").await;
        assert!(longest < 1.5, "{longest} s");
        worker.stop().await;
    });
}

/// A worker that looks by itself only when nobody waits any more.
fn deaf_for_long() -> Settings {
    Settings { poll_interval: Duration::from_secs(60), ..Settings::default() }
}

#[test]
fn a_word_wakes_workers_here_and_elsewhere_whose_listener_died_in_between() {
    with_real_clock(async |db| {
        let (here, elsewhere) = (db.tasker().await, db.tasker().await);
        let workflow = here.register_definition(&sketch("a[handler=it]")).await.unwrap();
        let other = here.register_definition(&sketch("b[handler=elsewhere]")).await.unwrap();
        here.handle("test.it", nothing());
        elsewhere.handle("test.elsewhere", nothing());
        let workers = [Running::start(&here, deaf_for_long()), Running::start(&elsewhere, deaf_for_long())];
        let listeners =
            "select count(*) = 2 from pg_stat_activity where datname = current_database() and query ilike 'listen%'";
        db.until(listeners).await;
        for _ in 0..2 {
            for workflow in [workflow, other] {
                let task = here.submit_version(workflow, &json!({}), Submission::default()).await.unwrap().task_id;
                db.until_task(task, "complete").await;
            }
            let task: Uuid = db
                .value(&format!("select tasker.submit_task('test', '{}')", sketch("b[handler=elsewhere]").name))
                .await;
            db.run("select tasker.wake()").await;
            db.until_task(task, "complete").await;
            db.run("select pg_terminate_backend(pid, 1000) from pg_stat_activity where datname = current_database() and query ilike 'listen%'").await;
            db.until(listeners).await;
        }
        for worker in workers {
            worker.stop().await;
        }
    });
}

#[test]
fn notifications_that_hang_delay_nothing_but_the_wake_up() {
    with_real_clock(async |db| {
        // as long as anybody waits
        db.run("create or replace function tasker.wake(sender text default '') returns void language sql as $$ select pg_sleep(3600) $$").await;
        let (here, elsewhere) = (db.tasker().await, db.tasker().await);
        let workflow =
            here.register_definition(&sketch("a[handler=it] > b[handler=elsewhere] > c[handler=it]")).await.unwrap();
        here.handle("test.it", nothing());
        elsewhere.handle("test.elsewhere", nothing());
        let workers = [Running::start(&here, Settings::default()), Running::start(&elsewhere, Settings::default())];
        for _ in 0..3 {
            let input = json!({});
            let submitted = here.submit_version(workflow, &input, Submission::default());
            let task = soon("a submission", submitted).await.unwrap().task_id;
            db.until_task(task, "complete").await;
        }
        let longest: f64 =
            db.value("select max(extract(epoch from finished_at - created_at))::float8 from tasker.tasks").await;
        assert!(longest < 3.5, "{longest} s for two hops of a second");
        for worker in workers {
            worker.shut_down();
            worker.stop().await;
        }
    });
}

#[test]
fn an_idle_worker_asks_once_a_second_whatever_waits() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let run_at = Some(chrono::Utc::now() + chrono::TimeDelta::hours(1));
        let register = async |graph: &str| tasker.register_definition(&sketch(graph)).await.unwrap();
        let submit = async |workflow: i32, submission: Submission| {
            tasker.submit_version(workflow, &json!({}), submission).await.unwrap().task_id
        };
        // a step for nobody, one for later, a paused one, and one whose limit another worker has used up
        submit(register("n[handler=nobody]").await, Submission::default()).await;
        let plain = register("p[handler=it]").await;
        submit(plain, Submission { run_at, ..Submission::default() }).await;
        let paused = submit(plain, Submission::default()).await;
        db.pause_task(paused, Default::default()).await.unwrap();
        let limited = register("l[handler=limited concurrency=1]").await;
        let holder = db.tasker().await;
        let (handler, mut stage) = Stage::new();
        holder.handle("test.limited", handler);
        let held = Running::start(&holder, Settings { concurrency: 1, ..Settings::default() });
        submit(limited, Submission::default()).await;
        let actor = stage.enters().await;
        submit(limited, Submission::default()).await;

        let road = Proxy::to(db.options());
        let idle = Tasker::connect(&road.url()).await.unwrap();
        for name in ["test.it", "test.limited", "test.something"] {
            idle.handle(name, nothing());
        }
        let worker = Running::start(&idle, Settings::default());
        road.more_exchanges(2).await;
        let before = road.requests();
        tokio::time::sleep(Duration::from_secs(4)).await;
        let asked = road.requests() - before;
        assert!((3..=5).contains(&asked), "{asked} requests in four seconds");
        held.shut_down();
        actor.completes("1");
        db.until("select count(*) = 2 from tasker.tasks where state = 'complete'").await;
        worker.stop().await;
        held.stop().await;
    });
}

#[test]
fn a_ready_step_that_somebody_has_locked_is_not_asked_for_all_the_time() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let workflow = tasker.register_definition(&sketch("a[handler=it]")).await.unwrap();
        tasker.submit_version(workflow, &json!({}), Submission::default()).await.unwrap();
        let mut session = db.session().await;
        let mut tx = session.begin().await.unwrap();
        sqlx::query("select from tasker.ready_steps for update").execute(&mut *tx).await.unwrap();
        let road = Proxy::to(db.options());
        let idle = Tasker::connect(&road.url()).await.unwrap();
        idle.handle("test.it", nothing());
        let worker = Running::start(&idle, Settings::default());
        road.more_exchanges(2).await;
        let before = road.requests();
        tokio::time::sleep(Duration::from_secs(4)).await;
        let asked = road.requests() - before;
        assert!(asked <= 14, "{asked} requests in four seconds");
        tx.rollback().await.unwrap();
        db.until("select count(*) = 1 from tasker.tasks where state = 'complete'").await;
        worker.stop().await;
    });
}

#[test]
fn a_worker_that_stops_while_the_database_is_away_comes_to_its_end() {
    with_real_clock(async |db| {
        let road = Proxy::to(db.options());
        let tasker = Tasker::connect(&road.url()).await.unwrap();
        let (handler, mut stage) = Stage::new();
        tasker.handle("test.it", handler);
        let worker = Running::start(&tasker, Settings { drain: Duration::from_millis(300), ..Settings::default() });
        submit_diamonds(&tasker, 1).await;
        let actor = stage.enters().await;
        road.close();
        actor.completes("1");
        worker.stop().await;
    });
}

#[test]
fn whoever_submits_after_the_server_was_restarted_notices_nothing() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let workflow = tasker.register_definition(&sketch("a[handler=it]")).await.unwrap();
        // several sessions, which then lie idle
        let submit = async || tasker.submit_version(workflow, &json!({}), Submission::default()).await;
        let (a, b, c, d) = tokio::join!(submit(), submit(), submit(), submit());
        assert!([a, b, c, d].iter().all(|submitted| submitted.is_ok()));
        let mut session = db.session().await;
        run(&mut session, "select pg_terminate_backend(pid, 1000) from pg_stat_activity where datname = current_database() and application_name = 'tasker'").await;
        // for longer than a session is trusted unasked
        tokio::time::sleep(Duration::from_millis(1100)).await;
        for _ in 0..4 {
            submit().await.unwrap();
        }
        assert_eq!(db.value::<i64>("select count(*) from tasker.tasks").await, 8);
    });
}
