//! Transfers between accounts that are made exactly once, although the process that makes them is killed again and again.
//!
//! `cargo run -p tasker --features embedded --example bank_transfer`; see the README beside this file.

use std::{
    error::Error,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tasker::{
    StepError, Submission, Tasker, WorkerOptions,
    handlers::Context,
    workflow::{Step, Workflow},
};
use tokio_util::sync::CancellationToken;

#[derive(Serialize, Deserialize)]
struct Transfer {
    number: i32,
    from: i32,
    to: i32,
    cents: i64,
}

const MOVE: Step<i32> = Step::named("move_money");
const TRANSFERS: i32 = 120;
const ACCOUNTS: i32 = 5;
const KILLS: usize = 8;

/// Moves the money, and completes the step, in one transaction.
async fn move_money(cx: Context<Transfer, PgPool>) -> Result<i32, StepError> {
    let Transfer { number, from, to, cents } = cx.input;
    let mut transaction = cx.state.begin().await?;
    for (account, change) in [(from, -cents), (to, cents)] {
        sqlx::query("update bank.accounts set balance = balance + $2 where id = $1")
            .bind(account)
            .bind(change)
            .execute(&mut *transaction)
            .await?;
    }
    sqlx::query("insert into bank.statements values ($1)").bind(number).execute(&mut *transaction).await?;
    let moved = cx.commit(transaction, number).await;
    // whoever is killed here has moved the money, and nobody moves it again
    tokio::time::sleep(Duration::from_millis(5)).await;
    moved
}

/// The bank's only workflow.
fn transfers(pool: PgPool) -> Workflow<Transfer, PgPool> {
    Workflow::<Transfer>::new("bank", "transfer", "1.0.0").state(pool).step(MOVE, move_money).max_attempts(1000)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1) {
        Some(folder) => work(Path::new(&folder)).await,
        None => supervise().await,
    }
}

/// Makes transfers until all are made.
async fn work(folder: &Path) -> Result<(), Box<dyn Error>> {
    let tasker = open(folder).await?;
    tasker.register(&transfers(tasker.store().pool().clone())).await?;
    let stop = CancellationToken::new();
    // what a killed process ran is run again when its lease has expired
    let options = WorkerOptions { lease: Duration::from_secs(1), concurrency: 3, ..WorkerOptions::default() };
    let worker = tokio::spawn(tasker.worker(options).run(stop.clone()));
    println!("working");
    while count(&tasker, "tasker.tasks where state <> 'complete'").await? > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop.cancel();
    worker.await??;
    tasker.close().await;
    Ok(())
}

/// Submits the transfers, kills whoever makes them, and counts the money.
async fn supervise() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let tasker = open(folder.path()).await?;
    tasker.migrate().await?;
    let setup = format!(
        "drop schema if exists bank cascade; create schema bank;
         create table bank.accounts (id int primary key, balance bigint not null);
         insert into bank.accounts select n, 100000 from generate_series(0, {}) n;
         create table bank.statements (number int not null)",
        ACCOUNTS - 1
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(setup)).execute(tasker.store().pool()).await?;
    let workflow = tasker.register(&transfers(tasker.store().pool().clone())).await?;
    let inputs = (0..TRANSFERS).map(|number| {
        let (from, to) = (number % ACCOUNTS, (number + 1 + number / 7) % ACCOUNTS);
        (serde_json::json!({ "number": number, "from": from, "to": to, "cents": 100 + number }), Submission::default())
    });
    tasker.submit_many(workflow, inputs.collect()).await?;
    tasker.close().await;

    let mut kills = 0;
    loop {
        let mut worker = start(folder.path())?;
        if kills == KILLS {
            let ended = worker.wait()?;
            assert!(ended.success(), "the last worker ended with {ended}");
            break;
        }
        tokio::time::sleep(Duration::from_millis(60 + 17 * kills as u64)).await;
        worker.kill()?;
        worker.wait()?;
        kills += 1;
    }

    let tasker = open(folder.path()).await?;
    let money: i64 =
        sqlx::query_scalar("select sum(balance)::bigint from bank.accounts").fetch_one(tasker.store().pool()).await?;
    let (statements, transfers) = (
        count(&tasker, "bank.statements").await?,
        count(&tasker, "(select distinct number from bank.statements) s").await?,
    );
    tasker.close().await;
    println!(
        "{transfers} transfers made, {statements} statements written, {money} cents in the bank after {kills} kills"
    );
    assert_eq!((transfers, statements, money), (TRANSFERS.into(), TRANSFERS.into(), 100_000 * i64::from(ACCOUNTS)));
    Ok(())
}

/// This program again, as a worker; it has begun to work.
fn start(folder: &Path) -> Result<Child, Box<dyn Error>> {
    let program: PathBuf = std::env::current_exe()?;
    let mut worker = Command::new(program).arg(folder).stdout(Stdio::piped()).spawn()?;
    if let Some(output) = worker.stdout.take() {
        BufReader::new(output).read_line(&mut String::new())?;
    }
    Ok(worker)
}

async fn count(tasker: &Tasker, what: &str) -> Result<i64, sqlx::Error> {
    let sql = sqlx::AssertSqlSafe(format!("select count(*) from {what}"));
    sqlx::query_scalar(sql).fetch_one(tasker.store().pool()).await
}

#[cfg(feature = "embedded")]
async fn open(folder: &Path) -> Result<Tasker, tasker::Error> {
    match std::env::var("DATABASE_URL") {
        Ok(url) => Tasker::connect(&url).await,
        Err(_) => Tasker::embedded(folder).await,
    }
}

#[cfg(not(feature = "embedded"))]
async fn open(_: &Path) -> Result<Tasker, tasker::Error> {
    Tasker::connect(&std::env::var("DATABASE_URL").unwrap_or_default()).await
}
