//! The binary `tasker`: a file for each command, over what they share. It has no rule of its own: what may run, and why
//! not, it asks the library.

mod bench;
mod board;
mod check;
mod completions;
mod database;
mod dev;
mod diagram;
mod doctor;
mod door;
mod ending;
mod explain;
mod key;
mod logs;
mod migrate;
mod output;
mod report;
mod run;
mod schema;
mod screen;
mod serve;
mod session;
mod signals;
mod subject;
mod task;
mod worker;
mod workflow;

use std::{process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;

use crate::{
    ending::{Ending, Failure},
    session::{Asks, DoorArgs, Session},
};

/// Runs workflows, and says which steps may run now, and why not the others.
#[derive(Parser)]
#[command(name = "tasker", version, after_help = ENDINGS)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    doors: DoorArgs,
    /// Print the answer as JSON on stdout
    #[arg(long, global = true)]
    json: bool,
}

const ENDINGS: &str = "Exit codes: 0 done, 1 the workflow failed (or doctor found something), 2 wrong use or a bad file, \
                       3 could not run (database, disk), 130 interrupted.";

#[derive(Subcommand)]
enum Command {
    Run(run::Args),
    Check(check::Args),
    Dev(dev::Args),
    Serve(serve::Args),
    Worker(worker::Args),
    Migrate(migrate::Args),
    Workflow(workflow::Args),
    Task(task::Args),
    Explain(explain::Args),
    Diagram(diagram::Args),
    Key(key::Args),
    Doctor(doctor::Args),
    Schema(schema::Args),
    Completions(completions::Args),
    Bench(bench::Args),
}

impl Command {
    /// Whether it is told of a signal and ends in order; the others just end.
    fn is_patient(&self) -> bool {
        match self {
            Command::Run(_) | Command::Worker(_) | Command::Serve(_) | Command::Dev(_) => true,
            Command::Task(args) => args.follows(),
            _ => false,
        }
    }

    fn asks(&self) -> Asks {
        match self {
            Command::Workflow(_) | Command::Task(_) | Command::Explain(_) | Command::Diagram(_) => Asks::EitherDoor,
            Command::Check(_) | Command::Schema(_) | Command::Completions(_) => Asks::Nobody,
            _ => Asks::Database,
        }
    }

    /// What is logged where `RUST_LOG` says nothing.
    fn log_level(&self) -> &'static str {
        // a slow statement is warned of by the driver, and is no news in a terminal
        match self {
            Command::Worker(_) | Command::Serve(_) | Command::Dev(_) => "info,sqlx=error",
            // it says itself what is gone
            Command::Task(args) if args.follows() => "error",
            _ => "warn,sqlx=error",
        }
    }
}

fn main() -> ExitCode {
    let Cli { command, doors, json } = Cli::parse();
    let screen = logs::start(command.log_level());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::tell(format_args!("error: threads cannot be started: {error}"));
            return Ending::Unable.into();
        }
    };
    let stop = CancellationToken::new();
    let signals = signals::watch(stop.clone(), command.is_patient());
    let ending = runtime.block_on(async {
        let ended = async {
            let session = Session::new(doors, command.asks(), json, stop, screen)?;
            perform(command, &session).await
        };
        tokio::select! {
            ended = ended => ended.unwrap_or_else(|failure| {
                output::tell(format_args!("{} {failure}", output::Paint::stderr().red("error:")));
                failure.ending
            }),
            () = signals => Ending::Interrupted,
        }
    });
    // whatever still runs is dropped, so that programs which steps have started die with us
    runtime.shutdown_timeout(Duration::from_millis(500));
    ending.into()
}

async fn perform(command: Command, session: &Session) -> Result<Ending, Failure> {
    match command {
        Command::Run(args) => run::run(args, session).await,
        Command::Check(args) => check::run(args, session).await,
        Command::Dev(args) => dev::run(args, session).await,
        Command::Serve(args) => serve::run(args, session).await,
        Command::Worker(args) => worker::run(args, session).await,
        Command::Migrate(args) => migrate::run(args, session).await,
        Command::Workflow(args) => workflow::run(args, session).await,
        Command::Task(args) => task::run(args, session).await,
        Command::Diagram(args) => diagram::run(args, session).await,
        Command::Explain(args) => explain::run(args, session).await,
        Command::Key(args) => key::run(args, session).await,
        Command::Doctor(args) => doctor::run(args, session).await,
        Command::Schema(schema::Args {}) => schema::run(),
        Command::Completions(args) => completions::run(args),
        Command::Bench(args) => bench::run(args, session).await,
    }
}

/// Reads how many steps may run at once.
fn concurrency() -> impl clap::builder::TypedValueParser<Value = usize> {
    clap::builder::RangedU64ValueParser::<usize>::new().range(1..=10_000)
}
