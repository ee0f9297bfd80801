//! What a task came to: as JSON, and for people the steps that stand in its way, why, and the command lines that help.

use std::io::{self, BufWriter, Write};

use serde::Serialize;
use serde_json::value::RawValue;
use tasker::{
    context::TaskExecutionContext,
    readiness::StepState,
    store::{StepItem, Store, TaskListItem},
};
use uuid::Uuid;

use crate::{
    database::Database,
    ending::Failure,
    output::{Paint, counted, one_line, written},
};

/// How many steps are read and written at a time: their results may be large.
const STEPS_AT_ONCE: i32 = 1_000;

/// How many steps in the way are told of in full.
const TOLD: usize = 5;

/// A task in JSON answers; its steps follow.
#[derive(Serialize)]
struct TaskJson<'a> {
    #[serde(flatten)]
    task: &'a TaskListItem,
    status: &'a str,
    execution_status: &'a str,
    recommended_action: &'a str,
    total_steps: i64,
}

/// A step in JSON answers.
#[derive(Serialize)]
struct StepJson<'a> {
    workflow_step_id: Uuid,
    name: &'a str,
    state: StepState,
    blocking_reason: Option<&'a str>,
    attempts: i32,
    result: Option<Box<RawValue>>,
    error: Option<&'a str>,
    error_kind: Option<&'a str>,
}

/// Prints a task as one JSON object with its steps, a line for each; results keep their text.
pub async fn print_json(store: &Store, task: &TaskListItem, context: &TaskExecutionContext) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout());
    written(begin(&mut out, task, context))?;
    for from in (0..context.total_steps).step_by(STEPS_AT_ONCE as usize) {
        for step in store.steps_of(task.task_id, from as i32, STEPS_AT_ONCE, true).await? {
            written(write_step(&mut out, step))?;
        }
    }
    written(out.write_all(b"\n]}\n").and_then(|()| out.flush()))
}

/// Everything but the end of the task's object.
fn begin(out: &mut impl Write, task: &TaskListItem, context: &TaskExecutionContext) -> io::Result<()> {
    let head = serde_json::to_string(&TaskJson {
        task,
        status: context.status.as_str(),
        execution_status: &context.execution_status,
        recommended_action: &context.recommended_action,
        total_steps: context.total_steps,
    })?;
    write!(out, "{},\"steps\":[", head.trim_end_matches('}'))
}

fn write_step(out: &mut impl Write, step: StepItem) -> io::Result<()> {
    out.write_all(if step.step_number == 0 { b"\n" } else { b",\n" })?;
    let json = StepJson {
        workflow_step_id: step.workflow_step_id,
        name: &step.name,
        state: step.state,
        blocking_reason: step.blocking_reason.as_deref(),
        attempts: step.attempts,
        // what is in the database is JSON
        result: step.result.map(RawValue::from_string).transpose()?,
        error: step.error.as_deref(),
        error_kind: step.error_kind.as_deref(),
    };
    Ok(serde_json::to_writer(out, &json)?)
}

/// The steps that go on only when a person acts: for each its last failure, its causes, and how many wait for it.
pub async fn trouble(store: &Store, steps: &[StepItem], paint: Paint) -> Result<String, Failure> {
    let dead: Vec<&StepItem> = steps.iter().filter(|step| step.is_dead()).collect();
    let mut text = String::new();
    for step in dead.iter().take(TOLD) {
        let kind = step.error_kind.as_deref().map(|kind| format!(" ({kind})")).unwrap_or_default();
        text += &match step.state {
            StepState::Cancelled => format!("{}: cancelled\n", paint.bold(&step.name)),
            _ => {
                format!("{}: attempt {} of {} failed{kind}\n", paint.bold(&step.name), step.attempts, step.retry_limit)
            }
        };
        for line in step.error.iter().flat_map(|error| error.trim_end().lines()) {
            text += &format!("    {}\n", paint.red(line));
        }
        for cause in store
            .explain_step(step.workflow_step_id)
            .await?
            .iter()
            .filter(|cause| cause.step_number == step.step_number)
        {
            if cause.cause != "task_not_live" {
                text += &format!("    {}: {}\n", cause.cause, cause.detail);
            }
        }
    }
    for step in dead.iter().skip(TOLD).take(TOLD) {
        let error = one_line(step.error.as_deref().unwrap_or_default(), 100);
        text += &format!(
            "{}: {} {}\n",
            paint.bold(&step.name),
            step.blocking_reason.as_deref().unwrap_or("cancelled"),
            paint.dim(error)
        );
    }
    if let Some(more @ 1..) = dead.len().checked_sub(2 * TOLD) {
        text += &format!("and {} more\n", counted(more, "such step"));
    }
    let waiting =
        steps.iter().filter(|step| step.blocking_reason.as_deref() == Some("dependencies_not_satisfied")).count();
    if waiting > 0 && !dead.is_empty() {
        let verb = if waiting == 1 { "waits" } else { "wait" };
        text += &format!("{} {verb} for {}\n", counted(waiting, "step"), if dead.len() == 1 { "it" } else { "them" });
    }
    Ok(text)
}

/// The command lines that begin a task's dead steps anew, or give the first one's result by hand. `again`: how the task is
/// then run on, where that is a command.
pub fn remedies(database: &Database, task_id: Uuid, steps: &[StepItem], again: Option<&str>) -> String {
    let task = task_id.to_string();
    let dead: Vec<&StepItem> = steps.iter().filter(|step| step.is_dead()).collect();
    let Some(first) = dead.first() else { return String::new() };
    let then = again.map(|again| format!("    {again}\n")).unwrap_or_default();
    let retry: &[&str] = match dead.len() {
        1 => &["task", "retry", &task, &first.name],
        _ => &["task", "retry", &task],
    };
    format!(
        "to try again:\n    {}\n{then}or to give its result by hand:\n    {}\n{then}",
        database.command(retry),
        database.command(&["task", "resolve", &task, &first.name, "--result", "{}"]),
    )
}
