//! Tasker runs workflows that are directed acyclic graphs of steps, keeps every fact in PostgreSQL, and
//! answers from the database, at any moment and exactly: which steps may run now, and why not the others?
//!
//! [`Tasker`] is the door: connect, register a workflow, submit tasks, run a [`Worker`]. What the database says of
//! steps and tasks is in [`readiness`] and [`context`], the models of its views.

pub mod context;
pub mod duration;
#[cfg(feature = "embedded")]
mod embedded;
mod engine;
mod error;
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
pub mod workflow;

pub use engine::{Driven, Event, Observer, Settings, Worker, WorkerOptions};
pub use error::Error;
pub use handlers::{Attempt, Handler, Outcome, StepError};
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

/// The task that a step's id names.
pub fn task_of(workflow_step_id: Uuid) -> Uuid {
    Uuid::from_u128(workflow_step_id.as_u128() & !0xff_ffff)
}
