//! `tasker task show`: a task and its steps.

use uuid::Uuid;

use crate::{
    Session,
    door::{Door, Task},
    ending::Failure,
    output::{Paint, harmless, instant, one_line, print},
    report,
    subject::unknown_task,
};

/// Show a task and its steps; with --json, their results too
#[derive(clap::Args)]
pub struct Args {
    /// Its id
    #[arg(value_name = "TASK")]
    task_id: Uuid,
}

/// How much of the input is shown, in characters.
const INPUT_WIDTH: usize = 200;

/// Shows.
pub async fn run(Args { task_id }: Args, session: &Session, door: &Door) -> Result<(), Failure> {
    let Task { item: task, input, context } = door.task(task_id).await?.ok_or_else(|| unknown_task(task_id))?;
    if session.json {
        return report::print_json(door, &task, &context).await;
    }
    let paint = Paint::stdout();
    let mut text = format!("{} {}, submitted {}", paint.bold(&task.workflow), task.version, instant(task.created_at));
    if let Some(end) = task.finished_at {
        text += &format!(", ended {}", instant(end));
    }
    text += &format!("\n{}", report::headline(&context, paint));
    if let Some(summary) = task.summary {
        text += &format!("summary: {}\n", harmless(&summary));
    }
    text += &format!("input: {}\n", one_line(&input, INPUT_WIDTH));
    let steps = door.all_steps(task_id).await?;
    print(&(text + &report::step_lines(&steps.iter().collect::<Vec<_>>(), paint)))
}
