//! Every field of the schema's roots for every role: plainly, under another name, in a fragment, and beside what is allowed; and what keys of other
//! namespaces see.

use async_graphql::{
    Positioned, Value as Constant,
    parser::types::{TypeKind, TypeSystemDefinition},
};
use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use serde_json::{Value, json};
use tasker::access::{Permission, Role};

use crate::support::{Answer, Doors, request, with_doors_and_keys};

/// Each field of a root, and the permission that it declares.
fn fields(root: &str) -> Vec<(String, Option<Permission>)> {
    let document = async_graphql::parser::parse_schema(tasker_server::graphql_schema()).unwrap();
    let mut fields = Vec::new();
    for definition in document.definitions {
        let TypeSystemDefinition::Type(Positioned { node, .. }) = definition else { continue };
        let (TypeKind::Object(object), true) = (node.kind, node.name.node == root) else { continue };
        for field in object.fields {
            let takes = field.node.directives.iter().find(|directive| directive.node.name.node == "takes");
            let word = takes.and_then(|takes| takes.node.get_argument("permission"));
            let permission = match word.map(|word| &word.node) {
                Some(Constant::String(word)) => Permission::of(word),
                _ => None,
            };
            fields.push((field.node.name.node.to_string(), permission));
        }
    }
    assert!(!fields.is_empty(), "{root}");
    fields
}

/// How a field is asked for, so that it succeeds or is refused by the present state: `None`: nobody has said.
fn asked(field: &str, task: &str, step: &str) -> Option<String> {
    Some(match field {
        "namedTasks" => "namedTasks { nodes { namespace } }".into(),
        "namedTask" => "namedTask(namespace: \"shop\", name: \"parcel\") { name steps { name } }".into(),
        "tasks" => "tasks { nodes { taskId } }".into(),
        "task" => format!("task(taskId: \"{task}\") {{ taskId workflowSteps {{ nodes {{ name }} }} }}"),
        "workflowStep" => format!("workflowStep(workflowStepId: \"{step}\") {{ name task {{ taskId }} }}"),
        "taskExecutionContexts" => format!("taskExecutionContexts(taskIds: [\"{task}\"]) {{ taskId }}"),
        "stepReadinessStatuses" => format!("stepReadinessStatuses(taskIds: [\"{task}\"]) {{ taskId }}"),
        "previewTasks" => "previewTasks(filter: {}) { matched newest { taskId } }".into(),
        "drawTask" => format!("drawTask(taskId: \"{task}\")"),
        "drawNamedTask" => "drawNamedTask(namespace: \"shop\", name: \"parcel\", version: \"1.0.0\")".into(),
        "registerNamedTask" => {
            "registerNamedTask(definition: \"{name: other, namespace: shop, version: 1.0.0, steps: [{name: a, handler: app.do}]}\") { name }".into()
        }
        "submitTask" => "submitTask(task: { namespace: \"shop\", name: \"parcel\" }) { taskId }".into(),
        "actOnTask" => format!("actOnTask(taskId: \"{task}\", verb: pause, reason: \"a test\") {{ state }}"),
        "actOnTasks" => "actOnTasks(verb: resume, filter: {}) { matched done }".into(),
        "retryStep" => format!("retryStep(workflowStepId: \"{step}\") {{ state }}"),
        "cancelStep" => format!("cancelStep(workflowStepId: \"{step}\", reason: \"a test\") {{ state }}"),
        "resolveStep" => format!("resolveStep(workflowStepId: \"{step}\", result: 1) {{ state }}"),
        "editStepInput" => format!("editStepInput(workflowStepId: \"{step}\", input: {{}}) {{ state }}"),
        "changeRetryLimit" => format!("changeRetryLimit(workflowStepId: \"{step}\", retryLimit: 9) {{ state }}"),
        "events" => "events(after: \"x\") { kind }".into(),
        _ => return None,
    })
}

/// The codes of an answer's errors.
fn codes(answer: &Answer) -> Vec<String> {
    let text = String::from_utf8_lossy(&answer.body);
    // one answer, or the first of a stream
    let first = text.lines().find_map(|line| line.strip_prefix("data: ").or(line.starts_with('{').then_some(line)));
    let told: Value = serde_json::from_str(first.unwrap_or_default()).unwrap_or_else(|why| panic!("{why}: {answer:?}"));
    let code = |error: &Value| error["extensions"]["code"].as_str().unwrap().to_owned();
    told["errors"].as_array().map(|errors| errors.iter().map(code).collect()).unwrap_or_default()
}

impl Doors {
    async fn graphql_with(&self, key: &str, query: &str) -> Answer {
        let mut request = request(Method::POST, "/graphql").header("content-type", "application/json");
        if !key.is_empty() {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        if query.starts_with("subscription") {
            request = request.header("accept", "text/event-stream");
        }
        self.ask(request.body(Body::from(json!({ "query": query }).to_string())).unwrap()).await
    }

    async fn audited(&self) -> i64 {
        let count = sqlx::query_scalar("select count(*) from tasker.audit_records");
        count.fetch_one(self.db.tasker().store().pool()).await.unwrap()
    }
}

#[test]
fn every_field_asks_every_role_for_what_it_declares() {
    with_doors_and_keys(async |doors| {
        doors.register_in("shop").await;
        for role in Role::ALL {
            let key = doors.key(role, None).await;
            for (root, operation) in [("Query", "query"), ("Mutation", "mutation"), ("Subscription", "subscription")] {
                for (field, declared) in fields(root) {
                    let permission = declared.unwrap_or_else(|| panic!("{field} declares no permission"));
                    assert_eq!(root == "Query" || root == "Subscription", permission == Permission::Read, "{field}");
                    for form in ["plain", "alias", "fragment", "inline", "beside"] {
                        let (task, step) = doors.submit_in("shop").await;
                        let asked = asked(&field, &task, &step)
                            .unwrap_or_else(|| panic!("{field} is not in the matrix: how is it asked for?"));
                        let query = match form {
                            "plain" => format!("{operation} {{ {asked} }}"),
                            "alias" => format!("{operation} {{ other: {asked} }}"),
                            "fragment" => format!(
                                "{operation} {{ ...a }} fragment a on {root} {{ ...b }} fragment b on {root} {{ {asked} }}"
                            ),
                            "inline" => format!("{operation} {{ ... on {root} @include(if: true) {{ {asked} }} }}"),
                            _ if root == "Subscription" => continue,
                            _ => format!("{operation} {{ __typename {asked} }}"),
                        };
                        let before = doors.audited().await;
                        let answer = doors.graphql_with(&key, &query).await;
                        let found = codes(&answer);
                        let what = format!("{role} {form} {field}: {answer:?}");
                        if role.may(permission) {
                            let mut state = vec!["task_not_live", "nothing_to_retry", "step_is_finished", "bad_cursor"];
                            // of fragments in fragments a subscription follows nothing, and says so
                            state.extend((root == "Subscription").then_some("bad_query"));
                            assert!(found.iter().all(|code| state.contains(&code.as_str())), "{what}");
                        } else {
                            assert_eq!(found, ["forbidden"], "{what}");
                            assert_eq!(answer.json()["data"], Value::Null, "{what}");
                        }
                        let is_kept = role.may(permission) && permission != Permission::Read;
                        assert_eq!(doors.audited().await - before, i64::from(is_kept), "{what}");
                    }
                    let (task, step) = doors.submit_in("shop").await;
                    let query = format!("{operation} {{ {} }}", asked(&field, &task, &step).unwrap());
                    for key in ["", "tasker_0123", "Bearer"] {
                        let answer = doors.graphql_with(key, &query).await;
                        assert_eq!(
                            (answer.status.as_u16(), answer.graphql_code().as_str()),
                            (401, "unauthorized"),
                            "{field}"
                        );
                        assert_eq!(answer.header("www-authenticate"), "Bearer");
                    }
                }
            }
            // introspection is for whoever may look
            assert!(codes(&doors.graphql_with(&key, "{ __schema { types { name } } }").await).is_empty());
        }
        let kept: Vec<(String, String, Option<String>)> = sqlx::query_as(
            "select actor, object, reason from tasker.audit_records where action = 'cancel_step' and actor = 'operator' limit 1",
        )
        .fetch_all(doors.db.tasker().store().pool())
        .await
        .unwrap();
        assert_eq!((kept.len(), kept[0].2.as_deref()), (1, Some("a test")));
        assert!(kept[0].1.ends_with('1'), "the step: {kept:?}");
        // each mutation is kept under the name of REST's operation
        let actions: Vec<String> = sqlx::query_scalar(
            "select distinct action from tasker.audit_records where action not like '%_key' order by 1",
        )
        .fetch_all(doors.db.tasker().store().pool())
        .await
        .unwrap();
        let mut expected: Vec<String> = fields("Mutation").into_iter().map(|(name, _)| name).collect();
        let mut found: Vec<String> = actions.iter().map(|action| crate::graphql::camel(action)).collect();
        expected.sort();
        found.sort();
        assert_eq!(found, expected);
    });
}

#[test]
fn what_is_in_other_namespaces_is_not_there_for_graphql() {
    with_doors_and_keys(async |doors| {
        for namespace in ["shop", "depot"] {
            doors.register_in(namespace).await;
        }
        let ((own, own_step), (other, step)) = (doors.submit_in("depot").await, doors.submit_in("shop").await);
        let nobody = ("01900000-0000-7000-8000-000000000000", "01900000-0000-7000-8000-000000000001");
        let key = doors.key(Role::Admin, Some(&["depot"])).await;
        let events = async || {
            let count = sqlx::query_scalar::<_, i64>("select count(*) from tasker.events");
            count.fetch_one(doors.db.tasker().store().pool()).await.unwrap()
        };
        let before = (events().await, doors.audited().await);
        for (root, operation) in [("Query", "query"), ("Mutation", "mutation")] {
            for (field, _) in fields(root) {
                let query =
                    |task: &str, step: &str| format!("{operation} {{ {} }}", asked(&field, task, step).unwrap());
                let (asked_other, asked_nobody) = (query(&other, &step), query(nobody.0, nobody.1));
                if asked_other == asked_nobody && !asked_other.contains("\"shop\"") {
                    continue;
                }
                let (told, of_nobody) =
                    (doors.graphql_with(&key, &asked_other).await, doors.graphql_with(&key, &asked_nobody).await);
                // word for word what is told of a thing that there is not
                let text = |answer: &Answer, task: &str, step: &str| {
                    String::from_utf8_lossy(&answer.body).replace(step, "STEP").replace(task, "TASK")
                };
                assert_eq!(text(&told, &other, &step), text(&of_nobody, nobody.0, nobody.1), "{field}");
                let told = told.json();
                assert!(!told.to_string().contains("\"name\":"), "{field}: {told}");
                let found = codes(&doors.graphql_with(&key, &asked_other).await);
                match field.as_str() {
                    "taskExecutionContexts" | "stepReadinessStatuses" => assert_eq!(told["data"][&field], json!([])),
                    "registerNamedTask" => assert_eq!(found, ["forbidden"]),
                    _ => assert!(found.len() == 1 && found[0].starts_with("unknown_"), "{field}: {found:?}"),
                }
            }
        }
        assert_eq!((events().await, doors.audited().await), before, "nothing was done, and nothing kept");
        // a subscription to another's task
        let answer =
            doors.graphql_with(&key, &format!("subscription {{ events(taskId: \"{other}\") {{ kind }} }}")).await;
        assert_eq!(codes(&answer), ["unknown_task"]);
        // lists have his own alone, whatever the filter says
        let query =
            "{ tasks { nodes { taskId workflowSteps { nodes { task { taskId } parents { task { taskId } } } } } }
          there: tasks(filter: { namespace: \"shop\" }) { nodes { taskId } } namedTasks { nodes { namespace } }
          previewTasks(filter: {}) { matched newest { taskId } } }";
        let told = doors.graphql_with(&key, query).await.ok();
        assert_eq!((&told["errors"], &told["data"]["there"]["nodes"]), (&Value::Null, &json!([])));
        assert!(told.to_string().contains(&own) && !told.to_string().contains(&other), "{told}");
        assert_eq!(told["data"]["namedTasks"]["nodes"], json!([{ "namespace": "depot" }]));
        assert_eq!(told["data"]["previewTasks"]["matched"], 1);
        // what is done over many is done to his own
        let told =
            doors.graphql_with(&key, "mutation { actOnTasks(verb: cancel, filter: {}) { matched done } }").await.ok();
        assert_eq!(told["data"]["actOnTasks"], json!({ "matched": 1, "done": 1 }));
        let mixed = format!(
            "{{ a: task(taskId: \"{own}\") {{ state }} b: task(taskId: \"{other}\") {{ state }} c: workflowStep(workflowStepId: \"{own_step}\") {{ name }} d: workflowStep(workflowStepId: \"{step}\") {{ name }} }}"
        );
        let told = doors.graphql_with(&key, &mixed).await;
        assert_eq!(told.status, StatusCode::OK);
        assert_eq!(codes(&told), ["unknown_task", "unknown_step"]);
        assert_eq!(
            told.json()["data"],
            json!({ "a": { "state": "cancelled" }, "b": null, "c": { "name": "first" }, "d": null })
        );
        assert_eq!(doors.state_of(&other).await, "pending");
    });
}
