//! What can be asked of a workflow file without running it: `check`, `run --dry-run`, `schema`.

use serde_json::{Value, json};

use crate::support::Place;

const DIAMOND: &str = r#"
name: diamond
namespace: shop
version: 1.0.0
input: { type: object, properties: { n: { type: integer, default: 7 } } }
steps:
  - { name: d, handler: transform, with: { value: "{{ steps.b.result + steps.a.result }}" }, depends_on: [c, b] }
  - { name: b, handler: transform, with: { value: "{{ steps.a.result }}" }, depends_on: [a], timeout: 5s, concurrency: { limit: 2, key: n } }
  - { name: c, handler: sleep, with: { duration: 10ms }, depends_on: [a], retry: { max_attempts: 1 } }
  - { name: a, handler: transform, with: { value: "{{ input.n }}" } }
"#;

#[test]
fn a_file_is_judged_without_a_database() {
    let place = Place::new();
    place.write("good.yaml", DIAMOND);
    place.write("bad.yaml", "name: Bad\nversion: 1.0.0\nsteps: [{ name: a, handler: transfrom }]\n");
    let checked = place.tasker(&["check", "good.yaml"]).with(0);
    assert_eq!(checked.stdout, "✓ good.yaml: shop.diamond 1.0.0, 4 steps\n");
    let checked = place.tasker(&["check", "bad.yaml", "good.yaml"]).with(2);
    for told in ["bad.yaml:1:7: `name`", "bad.yaml:3:29: step `a` has the unknown handler `transfrom`", "✓ good.yaml"]
    {
        assert!(checked.stdout.contains(told), "{checked:#?}");
    }
    let checked = place.tasker(&["check", "bad.yaml", "good.yaml", "absent.yaml", "--json"]).with(2).json();
    assert_eq!(checked[0]["problems"][1]["line"], 3);
    assert_eq!((&checked[1]["valid"], &checked[1]["name"]), (&json!(true), &json!("diamond")));
    assert_eq!((&checked[2]["valid"], &checked[2]["problems"][0]["line"]), (&json!(false), &Value::Null));
    assert!(!place.path(".tasker").exists());
}

#[test]
fn a_dry_run_shows_the_order_and_runs_nothing() {
    let place = Place::new();
    place.write("good.yaml", DIAMOND);
    let plan = place.tasker(&["run", "good.yaml", "--dry-run", "--json"]).with(0).json();
    let steps: Vec<String> = plan["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| format!("{} {} after {} needs {}", step["level"], step["name"], step["depends_on"], step["needs"]))
        .collect();
    assert_eq!(
        steps,
        [
            r#"1 "a" after [] needs []"#,
            r#"2 "b" after ["a"] needs ["a"]"#,
            r#"2 "c" after ["a"] needs []"#,
            r#"3 "d" after ["b","c"] needs ["b","a"]"#
        ]
    );
    assert_eq!(plan["input"], json!({ "n": 7 }));
    let plan = place.tasker(&["run", "good.yaml", "--dry-run"]).with(0).stdout;
    assert!(plan.contains("4 steps in 3 levels; nothing was run"), "{plan}");
    assert!(plan.contains("3 attempts, 5s each, 2 at once for each n"), "{plan}");
    assert!(!place.path(".tasker").exists());
    place.tasker(&["run", "good.yaml", "--dry-run", "--input", "{\"n\": \"x\"}"]).with(2);
}

#[test]
fn the_schema_is_one_of_json() {
    let schema = Place::new().tasker(&["schema"]).with(0).json();
    assert_eq!(schema["title"], "A Tasker workflow");
}
