//! The exit codes of `run`, and what it prints with each.

use std::{os::unix::fs::PermissionsExt, time::Instant};

use crate::support::{Place, steps, wait_for};

const GREETING: &str = r#"
name: greeting
namespace: demo
version: 1.2.3
input:
  type: object
  properties:
    who: { type: string, default: world }
  additionalProperties: false
steps:
  - name: greet
    handler: command
    with: { program: echo, args: ["hello, {{ input.who }}"] }
  - name: answer
    handler: transform
    depends_on: [greet]
    with: { value: { said: "{{ steps.greet.result }}", large: 9007199254740993 } }
"#;

#[test]
fn done_is_0_with_one_object_on_stdout_and_the_task_on_stderr() {
    let place = Place::new();
    place.write("greeting.yaml", GREETING);
    place.write("input.json", r#"{ "who": "you" }"#);
    let ended = place.tasker(&["run", "greeting.yaml", "--input", "@input.json", "--json"]).with(0);
    let answer = ended.json();
    assert_eq!(answer["task_id"], ended.task_id());
    assert_eq!((&answer["status"], &answer["total_steps"]), (&"complete".into(), &2.into()));
    assert_eq!(steps(&answer), ["greet:complete:1", "answer:complete:1"]);
    assert!(answer["steps"][0]["error"].is_null() && answer["steps"][1]["error"].is_null());
    assert!(
        ended.stdout.contains(r#""result":{"said":"hello, you","large":9007199254740993}"#),
        "results keep their text"
    );

    // an edited file just runs, and without --json the last steps' results are printed
    place.write("greeting.yaml", &GREETING.replace("hello, ", "good day, "));
    let ended = place.tasker(&["run", "greeting.yaml"]).with(0);
    assert_eq!(ended.stdout, "answer: {\"said\":\"good day, world\",\"large\":9007199254740993}\n");
    assert!(
        ended.stderr.contains("greet: complete in ") && ended.stderr.contains("complete: 2 steps in "),
        "{ended:#?}"
    );
    let versions = place.tasker(&["task", "list", "--json"]).json();
    assert_ne!(versions[0]["version"], versions[1]["version"]);
}

#[test]
fn what_render_wrote_is_printed_where_it_is() {
    let place = Place::new();
    place.write("page.yaml", "name: page\nversion: 1.0.0\nsteps:\n  - name: page\n    handler: render\n    with: { template: hello, path: out/page.html }\n");
    let ended = place.tasker(&["run", "page.yaml"]).with(0);
    let path = place.path("out/page.html").canonicalize().unwrap();
    assert_eq!(ended.stdout, format!("page: {}\n", path.display()));
}

#[test]
fn a_failure_is_1_and_the_lines_to_paste_help() {
    let place = Place::new();
    place.write(
        "deploy.yaml",
        r#"
name: deploy
version: 1.0.0
steps:
  - name: build
    handler: command
    retry: { max_attempts: 2, base_delay: 10ms }
    with: { program: sh, args: [-c, "test -e ready || { echo no compiler here >&2; exit 7; }"] }
  - name: ship
    handler: transform
    depends_on: [build]
    with: { value: "{{ steps.build.result }}" }
  - name: announce
    handler: transform
    with: { value: 1 }
"#,
    );
    let ended = place.tasker(&["run", "deploy.yaml", "--json"]).with(1);
    let answer = ended.json();
    assert_eq!(answer["status"], "failed");
    assert_eq!(steps(&answer), ["build:failed:2", "ship:pending:0", "announce:complete:1"]);
    assert_eq!(answer["steps"][0]["error"], "`sh` failed: exit status: 7\nno compiler here");
    for said in ["no compiler here", "retries_exhausted: 2 of 2 attempts are used", "1 step waits for it"] {
        assert!(ended.stderr.contains(said), "{said} is not in {ended:#?}");
    }
    let [retry, resume, resolve, _] = ended.to_paste()[..] else { panic!("{ended:#?}") };

    // begun anew without a change it fails again, and resolving it by hand lets the rest run
    place.paste(retry).with(0);
    place.paste(resume).with(1);
    place.paste(resolve).with(0);
    let answer = place.paste(&format!("{resume} --json")).with(0).json();
    assert_eq!(steps(&answer), ["build:resolved_manually:4", "ship:complete:1", "announce:complete:1"]);
    assert_eq!(answer["steps"][1]["result"], serde_json::json!({}));
}

#[test]
fn a_bad_file_or_input_is_2_with_all_that_is_wrong_and_nothing_begun() {
    let place = Place::new();
    place.write("bad.yaml", "name: bad\nversion: 1.0.0\nsteps:\n  - name: one\n    handler: comand\n    depends_on: [twoo]\n  - name: two\n    handler: sleep\n    with: { duration: soon }\n");
    let ended = place.tasker(&["run", "bad.yaml", "--json"]).with(2);
    assert_eq!(ended.stdout, "");
    for said in ["bad.yaml:5:", "`command`", "bad.yaml:6:", "`two`", "bad.yaml:9:"] {
        assert!(ended.stderr.contains(said), "{said} is not in {ended:#?}");
    }
    place.write("greeting.yaml", GREETING);
    let ended = place.tasker(&["run", "greeting.yaml", "--input", r#"{ "who": 7, "why": 1 }"#]).with(2);
    assert!(ended.stderr.contains("input.who") && ended.stderr.contains("why"), "{ended:#?}");
    for (input, said) in [("[]", "object"), ("{", "--input"), ("@absent.json", "absent.json cannot be read")] {
        let ended = place.tasker(&["run", "greeting.yaml", "--input", input]).with(2);
        assert!(ended.stderr.contains(said), "{said} is not in {ended:#?}");
    }
    place.write("function.yaml", "name: f\nversion: 1.0.0\nsteps:\n  - name: one\n    handler: shop.order.ship\n");
    let ended = place.tasker(&["run", "function.yaml"]).with(2);
    assert!(ended.stderr.contains("`shop.order.ship`, which is a function of a program"), "{ended:#?}");
    place.tasker(&["run", "absent.yaml"]).with(2);
    place.tasker(&["run"]).with(2);
    assert!(!place.path(".tasker").exists(), "nothing was begun");
}

#[test]
fn no_database_is_3_at_once() {
    let place = Place::new();
    place.write("greeting.yaml", GREETING);
    let ended = place.tasker(&["run", "greeting.yaml", "--database", "postgres://nobody@127.0.0.1:1/none"]).with(3);
    assert!(ended.stderr.contains("the database at 127.0.0.1:1 cannot be reached: Connection refused"), "{ended:#?}");
    for (url, why) in
        [("shop", "begins neither with postgres://"), ("postgres://ann:secret@host:x/shop", "invalid port")]
    {
        let ended = place.tasker(&["task", "list", "--database", url]).with(2);
        assert!(
            ended.stderr.contains("not the URL of a PostgreSQL server") && ended.stderr.contains(why),
            "{ended:#?}"
        );
        assert!(!ended.stderr.contains("secret"), "{ended:#?}");
    }
    place.write("a_file", "");
    place.tasker(&["run", "greeting.yaml", "--folder", "a_file"]).with(3);
    let ended = place.tasker(&["task", "list"]).with(3);
    assert!(ended.stderr.contains("there is no embedded database in .tasker"), "{ended:#?}");
    let ended = place.tasker(&["task", "list", "--folder", "."]).with(3);
    assert!(ended.stderr.contains("there is no embedded database in ."), "{ended:#?}");
    assert!(!place.path("postgres").exists(), "looking makes nothing");
}

#[test]
fn a_folder_serves_one_process_at_a_time_and_says_so() {
    let place = Place::new();
    place.write("wait.yaml", "name: wait\nversion: 1.0.0\nsteps:\n  - name: wait\n    handler: command\n    with: { program: sh, args: [-c, 'echo on >> begun; until test -e go; do sleep 0.05; done'] }\n");
    let first = place.start(&["run", "wait.yaml"]);
    place.wait_for_lines("begun", 1);
    let began = Instant::now();
    let second = place.tasker(&["task", "list"]).with(3);
    assert!(second.stderr.contains("has the embedded database in .tasker open"), "{second:#?}");
    assert_eq!(second.stderr.lines().count(), 1, "{second:#?}");
    assert!(began.elapsed().as_secs() < 25);
    place.write("go", "");
    first.end().with(0);
    place.tasker(&["task", "list"]).with(0);
}

#[test]
fn a_reader_that_goes_away_is_no_error_and_a_full_disk_is_3() {
    let place = Place::new();
    place.write("greeting.yaml", GREETING);
    let ended = place.start(&["run", "greeting.yaml", "--json"]).end_unread().with(0);
    assert!(!ended.stderr.contains("panicked") && !ended.stderr.contains("error"), "{ended:#?}");
    let ended = place
        .command("sh", &["-c", &format!("{} task list > /dev/full", env!("CARGO_BIN_EXE_tasker"))])
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(3));
}

#[test]
fn a_program_that_a_step_started_does_not_outlive_a_hasty_end() {
    let place = Place::new();
    place.write("stubborn.yaml", "name: stubborn\nversion: 1.0.0\nsteps:\n  - name: stubborn\n    handler: command\n    with: { program: sh, args: [-c, 'trap \"\" TERM; echo $$ >> begun; while :; do sleep 0.1; done'] }\n");
    let running = place.start(&["run", "stubborn.yaml"]);
    place.wait_for_lines("begun", 1);
    running.signal("INT");
    std::thread::sleep(std::time::Duration::from_millis(300));
    let began = Instant::now();
    running.signal("INT");
    running.end().with(130);
    assert!(began.elapsed().as_secs() < 20, "the second Ctrl-C leaves at once");
    let id = &place.lines("begun")[0];
    wait_for("the program's end", || !std::path::Path::new(&format!("/proc/{id}")).exists());
}

#[test]
fn a_folder_that_cannot_be_written_is_3() {
    let place = Place::new();
    place.write("greeting.yaml", GREETING);
    std::fs::create_dir(place.path("locked")).unwrap();
    std::fs::set_permissions(place.path("locked"), std::fs::Permissions::from_mode(0o500)).unwrap();
    // root may write anywhere
    if std::fs::write(place.path("locked/probe"), "").is_err() {
        place.tasker(&["run", "greeting.yaml", "--folder", "locked/database"]).with(3);
    }
}
