//! What is said where `--server` leads to no Tasker server, or to one that refuses, is busy, or loses an answer.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

use serde_json::json;

use crate::{
    http::address,
    server::Server,
    support::{Ended, Place},
};

/// Listens, and does with each request what is said, one after the other. Gives its URL.
fn listen(mut answer: impl FnMut(TcpStream, Vec<u8>) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut request, mut length) = (Vec::new(), 0);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                request.extend_from_slice(line.as_bytes());
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            request.extend(body);
            answer(stream, request);
        }
    });
    url
}

/// A server that answers with these, one after the other, the last one for ever.
fn answers(answers: &[(&str, &str, String)]) -> String {
    let mut answers: Vec<String> = answers
        .iter()
        .map(|(status, headers, body)| {
            format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
        })
        .rev()
        .collect();
    listen(move |mut stream, _| {
        let answer = if answers.len() > 1 { answers.pop().unwrap() } else { answers[0].clone() };
        stream.write_all(answer.as_bytes()).unwrap();
    })
}

const PROBLEM: &str = "Content-Type: application/problem+json\r\n";
const BUSY: &str = "Content-Type: application/problem+json\r\nRetry-After: 1\r\n";
const HTML: &str = "Content-Type: text/html\r\n";
const JSON: &str = "Content-Type: application/json\r\n";

fn problem(title: &str, code: &str) -> String {
    json!({ "type": format!("urn:tasker:{code}"), "title": title, "status": 1, "detail": "so it is", "code": code })
        .to_string()
}

fn list(url: &str) -> Ended {
    Place::new().tasker(&["task", "list", "--server", url])
}

#[test]
fn what_is_no_server_of_ours_is_named_with_what_to_do() {
    let page = "<html><h1>Welcome</h1></html>".to_owned();
    let cases = [
        (
            answers(&[("200 OK", HTML, page.clone())]),
            "answers 200 OK with \"<html><h1>Welcome</h1></html>\", as no Tasker server does: is --server (TASKER_SERVER) right?",
        ),
        (answers(&[("404 Not Found", HTML, page)]), "answers 404 Not Found with"),
        (answers(&[("200 OK", JSON, "{\"items\": 3}".into())]), "not as this program's server does"),
        (answers(&[("200 OK", JSON, String::new())]), "not as this program's server does"),
        (
            answers(&[("301 Moved Permanently", "Location: https://elsewhere/v1/tasks\r\n", String::new())]),
            "leads to https://elsewhere/v1/tasks: give --server",
        ),
        (
            answers(&[("401 Unauthorized", PROBLEM, problem("Unauthorized", "unauthorized"))]),
            "401 Unauthorized: so it is; a key goes into the variable TASKER_KEY",
        ),
        (
            answers(&[("403 Forbidden", PROBLEM, problem("Forbidden", "forbidden"))]),
            "answers 403 Forbidden: so it is (forbidden)",
        ),
        (
            answers(&[("404 Not Found", PROBLEM, problem("Not Found", "unknown_route"))]),
            "is --server (TASKER_SERVER) right? (unknown_route)",
        ),
        (
            answers(&[("500 Internal Server Error", PROBLEM, problem("Internal Server Error", "internal"))]),
            "(internal)",
        ),
        (listen(|stream, _| drop(stream)), "ended the connection without an answer"),
        ("http://127.0.0.1:1".to_owned(), "http://127.0.0.1:1 cannot be reached: Connection refused"),
    ];
    for (url, said) in cases {
        let ended = list(&url).with(3);
        assert!(
            ended.stdout.is_empty() && ended.stderr.starts_with("error: ") && ended.stderr.contains(said),
            "{said}: {ended:#?}"
        );
        assert!(ended.stderr.contains(&url), "it names the place: {ended:#?}");
    }
    // who would watch is not kept waiting where there was nothing to watch
    let task = "01a20fe7-19ca-7537-ad02-000000000000";
    let watch = Place::new().tasker(&["task", "watch", task, "--server", "http://127.0.0.1:1"]).with(3);
    assert!(watch.stderr.starts_with("error: http://127.0.0.1:1 cannot be reached"), "{watch:#?}");
    for (status, code) in [("409 Conflict", "task_not_live"), ("422 Unprocessable Entity", "bad_filter")] {
        let ended = list(&answers(&[(status, PROBLEM, problem("", code))])).with(2);
        assert_eq!(ended.stderr, format!("error: so it is ({code})\n"));
    }
}

#[test]
fn what_is_no_url_or_no_key_is_refused_before_anything_is_asked() {
    let place = Place::new();
    place.write("key", "not a key");
    for (words, said) in [
        (&["--server", "localhost:8080"][..], "perhaps http://localhost:8080"),
        (&["--server", "postgres://h/d"], "a database is given to --database"),
        (&["--server", "http://ann:secret@h/"], "a key does not stand in it"),
        (&["--server", "http://"], "is no server's URL"),
        (&["--server", "http://h", "--key-file", "absent"], "--key-file: absent cannot be read"),
        (&["--server", "http://h", "--key-file", "key"], "the file key holds no key"),
        (&["--server", "http://h", "--folder", "x"], "cannot be used with"),
    ] {
        let refused = place.tasker(&[&["task", "list"], words].concat()).with(2);
        assert!(refused.stderr.contains(said) && !refused.stderr.contains("secret"), "{refused:#?}");
    }
    let refused = place.tasker(&["doctor", "--server", "http://h"]).with(2);
    assert!(refused.stderr.contains("this command works on a database"), "{refused:#?}");
}

#[test]
fn one_that_is_busy_is_asked_again_when_it_says() {
    let empty = ("200 OK", JSON, json!({ "items": [], "next": null }).to_string());
    let busy = ("503 Service Unavailable", BUSY, problem("Service Unavailable", "unavailable"));
    let limited = ("429 Too Many Requests", "Retry-After: 1\r\n", String::new());
    let ended = list(&answers(&[busy.clone(), limited.clone(), empty])).with(0);
    assert_eq!(ended.stderr.matches("it is asked again").count(), 2, "{ended:#?}");
    // but a verb is not done twice: that it was not done is known of 429 alone
    let task = "01a20fe7-19ca-7537-ad02-000000000000";
    let done = ("200 OK", JSON, json!({ "task_id": task, "state": "cancelled" }).to_string());
    let cancel = |url: &str| Place::new().tasker(&["task", "cancel", task, "--server", url]);
    cancel(&answers(&[limited, done.clone()])).with(0);
    let ended = cancel(&answers(&[busy, done])).with(3);
    assert!(ended.stderr.contains("503 Service Unavailable: so it is (unavailable)"), "{ended:#?}");
    let lost = cancel(&listen(|stream, _| drop(stream))).with(3);
    assert!(lost.stderr.contains("may have been done or not: look with `tasker task show`"), "{lost:#?}");
}

#[test]
fn a_submission_whose_answer_was_lost_is_sent_again_and_is_one_task() {
    let server = Server::new();
    let place = &server.place;
    place.tasker(&["migrate"]).with(0);
    place.write("one.yaml", "name: one\nversion: 1.0.0\nsteps:\n- {name: a, handler: transform, with: {value: 1}}\n");
    place.tasker(&["workflow", "register", "one.yaml"]).with(0);
    let mut served = place.start(&["serve", "--listen", "127.0.0.1:0"]);
    let behind = address(&mut served);
    let mut requests = 0;
    // passes on what it is asked, and loses the first answer
    let url = listen(move |mut stream, request| {
        let mut server = TcpStream::connect(&behind).unwrap();
        let request = String::from_utf8(request).unwrap().replacen("\r\n", "\r\nConnection: close\r\n", 1);
        server.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        server.read_to_end(&mut answer).unwrap();
        requests += 1;
        if requests > 1 {
            stream.write_all(&answer).unwrap();
        }
    });
    let submitted = place.tasker(&["task", "submit", "one", "--server", &url, "--json"]).with(0);
    assert!(submitted.stderr.contains("it is asked again"), "{submitted:#?}");
    assert_eq!(submitted.json()["existing"], false, "it is this command that submitted it");
    let listed = place.tasker(&["task", "list", "--json"]).with(0).json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed[0]["task_id"], submitted.json()["task_id"]);
}
