//! The test kit, used as an application would.

use std::{panic::AssertUnwindSafe, time::Duration};

use chrono::TimeDelta;
use serde_json::{Value, json};
use tasker::{
    Outcome, StepError, Submission,
    handlers::Context,
    testing::TestDatabase,
    workflow::{Step, Workflow},
};
use uuid::Uuid;

use crate::support::soon;

const CHARGE: Step<u32> = Step::named("charge");
const SHIP: Step<String> = Step::named("ship");
const DAY: Duration = Duration::from_secs(86_400);

fn fulfil() -> Workflow {
    let charge = async |_: Context<Value>| Ok(42);
    let ship = async |cx: Context<Value>| Ok(format!("{} paid", cx.result(CHARGE)?));
    Workflow::<Value>::new("shop", "fulfil_order", "1.0.0").step(CHARGE, charge).step(SHIP, ship).after(CHARGE)
}

async fn submit(db: &TestDatabase, submission: Submission) -> Uuid {
    db.tasker().submit("shop", "fulfil_order", &json!({}), submission).await.unwrap().task_id
}

fn run(test: impl AsyncFnOnce(TestDatabase)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(soon("a test with the kit", async { test(TestDatabase::new().await.unwrap()).await }));
}

#[test]
fn retries_are_played_and_no_time_is_spent() {
    run(async |db| {
        db.tasker().register(&fulfil()).await.unwrap();
        let charge = db.fake("shop.fulfil_order.charge", |attempt| match attempt.number {
            1 | 2 => Err(StepError::retry_after(Duration::from_secs(3600), "the bank is closed")),
            _ => Outcome::complete(&7),
        });
        let began = db.now().await.unwrap();
        let task = submit(&db, Submission::default()).await;
        db.assert_steps(task, "charge pending 0/3\nship pending 0/3 dependencies_not_satisfied").await.unwrap();
        db.run_until_idle().await.unwrap();
        let waiting = "
            charge failed 1/3 waiting_for_retry
            ship pending 0/3 dependencies_not_satisfied
        ";
        db.assert_steps(task, waiting).await.unwrap();
        let picture = db.picture(task).await.unwrap();
        assert!(
            picture.contains("charge failed 1/3 waiting_for_retry, due in 1h, handler_error: the bank is closed"),
            "{picture}"
        );

        db.advance(Duration::from_secs(3599)).await.unwrap();
        db.run_until_idle().await.unwrap();
        db.assert_steps(task, waiting).await.unwrap();
        db.pass(DAY).await.unwrap();
        db.assert_steps(task, "charge complete 3/3\nship complete 1/3").await.unwrap();
        assert_eq!(db.now().await.unwrap(), began + TimeDelta::seconds(3599 + 86_400));
        assert_eq!(charge.attempts().iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2, 3]);
        db.close().await.unwrap();
    });
}

#[test]
fn deadlines_and_starts_happen_at_their_instants() {
    run(async |db| {
        db.tasker().register(&fulfil()).await.unwrap();
        let now = db.now().await.unwrap();
        let late = submit(&db, Submission { run_at: Some(now + TimeDelta::days(3)), ..Submission::default() }).await;
        let deadline = Some(now + TimeDelta::days(2));
        db.fake("shop.fulfil_order.ship", |_| Err(StepError::retry_after(DAY, "no van today")));
        let dead = submit(&db, Submission { deadline, ..Submission::default() }).await;
        db.pass(2 * DAY).await.unwrap();
        db.assert_steps(late, "charge pending 0/3 scheduled_for_later\nship pending 0/3 dependencies_not_satisfied")
            .await
            .unwrap();
        db.pass(Duration::from_secs(1)).await.unwrap();
        let picture = db.picture(dead).await.unwrap();
        assert!(picture.contains("ship failed") && picture.contains("deadline_passed"), "{picture}");
        db.pass(3 * DAY).await.unwrap();
        let picture = db.picture(late).await.unwrap();
        assert!(picture.contains("charge complete 1/3"), "{picture}");
        db.close().await.unwrap();
    });
}

#[test]
fn a_year_of_days_passes_one_by_one() {
    run(async |db| {
        let daily = Workflow::<Value>::new("shop", "fulfil_order", "1.0.0")
            .step(CHARGE, async |_: Context<Value>| Ok(1))
            .max_attempts(1);
        db.tasker().register(&daily).await.unwrap();
        let count = db.fake("shop.fulfil_order.charge", |attempt| match attempt.timer {
            Some(at) if (at.timestamp() / 86_400) % 365 == 0 => Outcome::complete(&1),
            _ => Ok(Outcome::WaitFor(DAY)),
        });
        db.set_clock("2030-01-01T00:00:00Z".parse().unwrap()).await.unwrap();
        let task = submit(&db, Submission::default()).await;
        db.pass(366 * DAY).await.unwrap();
        db.assert_steps(task, "charge complete 1/1").await.unwrap();
        let asked = count.attempts().len();
        assert!((2..=366).contains(&asked), "{asked} times");
        db.close().await.unwrap();
    });
}

#[test]
fn what_differs_is_shown_and_a_failed_test_leaves_nothing_behind() {
    let name = std::sync::Mutex::new(String::new());
    let failed = std::panic::catch_unwind(AssertUnwindSafe(|| {
        run(async |db| {
            db.tasker().register(&fulfil()).await.unwrap();
            let database: String = tasker::sqlx::query_scalar("select current_database()")
                .fetch_one(db.tasker().store().pool())
                .await
                .unwrap();
            *name.lock().unwrap() = database;
            let task = submit(&db, Submission::default()).await;
            db.assert_steps(task, "charge complete 1/3").await.unwrap();
        })
    }));
    let message = *failed.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("kit.rs:") && message.contains("expected:\n    charge complete 1/3\n"), "{message}");
    assert!(
        message.contains("found:\n    charge pending 0/3\n    ship pending 0/3 dependencies_not_satisfied\n    at "),
        "{message}"
    );
    let name = name.lock().unwrap().clone();
    run(async |db| {
        let left: bool = tasker::sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(&name)
            .fetch_one(db.tasker().store().pool())
            .await
            .unwrap();
        assert!(!left && name.starts_with("tasker_test_"), "{name}");
    });
}
