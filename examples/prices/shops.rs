//! Three shops with prices, on a port of this machine; each counts how many requests it has at once.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// The shops, open.
pub struct Shops {
    url: String,
    /// Requests now and at most, by shop.
    counts: Counts,
}

type Counts = Arc<Mutex<HashMap<String, (usize, usize)>>>;

impl Shops {
    /// Opens them.
    pub async fn open() -> io::Result<Shops> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let shops = Shops { url: format!("http://{}", listener.local_addr()?), counts: Counts::default() };
        let counts = shops.counts.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, counts.clone()));
            }
        });
        Ok(shops)
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn most_at_once(&self) -> usize {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.values().map(|(_, most)| *most).max().unwrap_or(0)
    }
}

/// Answers `GET /<shop>/<product>` after a while.
async fn serve(mut client: TcpStream, counts: Counts) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if client.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let mut path = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').split('/');
    let shop = path.next().unwrap_or_default().to_string();
    let product: usize = path.next().and_then(|product| product.parse().ok()).unwrap_or(0);
    {
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, most) = counts.entry(shop.clone()).or_default();
        *now += 1;
        *most = (*most).max(*now);
    }
    tokio::time::sleep(Duration::from_millis(15)).await;
    if let Some((now, _)) = counts.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&shop) {
        *now -= 1;
    }
    let body = format!("{{\"shop\": \"{shop}\", \"cents\": {}}}", 100 + product * shop.len() * 37 % 211);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
    client.write_all(format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await
}
