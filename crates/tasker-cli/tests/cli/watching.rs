//! `tasker task watch`: a line for each change, a picture on a terminal, and a server that is away meanwhile.

use std::{
    io::{BufRead, BufReader},
    process::Command,
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use serde_json::Value;

use crate::{
    http::address,
    server::Server,
    support::{Place, Running, wait_for},
};

/// `gate` runs until the file `go` is there; what depends on it fails once.
const GATE: &str = r#"
name: gate
version: 1.0.0
steps:
  - { name: before, handler: transform, with: { value: 1 } }
  - { name: gate, handler: command, depends_on: [before], with: { program: sh, args: [-c, "until test -e go; do sleep 0.05; done"] } }
  - { name: shaky, handler: command, depends_on: [gate], retry: { base_delay: 10ms }, with: { program: sh, args: [-c, "test -e again || { touch again; echo not yet >&2; exit 1; }"] } }
"#;

/// A server's database with a worker, and a task whose gate runs.
fn gate() -> (Server, Running, String) {
    let server = Server::new();
    let place = &server.place;
    place.tasker(&["migrate"]).with(0);
    place.write("gate.yaml", GATE);
    place.tasker(&["workflow", "register", "gate.yaml"]).with(0);
    let worker = place.start(&["worker", "--allow-command"]);
    let task = submit(place);
    (server, worker, task)
}

fn submit(place: &Place) -> String {
    let task = place.tasker(&["task", "submit", "gate"]).with(0).stdout.trim().to_owned();
    let gate = || place.tasker(&["explain", &task, "gate", "--json"]).with(0).json();
    wait_for("the gate to run", || gate()["current_state"] == "in_progress");
    task
}

/// What a command tells, line by line.
fn lines(reader: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(reader).lines() {
            let _ = sender.send(line.unwrap());
        }
    });
    receiver
}

#[track_caller]
fn until(lines: &Receiver<String>, what: &str) {
    while !lines.recv_timeout(Duration::from_secs(30)).expect(what).contains(what) {}
}

#[test]
fn each_change_is_told_once_at_both_doors_and_the_end_is_the_tasks() {
    let (server, _worker, task) = gate();
    let place = &server.place;
    let mut served = place.start(&["serve", "--listen", "127.0.0.1:0"]);
    let url = format!("http://{}", address(&mut served));
    let mut watching: Vec<(Receiver<String>, Running)> =
        [&["--server", &url][..], &["--server", &url, "--json"], &[], &["--json"]]
            .into_iter()
            .map(|door| {
                let mut watch = place.start(&[&["task", "watch", &task], door].concat());
                (lines(watch.stdout()), watch)
            })
            .collect();
    // they are there when the first line is, or, in JSON, when nothing tells: a verb does
    until(&watching[0].0, "1 complete");
    until(&watching[2].0, "1 complete");
    std::thread::sleep(Duration::from_secs(1));
    place.write("go", "");
    let mut told = Vec::new();
    for (lines, watch) in watching.drain(..) {
        watch.end().with(0);
        told.push(lines.iter().collect::<Vec<String>>());
    }
    let words = |lines: &[String]| {
        let word = |line: &String| {
            line.split_once(' ').map_or(String::new(), |(_, rest)| rest.split(" in ").next().unwrap().to_owned())
        };
        lines.iter().map(word).map(|line| line.split(';').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let expected = [
        "gate: complete",
        "shaky: in_progress",
        "shaky: failed, attempt 1 of 3: exit_code: `sh` failed: exit status: 1 not yet",
        "shaky: in_progress, attempt 2 of 3",
        "shaky: complete, attempt 2 of 3",
        "task: complete",
    ];
    assert_eq!(words(&told[0]), expected);
    assert_eq!(words(&told[2]), expected);
    let kinds = |lines: &[String]| {
        let events = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.map(|event| format!("{} {}", event["transition"]["kind"], event["step"]["name"])).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&told[1]), kinds(&told[3]));
    // and last how the task stands
    assert_eq!(kinds(&told[1]).len(), expected.len() + 1);
    let last: Value = serde_json::from_str(told[1].last().unwrap()).unwrap();
    assert_eq!((&last["transition"], last["task"]["status"].as_str()), (&Value::Null, Some("complete")));
    // which is all there is to tell of one that has ended
    let ended = place.tasker(&["task", "watch", &task, "--json"]).with(0);
    assert_eq!(ended.json()["task"]["status"], "complete");
}

#[test]
fn a_server_that_is_away_meanwhile_costs_no_event() {
    let (server, _worker, task) = gate();
    let place = &server.place;
    let mut served = place.start(&["serve", "--listen", "127.0.0.1:0"]);
    let address = address(&mut served);
    let mut watch = place.start(&["task", "watch", &task, "--server", &format!("http://{address}")]);
    let (changes, said) = (lines(watch.stdout()), lines(watch.stderr()));
    until(&changes, "1 complete");
    let mut impatient = place.start(&["task", "watch", &task, "--server", &format!("http://{address}")]);
    until(&lines(impatient.stdout()), "1 complete");
    served.signal("TERM");
    served.end().with(0);
    until(&said, "it is knocked at again");
    until(&lines(impatient.stderr()), "it is knocked at again");
    impatient.signal("INT");
    impatient.end().with(130);
    place.write("go", "");
    wait_for("the task to end without a server", || {
        place.tasker(&["task", "list", "--state", "complete"]).stdout.contains(&task)
    });
    let served = place.start(&["serve", "--listen", &address]);
    until(&said, "it is back");
    let told: Vec<String> = changes.iter().collect();
    assert!(told[0].ends_with("s") && told[0].contains("gate: complete") && told.len() == 6, "{told:#?}");
    until(&said, "complete: 3 steps");
    watch.end().with(0);
    served.signal("TERM");
    served.end().with(0);
}

#[test]
fn a_signal_leaves_the_task_alone_and_nobody_who_reads_is_an_end_too() {
    let (server, _worker, task) = gate();
    let place = &server.place;
    let mut watch = place.start(&["task", "watch", &task]);
    until(&lines(watch.stdout()), "1 complete");
    watch.signal("INT");
    let ended = watch.end().with(130);
    assert!(ended.to_paste()[0].ends_with(&format!("task watch {task}")), "{ended:#?}");
    // the gate still runs
    place.start(&["task", "watch", &task]).end_unread().with(0);
}

#[test]
fn on_a_terminal_the_picture_is_drawn_anew_in_place() {
    if Command::new("script").arg("--version").output().is_err() {
        // there is no terminal to be had here: the pictures have tests of their own
        return;
    }
    let (server, _worker, task) = gate();
    let place = &server.place;
    let line = format!("stty rows 30 cols 100; {} task watch {task}", env!("CARGO_BIN_EXE_tasker"));
    let mut watch = Running::of(place.command("script", &["-qec", &line, "/dev/null"]));
    let drawn = lines(watch.stdout());
    until(&drawn, "1 of 3 steps");
    place.write("go", "");
    let rest: Vec<String> = drawn.iter().collect();
    watch.end().with(0);
    let all = rest.join("\n");
    assert!(all.contains("\x1b[5A"), "it goes back up: {all:?}");
    assert!(all.contains("▸") && all.contains("default.gate 1.0.0") && all.contains("complete"), "{all:?}");
}
