//! What an async function can do besides giving its result: skip, wait, use the application's state, and settle in a transaction
//! of its own.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use tasker::{
    Settings, StepError, Submission, Tasker,
    handlers::{Context, function_with},
    sqlx::{self, PgPool},
    template::Secrets,
    workflow::{Definition, Step, Workflow},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{Chance, Process, Running, TestDatabase, lease, soon, with_real_clock};

const FIRST: Step<Option<String>> = Step::named("first");
const SECOND: Step<String> = Step::named("second");

async fn drive(tasker: &Tasker, task: Uuid) {
    tasker.drive(task, Settings::default(), None, CancellationToken::new()).await.unwrap();
}

#[test]
fn to_skip_and_to_wait_are_handed_up_like_errors_and_are_none() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let first = async |cx: Context<Value>| -> Result<Option<String>, StepError> {
            if cx.timer.is_none() {
                return Err(match cx.input["how"].as_str() {
                    Some("until") => StepError::wait_until(Utc::now() + TimeDelta::milliseconds(30)),
                    _ => StepError::wait_for(Duration::from_millis(30)),
                });
            }
            Err(StepError::skip(&None::<String>))
        };
        let second = async |cx: Context<Value>| Ok(format!("after {:?}", cx.result(FIRST)?));
        let workflow =
            Workflow::<Value>::new("test", "waits", "1.0.0").step(FIRST, first).step(SECOND, second).after(FIRST);
        let workflow = tasker.register(&workflow).await.unwrap();
        for how in ["until", "for"] {
            let task =
                tasker.submit_version(workflow, &json!({ "how": how }), Submission::default()).await.unwrap().task_id;
            drive(&tasker, task).await;
            assert_eq!(db.ends(task).await, "first skipped 1/3\nsecond complete 1/3", "{how}");
            let results: Vec<String> = db.column("select result::text from tasker.step_results order by 1").await;
            assert!(results.contains(&"\"after None\"".to_string()), "{results:?}");
        }
    });
}

#[test]
fn every_attempt_gets_the_applications_state() {
    #[derive(Clone)]
    struct App {
        greeting: &'static str,
    }
    async fn greet(cx: Context<Value, App>) -> Result<String, StepError> {
        Ok(format!("{}, {}", cx.state.greeting, cx.input["name"].as_str().unwrap_or_default()))
    }
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let workflow =
            Workflow::<Value>::new("test", "greets", "1.0.0").state(App { greeting: "Hello" }).step(SECOND, greet);
        tasker.register(&workflow).await.unwrap();
        let task = tasker.submit("test", "greets", &json!({ "name": "Ann" }), Submission::default()).await.unwrap();
        drive(&tasker, task.task_id).await;
        assert_eq!(db.value::<String>("select result::text from tasker.step_results").await, "\"Hello, Ann\"");
    });
}

const PAY: Step<i64> = Step::named("pay");
const TELL: Step<()> = Step::named("tell");

/// Moves money, in one transaction with the step's end.
async fn pay(cx: Context<Value, PgPool>) -> Result<i64, StepError> {
    let number = cx.input["number"].as_i64().unwrap_or_default();
    let mut transaction = cx.state.begin().await?;
    sqlx::query("update shop.accounts set balance = balance + case name when 'ann' then -1 else 1 end")
        .execute(&mut *transaction)
        .await?;
    sqlx::query("insert into shop.payments values ($1, $2)")
        .bind(number)
        .bind(cx.number as i32)
        .execute(&mut *transaction)
        .await?;
    if cx.input["hangs"] == json!(true) && cx.number == 1 {
        // longer than its lease
        cx.cancellation.cancelled().await;
    }
    let paid = cx.commit(transaction, number).await;
    // to be killed here is what it is about
    tokio::time::sleep(Duration::from_millis(10)).await;
    paid
}

async fn open_the_bank(db: &TestDatabase, tasker: &Tasker) -> i32 {
    db.run(
        "create schema shop; create table shop.accounts (name text primary key, balance int not null);
         insert into shop.accounts values ('ann', 1000), ('bob', 0);
         create table shop.payments (number int not null, attempt int not null)",
    )
    .await;
    let tell = async |_: Context<Value, PgPool>| Ok(());
    let workflow = Workflow::<Value>::new("test", "pays", "1.0.0")
        .state(db.pool().clone())
        .step(PAY, pay)
        .max_attempts(100)
        .backoff(Duration::from_millis(1), Duration::from_millis(50))
        .step(TELL, tell)
        .after(PAY);
    tasker.register(&workflow).await.unwrap()
}

async fn balances(db: &TestDatabase) -> Vec<i32> {
    db.column("select balance from shop.accounts order by name").await
}

#[test]
fn a_step_that_commits_its_own_transaction_is_complete_and_its_children_run() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let workflow = open_the_bank(db, &tasker).await;
        let worker = Running::start(&tasker, Settings::default());
        for number in 0..3 {
            let input = json!({ "number": number });
            let task = tasker.submit_version(workflow, &input, Submission::default()).await.unwrap().task_id;
            db.until_task(task, "complete").await;
            assert_eq!(db.ends(task).await, "pay complete 1/100\ntell complete 1/3");
        }
        assert_eq!(balances(db).await, [997, 3]);
        let together: bool = db
            .value("select bool_and(h.xid::xid = p.xmin) from tasker.workflow_step_transitions h join shop.payments p on true
                    where h.verb = 'settle' and h.step_number = 0 and (select r.result::text from tasker.step_results r
                      where r.task_id = h.task_id and r.step_number = 0) = p.number::text")
            .await;
        assert!(together, "the payment and the step's end are of one transaction");
        worker.stop().await;
    });
}

#[test]
fn what_is_committed_by_hand_repeats_no_secret() {
    async fn tell(cx: Context<Value, PgPool>) -> Result<String, StepError> {
        let transaction = cx.state.begin().await?;
        let key = cx.with["key"].as_str().unwrap_or_default().to_string();
        assert!(!format!("{:?}", cx.secrets).contains(&key));
        cx.commit(transaction, format!("the key is {key}")).await
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("API_KEY"), "k3y-value\n").unwrap();
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        tasker.handle("test.tell", function_with(db.pool().clone(), tell));
        let file = r#"{name: tells, namespace: test, version: 1.0.0, steps: [
            {name: tell, handler: test.tell, with: {key: "{{ secrets.API_KEY }}"}}]}"#;
        let definition = Definition::from_yaml("tells.yaml", file.as_bytes(), None, &["test.tell"]).unwrap();
        let workflow = tasker.register_definition(&definition).await.unwrap();
        let task = tasker.submit_version(workflow, &json!({}), Submission::default()).await.unwrap().task_id;
        let settings = Settings { secrets: Secrets::in_folder(folder.path()), ..Settings::default() };
        tasker.drive(task, settings, None, CancellationToken::new()).await.unwrap();
        let result = tasker.result(task, Step::<String>::named("tell")).await.unwrap();
        assert_eq!(result.as_deref(), Some("the key is [secret]"));
    });
}

#[test]
fn an_attempt_that_has_lost_its_lease_commits_nothing() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let workflow = open_the_bank(db, &tasker).await;
        let worker = Running::start(&tasker, lease(Duration::from_secs(6)));
        let input = json!({ "number": 1, "hangs": true });
        let task = tasker.submit_version(workflow, &input, Submission::default()).await.unwrap().task_id;
        db.until("select count(*) = 1 from tasker.leases").await;
        // taken away: its worker hears of it, and the handler goes on to its commit all the same
        db.run("update tasker.leases set lease_expires_at = now() - interval '1 s'").await;
        db.until_task(task, "complete").await;
        assert_eq!(balances(db).await, [999, 1]);
        assert_eq!(db.column::<i32>("select attempt from shop.payments").await, [2]);
        worker.stop().await;
    });
}

#[test]
fn money_is_moved_exactly_once_whoever_is_killed() {
    with_real_clock(async |db| {
        let tasker = db.tasker().await;
        let workflow = open_the_bank(db, &tasker).await;
        const PAYMENTS: i64 = 150;
        let inputs = (0..PAYMENTS).map(|number| (json!({ "number": number }), Submission::default())).collect();
        tasker.submit_many(workflow, inputs).await.unwrap();
        let mut chance = Chance(7);
        let mut kills = 0;
        soon("all payments", async {
            while db.value::<i64>("select count(*) from tasker.tasks where state <> 'complete'").await > 0 {
                // every process has connections of its own, which die with it
                let pool = db.another_store().await.pool().clone();
                let tell = async |_: Context<Value>| Ok(());
                let handlers = vec![
                    ("test.pays.pay".to_string(), function_with(pool, pay)),
                    ("test.pays.tell".to_string(), tasker::handlers::function(tell)),
                ];
                let settings = Settings { concurrency: 4, ..lease(Duration::from_secs(1)) };
                let process = Process::start(&db.url(), settings, handlers).await;
                // longer and longer, for a machine on which connecting alone takes so long
                tokio::time::sleep(Duration::from_millis((50 + chance.of(150) as u64) * (1 + kills / 20))).await;
                process.kill();
                kills += 1;
            }
        })
        .await;
        assert!(kills > 3, "{kills} kills");
        assert_eq!(balances(db).await, [1000 - PAYMENTS as i32, PAYMENTS as i32]);
        let payments: i64 = db.value("select count(distinct number) from shop.payments").await;
        assert_eq!((payments, db.value::<i64>("select count(*) from shop.payments").await), (PAYMENTS, PAYMENTS));
    });
}
