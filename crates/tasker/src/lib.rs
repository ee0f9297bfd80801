//! Tasker runs workflows that are directed acyclic graphs of steps, keeps every fact in PostgreSQL, and
//! answers from the database, at any moment and exactly: which steps may run now, and why not the others?
//!
//! # On one page
//!
//! A workflow is named steps and ordinary async functions. A step's name is a constant with the type of its result, which the function
//! that runs it and the functions that use its result share:
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use tasker::{StepError, handlers::Context, workflow::{Step, Workflow}};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Order { id: u64, item: String }
//! #[derive(Serialize, Deserialize)]
//! struct Receipt { cents: u64 }
//!
//! /// Whatever the functions need of the application; each attempt gets a clone.
//! #[derive(Clone)]
//! struct Shop { currency: &'static str }
//!
//! const CHARGE: Step<Receipt> = Step::named("charge");
//! const SHIP: Step<String> = Step::named("ship");
//!
//! async fn charge(cx: Context<Order, Shop>) -> Result<Receipt, StepError> {
//!     if cx.input.item.is_empty() {
//!         return Err(StepError::fatal("the order has no item")); // no retry will mend it
//!     }
//!     // any other error (`?`) is tried again, later and later; what is sent outside carries `cx.idempotency_key()`
//!     let cents: u64 = "4200".parse()?;
//!     Ok(Receipt { cents })
//! }
//!
//! async fn ship(cx: Context<Order, Shop>) -> Result<String, StepError> {
//!     let receipt = cx.result(CHARGE)?; // a `Receipt`
//!     Ok(format!("order {}: {} {} paid", cx.input.id, receipt.cents, cx.state.currency))
//! }
//!
//! # fn workflow() -> Workflow<Order, Shop> {
//! Workflow::<Order>::new("shop", "fulfil_order", "1.0.0")
//!     .state(Shop { currency: "EUR" })
//!     .step(CHARGE, charge).max_attempts(5)
//!     .step(SHIP, ship).after(CHARGE)
//! # }
//! # workflow().definition().unwrap();
//! ```
//!
//! A function answers with its result, or with an error: [`StepError::fatal`] and [`StepError::retry_after`] say more than `?` does,
//! and [`StepError::skip`], [`StepError::wait_until`] and [`StepError::wait_for`] are none. It may run more than once
//! (a process can die after the effect and before its record); [`Context::commit`](handlers::Context::commit) makes effects in the
//! same database happen exactly once. Leases are renewed by themselves; `cx.cancellation` tells a function to stop.
//!
//! [`Tasker`] is the door to a database: register, submit (in the application's own transaction, too), work.
//!
//! ```no_run
//! # use tasker::{Error, Submission, Tasker, WorkerOptions, workflow::Workflow};
//! # use tokio_util::sync::CancellationToken;
//! # const SHIP: tasker::workflow::Step<String> = tasker::workflow::Step::named("ship");
//! # async fn run(fulfil_order: Workflow, order: serde_json::Value, stop: CancellationToken) -> Result<(), Error> {
//! let tasker = Tasker::connect("postgres://localhost/shop").await?;
//! tasker.migrate().await?;
//! tasker.register(&fulfil_order).await?;
//! let worker = tasker.worker(WorkerOptions::default()); // until `stop` is cancelled; as many as you like, anywhere
//! tokio::spawn(worker.run(stop));
//!
//! let task = tasker.submit_workflow(&fulfil_order, &order, Submission::default()).await?.task_id;
//! tasker.wait(task).await?; // who needs to know; it is done either way
//! let parcel: Option<String> = tasker.result(task, SHIP).await?;
//!
//! let key = Submission { idempotency_key: Some("order 7".into()), ..Submission::default() };
//! let mut transaction = tasker.store().pool().begin().await?;
//! tasker.submit_in(&mut transaction, "shop", "fulfil_order", &order, key).await?;
//! transaction.commit().await?; // with whatever else was written in it
//! # Ok(())
//! # }
//! ```
//!
//! What the database says of steps and tasks is in [`readiness`] and [`context`], the models of its views:
//!
//! ```no_run
//! # use tasker::{Error, Tasker, context::TaskExecutionContext, readiness::StepReadinessStatus};
//! # async fn look(tasker: &Tasker, task: uuid::Uuid) -> Result<(), Error> {
//! for step in StepReadinessStatus::for_task(task).all(tasker.store()).await? {
//!     println!("{}: {:?}", step.name, step.blocking_reason); // `None`: it may run now
//! }
//! if let Some(context) = TaskExecutionContext::find(tasker.store(), task).await? {
//!     println!("{}: {}", context.execution_status, context.recommended_action);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What does not compile
//!
//! A misspelt step:
//!
//! ```compile_fail,E0425
//! # use tasker::{StepError, handlers::Context, workflow::Step};
//! const CHARGE: Step<u64> = Step::named("charge");
//! async fn ship(cx: Context<()>) -> Result<u64, StepError> {
//!     cx.result(CHARGED)
//! }
//! ```
//!
//! A result of another type than the step has:
//!
//! ```compile_fail,E0308
//! # use tasker::{StepError, handlers::Context, workflow::Step};
//! const CHARGE: Step<u64> = Step::named("charge");
//! async fn ship(cx: Context<()>) -> Result<String, StepError> {
//!     let receipt: String = cx.result(CHARGE)?;
//!     Ok(receipt)
//! }
//! ```
//!
//! A function for a step whose result it does not give, or with another input or state than the workflow's:
//!
//! ```compile_fail,E0271
//! # use tasker::{StepError, handlers::Context, workflow::{Step, Workflow}};
//! const CHARGE: Step<u64> = Step::named("charge");
//! async fn charge(cx: Context<()>) -> Result<String, StepError> {
//!     Ok("4200".into())
//! }
//! Workflow::<()>::new("shop", "fulfil_order", "1.0.0").step(CHARGE, charge);
//! ```
//!
//! ```compile_fail,E0631
//! # use tasker::{StepError, handlers::Context, workflow::{Step, Workflow}};
//! # const CHARGE: Step<u64> = Step::named("charge");
//! async fn charge(cx: Context<(), String>) -> Result<u64, StepError> {
//!     Ok(4200)
//! }
//! Workflow::<()>::new("shop", "fulfil_order", "1.0.0").step(CHARGE, charge);
//! ```

#![warn(clippy::missing_errors_doc)]

pub mod access;
pub mod context;
pub mod duration;
#[cfg(feature = "embedded")]
mod embedded;
mod engine;
mod error;
pub mod events;
pub mod handlers;
mod hash;
pub mod json;
pub mod place;
pub mod readiness;
pub mod retry;
pub mod store;
mod suggest;
mod tasker;
pub mod template;
pub mod testing;
pub mod workflow;

pub use engine::{Driven, Event, Observer, Settings, Worker, WorkerOptions};
pub use error::Error;
pub use handlers::{Attempt, Handler, Outcome, StepError};
pub use sqlx;
pub use store::{Submission, Submitted};
pub use tasker::Tasker;
use uuid::Uuid;

/// The names of namespaces, workflows and steps match `^[a-z][a-z0-9_]{0,62}$`.
pub fn is_name(name: &str) -> bool {
    let rest_ok = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
    name.len() <= 63 && name.bytes().next().is_some_and(|c| c.is_ascii_lowercase()) && name.bytes().all(rest_ok)
}

/// The id of a task's step: its task's, with the step's number + 1 in the last 24 bits.
pub fn step_id(task_id: Uuid, step_number: i32) -> Uuid {
    Uuid::from_u128((task_id.as_u128() & !0xff_ffff) | (step_number as u128 + 1) & 0xff_ffff)
}

/// The number of the step that a step's id names.
pub fn step_number_of(workflow_step_id: Uuid) -> i32 {
    (workflow_step_id.as_u128() & 0xff_ffff) as i32 - 1
}

/// The task that a step's id names.
pub fn task_of(workflow_step_id: Uuid) -> Uuid {
    Uuid::from_u128(workflow_step_id.as_u128() & !0xff_ffff)
}

/// The guide's chapters, whose examples are compiled with the documentation's.
#[cfg(doctest)]
mod guide {
    #[cfg(feature = "embedded")]
    #[doc = include_str!("../../../docs/src/application.md")]
    struct Application;
    #[doc = include_str!("../../../docs/src/defining.md")]
    struct Defining;
    #[doc = include_str!("../../../docs/src/limits.md")]
    struct Limits;
    #[doc = include_str!("../../../docs/src/retries.md")]
    struct Retries;
    #[doc = include_str!("../../../docs/src/testing.md")]
    struct Testing;
}
