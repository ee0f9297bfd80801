//! An order and the task that fulfils it, in one transaction of the application's: both are there, or neither.
//!
//! `cargo run -p tasker --features embedded --example submit_in_transaction` runs on the embedded database in a temporary
//! folder; `DATABASE_URL` names a PostgreSQL server instead.

use std::error::Error;

use serde::{Deserialize, Serialize};
use sqlx::{Connection, PgConnection};
use tasker::{
    Settings, StepError, Submission, Tasker,
    handlers::Context,
    workflow::{Step, Workflow},
};
use tokio_util::sync::CancellationToken;

#[derive(Serialize, Deserialize)]
struct Order {
    id: i64,
    item: String,
}

#[derive(Serialize, Deserialize)]
struct Receipt {
    amount: u32,
}

const CHARGE: Step<Receipt> = Step::named("charge");
const SHIP: Step<String> = Step::named("ship");

async fn charge(cx: Context<Order>) -> Result<Receipt, StepError> {
    println!("  charging for {}", cx.input.item);
    Ok(Receipt { amount: 42 })
}

async fn ship(cx: Context<Order>) -> Result<String, StepError> {
    let receipt = cx.result(CHARGE)?;
    println!("  shipping {} ({} paid)", cx.input.item, receipt.amount);
    Ok(format!("parcel of order {}", cx.input.id))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let tasker = match std::env::var("DATABASE_URL") {
        Ok(url) => Tasker::connect(&url).await?,
        Err(_) => open_embedded(folder.path()).await?,
    };
    tasker.migrate().await?;
    let fulfil =
        Workflow::<Order>::new("shop", "fulfil_order", "1.0.0").step(CHARGE, charge).step(SHIP, ship).after(CHARGE);
    tasker.register(&fulfil).await?;
    let mut connection = tasker.store().pool().acquire().await?;
    sqlx::raw_sql(
        "create schema if not exists shop; create table if not exists shop.orders (id bigint generated always as identity primary key, item text not null)",
    )
    .execute(&mut *connection)
    .await?;

    println!("an order that is rolled back:");
    let mut transaction = connection.begin().await?;
    let (id, task) = place(&tasker, &mut transaction, "teapot").await?;
    println!("  order {id}, task {task}");
    transaction.rollback().await?;
    println!(
        "  left behind: {} orders, {} tasks",
        count(&mut connection, "shop.orders").await?,
        count(&mut connection, "tasker.tasks").await?
    );

    println!("an order that is committed:");
    let mut transaction = connection.begin().await?;
    let (id, task) = place(&tasker, &mut transaction, "kettle").await?;
    println!("  order {id}, task {task}");
    transaction.commit().await?;
    drop(connection);

    tasker.drive(task, Settings::default(), None, CancellationToken::new()).await?;
    let mut connection = tasker.store().pool().acquire().await?;
    let state: String =
        sqlx::query_scalar("select status::text from tasker.task_execution_contexts where task_id = $1")
            .bind(task)
            .fetch_one(&mut *connection)
            .await?;
    println!("  the task is {state}");
    Ok(())
}

/// Writes an order and submits its task, both in the caller's transaction.
async fn place(
    tasker: &Tasker,
    transaction: &mut PgConnection,
    item: &str,
) -> Result<(i64, uuid::Uuid), Box<dyn Error>> {
    let id = sqlx::query_scalar("insert into shop.orders (item) values ($1) returning id")
        .bind(item)
        .fetch_one(&mut *transaction)
        .await?;
    let submission = Submission { idempotency_key: Some(format!("order {id}")), ..Submission::default() };
    let order = Order { id, item: item.into() };
    let submitted = tasker.submit_in(transaction, "shop", "fulfil_order", &order, submission).await?;
    Ok((id, submitted.task_id))
}

async fn count(connection: &mut PgConnection, table: &'static str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select count(*) from {table}"))).fetch_one(connection).await
}

#[cfg(feature = "embedded")]
async fn open_embedded(folder: &std::path::Path) -> Result<Tasker, tasker::Error> {
    Tasker::embedded(folder).await
}

#[cfg(not(feature = "embedded"))]
async fn open_embedded(_: &std::path::Path) -> Result<Tasker, tasker::Error> {
    Err(tasker::Error::Embedded("set DATABASE_URL, or build with --features embedded".into()))
}
