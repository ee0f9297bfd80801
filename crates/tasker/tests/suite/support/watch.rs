//! What a statement costs, and by which paths: every plan, also those of statements inside functions, as the server itself
//! tells it (`auto_explain`).

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use serde_json::Value;
use tasker::store::Store;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::DefaultGuard,
};

use super::TestDatabase;

/// A session whose plans are listened to.
pub struct Watch {
    /// A pool of this one session.
    pub store: Store,
    heard: Arc<Mutex<Vec<String>>>,
    _listening: DefaultGuard,
}

/// What a statement did.
#[derive(Debug)]
pub struct Cost {
    /// Pages that it looked at, those of statements inside it included.
    pub buffers: i64,
    /// How many statements it was, those inside it included.
    pub statements: usize,
    /// Ways in which it read a task's tables and should not.
    pub sins: Vec<String>,
}

/// Tables that grow with tasks: nobody reads them from one end to the other.
const GROWING: [&str; 13] = [
    "tasks",
    "task_payloads",
    "task_deadlines",
    "idempotency_keys",
    "unique_live_keys",
    "task_transitions",
    "workflow_step_transitions",
    "step_results",
    "step_errors",
    "step_inputs",
    "join_counts",
    "ready_steps",
    "leases",
];

impl Watch {
    /// A session with these settings beside those that make it tell.
    pub async fn new(db: &TestDatabase, settings: &[(&str, &str)]) -> Watch {
        let telling = [
            ("session_preload_libraries", "auto_explain"),
            ("auto_explain.log_min_duration", "0"),
            ("auto_explain.log_nested_statements", "on"),
            ("auto_explain.log_analyze", "on"),
            ("auto_explain.log_buffers", "on"),
            ("auto_explain.log_timing", "off"),
            ("auto_explain.log_format", "json"),
            ("auto_explain.log_level", "notice"),
        ];
        let heard = Arc::new(Mutex::new(Vec::new()));
        let listening = tracing::subscriber::set_default(Ear(heard.clone()));
        let store = db.store_with(&[&telling, settings].concat()).await;
        Watch { store, heard, _listening: listening }
    }

    /// What was told since it was last asked.
    pub fn cost(&self) -> Cost {
        let mut cost = Cost { buffers: 0, statements: 0, sins: Vec::new() };
        for told in self.heard.lock().unwrap().drain(..) {
            let Some((_, json)) = told.split_once("plan:\n") else { continue };
            let told: Value = serde_json::from_str(json).unwrap();
            let plan = &told["Plan"];
            cost.statements += 1;
            // a statement is told after those inside it, and counts them in
            cost.buffers = cost.buffers.max(pages(plan));
            sins(plan, &mut cost.sins);
        }
        assert!(cost.buffers > 0, "the server told nothing: is auto_explain there?");
        cost
    }
}

fn pages(plan: &Value) -> i64 {
    ["Shared Hit Blocks", "Shared Read Blocks"].iter().map(|name| plan[*name].as_i64().unwrap_or(0)).sum()
}

fn sins(plan: &Value, found: &mut Vec<String>) {
    let text = |name: &str| plan[name].as_str().unwrap_or_default();
    let kind = text("Node Type");
    let table = match text("Relation Name") {
        "" => text("Index Name"),
        table => table,
    };
    if GROWING
        .iter()
        .any(|growing| table == *growing || text("Index Name").starts_with(growing) && kind == "Bitmap Index Scan")
    {
        let whole =
            kind == "Seq Scan" || kind == "Sample Scan" || (kind.contains("Index") && plan["Index Cond"].is_null());
        // a page or two are read as they are
        if whole && pages(plan) > 4 {
            found.push(format!("{kind} of {table} without a condition"));
        }
        let number = |name: &str| plan[name].as_f64().unwrap_or_default();
        let in_vain = number("Rows Removed by Filter") * number("Actual Loops");
        if kind.contains("Index") && in_vain > 200.0 {
            found.push(format!("{kind} of {table} reads {in_vain} rows in vain"));
        }
    }
    for child in plan["Plans"].as_array().into_iter().flatten() {
        sins(child, found);
    }
}

/// Hears notices of the server, as the driver passes them on.
struct Ear(Arc<Mutex<Vec<String>>>);

impl Subscriber for Ear {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::postgres::notice"
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Message(&self.0));
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

struct Message<'a>(&'a Mutex<Vec<String>>);

impl Visit for Message<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0.lock().unwrap().push(format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.0.lock().unwrap().push(value.to_string());
        }
    }
}
