//! The JSON Schema of the format agrees with what the loader says of words and types.

use serde_json::Value;

use crate::workflow::{Definition, schema};

/// What the schema has against a file.
fn faults(text: &str) -> Vec<String> {
    let file: Value = serde_saphyr::from_str(text).unwrap();
    let schema = jsonschema::draft202012::new(&schema()).unwrap();
    schema.iter_errors(&file).map(|fault| format!("{}: {fault}", fault.instance_path())).collect()
}

#[test]
fn it_takes_what_the_loader_takes() {
    let schema = schema();
    assert!(jsonschema::draft202012::meta::is_valid(&schema));
    let report = include_str!("../../../../../examples/repo_report.yaml");
    assert_eq!(faults(report), [""; 0]);
    for file in [
        "{name: a, version: 1.0.0, steps: [{name: b, handler: shop.a.b}]}",
        "{name: a, namespace: shop, version: 1.0.0-rc.1, description: d, input: {type: object}, defaults: {retry: {max_attempts: 2}, timeout: 1h30m, priority: low}, steps: [{name: b, handler: sleep, with: {duration: 100ms}}]}",
        "{name: a, version: 1.0.0, steps: [{name: b, handler: sleep, with: {until: '{{ input.at }}'}, depends_on: [c], concurrency: {limit: 2, key: a.b}}, {name: c, handler: transform, with: {value: [1, {x: '{{ input }}'}]}}]}",
        "{name: a, version: 1.0.0, steps: [{name: b, handler: command, with: {program: ls, args: [1, true, x], env: {A: null, B: 1}, stdin: {a: 1}, output: lines, select: 'output | first'}}]}",
        "{name: a, version: 1.0.0, steps: [{name: b, handler: command, with: {program: ls, args: '{{ input.args }}', output: '{{ input.output }}'}}]}",
    ] {
        assert_eq!(faults(file), [""; 0], "{file}");
        Definition::from_yaml("w.yaml", file.as_bytes(), None, &[]).unwrap();
    }
}

#[test]
fn it_refuses_what_the_loader_refuses() {
    let of_step = |step: &str| format!("{{name: a, version: 1.0.0, steps: [{{name: b, {step}}}]}}");
    let files = [
        "{name: A, version: 1.0.0, steps: [{name: b, handler: x.y}]}".to_string(),
        "{name: a, version: '1.0', steps: [{name: b, handler: x.y}]}".to_string(),
        "{name: a, version: 1.0.0, steps: []}".to_string(),
        "{name: a, version: 1.0.0}".to_string(),
        "{name: a, version: 1.0.0, step: [], steps: [{name: b, handler: x.y}]}".to_string(),
        of_step("handler: x.y, depend_on: [a]"),
        of_step("handler: x.y, timeout: 30"),
        of_step("handler: x.y, timeout: 5 minutes"),
        of_step("handler: x.y, priority: urgent"),
        of_step("handler: x.y, retry: {attempts: 3}"),
        of_step("handler: x.y, retry: {max_attempts: 0}"),
        of_step("handler: x.y, concurrency: {key: a}"),
        of_step("handler: sleep"),
        of_step("handler: sleep, with: {duration: 1s, until: '2026-01-01T00:00:00Z'}"),
        of_step("handler: sleep, with: {duration: soon}"),
        of_step("handler: command, with: {args: [a]}"),
        of_step("handler: command, with: {program: a, arg: [a]}"),
        of_step("handler: command, with: {program: a, output: xml}"),
        of_step("handler: command, with: {program: a, args: a}"),
        of_step("handler: render, with: {path: a}"),
        of_step("handler: transform, with: {values: 1}"),
    ];
    for file in files {
        assert!(Definition::from_yaml("w.yaml", file.as_bytes(), None, &[]).is_err(), "{file}");
        assert!(!faults(&file).is_empty(), "{file}");
    }
}
