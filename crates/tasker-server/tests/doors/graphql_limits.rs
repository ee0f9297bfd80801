//! What a query may not be: each limit with its own word; and what no page of another site can make a browser send.

use std::time::{Duration, Instant};

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use serde_json::{Value, json};

use crate::support::{request, wide, with_doors};

/// Fields within each other, so many.
fn nested(depth: usize) -> String {
    let mut query = String::from("name");
    for n in 0..depth - 2 {
        query = format!("{} {{ {query} }}", if n % 2 == 0 { "parents" } else { "children" });
    }
    format!("{{ workflowStep(workflowStepId: \"01900000-0000-7000-8000-000000000001\") {{ {query} }} }}")
}

/// What GraphiQL asks at first.
const INTROSPECTION: &str = "query IntrospectionQuery { __schema { queryType { name } mutationType { name } subscriptionType { name }
  types { ...FullType } directives { name description locations args { ...InputValue } } } }
fragment FullType on __Type { kind name description fields(includeDeprecated: true) { name description args { ...InputValue } type { ...TypeRef }
  isDeprecated deprecationReason } inputFields { ...InputValue } interfaces { ...TypeRef } enumValues(includeDeprecated: true) { name description
  isDeprecated deprecationReason } possibleTypes { ...TypeRef } }
fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue }
fragment TypeRef on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name
  ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } } }";

#[test]
fn each_limit_says_which_it_is() {
    with_doors(async |doors| {
        let nothing = || json!({});
        let roots = |n: usize| (0..n).map(|n| format!("a{n}: tasks {{ nodes {{ taskId }} }} ")).collect::<String>();
        let doubling = |n: usize| {
            let mut query = String::from("{ tasks { nodes { ...f0 } } } ");
            for n in 0..n {
                query += &format!("fragment f{n} on Task {{ ...f{} ...f{} }} ", n + 1, n + 1);
            }
            query + &format!("fragment f{n} on Task {{ taskId }}")
        };
        let schema_bomb =
            format!("{{ __schema {{ types {}name{} }} }}", "{ fields { type ".repeat(2) + "{", "}".repeat(5));
        for (what, query, code) in [
            ("the depth", nested(10), "unknown_step"),
            ("beyond the depth", nested(11), "too_deep"),
            (
                "brackets",
                format!(
                    "{{ tasks(filter: {{ tags: {}1{} }}) {{ nodes {{ taskId }} }} }}",
                    "[".repeat(70),
                    "]".repeat(70)
                ),
                "too_deep",
            ),
            ("very many brackets", "{ a ".repeat(100_000), "too_deep"),
            ("brackets in brackets", "[".repeat(400_000), "too_deep"),
            ("lists of the schema", schema_bomb, "too_deep"),
            (
                "fields of the schema",
                format!("{{ __schema {{ types {{ {} }} }} }}", "name ".repeat(400)),
                "too_many_fields",
            ),
            (
                "aliases",
                format!(
                    "{{ task(taskId: \"01900000-0000-7000-8000-000000000000\") {{ {} }} }}",
                    (0..16).map(|n| format!("a{n}: name ")).collect::<String>()
                ),
                "too_many_aliases",
            ),
            ("roots", format!("{{ {} }}", "tasks { nodes { taskId } } ".repeat(11)), "too_many_fields"),
            ("aliased roots", format!("{{ {} }}", roots(11)), "too_many_fields"),
            ("subscriptions", "subscription { a: events { kind } b: events { kind } }".into(), "too_many_fields"),
            ("fields in fragments in fragments", doubling(200), "too_many_fields"),
            ("tokens", format!("{{ tasks {{ nodes {{ {} }} }} }}", "taskId ".repeat(2_000)), "too_many_tokens"),
            (
                "tokens, commented",
                format!("{{ tasks {{ nodes {{ {} }} }} }}", "taskId #}\n".repeat(2_000)),
                "too_many_tokens",
            ),
            (
                "directives",
                format!("{{ tasks {} {{ nodes {{ taskId }} }} }}", "@skip(if: false) ".repeat(400)),
                "too_many_tokens",
            ),
            (
                "complexity",
                "{ tasks(first: 1000) { nodes { workflowSteps(first: 1000) { nodes { name } } } } }".into(),
                "too_complex",
            ),
            (
                "complexity of lists",
                "{ tasks(first: 1000) { nodes { namedTask { steps { name handler dependsOn } } } } }".into(),
                "too_complex",
            ),
            (
                "a fragment in itself",
                "{ tasks { nodes { ...a } } } fragment a on Task { ...b } fragment b on Task { ...a }".into(),
                "bad_query",
            ),
            ("a page", "{ tasks(first: 0) { nodes { taskId } } }".into(), "bad_limit"),
            ("a large page", "{ tasks(first: 1001) { nodes { taskId } } }".into(), "bad_limit"),
            (
                "many tasks",
                format!(
                    "{{ taskExecutionContexts(taskIds: [{}]) {{ taskId }} }}",
                    "\"01900000-0000-7000-8000-000000000000\" ".repeat(101)
                ),
                "bad_query",
            ),
        ] {
            let begin = Instant::now();
            assert_eq!(doors.refused(&query, nothing()).await, code, "{what}");
            assert!(begin.elapsed() < Duration::from_secs(20), "{what}: {:?}", begin.elapsed());
        }
        // what is just within
        for query in [
            format!("{{ {} }}", roots(10)),
            doubling(6),
            format!("{{ tasks(first: 5) {{ nodes {{ {} }} }} }}", "taskId ".repeat(1_500)),
            INTROSPECTION.to_owned(),
        ] {
            doors.data(&query, nothing()).await;
        }
        let variables = json!({ "first": 1000 });
        assert_eq!(doors.refused("query($first: Int) { tasks(first: $first) { nodes { workflowSteps(first: $first) { nodes { name } } } } }", variables).await, "too_complex");
    });
}

/// What lists have is counted, too, where it cannot be known before: a graph in which every step has hundreds of relatives.
#[test]
fn an_answer_of_too_many_things_is_refused_before_it_is_loaded() {
    with_doors(async |doors| {
        doors.register(&wide("parcel", 400)).await.ok();
        let task = doors.submit("parcel", json!({})).await;
        let last = doors.steps(&task).await.pop().unwrap();
        let query = |inner: &str| format!("{{ workflowStep(workflowStepId: \"{last}\") {{ parents {{ {inner} }} }} }}");
        let two = doors.data(&query("children { name }"), json!({})).await;
        assert_eq!(two["workflowStep"]["parents"].as_array().unwrap().len(), 398);
        // 398 * 398: each list is one of things that are loaded already
        assert_eq!(doors.refused(&query("children { parents { name } }"), json!({})).await, "too_many");
    });
}

/// Each step of a chain has all those before it as causes: no more are looked for than an answer may have.
#[test]
fn explanations_without_end_are_refused_before_all_are_worked_out() {
    with_doors(async |doors| {
        let step = |n: usize| {
            format!(
                "- {{ name: s{n}, handler: app.do{} }}\n",
                if n == 0 { String::new() } else { format!(", depends_on: [s{}]", n - 1) }
            )
        };
        let steps: String = (0..200).map(step).collect();
        doors.register(&format!("name: long\nnamespace: shop\nversion: 1.0.0\nsteps:\n{steps}")).await.ok();
        let task = doors.submit("long", json!({})).await;
        let explain = |first: usize| {
            format!(
                "{{ task(taskId: \"{task}\") {{ workflowSteps(first: {first}) {{ nodes {{ explain {{ cause }} }} }} }} }}"
            )
        };
        assert_eq!(doors.refused(&explain(200), json!({})).await, "too_many");
        doors.data(&explain(100), json!({})).await;
    });
}

/// A query that the database does not answer is given up.
#[test]
fn a_query_that_takes_too_long_is_given_up() {
    with_doors(async |doors| {
        let mut holder = doors.db.tasker().store().pool().begin().await.unwrap();
        sqlx::query("lock table tasker.tasks in access exclusive mode").execute(&mut *holder).await.unwrap();
        let begin = Instant::now();
        let answer = doors.graphql("{ tasks { nodes { taskId } } }", json!({})).await;
        assert_eq!((answer.status, answer.graphql_code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "too_slow"));
        assert_eq!(answer.header("retry-after"), "1");
        assert!((9..60).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
        holder.rollback().await.unwrap();
        doors.data("{ tasks { nodes { taskId } } }", json!({})).await;
    });
}

#[test]
fn what_a_page_of_another_site_can_send_is_refused() {
    with_doors(async |doors| {
        let mutation = json!({ "query": "mutation { actOnTasks(verb: cancel, filter: {}) { done } }" }).to_string();
        let ask = async |method: Method, path: &str, kind: Option<&str>, origin: Option<&str>, body: &str| {
            let mut request = request(method, path);
            for (name, value) in [("content-type", kind), ("origin", origin)] {
                if let Some(value) = value {
                    request = request.header(name, value);
                }
            }
            let answer = doors.ask(request.body(Body::from(body.to_owned())).unwrap()).await;
            (
                answer.status.as_u16(),
                answer.json()["errors"][0]["extensions"]["code"].as_str().unwrap_or_default().to_owned(),
            )
        };
        let form = "query=mutation{actOnTasks(verb:cancel,filter:{}){done}}";
        for kind in [
            None,
            Some("text/plain"),
            Some("application/x-www-form-urlencoded"),
            Some("multipart/form-data; boundary=x"),
            Some("application/jsonp"),
            Some("application/graphql"),
        ] {
            for body in [&mutation, form] {
                assert_eq!(
                    ask(Method::POST, "/graphql", kind, None, body).await,
                    (415, "unsupported_type".into()),
                    "{kind:?}"
                );
            }
        }
        for method in [Method::GET, Method::HEAD, Method::PUT] {
            let path = "/graphql?query=mutation%7BactOnTasks(verb:cancel,filter:%7B%7D)%7Bdone%7D%7D";
            let answer = doors.ask(request(method.clone(), path).body(Body::empty()).unwrap()).await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        }
        let json = Some("application/json");
        for origin in ["https://evil.example", "null", "http://localhost.evil.example"] {
            assert_eq!(ask(Method::POST, "/graphql", json, Some(origin), &mutation).await, (403, "not_local".into()));
        }
        let audited: i64 = sqlx::query_scalar("select count(*) from tasker.audit_records")
            .fetch_one(doors.db.tasker().store().pool())
            .await
            .unwrap();
        assert_eq!(audited, 0, "nothing was so much as asked for");
        assert_eq!(
            ask(Method::POST, "/graphql", json, Some("http://localhost:8080"), &mutation).await,
            (200, String::new())
        );
        let elsewhere = axum::http::Request::builder()
            .method(Method::POST)
            .uri("/graphql")
            .header("host", "evil.example")
            .header("content-type", "application/json");
        let answer = doors.ask(elsewhere.body(Body::from(mutation.clone())).unwrap()).await;
        assert_eq!((answer.status.as_u16(), answer.graphql_code().as_str()), (403, "not_local"));
        // GraphiQL is `tasker dev`'s alone
        assert_eq!(doors.get("/graphiql").await.status, StatusCode::NOT_FOUND);
    });
}

#[test]
fn no_query_is_answered_with_a_defect() {
    with_doors(async |doors| {
        doors.register(&wide("parcel", 3)).await.ok();
        let task = doors.submit("parcel", json!({})).await;
        let step = doors.steps(&task).await.remove(0);
        let quoted = |text: &str| json!({ "query": text }).to_string();
        let with = |query: &str, variables: Value| json!({ "query": query, "variables": variables }).to_string();
        let submit = "mutation($t: NewTask!) { submitTask(task: $t) { taskId } }";
        let tasks = "query($f: TaskFilter) { tasks(filter: $f) { nodes { taskId } } }";
        let one = "query($id: UUID!) { task(taskId: $id) { taskId } }";
        for (body, code) in [
            ("".to_owned(), "bad_body"),
            ("{".into(), "json"),
            ("[]".into(), "bad_body"),
            (format!("[{}, {}]", quoted("{ __typename }"), quoted("{ __typename }")), "bad_body"),
            ("{\"query\": 7}".into(), "bad_body"),
            ("{\"query\": \"\\u0000\"}".into(), "json"),
            ("{\"query\": \"{ __typename }\", \"variables\": [1]}".into(), "bad_body"),
            ("{\"query\": \"{ __typename }\", \"variables\": \"{}\"}".into(), "bad_body"),
            ("{\"query\": \"{ __typename }\", \"operationName\": 7}".into(), "bad_body"),
            ("{\"query\": \"{ __typename }\", \"operationName\": \"b\"}".into(), "bad_query"),
            (quoted(""), "bad_query"),
            (quoted("{"), "bad_query"),
            (quoted("}{"), "bad_query"),
            (quoted("query a { __typename } query b { __typename }"), "bad_query"),
            (quoted("query a { __typename } query a { __typename }"), "bad_query"),
            (quoted("{ nothing }"), "bad_query"),
            (quoted("{ tasks }"), "bad_query"),
            (quoted("{ tasks { nodes { nothing } } }"), "bad_query"),
            (quoted("{ tasks(colour: 1) { nodes { taskId } } }"), "bad_query"),
            (quoted("{ ...a }"), "bad_query"),
            (quoted("{ tasks { nodes { taskId ... on WorkflowStep { name } } } }"), "bad_query"),
            (quoted("{ task(taskId: 7) { taskId } }"), "bad_query"),
            (quoted("{ task(taskId: \"7\") { taskId } }"), "bad_query"),
            (quoted("{ tasks @nothing { nodes { taskId } } }"), "bad_query"),
            (quoted("{ tasks @skip { nodes { taskId } } }"), "bad_query"),
            (quoted("{ tasks(filter: { name: \"\\u0000\" }) { nodes { taskId } } }"), "bad_value"),
            (quoted("{ tasks(filter: { name: \"\\ud800\" }) { nodes { taskId } } }"), "bad_query"),
            (quoted("{ tasks(filter: { tags: { a: \"\\u0000\" } }) { nodes { taskId } } }"), "bad_value"),
            (quoted("{ tasks(filter: { tags: 7 }) { nodes { taskId } } }"), "bad_filter"),
            (quoted("{ tasks(filter: { executionStatus: \"happy\" }) { nodes { taskId } } }"), "bad_filter"),
            (quoted("{ tasks(filter: { state: happy }) { nodes { taskId } } }"), "bad_query"),
            (quoted("{ tasks(filter: { within: [\"shop\"] }) { nodes { taskId } } }"), "bad_query"),
            (
                quoted("{ tasks(filter: { createdAfter: \"+275760-09-13T00:00:00Z\" }) { nodes { taskId } } }"),
                "bad_query",
            ),
            (quoted("{ tasks(first: -5) { nodes { taskId } } }"), "bad_limit"),
            (quoted("{ tasks(first: 99999999999999999999) { nodes { taskId } } }"), "json"),
            (quoted("{ tasks(first: 9999999999) { nodes { taskId } } }"), "bad_query"),
            (quoted("{ tasks(after: \"x\") { nodes { taskId } } }"), "bad_cursor"),
            (quoted("{ namedTasks(after: \"x\") { nodes { name } } }"), "bad_cursor"),
            (quoted("{ namedTask(namespace: \"shop\", name: \"nothing\") { name } }"), "unknown_workflow"),
            (quoted("{ namedTask(namespace: \"shop\", name: \"\\u0000\") { name } }"), "bad_value"),
            (
                quoted(&format!(
                    "{{ task(taskId: \"{task}\") {{ workflowSteps(after: \"x\") {{ nodes {{ name }} }} }} }}"
                )),
                "bad_cursor",
            ),
            (
                quoted(&format!(
                    "{{ task(taskId: \"{task}\") {{ workflowSteps(after: \"2147483647\") {{ nodes {{ name }} }} }} }}"
                )),
                "",
            ),
            (
                quoted(&format!(
                    "{{ task(taskId: \"{task}\") {{ workflowSteps(name: \"\\u0000\") {{ nodes {{ name }} }} }} }}"
                )),
                "bad_value",
            ),
            (
                quoted(&format!(
                    "{{ task(taskId: \"{task}\") {{ workflowSteps(name: \"nothing\") {{ nodes {{ name }} }} }} }}"
                )),
                "",
            ),
            (
                quoted(&format!(
                    "{{ task(taskId: \"{task}\") {{ transitions(after: \"1\") {{ nodes {{ kind }} }} }} }}"
                )),
                "bad_cursor",
            ),
            (quoted(&format!("{{ workflowStep(workflowStepId: \"{task}\") {{ name }} }}")), "unknown_step"),
            (
                quoted("{ workflowStep(workflowStepId: \"ffffffff-ffff-ffff-ffff-ffffffffffff\") { name } }"),
                "unknown_step",
            ),
            (quoted("{ drawTask(taskId: \"01900000-0000-7000-8000-000000000000\") }"), "unknown_task"),
            (quoted("{ drawNamedTask(namespace: \"a\", name: \"b\", version: \"c\") }"), "unknown_workflow"),
            (quoted("subscription { events { kind } }"), "bad_query"),
            (with(one, json!({})), "bad_query"),
            (with(one, json!({ "id": "\u{1f600}" })), "bad_query"),
            (with(one, json!({ "id": task, "other": 1 })), ""),
            (with(tasks, json!({ "f": { "tags": { "a": [1, { "b": null }] } } })), ""),
            (with(tasks, json!({ "f": { "colour": 1 } })), "bad_query"),
            (with(tasks, json!({ "f": { "namespace": "shop' or true --" } })), ""),
            (with(submit, json!({ "t": { "name": "parcel", "namespace": "shop", "input": 7 } })), "json"),
            (with(submit, json!({ "t": { "name": "parcel", "namespace": "shop", "tags": [1] } })), "bad_tags"),
            (with(submit, json!({ "t": { "name": "parcel", "namespace": "shop", "summary": "a\nb" } })), "bad_summary"),
            (with(submit, json!({ "t": { "name": "parcel", "namespace": "shop", "idempotencyKey": "" } })), "bad_key"),
            (
                with(submit, json!({ "t": { "name": "parcel", "namespace": "shop", "priority": "urgent" } })),
                "bad_query",
            ),
            (with(submit, json!({ "t": { "name": "parcel", "namespace": "shop", "runAt": "tomorrow" } })), "bad_query"),
            (
                with(submit, json!({ "t": { "name": "parcel", "namespace": "shop", "version": "9.9.9" } })),
                "unknown_workflow",
            ),
            (
                quoted(
                    "mutation { submitTask(task: { name: \"parcel\", namespace: \"shop\", input: { a: \"\\u0000\" } }) { taskId } }",
                ),
                "json",
            ),
            (
                quoted(
                    "mutation { submitTask(task: { name: \"parcel\", namespace: \"shop\", input: { a: 1e999 } }) { taskId } }",
                ),
                "json",
            ),
            (
                quoted(&format!(
                    "mutation {{ changeRetryLimit(workflowStepId: \"{step}\", retryLimit: 0) {{ state }} }}"
                )),
                "limit_too_low",
            ),
            (
                quoted(&format!(
                    "mutation {{ changeRetryLimit(workflowStepId: \"{step}\", retryLimit: 2147483648) {{ state }} }}"
                )),
                "bad_query",
            ),
            (quoted(&format!("mutation {{ actOnTask(taskId: \"{task}\", verb: explode) {{ state }} }}")), "bad_query"),
            (
                quoted(&format!(
                    "mutation {{ actOnTask(taskId: \"{task}\", verb: pause, reason: \"{}\") {{ state }} }}",
                    "x".repeat(2001)
                )),
                "bad_reason",
            ),
            (
                quoted(&format!(
                    "mutation {{ actOnTask(taskId: \"{task}\", verb: pause, reason: \"\\u0000\") {{ state }} }}"
                )),
                "bad_value",
            ),
            (
                quoted(
                    "mutation { actOnTask(taskId: \"01900000-0000-7000-8000-000000000000\", verb: cancel) { state } }",
                ),
                "unknown_task",
            ),
            (quoted("mutation { actOnTasks(verb: cancel, filter: {}, limit: 0) { done } }"), "bad_limit"),
            (quoted("mutation { actOnTasks(verb: cancel, filter: {}, limit: -1) { done } }"), "bad_query"),
            (quoted("mutation { registerNamedTask(definition: \"{\") { name } }"), "definition"),
            (quoted("mutation { registerNamedTask(definition: \"\") { name } }"), "definition"),
            (format!("{{\"query\": \"{}\"}}", " ".repeat(1 << 20)), "too_large"),
        ] {
            let request = request(Method::POST, "/graphql").header("content-type", "application/json");
            let answer = doors.ask(request.body(Body::from(body.clone())).unwrap()).await;
            let shown: String = body.chars().take(200).collect();
            let told = answer.json();
            assert_eq!(told["errors"][0]["extensions"]["code"].as_str().unwrap_or_default(), code, "{shown}\n{told:#}");
            for error in told["errors"].as_array().into_iter().flatten() {
                let message = error["message"].as_str().unwrap();
                assert!(
                    !["select ", "tasker.", "SQLSTATE", "sqlx"].iter().any(|word| message.contains(word)),
                    "{message}"
                );
            }
        }
        // invalid UTF-8, and a body in pieces that never says how long it is
        let ask = async |body: Body| {
            let request = request(Method::POST, "/graphql").header("content-type", "application/json");
            doors.ask(request.body(body).unwrap()).await.graphql_code()
        };
        assert_eq!(ask(Body::from(vec![b'{', b'"', 0xff, b'"'])).await, "bad_body");
        let pieces = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 1 << 16]));
        assert_eq!(ask(Body::from_stream(pieces)).await, "too_large");
        // whoever reads the status learns it from that, too
        let status = async |query: &str| {
            let request = request(Method::POST, "/graphql")
                .header("content-type", "application/json")
                .header("accept", "application/graphql-response+json");
            let answer = doors.ask(request.body(Body::from(quoted(query))).unwrap()).await;
            assert_eq!(answer.header("content-type"), "application/graphql-response+json");
            answer.status.as_u16()
        };
        assert_eq!((status("{ __typename }").await, status("{").await, status("{ nothing }").await), (200, 400, 400));
        assert_eq!(status("{ task(taskId: \"01900000-0000-7000-8000-000000000000\") { taskId } }").await, 200);
    });
}
