//! Every operation of the document for every role, and for keys that are of another namespace, expired, revoked, or none.

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use serde_json::{Value, json};
use tasker::access::{Permission, Role};

use crate::support::{Answer, Doors, request, with_doors_and_keys};

impl Doors {
    /// Makes a key.
    pub async fn key(&self, role: Role, namespaces: Option<&[&str]>) -> String {
        let namespaces: Option<Vec<String>> =
            namespaces.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        let store = self.db.tasker().store();
        let (_, secret) = store.create_key(role.as_str(), role, namespaces.as_deref(), None).await.unwrap();
        secret.reveal().to_owned()
    }

    pub async fn with_key(&self, key: &str, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let mut request = request(method, path);
        if !key.is_empty() {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        self.ask(request.body(body.map_or(Body::empty(), |body| Body::from(body.to_string()))).unwrap()).await
    }
}

/// Each operation of the document: its method, its path with this task and step in it, and the permission that it declares.
fn operations(document: &Value, task: &str, step: &str) -> Vec<(String, Method, String, Option<Permission>)> {
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let path = path
                .replace("{task_id}", task)
                .replace("{workflow_step_id}", step)
                .replace("{namespace}", "shop")
                .replace("{name}", "parcel")
                .replace("{version}", "1.0.0")
                .replace("{verb}", "pause");
            assert!(!path.contains('{'), "{path}: what stands for this?");
            let declared = operation["security"][0]["key"][0].as_str().and_then(Permission::of);
            let method: Method = method.to_uppercase().parse().unwrap();
            operations.push((operation["operationId"].as_str().unwrap().to_owned(), method, path, declared));
        }
    }
    operations
}

/// What an operation is asked with, so that it succeeds.
fn asked(operation: &str, task: &str) -> (&'static str, Option<Value>, String) {
    let workflow = json!({ "name": "other", "namespace": "shop", "version": "1.0.0", "steps": [{ "name": "a", "handler": "app.do" }] });
    let (query, body) = match operation {
        "submit_task" => ("", Some(json!({ "namespace": "shop", "name": "parcel" }))),
        "register_named_task" => ("", Some(workflow)),
        "act_on_tasks" => ("", Some(json!({ "verb": "pause", "filter": {} }))),
        "preview_tasks" => ("", Some(json!({}))),
        // what each of its fields takes: see `graphql_access`
        "graphql" => ("", Some(json!({ "query": "{ __typename }" }))),
        "act_on_task" | "retry_step" | "cancel_step" => ("", Some(json!({ "reason": "a test" }))),
        "resolve_step" => ("", Some(json!({ "result": 1 }))),
        "edit_step_input" => ("", Some(json!({ "input": {} }))),
        "change_retry_limit" => ("", Some(json!({ "retry_limit": 9 }))),
        "list_task_execution_contexts" | "list_step_readiness_statuses" => {
            return ("", None, format!("?task_ids={task}"));
        }
        _ => ("", None),
    };
    (query, body, String::new())
}

#[test]
fn every_operation_asks_every_role_for_what_it_declares() {
    with_doors_and_keys(async |doors| {
        let admin = doors.key(Role::Admin, None).await;
        let document = doors.get("/openapi.json").await.ok();
        let store = doors.db.tasker().store();
        doors.register_in("shop").await;
        let submit = async || {
            let body = json!({ "namespace": "shop", "name": "parcel" });
            let answer = doors.with_key(&admin, Method::POST, "/v1/tasks", Some(&body)).await;
            answer.ok()["task_id"].as_str().unwrap().to_owned()
        };
        let mut names = std::collections::BTreeSet::new();
        for role in Role::ALL {
            let key = doors.key(role, None).await;
            let task = submit().await;
            let step = format!("{}1", &task[..task.len() - 1]);
            for (operation, method, path, declared) in operations(&document, &task, &step) {
                let permission = declared.unwrap_or_else(|| panic!("{operation} declares no permission"));
                names.insert(operation.clone());
                if operation == "follow_events" {
                    continue; // it goes on for ever: see below
                }
                let (_, body, query) = asked(&operation, &task);
                let path = format!("{path}{query}");
                let audited = || async {
                    sqlx::query_scalar::<_, i64>("select count(*) from tasker.audit_records")
                        .fetch_one(store.pool())
                        .await
                        .unwrap()
                };
                let before = audited().await;
                let answer = doors.with_key(&key, method.clone(), &path, body.as_ref()).await;
                let expected = role.may(permission);
                assert_eq!(answer.status != StatusCode::FORBIDDEN, expected, "{role} {operation}: {answer:?}");
                if expected {
                    // what the state does not allow is refused after the door
                    assert!(
                        answer.status.is_success() || answer.status == StatusCode::CONFLICT,
                        "{role} {operation}: {answer:?}"
                    );
                } else {
                    assert_eq!(answer.refusal(), (403, "forbidden".into()));
                }
                let is_kept = expected && permission != Permission::Read;
                assert_eq!(audited().await - before, i64::from(is_kept), "{role} {operation}: who, what, and on what");
                for (key, code) in [("", "unauthorized"), ("tasker_0123", "unauthorized"), ("Bearer", "unauthorized")] {
                    let answer = doors.with_key(key, method.clone(), &path, body.as_ref()).await;
                    let refusal = match operation.as_str() {
                        "graphql" => (answer.status.as_u16(), answer.graphql_code()),
                        _ => answer.refusal(),
                    };
                    assert_eq!(
                        (refusal, answer.header("www-authenticate")),
                        ((401, code.into()), "Bearer"),
                        "{operation}"
                    );
                }
            }
            let events = doors.with_key(&key, Method::GET, "/v1/events?after=x", None).await;
            assert_eq!(events.refusal().1, "bad_cursor", "{role} may follow");
        }
        let declared: usize =
            document["paths"].as_object().unwrap().values().map(|methods| methods.as_object().unwrap().len()).sum();
        assert_eq!(names.len(), declared, "each operation has a name of its own");
        let history =
            doors.with_key(&admin, Method::GET, &format!("/v1/tasks/{}/transitions", submit().await), None).await;
        assert_eq!(history.ok()["items"][0]["actor"], "admin", "who submitted it");
        let of_keys: Vec<(String, bool)> = sqlx::query_as(
            "select distinct action, actor = session_user from tasker.audit_records where action like '%_key' and object like '% viewer'",
        )
        .fetch_all(store.pool())
        .await
        .unwrap();
        assert_eq!(of_keys, [("create_key".into(), true)]);
        let kept: (String, String, Option<String>) =
            sqlx::query_as("select actor, action, reason from tasker.audit_records where action = 'act_on_task' and actor = 'operator'")
                .fetch_one(store.pool())
                .await
                .unwrap();
        assert_eq!(kept, ("operator".into(), "act_on_task".into(), Some("a test".into())));
        let submitted: i64 = sqlx::query_scalar(
            "select count(*) from tasker.audit_records a join tasker.tasks k on a.object like '%.parcel ' || k.task_id where a.action = 'submit_task'",
        )
        .fetch_one(store.pool())
        .await
        .unwrap();
        assert!(submitted > 0, "a record names the task that was submitted");
        // what is done stands under the key's name
        let actor: Option<String> = sqlx::query_scalar(
            "select actor from tasker.task_transitions where verb = 'pause' and actor = 'operator' limit 1",
        )
        .fetch_one(store.pool())
        .await
        .unwrap();
        assert_eq!(actor.as_deref(), Some("operator"));
        // open to all who reach the server, and nothing else is
        for path in [
            "/health/live",
            "/health/ready",
            "/health/status",
            "/livez",
            "/readyz",
            "/healthz",
            "/openapi.json",
            "/docs",
        ] {
            assert!(doors.get(path).await.status.is_success(), "{path}");
        }
        for path in ["/v1/health", "/v1/tasks/health", "/v1/tasks/ready", "/v1/tasks/../health/live"] {
            let status = doors.get(path).await.status;
            assert!([StatusCode::UNAUTHORIZED, StatusCode::NOT_FOUND].contains(&status), "{path}: {status}");
        }
    });
}

#[test]
fn what_is_in_other_namespaces_is_not_there() {
    with_doors_and_keys(async |doors| {
        let admin = doors.key(Role::Admin, None).await;
        for namespace in ["shop", "depot"] {
            doors.register_in(namespace).await;
        }
        let submit = async |namespace: &str| {
            let body = json!({ "namespace": namespace, "name": "parcel" });
            let answer = doors.with_key(&admin, Method::POST, "/v1/tasks", Some(&body)).await;
            answer.ok()["task_id"].as_str().unwrap().to_owned()
        };
        let (own, other) = (submit("depot").await, submit("shop").await);
        let key = doors.key(Role::Admin, Some(&["depot"])).await;
        let document = doors.get("/openapi.json").await.ok();
        let step = format!("{}1", &other[..other.len() - 1]);
        // whatever names an object in its path finds nothing, and changes nothing
        for (operation, method, path, _) in operations(&document, &other, &step) {
            if !(path.contains(&other) || path.contains(&step) || path.contains("/shop/")) {
                continue;
            }
            let (_, body, _) = asked(&operation, &other);
            let answer = doors.with_key(&key, method, &path, body.as_ref()).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{operation}: {answer:?}");
            assert!(answer.refusal().1.starts_with("unknown_"), "{operation}");
        }
        let transitions: i64 = sqlx::query_scalar("select count(*) from tasker.events")
            .fetch_one(doors.db.tasker().store().pool())
            .await
            .unwrap();
        assert_eq!(transitions, 2, "the submissions");
        let ids = |answer: Answer, of: &str| -> Vec<String> {
            let items = answer.ok()["items"].as_array().unwrap().clone();
            items.iter().map(|item| item[of].as_str().unwrap().to_owned()).collect()
        };
        let get = async |path: &str| doors.with_key(&key, Method::GET, path, None).await;
        assert_eq!(ids(get("/v1/tasks").await, "task_id"), [own.as_str()]);
        assert_eq!(ids(get("/v1/tasks?namespace=shop").await, "task_id"), [""; 0]);
        assert_eq!(ids(get("/v1/named_tasks").await, "namespace"), ["depot"]);
        assert_eq!(ids(get("/v1/named_tasks?namespace=shop").await, "namespace"), [""; 0]);
        let both = format!("{own},{other}");
        assert_eq!(ids(get(&format!("/v1/task_execution_contexts?task_ids={both}")).await, "task_id"), [own.as_str()]);
        assert_eq!(
            ids(get(&format!("/v1/step_readiness_statuses?task_ids={both}")).await, "task_id"),
            [own.clone(), own.clone(), own.clone()]
        );
        assert_eq!(get(&format!("/v1/events?task_id={other}")).await.refusal(), (404, "unknown_task".into()));
        let post = async |path: &str, body: Value| doors.with_key(&key, Method::POST, path, Some(&body)).await;
        assert_eq!(
            post("/v1/tasks", json!({ "namespace": "shop", "name": "parcel" })).await.refusal(),
            (404, "unknown_workflow".into())
        );
        assert_eq!(post("/v1/tasks/bulk/preview", json!({ "namespace": "shop" })).await.ok()["matched"], 0);
        let report = post("/v1/tasks/bulk", json!({ "verb": "cancel", "filter": {} })).await.ok();
        assert_eq!((&report["matched"], &report["done"]), (&json!(1), &json!(1)));
        let told = post("/v1/tasks/bulk", json!({ "verb": "cancel", "filter": { "within": ["shop"] } })).await;
        assert_eq!(told.refusal(), (422, "bad_body".into()), "the limit is not his to say");
        let elsewhere = json!({ "name": "other", "namespace": "shop", "version": "1.0.0", "steps": [{ "name": "a", "handler": "app.do" }] });
        assert_eq!(post("/v1/named_tasks", elsewhere).await.refusal(), (403, "forbidden".into()));
        assert_eq!(doors.state_of(&other).await, "pending");
    });
}

#[test]
fn a_key_is_good_until_it_expires_is_revoked_or_is_rotated() {
    with_doors_and_keys(async |doors| {
        let store = doors.db.tasker().store();
        let works =
            async |key: &str| doors.with_key(key, Method::GET, "/v1/tasks", None).await.status == StatusCode::OK;
        let now = doors.db.now().await.unwrap();
        let hour = std::time::Duration::from_secs(3600);
        let (_, short) = store.create_key("short", Role::Viewer, None, Some(now + hour)).await.unwrap();
        let (revoked, secret) = store.create_key("revoked", Role::Viewer, None, None).await.unwrap();
        store.revoke_key(revoked.api_key_id).await.unwrap();
        assert!(!works(secret.reveal()).await, "it was revoked before it was ever used");
        let (old, secret) = store.create_key("rotated", Role::Operator, Some(&["shop".into()]), None).await.unwrap();
        let (new, new_secret) = store.rotate_key(old.api_key_id, hour).await.unwrap();
        assert_eq!(
            (new.role, &new.namespaces, new.name.as_str()),
            (Role::Operator, &Some(vec!["shop".to_owned()]), "rotated")
        );
        assert!(works(new_secret.reveal()).await);
        doors.db.advance(hour + std::time::Duration::from_secs(1)).await.unwrap();
        assert!(works(new_secret.reveal()).await);
        assert!(!works(secret.reveal()).await && !works(short.reveal()).await, "not used before, so not remembered");
        assert_eq!(store.rotate_key(old.api_key_id, hour).await.unwrap_err().code(), "unknown_key");
        assert_eq!(store.revoke_key(uuid::Uuid::nil()).await.unwrap_err().code(), "unknown_key");
        for (name, namespaces, code) in [
            ("", None, "bad_key_name"),
            ("a\nb", None, "bad_key_name"),
            ("a", Some(vec![]), "bad_namespace"),
            ("a", Some(vec!["A".to_owned()]), "bad_namespace"),
        ] {
            assert_eq!(
                store.create_key(name, Role::Viewer, namespaces.as_deref(), None).await.unwrap_err().code(),
                code
            );
        }
        // nothing in the database is a key
        let rows: Vec<String> =
            sqlx::query_scalar("select k::text from tasker.api_keys k").fetch_all(store.pool()).await.unwrap();
        assert!(rows.iter().all(|row| !row.contains("tasker_") && !row.contains(&secret.reveal()[7..])), "{rows:?}");
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    });
}

/// What is not in the document passes no doorkeeper: these routes, and no others.
#[test]
fn nothing_stands_beside_the_doorkeeper_but_what_is_open() {
    let mut found = Vec::new();
    let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path if path.extension().is_some_and(|end| end == "rs") => {
                    let text = std::fs::read_to_string(path).unwrap();
                    found.extend(
                        text.split(".route(").skip(1).map(|rest| rest.split([',', ')']).next().unwrap().to_owned()),
                    );
                }
                _ => {}
            }
        }
    }
    found.sort();
    let open = [
        "/",
        "/docs",
        "/health/live",
        "/health/ready",
        "/health/status",
        "/healthz",
        "/livez",
        "/openapi.json",
        "/readyz",
    ];
    let mut wanted: Vec<String> = open.iter().map(|path| format!("{path:?}")).collect();
    wanted.push("file.path".into()); // GraphiQL's, in `dev`
    assert_eq!(found, wanted);
}
