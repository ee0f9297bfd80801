//! What runs steps: a loop that hands in what is finished and receives what may start, in one call.
//!
//! [`Worker`] serves every task; [`Tasker::drive`](crate::Tasker::drive) runs one task to its end. Both are the same
//! [`runner`], which knows nothing of readiness: the database says what may start, and when to ask again.

mod attempt;
mod batch;
mod definitions;
mod door;
mod drive;
mod idle;
mod leases;
mod reaping;
mod runner;
mod search;
mod waiters;
mod waker;
mod worker;

use std::time::Duration;

use uuid::Uuid;

pub use drive::Driven;
pub(crate) use drive::drive;
pub(crate) use idle::run_until;
pub(crate) use waker::Waker;
pub use worker::{Worker, WorkerOptions};

use crate::{
    store::{Claimed, Verdict},
    template::Secrets,
};

/// How a worker behaves. The defaults suit most.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many attempts may run at once; default 100.
    pub concurrency: usize,
    /// How long a claim is held without a heartbeat; default 30 s; less than 1 s counts as that. Workers beat every third of it.
    pub lease: Duration,
    /// How long an idle worker waits before it asks again, where no wake-up reaches it; default 1 s.
    pub poll_interval: Duration,
    /// How long a stopping worker lets handlers finish before it gives their steps back; default 30 s.
    pub drain: Duration,
    /// For people, in the list of workers.
    pub description: String,
    /// Where templates find secrets; default: the environment.
    pub secrets: Secrets,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            concurrency: 100,
            lease: Duration::from_secs(30),
            poll_interval: Duration::from_secs(1),
            drain: Duration::from_secs(30),
            description: format!("process {}", std::process::id()),
            secrets: Secrets::from_environment(),
        }
    }
}

/// What a runner does, told as it happens; for progress views.
#[derive(Clone, Debug)]
pub enum Event {
    /// An attempt has been claimed and starts.
    Started(Box<Claimed>),
    /// An attempt has ended with this verdict, which the database has recorded.
    Settled {
        /// The task.
        task_id: Uuid,
        /// The step's number in it.
        step_number: i32,
        /// What the handler said.
        verdict: Verdict,
    },
}

/// Told of every [`Event`].
pub type Observer = tokio::sync::mpsc::UnboundedSender<Event>;
