//! The database goes away, and comes back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use serde_json::json;
use tasker::{Tasker, testing::TestDatabase};
use tasker_server::Access;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
};
use tokio_util::sync::CancellationToken;

use crate::support::{Doors, wide, with_doors};

/// A road to the server that can be cut: whoever is on it falls off, and nobody gets on.
async fn road(socket: String, is_cut: Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut client, _): (TcpStream, _) = listener.accept().await.unwrap();
            let (socket, is_cut) = (socket.clone(), is_cut.clone());
            tokio::spawn(async move {
                if is_cut.load(Ordering::SeqCst) {
                    return;
                }
                let mut server = UnixStream::connect(socket).await.unwrap();
                let cut = async {
                    while !is_cut.load(Ordering::SeqCst) {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                };
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    () = cut => {}
                }
            });
        }
    });
    port
}

#[test]
fn without_its_database_it_says_so_within_two_seconds_and_recovers_by_itself() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let db = TestDatabase::new().await.unwrap();
        let options = db.tasker().store().pool().connect_options();
        let Some(folder) = options.get_socket() else {
            // a server that is only reached over a network has no socket to lead a road to
            return db.close().await.unwrap();
        };
        let is_cut = Arc::new(AtomicBool::new(false));
        let port = road(format!("{}/.s.PGSQL.{}", folder.display(), options.get_port()), is_cut.clone()).await;
        let (user, name) = (options.get_username(), options.get_database().unwrap());
        let tasker =
            Tasker::connect(&format!("postgres://{user}@127.0.0.1:{port}/{name}?sslmode=disable")).await.unwrap();
        let stop = CancellationToken::new();
        let (router, _) = tasker_server::routes(tasker, tasker_server::Access::Open, stop.clone());
        let doors = Doors { db, router, stop };
        doors.register(&wide("parcel", 3)).await.ok();
        let task = doors.submit("parcel", json!({})).await;
        for _ in 0..2 {
            is_cut.store(true, Ordering::SeqCst);
            let begin = Instant::now();
            loop {
                let answer = doors.get(&format!("/v1/tasks/{task}")).await;
                if answer.status == StatusCode::SERVICE_UNAVAILABLE {
                    assert_eq!(answer.refusal(), (503, "unavailable".into()));
                    assert_eq!(answer.header("retry-after"), "1");
                    break;
                }
                assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
            }
            assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
            // (the road is cut for each connection by itself, one after the other)
            tokio::time::sleep(Duration::from_millis(100)).await;
            // each of many says so, soon
            let begin = Instant::now();
            let asked: Vec<_> =
                (0..50).map(|_| doors.post("/v1/tasks", json!({ "namespace": "shop", "name": "parcel" }))).collect();
            for answer in asked {
                assert_eq!(answer.await.status, StatusCode::SERVICE_UNAVAILABLE);
            }
            assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
            // and in GraphQL's words
            let answer = doors.graphql("{ tasks { nodes { taskId } } }", json!({})).await;
            assert_eq!(
                (answer.status, answer.header("retry-after"), answer.graphql_code().as_str()),
                (StatusCode::SERVICE_UNAVAILABLE, "1", "unavailable")
            );
            tokio::time::sleep(Duration::from_secs(2)).await;
            let ready = doors.get("/health/ready").await;
            assert_eq!((ready.status, ready.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"));
            assert_eq!(doors.get("/health/status").await.ok()["database"], "does_not_answer");
            is_cut.store(false, Ordering::SeqCst);
            let begin = Instant::now();
            while doors.get(&format!("/v1/tasks/{task}")).await.status != StatusCode::OK {
                assert!(begin.elapsed() < Duration::from_secs(20), "it does not recover");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert_eq!(doors.get("/health/ready").await.status, StatusCode::OK);
        }
        doors.stop.cancel();
        let Doors { db, router, .. } = doors;
        drop(router);
        db.close().await.unwrap();
    });
}

/// A question that would keep the database for long is ended there, too, and its connection is free for others.
#[test]
fn a_statement_that_takes_too_long_is_ended() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let db = TestDatabase::new().await.unwrap();
        let url = sqlx::ConnectOptions::to_url_lossy(&*db.tasker().store().pool().connect_options()).to_string();
        let tasker = Tasker::connect_with_timeout(&url, Duration::from_millis(300)).await.unwrap();
        let stop = CancellationToken::new();
        let (router, _) = tasker_server::routes(tasker, tasker_server::Access::Open, stop.clone());
        let doors = Doors { db, router, stop };
        let mut holder = doors.db.tasker().store().pool().begin().await.unwrap();
        sqlx::query("lock table tasker.tasks in access exclusive mode").execute(&mut *holder).await.unwrap();
        // more of them than there are connections
        for _ in 0..12 {
            assert_eq!(doors.get("/v1/tasks").await.refusal(), (503, "unavailable".into()));
        }
        let answer = doors.graphql("{ tasks { nodes { taskId } } namedTasks { nodes { name } } }", json!({})).await;
        assert_eq!((answer.status, answer.graphql_code().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"));
        assert_eq!(answer.json()["data"], json!({ "tasks": null, "namedTasks": { "nodes": [] } }));
        assert_eq!(doors.get("/v1/named_tasks").await.status, StatusCode::OK);
        // nor does the door of health wait for what does not answer
        sqlx::query("lock table tasker.schema_migrations in access exclusive mode")
            .execute(&mut *holder)
            .await
            .unwrap();
        assert_eq!(doors.get("/health/status").await.ok()["status"], "unavailable");
        holder.rollback().await.unwrap();
        assert_eq!(doors.get("/v1/tasks").await.status, StatusCode::OK);
        doors.stop.cancel();
        let Doors { db, router, .. } = doors;
        drop(router);
        db.close().await.unwrap();
    });
}

/// A client that begins to say something and does not go on holds neither its connection nor the server's end.
#[test]
fn a_half_sent_request_is_not_waited_for_without_end() {
    with_doors(async |doors| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server =
            tokio::spawn(tasker_server::serve(listener, doors.db.tasker().clone(), Access::Open, stop.clone()));
        let half = async || {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /health/live HTTP/1.1\r\nHo").await.unwrap();
            stream
        };
        let mut told = Vec::new();
        half().await.read_to_end(&mut told).await.unwrap();
        assert!(told.is_empty() || told.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&told));
        let _held = half().await;
        stop.cancel();
        server.await.unwrap().unwrap();
    });
}
