//! `tasker task list`: the newest tasks.

use tasker::{
    readiness::TaskState,
    store::{Store, TaskFilter},
};
use uuid::Uuid;

use crate::{
    Session,
    ending::Failure,
    output::{Paint, columns, instant, print, print_json, time},
    report::state_word,
};

/// List tasks, the newest first
#[derive(clap::Args)]
pub struct Args {
    /// Only those in this state: pending, in_progress, complete, failed, cancelled, resolved_manually
    #[arg(long)]
    state: Option<TaskState>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Only those older than this task
    #[arg(long, value_name = "TASK_ID")]
    before: Option<Uuid>,
}

/// Lists.
pub async fn run(args: Args, session: &Session, store: &Store) -> Result<(), Failure> {
    let filter = TaskFilter { state: args.state, ..TaskFilter::default() };
    let tasks = store.tasks(&filter, args.before, args.limit.into()).await?;
    if session.json {
        return print_json(&tasks);
    }
    let paint = Paint::stdout();
    let lines: Vec<Vec<String>> = tasks
        .into_iter()
        .map(|task| {
            let took =
                task.finished_at.and_then(|end| (end - task.created_at).to_std().ok()).map(time).unwrap_or_default();
            let workflow = format!("{} {}", task.workflow, paint.dim(&task.version));
            let state = state_word(task.state, task.paused, paint);
            vec![
                task.task_id.to_string(),
                state,
                instant(task.created_at),
                took,
                workflow,
                task.summary.unwrap_or_default(),
            ]
        })
        .collect();
    print(&columns(&lines))
}
