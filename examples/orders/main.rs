//! Orders that are paid through a service which fails now and then: every order is charged exactly once.
//!
//! `cargo run -p tasker --features embedded --example orders`; see the README beside this file.

#[path = "../database.rs"]
mod database;
mod payments;

use std::{error::Error, time::Duration};

use serde::{Deserialize, Serialize};
use tasker::{
    StepError, Submission, Tasker, WorkerOptions,
    handlers::Context,
    workflow::{Step, Workflow},
};
use tokio_util::sync::CancellationToken;

use self::payments::{Payments, Reply};

#[derive(Serialize, Deserialize)]
struct Order {
    id: u32,
    item: String,
    cents: u32,
}

#[derive(Serialize, Deserialize)]
struct Hold {
    shelf: u32,
}

#[derive(Serialize, Deserialize)]
struct Receipt {
    number: u32,
}

/// What the functions need of the application.
#[derive(Clone)]
struct Shop {
    payments: Payments,
}

const RESERVE: Step<Hold> = Step::named("reserve");
const CHARGE: Step<Receipt> = Step::named("charge");
const SHIP: Step<String> = Step::named("ship");

async fn reserve(cx: Context<Order, Shop>) -> Result<Hold, StepError> {
    Ok(Hold { shelf: cx.input.id % 7 })
}

async fn charge(cx: Context<Order, Shop>) -> Result<Receipt, StepError> {
    // the same key in every attempt: an answer that was lost is given again, and nobody pays twice
    let reply = cx.state.payments.charge(&cx.idempotency_key(), cx.input.cents).await?;
    match reply {
        Reply::Paid(number) => Ok(Receipt { number }),
        Reply::Busy(delay) => Err(StepError::retry_after(delay, "the payment service is busy")),
        Reply::Declined => Err(StepError::fatal(format!("{} cents were declined", cx.input.cents))),
    }
}

async fn ship(cx: Context<Order, Shop>) -> Result<String, StepError> {
    let (hold, receipt) = (cx.result(RESERVE)?, cx.result(CHARGE)?);
    Ok(format!("{} from shelf {}, receipt {}", cx.input.item, hold.shelf, receipt.number))
}

/// What came of the orders.
#[derive(Debug, Default)]
pub struct Report {
    /// Shipped.
    pub complete: usize,
    /// Declined.
    pub failed: usize,
    /// Requests to the payment service, repetitions included.
    pub requests: usize,
    /// Payments that it made.
    pub payments: usize,
}

/// Submits so many orders, one in ten of which is declined, and works until nothing is left to do.
pub async fn run(tasker: &Tasker, orders: u32) -> Result<Report, Box<dyn Error>> {
    let payments = Payments::default();
    let fulfil = Workflow::<Order>::new("shop", "fulfil_order", "1.0.0")
        .state(Shop { payments: payments.clone() })
        .step(RESERVE, reserve)
        .step(CHARGE, charge)
        .max_attempts(20)
        .backoff(Duration::from_millis(20), Duration::from_secs(1))
        .step(SHIP, ship)
        .after(RESERVE)
        .after(CHARGE);
    tasker.register(&fulfil).await?;

    let stop = CancellationToken::new();
    let worker = tokio::spawn(tasker.worker(WorkerOptions::default()).run(stop.clone()));
    let mut tasks = Vec::new();
    for id in 1..=orders {
        let order = Order { id, item: "teapot".into(), cents: if id % 10 == 0 { 1_000_000 } else { 2_500 } };
        // an order that is sent twice is one task
        let submission = Submission { idempotency_key: Some(format!("order {id}")), ..Submission::default() };
        tasks.push(tasker.submit("shop", "fulfil_order", &order, submission).await?.task_id);
    }
    let mut report = Report::default();
    for task in tasks {
        match database::end_of(tasker, task).await?.as_str() {
            "complete" => report.complete += 1,
            _ => report.failed += 1,
        }
    }
    stop.cancel();
    worker.await??;
    (report.requests, report.payments) = payments.counts();
    Ok(report)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let database = database::open().await?;
    let report = run(&database.tasker, 30).await?;
    println!("{} orders shipped, {} declined", report.complete, report.failed);
    println!("{} requests to the payment service made {} payments", report.requests, report.payments);
    database.close().await;
    Ok(())
}
