//! GraphiQL, which `tasker dev` serves: whole, from the binary, and nothing from elsewhere.

use std::collections::BTreeMap;

use tasker::testing::TestDatabase;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_util::sync::CancellationToken;

/// A file: its status, its headers, its bytes.
async fn get(address: std::net::SocketAddr, path: &str) -> (String, BTreeMap<String, String>, Vec<u8>) {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().to_owned();
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    (status, lines.filter_map(header).collect(), answer[end + 4..].to_vec())
}

#[test]
fn the_page_is_whole_and_comes_from_here() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let db = TestDatabase::new().await.unwrap();
        let stop = CancellationToken::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving =
            tasker_server::serve_dev(listener, db.tasker().clone(), tasker_server::Access::Open, stop.clone());
        let serving = tokio::spawn(serving);
        let (status, headers, page) = get(address, "/graphiql").await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(headers["content-security-policy"].starts_with("default-src 'none'; script-src 'self'"), "{headers:?}");
        let page = String::from_utf8(page).unwrap();
        let parts = page.split(['"', '\'']).filter(|part| part.starts_with('/')).collect::<Vec<_>>();
        assert_eq!(parts.len(), 6, "{page}");
        for path in parts {
            let (status, headers, bytes) = get(address, path).await;
            assert_eq!(status, "HTTP/1.1 200 OK", "{path}");
            let kind = if path.ends_with(".css") { "text/css" } else { "text/javascript" };
            assert!(headers["content-type"].starts_with(kind), "{path}: {headers:?}");
            let is_packed = headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip");
            assert_eq!(is_packed, bytes.starts_with(&[0x1f, 0x8b]), "{path}");
            assert!(bytes.len() > 20, "{path}");
            // ours can be read: they name nothing of elsewhere
            if !is_packed {
                assert!(!String::from_utf8(bytes).unwrap().contains("://"), "{path}");
            }
        }
        assert!(!page.contains("://"), "{page}");
        stop.cancel();
        serving.await.unwrap().unwrap();
        db.close().await.unwrap();
    });
}
