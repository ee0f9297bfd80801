//! `tasker workflow ..`: registering releases, so that any language can submit tasks of them, and looking at what is registered.

use std::path::PathBuf;

use serde_json::json;
use tasker::workflow::Definition;

use crate::{
    Session,
    door::Door,
    ending::{Ending, Failure},
    output::{Paint, columns, harmless, instant, print, print_json},
    task::named,
};

/// Register workflows, and look at them
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Write a workflow under its version, so that tasks of it can be submitted from anywhere
    Register {
        /// The workflow, in YAML
        file: PathBuf,
    },
    /// List registered versions, the last one registered first
    List {
        /// Only of this namespace
        #[arg(long)]
        namespace: Option<String>,
        /// Only of this name
        #[arg(long)]
        name: Option<String>,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Show a version's steps, level by level
    Show {
        /// `namespace.name`, or `name` in the namespace `default`; with `@version`, else its highest release
        #[arg(value_name = "WORKFLOW")]
        workflow: String,
    },
}

/// Does what is asked.
pub async fn run(args: Args, session: &Session) -> Result<Ending, Failure> {
    let done = match args.command {
        Command::Register { file } => {
            // a bad file needs no database
            let definition = Definition::from_file(&file, &[]).map_err(|refused| {
                Failure::misused(format!("{} is refused, and nothing was written:\n{refused}", file.display()))
            })?;
            session.ask(async |door| register(&definition, session, door).await).await
        }
        Command::List { namespace, name, limit } => {
            session.ask(async |door| list(namespace.as_deref(), name.as_deref(), limit, session, door).await).await
        }
        Command::Show { workflow } => session.ask(async |door| show(&workflow, session, door).await).await,
    };
    done.map(|()| Ending::Done)
}

/// Registers. The same file again changes nothing; another content under the same version is refused.
async fn register(definition: &Definition, session: &Session, door: &Door) -> Result<(), Failure> {
    let named_task_id = door.register(definition).await?;
    let Definition { namespace, name, version, .. } = definition;
    match session.json {
        true => print_json(&json!({
            "named_task_id": named_task_id, "namespace": namespace, "name": name, "version": version,
        })),
        false => print(&format!("{namespace}.{name} {version} is registered\n")),
    }
}

async fn list(
    namespace: Option<&str>,
    name: Option<&str>,
    limit: u32,
    session: &Session,
    door: &Door,
) -> Result<(), Failure> {
    let listed = door.workflows(namespace, name, limit).await?;
    if session.json {
        return print_json(&listed);
    }
    let paint = Paint::stdout();
    let line = |task: &tasker::store::NamedTask| {
        let about = harmless(task.description.as_deref().unwrap_or_default().lines().next().unwrap_or_default());
        vec![
            format!("{}.{} {}", task.namespace, task.name, paint.dim(&task.version)),
            format!("{} steps", task.total_steps),
            instant(task.created_at),
            about,
        ]
    };
    print(&columns(&listed.iter().map(line).collect::<Vec<_>>()))
}

async fn show(workflow: &str, session: &Session, door: &Door) -> Result<(), Failure> {
    let (namespace, name, version) = named(workflow);
    let shown = door.workflow(namespace, name, version).await?;
    if session.json {
        return print_json(&shown);
    }
    let (paint, task) = (Paint::stdout(), &shown.named_task);
    let mut text = format!("{} {}\n", paint.bold(format!("{}.{}", task.namespace, task.name)), task.version);
    if let Some(about) = &task.description {
        text += &format!("{}\n", harmless(about));
    }
    let mut steps: Vec<_> = shown.steps.iter().collect();
    steps.sort_by_key(|step| (step.max_depth_from_root, step.step_number));
    let mut lines = vec![["level", "step", "handler", "after"].map(|word| paint.dim(word)).to_vec()];
    lines.extend(steps.iter().map(|step| {
        vec![
            (step.max_depth_from_root + 1).to_string(),
            step.name.clone(),
            step.handler.clone(),
            step.depends_on.join(", "),
        ]
    }));
    print(&(text + "\n" + &columns(&lines)))
}
