//! Looking at what there is, and acting on it by hand: `task`, `explain`, `doctor`, `migrate`, in words and in JSON.

use serde_json::json;
use tasker::store::SCHEMA_VERSION;

use crate::support::{Place, steps};

const BLOCKED: &str = r#"
name: blocked
version: 1.0.0
steps:
  - name: broken
    handler: command
    retry: { max_attempts: 1 }
    with: { program: sh, args: [-c, "echo it is broken >&2; exit 1"] }
  - name: after
    handler: transform
    depends_on: [broken]
    with: { value: 1 }
"#;

#[test]
fn what_stands_in_the_way_is_explained_and_mended_by_hand() {
    let place = Place::new();
    place.write("blocked.yaml", BLOCKED);
    let task = place.tasker(&["run", "blocked.yaml"]).with(1).task_id();
    let answer = |args: &[&str]| place.tasker(&[args, &["--json"]].concat()).with(0).json();

    let listed = answer(&["task", "list", "--state", "failed"]);
    assert_eq!((&listed[0]["task_id"], &listed[0]["workflow"]), (&json!(task), &json!("default.blocked")));
    assert_eq!(answer(&["task", "list", "--state", "complete"]), json!([]));
    assert_eq!(steps(&answer(&["task", "show", &task])), ["broken:failed:1", "after:pending:0"]);
    let shown = place.tasker(&["task", "show", &task]).with(0).stdout;
    assert!(
        shown.contains("failed, blocked_by_failures → handle_failures") && shown.contains("it is broken"),
        "{shown}"
    );

    let explained = answer(&["explain", &task, "after"]);
    assert_eq!(explained["blocking_reason"], "dependencies_not_satisfied");
    let causes: Vec<_> = explained["causes"].as_array().unwrap().iter().map(|c| (&c["name"], &c["cause"])).collect();
    assert!(causes.contains(&(&json!("broken"), &json!("retries_exhausted"))), "{causes:?}");
    // a step is found by its id, too
    assert_eq!(answer(&["explain", explained["workflow_step_id"].as_str().unwrap()]), explained);
    let explained = answer(&["explain", &task]);
    assert_eq!((&explained["execution_status"], steps(&explained).len()), (&json!("blocked_by_failures"), 2));
    let explained = place.tasker(&["explain", &task]).with(0).stdout;
    assert!(explained.contains(&format!("task retry {task} broken")), "{explained}");

    assert_eq!(answer(&["doctor"])["findings"], json!([]));
    assert_eq!(
        answer(&["migrate"]),
        json!({ "schema_version": SCHEMA_VERSION, "migrations": [], "replaced": false, "roles": false })
    );

    // the verbs: what they refuse is wrong use
    let refused = place.tasker(&["task", "resolve", &task, "after", "--result", "1"]).with(2);
    assert!(refused.stderr.contains("before every step that it depends on is satisfied"), "{refused:#?}");
    place.tasker(&["task", "resolve", &task, "--result", "1"]).with(2);
    place.tasker(&["task", "cancel", &task, "absent"]).with(2);
    place.tasker(&["task", "resume", "01a20fe7-19ca-7537-ad02-000000000000"]).with(2);
    assert_eq!(answer(&["task", "retry", &task, "--reason", "again"])["state"], "in_progress");
    assert_eq!(answer(&["task", "pause", &task])["state"], "paused");
    let paused = place.tasker(&["run", "blocked.yaml", "--resume", &task]).with(1);
    assert!(
        paused.stderr.contains("paused") && paused.to_paste()[0].ends_with(&format!("task resume {task}")),
        "{paused:#?}"
    );
    assert_eq!(answer(&["task", "resume", &task])["state"], "in_progress");
    assert_eq!(
        answer(&["task", "resolve", &task, "broken", "--result", r#"{ "by": "hand" }"#])["state"],
        "resolved_manually"
    );
    assert_eq!(answer(&["task", "cancel", &task])["state"], "cancelled");
    let cancelled = place.tasker(&["run", "blocked.yaml", "--resume", &task]).with(1);
    assert!(cancelled.stderr.contains("cancelled by hand"), "{cancelled:#?}");
}
