//! Subscriptions: server-sent events of the graphql-sse protocol, from where a client was, of what concerns it, until its key ends.

use std::time::Duration;

use axum::{
    body::{Body, BodyDataStream},
    http::{Method, StatusCode},
};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tasker::access::Role;
use tower::ServiceExt;

use crate::support::{Doors, request, wide, with_doors, with_doors_and_keys};

/// What is asked of each event.
const EVENT: &str = "cursor kind transition { number taskId stepNumber kind at } task { taskId namespace workflow executionStatus completedSteps totalSteps }
  workflowStep { name currentState dependencies blockingReason }";

/// A subscription on its way.
struct Stream {
    body: BodyDataStream,
    text: String,
}

impl Stream {
    async fn open(doors: &Doors, arguments: &str, key: &str) -> Stream {
        let query = format!("subscription {{ events{arguments} {{ {EVENT} }} }}");
        Stream::ask(doors, &query, key).await
    }

    async fn ask(doors: &Doors, query: &str, key: &str) -> Stream {
        let mut request = request(Method::POST, "/graphql")
            .header("content-type", "application/json")
            .header("accept", "text/event-stream");
        if !key.is_empty() {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let request = request.body(Body::from(json!({ "query": query }).to_string())).unwrap();
        let response = doors.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Stream { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// The next message: its name and its data. `None`: the stream has ended.
    async fn message(&mut self) -> Option<(String, String)> {
        loop {
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let of = |name: &str| {
                    let line = message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                    line.unwrap_or_default().trim().to_owned()
                };
                let told = (of("event"), of("data"));
                self.text = rest.to_owned();
                if !told.0.is_empty() {
                    return Some(told);
                }
                continue;
            }
            let chunk =
                tokio::time::timeout(Duration::from_secs(20), self.body.next()).await.expect("a message in time");
            self.text += std::str::from_utf8(&chunk?.unwrap()).unwrap();
        }
    }

    /// The next event.
    async fn next(&mut self) -> Option<Value> {
        let (name, data) = self.message().await?;
        assert_eq!(name, "next");
        let told: Value = serde_json::from_str(&data).unwrap();
        assert!(told["errors"].is_null(), "{told:#}");
        Some(told["data"]["events"].clone())
    }

    async fn kinds(&mut self, how_many: usize) -> Vec<String> {
        let mut kinds = Vec::new();
        while kinds.len() < how_many {
            kinds.push(self.next().await.expect("it goes on")["kind"].as_str().unwrap().to_owned());
        }
        kinds
    }
}

#[test]
fn a_subscriber_hears_everything_once_and_no_effect_before_its_cause() {
    with_doors(async |doors| {
        doors.register(&wide("parcel", 3)).await.ok();
        doors.play(&["app.do"], "");
        let mut live = Stream::open(doors, "", "").await;
        // it follows when its answer has begun, be it read or not: what is submitted from here on is heard
        let mut begun = Stream::open(doors, "(after: \"beginning\")", "").await;
        let task = doors.submit("parcel", json!({})).await;
        assert_eq!(begun.kinds(1).await, ["task.submitted"]);
        doors.db.run_until_idle().await.unwrap();
        let mut heard = Vec::new();
        for _ in 0..8 {
            heard.push(begun.next().await.unwrap());
        }
        let kinds: Vec<&str> = heard.iter().map(|event| event["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds.iter().filter(|kind| **kind == "step.complete").count(), 3);
        // each number is at least its predecessor's, and a step runs only when its parents are complete
        let number = |event: &Value| event["transition"]["number"].as_i64().unwrap();
        assert!(heard.windows(2).all(|pair| number(&pair[0]) <= number(&pair[1])), "{heard:#?}");
        let place = |kind: &str, step: &str| {
            heard.iter().position(|event| event["kind"] == kind && event["workflowStep"]["name"] == step).unwrap()
        };
        for (before, after) in [("first", "m0"), ("m0", "last")] {
            assert!(place("step.complete", before) < place("step.in_progress", after), "{kinds:?}");
        }
        let last = &heard[place("step.complete", "last")];
        assert_eq!(
            (&last["workflowStep"]["dependencies"], &last["task"]["namespace"], &last["task"]["totalSteps"]),
            (&json!(["m0"]), &json!("shop"), &json!(3))
        );
        assert_eq!(
            (&last["task"]["executionStatus"], &last["transition"]["taskId"]),
            (&json!("all_complete"), &json!(task))
        );
        // from every event on, the rest
        for (n, event) in heard.iter().enumerate().take(heard.len() - 1) {
            let mut again = Stream::open(doors, &format!("(after: {})", event["cursor"]), "").await;
            assert_eq!(again.kinds(heard.len() - n - 1).await, kinds[n + 1..]);
        }
        // only what concerns it
        let other = doors.submit("parcel", json!({})).await;
        let mut of_task = Stream::open(doors, &format!("(after: \"beginning\", taskId: \"{other}\")"), "").await;
        assert_eq!(of_task.next().await.unwrap()["task"]["taskId"], json!(other));
        let mut of_kind =
            Stream::open(doors, &format!("(after: \"beginning\", kinds: [\"task\"], taskId: \"{task}\")"), "").await;
        assert_eq!(of_kind.kinds(3).await, ["task.submitted", "task.in_progress", "task.complete"]);
        let mut of_kinds = Stream::open(
            doors,
            "(after: \"beginning\", kinds: [\"step.complete\", \"task.complete\"], namespace: \"shop\")",
            "",
        )
        .await;
        assert!(of_kinds.kinds(4).await.iter().all(|kind| kind.ends_with("complete")));
        // who has been there from the start has heard the same
        assert_eq!(live.kinds(1).await, ["task.submitted"]);
        assert_eq!(live.kinds(kinds.len()).await, kinds);
        // when the server ends, so do the streams: not as if that were all
        let mut elsewhere = Stream::open(doors, "(after: \"beginning\", namespace: \"depot\")", "").await;
        doors.stop.cancel();
        assert_eq!(elsewhere.message().await, None);
    });
}

/// A key that is revoked ends what it began; and what is in other namespaces never came over it.
#[test]
fn a_subscription_ends_with_its_key() {
    with_doors_and_keys(async |doors| {
        let store = doors.db.tasker().store();
        let (key, secret) = store.create_key("ann", Role::Viewer, Some(&["depot".into()]), None).await.unwrap();
        let mut stream = Stream::open(doors, "(after: \"beginning\")", secret.reveal()).await;
        for namespace in ["shop", "depot"] {
            doors.register_in(namespace).await;
            doors.submit_in(namespace).await;
        }
        assert_eq!(stream.next().await.unwrap()["task"]["namespace"], "depot");
        store.revoke_key(key.api_key_id).await.unwrap();
        // also where it never falls silent
        for heard in 0.. {
            assert!(heard < 2000, "it goes on and on");
            doors.submit_in("depot").await;
            if stream.next().await.is_none() {
                break;
            }
        }
    });
}

/// What cannot be followed says so, and that this is all; what is no subscription is answered the same way, once.
#[test]
fn a_stream_that_is_over_says_so() {
    with_doors(async |doors| {
        for (query, code) in [
            ("subscription { events(after: \"x\") { kind } }", "bad_cursor"),
            ("subscription { events(after: \"0123456789abcdef/3:3:\") { kind } }", "cursor_gone"),
            ("subscription { events(kinds: [\"happy\"]) { kind } }", "bad_query"),
            ("subscription { events(taskId: 7) { kind } }", "bad_query"),
            ("subscription { nothing }", "bad_query"),
            ("{", "bad_query"),
            ("{ task(taskId: \"01900000-0000-7000-8000-000000000000\") { taskId } }", "unknown_task"),
            ("{ tasks { nodes { taskId } } }", ""),
        ] {
            let mut stream = Stream::ask(doors, query, "").await;
            let (name, data) = stream.message().await.unwrap();
            let told: Value = serde_json::from_str(&data).unwrap();
            assert_eq!(name, "next");
            assert_eq!(told["errors"][0]["extensions"]["code"].as_str().unwrap_or_default(), code, "{query}: {told}");
            assert_eq!(stream.message().await, Some(("complete".into(), String::new())), "{query}");
            assert_eq!(stream.message().await, None, "{query}");
        }
    });
}
