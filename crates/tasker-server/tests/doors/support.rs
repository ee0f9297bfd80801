//! A server over a database of the test's own, asked without a network between.

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode},
};
use serde_json::{Value, json};
use tasker::{Outcome, StepError, Submission, testing::TestDatabase, workflow::Definition};
use tasker_server::Access;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// The doors, open.
pub struct Doors {
    pub db: TestDatabase,
    pub router: Router,
    pub stop: CancellationToken,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Its JSON, where it is what was asked for.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert!(self.status.is_success(), "{} {}", self.status, String::from_utf8_lossy(&self.body));
        self.json()
    }

    #[track_caller]
    pub fn ok_status(&self, what: &str) {
        assert!(self.status.is_success(), "{what}: {} {}", self.status, String::from_utf8_lossy(&self.body));
    }

    /// Its status and the problem's code.
    #[track_caller]
    pub fn refusal(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", String::from_utf8_lossy(&self.body));
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.len() > 5), "{problem}");
        (self.status.as_u16(), problem["code"].as_str().unwrap_or_default().to_owned())
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

/// Runs a test over open doors.
pub fn with_doors(test: impl AsyncFnOnce(&Doors)) {
    run(Access::Open, test);
}

/// Runs a test over doors that ask for keys.
pub fn with_doors_and_keys(test: impl AsyncFnOnce(&Doors)) {
    run(Access::Keys, test);
}

fn run(access: Access, test: impl AsyncFnOnce(&Doors)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let db = TestDatabase::new().await.unwrap();
        let stop = CancellationToken::new();
        let (router, _) = tasker_server::routes(db.tasker().clone(), access, stop.clone());
        let doors = Doors { db, router, stop };
        test(&doors).await;
        doors.stop.cancel();
        let divergences: i64 = sqlx::query_scalar("select count(*) from tasker.step_readiness_divergences")
            .fetch_one(doors.db.tasker().store().pool())
            .await
            .unwrap();
        assert_eq!(divergences, 0);
        let Doors { db, router, .. } = doors;
        drop(router);
        db.close().await.unwrap();
    });
}

impl Doors {
    pub async fn ask(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answer { status: head.status, headers: head.headers, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(request(Method::GET, path).body(Body::empty()).unwrap()).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        let request = request(Method::POST, path).header("content-type", "application/json");
        self.ask(request.body(Body::from(body.to_string())).unwrap()).await
    }

    /// Registers a workflow whose handlers are the tests' own.
    pub async fn register(&self, yaml: &str) -> Answer {
        let request = request(Method::POST, "/v1/named_tasks").header("content-type", "application/yaml");
        self.ask(request.body(Body::from(yaml.to_owned())).unwrap()).await
    }

    /// Submits a task and gives its id.
    pub async fn submit(&self, name: &str, input: Value) -> String {
        let answer = self.post("/v1/tasks", json!({ "namespace": "shop", "name": name, "input": input })).await;
        answer.ok()["task_id"].as_str().unwrap().to_owned()
    }

    /// Registers `parcel` in a namespace, past the doors.
    pub async fn register_in(&self, namespace: &str) {
        let yaml = wide("parcel", 3).replace("namespace: shop", &format!("namespace: {namespace}"));
        let definition = Definition::from_yaml("a test", yaml.as_bytes(), None, &[]).unwrap();
        self.db.tasker().register_definition(&definition).await.unwrap();
    }

    /// Submits a task of it, and gives its id and that of its first step.
    pub async fn submit_in(&self, namespace: &str) -> (String, String) {
        let task = self.db.tasker().submit(namespace, "parcel", &json!({}), Submission::default()).await.unwrap();
        let task = task.task_id.to_string();
        let step = format!("{}1", &task[..task.len() - 1]);
        (task, step)
    }

    /// A task's state, as it is stored.
    pub async fn state_of(&self, task: &str) -> String {
        sqlx::query_scalar("select state::text from tasker.tasks where task_id = $1::uuid")
            .bind(task)
            .fetch_one(self.db.tasker().store().pool())
            .await
            .unwrap()
    }

    /// The ids of a task's steps.
    pub async fn steps(&self, task: &str) -> Vec<String> {
        let page = self.get(&format!("/v1/tasks/{task}/workflow_steps?limit=1000")).await.ok();
        let id = |step: &Value| step["workflow_step_id"].as_str().unwrap().to_owned();
        page["items"].as_array().unwrap().iter().map(id).collect()
    }

    /// Plays handlers that complete, but for one that fails and is not to be retried.
    pub fn play(&self, handlers: &[&str], failing: &'static str) {
        for name in handlers {
            let fails = *name == failing;
            self.db.fake(name, move |_| match fails {
                true => Err(StepError::fatal("too heavy")),
                false => Outcome::complete(&json!({ "ok": true })),
            });
        }
    }
}

/// A request of this machine's own.
pub fn request(method: Method, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path).header("host", "localhost:8080")
}

/// A workflow of so many steps: one, then many beside each other, then one.
pub fn wide(name: &str, steps: usize) -> String {
    let mut yaml =
        format!("name: {name}\nnamespace: shop\nversion: 1.0.0\nsteps:\n- {{name: first, handler: app.do}}\n");
    let middle: Vec<String> = (0..steps - 2).map(|n| format!("m{n}")).collect();
    for name in &middle {
        yaml += &format!("- {{name: {name}, handler: app.do, depends_on: [first]}}\n");
    }
    yaml + &format!("- {{name: last, handler: app.do, depends_on: [{}]}}\n", middle.join(", "))
}
