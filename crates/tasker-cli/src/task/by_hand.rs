//! The verbs by hand: retry, resolve, cancel of a task or a step, pause and resume of a task. Each says who did it, and why.

use serde_json::json;
use tasker::{
    json,
    store::{StepVerb, TaskVerb},
};
use uuid::Uuid;

use crate::{
    Session,
    door::Door,
    ending::Failure,
    output::{print, print_json},
    subject::{Subject, SubjectArgs},
};

/// A verb.
#[derive(clap::Subcommand)]
pub enum Verb {
    /// Begin a task's dead and cancelled steps anew, or one of them; a step that waits for its retry is due now
    Retry {
        #[command(flatten)]
        subject: SubjectArgs,
        #[command(flatten)]
        why: Why,
    },
    /// Give a step its result by hand, or end a task as dealt with
    Resolve {
        #[command(flatten)]
        subject: SubjectArgs,
        /// The step's result
        #[arg(long, value_name = "JSON")]
        result: Option<String>,
        #[command(flatten)]
        why: Why,
    },
    /// Cancel a task, or a step, also while it runs
    Cancel {
        #[command(flatten)]
        subject: SubjectArgs,
        #[command(flatten)]
        why: Why,
    },
    /// Start nothing new in a task until it is resumed
    Pause {
        /// Its id
        #[arg(value_name = "TASK")]
        task_id: Uuid,
        #[command(flatten)]
        why: Why,
    },
    /// Let a paused task go on
    Resume {
        /// Its id
        #[arg(value_name = "TASK")]
        task_id: Uuid,
        #[command(flatten)]
        why: Why,
    },
}

/// Kept with what was done.
#[derive(clap::Args)]
pub struct Why {
    /// Why it is done, kept in the task's history
    #[arg(long)]
    reason: Option<String>,
}

/// Does it, and prints the new state.
pub async fn run(verb: Verb, session: &Session, door: &Door) -> Result<(), Failure> {
    let (Verb::Retry { why, .. }
    | Verb::Resolve { why, .. }
    | Verb::Cancel { why, .. }
    | Verb::Pause { why, .. }
    | Verb::Resume { why, .. }) = &verb;
    let reason = why.reason.as_deref();
    let (id, state) = match &verb {
        Verb::Retry { subject, .. } => match subject.find(door).await? {
            Subject::Task(id) => (id, door.to_task(TaskVerb::Retry, id, reason).await?.as_str()),
            Subject::Step(id) => (id, door.to_step(StepVerb::Retry, id, reason).await?.as_str()),
        },
        Verb::Resolve { subject, result, .. } => match (subject.find(door).await?, result) {
            (Subject::Task(id), None) => (id, door.to_task(TaskVerb::Resolve, id, reason).await?.as_str()),
            (Subject::Task(_), Some(_)) => {
                return Err(Failure::misused("a task has no result: name the step whose result it is"));
            }
            (Subject::Step(id), result) => {
                let result = json::check(result.as_deref().unwrap_or("null"))
                    .map_err(|e| Failure::misused(format!("--result: {e}")))?;
                (id, door.to_step(StepVerb::Resolve(&result), id, reason).await?.as_str())
            }
        },
        Verb::Cancel { subject, .. } => match subject.find(door).await? {
            Subject::Task(id) => (id, door.to_task(TaskVerb::Cancel, id, reason).await?.as_str()),
            Subject::Step(id) => (id, door.to_step(StepVerb::Cancel, id, reason).await?.as_str()),
        },
        Verb::Pause { task_id, .. } => {
            (*task_id, door.to_task(TaskVerb::Pause, *task_id, reason).await.map(|_| "paused")?)
        }
        Verb::Resume { task_id, .. } => (*task_id, door.to_task(TaskVerb::Resume, *task_id, reason).await?.as_str()),
    };
    match session.json {
        true => print_json(&json!({ "id": id, "state": state })),
        false => print(&format!("{id}: {state}\n")),
    }
}
