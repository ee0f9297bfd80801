//! dev
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};
use std::{collections::BTreeMap, sync::Arc, time::Instant};
use tasker::{
    handlers::{self, Attempt, Options, Outcome},
    template,
};

#[tokio::test(flavor = "multi_thread")]
async fn dev() {
    let file = std::fs::read_to_string("../../examples/repo_report.yaml").unwrap();
    let workflow: Value = serde_saphyr::from_str(&file).unwrap();
    let path = std::env::var("REPO").unwrap();
    let input = json!({"path": path, "output": std::env::var("OUT").unwrap_or("/tmp/report.html".into())});
    let input: Arc<RawValue> = Arc::from(to_raw_value(&input).unwrap());
    let handlers = handlers::built_in(&Options { allow_command: true, base_dir: "/".into() });
    let mut results: BTreeMap<String, Box<RawValue>> = BTreeMap::new();
    for step in workflow["steps"].as_array().unwrap() {
        let name = step["name"].as_str().unwrap();
        let handler = step["handler"].as_str().unwrap();
        let mut with = step["with"].clone();
        if let Some(file) = with.get("template_file") {
            let text = std::fs::read_to_string(format!("../../examples/{}", file.as_str().unwrap())).unwrap();
            with.as_object_mut().unwrap().remove("template_file");
            with["template"] = text.into();
        }
        let shared = Arc::new(results.clone());
        let begun = Instant::now();
        let scope = template::Scope::new(input.clone(), shared.clone());
        let with =
            template::render(&with, handlers::raw_keys(handler), &scope).unwrap_or_else(|e| panic!("{name}: {e}"));
        let attempt = Attempt {
            task_id: Default::default(),
            workflow_step_id: Default::default(),
            step_name: name.into(),
            number: 1,
            retry_limit: 1,
            generation: 0,
            timer: None,
            with,
            input: input.clone(),
            results: shared,
            cancellation: Default::default(),
        };
        match handlers[handler].run(attempt).await {
            Ok(Outcome::Complete(result)) => {
                println!(
                    "=== {name} {:?} {} bytes\n{}",
                    begun.elapsed(),
                    result.get().len(),
                    result
                        .get()
                        .chars()
                        .take(std::env::var("CUT").map_or(1500, |c| c.parse().unwrap()))
                        .collect::<String>()
                );
                results.insert(name.into(), result);
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}
