//! Events as they are streamed: from where a client was, of what concerns it, complete.

use std::time::Duration;

use axum::{
    body::{Body, BodyDataStream},
    http::{Method, StatusCode},
};
use futures_util::StreamExt;
use serde_json::{Value, json};

use tasker::access::Role;

use crate::support::{Doors, request, wide, with_doors, with_doors_and_keys};

/// A connection on which events come.
pub struct Stream {
    body: BodyDataStream,
    text: String,
    ids: Vec<String>,
}

impl Stream {
    async fn open(doors: &Doors, query: &str, last: Option<&str>) -> Stream {
        Stream::with_key(doors, query, last, "").await
    }

    pub async fn with_key(doors: &Doors, query: &str, last: Option<&str>, key: &str) -> Stream {
        use tower::ServiceExt;
        let mut request = request(Method::GET, &format!("/v1/events?{query}"));
        if !key.is_empty() {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = doors.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Stream { body: response.into_body().into_data_stream(), text: String::new(), ids: Vec::new() }
    }

    /// The next event: its id, its name, its data. `None`: the stream has ended.
    pub async fn next(&mut self) -> Option<(String, String, Value)> {
        loop {
            if let Some((message, rest)) = self.text.split_once("\n\n") {
                let of = |name: &str| {
                    let line = message.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
                    line.unwrap_or_default().to_owned()
                };
                let told = (of("id"), of("event"), of("data"));
                self.ids.push(told.0.clone());
                self.text = rest.to_owned();
                if !told.2.is_empty() {
                    return Some((told.0, told.1, serde_json::from_str(&told.2).unwrap()));
                }
                continue;
            }
            let chunk =
                tokio::time::timeout(Duration::from_secs(20), self.body.next()).await.expect("an event in time");
            self.text += std::str::from_utf8(&chunk?.unwrap()).unwrap();
        }
    }

    /// The first id that is told, with an event or without.
    pub async fn first_id(&mut self) -> String {
        while !self.text.contains("\n\n") {
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.body.next()).await.expect("an id in time");
            self.text += std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap();
        }
        self.text.lines().find_map(|line| line.strip_prefix("id: ")).expect("an id").to_owned()
    }

    /// All ids that were told so far, with an event or without.
    pub fn ids(&self) -> Vec<String> {
        self.ids.iter().filter(|id| !id.is_empty()).cloned().collect()
    }

    async fn kinds(&mut self, how_many: usize) -> Vec<String> {
        let mut kinds = Vec::new();
        while kinds.len() < how_many {
            kinds.push(self.next().await.expect("the stream goes on").1);
        }
        kinds
    }
}

#[test]
fn a_client_that_comes_back_goes_on_where_it_was() {
    with_doors(async |doors| {
        doors.register(&wide("parcel", 3)).await.ok();
        doors.play(&["app.do"], "");
        let mut live = Stream::open(doors, "", None).await;
        let task = doors.submit("parcel", json!({})).await;
        doors.db.run_until_idle().await.unwrap();
        let expected = [
            "task.submitted",
            "step.in_progress",
            "task.in_progress",
            "step.complete",
            "step.in_progress",
            "step.complete",
            "step.in_progress",
            "task.complete",
            "step.complete",
        ];
        let mut heard = Vec::new();
        for _ in 0..expected.len() {
            heard.push(live.next().await.unwrap());
        }
        let mut kinds: Vec<&str> = heard.iter().map(|(_, kind, _)| kind.as_str()).collect();
        assert_eq!((kinds[0], kinds.len()), ("task.submitted", expected.len()));
        // a CloudEvent, with the seed's payload
        let (_, kind, event) = heard.iter().rfind(|(_, kind, _)| kind == "step.complete").unwrap();
        assert_eq!(
            (&event["specversion"], &event["type"], &event["datacontenttype"]),
            (&json!("1.0"), &json!(kind), &json!("application/json"))
        );
        assert_eq!(event["source"], "/v1/named_tasks/shop/parcel/1.0.0");
        let (task_now, step_now) = (&event["data"]["task"], &event["data"]["step"]);
        assert_eq!(
            (&task_now["completed_steps"], &task_now["total_steps"], &task_now["status"]),
            (&json!(3), &json!(3), &json!("complete"))
        );
        assert_eq!((&step_now["dependencies"], &step_now["dependencies_satisfied"]), (&json!(["m0"]), &json!(true)));
        assert!(step_now["retry_eligible"].is_boolean() && step_now["blocking_reason"].is_string());
        // from every event on, the rest
        for (n, (id, ..)) in heard.iter().enumerate().take(heard.len() - 1) {
            let mut again = Stream::open(doors, "", Some(id)).await;
            assert_eq!(again.kinds(heard.len() - n - 1).await, kinds.split_off(0)[n + 1..]);
            kinds = heard.iter().map(|(_, kind, _)| kind.as_str()).collect();
        }
        // only what concerns it
        let other = doors.submit("parcel", json!({})).await;
        let mut of_task = Stream::open(doors, &format!("after=beginning&task_id={other}"), None).await;
        assert_eq!(of_task.next().await.unwrap().2["data"]["transition"]["task_id"], json!(other));
        let mut of_kind = Stream::open(doors, &format!("after=beginning&kind=task&task_id={task}"), None).await;
        assert_eq!(of_kind.kinds(3).await, ["task.submitted", "task.in_progress", "task.complete"]);
        let mut of_kinds =
            Stream::open(doors, "after=beginning&kind=step.complete,task.complete&namespace=shop", None).await;
        assert!(of_kinds.kinds(4).await.iter().all(|kind| kind.ends_with("complete")));
        let mut elsewhere = Stream::open(doors, "after=beginning&namespace=depot", None).await;
        // when the server ends, so do the streams
        doors.stop.cancel();
        assert!(elsewhere.next().await.is_none());
        assert_eq!(doors.get("/health/ready").await.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(doors.get("/health/live").await.status, StatusCode::OK);
    });
}

/// A key that is revoked ends what it began; and what is in other namespaces never came over it.
#[test]
fn a_stream_ends_with_its_key() {
    with_doors_and_keys(async |doors| {
        let store = doors.db.tasker().store();
        let (key, secret) = store.create_key("ann", Role::Viewer, Some(&["depot".into()]), None).await.unwrap();
        let mut stream = Stream::with_key(doors, "after=beginning", None, secret.reveal()).await;
        for namespace in ["shop", "depot"] {
            doors.register_in(namespace).await;
            doors.submit_in(namespace).await;
        }
        let (_, _, event) = stream.next().await.unwrap();
        assert_eq!(event["data"]["task"]["namespace"], "depot");
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

/// A client that has heard nothing yet comes back to where it began: it has been told an id.
#[test]
fn who_has_heard_nothing_yet_knows_where_he_is() {
    with_doors(async |doors| {
        doors.register(&wide("parcel", 3)).await.ok();
        for kind in ["step.completed", "steps", "task.complete,step.done"] {
            let refusal = doors.get(&format!("/v1/events?kind={kind}")).await.refusal();
            assert_eq!(refusal, (422, "bad_query".to_owned()), "{kind}");
        }
        // nobody waits for what will never come
        let nobody = "ffffffff-ffff-ffff-ffff-ffffff000000";
        assert_eq!(doors.get(&format!("/v1/events?task_id={nobody}")).await.refusal(), (404, "unknown_task".into()));
        let mut stream = Stream::open(doors, "kind=task.complete", None).await;
        let id = stream.first_id().await;
        doors.submit("parcel", json!({})).await;
        let mut again = Stream::open(doors, "kind=task.submitted", Some(&id)).await;
        assert_eq!(again.next().await.unwrap().1, "task.submitted");
    });
}

/// Whoever follows takes a place, and leaves it when he goes.
#[test]
fn a_thousand_follow_and_no_more() {
    with_doors(async |doors| {
        let mut streams = Vec::new();
        for _ in 0..1000 {
            streams.push(Stream::open(doors, "", None).await);
        }
        let refused = doors.get("/v1/events").await;
        assert_eq!(refused.refusal(), (503, "too_many_followers".into()));
        assert_eq!(refused.header("retry-after"), "1");
        streams.pop();
        Stream::open(doors, "", None).await;
    });
}
