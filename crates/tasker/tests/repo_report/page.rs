//! Runs the workflow's steps and reads what came of it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};
use tasker::{
    handlers::{self, Attempt, Options, Outcome, StepError},
    template::{self, Scope},
    workflow::{Definition, Node},
};
use tempfile::TempDir;

/// A page, and the results of the steps that made it.
#[derive(Debug)]
pub struct Page {
    pub html: String,
    pub results: BTreeMap<String, Value>,
}

impl Page {
    pub fn result(&self, step: &str, pointer: &str) -> Value {
        self.results[step]
            .pointer(pointer)
            .unwrap_or_else(|| panic!("{step}{pointer} in {}", self.results[step]))
            .clone()
    }

    pub fn shows(&self, text: &str) {
        let body = &self.html[self.html.find("<body>").unwrap()..];
        assert!(body.contains(text), "`{text}` is not in {body}");
    }

    pub fn notes(&self, expected: &[&str]) {
        let notes = self.result("summary", "/notes");
        let notes: Vec<&str> =
            notes.as_array().unwrap().iter().filter_map(Value::as_str).filter(|note| !note.is_empty()).collect();
        assert_eq!(notes, expected);
    }
}

pub async fn report(path: &Path) -> Page {
    report_with(path, None).await.unwrap()
}

/// The report on a folder, made where only the programs in `tools` are found.
pub async fn report_with(path: &Path, tools: Option<&Path>) -> Result<Page, StepError> {
    let output = TempDir::new().unwrap();
    let mut definition = definition();
    let commands = definition.steps.iter_mut().filter(|step| step.handler == "command");
    for (step, tools) in commands.zip(tools.into_iter().cycle()) {
        step.with["env"]["PATH"] = json!(tools);
    }
    let input = json!({ "path": path, "output": output.path().join("page.html") });
    let results = run(&definition, &definition.check_input(&input).unwrap()).await?;
    let html = fs::read_to_string(output.path().join("page.html")).unwrap();
    for outside in ["<script", "<link", "src=", "href=", "url(", "@import"] {
        assert!(!html.contains(outside), "the page asks for something else: {outside}");
    }
    Ok(Page { html, results })
}

pub fn definition() -> Definition {
    Definition::from_file(&root().join("examples/repo_report.yaml"), &[]).unwrap_or_else(|refused| panic!("{refused}"))
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Runs every step once its parents have run, each with the results that it needs and no others.
async fn run(definition: &Definition, input: &Value) -> Result<BTreeMap<String, Value>, StepError> {
    let handlers =
        handlers::built_in(&Options { allow_command: true, allow_private_hosts: true, base_dir: "/".into() });
    let input: Arc<RawValue> = to_raw_value(input).unwrap().into();
    let name = |number: &u32| &definition.steps[*number as usize].name;
    let mut results = BTreeMap::new();
    while results.len() < definition.steps.len() {
        let may_run = |step: &&Node| {
            !results.contains_key(&step.name) && step.parents.iter().all(|parent| results.contains_key(name(parent)))
        };
        let step = definition.steps.iter().find(may_run).expect("the graph has no cycle");
        let given = |number: &u32| (name(number).clone(), to_raw_value(&results[name(number)]).unwrap());
        let given: Arc<BTreeMap<_, _>> = Arc::new(step.needs.iter().map(given).collect());
        let scope = Scope::new(input.clone(), given.clone());
        let attempt = Attempt {
            task_id: Default::default(),
            workflow_step_id: Default::default(),
            step_name: step.name.as_str().into(),
            claim_id: uuid::Uuid::nil(),
            number: 1,
            retry_limit: step.retry.max_attempts,
            generation: 0,
            timer: None,
            with: template::render(&step.with, handlers::raw_keys(&step.handler), &scope)?,
            input: input.clone(),
            results: given,
            secrets: Default::default(),
            cancellation: Default::default(),
        };
        let Outcome::Complete(result) = handlers[&step.handler].run(attempt).await? else {
            panic!("{} waits", step.name)
        };
        results.insert(step.name.clone(), serde_json::from_str(result.get()).unwrap());
    }
    Ok(results)
}
