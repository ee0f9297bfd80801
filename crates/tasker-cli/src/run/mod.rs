//! `tasker run FILE`: one workflow, here, to its end.
//!
//! The workflow is registered under its version and a part of its content's hash, so that an edited file just runs, and a
//! task goes on only with the content with which it began. A server's schema is left alone: `tasker migrate` makes it.

mod outcome;
mod plan;
mod progress;

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    time::Instant,
};

use serde_json::Value;
use tasker::{
    Driven, Submission, Tasker, WorkerOptions,
    handlers::{self, BUILT_IN, Options},
    json,
    workflow::Definition,
};
use tokio::sync::mpsc;
use uuid::Uuid;

use self::{outcome::Outcome, progress::Show};
use crate::{
    Session,
    door::Door,
    ending::{Ending, Failure},
    output::tell,
    subject::unknown_task,
};

/// Run a workflow here, to its end
#[derive(clap::Args)]
pub struct Args {
    /// The workflow, in YAML
    file: PathBuf,
    /// The task's input, an object [default: {}]
    #[arg(long, value_name = "JSON|@FILE")]
    input: Option<String>,
    /// Go on with a task of this file where it stood
    #[arg(long, value_name = "TASK_ID", conflicts_with = "input")]
    resume: Option<Uuid>,
    /// Show what would be run, in which order; run nothing
    #[arg(long, conflicts_with = "resume")]
    dry_run: bool,
    /// How many steps may run at once
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = crate::concurrency())]
    concurrency: usize,
}

/// How much of the content's hash stands in the version.
const HASH_CHARACTERS: usize = 12;

/// Runs it.
pub async fn run(args: Args, session: &Session) -> Result<Ending, Failure> {
    let definition = definition(&args)?;
    let input = input(args.input.as_deref(), &definition)?;
    if args.dry_run {
        return plan::show(&definition, &input, session.json);
    }
    let tasker = tokio::select! {
        opened = session.database.open_or_make() => opened?,
        () = session.stop.cancelled() => return Ok(Ending::Interrupted),
    };
    tasker.store().require_schema().await?;
    let ended = run_task(&args, session, &tasker, &definition, input).await;
    tasker.close().await;
    ended
}

async fn run_task(
    args: &Args,
    session: &Session,
    tasker: &Tasker,
    definition: &Definition,
    input: Value,
) -> Result<Ending, Failure> {
    let base_dir =
        std::env::current_dir().map_err(|e| Failure::unable(format!("the working folder is not there: {e}")))?;
    for (name, handler) in handlers::built_in(&Options { allow_command: true, allow_private_hosts: true, base_dir }) {
        tasker.handle(name, handler);
    }
    let task_id = match args.resume {
        Some(task_id) => {
            refuse_another(tasker, task_id, definition, args).await?;
            task_id
        }
        None => {
            let id = tasker.register_definition(definition).await?;
            tasker.submit_version(id, &input, Submission::default()).await?.task_id
        }
    };
    tell(format_args!("task {task_id}: {}.{} {}", definition.namespace, definition.name, definition.version));

    let started = Instant::now();
    let (observer, events) = mpsc::unbounded_channel();
    let names = definition.steps.iter().map(|step| step.name.clone()).collect();
    let show = Show::new(&session.screen);
    let progress =
        tokio::spawn(progress::follow(tasker.store().clone(), task_id, names, events, show, session.stop.clone()));
    let options = WorkerOptions { concurrency: args.concurrency, ..WorkerOptions::default() };
    let driven = tasker.drive(task_id, options, Some(observer), session.stop.clone()).await;
    // ends when the engine has let go of the observer
    let _ = progress.await;

    let door = Door::Database(Box::new(tasker.clone()));
    let (store, took) = (tasker.store(), started.elapsed());
    let outcome = Outcome { session, store, door: &door, definition, file: &args.file, task_id, took };
    match driven {
        Ok(Driven::Rests(context)) => outcome.at_rest(&context).await,
        Ok(Driven::Interrupted) => outcome.interrupted().await,
        Err(error) => {
            let failure = Failure::from(error);
            let message = format!("{failure}\nwhen that is mended, go on with:\n    {}", outcome.resume());
            Err(Failure { message, code: None, ..failure })
        }
    }
}

/// Reads the file and gives it its version.
fn definition(args: &Args) -> Result<Definition, Failure> {
    let mut definition =
        Definition::from_file(&args.file, &[]).map_err(|refused| refuse(&args.file, &refused.to_string()))?;
    let mut foreign: Vec<String> = definition
        .steps
        .iter()
        .filter(|step| !BUILT_IN.contains(&step.handler.as_str()))
        .map(|step| {
            format!(
                "{}: step `{}` has the handler `{}`, which is a function of a program",
                args.file.display(),
                step.name,
                step.handler
            )
        })
        .collect();
    if !foreign.is_empty() {
        foreign.push(format!("`tasker run` has the handlers {}", BUILT_IN.join(", ")));
        return Err(refuse(&args.file, &foreign.join("\n")));
    }
    definition.version = format!("{}+{}", definition.version, &definition.content_hash()[..HASH_CHARACTERS]);
    Ok(definition)
}

fn refuse(file: &Path, problems: &str) -> Failure {
    Failure::misused(format!("{} is refused, and nothing was run:\n{problems}", file.display()))
}

/// Reads the input and checks it against the workflow's schema.
fn input(given: Option<&str>, definition: &Definition) -> Result<Value, Failure> {
    let text = match given.map(|given| given.split_at_checked(1)) {
        None => "{}".into(),
        Some(Some(("@", file))) => {
            read(file).map_err(|error| Failure::misused(format!("--input: {file} cannot be read: {error}")))?
        }
        Some(_) => given.unwrap_or_default().to_string(),
    };
    let text = json::check(&text).map_err(|invalid| Failure::misused(format!("--input: {invalid}")))?;
    let value = serde_json::from_str(text.get()).map_err(|error| Failure::misused(format!("--input: {error}")))?;
    definition.check_input(&value).map_err(|problems| Failure::misused(format!("--input:\n{}", problems.join("\n"))))
}

/// Reads a file of at most a little more than an input may have; `-` is stdin.
fn read(file: &str) -> std::io::Result<String> {
    let mut text = String::new();
    let at_most = json::MAX_BYTES as u64 + 1;
    match file {
        "-" => std::io::stdin().take(at_most).read_to_string(&mut text)?,
        _ => fs::File::open(file)?.take(at_most).read_to_string(&mut text)?,
    };
    Ok(text)
}

/// Refuses to go on with a task of another workflow, or of this one as it was before the file was edited.
async fn refuse_another(tasker: &Tasker, task_id: Uuid, definition: &Definition, args: &Args) -> Result<(), Failure> {
    let Some((_, hash)) = tasker.store().workflow_of(task_id).await? else {
        return Err(unknown_task(task_id));
    };
    if hash == definition.content_hash() {
        return Ok(());
    }
    let task = tasker.store().task(task_id).await?;
    let began = task.map(|task| format!("{} {}", task.workflow, task.version)).unwrap_or_default();
    Err(Failure::misused(format!(
        "task {task_id} began with {began}, and {} now has {}.{} {}: a task goes on only with the content with which it began. \
         Restore the file, or run it anew without --resume",
        args.file.display(),
        definition.namespace,
        definition.name,
        definition.version
    )))
}
