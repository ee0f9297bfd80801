//! What survives when a run is stopped or killed: every finished step, once.

use crate::support::{Place, steps};

/// Each step appends its name to the file `ran`; `second` waits for a file.
const THREE: &str = r#"
name: three
version: 1.0.0
steps:
  - name: first
    handler: command
    with: { program: sh, args: [-c, "echo first >> ran"] }
  - name: second
    handler: command
    depends_on: [first]
    with: { program: sh, args: [-c, "echo second >> ran; until test -e go; do sleep 0.05; done"] }
  - name: third
    handler: command
    depends_on: [second]
    with: { program: sh, args: [-c, "echo third >> ran"] }
"#;

#[test]
fn after_kill_9_it_goes_on_and_no_finished_step_runs_again() {
    let place = Place::new();
    place.write("three.yaml", THREE);
    let running = place.start(&["run", "three.yaml"]);
    place.wait_for_lines("ran", 2);
    running.signal("KILL");
    let killed = running.end();
    assert_eq!(killed.code, None);
    let task = killed.task_id();

    // another content is refused, and so is a task that is not there
    place.write("edited.yaml", &THREE.replace("echo third", "echo 3"));
    let ended = place.tasker(&["run", "edited.yaml", "--resume", &task]).with(2);
    assert!(ended.stderr.contains("goes on only with the content with which it began"), "{ended:#?}");
    let ended = place.tasker(&["run", "three.yaml", "--resume", "01a20fe7-19ca-7537-ad02-000000000000"]).with(2);
    assert!(ended.stderr.contains("there is no task"), "{ended:#?}");

    place.write("go", "");
    let answer = place.tasker(&["run", "three.yaml", "--resume", &task, "--json"]).with(0).json();
    assert_eq!(steps(&answer), ["first:complete:1", "second:complete:2", "third:complete:1"]);
    assert_eq!(place.lines("ran"), ["first", "second", "second", "third"]);

    // what has ended is only told
    let again = place.tasker(&["run", "three.yaml", "--resume", &task, "--json"]).with(0).json();
    assert_eq!(again["steps"], answer["steps"]);
    assert_eq!(place.lines("ran").len(), 4);
}

#[test]
fn a_signal_gives_the_running_step_back_and_says_how_to_go_on() {
    let place = Place::new();
    place.write("three.yaml", THREE);
    let mut running = place.start(&["run", "three.yaml", "--json"]);
    let mut resume = String::new();
    for (signal, lines) in [("INT", 2), ("TERM", 3), ("HUP", 4)] {
        place.wait_for_lines("ran", lines);
        running.signal(signal);
        let ended = running.end().with(130);
        assert_eq!(steps(&ended.json()), ["first:complete:1", "second:pending:0", "third:pending:0"]);
        resume = ended.task_id();
        let [line] = ended.to_paste()[..] else { panic!("{ended:#?}") };
        assert!(line.ends_with(&format!("run three.yaml --resume {resume}")), "{line}");
        running = place.start(&["run", "three.yaml", "--json", "--resume", &resume]);
    }
    place.write("go", "");
    let ended = running.end().with(0);
    assert_eq!(ended.task_id(), resume);
    assert_eq!(steps(&ended.json()), ["first:complete:1", "second:complete:1", "third:complete:1"]);
    assert_eq!(place.lines("ran"), ["first", "second", "second", "second", "second", "third"]);
}
