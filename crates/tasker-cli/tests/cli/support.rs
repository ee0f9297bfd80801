//! A folder of its own for each test, in which the binary runs on the embedded database, and nothing in its environment.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// A folder with workflow files.
pub struct Place {
    folder: TempDir,
    /// Of a server; `None`: the embedded database.
    pub database: Option<String>,
}

/// What a finished command left.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Place {
    pub fn new() -> Place {
        Place { folder: TempDir::new().unwrap(), database: None }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// A file's lines; none, where it is not there.
    pub fn lines(&self, name: &str) -> Vec<String> {
        fs::read_to_string(self.path(name)).unwrap_or_default().lines().map(String::from).collect()
    }

    /// A command that is not started yet.
    pub fn command(&self, program: impl AsRef<Path>, args: &[&str]) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .args(args)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for name in ["DATABASE_URL", "TASKER_DIRECT_URL", "TASKER_FOLDER", "TASKER_SERVER", "TASKER_KEY", "RUST_LOG"] {
            command.env_remove(name);
        }
        if let Some(url) = &self.database {
            command.env("DATABASE_URL", url);
        }
        command
    }

    /// Runs `tasker` to its end.
    pub fn tasker(&self, args: &[&str]) -> Ended {
        Ended::of(self.command(BINARY, args).output().unwrap())
    }

    /// Runs `tasker` to its end, with more in its environment.
    pub fn with_env(&self, args: &[&str], variables: &[(&str, &str)]) -> Ended {
        Ended::of(self.command(BINARY, args).envs(variables.iter().copied()).output().unwrap())
    }

    /// Runs a command line that `tasker` has printed for pasting.
    pub fn paste(&self, line: &str) -> Ended {
        Ended::of(self.command("sh", &["-c", line]).output().unwrap())
    }

    /// Starts `tasker`.
    pub fn start(&self, args: &[&str]) -> Running {
        Running::of(self.command(BINARY, args))
    }

    /// Waits until a file has so many lines.
    pub fn wait_for_lines(&self, name: &str, count: usize) {
        wait_for(&format!("{count} lines in {name}"), || self.lines(name).len() >= count);
    }
}

const BINARY: &str = env!("CARGO_BIN_EXE_tasker");

impl Ended {
    fn of(output: Output) -> Ended {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Asserts the exit code.
    #[track_caller]
    pub fn with(self, code: i32) -> Ended {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// The one JSON value on stdout.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// The command lines on stderr that are there to be pasted.
    pub fn to_paste(&self) -> Vec<&str> {
        self.stderr
            .lines()
            .filter_map(|line| line.strip_prefix("    "))
            .filter(|line| line.starts_with(BINARY))
            .collect()
    }

    /// The task's id, which stderr says first.
    pub fn task_id(&self) -> String {
        task_id(&self.stderr).unwrap_or_else(|| panic!("{self:#?}"))
    }
}

/// The id in the line `task ID: ..`.
pub fn task_id(stderr: &str) -> Option<String> {
    Some(stderr.lines().find_map(|line| line.strip_prefix("task "))?.split(':').next()?.to_string())
}

/// A command that has been started; killed when the test fails.
pub struct Running(Option<Child>);

impl Running {
    /// Sends a signal, by its name.
    pub fn signal(&self, name: &str) {
        let id = self.0.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    /// A command that may be another program.
    pub fn of(mut command: Command) -> Running {
        Running(Some(command.spawn().unwrap()))
    }

    /// What it prints, as it prints it: its end leaves nothing of that.
    pub fn stdout(&mut self) -> ChildStdout {
        self.0.as_mut().unwrap().stdout.take().unwrap()
    }

    /// What it tells, as it tells it: its end leaves nothing of that.
    pub fn stderr(&mut self) -> ChildStderr {
        self.0.as_mut().unwrap().stderr.take().unwrap()
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        Ended::of(self.0.take().unwrap().wait_with_output().unwrap())
    }

    /// Closes its stdout and waits for its end.
    pub fn end_unread(mut self) -> Ended {
        let mut child = self.0.take().unwrap();
        drop(child.stdout.take());
        Ended::of(child.wait_with_output().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits, at most half a minute.
#[track_caller]
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < until, "waited in vain for {what}");
        sleep(Duration::from_millis(10));
    }
}

/// The steps of a JSON answer, each as `name:state:attempts`.
pub fn steps(answer: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), String::from);
    let step = |step: &Value| format!("{}:{}:{}", text(&step["name"]), text(&step["state"]), step["attempts"]);
    answer["steps"].as_array().unwrap().iter().map(step).collect()
}
