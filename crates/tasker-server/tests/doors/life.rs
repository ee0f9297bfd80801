//! The life of tasks, as a client sees it.

use axum::{body::Body, http::Method};
use serde_json::{Value, json};

use crate::support::{request, with_doors};

const PARCEL: &str = "
name: parcel
namespace: shop
version: 1.0.0
description: A parcel is packed and weighed
input: { type: object, required: [grams], properties: { grams: { type: integer, minimum: 1 }, item: { type: string, default: anvil } } }
steps:
- { name: pack, handler: app.pack }
- { name: weigh, handler: app.weigh, retry: { max_attempts: 2 } }
- { name: send, handler: app.send, depends_on: [pack, weigh] }
";

fn names(page: &Value, of: &str) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|item| item[of].as_str().unwrap_or("-").to_owned()).collect()
}

#[test]
fn a_failing_task_is_seen_explained_and_mended() {
    with_doors(async |doors| {
        let registered = doors.register(PARCEL).await;
        assert_eq!(
            (registered.status.as_u16(), registered.header("location")),
            (201, "/v1/named_tasks/shop/parcel/1.0.0")
        );
        doors.play(&["app.pack", "app.weigh", "app.send"], "app.weigh");
        let task = doors.submit("parcel", json!({ "grams": 9000 })).await;
        let steps = doors.steps(&task).await;
        let seen = doors.get(&format!("/v1/tasks/{task}")).await.ok();
        assert_eq!(seen["context"], json!({ "grams": 9000, "item": "anvil" }), "with the defaults");
        assert_eq!(seen["workflow_summary"]["next_executable_step_ids"], json!([steps[0], steps[1]]));
        doors.db.run_until_idle().await.unwrap();

        let seen = doors.get(&format!("/v1/tasks/{task}")).await.ok();
        assert_eq!(
            (&seen["state"], &seen["workflow_summary"]["execution_status"]),
            (&json!("failed"), &json!("blocked_by_failures"))
        );
        let page = doors.get(&format!("/v1/tasks/{task}/workflow_steps")).await.ok();
        assert_eq!(names(&page, "current_state"), ["complete", "failed", "pending"]);
        assert_eq!(names(&page, "blocking_reason"), ["finished", "not_retryable", "dependencies_not_satisfied"]);
        assert_eq!(
            (&page["items"][0]["result"], &page["items"][1]["error"]),
            (&json!({ "ok": true }), &json!("too heavy"))
        );
        assert_eq!(page["items"][2]["parent_step_ids"], json!([steps[0], steps[1]]));
        assert_eq!(page["items"][0]["child_step_ids"], json!([steps[2]]));
        let found = doors.get(&format!("/v1/tasks/{task}/workflow_steps?name=weigh&without_results=true")).await.ok();
        assert_eq!((names(&found, "workflow_step_id"), &found["next"]), (vec![steps[1].clone()], &Value::Null));
        let causes = doors.get(&format!("/v1/workflow_steps/{}/explain", steps[2])).await.ok();
        assert!(names(&causes, "cause").contains(&"not_retryable".to_owned()), "{causes}");
        let attempts = doors.get(&format!("/v1/workflow_steps/{}/attempts", steps[1])).await.ok();
        assert_eq!(names(&attempts, "outcome"), ["failed"]);

        let answer = doors
            .post(&format!("/v1/workflow_steps/{}/edit_input", steps[1]), json!({ "input": { "grams": 1 } }))
            .await;
        assert_eq!(answer.ok()["state"], "failed", "for its retry");
        let raised =
            doors.post(&format!("/v1/workflow_steps/{}/change_limit", steps[1]), json!({ "retry_limit": 9 })).await;
        assert_eq!(raised.refusal(), (409, "task_not_live".into()));
        let retried =
            doors.post(&format!("/v1/workflow_steps/{}/retry", steps[1]), json!({ "reason": "once more" })).await.ok();
        assert_eq!(retried["state"], "pending");
        doors.play(&["app.weigh"], "");
        doors.db.run_until_idle().await.unwrap();
        assert_eq!(doors.get(&format!("/v1/tasks/{task}")).await.ok()["state"], "complete");
        assert_eq!(doors.get(&format!("/v1/workflow_steps/{}", steps[2])).await.ok()["current_state"], "complete");

        let told = doors.get(&format!("/v1/tasks/{task}/transitions?limit=1000")).await.ok();
        let kinds = names(&told, "kind");
        assert_eq!((kinds[0].as_str(), kinds.last().unwrap().as_str()), ("task.submitted", "task.complete"));
        let of_step = doors.get(&format!("/v1/workflow_steps/{}/transitions", steps[1])).await.ok();
        assert_eq!(names(&of_step, "reason"), ["-", "-", "-", "once more", "-", "-"], "{of_step}");
        // page by page, the same
        let (mut paged, mut next) = (Vec::new(), Some(format!("/v1/tasks/{task}/transitions?limit=2")));
        while let Some(path) = next {
            let answer = doors.get(&path).await;
            paged.extend(names(&answer.ok(), "kind"));
            next = answer.header("link").split(['<', '>']).nth(1).map(str::to_owned);
        }
        assert_eq!(paged, kinds);
    });
}

#[test]
fn every_verb_has_its_route() {
    with_doors(async |doors| {
        doors.register(PARCEL).await.ok();
        doors.play(&["app.pack", "app.weigh", "app.send"], "app.weigh");
        let task = doors.submit("parcel", json!({ "grams": 1 })).await;
        let act =
            async |verb: &str| doors.post(&format!("/v1/tasks/{task}/{verb}"), json!({ "reason": "a test" })).await;
        assert_eq!(act("pause").await.ok()["state"], "pending");
        assert_eq!(doors.get("/v1/tasks?paused=true").await.ok()["items"].as_array().unwrap().len(), 1);
        assert_eq!(act("resume").await.ok()["state"], "pending");
        assert_eq!(act("cancel").await.ok()["state"], "cancelled");
        assert_eq!(act("pause").await.refusal(), (409, "task_not_live".into()));
        let failed = doors.submit("parcel", json!({ "grams": 1 })).await;
        doors.db.run_until_idle().await.unwrap();
        let steps = doors.steps(&failed).await;
        assert_eq!(doors.post(&format!("/v1/tasks/{failed}/retry"), json!({})).await.ok()["state"], "in_progress");
        let cancelled = doors.post(&format!("/v1/workflow_steps/{}/cancel", steps[1]), json!({})).await.ok();
        assert_eq!(cancelled["state"], "cancelled");
        let resolved =
            doors.post(&format!("/v1/workflow_steps/{}/resolve", steps[1]), json!({ "result": [1, 2] })).await.ok();
        assert_eq!(resolved["state"], "resolved_manually");
        doors.db.run_until_idle().await.unwrap();
        assert_eq!(doors.get(&format!("/v1/workflow_steps/{}", steps[1])).await.ok()["result"], json!([1, 2]));
        assert_eq!(doors.get(&format!("/v1/tasks/{failed}")).await.ok()["state"], "complete");
        let resolved = doors.submit("parcel", json!({ "grams": 1 })).await;
        assert_eq!(
            doors.post(&format!("/v1/tasks/{resolved}/resolve"), json!({})).await.ok()["state"],
            "resolved_manually"
        );
        // a step's limit, while its task lives
        let live = doors.submit("parcel", json!({ "grams": 1 })).await;
        let step = doors.steps(&live).await.remove(1);
        assert_eq!(
            doors.post(&format!("/v1/workflow_steps/{step}/change_limit"), json!({ "retry_limit": 7 })).await.ok()["state"],
            "pending"
        );
        assert_eq!(doors.get(&format!("/v1/workflow_steps/{step}")).await.ok()["retry_limit"], 7);
    });
}

#[test]
fn tasks_are_found_by_what_is_known_of_them() {
    with_doors(async |doors| {
        doors.register(PARCEL).await.ok();
        doors.register(&PARCEL.replace("shop", "depot").replace("1.0.0", "2.0.0")).await.ok();
        let submit = async |more: Value| {
            let mut task = json!({ "namespace": "shop", "name": "parcel", "input": { "grams": 1 } });
            task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            // ids are made of the clock: what is submitted later sorts later
            doors.db.advance(std::time::Duration::from_millis(1)).await.unwrap();
            doors.post("/v1/tasks", task).await.ok()["task_id"].as_str().unwrap().to_owned()
        };
        let plain = submit(json!({})).await;
        let tagged = submit(json!({ "tags": { "region": "eu", "n": 1 }, "summary": "for Ann" })).await;
        let heavy = submit(json!({ "input": { "grams": 77, "item": "piano" } })).await;
        let elsewhere = submit(json!({ "namespace": "depot" })).await;
        let later = submit(json!({ "run_at": "2999-01-01T00:00:00Z", "priority": "high" })).await;
        doors.post(&format!("/v1/tasks/{plain}/cancel"), json!({})).await.ok();
        let mut all = [&plain, &tagged, &heavy, &elsewhere, &later].map(String::clone);
        all.reverse();
        let found = async |query: &str| names(&doors.get(&format!("/v1/tasks?{query}")).await.ok(), "task_id");
        assert_eq!(found("").await, all, "the newest first");
        for (query, expected) in [
            ("state=cancelled", vec![&plain]),
            ("namespace=depot", vec![&elsewhere]),
            ("name=parcel&version=2.0.0", vec![&elsewhere]),
            ("name=nothing", vec![]),
            ("execution_status=scheduled", vec![&later]),
            ("execution_status=cancelled", vec![&plain]),
            ("execution_status=has_ready_steps&namespace=shop", vec![&heavy, &tagged]),
            ("tags=%7B%22region%22%3A%22eu%22%7D", vec![&tagged]),
            ("context=%7B%22item%22%3A%22piano%22%7D", vec![&heavy]),
            ("created_before=2000-01-01T00:00:00Z", vec![]),
            ("created_after=2000-01-01T00:00:00Z&state=cancelled", vec![&plain]),
            ("paused=true", vec![]),
        ] {
            let expected: Vec<String> = expected.into_iter().cloned().collect();
            assert_eq!(found(query).await, expected, "{query}");
        }
        // page by page
        let (mut paged, mut next) = (Vec::new(), Some("/v1/tasks?limit=2&paused=false".to_owned()));
        while let Some(path) = next {
            let answer = doors.get(&path).await;
            paged.extend(names(&answer.ok(), "task_id"));
            next = answer.header("link").split(['<', '>']).nth(1).map(str::to_owned);
        }
        assert_eq!(paged, all);
        // many at once
        let contexts = doors.get(&format!("/v1/task_execution_contexts?task_ids={plain},{later}")).await.ok();
        assert_eq!(names(&contexts, "execution_status"), ["cancelled", "scheduled"]);
        let readiness = doors.get(&format!("/v1/step_readiness_statuses?task_ids={later},{heavy}")).await.ok();
        assert_eq!(readiness["items"].as_array().unwrap().len(), 6);

        // a verb over those that match: first seen, then done
        let filter = json!({ "namespace": "shop", "execution_status": "has_ready_steps" });
        let preview = doors.post("/v1/tasks/bulk/preview", filter.clone()).await.ok();
        assert_eq!(
            (&preview["matched"], names(&json!({ "items": preview["newest"] }), "task_id")),
            (&json!(2), vec![heavy.clone(), tagged.clone()])
        );
        let report = doors
            .post("/v1/tasks/bulk", json!({ "verb": "pause", "filter": filter, "reason": "stocktaking" }))
            .await
            .ok();
        assert_eq!(report, json!({ "matched": 2, "done": 2, "refused": {}, "next": null }));
        let again = json!({ "verb": "pause", "filter": { "state": "cancelled" } });
        let report = doors.post("/v1/tasks/bulk", again).await.ok();
        assert_eq!(report, json!({ "matched": 1, "done": 0, "refused": { "task_not_live": 1 }, "next": null }));
        let all_of_them = json!({ "verb": "cancel", "filter": {}, "limit": 4 });
        let report = doors.post("/v1/tasks/bulk", all_of_them).await.ok();
        assert_eq!(report, json!({ "matched": 4, "done": 4, "refused": {}, "next": tagged }));
        let rest = json!({ "verb": "cancel", "filter": {}, "before": report["next"] });
        let report = doors.post("/v1/tasks/bulk", rest).await.ok();
        assert_eq!(report, json!({ "matched": 1, "done": 1, "refused": {}, "next": null }), "cancelled it stays");
    });
}

#[test]
fn workflows_are_listed_and_shown_with_their_graph() {
    with_doors(async |doors| {
        doors.register(PARCEL).await.ok();
        assert_eq!(doors.register(PARCEL).await.status, 201, "the same again changes nothing");
        doors.register(&PARCEL.replace("1.0.0", "1.10.0")).await.ok();
        doors.register(&PARCEL.replace("1.0.0", "1.9.0")).await.ok();
        let changed = doors.register(&PARCEL.replace("max_attempts: 2", "max_attempts: 3")).await;
        assert_eq!(changed.refusal(), (409, "version_taken".into()));
        let listed = doors.get("/v1/named_tasks?namespace=shop&name=parcel").await.ok();
        assert_eq!(names(&listed, "version"), ["1.9.0", "1.10.0", "1.0.0"]);
        let first = doors.get("/v1/named_tasks?limit=1&be%66ore=1000000").await;
        let rest = doors.get(first.header("link").split(['<', '>']).nth(1).unwrap()).await.ok();
        assert_eq!(names(&rest, "version"), ["1.10.0"]);
        let shown = doors.get("/v1/named_tasks/shop/parcel").await.ok();
        assert_eq!(
            (&shown["version"], &shown["execution_order"]),
            (&json!("1.10.0"), &json!([["pack", "weigh"], ["send"]])),
            "the highest"
        );
        assert_eq!(shown["steps"][2]["depends_on"], json!(["pack", "weigh"]));
        assert_eq!(shown["input"]["required"], json!(["grams"]));
        assert_eq!(
            doors.get("/v1/named_tasks/shop/parcel/1.0.0").await.ok()["description"],
            "A parcel is packed and weighed"
        );
        assert_eq!(doors.get("/v1/named_tasks/shop/parcel/3.0.0").await.refusal(), (404, "unknown_workflow".into()));
        // JSON is as good
        let json = json!({ "name": "one", "version": "1.0.0", "steps": [{ "name": "a", "handler": "transform", "with": { "value": 1 } }] });
        assert_eq!(doors.post("/v1/named_tasks", json).await.ok()["namespace"], "default");
        assert_eq!(doors.get("/v1/named_tasks/default/one").await.ok()["input"], Value::Null);
    });
}

#[test]
fn a_submission_sent_again_gives_the_first_task() {
    with_doors(async |doors| {
        doors.register(PARCEL).await.ok();
        let send = async |key: &str, grams: i64| {
            let request = request(Method::POST, "/v1/tasks").header("content-type", "application/json; charset=utf-8");
            let body = json!({ "namespace": "shop", "name": "parcel", "input": { "grams": grams } }).to_string();
            doors.ask(request.header("Idempotency-Key", key).body(Body::from(body)).unwrap()).await
        };
        let (first, again, other) = (send("k", 1).await, send("k", 1).await, send("l", 1).await);
        assert_eq!((first.status.as_u16(), again.status.as_u16(), other.status.as_u16()), (201, 200, 201));
        assert_eq!(first.ok()["task_id"], again.ok()["task_id"]);
        assert_ne!(first.ok()["task_id"], other.ok()["task_id"]);
        assert_eq!(send("k", 2).await.refusal(), (422, "idempotency_key_reused".into()));
    });
}

#[test]
fn who_has_an_answer_already_is_told_so() {
    with_doors(async |doors| {
        doors.register(PARCEL).await.ok();
        let task = doors.submit("parcel", json!({ "grams": 1 })).await;
        let path = format!("/v1/tasks/{task}");
        let tag = doors.get(&path).await.header("etag").to_owned();
        assert!(tag.len() > 10, "{tag}");
        let again = async || {
            let request = request(Method::GET, &path).header("if-none-match", format!("\"x\", W/{tag}"));
            doors.ask(request.body(Body::empty()).unwrap()).await
        };
        let known = again().await;
        assert_eq!((known.status.as_u16(), known.body.len(), known.header("etag")), (304, 0, tag.as_str()));
        doors.post(&format!("{path}/pause"), json!({})).await.ok();
        assert_eq!(again().await.status, 200);
        for path in
            [format!("{path}/diagram"), format!("{path}/diagram?format=dot"), "/openapi.json".into(), "/docs".into()]
        {
            assert!(doors.get(&path).await.header("etag").len() > 10, "{path}");
        }
        let head = doors.ask(request(Method::HEAD, &path).body(Body::empty()).unwrap()).await;
        assert_eq!(head.header("etag"), doors.get(&path).await.header("etag"));
    });
}

/// The claim does not write the task: lists and filters say what the views say all the same.
#[test]
fn a_task_is_in_progress_from_its_first_claim_on_in_lists_too() {
    with_doors(async |doors| {
        doors.register(PARCEL).await.ok();
        let task = doors.submit("parcel", json!({ "grams": 1 })).await;
        let matched = async |state: &str| {
            let list = doors.get(&format!("/v1/tasks?state={state}")).await.ok();
            let preview = doors.post("/v1/tasks/bulk/preview", json!({ "state": state })).await.ok();
            assert_eq!(list["items"].as_array().unwrap().len() as i64, preview["matched"].as_i64().unwrap(), "{state}");
            list["items"].as_array().unwrap().iter().map(|item| item["state"].clone()).collect::<Vec<_>>()
        };
        assert_eq!((matched("pending").await, matched("in_progress").await), (vec![json!("pending")], vec![]));
        // claimed, and nothing else
        let store = doors.db.tasker().store();
        let worker = uuid::Uuid::new_v4();
        let ids = store.register_worker(worker, &["app.pack".into(), "app.weigh".into()], "").await.unwrap();
        let claimed: Vec<i32> = sqlx::query_scalar(
            "select cardinality(l_tasks) from tasker.claim_task($1, $2::uuid, $3, 1, interval '1 minute')",
        )
        .bind(worker)
        .bind(&task)
        .bind(&ids)
        .fetch_all(store.pool())
        .await
        .unwrap();
        assert_eq!(claimed, [1]);
        assert_eq!((matched("pending").await, matched("in_progress").await), (vec![], vec![json!("in_progress")]));
        assert_eq!(doors.get(&format!("/v1/tasks/{task}")).await.ok()["state"], "in_progress");
    });
}
