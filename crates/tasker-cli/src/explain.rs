//! `tasker explain`: why a step does not run, all causes, followed up the graph; or of a task, what it is doing and what
//! its steps wait for.

use serde::Serialize;
use tasker::{readiness::StepReadinessStatus, store::Cause, task_of};
use uuid::Uuid;

use crate::{
    Session,
    door::Door,
    ending::{Ending, Failure},
    output::{Paint, columns, instant, print, print_json},
    report,
    subject::{Subject, SubjectArgs, unknown_task},
};

/// Say why a step does not run, or what a task is doing
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    subject: SubjectArgs,
}

/// A step's answer.
#[derive(Serialize)]
struct StepAnswer {
    #[serde(flatten)]
    step: StepReadinessStatus,
    causes: Vec<Cause>,
}

/// Explains.
pub async fn run(args: Args, session: &Session) -> Result<Ending, Failure> {
    let done = session.ask(async |door| match args.subject.find(door).await? {
        Subject::Step(id) => explain_step(door, session, id).await,
        Subject::Task(id) => explain_task(door, session, id).await,
    });
    done.await.map(|()| Ending::Done)
}

async fn explain_step(door: &Door, session: &Session, id: Uuid) -> Result<(), Failure> {
    let causes = door.explain_step(id).await?;
    let step = door.step(id).await?.map(|step| step.readiness);
    let step = step.ok_or_else(|| Failure::misused(format!("task {} has no step {id}", task_of(id))))?;
    if session.json {
        return print_json(&StepAnswer { step, causes });
    }
    let paint = Paint::stdout();
    let mut text = format!("{} of task {}: {}", paint.bold(&step.name), step.task_id, step.current_state);
    text += match &step.blocking_reason {
        None => ", ready\n".to_string(),
        Some(word) if word == step.current_state.as_str() => "\n".into(),
        Some(word) => format!(", {word}\n"),
    }
    .as_str();
    if let Some(at) = causes.iter().find_map(|cause| cause.start_at) {
        text += &format!("it can start at {}\n", instant(at));
    }
    let lines: Vec<Vec<String>> = causes
        .iter()
        .map(|cause| {
            let word = if cause.blocks { paint.yellow(&cause.cause) } else { paint.dim(&cause.cause) };
            vec![format!("  {}", cause.name), word, cause.detail.clone()]
        })
        .collect();
    print(&(text + &columns(&lines)))
}

async fn explain_task(door: &Door, session: &Session, id: Uuid) -> Result<(), Failure> {
    let context = door.task(id).await?.ok_or_else(|| unknown_task(id))?.context;
    let steps = door.all_steps(id).await?;
    let blocked: Vec<_> = steps.iter().filter(|step| !step.is_satisfied()).collect();
    if session.json {
        let blocked: Vec<_> = blocked.iter().map(|step| report::StepJson::of(step)).collect();
        return print_json(&report::Explained { context: &context, steps: blocked });
    }
    let paint = Paint::stdout();
    let mut text = report::headline(&context, paint);
    text += &report::step_lines(&blocked, paint);
    let trouble = report::trouble(door, &steps, paint).await?;
    if !trouble.is_empty() {
        text += &format!("\n{trouble}\n{}", report::remedies(session, id, &steps, None));
    }
    print(&text)
}
