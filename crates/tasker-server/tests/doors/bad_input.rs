//! What cannot be used is refused, with what is wrong and a stable code; nothing is a server's error.

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use serde_json::json;

use crate::support::{request, wide, with_doors};

#[test]
fn what_cannot_be_used_is_refused_with_its_code() {
    with_doors(async |doors| {
        doors.register(&wide("parcel", 3)).await.ok();
        let task = doors.submit("parcel", json!({})).await;
        let step = doors.steps(&task).await.remove(0);
        let nobody = "01900000-0000-7000-8000-000000000000";
        let post = |path: &str, body: &str| (Method::POST, path.to_owned(), body.to_owned());
        let get = |path: &str| (Method::GET, path.to_owned(), String::new());
        let submit =
            |more: &str| post("/v1/tasks", &format!("{{\"namespace\": \"shop\", \"name\": \"parcel\"{more}}}"));
        let deep = format!(", \"input\": {{\"a\": {}1{}}}", "[".repeat(70), "]".repeat(70));
        let very_deep = format!(", \"input\": {{\"a\": {}", "[".repeat(100_000));
        let large = format!(", \"input\": {{\"a\": \"{}\"}}", "x".repeat(1 << 20));
        for ((method, path, body), status, code) in [
            (get("/v1/nothing"), 404, "unknown_route"),
            (get(&format!("/v1/tasks/{nobody}")), 404, "unknown_task"),
            (get(&format!("/v1/tasks/{nobody}/workflow_steps")), 404, "unknown_task"),
            (get(&format!("/v1/tasks/{nobody}/transitions")), 404, "unknown_task"),
            (get("/v1/tasks/17"), 422, "bad_path"),
            (get("/v1/tasks/%00"), 422, "bad_path"),
            (get("/v1/tasks/%ff"), 422, "bad_path"),
            (get("/v1/tasks?limit=0"), 422, "bad_limit"),
            (get("/v1/tasks?limit=1001"), 422, "bad_limit"),
            (get("/v1/tasks?limit=x"), 422, "bad_query"),
            (get("/v1/tasks?limit=99999999999999999999"), 422, "bad_query"),
            (get("/v1/tasks?colour=red"), 422, "bad_query"),
            (get("/v1/tasks?state=happy"), 422, "bad_query"),
            (get("/v1/tasks?execution_status=happy"), 422, "bad_filter"),
            (get("/v1/tasks?tags=7"), 422, "bad_filter"),
            (get("/v1/tasks?tags={"), 422, "bad_filter"),
            (get("/v1/tasks?tags=%7B"), 422, "bad_filter"),
            (get("/v1/tasks?tags=%7B%22a%22%3A%22%5Cu0000%22%7D"), 422, "bad_filter"),
            (get("/v1/tasks?name=%00"), 422, "bad_value"),
            (get("/v1/tasks?created_after=+275760-09-13T00:00:00Z"), 422, "bad_query"),
            (get("/v1/tasks?before=1"), 422, "bad_query"),
            (get(&format!("/v1/tasks/{task}/workflow_steps?from=-5&limit=5")), 422, "bad_query"),
            (get(&format!("/v1/tasks/{task}/workflow_steps?name=weigh&from=-5")), 422, "bad_query"),
            (post("/v1/tasks/bulk/preview", "[null, null]"), 422, "bad_body"),
            (post("/v1/tasks/bulk/preview", "null"), 422, "bad_body"),
            (get(&format!("/v1/tasks/{task}/workflow_steps?from=2147483647")), 200, ""),
            (get(&format!("/v1/tasks/{task}/workflow_steps?name=%00")), 422, "bad_value"),
            (get(&format!("/v1/tasks/{task}/transitions?after=x")), 422, "bad_query"),
            (get("/v1/task_execution_contexts"), 422, "bad_query"),
            (get("/v1/task_execution_contexts?task_ids=1,2"), 422, "bad_query"),
            (get("/v1/events?after=x"), 422, "bad_cursor"),
            (get("/v1/events?after=0123456789abcdef/3:3:"), 410, "cursor_gone"),
            (get("/v1/named_tasks/shop/%00"), 422, "bad_value"),
            (get(&format!("/v1/workflow_steps/{task}")), 404, "unknown_step"),
            (get(&format!("/v1/workflow_steps/{task}/explain")), 404, "unknown_step"),
            (get(&format!("/v1/workflow_steps/{task}/attempts")), 404, "unknown_step"),
            (get("/v1/workflow_steps/ffffffff-ffff-ffff-ffff-ffffffffffff"), 404, "unknown_step"),
            (submit(""), 201, ""),
            (submit(", \"colour\": 1"), 422, "bad_body"),
            (submit(", \"input\": 7"), 422, "json"),
            (submit(", \"input\": {\"a\": \"\\u0000\"}"), 422, "json"),
            (submit(", \"input\": {\"a\": \"\\ud800\"}"), 422, "json"),
            (submit(", \"input\": {\"a\": 1e400}"), 422, "json"),
            (submit(", \"input\": {\"a\": 1234567890123456789}"), 201, ""),
            (submit(&deep), 422, "json"),
            (submit(&very_deep), 422, "json"),
            (submit(&large), 413, "too_large"),
            (submit(", \"version\": \"9.9.9\""), 404, "unknown_workflow"),
            (submit(", \"tags\": [1]"), 422, "bad_tags"),
            (submit(", \"summary\": \"a\\nb\""), 422, "bad_summary"),
            (submit(", \"unique_while_live\": \"\""), 422, "bad_key"),
            (submit(", \"priority\": \"urgent\""), 422, "bad_body"),
            (submit(", \"run_at\": \"tomorrow\""), 422, "bad_body"),
            (post("/v1/tasks", "{"), 422, "json"),
            (post("/v1/tasks", "[]"), 422, "bad_body"),
            (post("/v1/tasks", ""), 422, "bad_body"),
            (post("/v1/tasks", "{\"name\": \"parcel\", \"name\": \"parcel\"}"), 422, "json"),
            (submit(", \"input\": {\"a\": 1, \"a\": 2}"), 422, "json"),
            (post(&format!("/v1/tasks/{task}/explode"), "{}"), 422, "bad_path"),
            (post(&format!("/v1/tasks/{nobody}/cancel"), "{}"), 404, "unknown_task"),
            (post(&format!("/v1/workflow_steps/{step}/change_limit"), "{\"retry_limit\": 0}"), 409, "limit_too_low"),
            (
                post(&format!("/v1/workflow_steps/{step}/change_limit"), "{\"retry_limit\": 2147483648}"),
                422,
                "bad_body",
            ),
            (post(&format!("/v1/workflow_steps/{step}/resolve"), "{\"reult\": 1}"), 422, "bad_body"),
            (post(&format!("/v1/workflow_steps/{step}/edit_input"), "{\"input\": 1e999}"), 422, "json"),
            (post(&format!("/v1/tasks/{task}/pause"), "{\"reason\": \"\\u0000\"}"), 422, "json"),
            (post(&format!("/v1/tasks/{task}/pause"), "\n"), 422, "json"),
            (post("/v1/tasks/bulk", "{\"verb\": \"cancel\"}"), 422, "bad_body"),
            (post("/v1/tasks/bulk", "{\"verb\": \"cancel\", \"filter\": {}, \"limit\": 0}"), 422, "bad_limit"),
            (
                post("/v1/tasks/bulk", "{\"verb\": \"cancel\", \"filter\": {\"execution_status\": \"x\"}}"),
                422,
                "bad_filter",
            ),
            (post("/v1/tasks/bulk/preview", "{\"tags\": 1}"), 422, "bad_filter"),
            (post("/v1/named_tasks", "{\"name\": 1}"), 422, "definition"),
            (post("/v1/named_tasks", ""), 422, "definition"),
            ((Method::DELETE, format!("/v1/tasks/{task}"), String::new()), 405, "unknown_method"),
            ((Method::PUT, "/v1/tasks".into(), "{}".into()), 405, "unknown_method"),
        ] {
            let request = request(method, &path).header("content-type", "application/json");
            let answer = doors.ask(request.body(Body::from(body.clone())).unwrap()).await;
            let shown: String = body.chars().take(80).collect();
            match code {
                "" => assert_eq!(answer.status.as_u16(), status, "{path} {shown}"),
                _ => assert_eq!(answer.refusal(), (status, code.to_owned()), "{path} {shown}"),
            }
        }
    });
}

#[test]
fn a_body_of_another_type_is_refused() {
    with_doors(async |doors| {
        for kind in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonp")] {
            for path in ["/v1/tasks", "/v1/tasks/bulk", "/v1/named_tasks"] {
                let mut request = request(Method::POST, path);
                if let Some(kind) = kind {
                    request = request.header("content-type", kind);
                }
                let answer = doors.ask(request.body(Body::from("{}")).unwrap()).await;
                assert_eq!(answer.refusal(), (415, "unsupported_type".into()), "{kind:?} {path}");
            }
        }
    });
}

/// A page in a browser may find a name for this machine; it cannot choose what stands in these headers.
#[test]
fn only_this_machines_programs_are_answered() {
    with_doors(async |doors| {
        let ask = async |host: Option<&str>, origin: Option<&str>| {
            let mut request = axum::http::Request::builder().uri("/v1/tasks");
            for (name, value) in [("host", host), ("origin", origin)] {
                if let Some(value) = value {
                    request = request.header(name, value);
                }
            }
            doors.ask(request.body(Body::empty()).unwrap()).await
        };
        for host in ["localhost", "localhost:8080", "127.0.0.1:1", "127.9.9.9", "[::1]:8080", "[::1]"] {
            assert_eq!(ask(Some(host), None).await.status, StatusCode::OK, "{host}");
            assert_eq!(ask(Some(host), Some("http://localhost:3000")).await.status, StatusCode::OK, "{host}");
            assert_eq!(ask(Some(host), Some("https://evil.example")).await.refusal(), (403, "not_local".into()));
            assert_eq!(ask(Some(host), Some("null")).await.refusal(), (403, "not_local".into()));
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            "10.0.0.1",
            "[::2]",
            "localhost@evil.example",
        ] {
            assert_eq!(ask(Some(host), None).await.refusal(), (403, "not_local".into()), "{host}");
        }
        assert_eq!(ask(None, None).await.refusal(), (403, "not_local".into()));
    });
}
