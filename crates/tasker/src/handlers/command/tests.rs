//! Programs as steps: what they are given, what they answer, and that all of them dies with its attempt.

use std::{fs, os::unix::fs::PermissionsExt, process};

use serde_json::json;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::ChildStdout,
};

use super::*;
use crate::handlers::testing::{attempt, told};

/// What the handler answers to this `with`, in a folder of its own.
async fn answer(with: Value) -> String {
    let folder = TempDir::new().unwrap();
    answer_in(&folder, with).await
}

async fn answer_in(folder: &TempDir, with: Value) -> String {
    told(command_in(folder).run(attempt(with)).await)
}

fn command_in(folder: &TempDir) -> Command {
    let limits = Limits { grace: Duration::from_millis(200), drain: Duration::from_millis(200), ..Limits::default() };
    Command { base_dir: folder.path().into(), limits }
}

/// A step that runs this text in a shell.
fn sh(script: &str) -> Value {
    json!({ "program": "sh", "args": ["-c", script] })
}

fn with(mut with: Value, more: Value) -> Value {
    let (Value::Object(members), Value::Object(more)) = (&mut with, more) else { panic!("two objects") };
    members.extend(more);
    with
}

#[tokio::test]
async fn output_is_read_as_it_looks_or_as_it_is_said() {
    let as_it_looks = async |text: &str| answer(json!({ "program": "printf", "args": ["%s", text] })).await;
    assert_eq!(as_it_looks("two\nlines\n\r\n").await, r#""two\nlines""#);
    assert_eq!(as_it_looks("").await, r#""""#);
    assert_eq!(as_it_looks(" {\"big\": 12345678901234567890}\n").await, r#"{"big": 12345678901234567890}"#);
    assert_eq!(as_it_looks("[1, 2").await, r#""[1, 2""#);
    assert_eq!(as_it_looks("12").await, r#""12""#);
    let said =
        async |text: &str, output| answer(json!({ "program": "printf", "args": ["%s", text], "output": output })).await;
    assert_eq!(said("[1]\n", "text").await, r#""[1]""#);
    assert_eq!(said("a\r\n\nb\n", "lines").await, r#"["a","","b"]"#);
    assert_eq!(said("", "lines").await, "[]");
    assert_eq!(said("12\n", "json").await, "12");
    let error = said("[1, 2", "json").await;
    assert!(error.starts_with("output_invalid: `printf` did not print JSON: EOF"), "{error}");
}

#[tokio::test]
async fn arguments_reach_the_program_as_they_are() {
    let odd = json!(["%s|", "a b", "$HOME", "`id`", "'\"", "new\nline", "-n", "*", "", 7, true]);
    let result = answer(json!({ "program": "printf", "args": odd })).await;
    assert_eq!(result, r#""a b|$HOME|`id`|'\"|new\nline|-n|*||7|true|""#);
}

#[tokio::test]
async fn the_environment_is_inherited_changed_and_tells_the_attempt() {
    let script = r#"printf '%s ' "$A" "${PATH:+path}" "${HOME-none}" "$TASKER_STEP_NAME" "$TASKER_ATTEMPT"; printf "$TASKER_IDEMPOTENCY_KEY""#;
    let result = answer(with(sh(script), json!({ "env": { "A": 1, "HOME": null } }))).await;
    assert_eq!(result, r#""1 path none step 1 00000000-0000-0000-0000-000001000000:step:0""#);
}

#[tokio::test]
async fn what_the_worker_reaches_its_database_by_is_not_inherited() {
    let script = r#"printf '%s' "${DATABASE_URL-none} ${TASKER_DIRECT_URL-none} ${TASKER_KEY-none} ${PATH:+path}""#;
    let asked = with(sh(script), json!({}));
    // the variables of this process, which other tests read, too: another process has them
    if std::env::var("TASKER_KEY").is_err() {
        let own = std::env::current_exe().unwrap();
        let this = "handlers::command::tests::what_the_worker_reaches_its_database_by_is_not_inherited";
        let run = std::process::Command::new(own)
            .args(["--exact", this])
            .envs([("DATABASE_URL", "a"), ("TASKER_DIRECT_URL", "b"), ("TASKER_KEY", "c")])
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
        return;
    }
    assert_eq!(answer(asked).await, r#""none none none path""#);
    let asked = with(sh(r#"printf '%s' "$DATABASE_URL""#), json!({ "env": { "DATABASE_URL": "given" } }));
    assert_eq!(answer(asked).await, r#""given""#);
}

#[tokio::test]
async fn a_relative_cwd_is_below_the_base_folder() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("sub folder")).unwrap();
    let result = answer_in(&folder, with(sh("pwd -P"), json!({ "cwd": "sub folder" }))).await;
    assert_eq!(result, json!(folder.path().canonicalize().unwrap().join("sub folder")).to_string());
    let error = answer_in(&folder, with(sh("pwd"), json!({ "cwd": "absent" }))).await;
    assert!(error.starts_with("cwd_not_found (fatal): `sh` is to run in "), "{error}");
}

#[tokio::test]
async fn stdin_is_text_or_json_or_nothing() {
    let cat = async |stdin| answer(json!({ "program": "cat", "stdin": stdin, "output": "text" })).await;
    assert_eq!(cat(json!("as it is\n")).await, r#""as it is""#);
    assert_eq!(cat(json!({ "a": [1, "é"] })).await, r#""{\"a\":[1,\"é\"]}""#);
    assert_eq!(cat(Value::Null).await, r#""""#);
}

#[tokio::test]
async fn a_program_need_not_read_what_it_is_fed() {
    let megabytes = "x".repeat(4 << 20);
    assert_eq!(answer(with(sh("echo done"), json!({ "stdin": megabytes }))).await, r#""done""#);
    // `cat` answers while it is still being fed: neither side waits for the other.
    let fed = json!({ "program": "cat", "stdin": megabytes, "select": "output|length" });
    assert_eq!(answer(fed).await, (4 << 20).to_string());
}

#[tokio::test]
async fn select_picks_from_more_than_could_be_stored() {
    let script = r#"echo '{"packages": ['; i=0; while [ $i -lt 40000 ]; do echo '{"name": "a-package-with-a-name", "n": 1},'; i=$((i+1)); done; echo '{"name": "last", "n": 2}]}'"#;
    let select = "{'count': output.packages|length, 'last': output.packages|last, 'who': input.who, 'parent': steps.count.result}";
    assert_eq!(
        answer(with(sh(script), json!({ "select": select }))).await,
        r#"{"count":40001,"last":{"name":"last","n":2},"who":"<Ann>","parent":7}"#
    );
    let error = answer(sh(script)).await;
    assert!(error.starts_with("result_not_storable (fatal): its result cannot be stored: "), "{error}");
    let error = answer(with(sh("echo '{}'"), json!({ "select": "output.packages|length" }))).await;
    assert!(error.starts_with("template_error (fatal): with.select: "), "{error}");
}

#[tokio::test]
async fn odd_bytes_become_replacement_characters() {
    assert_eq!(answer(sh(r"printf 'a\377\000\303\251'")).await, "\"a\u{fffd}\u{fffd}é\"");
    let error = answer(sh(r"printf 'bad \377\000' >&2; exit 3")).await;
    assert_eq!(error, "exit_code: `sh` failed: exit status: 3\nbad \u{fffd}\u{fffd}");
    let error = answer(json!({ "program": "printf", "args": ["[\"\\\\u0000\"]"] })).await;
    assert!(error.starts_with("result_not_storable (fatal): "), "{error}");
}

#[tokio::test]
async fn a_failure_carries_the_end_of_what_the_program_said() {
    assert_eq!(answer(sh("echo out; exit 1")).await, "exit_code: `sh` failed: exit status: 1\nout");
    assert_eq!(answer(sh("echo out; echo err >&2; exit 1")).await, "exit_code: `sh` failed: exit status: 1\nerr");
    assert_eq!(answer(sh("kill -9 $$")).await, "killed_by_signal: `sh` failed: signal: 9 (SIGKILL)");
    let error =
        answer(sh("i=0; while [ $i -lt 20000 ]; do echo ééééé >&2; i=$((i+1)); done; echo last >&2; exit 1")).await;
    assert!(error.ends_with("ééééé\nlast") && !error.contains('\u{fffd}'), "{}", &error[error.len() - 100..]);
    assert!((4000..4200).contains(&error.len()), "{} bytes", error.len());
}

#[tokio::test]
async fn a_program_that_cannot_be_started_fails_for_good() {
    let error = answer(json!({ "program": "no-such-program-anywhere" })).await;
    assert!(error.starts_with("program_not_found (fatal): `no-such-program-anywhere` could not be started"), "{error}");
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("plain"), "").unwrap();
    fs::set_permissions(folder.path().join("plain"), fs::Permissions::from_mode(0o644)).unwrap();
    let error = answer_in(&folder, json!({ "program": "./plain" })).await;
    assert!(error.starts_with("program_not_executable (fatal): "), "{error}");
    let error = answer(json!({ "program": "true", "args": ["x".repeat(1 << 20)] })).await;
    assert!(error.starts_with("arguments_too_long (fatal): "), "{error}");
}

#[tokio::test]
async fn wrong_arguments_fail_for_good() {
    let refused = [
        (json!(null), "invalid type: null"),
        (json!({ "program": "sh", "argv": [] }), "unknown field `argv`"),
        (json!({ "program": "sh", "args": ["-c", {"a": 1}] }), r#"{"a":1} stands where text, a number or a boolean"#),
        (json!({ "program": "sh", "args": ["a\u{0}b"] }), "a NUL character stands in its texts"),
        (json!({ "program": "sh", "output": "xml" }), "unknown variant `xml`"),
    ];
    for (with, reason) in refused {
        let error = answer(with).await;
        assert!(error.starts_with("with_invalid (fatal): `with` is not what `command` takes: "), "{error}");
        assert!(error.contains(reason), "{error}");
    }
}

#[tokio::test]
async fn a_program_that_prints_without_end_is_ended() {
    let folder = TempDir::new().unwrap();
    let command = Command { limits: Limits { stdout: 1 << 20, ..Limits::default() }, ..command_in(&folder) };
    let error = told(command.run(attempt(json!({ "program": "yes" }))).await);
    assert_eq!(error, "output_too_large (fatal): `yes` printed more than 1048576 bytes");
    let loud = sh("i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789 >&2; i=$((i+1)); done");
    assert_eq!(answer(loud).await, r#""""#, "standard error may be long");
}

#[tokio::test]
async fn what_a_program_leaves_behind_neither_holds_the_step_nor_lives_on() {
    let folder = TempDir::new().unwrap();
    let mut alive = Alive::watch(&folder);
    let result = answer_in(&folder, sh("exec 9>alive; echo started >&9; sleep 1000 & echo done")).await;
    assert_eq!(result, r#""done""#);
    assert_eq!(alive.last_words().await, "started\n");
}

#[tokio::test]
async fn a_dropped_attempt_kills_the_whole_group() {
    let folder = TempDir::new().unwrap();
    let mut alive = Alive::watch(&folder);
    let script = sh("trap '' TERM; exec 9>alive; echo started >&9; sleep 1000 & sleep 1000");
    let running = tokio::spawn(command_in(&folder).run(attempt(script)));
    assert_eq!(alive.line().await, "started\n");
    running.abort();
    assert_eq!(alive.last_words().await, "");
}

#[tokio::test]
async fn a_cancelled_attempt_asks_the_group_to_end_and_then_kills_it() {
    let folder = TempDir::new().unwrap();
    let mut alive = Alive::watch(&folder);
    // The shell says good-bye; its child does not listen and must be killed.
    let script = "exec 9>alive; trap 'echo bye >&9; exit' TERM; (trap '' TERM; echo ready >&9; sleep 1000) & wait";
    let attempt = attempt(sh(script));
    let cancellation = attempt.cancellation.clone();
    let running = tokio::spawn(command_in(&folder).run(attempt));
    assert_eq!(alive.line().await, "ready\n");
    cancellation.cancel();
    assert_eq!(told(running.await.unwrap()), "cancelled: `sh` was ended, because its attempt was");
    assert_eq!(alive.last_words().await, "bye\n");
}

/// Reads a named pipe, `alive`: its end is there when every process that has opened it is dead.
struct Alive {
    said: BufReader<ChildStdout>,
    _reader: Child,
}

impl Alive {
    const PATIENCE: Duration = Duration::from_secs(60);

    fn watch(folder: &TempDir) -> Alive {
        let path = folder.path().join("alive");
        assert!(process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let mut reader = tokio::process::Command::new("cat");
        let mut reader = reader.arg(&path).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        Alive { said: BufReader::new(reader.stdout.take().unwrap()), _reader: reader }
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        timeout(Self::PATIENCE, self.said.read_line(&mut line)).await.expect("a sign of life").unwrap();
        line
    }

    async fn last_words(&mut self) -> String {
        let mut words = String::new();
        timeout(Self::PATIENCE, self.said.read_to_string(&mut words)).await.expect("their death").unwrap();
        words
    }
}
