//! The pictures that people see, as text.

use expect_test::expect;
use tasker::{
    readiness::{StepReadinessStatus, StepState},
    store::WorkflowStep,
};
use uuid::Uuid;

use super::*;

/// Steps as they are written, by number: `name state < parent parent`. A state is the first letter of complete, in_progress, failed, or waits.
fn steps(lines: &[&str]) -> Vec<WorkflowStep> {
    let name = |line: &str| line.split(' ').next().unwrap().to_owned();
    let names: Vec<String> = lines.iter().map(|line| name(line)).collect();
    let id = |number: usize| Uuid::from_u128((7 << 96) | (number as u128 + 1));
    let mut levels: Vec<i32> = Vec::new();
    let mut steps = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let (head, parents) = line.split_once(" <").unwrap_or((line, ""));
        let parents: Vec<usize> =
            parents.split_whitespace().map(|parent| names.iter().position(|name| name == parent).unwrap()).collect();
        let level = parents.iter().map(|parent| levels[*parent] + 1).max().unwrap_or(0);
        levels.push(level);
        let (current_state, blocking_reason) = match head.split(' ').nth(1) {
            Some("c") => (StepState::Complete, "finished"),
            Some("i") => (StepState::InProgress, "in_progress"),
            Some("f") => (StepState::Failed, "retries_exhausted"),
            _ => (StepState::Pending, "dependencies_not_satisfied"),
        };
        let readiness = StepReadinessStatus {
            workflow_step_id: id(number),
            task_id: Uuid::nil(),
            step_number: number as i32,
            named_step_id: 1,
            name: names[number].clone(),
            current_state,
            dependencies_satisfied: false,
            retry_eligible: false,
            ready_for_execution: false,
            blocking_reason: Some(blocking_reason.into()),
            last_failure_at: None,
            next_retry_at: None,
            total_parents: parents.len() as i32,
            completed_parents: 0,
            attempts: 1,
            retry_limit: 3,
            backoff_request_seconds: None,
            last_attempted_at: None,
        };
        steps.push(WorkflowStep {
            readiness,
            handler: "transform".into(),
            parent_step_ids: parents.into_iter().map(id).collect(),
            child_step_ids: Vec::new(),
            max_depth_from_root: level,
            error_kind: None,
            error: None,
            result: None,
        });
    }
    steps
}

fn drawn(lines: &[&str], room: usize) -> String {
    let steps = steps(lines);
    let board = Board::of(&steps);
    let lines = Picture::of(&steps).lines(&board, room, 120, Paint::none(), board.started);
    lines.join("\n")
}

#[test]
fn a_chain_goes_down_one_lane_and_a_join_closes_its_parents_lanes() {
    expect![[r#"
        ✓    pack
        │ ✗  weigh  retries_exhausted
        ·─╯  send   dependencies_not_satisfied 0/2"#]]
    .assert_eq(&drawn(&["pack c", "weigh f", "send < pack weigh"], 20));
    expect![[r#"
        ✓  a
        ✓  b
        ▸  c  0ms
        ·  d  dependencies_not_satisfied 0/1"#]]
    .assert_eq(&drawn(&["a c", "b c < a", "c i < b", "d < c"], 20));
}

#[test]
fn lanes_cross_and_strangers_are_not_drawn_as_children() {
    let lines = [
        "fetch c",
        "lint c",
        "parse c < fetch",
        "index i < fetch",
        "count c < fetch",
        "page < parse count",
        "done < page index",
        "alone i",
    ];
    expect![[r#"
        ✓      fetch
        │ ✓    lint
        │   ▸  alone  0ms
        ├─✓    parse
        ├─│─▸  index  0ms
        ✓ │ │  count
        ·─╯ │  page   dependencies_not_satisfied 0/2
        ·───╯  done   dependencies_not_satisfied 0/2"#]]
    .assert_eq(&drawn(&lines, 20));
}

#[test]
fn what_has_no_room_is_drawn_in_groups_and_what_has_none_even_so_is_what_matters() {
    let mut lines = vec!["list c".to_owned()];
    lines.extend((0..40).map(|n| format!("fetch_{n} {} < list", ["c", "i", "w", "f"][n / 13])));
    lines.extend((0..40).map(|n| format!("parse_{n} w < fetch_{n}")));
    lines.push(format!("join w <{}", (0..40).map(|n| format!(" parse_{n}")).collect::<String>()));
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    expect![[r#"
        ✓  list
        ✗  fetch_* ×40  13 of 40 · 13 in_progress · 13 dependencies_not_satisfied · 1 retries_exhausted
        ·  parse_* ×40  0 of 40 · 40 dependencies_not_satisfied
        ·  join         dependencies_not_satisfied 0/40
          ✗ fetch_39  retries_exhausted
          ▸ fetch_13  0ms
          ▸ fetch_14  0ms
          ▸ fetch_15  0ms
          ▸ fetch_16  0ms
          ▸ fetch_17  0ms
          ▸ fetch_18  0ms
          ▸ fetch_19  0ms
          ▸ fetch_20  0ms
          ▸ fetch_21  0ms"#]]
    .assert_eq(&drawn(&lines, 20));
    expect![[r#"
        ✗ fetch_39  retries_exhausted
        ▸ fetch_13  0ms
        ▸ fetch_14  0ms"#]]
    .assert_eq(&drawn(&lines, 3));
    // by what they stand between, where the names say nothing
    let twins = ["a c", "north i < a", "east c < a", "south f < a", "west < a", "z < north east south west"];
    expect![[r#"
        ✓  a
        ✗  north, .. ×4  1 of 4 · 1 in_progress · 1 retries_exhausted · 1 dependencies_not_satisfied
        ·  z             dependencies_not_satisfied 0/4
          ✗ south  retries_exhausted"#]]
    .assert_eq(&drawn(&twins, 4));
}

#[test]
fn a_graph_without_groups_is_drawn_by_its_depths() {
    let lines = [
        "fetch c",
        "lint c",
        "parse c < fetch",
        "index i < lint",
        "count c < fetch lint",
        "page < parse count",
        "done < page index",
    ];
    expect![[r#"
        ✓  depth 1 ×2  2 of 2
        ▸  depth 2 ×3  2 of 3 · 1 in_progress
        ·  depth 3     dependencies_not_satisfied 0/2
        ·  depth 4     dependencies_not_satisfied 0/2
          ▸ index  0ms"#]]
    .assert_eq(&drawn(&lines, 6));
}

#[test]
fn a_wide_graph_has_no_lanes_for_all() {
    let mut lines: Vec<String> =
        (0..30).map(|n| format!("{}x w", "abcdefghijklmnopqrstuvwxyzABCD".chars().nth(n).unwrap())).collect();
    let all: String = lines.iter().map(|line| format!(" {}", &line[..2])).collect();
    lines.push(format!("last w <{all}"));
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    expect![[r#"
        ·  ax, .. ×30  0 of 30 · 30 dependencies_not_satisfied
        ·  last        dependencies_not_satisfied 0/30"#]]
    .assert_eq(&drawn(&lines, 60));
}
