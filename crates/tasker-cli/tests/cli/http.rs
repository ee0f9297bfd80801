//! `tasker dev` and `tasker serve`: a task's life over HTTP, a signal, and addresses that are refused.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    server::Server,
    support::{Place, Running, wait_for},
};

/// Where a started server listens, as it says itself.
pub fn address(running: &mut Running) -> String {
    let mut lines = BufReader::new(running.stderr()).lines();
    let line = lines.find_map(|line| line.unwrap().strip_prefix("serving http://").map(str::to_owned)).unwrap();
    // it goes on to tell
    std::thread::spawn(move || lines.for_each(drop));
    line.split('/').next().unwrap().to_owned()
}

/// Asks over a connection of its own. Gives the status and the body.
fn ask(address: &str, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap_or(Value::Null))
}

fn parcel(grams: i64) -> Value {
    json!({ "namespace": "shop", "name": "parcel", "input": { "item": "anvil", "grams": grams } })
}

#[cfg(feature = "embedded")]
#[test]
fn dev_is_everything_in_one_process() {
    let place = Place::new();
    let mut dev = place.start(&["dev", "--listen", "127.0.0.1:0"]);
    let address = address(&mut dev);
    let (status, task) = ask(&address, "POST", "/v1/tasks", Some(parcel(9000)));
    assert_eq!(status, 201, "{task}");
    let path = format!("/v1/tasks/{}", task["task_id"].as_str().unwrap());
    let state = || ask(&address, "GET", &path, None).1["state"].as_str().unwrap_or_default().to_owned();
    wait_for("the parcel to be too heavy", || state() == "failed");
    let steps = ask(&address, "GET", &format!("{path}/workflow_steps?name=weigh"), None).1;
    let step = steps["items"][0]["workflow_step_id"].as_str().unwrap();
    assert!(steps["items"][0]["error"].as_str().unwrap().contains("9000 g are too heavy"), "{steps}");
    let (status, now) =
        ask(&address, "POST", &format!("/v1/workflow_steps/{step}/resolve"), Some(json!({ "result": 9000 })));
    assert_eq!((status, &now["state"]), (200, &json!("resolved_manually")));
    wait_for("the parcel to be sent", || state() == "complete");
    assert_eq!(ask(&address, "GET", "/health/status", None).1["embedded"], true);
    dev.signal("TERM");
    dev.end().with(0);
    // the folder is free, and has what happened
    assert_eq!(place.tasker(&["task", "list", "--json"]).with(0).json()[0]["state"], "complete");
}

#[test]
fn serve_and_worker_share_a_database() {
    let server = Server::new();
    let place = &server.place;
    let refused = place.tasker(&["serve", "--listen", "127.0.0.1:0"]).with(3);
    assert!(refused.stderr.contains("tasker migrate"), "{refused:#?}");
    place.tasker(&["migrate"]).with(0);
    let mut served = place.start(&["serve", "--listen", "127.0.0.1:0"]);
    let address = address(&mut served);
    let worker = place.start(&["worker", "--allow-command"]);
    let workflow = json!({ "name": "two", "namespace": "shop", "version": "1.0.0", "steps": [
        { "name": "a", "handler": "transform", "with": { "value": "{{ input.n }}" } },
        { "name": "b", "handler": "command", "depends_on": ["a"], "with": { "program": "true" } }
    ] });
    assert_eq!(ask(&address, "POST", "/v1/named_tasks", Some(workflow)).0, 201);
    let task =
        ask(&address, "POST", "/v1/tasks", Some(json!({ "namespace": "shop", "name": "two", "input": { "n": 1 } }))).1;
    let path = format!("/v1/tasks/{}", task["task_id"].as_str().unwrap());
    wait_for("the task to end", || ask(&address, "GET", &path, None).1["state"] == "complete");
    // a second one on the same address says so, and so does one that others could reach
    let taken = place.tasker(&["serve", "--listen", &address]).with(3);
    assert!(taken.stderr.contains("--listen takes another address"), "{taken:#?}");
    let open = place.tasker(&["serve", "--listen", "0.0.0.0:0"]).with(3);
    assert!(open.stderr.contains("loopback"), "{open:#?}");
    served.signal("TERM");
    served.end().with(0);
    worker.signal("TERM");
    worker.end().with(0);
}

/// A key is told once and alone, opens what its role opens, and a server with keys may be reached from elsewhere.
#[test]
fn keys_are_made_listed_rotated_and_revoked() {
    let server = Server::new();
    let place = &server.place;
    place.tasker(&["migrate"]).with(0);
    let made = place.tasker(&["key", "create", "ann", "--role", "viewer", "--namespace", "shop"]).with(0);
    let key = made.stdout.trim().to_owned();
    assert!(key.starts_with("tasker_") && key.len() > 60 && !made.stderr.contains(&key), "{made:#?}");
    let listed = place.tasker(&["key", "list", "--json"]).with(0).json();
    assert_eq!(
        (&listed[0]["name"], &listed[0]["role"], &listed[0]["namespaces"]),
        (&json!("ann"), &json!("viewer"), &json!(["shop"]))
    );
    assert!(!listed.to_string().contains(&key));
    place.tasker(&["key", "create", "ann", "--role", "king"]).with(2);
    place.tasker(&["key", "create", "", "--role", "viewer"]).with(2);
    let mut served = place.start(&["serve", "--listen", "0.0.0.0:0"]);
    let address = address(&mut served).replace("0.0.0.0", "127.0.0.1");
    assert_eq!(ask(&address, "GET", "/v1/tasks", None).1["code"], "unauthorized");
    let with_key = |key: &str, method: &str, path: &str| {
        let path = format!("{path} HTTP/1.1\r\nAuthorization: Bearer {key}\r\nX: ");
        ask(&address, method, &path, None)
    };
    assert_eq!(with_key(&key, "GET", "/v1/tasks").0, 200);
    assert_eq!(with_key(&key, "POST", "/v1/named_tasks").1["code"], "forbidden");
    let id = listed[0]["api_key_id"].as_str().unwrap();
    let rotated = place.tasker(&["key", "rotate", id, "--json"]).with(0).json();
    assert_eq!(with_key(rotated["key"].as_str().unwrap(), "GET", "/v1/tasks").0, 200);
    place.tasker(&["key", "revoke", rotated["api_key_id"].as_str().unwrap()]).with(0);
    wait_for("the revocation to be learnt", || with_key(rotated["key"].as_str().unwrap(), "GET", "/v1/tasks").0 == 401);
    served.signal("TERM");
    served.end().with(0);
}
