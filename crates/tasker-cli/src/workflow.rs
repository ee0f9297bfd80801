//! `tasker workflow register`: writes a workflow's release, so that any language can submit tasks of it.

use std::path::PathBuf;

use serde_json::json;
use tasker::workflow::Definition;

use crate::{
    Session,
    ending::{Ending, Failure},
    output::{print, print_json},
};

/// Register workflows
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
}

/// Registers. The same file again changes nothing; another content under the same version is refused.
pub async fn run(args: Args, session: &Session) -> Result<Ending, Failure> {
    let Command::Register { file } = args.command;
    let definition = Definition::from_file(&file, &[]).map_err(|refused| {
        Failure::misused(format!("{} is refused, and nothing was written:\n{refused}", file.display()))
    })?;
    let tasker = session.database.open().await?;
    let registered = tasker.register_definition(&definition).await;
    tasker.close().await;
    let named_task_id = registered?;
    let Definition { namespace, name, version, .. } = &definition;
    if session.json {
        print_json(&json!({
            "named_task_id": named_task_id, "namespace": namespace, "name": name, "version": version,
        }))?;
    } else {
        print(&format!("{namespace}.{name} {version} is registered\n"))?;
    }
    Ok(Ending::Done)
}
