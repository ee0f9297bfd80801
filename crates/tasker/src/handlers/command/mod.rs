//! The handler `command` runs a program and keeps what it prints.
//!
//! No shell stands between: the program receives its arguments as they are. It runs in a process group of its own,
//! and whatever is left of that group when the attempt is over, for whatever reason, is killed. The result is what
//! the program printed, as JSON, as lines or as text; `select` picks from it before anything is stored, so that a
//! program which prints megabytes is no burden to the database.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::Child,
    time::timeout,
};

use super::{Attempt, BoxFuture, Handler, Outcome, StepError, Text, arguments_of, with_invalid};
use crate::{place::Place, template};

/// Variables by which the worker itself reaches the database or a server: a program has them only where its step says so.
const OWN: [&str; 3] = ["DATABASE_URL", "TASKER_DIRECT_URL", "TASKER_KEY"];
/// How much of the end of standard error (or, where that is empty, of standard output) an error's message carries.
const TAIL: usize = 4096;

/// What a program may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// More standard output than this, in bytes, ends the program.
    stdout: usize,
    /// How long a program that was asked to end (SIGTERM) may take to do so before it is killed.
    grace: Duration,
    /// How long output is still read after the program has ended, while something that it left behind keeps it open.
    drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        // 64 MiB is ten times what `cargo metadata` prints for a large workspace.
        Limits { stdout: 64 << 20, grace: Duration::from_secs(5), drain: Duration::from_secs(2) }
    }
}

/// Runs programs; see the module's text.
pub(super) struct Command {
    /// Where a program runs; a relative `cwd` is relative to it.
    pub base_dir: Arc<Path>,
    /// What a program may take.
    pub limits: Limits,
}

impl Handler for Command {
    fn run(&self, attempt: Attempt) -> BoxFuture<Result<Outcome, StepError>> {
        let (base_dir, limits) = (self.base_dir.clone(), self.limits);
        Box::pin(async move {
            let with: With = arguments_of("command", &attempt.with)?;
            let stdout = run(&with, &base_dir, limits, &attempt).await?;
            // Reading megabytes of JSON takes a while, and heartbeats must not wait for it.
            let result = tokio::task::spawn_blocking(move || with.result(&stdout, &attempt)).await;
            result.map_err(|panic| StepError::new(format!("reading the output: {panic}")))?
        })
    }
}

/// The handler's arguments.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct With {
    program: Text,
    #[serde(default)]
    args: Vec<Text>,
    /// Variables beside those of the worker (without its secrets, `DATABASE_URL`, `TASKER_DIRECT_URL` and `TASKER_KEY`); `null` removes one.
    #[serde(default)]
    env: BTreeMap<String, Option<Text>>,
    cwd: Option<Text>,
    /// Text as it is, other values as JSON; `null`: nothing to read.
    #[serde(default)]
    stdin: Value,
    output: Option<Output>,
    select: Option<String>,
}

/// How standard output is understood; where it is not said: as JSON if it is an object or a list, else as text.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Output {
    Json,
    Lines,
    /// Without the line ends at its end, as a shell's `$(..)`.
    Text,
}

impl With {
    fn spawn(&self, base_dir: &Path, attempt: &Attempt) -> Result<Child, StepError> {
        let program = &self.program.0;
        let cwd = self.cwd.as_ref().map_or_else(|| base_dir.to_owned(), |cwd| base_dir.join(&cwd.0));
        if !cwd.is_dir() {
            let message = format!("`{program}` is to run in {}, which is not a folder", cwd.display());
            return Err(StepError::fatal(message).kind("cwd_not_found"));
        }
        let mut command = tokio::process::Command::new(program);
        command.current_dir(cwd).process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if self.stdin.is_null() { Stdio::null() } else { Stdio::piped() });
        command.args(self.args.iter().map(|arg| &arg.0));
        command
            .env("TASKER_TASK_ID", attempt.task_id.to_string())
            .env("TASKER_STEP_NAME", &*attempt.step_name)
            .env("TASKER_ATTEMPT", attempt.number.to_string())
            .env("TASKER_IDEMPOTENCY_KEY", attempt.idempotency_key());
        // a step is given the secrets that it names, and no other
        let is_kept = |name: &std::ffi::OsStr| OWN.iter().any(|own| name == *own) || template::is_secret(name);
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_kept(name)) {
            command.env_remove(name);
        }
        for (name, value) in &self.env {
            match value {
                Some(value) => command.env(name, &value.0),
                None => command.env_remove(name),
            };
        }
        command.spawn().map_err(|error| not_started(program, &error))
    }

    fn input(&self) -> Vec<u8> {
        match &self.stdin {
            Value::String(text) => text.clone().into_bytes(),
            value => value.to_string().into_bytes(),
        }
    }

    /// The step's result: what was printed, as `output` says, and of that what `select` says.
    fn result(&self, stdout: &[u8], attempt: &Attempt) -> Result<Outcome, StepError> {
        let output = self.output(&clean(stdout))?;
        match &self.select {
            None => Outcome::complete(&output),
            Some(select) => {
                let with = Place::Root.member("with");
                let scope = attempt.scope().and("output", &output);
                Outcome::complete(&template::evaluate(with.member("select"), select, &scope)?)
            }
        }
    }

    /// What was printed, as JSON. JSON stays as it was printed, so that its large numbers stay exact.
    fn output(&self, text: &str) -> Result<Box<RawValue>, StepError> {
        let json = || RawValue::from_string(text.trim().to_owned());
        let whole = || to_raw_value(text.trim_end_matches(['\n', '\r']));
        let read = match self.output {
            Some(Output::Json) => json(),
            Some(Output::Lines) => to_raw_value(&text.lines().collect::<Vec<_>>()),
            None if text.trim_start().starts_with(['{', '[']) => json().or_else(|_| whole()),
            Some(Output::Text) | None => whole(),
        };
        let program = &self.program.0;
        read.map_err(|error| StepError::new(format!("`{program}` did not print JSON: {error}")).kind("output_invalid"))
    }
}

/// Text that PostgreSQL can store: odd bytes and NULs become U+FFFD.
fn clean(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}")
}

fn not_started(program: &str, error: &io::Error) -> StepError {
    let message = format!("`{program}` could not be started: {error}");
    match error.kind() {
        io::ErrorKind::NotFound => StepError::fatal(message).kind("program_not_found"),
        io::ErrorKind::PermissionDenied => StepError::fatal(message).kind("program_not_executable"),
        io::ErrorKind::ArgumentListTooLong => StepError::fatal(message).kind("arguments_too_long"),
        // The only thing that cannot be passed on to a program.
        io::ErrorKind::InvalidInput => with_invalid("command", "a NUL character stands in its texts"),
        _ => StepError::new(message).kind("program_not_started"),
    }
}

/// Runs the program to its end and gives what it has printed, or ends it when the attempt is cancelled. Dropping the
/// future kills its group.
async fn run(with: &With, base_dir: &Path, limits: Limits, attempt: &Attempt) -> Result<Vec<u8>, StepError> {
    let program = &with.program.0;
    let child = with.spawn(base_dir, attempt)?;
    let group = Group::of(&child);
    let mut running = std::pin::pin!(watch(child, with.input(), limits));
    let ended = tokio::select! {
        ended = &mut running => ended.map_err(|error| error.of(program))?,
        () = attempt.cancellation.cancelled() => {
            group.send(Signal::TERM);
            let _ = timeout(limits.grace, running).await;
            return Err(StepError::new(format!("`{program}` was ended, because its attempt was")).kind("cancelled"));
        }
    };
    if ended.status.success() {
        return Ok(ended.stdout);
    }
    let last_words = [&ended.stderr, &ended.stdout].into_iter().find(|said| !said.is_empty());
    let last_words = last_words.map_or(String::new(), |said| format!("\n{}", clean(tail(said)).trim_end()));
    let kind = if ended.status.code().is_some() { "exit_code" } else { "killed_by_signal" };
    Err(StepError::new(format!("`{program}` failed: {}{last_words}", ended.status)).kind(kind))
}

/// A process group, killed when dropped.
struct Group(Option<Pid>);

impl Group {
    fn of(leader: &Child) -> Group {
        Group(leader.id().and_then(|id| Pid::from_raw(id.cast_signed())))
    }

    fn send(&self, signal: Signal) {
        if let Some(leader) = self.0 {
            // It fails where nothing of the group is left, which is what a signal is for.
            let _ = kill_process_group(leader, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.send(Signal::KILL);
    }
}

/// A program that has ended.
struct Ended {
    status: ExitStatus,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Why a program could not be watched to its end.
enum WatchError {
    /// More output than this many bytes.
    TooMuch(usize),
    Io(io::Error),
}

impl From<io::Error> for WatchError {
    fn from(error: io::Error) -> Self {
        WatchError::Io(error)
    }
}

impl WatchError {
    fn of(self, program: &str) -> StepError {
        match self {
            WatchError::TooMuch(limit) => {
                StepError::fatal(format!("`{program}` printed more than {limit} bytes")).kind("output_too_large")
            }
            WatchError::Io(error) => StepError::new(format!("`{program}`: {error}")).kind("io_error"),
        }
    }
}

/// Feeds a program, reads what it prints and waits for its end. Its end counts, not that of its output: what it
/// leaves behind may keep that open for ever. Neither does it have to read what it is fed.
async fn watch(mut child: Child, input: Vec<u8>, limits: Limits) -> Result<Ended, WatchError> {
    let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let status = {
        let feed = async {
            if let Some(mut stdin) = stdin {
                let _ = stdin.write_all(&input).await;
            }
        };
        let ended = async {
            tokio::select! {
                status = child.wait() => status,
                status = async { feed.await; std::future::pending().await } => status,
            }
        };
        let read = async { tokio::try_join!(keep_all(out, &mut stdout, limits.stdout), keep_tail(err, &mut stderr)) };
        let (mut ended, mut read) = (std::pin::pin!(ended), std::pin::pin!(read));
        tokio::select! {
            read = &mut read => {
                read?;
                ended.await?
            }
            status = &mut ended => {
                if let Ok(read) = timeout(limits.drain, read).await {
                    read?;
                }
                status?
            }
        }
    };
    Ok(Ended { status, stdout, stderr })
}

async fn keep_all(source: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>, limit: usize) -> Result<(), WatchError> {
    let Some(source) = source else { return Ok(()) };
    source.take(limit as u64 + 1).read_to_end(kept).await?;
    if kept.len() > limit { Err(WatchError::TooMuch(limit)) } else { Ok(()) }
}

async fn keep_tail(source: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) -> Result<(), WatchError> {
    let Some(mut source) = source else { return Ok(()) };
    while source.read_buf(kept).await? > 0 {
        if kept.len() > 16 * TAIL {
            kept.drain(..kept.len() - TAIL);
        }
    }
    Ok(())
}

/// The last [`TAIL`] bytes, from the beginning of a character on.
fn tail(bytes: &[u8]) -> &[u8] {
    let tail = &bytes[bytes.len().saturating_sub(TAIL)..];
    let begins = tail.iter().take(4).position(|byte| byte & 0xc0 != 0x80).unwrap_or(0);
    if tail.len() < bytes.len() { &tail[begins..] } else { tail }
}

#[cfg(test)]
mod tests;
