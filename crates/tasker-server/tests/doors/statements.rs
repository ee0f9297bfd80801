//! How many statements each route makes: as many for a thousand steps as for ten.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{body::Body, http::Method};
use expect_test::expect;
use serde_json::{Value, json};
use tracing_subscriber::{Layer, layer::SubscriberExt, util::SubscriberInitExt};

use crate::support::{request, wide, with_doors};

/// Counts what the driver sends.
struct Counter(Arc<AtomicUsize>);

impl<S: tracing_subscriber::registry::LookupSpan<'static> + tracing::Subscriber> Layer<S> for Counter {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if event.metadata().target() == "sqlx::query" {
            let mut told = Told(false);
            event.record(&mut told);
            self.0.fetch_add(usize::from(!told.0), Ordering::SeqCst);
        }
    }
}

/// Whether it is only asked whether the database answers, a connection learns what it asks once, or workers are told, some time after the answer, that there
/// may be work.
struct Told(bool);

impl Told {
    fn hear(&mut self, field: &tracing::field::Field, text: &str) {
        let besides = ["select 1", "set jit", "SELECT pg_type.oid", "select tasker.wake("];
        self.0 |= field.name() == "summary" && besides.iter().any(|begin| text.starts_with(begin));
    }
}

impl tracing::field::Visit for Told {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.hear(field, format!("{value:?}").trim_matches('"'));
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        self.hear(field, value);
    }
}

/// Counts from now on, in this process: the routes of other tests in it would be counted, too.
pub fn counting() -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let filter = tracing_subscriber::filter::Targets::new().with_target("sqlx::query", tracing::Level::DEBUG);
    tracing_subscriber::registry().with(Counter(count.clone()).with_filter(filter)).init();
    count
}

/// How many there have been.
pub fn so_far(count: &AtomicUsize) -> usize {
    count.load(Ordering::SeqCst)
}

/// A workflow of so many steps, in JSON.
fn definition(name: &str, steps: usize) -> Value {
    let steps: Vec<Value> = (0..steps).map(|n| json!({ "name": format!("s{n}"), "handler": "app.do" })).collect();
    json!({ "namespace": "shop", "name": format!("registered_{name}"), "version": "1.0.0", "steps": steps })
}

/// The document's operations that none of these requests was.
fn unmeasured(document: &Value, measured: &[(Method, String)]) -> Vec<String> {
    let mut names = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let template: Vec<&str> = path.split('/').collect();
        let is_of = |asked: &str| {
            let asked: Vec<&str> = asked.split('/').collect();
            asked.len() == template.len()
                && template.iter().zip(asked).all(|(one, other)| one.starts_with('{') || *one == other)
        };
        for (method, operation) in methods.as_object().unwrap() {
            let is_measured =
                measured.iter().any(|(of, asked)| of.as_str().eq_ignore_ascii_case(method) && is_of(asked));
            if !is_measured {
                names.push(operation["operationId"].as_str().unwrap().to_owned());
            }
        }
    }
    names.sort();
    names
}

#[test]
fn a_route_makes_as_many_statements_for_a_thousand_steps_as_for_ten() {
    let count = counting();
    with_doors(async |doors| {
        let mut counts: Vec<BTreeMap<String, usize>> = Vec::new();
        let mut measured = Vec::new();
        for (name, size) in [("small", 10), ("large", 1000)] {
            doors.register(&wide(name, size)).await.ok();
            doors.play(&["app.do"], "");
            let mut tasks = Vec::new();
            for _ in 0..12 {
                tasks.push(doors.submit(name, json!({})).await);
            }
            let steps = doors.steps(&tasks[0]).await;
            let (first, last) = (&steps[0], &steps[size - 1]);
            let other: Vec<String> = tasks[1..].to_vec();
            let step_of = async |task: &str| doors.steps(task).await.remove(0);
            let mut of_size = BTreeMap::new();
            let (task, some) = (&tasks[0], tasks.join(","));
            let (to_cancel, to_resolve, to_edit, to_limit) = (
                step_of(&other[0]).await,
                step_of(&other[1]).await,
                step_of(&other[2]).await,
                step_of(&other[3]).await,
            );
            let to_retry = step_of(&other[4]).await;
            doors.post(&format!("/v1/workflow_steps/{to_retry}/cancel"), json!({})).await.ok();
            let nothing = || json!({});
            for (what, method, path, body) in [
                ("tasks", Method::GET, "/v1/tasks?limit=10".to_owned(), nothing()),
                ("tasks by status", Method::GET, "/v1/tasks?execution_status=has_ready_steps".into(), nothing()),
                ("task", Method::GET, format!("/v1/tasks/{task}"), nothing()),
                ("diagram", Method::GET, format!("/v1/tasks/{task}/diagram"), nothing()),
                ("workflow_steps", Method::GET, format!("/v1/tasks/{task}/workflow_steps?limit=1000"), nothing()),
                (
                    "workflow_steps by name",
                    Method::GET,
                    format!("/v1/tasks/{task}/workflow_steps?name=last"),
                    nothing(),
                ),
                ("workflow_step", Method::GET, format!("/v1/workflow_steps/{last}"), nothing()),
                ("explain", Method::GET, format!("/v1/workflow_steps/{last}/explain"), nothing()),
                ("attempts", Method::GET, format!("/v1/workflow_steps/{to_retry}/attempts"), nothing()),
                ("transitions", Method::GET, format!("/v1/tasks/{task}/transitions"), nothing()),
                ("a step's transitions", Method::GET, format!("/v1/workflow_steps/{to_retry}/transitions"), nothing()),
                (
                    "task_execution_contexts",
                    Method::GET,
                    format!("/v1/task_execution_contexts?task_ids={some}"),
                    nothing(),
                ),
                (
                    "step_readiness_statuses",
                    Method::GET,
                    format!("/v1/step_readiness_statuses?task_ids={some}"),
                    nothing(),
                ),
                ("named_tasks", Method::GET, "/v1/named_tasks".into(), nothing()),
                ("named_task", Method::GET, format!("/v1/named_tasks/shop/{name}"), nothing()),
                ("named_task of a version", Method::GET, format!("/v1/named_tasks/shop/{name}/1.0.0"), nothing()),
                ("submit", Method::POST, "/v1/tasks".into(), json!({ "namespace": "shop", "name": name })),
                ("preview", Method::POST, "/v1/tasks/bulk/preview".into(), nothing()),
                ("step: cancel", Method::POST, format!("/v1/workflow_steps/{to_cancel}/cancel"), nothing()),
                ("step: retry", Method::POST, format!("/v1/workflow_steps/{to_retry}/retry"), nothing()),
                (
                    "step: resolve",
                    Method::POST,
                    format!("/v1/workflow_steps/{to_resolve}/resolve"),
                    json!({ "result": 1 }),
                ),
                (
                    "step: edit_input",
                    Method::POST,
                    format!("/v1/workflow_steps/{to_edit}/edit_input"),
                    json!({ "input": {} }),
                ),
                (
                    "step: change_limit",
                    Method::POST,
                    format!("/v1/workflow_steps/{to_limit}/change_limit"),
                    json!({ "retry_limit": 9 }),
                ),
                ("task: pause", Method::POST, format!("/v1/tasks/{}/pause", other[6]), nothing()),
                ("task: resume", Method::POST, format!("/v1/tasks/{}/resume", other[6]), nothing()),
                ("task: cancel", Method::POST, format!("/v1/tasks/{}/cancel", other[7]), nothing()),
                ("task: retry", Method::POST, format!("/v1/tasks/{}/retry", other[0]), nothing()),
                ("task: resolve", Method::POST, format!("/v1/tasks/{}/resolve", other[8]), nothing()),
                (
                    "bulk, of one",
                    Method::POST,
                    "/v1/tasks/bulk".into(),
                    json!({ "verb": "pause", "filter": { "name": name }, "limit": 1 }),
                ),
                ("register", Method::POST, "/v1/named_tasks".into(), definition(name, size)),
                ("diagram of a version", Method::GET, format!("/v1/named_tasks/shop/{name}/1.0.0/diagram"), nothing()),
                ("health", Method::GET, "/health/ready".into(), nothing()),
            ] {
                measured.push((method.clone(), path.split('?').next().unwrap().to_owned()));
                let request = || {
                    let request = request(method.clone(), &path).header("content-type", "application/json");
                    request
                        .body(Body::from(if method == Method::GET { String::new() } else { body.to_string() }))
                        .unwrap()
                };
                // a read twice: the first on a connection prepares what it has not asked yet
                if method == Method::GET {
                    doors.ask(request()).await.ok_status(what);
                }
                let before = so_far(&count);
                doors.ask(request()).await.ok_status(what);
                of_size.insert(what.to_owned(), so_far(&count) - before);
            }
            let _ = first;
            counts.push(of_size);
        }
        assert_eq!(counts[0], counts[1]);
        let document = doors.get("/openapi.json").await.ok();
        assert_eq!(unmeasured(&document, &measured), ["follow_events", "graphql"], "which have tests of their own");
        let lines: String = counts[0].iter().map(|(what, count)| format!("{what}: {count}\n")).collect();
        expect![[r#"
            a step's transitions: 1
            attempts: 2
            bulk, of one: 3
            diagram: 2
            diagram of a version: 1
            explain: 1
            health: 0
            named_task: 3
            named_task of a version: 3
            named_tasks: 1
            preview: 2
            register: 2
            step: cancel: 2
            step: change_limit: 2
            step: edit_input: 2
            step: resolve: 2
            step: retry: 2
            step_readiness_statuses: 1
            submit: 4
            task: 3
            task: cancel: 2
            task: pause: 2
            task: resolve: 2
            task: resume: 2
            task: retry: 2
            task_execution_contexts: 1
            tasks: 1
            tasks by status: 1
            transitions: 1
            workflow_step: 1
            workflow_steps: 1
            workflow_steps by name: 1
        "#]]
        .assert_eq(&lines);
    });
}
