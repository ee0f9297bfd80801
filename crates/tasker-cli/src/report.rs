//! What a task came to: as JSON, and for people the steps that stand in its way, why, and the command lines that help.

use std::{
    io::{self, BufWriter, Write},
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::value::RawValue;
use tasker::{
    context::TaskExecutionContext,
    readiness::{StepState, TaskState},
    store::{TaskListItem, WorkflowStep},
};
use uuid::Uuid;

use crate::{
    Session,
    door::Door,
    ending::{Ending, Failure},
    output::{Paint, columns, count, counted, harmless, instant, one_line, tell, time, written},
};

/// How many steps in the way are told of in full.
const TOLD: usize = 5;

/// How many steps a table has lines for.
const LINES: usize = 50;

/// A task in JSON answers; its steps follow.
#[derive(Serialize)]
struct TaskJson<'a> {
    task_id: Uuid,
    workflow: &'a str,
    version: &'a str,
    status: TaskState,
    paused: bool,
    execution_status: &'a str,
    recommended_action: &'a str,
    total_steps: i64,
}

/// What `explain` answers of a task: the context, and the steps that are not satisfied.
#[derive(Serialize)]
pub struct Explained<'a> {
    #[serde(flatten)]
    pub context: &'a TaskExecutionContext,
    pub steps: Vec<StepJson<'a>>,
}

/// A step in JSON answers.
#[derive(Serialize)]
pub struct StepJson<'a> {
    workflow_step_id: Uuid,
    name: &'a str,
    state: StepState,
    blocking_reason: Option<&'a str>,
    next_retry_at: Option<DateTime<Utc>>,
    attempts: i32,
    result: Option<&'a RawValue>,
    error: Option<&'a str>,
    error_kind: Option<&'a str>,
}

impl<'a> StepJson<'a> {
    pub fn of(step: &'a WorkflowStep) -> StepJson<'a> {
        StepJson {
            workflow_step_id: step.workflow_step_id,
            name: &step.name,
            state: step.current_state,
            blocking_reason: step.blocking_reason.as_deref(),
            next_retry_at: step.next_retry_at,
            attempts: step.attempts,
            result: step.result.as_ref().map(|result| &*result.0),
            error: step.error.as_deref(),
            error_kind: step.error_kind.as_deref(),
        }
    }
}

/// Prints a task as one JSON object with its steps, a line for each; results keep their text.
pub async fn print_json(door: &Door, task: &TaskListItem, context: &TaskExecutionContext) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout());
    written(begin(&mut out, task, context))?;
    let (mut told, mut is_more) = (0, true);
    while is_more {
        let steps;
        (steps, is_more) = door.steps(task.task_id, told, true).await?;
        for step in &steps {
            written(write_step(&mut out, step))?;
        }
        told += steps.len();
    }
    written(out.write_all(b"\n]}\n").and_then(|()| out.flush()))
}

/// Everything but the end of the task's object.
fn begin(out: &mut impl Write, task: &TaskListItem, context: &TaskExecutionContext) -> io::Result<()> {
    let head = serde_json::to_string(&TaskJson {
        task_id: task.task_id,
        workflow: &task.workflow,
        version: &task.version,
        status: context.status,
        paused: context.paused,
        execution_status: &context.execution_status,
        recommended_action: &context.recommended_action,
        total_steps: context.total_steps,
    })?;
    write!(out, "{},\"steps\":[", head.trim_end_matches('}'))
}

fn write_step(out: &mut impl Write, step: &WorkflowStep) -> io::Result<()> {
    out.write_all(if step.step_number == 0 { b"\n" } else { b",\n" })?;
    Ok(serde_json::to_writer(out, &StepJson::of(step))?)
}

/// A task's state in its colour.
pub fn state_word(state: TaskState, paused: bool, paint: Paint) -> String {
    match state {
        _ if state.is_live() && paused => paint.yellow(format_args!("{state}, paused")),
        TaskState::Complete | TaskState::ResolvedManually => paint.green(state),
        TaskState::Failed | TaskState::Cancelled => paint.red(state),
        TaskState::Pending | TaskState::InProgress => paint.cyan(state),
    }
}

/// What a task is doing, in two lines.
pub fn headline(context: &TaskExecutionContext, paint: Paint) -> String {
    let counts: Vec<String> = [
        ("pending", context.pending_steps),
        ("in_progress", context.in_progress_steps),
        ("complete", context.completed_steps),
        ("failed", context.failed_steps),
        ("cancelled", context.cancelled_steps),
        ("resolved_manually", context.resolved_manually_steps),
        ("skipped", context.skipped_steps),
    ]
    .into_iter()
    .filter(|(_, number)| *number > 0)
    .map(|(state, number)| format!("{} {state}", count(number as usize)))
    .collect();
    let next = context.next_retry_at.map(|at| format!(", next at {}", instant(at))).unwrap_or_default();
    format!(
        "task {}: {}, {} → {}{next}\n{}: {}\n",
        context.task_id,
        state_word(context.status, context.paused, paint),
        context.execution_status,
        context.recommended_action,
        counted(context.total_steps as usize, "step"),
        counts.join(", ")
    )
}

/// A table of steps; of many, those that are not satisfied stand first.
pub fn step_lines(steps: &[&WorkflowStep], paint: Paint) -> String {
    let mut shown = steps.to_vec();
    if shown.len() > LINES {
        shown.sort_by_key(|step| {
            (step.is_satisfied(), step.blocking_reason.as_deref() == Some("dependencies_not_satisfied"))
        });
    }
    let lines: Vec<Vec<String>> = shown.iter().take(LINES).map(|step| step_line(step, paint)).collect();
    let more = shown.len().saturating_sub(LINES);
    columns(&lines)
        + &if more > 0 { format!("and {}; --json has all\n", counted(more, "more step")) } else { String::new() }
}

fn step_line(step: &WorkflowStep, paint: Paint) -> Vec<String> {
    let sign = match step.current_state {
        _ if step.is_satisfied() => paint.green("✓"),
        _ if step.is_dead() => paint.red("✗"),
        StepState::InProgress => paint.cyan("▸"),
        _ => paint.dim("·"),
    };
    let reason = match step.blocking_reason.as_deref() {
        Some("finished" | "in_progress") => String::new(),
        Some("dependencies_not_satisfied") => {
            format!("dependencies_not_satisfied {}/{}", step.completed_parents, step.total_parents)
        }
        Some(word) => {
            format!("{word}{}", step.next_retry_at.map(|at| format!(" until {}", instant(at))).unwrap_or_default())
        }
        None => "ready".into(),
    };
    let attempts =
        if step.attempts > 1 { format!("attempt {} of {}", step.attempts, step.retry_limit) } else { String::new() };
    let error = one_line(step.error.as_deref().unwrap_or_default(), 100);
    vec![format!("  {sign} {}", step.name), step.current_state.to_string(), reason, attempts, paint.dim(error)]
}

/// Tells how a task ended, or why it goes on only when a person acts, and what would help. `took`: how long it went on; `again`: how it is then
/// run on, where that is a command.
pub async fn tell_end(
    session: &Session,
    door: &Door,
    context: &TaskExecutionContext,
    took: Duration,
    again: Option<&str>,
) -> Result<Ending, Failure> {
    let paint = Paint::stderr();
    let steps = counted(context.total_steps as usize, "step");
    match context.status {
        TaskState::Complete => tell(format_args!("{}: {steps} in {}", paint.green("complete"), time(took))),
        TaskState::ResolvedManually => tell(format_args!("{} by hand", paint.green("resolved"))),
        TaskState::Cancelled => tell(format_args!("{} by hand", paint.red("cancelled"))),
        _ if context.recommended_action == "resume_task" => {
            let resume = session.command(&["task", "resume", &context.task_id.to_string()]);
            let then = again.map(|again| format!("\n    {again}")).unwrap_or_default();
            tell(format_args!("{}; to go on:\n    {resume}{then}", paint.yellow("paused")));
        }
        _ => {
            let satisfied = context.completed_steps + context.resolved_manually_steps + context.skipped_steps;
            tell(format_args!("{}: {satisfied} of {steps} done in {}\n", paint.red("failed"), time(took)));
            let steps = door.all_steps(context.task_id).await?;
            tell(trouble(door, &steps, paint).await?);
            tell(remedies(session, context.task_id, &steps, again).trim_end());
        }
    }
    Ok(match context.status {
        TaskState::Complete | TaskState::ResolvedManually => Ending::Done,
        _ => Ending::Failed,
    })
}

/// The steps that go on only when a person acts: for each its last failure, its causes, and how many wait for it.
pub async fn trouble(door: &Door, steps: &[WorkflowStep], paint: Paint) -> Result<String, Failure> {
    let dead: Vec<&WorkflowStep> = steps.iter().filter(|step| step.is_dead()).collect();
    let mut text = String::new();
    for step in dead.iter().take(TOLD) {
        let kind = step.error_kind.as_deref().map(|kind| format!(" ({kind})")).unwrap_or_default();
        text += &match step.current_state {
            StepState::Cancelled => format!("{}: cancelled\n", paint.bold(&step.name)),
            _ => {
                format!("{}: attempt {} of {} failed{kind}\n", paint.bold(&step.name), step.attempts, step.retry_limit)
            }
        };
        for line in step.error.iter().flat_map(|error| error.trim_end().lines()) {
            text += &format!("    {}\n", paint.red(harmless(line)));
        }
        for cause in
            door.explain_step(step.workflow_step_id).await?.iter().filter(|cause| cause.step_number == step.step_number)
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
        text += &format!("and {}\n", counted(more, "more such step"));
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
pub fn remedies(session: &Session, task_id: Uuid, steps: &[WorkflowStep], again: Option<&str>) -> String {
    let task = task_id.to_string();
    let dead: Vec<&WorkflowStep> = steps.iter().filter(|step| step.is_dead()).collect();
    let Some(first) = dead.first() else { return String::new() };
    let then = again.map(|again| format!("    {again}\n")).unwrap_or_default();
    let retry: &[&str] = match dead.len() {
        1 => &["task", "retry", &task, &first.name],
        _ => &["task", "retry", &task],
    };
    format!(
        "to try again:\n    {}\n{then}or to give its result by hand:\n    {}\n{then}",
        session.command(retry),
        session.command(&["task", "resolve", &task, &first.name, "--result", "{}"]),
    )
}
