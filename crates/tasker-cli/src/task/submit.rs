//! `tasker task submit`: a task of a registered workflow, which whoever works will run.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use tasker::{Submission, workflow::Priority};

use crate::{
    Session,
    door::Door,
    ending::Failure,
    output::{print, print_json},
};

/// Submit a task of a registered workflow; workers run it
#[derive(clap::Args)]
pub struct Args {
    /// `namespace.name`, or `name` in the namespace `default`; with `@version`, else its highest release
    #[arg(value_name = "WORKFLOW")]
    workflow: String,
    /// Its input, an object
    #[arg(long, value_name = "JSON", default_value = "{}")]
    input: String,
    /// Submitted again with the same key within 30 days, the first task is told
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// While a task with this key is live, that one is told
    #[arg(long, value_name = "KEY")]
    unique_while_live: Option<String>,
    /// No step starts before this instant: 2027-01-01T00:00:00Z
    #[arg(long, value_name = "INSTANT")]
    run_at: Option<DateTime<Utc>>,
    /// Its open steps fail when this instant passes
    #[arg(long, value_name = "INSTANT")]
    deadline: Option<DateTime<Utc>>,
    /// high, normal or low [default: each step's own]
    #[arg(long, value_parser = priority)]
    priority: Option<Priority>,
    /// A name and a value to find it by; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = tag)]
    tag: Vec<(String, String)>,
    /// One line for people
    #[arg(long, value_name = "TEXT")]
    summary: Option<String>,
}

fn priority(word: &str) -> Result<Priority, String> {
    serde_json::from_value(json!(word)).map_err(|_| "it is high, normal or low".into())
}

pub(super) fn tag(text: &str) -> Result<(String, String), String> {
    let tag = text.split_once('=').filter(|(name, _)| !name.is_empty());
    tag.map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or_else(|| "it is NAME=VALUE".into())
}

/// As the database has them.
pub(super) fn tags(given: &[(String, String)]) -> Option<Value> {
    let tags: Map<String, Value> = given.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    (!tags.is_empty()).then_some(Value::Object(tags))
}

/// Its namespace, its name, and its version.
pub fn named(workflow: &str) -> (&str, &str, Option<&str>) {
    let (whole, version) = workflow.split_once('@').map_or((workflow, None), |(whole, version)| (whole, Some(version)));
    let (namespace, name) = whole.split_once('.').unwrap_or(("default", whole));
    (namespace, name, version)
}

/// Submits, and prints the task's id.
pub async fn run(args: Args, session: &Session, door: &Door) -> Result<(), Failure> {
    let (namespace, name, version) = named(&args.workflow);
    let input = tasker::json::check(&args.input).map_err(|why| Failure::misused(format!("--input: {why}")))?;
    let submission = Submission {
        version: version.map(str::to_owned),
        idempotency_key: args.idempotency_key,
        unique_while_live: args.unique_while_live,
        run_at: args.run_at,
        priority: args.priority,
        deadline: args.deadline,
        tags: tags(&args.tag),
        summary: args.summary,
        actor: None,
    };
    let submitted = door.submit(namespace, name, &input, submission).await?;
    match session.json {
        true => print_json(&json!({ "task_id": submitted.task_id, "existing": submitted.existing })),
        false => {
            print(&format!("{}{}\n", submitted.task_id, if submitted.existing { ": it was there already" } else { "" }))
        }
    }
}
