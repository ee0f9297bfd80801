//! What happened, followed as it happens: every transition of every task and step, complete, and in an order that is causal within a task.
//!
//! Ids and instants are handed out before a commit, and transactions commit in another order than they began in: whoever follows the greatest id
//! loses rows. So a [`Cursor`] is a snapshot of the database, and what comes next is what is visible now and was not visible then.

mod cursor;
mod follow;

use std::{fmt, ops::Deref, str::FromStr};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::FromRow;
use uuid::Uuid;

pub use cursor::Cursor;
pub(crate) use follow::Hub;
pub use follow::{Batch, Subscription, Told};

/// Something that happened to a task or to one of its steps: a row of `tasker.events`.
#[derive(Clone, Debug, Serialize, Deserialize, FromRow)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "graphql", derive(async_graphql::SimpleObject), graphql(name = "TransitionRow"))]
pub struct Transition {
    /// Its place in the order of events; what one call did at once shares one.
    #[cfg_attr(feature = "graphql", graphql(skip))]
    pub number: i64,
    /// The task.
    pub task_id: Uuid,
    /// The step's number in it; `None`: it happened to the task itself.
    pub step_number: Option<i32>,
    /// The step's id.
    pub workflow_step_id: Option<Uuid>,
    /// What happened, in one word: `task.complete`, `step.failed`, `task.paused`, ..
    pub kind: String,
    /// The state from then on.
    pub to_state: String,
    /// When, by the database's clock.
    pub at: DateTime<Utc>,
    /// How many attempts of the step count from then on.
    pub attempt: Option<i32>,
    /// A stable word for the failure.
    pub error_kind: Option<String>,
    /// The step may not start before this instant.
    pub next_retry_at: Option<DateTime<Utc>>,
    /// Who, where a person or a program said so.
    pub actor: Option<String>,
    /// Why, where a person said so.
    pub reason: Option<String>,
}

/// The words that [`Transition::kind`] can be.
pub const KINDS: [&str; 21] = [
    "task.submitted",
    "task.pending",
    "task.in_progress",
    "task.complete",
    "task.failed",
    "task.cancelled",
    "task.resolved_manually",
    "task.paused",
    "task.resumed",
    "task.retried",
    "task.deadline_passed",
    "step.pending",
    "step.in_progress",
    "step.complete",
    "step.failed",
    "step.cancelled",
    "step.resolved_manually",
    "step.skipped",
    "step.retried",
    "step.limit_changed",
    "step.input_edited",
];

/// A place in a task's history: behind a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The transition's number.
    pub number: i64,
    /// The step's number, where it happened to a step.
    pub step_number: Option<i32>,
}

impl Transition {
    /// Its place in its task's history.
    pub fn place(&self) -> Place {
        Place { number: self.number, step_number: self.step_number }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.number, self.step_number.unwrap_or(-1))
    }
}

impl FromStr for Place {
    type Err = ();

    fn from_str(text: &str) -> Result<Place, ()> {
        let (number, step) = text.split_once('.').ok_or(())?;
        let step: i32 = step.parse().map_err(|_| ())?;
        Ok(Place { number: number.parse().map_err(|_| ())?, step_number: Some(step).filter(|step| *step >= 0) })
    }
}

/// A transition, with its place among all events.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// Where to go on after it.
    pub cursor: Cursor,
    /// What happened.
    #[serde(flatten)]
    pub transition: Transition,
}

impl Deref for Event {
    type Target = Transition;

    fn deref(&self) -> &Transition {
        &self.transition
    }
}

/// Events, one after the other.
#[derive(Clone, Debug)]
pub struct Window {
    /// What happened.
    pub events: Vec<Event>,
    /// Where to go on.
    pub next: Cursor,
    /// Whether that was everything so far.
    pub is_whole: bool,
}

/// What the views say of a task, or of a step, to which something happened: when they were asked, which may be later.
#[derive(Clone, Debug)]
pub struct Payload {
    /// The task.
    pub task_id: Uuid,
    /// The step's number in it; `None`: of the task itself.
    pub step_number: Option<i32>,
    /// The view's row as an object: a task's execution context, with its workflow's names; a step's readiness status, with `dependencies`, its parents'
    /// names.
    pub json: Box<RawValue>,
}

impl Payload {
    /// Of which task and step it is.
    fn about(&self) -> (Uuid, Option<i32>) {
        (self.task_id, self.step_number)
    }
}
