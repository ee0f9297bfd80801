//! Workflows that are right, what becomes of them, and files that cannot be read.

use std::{fs, time::Duration};

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    handlers::Context,
    place::Segment,
    workflow::{Definition, Draft, DraftStep, Priority, Problem, Spot, Step, Workflow},
};

fn load(text: &str) -> Definition {
    Definition::from_yaml("w.yaml", text.as_bytes(), None, &[]).unwrap_or_else(|refused| panic!("{refused}"))
}

const FULFIL: &str = r#"
name: fulfil_order
namespace: shop
version: 1.2.0-rc.1
description: Reserve, charge, ship.
input:
  properties: {amount: {type: integer, default: 1}}
defaults:
  retry: {max_attempts: 5, max_delay: 1h}
  timeout: 30s
steps:
  - name: ship            # stands before its parents
    handler: shop.fulfil_order.ship
    depends_on: [reserve, charge]
    with: {note: "{{ steps.first.result.note }} for {{ input.amount }}"}
    priority: high
    concurrency: {limit: 2, key: customer.id}
  - name: first
    handler: sleep
    with: {duration: 100ms}
    retry: {max_attempts: 1, base_delay: 2s, retryable: false}
    timeout: 1h30m
  - {name: reserve, handler: transform, with: {value: [1, 2.5, null]}, depends_on: [first]}
  - {name: charge, handler: command, with: {program: charge, select: "output.id"}, depends_on: [first], timeout: 5m,
     concurrency: {limit: 1}, priority: low}
"#;

#[test]
fn a_file_becomes_a_definition() {
    let definition = load(FULFIL);
    assert_eq!(load(&definition.to_file().to_string()), definition, "and a definition a file");
    let retry = json!({"max_attempts": 5, "base_delay": "1s", "max_delay": "1h", "retryable": true});
    assert_eq!(
        serde_json::to_value(&definition).unwrap(),
        json!({
            "namespace": "shop", "name": "fulfil_order", "version": "1.2.0-rc.1",
            "description": "Reserve, charge, ship.",
            "input": {"properties": {"amount": {"type": "integer", "default": 1}}},
            "steps": [
                {
                    "name": "ship", "handler": "shop.fulfil_order.ship",
                    "with": {"note": "{{ steps.first.result.note }} for {{ input.amount }}"},
                    "parents": [2, 3], "needs": [1, 2, 3], "retry": retry, "timeout": "30s",
                    "concurrency": {"limit": 2, "key": ["customer", "id"]}, "priority": "high",
                },
                {
                    "name": "first", "handler": "sleep", "with": {"duration": "100ms"}, "parents": [], "needs": [],
                    "retry": {"max_attempts": 1, "base_delay": "2s", "max_delay": "1h", "retryable": false},
                    "timeout": "1h30m", "concurrency": null, "priority": "normal",
                },
                {
                    "name": "reserve", "handler": "transform", "with": {"value": [1, 2.5, null]},
                    "parents": [1], "needs": [], "retry": retry, "timeout": "30s", "concurrency": null,
                    "priority": "normal",
                },
                {
                    "name": "charge", "handler": "command", "with": {"program": "charge", "select": "output.id"},
                    "parents": [1], "needs": [], "retry": retry, "timeout": "5m",
                    "concurrency": {"limit": 1, "key": []}, "priority": "low",
                },
            ],
        })
    );
    let stored = serde_json::to_string(&definition).unwrap();
    assert_eq!(serde_json::from_str::<Definition>(&stored).unwrap(), definition);
    let depths = |level: &crate::workflow::Level| (level.max_depth_from_root, level.max_depth_to_leaf, level.is_leaf());
    let levels: Vec<_> = definition.levels().iter().map(depths).collect();
    assert_eq!(levels, [(2, 0, true), (0, 2, false), (1, 1, false), (1, 1, false)]);
}

#[test]
fn the_content_hash_knows_what_is_written_and_not_in_which_order() {
    let hash = load(FULFIL).content_hash();
    assert_eq!(hash.len(), 64);
    assert!(hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let reordered = FULFIL
        .replace("{limit: 2, key: customer.id}", "{key: customer.id, limit: 2}")
        .replace("{program: charge, select: \"output.id\"}", "{select: output.id, program: charge}");
    assert_ne!(reordered, FULFIL);
    assert_eq!(load(&reordered).content_hash(), hash);
    for (from, to) in [("default: 1}", "default: 2}"), ("timeout: 30s", "timeout: 31s"), ("note: ", "nota: ")] {
        assert_ne!(load(&FULFIL.replace(from, to)).content_hash(), hash, "{to}");
    }
    // The canonical JSON of the smallest workflow, hashed by another program.
    let small = load("{name: a, version: 1.0.0, steps: [{name: b, handler: transform, with: {value: 1}}]}");
    assert_eq!(small.content_hash(), SMALL_HASH);
}

const SMALL_HASH: &str = "c63f9d857da99b701f0c4d9798e1c65116e6092d2ae1cab044143e309b6ea9e4";

#[test]
fn an_input_gets_its_defaults_and_is_judged_with_paths() {
    let text = r#"
name: a
version: 1.0.0
input:
  type: object
  required: [customer]
  additionalProperties: false
  properties:
    count: {type: integer, default: 3}
    customer:
      type: object
      properties: {id: {type: string}, kind: {type: string, default: person}}
      required: [id]
    list: {type: array, items: {type: integer}}
    at: {type: string, format: date-time}
    options: {type: object, default: {}, properties: {deep: {type: boolean, default: true}}}
steps: [{name: b, handler: transform, with: {value: 1}}]
"#;
    let definition = load(text);
    let check = |input: Value| match definition.check_input(&input) {
        Ok(input) => input.to_string(),
        Err(problems) => problems.join(" | "),
    };
    assert_eq!(
        check(json!({"customer": {"id": "c"}, "list": [1]})),
        r#"{"customer":{"id":"c","kind":"person"},"list":[1],"count":3,"options":{"deep":true}}"#
    );
    assert_eq!(
        check(json!({"customer": {"id": "c", "kind": "firm"}, "count": null})),
        r#"`input.count`: null is not of type "integer""#
    );
    assert_eq!(check(json!({})), r#"`input`: "customer" is a required property"#);
    assert_eq!(
        check(json!({"customer": {"id": 5}, "list": [1, "x"], "at": "noon", "custmer": 1})),
        "`input.customer.id`: 5 is not of type \"string\" | `input.list[1]`: \"x\" is not of type \"integer\" | \
         `input.at`: \"noon\" is not a \"date-time\" | \
         `input`: Additional properties are not allowed ('custmer' was unexpected)"
    );
    assert_eq!(check(json!([1])), "the input must be a JSON object");
    let free = load("{name: a, version: 1.0.0, steps: [{name: b, handler: transform, with: {value: 1}}]}");
    assert_eq!(free.check_input(&json!({"x": 1})).unwrap(), json!({"x": 1}));
    let error = free.check_input(&json!({"x": "\0"})).unwrap_err();
    assert_eq!(
        error,
        ["the input: a string in the JSON holds the NUL character, which PostgreSQL cannot store (at byte 6)"]
    );
}

const RENDER: &str = "name: a\nversion: 1.0.0\nsteps:\n  - name: report\n    handler: render\n    with: {template_file: t/report.html, path: out.html}\n";

#[test]
fn a_template_file_becomes_part_of_the_definition() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("t")).unwrap();
    let template = folder.path().join("t/report.html");
    let workflow = folder.path().join("w.yaml");
    fs::write(&template, "<p>{{ input.name }}</p>\n").unwrap();
    fs::write(&workflow, RENDER).unwrap();
    let definition = Definition::from_file(&workflow, &[]).unwrap();
    assert_eq!(definition.steps[0].with, json!({"path": "out.html", "template": "<p>{{ input.name }}</p>\n"}));

    let refused = || Definition::from_file(&workflow, &[]).unwrap_err().to_string();
    let (workflow_name, template_name) = (workflow.display(), template.display());
    fs::write(&template, "<p>\n  é{{ inptu.name }} {{ steps.other.result }}</p>\n").unwrap();
    assert_eq!(
        refused(),
        format!(
            "{template_name}:2:7: step `report`: in its template, unknown variable `inptu`; did you mean `input`?\n\
             {template_name}:2:24: step `report` refers to the result of `other`, which this workflow does not have"
        )
    );
    fs::write(&template, b"\xff").unwrap();
    assert_eq!(
        refused(),
        format!(
            "{workflow_name}:6:27: step `report`: the template file `{template_name}` cannot be read: stream did not \
             contain valid UTF-8"
        )
    );
    fs::write(&template, vec![b'x'; (1 << 20) + 1]).unwrap();
    assert_eq!(
        refused(),
        format!(
            "{workflow_name}:6:27: step `report`: the template file `{template_name}` is larger than 1048576 bytes"
        )
    );
    fs::remove_file(&template).unwrap();
    assert_eq!(
        refused(),
        format!(
            "{workflow_name}:6:27: step `report`: the template file `{template_name}` cannot be read: No such file or \
             directory (os error 2)"
        )
    );
    fs::write(&workflow, RENDER.replace("t/report.html", "'{{ input.x }}'")).unwrap();
    assert_eq!(
        refused(),
        format!(
            "{workflow_name}:6:27: step `report`: `template_file` is read when the workflow is, so its name cannot be \
             a template"
        )
    );
}

#[test]
fn files_that_cannot_be_read_are_refused_as_a_whole() {
    let refused = |text: &[u8]| Definition::from_yaml("w.yaml", text, None, &[]).unwrap_err().to_string();
    assert_eq!(
        refused(b"name: a\nx: \xc3\xa9\xff"),
        "w.yaml:2:5: the file is not text: from here on its bytes are not UTF-8"
    );
    assert_eq!(refused(&vec![b' '; (16 << 20) + 1]), "w.yaml: the file is larger than 16777216 bytes");
    let error = Definition::from_file("/no/such/file.yaml".as_ref(), &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/no/such/file.yaml: the file cannot be read: No such file or directory (os error 2)"
    );
}

fn step(name: &str, parents: &[&str]) -> DraftStep {
    DraftStep {
        name: name.into(),
        depends_on: parents.iter().map(|parent| parent.to_string()).collect(),
        ..DraftStep::default()
    }
}

fn draft(steps: Vec<DraftStep>) -> Draft {
    Draft { namespace: "shop".into(), name: "fulfil".into(), version: "1.0.0".into(), steps, ..Draft::default() }
}

#[test]
fn a_workflow_built_in_rust_goes_through_the_same_rules() {
    let definition = Definition::check(draft(vec![step("a", &[]), step("b", &["a"])]), &[]).unwrap();
    assert_eq!(definition.steps[1].handler, "shop.fulfil.b");
    assert_eq!(definition.steps[1].needs, [0], "a function is given its parents' results");

    let mut late = step("late", &["soon"]);
    late.timeout = Some(Duration::from_micros(1));
    late.retry.max_attempts = 0;
    late.retry.base_delay = Duration::from_secs(400);
    let problems = Definition::check(draft(vec![late]), &[]).unwrap_err();
    let place = |rest: &[Segment]| [&[Segment::Member("steps".into()), Segment::Element(0)], rest].concat();
    let retry = |member: &str| place(&[Segment::Member("retry".into()), Segment::Member(member.into())]);
    let problem = |place, message: &str| Problem { place, spot: Spot::Value, message: message.into() };
    assert_eq!(
        problems,
        [
            problem(
                place(&[Segment::Member("depends_on".into()), Segment::Element(0)]),
                "step `late` depends on `soon`, which this workflow does not have"
            ),
            problem(retry("max_attempts"), "step `late`: `max_attempts` is a number from 1 to 1000000"),
            problem(retry("base_delay"), "step `late`: `base_delay` is 6m40s, above `max_delay`, which is 5m"),
            problem(
                place(&[Segment::Member("timeout".into())]),
                "step `late`: a duration has whole milliseconds, at most 366 days"
            ),
        ]
    );
}

#[test]
fn large_workflows_are_checked_in_linear_time_and_too_large_ones_refused() {
    let chain = |count: usize| {
        let steps = (0..count).map(|number| DraftStep {
            with: match number {
                0 | 1 => Value::Null,
                _ => json!(format!(
                    "{{{{ steps.s{}.result + steps.s0.result + steps.s{}.result }}}}",
                    number - 2,
                    number / 2
                )),
            },
            ..step(
                &format!("s{number}"),
                &[format!("s{}", number.saturating_sub(1)).as_str()][..usize::from(number > 0)],
            )
        });
        draft(steps.collect())
    };
    let definition = Definition::check(chain(20_000), &[]).unwrap();
    assert_eq!(definition.levels()[19_999].max_depth_from_root, 19_999);
    assert_eq!(definition.steps[10_000].needs, [0, 5_000, 9_998, 9_999]);

    let many = (0..=100_000).map(|number| step(&format!("s{number}"), &[])).collect();
    let problems = Definition::check(draft(many), &[]).unwrap_err();
    assert_eq!(problems[0].message, "a workflow has at most 100000 steps, this one has 100001");

    let names: Vec<String> = (0..1_001).map(|number| format!("s{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let dense = (0..2_001).map(|number| match number {
        0..1_001 => step(names[number], &[]),
        _ => step(&format!("t{number}"), &names),
    });
    let problems = Definition::check(draft(dense.collect()), &[]).unwrap_err();
    assert_eq!(
        problems[0].message,
        "the steps of a workflow depend on each other 1000000 times at most, not 1001000 times"
    );

    let mut wide = step("wide", &[]);
    wide.with = json!("x".repeat(1 << 20));
    let problems = Definition::check(draft(vec![wide]), &[]).unwrap_err();
    assert_eq!(problems[0].message, "step `wide`: in its `with`, the JSON has 1048578 bytes, more than 1048576");
    let wide =
        (0..17).map(|number| DraftStep { with: json!("x".repeat(1_000_000)), ..step(&format!("s{number}"), &[]) });
    let problems = Definition::check(draft(wide.collect()), &[]).unwrap_err();
    assert_eq!(problems[0].message, "the steps' `with` have 17000034 bytes in all, more than 16777216");
}

proptest! {
    #[test]
    fn a_spoilt_file_is_refused_at_a_place_in_it(at in any::<prop::sample::Index>(), cut in 0..3usize, put in "[\\[\\]{}:,'\"&*|>\\-% \nx#é\t]{0,2}") {
        let mut text: Vec<char> = FULFIL.chars().collect();
        let at = at.index(text.len());
        text.splice(at..(at + cut).min(text.len()), put.chars());
        let text: String = text.into_iter().collect();
        if let Err(refused) = Definition::from_yaml("w.yaml", text.as_bytes(), None, &[]) {
            for problem in &refused.problems {
                let (line, column) = problem.position.unwrap();
                let lines: Vec<&str> = text.split('\n').collect();
                let line = lines.get(line as usize - 1).copied();
                prop_assert!(line.is_some_and(|line| column as usize <= line.chars().count() + 1), "{problem}\n{text}");
            }
        }
    }
}

#[test]
fn a_workflow_written_in_rust_and_in_yaml_is_the_same() {
    let step = |name: &'static str| Step::<u32>::named(name);
    let run = async |_: Context<Value>| Ok(1);
    let rust = Workflow::<Value>::new("shop", "fulfil_order", "1.2.0")
        .step(step("reserve"), run)
        .max_attempts(5)
        .backoff(Duration::from_secs(2), Duration::from_secs(60))
        .step(step("charge"), run)
        .timeout(Duration::from_secs(90))
        .priority(Priority::High)
        .step(step("ship"), run)
        .after(step("reserve"))
        .after(step("charge"))
        .concurrency(2, &["customer", "id"])
        .definition()
        .unwrap();
    let yaml = load(
        r#"
name: fulfil_order
namespace: shop
version: 1.2.0
steps:
  - name: reserve
    handler: shop.fulfil_order.reserve
    retry: { max_attempts: 5, base_delay: 2s, max_delay: 1m }
  - { name: charge, handler: shop.fulfil_order.charge, timeout: 1m30s, priority: high }
  - name: ship
    handler: shop.fulfil_order.ship
    depends_on: [charge, reserve]
    concurrency: { limit: 2, key: customer.id }
"#,
    );
    assert_eq!(rust, yaml);
    assert_eq!(rust.content_hash(), yaml.content_hash(), "the same version, registered once");
}
