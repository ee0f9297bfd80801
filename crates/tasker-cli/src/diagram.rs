//! `tasker diagram`: a workflow file, a registered workflow or a task as a picture.

use std::path::PathBuf;

use tasker::workflow::Definition;
use tasker_server::diagram::{Format, of_definition};
use uuid::Uuid;

use crate::{
    Session,
    door::Door,
    ending::{Ending, Failure},
    output::print,
};

/// Draw a workflow file, a registered workflow, or a task with its steps' states
#[derive(clap::Args)]
pub struct Args {
    /// A file, `namespace.name` (with `@version`, else its highest release), or a task's id
    #[arg(value_name = "FILE|WORKFLOW|TASK")]
    what: String,
    /// What to write: svg, mermaid, dot or json
    #[arg(long, value_name = "FORMAT", default_value = "svg")]
    format: Format,
    /// Where to write it [default: stdout]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Draws.
pub async fn run(args: Args, session: &Session) -> Result<Ending, Failure> {
    let file = PathBuf::from(&args.what);
    let picture = if file.is_file() {
        let definition = Definition::from_file(&file, &[])
            .map_err(|refused| Failure::misused(format!("{} is refused:\n{refused}", file.display())))?;
        of_definition(&definition, args.format)
    } else {
        session.ask(async |door| stored(&args, door).await).await?
    };
    match &args.output {
        None => print(&picture)?,
        Some(path) => std::fs::write(path, picture)
            .map_err(|why| Failure::unable(format!("{} cannot be written: {why}", path.display())))?,
    }
    Ok(Ending::Done)
}

/// Of what is registered, or of a task.
async fn stored(args: &Args, door: &Door) -> Result<String, Failure> {
    match Uuid::try_parse(&args.what) {
        Ok(task_id) => door.picture_of_task(task_id, args.format).await,
        Err(_) => {
            let (namespace, name, version) = crate::task::named(&args.what);
            door.picture_of_workflow(namespace, name, version, args.format).await
        }
    }
}
