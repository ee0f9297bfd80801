//! Against a server that says, byte for byte, what a test wants.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{address::Guard, *};
use crate::handlers::testing::{attempt, told};

/// A server on a loopback address that gives these answers one after the other, the last one again and again.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn with(answers: &[&str]) -> Server {
        Server::at("127.0.0.1", answers.iter().map(|answer| answer.as_bytes().to_vec()).collect()).await
    }

    async fn at(address: &str, answers: Vec<Vec<u8>>) -> Server {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let asked_too = asked.clone();
        tokio::spawn(async move {
            for number in 0.. {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !is_whole(&request) && client.read_buf(&mut request).await.unwrap() > 0 {}
                asked_too.lock().unwrap().push(String::from_utf8(request).unwrap());
                client.write_all(&answers[number.min(answers.len() - 1)]).await.unwrap();
                let _ = client.shutdown().await;
            }
        });
        Server { url, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head
        .to_lowercase()
        .split_once("content-length: ")
        .map(|(_, rest)| rest.lines().next().unwrap().parse().unwrap());
    body.len() >= length.unwrap_or(0usize)
}

fn ok(headers: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

const JSON: &str = "Content-Type: application/json\r\n";

async fn ask(with: Value) -> Result<Outcome, StepError> {
    Http::new(true).run(attempt(with)).await
}

async fn result(with: Value) -> Value {
    serde_json::from_str(&told(ask(with).await)).unwrap()
}

#[tokio::test]
async fn a_request_is_what_its_arguments_say() {
    let server = Server::with(&[&ok(JSON, "{\"a\": [1, 2.50]}")]).await;
    let with = json!({
        "url": format!("{}/orders?a=1", server.url), "query": { "q": "x y&z", "n": 7, "none": null }, "body": { "item": "teapot" },
        "headers": { "Authorization": "Bearer abc", "X-Number": 7 },
    });
    let got = result(with).await;
    assert_eq!(
        got,
        json!({ "status": 200, "headers": { "content-type": "application/json", "content-length": "16", "connection": "close" }, "body": { "a": [1, 2.50] } })
    );
    let asked = &server.asked()[0];
    for line in [
        "POST /orders?a=1&n=7&q=x+y%26z HTTP/1.1\r\n",
        "\r\nauthorization: Bearer abc\r\n",
        "\r\nx-number: 7\r\n",
        "\r\ncontent-type: application/json\r\n",
        "\r\nidempotency-key: 00000000-0000-0000-0000-000001000000:step:0\r\n",
        "\r\nuser-agent: tasker/",
        "\r\n\r\n{\"item\":\"teapot\"}",
    ] {
        assert!(asked.contains(line), "{line:?} is not in {asked:?}");
    }
}

#[tokio::test]
async fn a_header_can_be_left_out_or_given_otherwise() {
    let server = Server::with(&[&ok("", "")]).await;
    let headers = json!({ "Idempotency-Key": null, "content-type": "text/csv" });
    let got = result(json!({ "url": server.url, "method": "PUT", "body": "a,b", "headers": headers })).await;
    assert_eq!(got["body"], Value::Null);
    let asked = &server.asked()[0];
    assert!(
        asked.starts_with("PUT / ") && asked.contains("content-type: text/csv\r\n") && asked.ends_with("\r\n\r\na,b"),
        "{asked}"
    );
    assert!(!asked.contains("idempotency-key"), "{asked}");
}

#[tokio::test]
async fn an_answer_is_json_or_text_and_nothing_else() {
    let cookie = "Set-Cookie: session=secret\r\nX-Two: a\r\nX-Two: b\r\n";
    let server = Server::with(&[&ok(&format!("Content-Type: text/plain; charset=utf-8\r\n{cookie}"), "größer")]).await;
    let got = result(json!({ "url": server.url })).await;
    assert_eq!(
        (&got["body"], &got["headers"]["x-two"], &got["headers"]["set-cookie"]),
        (&json!("größer"), &json!("a, b"), &Value::Null)
    );
    let server = Server::with(&[&ok("Content-Type: application/problem+json\r\n", "{\"a\":1}")]).await;
    assert_eq!(result(json!({ "url": server.url })).await["body"], json!({ "a": 1 }));
    for (headers, body, expected) in [
        (
            JSON,
            "{\"a\":",
            "response_invalid (fatal): GET URL/: its answer is not the JSON that it says it is: EOF while parsing a value at line 1 column 5",
        ),
        (
            JSON,
            "\"\\u0000\"",
            "result_not_storable (fatal): its result cannot be stored: a string in the JSON holds the NUL character",
        ),
    ] {
        let server = Server::with(&[&ok(headers, body)]).await;
        let error = told(ask(json!({ "url": server.url })).await).replace(&server.url, "URL");
        assert!(error.starts_with(expected), "{error}");
    }
    let image = [ok("Content-Type: image/png\r\n", "1234").into_bytes(), vec![0xff; 4]].concat();
    let image = [&image[..image.len() - 8], &[0x89, 0xff, 0xfe, 0x00]].concat();
    let server = Server::at("127.0.0.1", vec![image]).await;
    let error = told(ask(json!({ "url": server.url })).await);
    assert!(error.starts_with("response_not_text (fatal)") && error.contains("image/png"), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_read_to_its_end() {
    let said = "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n";
    let large = format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", "x".repeat(json::MAX_BYTES + 1));
    for answer in [said, &large] {
        let server = Server::with(&[answer]).await;
        let error = told(ask(json!({ "url": server.url })).await);
        assert!(error.starts_with("response_too_large (fatal)"), "{error}");
    }
}

/// Whether it is tried again, and after which delay, in seconds.
async fn retry(status: &str, headers: &str) -> (Option<bool>, Option<u64>) {
    let answer = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 5\r\nConnection: close\r\n\r\nsorry");
    let server = Server::with(&[&answer]).await;
    let error = ask(json!({ "url": format!("{}/a?token=secret", server.url) })).await.unwrap_err();
    assert_eq!(error.kind, "http_status");
    assert_eq!(error.message, format!("GET {}/a answered {status}: sorry", server.url), "the query may hold secrets");
    (error.retryable, error.retry_after.map(|delay| delay.as_secs()))
}

#[tokio::test]
async fn what_may_pass_is_retried_when_the_far_side_says() {
    for status in [
        "408 Request Timeout",
        "425 Too Early",
        "429 Too Many Requests",
        "500 Internal Server Error",
        "503 Service Unavailable",
    ] {
        assert_eq!(retry(status, "").await, (None, None), "{status}");
    }
    for status in ["400 Bad Request", "401 Unauthorized", "404 Not Found", "409 Conflict", "410 Gone"] {
        assert_eq!(retry(status, "Retry-After: 7\r\n").await, (Some(false), None), "{status}");
    }
    assert_eq!(retry("429 Too Many Requests", "Retry-After: 120\r\n").await, (None, Some(120)));
    // by the far side's clock, which may be wrong
    let dates = "Date: Tue, 03 Mar 2015 10:00:00 GMT\r\nRetry-After: Tue, 03 Mar 2015 10:00:30 GMT\r\n";
    assert_eq!(retry("503 Service Unavailable", dates).await, (None, Some(30)));
    let past = "Date: Tue, 03 Mar 2015 10:00:00 GMT\r\nRetry-After: Tue, 03 Mar 2015 09:00:00 GMT\r\n";
    assert_eq!(retry("503 Service Unavailable", past).await, (None, Some(0)));
    for nonsense in ["soon", "-1", "1.5", "99999999999999999999999"] {
        assert_eq!(
            retry("503 Service Unavailable", &format!("Retry-After: {nonsense}\r\n")).await,
            (None, None),
            "{nonsense}"
        );
    }
}

#[tokio::test]
async fn statuses_that_are_expected_are_results() {
    for (expect, status, is_result) in [
        (json!([404]), "404 Not Found", true),
        (json!(["2xx", 404]), "404 Not Found", true),
        (json!(["4xx"]), "418 I'm a teapot", true),
        (json!([201]), "200 OK", false),
    ] {
        let server =
            Server::with(&[&format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")]).await;
        let got = told(ask(json!({ "url": server.url, "expect": expect })).await);
        assert_eq!(got.starts_with("{\"status\":"), is_result, "{got}");
    }
}

#[tokio::test]
async fn no_answer_or_half_of_one_is_tried_again() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = ask(json!({ "url": format!("http://{closed}/?token=secret") })).await.unwrap_err();
    assert_eq!((error.kind.as_str(), error.retryable), ("http_failed", None));
    assert!(error.message.contains("Connection refused") && !error.message.contains("secret"), "{error}");
    for half in ["", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "no http"] {
        let server = Server::with(&[half]).await;
        let error = ask(json!({ "url": server.url })).await.unwrap_err();
        assert_eq!((error.kind.as_str(), error.retryable), ("http_failed", None), "{half:?}: {error}");
    }
    let error = ask(json!({ "url": "http://name.invalid/" })).await.unwrap_err();
    assert_eq!((error.kind.as_str(), error.retryable), ("http_failed", None), "{error}");
}

#[tokio::test]
async fn arguments_that_make_no_request_are_refused() {
    for (with, expected) in [
        (json!({ "url": "example.com" }), "`url`: relative URL without a base"),
        (json!({ "url": "http://a/", "method": "GET IT" }), "`GET IT` is no method"),
        (json!({ "url": "http://a/", "headers": { "a b": "c" } }), "`a b` is no header's name"),
        (json!({ "url": "http://a/", "headers": { "a": "b\r\nc: d" } }), "the header `a` cannot have this value"),
        (json!({ "url": "http://a/", "expect": ["ok"] }), "`expect` is a list of statuses"),
        (json!({ "url": "http://a/", "timeout": 5 }), "unknown field `timeout`"),
        (json!({}), "missing field `url`"),
    ] {
        let error = told(ask(with).await);
        assert!(error.starts_with("with_invalid (fatal): ") && error.contains(expected), "{error}");
    }
}

fn redirect(to: &str) -> String {
    format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

#[tokio::test]
async fn redirects_are_followed_but_not_for_ever() {
    let server = Server::with(&[&redirect("/there"), &ok("", "here")]).await;
    assert_eq!(result(json!({ "url": server.url })).await["body"], "here");
    assert!(server.asked()[1].starts_with("GET /there "));
    let server = Server::with(&[&redirect("/again")]).await;
    let error = told(ask(json!({ "url": server.url })).await);
    assert!(error.starts_with("http_failed (fatal)") && error.contains("more than 10 redirects"), "{error}");
}

#[tokio::test]
async fn what_is_not_on_the_internet_is_not_asked_unless_that_is_allowed() {
    let server = Server::with(&[&ok("", "inside")]).await;
    let port = server.url.rsplit_once(':').unwrap().1;
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "10.0.0.1", "169.254.169.254"] {
        let error = told(Http::new(false).run(attempt(json!({ "url": format!("http://{host}:{port}/") }))).await);
        assert!(error.starts_with("address_refused (fatal): the request is not made: "), "{error}");
        assert!(error.contains("--allow-private-hosts"), "{error}");
    }
    assert!(server.asked().is_empty());
}

/// A guard to which 127.0.0.1 is the internet and all else is inside, and a resolver that answers as it is told.
fn guarded(addresses: fn(&str, usize) -> Vec<&'static str>, calls: Arc<Mutex<usize>>) -> Http {
    let lookup = move |name: String| -> BoxFuture<std::io::Result<Vec<IpAddr>>> {
        let number = {
            let mut calls = calls.lock().unwrap();
            *calls += 1;
            *calls
        };
        let found = addresses(&name, number).iter().map(|address| address.parse().unwrap()).collect();
        Box::pin(async move { Ok(found) })
    };
    Http::guarded(Guard { allows: |address| address.to_string() == "127.0.0.1", lookup: Arc::new(lookup) }, false)
}

#[tokio::test]
async fn a_redirect_to_the_inside_is_not_followed() {
    let inside = Server::at("127.0.0.2", vec![ok("", "inside").into_bytes()]).await;
    let port = inside.url.rsplit_once(':').unwrap().1;
    let by_name = format!("http://inside.test:{port}/");
    for to in [inside.url.as_str(), &by_name, "file:///etc/passwd", "ftp://127.0.0.1/"] {
        let outside = Server::with(&[&redirect(to)]).await;
        let http = guarded(|name, _| if name == "inside.test" { vec!["127.0.0.2"] } else { vec![] }, Arc::default());
        let error = told(http.run(attempt(json!({ "url": outside.url }))).await);
        assert!(error.contains("(fatal)"), "{to}: {error}");
        assert!(inside.asked().is_empty(), "{to}");
    }
}

#[tokio::test]
async fn a_name_is_resolved_once_every_address_is_checked_and_a_checked_one_is_connected_to() {
    let server = Server::with(&[&ok("", "outside")]).await;
    let port = server.url.rsplit_once(':').unwrap().1;
    let with = |name: &str| attempt(json!({ "url": format!("http://{name}:{port}/") }));
    // who answers with the inside the second time is not asked a second time
    let calls = Arc::new(Mutex::new(0));
    let http = guarded(|_, call| if call == 1 { vec!["127.0.0.1"] } else { vec!["127.0.0.2"] }, calls.clone());
    assert!(told(http.run(with("rebinds.test")).await).contains("outside"));
    assert_eq!(*calls.lock().unwrap(), 1);
    assert!(
        told(http.run(with("rebinds.test")).await).starts_with("address_refused"),
        "a new connection is checked anew"
    );
    for mixed in [|_: &str, _| vec!["127.0.0.1", "127.0.0.2"], |_: &str, _| vec!["127.0.0.2", "127.0.0.1"]] {
        let http = guarded(mixed, Arc::default());
        let error = told(http.run(with("mixed.test")).await);
        assert!(
            error.starts_with("address_refused (fatal): the request is not made: `mixed.test` is at 127.0.0.2"),
            "{error}"
        );
    }
    assert_eq!(server.asked().len(), 1);
}
