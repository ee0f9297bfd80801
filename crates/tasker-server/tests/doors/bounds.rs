//! What is large, or locked, or another's: it costs whoever asks for it, and nobody else.

use axum::http::StatusCode;
use serde_json::{Value, json};
use tasker::{access::Role, handlers::Outcome};

use crate::{
    events::Stream,
    support::{wide, with_doors, with_doors_and_keys},
};

/// A page ends where it has 16 MiB, and the next goes on there; what gathers the results of many steps says that they are too much.
#[test]
fn large_results_come_in_smaller_pages() {
    with_doors(async |doors| {
        doors.register(&wide("parcel", 40)).await.ok();
        doors.db.fake("app.do", |_| Outcome::complete(&"x".repeat(1 << 20).split_off(100)));
        let task = doors.submit("parcel", json!({})).await;
        doors.db.run_until_idle().await.unwrap();
        let (mut from, mut sizes) = (String::from("0"), Vec::new());
        let mut numbers: Vec<i64> = Vec::new();
        loop {
            let page = doors.get(&format!("/v1/tasks/{task}/workflow_steps?limit=1000&from={from}")).await;
            sizes.push(page.body.len() >> 20);
            let page = page.ok();
            numbers.extend(page["items"].as_array().unwrap().iter().map(|step| step["step_number"].as_i64().unwrap()));
            match page["next"].as_str() {
                Some(next) => from = next.into(),
                None => break,
            }
        }
        assert_eq!(numbers, (0..40).collect::<Vec<_>>());
        assert!(sizes.len() > 2 && sizes.iter().all(|size| *size <= 17), "{sizes:?} MiB");
        // one alone is read whatever its size, and without results there are as many as wanted
        doors.get(&format!("/v1/tasks/{task}/workflow_steps?name=last")).await.ok();
        let page = doors.get(&format!("/v1/tasks/{task}/workflow_steps?limit=1000&without_results=true")).await.ok();
        assert_eq!((page["items"].as_array().unwrap().len(), &page["next"]), (40, &Value::Null));
        let query = "query($id: UUID!) { task(taskId: $id) { workflowSteps(first: 1000) { nodes { result } } } }";
        assert_eq!(doors.refused(query, json!({ "id": task })).await, "too_many");
        for _ in 0..40 {
            doors.submit("parcel", json!({ "a": "x".repeat(900_000) })).await;
        }
        assert_eq!(doors.refused("{ tasks { nodes { context } } }", json!({})).await, "too_many");
        doors.data("{ tasks(first: 20) { nodes { context } } }", json!({})).await;
    });
}

/// A locked task is passed over, and the report says so.
#[test]
fn a_locked_task_holds_up_no_other_of_a_verb_over_many() {
    with_doors(async |doors| {
        doors.register(&wide("parcel", 3)).await.ok();
        let mut tasks = Vec::new();
        for _ in 0..5 {
            tasks.push(doors.submit("parcel", json!({})).await);
        }
        let mut holder = doors.db.tasker().store().pool().begin().await.unwrap();
        sqlx::query("select from tasker.tasks where task_id = $1::uuid for update")
            .bind(&tasks[2])
            .execute(&mut *holder)
            .await
            .unwrap();
        let report = doors.post("/v1/tasks/bulk", json!({ "verb": "cancel", "filter": {} })).await.ok();
        assert_eq!(report, json!({ "matched": 5, "done": 4, "refused": { "locked": 1 }, "next": null }));
        holder.rollback().await.unwrap();
        assert_eq!(doors.state_of(&tasks[2]).await, "pending");
        assert_eq!(doors.state_of(&tasks[0]).await, "cancelled");
    });
}

/// Each of these as they are shown.
#[test]
fn whether_they_are_paused_is_found_as_it_is_shown() {
    with_doors(async |doors| {
        doors.register(&wide("parcel", 3)).await.ok();
        for verbs in
            [&[][..], &["pause"], &["pause", "resume"], &["pause", "cancel"], &["pause", "resolve"], &["cancel"]]
        {
            let task = doors.submit("parcel", json!({})).await;
            for verb in verbs {
                doors.post(&format!("/v1/tasks/{task}/{verb}"), json!({})).await.ok();
            }
        }
        let all = doors.get("/v1/tasks").await.ok()["items"].as_array().unwrap().clone();
        for (paused, state) in
            [(true, ""), (false, ""), (true, "cancelled"), (true, "pending"), (true, "resolved_manually")]
        {
            let state_too = if state.is_empty() { String::new() } else { format!("&state={state}") };
            let found = doors.get(&format!("/v1/tasks?paused={paused}{state_too}")).await.ok();
            let found = found["items"].as_array().unwrap().clone();
            let fits = |task: &&Value| task["paused"] == paused && (state.is_empty() || task["state"] == state);
            assert_eq!(found, all.iter().filter(fits).cloned().collect::<Vec<_>>(), "{paused} {state}");
            assert!(!found.is_empty(), "{paused} {state}");
        }
    });
}

/// Of what happens elsewhere not even that it happens.
#[test]
fn who_is_limited_to_a_namespace_is_told_nothing_while_others_are_at_work() {
    with_doors_and_keys(async |doors| {
        for namespace in ["shop", "depot"] {
            doors.register_in(namespace).await;
        }
        let key = doors.key(Role::Viewer, Some(&["depot"])).await;
        let mut stream = Stream::with_key(doors, "", None, &key).await;
        let begin = stream.first_id().await;
        let mut history = Vec::new();
        for _ in 0..600 {
            history.push(doors.submit_in("shop").await);
        }
        let (own, _) = doors.submit_in("depot").await;
        let (id, _, event) = stream.next().await.unwrap();
        assert_eq!(event["data"]["transition"]["task_id"], json!(own));
        let mut heard = stream.ids();
        heard.retain(|heard| *heard != begin && *heard != id);
        assert_eq!(heard, Vec::<String>::new());
        // nor in any place that it is told
        let mut stream = Stream::with_key(doors, "after=beginning", None, &key).await;
        stream.next().await.unwrap();
        for id in stream.ids() {
            assert!(history.iter().all(|(task, _)| !id.contains(task)), "{id}");
        }
    });
}

/// Its lines would not fit through any door, and are not worked out where others wait.
#[test]
fn a_dense_graph_is_drawn_with_straight_lines_and_one_of_too_many_edges_not_at_all() {
    with_doors(async |doors| {
        let dense = |name: &str, steps: usize| {
            let mut yaml = format!("name: {name}\nnamespace: shop\nversion: 1.0.0\nsteps:\n");
            for n in 0..steps {
                let parents: Vec<String> = (0..n).map(|parent| format!("s{parent}")).collect();
                yaml += &format!("- {{name: s{n}, handler: app.do, depends_on: [{}]}}\n", parents.join(", "));
            }
            yaml
        };
        doors.register(&dense("dense", 120)).await.ok();
        doors.register(&wide("wide", 1000)).await.ok();
        // more edges than a definition says in a test's time
        sqlx::query(
            "insert into tasker.named_task_edges (named_task_id, from_step, to_step)
             select n.named_task_id, a, b from tasker.named_tasks n, generate_series(1, 498) a, generate_series(500, 998) b where n.name = 'wide'",
        )
        .execute(doors.db.tasker().store().pool())
        .await
        .unwrap();
        let picture = doors.get("/v1/named_tasks/shop/dense/1.0.0/diagram").await;
        picture.ok_status("a picture");
        assert!(picture.body.len() < 2 << 20, "{} bytes", picture.body.len());
        let refused = doors.get("/v1/named_tasks/shop/wide/1.0.0/diagram").await;
        assert_eq!(refused.refusal(), (422, "too_many".into()));
        assert_eq!(doors.get("/health/live").await.status, StatusCode::OK);
    });
}
