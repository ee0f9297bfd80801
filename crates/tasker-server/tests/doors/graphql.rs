//! GraphQL as a client sees it: the life of a failing task, what is refused, and the schema that was agreed on.

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use expect_test::expect_file;
use serde_json::{Value, json};

use crate::support::{Answer, Doors, request, with_doors};

impl Doors {
    /// Asks in GraphQL.
    pub async fn graphql(&self, query: &str, variables: Value) -> Answer {
        self.post("/graphql", json!({ "query": query, "variables": variables })).await
    }

    /// The data of an answer without errors.
    pub async fn data(&self, query: &str, variables: Value) -> Value {
        let answer = self.graphql(query, variables).await.ok();
        assert!(answer["errors"].is_null(), "{query}: {answer:#}");
        answer["data"].clone()
    }

    /// The code of the first error, and of all that there are.
    pub async fn refused(&self, query: &str, variables: Value) -> String {
        self.graphql(query, variables).await.graphql_code()
    }
}

impl Answer {
    /// The code of the first error.
    #[track_caller]
    pub fn graphql_code(&self) -> String {
        let answer = self.json();
        let error = &answer["errors"][0];
        assert!(error["message"].as_str().is_some_and(|told| told.len() > 5), "{answer:#}");
        error["extensions"]["code"].as_str().unwrap_or_else(|| panic!("no code: {answer:#}")).to_owned()
    }
}

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

const TASK: &str = "query($id: UUID!) { task(taskId: $id) {
  taskId workflow state context tags
  namedTask { version totalSteps description executionOrder input steps { name dependsOn } }
  executionContext { executionStatus recommendedAction completionPercentage }
  workflowSummary { executionStatus rootStepCount blockingReasons nextExecutableStepIds }
  workflowSteps { nodes {
    workflowStepId name currentState blockingReason error errorKind result attempts retryLimit
    parents { name } children { name } task { taskId }
    workflowStepAttempts { attempt outcome error }
    explain { name cause blocks }
    transitions { nodes { kind reason } }
  } }
  transitions(first: 1000) { nodes { number kind } }
} }";

fn each(list: &Value, of: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|item| item[of].as_str().unwrap_or("-").to_owned()).collect()
}

#[test]
fn a_failing_task_is_seen_explained_and_mended_by_graphql_alone() {
    with_doors(async |doors| {
        let register =
            "mutation($text: String!) { registerNamedTask(definition: $text) { namedTaskId namespace name version } }";
        let registered = doors.data(register, json!({ "text": PARCEL })).await;
        assert_eq!(registered["registerNamedTask"]["version"], "1.0.0");
        doors.play(&["app.pack", "app.weigh", "app.send"], "app.weigh");
        let submit = "mutation($task: NewTask!) { submitTask(task: $task) { taskId existing task { state namespace tags context } } }";
        let parcel = json!({ "namespace": "shop", "name": "parcel", "input": { "grams": 9000 }, "idempotencyKey": "order 7",
            "tags": { "region": "eu" }, "priority": "high" });
        let submitted = doors.data(submit, json!({ "task": parcel })).await["submitTask"].clone();
        assert_eq!(
            (&submitted["existing"], &submitted["task"]["context"], &submitted["task"]["tags"]),
            (&json!(false), &json!({ "grams": 9000, "item": "anvil" }), &json!({ "region": "eu" }))
        );
        let task = submitted["taskId"].as_str().unwrap();
        let again = doors.data(submit, json!({ "task": parcel })).await["submitTask"].clone();
        assert_eq!((&again["taskId"], &again["existing"]), (&json!(task), &json!(true)));
        let mut other = parcel.clone();
        other["input"]["grams"] = json!(1);
        assert_eq!(doors.refused(submit, json!({ "task": other })).await, "idempotency_key_reused");
        doors.db.run_until_idle().await.unwrap();

        let list = "{ tasks(filter: { executionStatus: \"blocked_by_failures\", tags: { region: \"eu\" } }) { nodes { taskId } } }";
        assert_eq!(doors.data(list, json!({})).await["tasks"]["nodes"], json!([{ "taskId": task }]));
        let seen = doors.data(TASK, json!({ "id": task })).await["task"].clone();
        assert_eq!(
            (&seen["state"], &seen["executionContext"]["executionStatus"], &seen["workflow"]),
            (&json!("failed"), &json!("blocked_by_failures"), &json!("shop.parcel"))
        );
        assert_eq!(seen["namedTask"]["executionOrder"], json!([["pack", "weigh"], ["send"]]));
        assert_eq!(seen["namedTask"]["steps"][2]["dependsOn"], json!(["pack", "weigh"]));
        assert_eq!(seen["namedTask"]["input"]["required"], json!(["grams"]));
        let steps = &seen["workflowSteps"]["nodes"];
        assert_eq!(each(steps, "currentState"), ["complete", "failed", "pending"]);
        assert_eq!(each(steps, "blockingReason"), ["finished", "not_retryable", "dependencies_not_satisfied"]);
        assert_eq!((&steps[0]["result"], &steps[1]["error"]), (&json!({ "ok": true }), &json!("too heavy")));
        assert_eq!(each(&steps[2]["parents"], "name"), ["pack", "weigh"]);
        assert_eq!(
            (each(&steps[0]["children"], "name"), &steps[0]["task"]["taskId"]),
            (vec!["send".into()], &json!(task))
        );
        assert_eq!(each(&steps[1]["workflowStepAttempts"], "outcome"), ["failed"]);
        assert!(each(&steps[2]["explain"], "cause").contains(&"not_retryable".to_owned()), "{steps}");
        let (weigh, send) = (&steps[1]["workflowStepId"], &steps[2]["workflowStepId"]);
        assert_eq!(seen["workflowSummary"]["blockingReasons"][send.as_str().unwrap()], "dependencies_not_satisfied");

        let edit =
            "mutation($id: UUID!, $input: JSON!) { editStepInput(workflowStepId: $id, input: $input) { state } }";
        let edited = doors.data(edit, json!({ "id": weigh, "input": { "grams": 1 } })).await;
        assert_eq!(edited["editStepInput"]["state"], "failed", "for its retry");
        let limit = "mutation($id: UUID!) { changeRetryLimit(workflowStepId: $id, retryLimit: 9) { state } }";
        assert_eq!(doors.refused(limit, json!({ "id": weigh })).await, "task_not_live");
        // what comes back is as it is after the change
        let retry = "mutation($id: UUID!) { retryStep(workflowStepId: $id, reason: \"once more\") { state workflowStep { currentState task { state } } } }";
        let retried = doors.data(retry, json!({ "id": weigh })).await;
        assert_eq!(
            retried["retryStep"]["workflowStep"],
            json!({ "currentState": "pending", "task": { "state": "in_progress" } })
        );
        doors.play(&["app.weigh"], "");
        doors.db.run_until_idle().await.unwrap();
        let seen = doors.data(TASK, json!({ "id": task })).await["task"].clone();
        assert_eq!(
            (&seen["state"], &seen["executionContext"]["completionPercentage"]),
            (&json!("complete"), &json!(100.0))
        );
        let kinds = each(&seen["transitions"]["nodes"], "kind");
        assert_eq!((kinds[0].as_str(), kinds.last().unwrap().as_str()), ("task.submitted", "task.complete"));
        let of_step = each(&seen["workflowSteps"]["nodes"][1]["transitions"]["nodes"], "reason");
        assert_eq!(of_step, ["-", "-", "-", "once more", "-", "-"]);
        // page by page, the same
        let (mut paged, mut after) = (Vec::new(), Value::Null);
        loop {
            let page = "query($id: UUID!, $after: String) { task(taskId: $id) { transitions(first: 2, after: $after) {
              edges { cursor node { kind } } pageInfo { hasNextPage hasPreviousPage endCursor } } } }";
            let page = doors.data(page, json!({ "id": task, "after": after })).await["task"]["transitions"].clone();
            assert_eq!(page["pageInfo"]["hasPreviousPage"], !after.is_null());
            let edges = page["edges"].as_array().unwrap();
            assert_eq!(edges.last().unwrap()["cursor"], page["pageInfo"]["endCursor"]);
            paged.extend(edges.iter().map(|edge| edge["node"]["kind"].as_str().unwrap().to_owned()));
            after = page["pageInfo"]["endCursor"].clone();
            if page["pageInfo"]["hasNextPage"] == false {
                break;
            }
        }
        assert_eq!(paged, kinds);
    });
}

/// What is asked for by two ways is the same.
#[test]
fn graphql_says_what_rest_says() {
    with_doors(async |doors| {
        doors.register(PARCEL).await.ok();
        doors.play(&["app.pack", "app.weigh", "app.send"], "app.weigh");
        let task = doors.submit("parcel", json!({ "grams": 9000 })).await;
        doors.db.run_until_idle().await.unwrap();
        for (path, query, at) in [
            ("/v1/tasks?limit=3".into(), "{ tasks(first: 3) { nodes { FIELDS } } }".into(), "/tasks/nodes"),
            (
                format!("/v1/tasks/{task}/workflow_steps"),
                format!("{{ task(taskId: \"{task}\") {{ workflowSteps {{ nodes {{ FIELDS }} }} }} }}"),
                "/task/workflowSteps/nodes",
            ),
            (
                format!("/v1/tasks/{task}/transitions"),
                format!("{{ task(taskId: \"{task}\") {{ transitions {{ nodes {{ FIELDS }} }} }} }}"),
                "/task/transitions/nodes",
            ),
            (
                format!("/v1/task_execution_contexts?task_ids={task}"),
                format!("{{ taskExecutionContexts(taskIds: [\"{task}\"]) {{ FIELDS }} }}"),
                "/taskExecutionContexts",
            ),
            (
                format!("/v1/step_readiness_statuses?task_ids={task}"),
                format!("{{ stepReadinessStatuses(taskIds: [\"{task}\"]) {{ FIELDS }} }}"),
                "/stepReadinessStatuses",
            ),
            ("/v1/named_tasks".into(), "{ namedTasks { nodes { FIELDS } } }".into(), "/namedTasks/nodes"),
        ] {
            let rest = doors.get(&path).await.ok()["items"].clone();
            let items = rest.as_array().unwrap();
            assert!(!items.is_empty(), "{path}");
            let names: Vec<String> = items[0].as_object().unwrap().keys().map(|name| camel(name)).collect();
            let data = doors.data(&query.replace("FIELDS", &names.join(" ")), json!({})).await;
            let found = data.pointer(at).unwrap().as_array().unwrap();
            assert_eq!(found.len(), items.len(), "{path}");
            for (one, other) in items.iter().zip(found) {
                for (name, value) in one.as_object().unwrap() {
                    let other = &other[camel(name)];
                    let instant = |value: &Value| chrono::DateTime::parse_from_rfc3339(value.as_str()?).ok();
                    match instant(value) {
                        Some(at) => assert_eq!(instant(other), Some(at), "{path} {name}"),
                        None => assert_eq!(other, value, "{path} {name}"),
                    }
                }
            }
        }
        for format in ["svg", "mermaid", "dot"] {
            let rest = doors.get(&format!("/v1/tasks/{task}/diagram?format={format}")).await;
            let drawn = doors.data(&format!("{{ drawTask(taskId: \"{task}\", format: {format}) }}"), json!({})).await;
            assert_eq!(drawn["drawTask"].as_str().unwrap().as_bytes(), rest.body);
            let rest = doors.get(&format!("/v1/named_tasks/shop/parcel/1.0.0/diagram?format={format}")).await;
            let query = format!(
                "{{ drawNamedTask(namespace: \"shop\", name: \"parcel\", version: \"1.0.0\", format: {format}) }}"
            );
            assert_eq!(doors.data(&query, json!({})).await["drawNamedTask"].as_str().unwrap().as_bytes(), rest.body);
        }
        let preview =
            doors.data("{ previewTasks(filter: { state: failed }) { matched newest { taskId } } }", json!({})).await;
        assert_eq!(preview["previewTasks"], json!({ "matched": 1, "newest": [{ "taskId": task }] }));
        let bulk = "mutation { actOnTasks(verb: retry, filter: { state: failed }, reason: \"all\") { matched done refused { code count } next } }";
        assert_eq!(
            doors.data(bulk, json!({})).await["actOnTasks"],
            json!({ "matched": 1, "done": 1, "refused": [], "next": null })
        );
        let verbs = "mutation($id: UUID!) {
          p: actOnTask(taskId: $id, verb: pause) { task { paused } }
          a: actOnTasks(verb: resume, filter: {}) { done }
          s: submitTask(task: { namespace: \"shop\", name: \"parcel\", input: { grams: 1 }, uniqueWhileLive: \"one\" }) { task { paused } }
          r: actOnTask(taskId: $id, verb: pause) { task { paused } }
        }";
        let first = "mutation { submitTask(task: { namespace: \"shop\", name: \"parcel\", input: { grams: 1 }, uniqueWhileLive: \"one\" }) { taskId } }";
        let one = doors.data(first, json!({})).await["submitTask"]["taskId"].clone();
        let done = doors.data(verbs, json!({ "id": one })).await;
        let paused = ["p", "s", "r"].map(|verb| done[verb]["task"]["paused"].clone());
        assert_eq!(paused, [json!(true), json!(false), json!(true)], "each as it was then");
    });
}

pub fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |name, word| name + &word[..1].to_uppercase() + &word[1..])
}

/// A result has its numbers and its names as they were given, to the last byte; what is not held exactly is refused.
#[test]
fn json_comes_out_as_it_went_in() {
    with_doors(async |doors| {
        doors
            .register("{name: plain, namespace: shop, version: 1.0.0, steps: [{name: a, handler: app.do}]}")
            .await
            .ok();
        let resolve = "mutation($id: UUID!, $result: JSON) { resolveStep(workflowStepId: $id, result: $result) { workflowStep { result } } }";
        let ask = async |result: &str| {
            let task = doors.submit("plain", json!({})).await;
            let step = doors.steps(&task).await.remove(0);
            let (query, id) = (json!(resolve), json!(step));
            let body = format!("{{\"query\": {query}, \"variables\": {{\"id\": {id}, \"result\": {result}}}}}");
            let request = request(Method::POST, "/graphql").header("content-type", "application/json");
            doors.ask(request.body(Body::from(body)).unwrap()).await
        };
        for result in [
            "{\"b\":1234567890123456789,\"a\":-0.5}",
            "18446744073709551615",
            "[[],{},\"\",null,true]",
            "{\"\":\"\\\"é😀\"}",
            "{\"$serde_json::private::RawValue\":\"no JSON\"}",
            "null",
        ] {
            let answer = ask(result).await;
            let text = String::from_utf8(answer.body.clone()).unwrap();
            assert!(text.contains(&format!("\"result\":{result}")), "{text}");
        }
        for result in ["0.12345678901234567891", "1e400", "12345678901234567890123", "\"\\u0000\"", "\"\\ud800\""] {
            assert_eq!(ask(result).await.graphql_code(), "json", "{result}");
        }
    });
}

#[test]
fn the_schema_is_the_one_that_was_agreed_on() {
    expect_file!["../../schema.graphql"].assert_eq(&tasker_server::graphql_schema());
}

/// What REST can, GraphQL can: under the operation's name where something is done, under the thing's where it is looked at.
#[test]
fn it_reaches_as_far_as_rest() {
    with_doors(async |doors| {
        let document = doors.get("/openapi.json").await.ok();
        let schema = tasker_server::graphql_schema();
        let mut missing = Vec::new();
        for methods in document["paths"].as_object().unwrap().values() {
            for (method, operation) in methods.as_object().unwrap() {
                let id = operation["operationId"].as_str().unwrap();
                let field = match id {
                    "graphql" => continue,
                    "list_task_transitions" | "list_step_transitions" => "transitions(".into(),
                    "list_attempts" => "workflowStepAttempts:".into(),
                    "explain_step" => "explain:".into(),
                    "follow_events" => "events(".into(),
                    "show_latest_named_task" => "namedTask(".into(),
                    "preview_tasks" | "draw_task" | "draw_named_task" => format!("{}(", camel(id)),
                    _ if method == "post" => format!("{}(", camel(id)),
                    _ => format!("{}(", camel(id.trim_start_matches("list_").trim_start_matches("show_"))),
                };
                if !schema.lines().any(|line| line.trim_start().starts_with(&field)) {
                    missing.push((id.to_owned(), field));
                }
            }
        }
        assert!(missing.is_empty(), "{missing:?}");
    });
}

/// Of what is wrong with one field the others know nothing.
#[test]
fn what_is_not_there_is_null_and_says_why() {
    with_doors(async |doors| {
        let query = "{ task(taskId: \"01900000-0000-7000-8000-000000000000\") { taskId } tasks { nodes { taskId } } }";
        let answer = doors.graphql(query, json!({})).await;
        assert_eq!(answer.status, StatusCode::OK);
        let told = answer.json();
        assert_eq!(told["data"], json!({ "task": null, "tasks": { "nodes": [] } }));
        assert_eq!(
            (&told["errors"][0]["extensions"]["code"], &told["errors"][0]["path"]),
            (&json!("unknown_task"), &json!(["task"]))
        );
    });
}

/// The guide's queries are ones that the schema knows.
#[test]
fn the_guides_queries_can_be_asked() {
    with_doors(async |doors| {
        let guide = include_str!("../../../../docs/src/http.md");
        let queries: Vec<&str> =
            guide.split("```graphql\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert_eq!(queries.len(), 2);
        let variables = json!({ "namespace": "shop", "step": "01900000-0000-7000-8000-000000000001" });
        let codes: Vec<Value> = vec![Value::Null, json!("unknown_task")];
        for (query, code) in queries.iter().zip(codes) {
            let told = doors.graphql(query, variables.clone()).await.ok();
            assert_eq!(told["errors"][0]["extensions"]["code"], code, "{query}: {told:#}");
        }
        for query in ["{ tasks(first: 3) { nodes { taskId state } } }"] {
            assert!(guide.contains(query));
            doors.data(query, json!({})).await;
        }
    });
}
