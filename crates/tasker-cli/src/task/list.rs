//! `tasker task list`: the newest tasks, or those that match.

use tasker::{readiness::TaskState, store::TaskFilter};
use uuid::Uuid;

use super::submit::{tag, tags};
use crate::{
    Session,
    door::Door,
    ending::Failure,
    output::{Paint, columns, harmless, instant, print, print_json, time},
    report::state_word,
};

/// List tasks, the newest first
#[derive(clap::Args)]
pub struct Args {
    /// Only those in this state: pending, in_progress, complete, failed, cancelled, resolved_manually
    #[arg(long)]
    state: Option<TaskState>,
    /// Only those that are doing this: blocked_by_failures, has_ready_steps, processing, paused, waiting_for_retry, scheduled, ..
    #[arg(long, value_name = "STATUS")]
    execution_status: Option<String>,
    /// Only of workflows of this namespace
    #[arg(long)]
    namespace: Option<String>,
    /// Only of workflows of this name
    #[arg(long)]
    name: Option<String>,
    /// Only those with this tag; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = tag)]
    tag: Vec<(String, String)>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Only those older than this task
    #[arg(long, value_name = "TASK_ID")]
    before: Option<Uuid>,
}

/// Lists.
pub async fn run(args: Args, session: &Session, door: &Door) -> Result<(), Failure> {
    let filter = TaskFilter {
        state: args.state,
        execution_status: args.execution_status,
        namespace: args.namespace,
        name: args.name,
        tags: tags(&args.tag),
        ..TaskFilter::default()
    };
    let tasks = door.tasks(&filter, args.before, args.limit).await?;
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
                harmless(&task.summary.unwrap_or_default()),
            ]
        })
        .collect();
    print(&columns(&lines))
}
