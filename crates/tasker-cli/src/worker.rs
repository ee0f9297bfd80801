//! `tasker worker`: serves every task whose steps the built-in handlers can run, until a signal ends it.

use std::path::PathBuf;

use tasker::{
    WorkerOptions,
    handlers::{self, Options},
};

use crate::{
    Session,
    ending::{Ending, Failure},
};

/// Serve every task with the built-in handlers, until SIGTERM or Ctrl-C
#[derive(clap::Args)]
pub struct Args {
    /// How many steps may run at once
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = crate::concurrency())]
    concurrency: usize,
    /// Run `command` steps too: whoever can register a workflow can then run any program here
    #[arg(long)]
    allow_command: bool,
    /// Let `http` steps ask hosts that are not on the public internet: this machine, its network, a cloud's metadata
    #[arg(long)]
    allow_private_hosts: bool,
    /// The folder in which programs run and below which files are written [default: the working folder]
    #[arg(long, value_name = "FOLDER")]
    base_dir: Option<PathBuf>,
}

/// Works. The first signal lets running steps finish, the second leaves at once.
pub async fn run(args: Args, session: &Session) -> Result<Ending, Failure> {
    let base_dir = std::path::absolute(args.base_dir.unwrap_or_else(|| ".".into()))
        .map_err(|e| Failure::unable(format!("the working folder is not there: {e}")))?;
    let tasker = tokio::select! {
        opened = session.database.open_or_make() => opened?,
        () = session.stop.cancelled() => return Ok(Ending::Interrupted),
    };
    let Args { allow_command, allow_private_hosts, .. } = args;
    let handlers = handlers::built_in(&Options { allow_command, allow_private_hosts, base_dir });
    let names = handlers.keys().cloned().collect::<Vec<_>>().join(", ");
    for (name, handler) in handlers {
        tasker.handle(name, handler);
    }
    tracing::info!("serving {names}, at most {} steps at once", args.concurrency);
    let worked = tasker
        .worker(WorkerOptions { concurrency: args.concurrency, ..WorkerOptions::default() })
        .run(session.stop.clone())
        .await;
    tasker.close().await;
    worked?;
    tracing::info!("drained");
    Ok(Ending::Done)
}
