//! A road to the server on which calls can be lost: before they arrive, or on the way back, when all has been done.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, AtomicUsize, Ordering},
    },
};

use sqlx::{
    ConnectOptions,
    postgres::{PgConnectOptions, PgSslMode},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixListener, UnixStream},
    sync::watch,
};

use super::soon;

/// What becomes of a worker's exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes through.
    Arrives,
    /// It never arrives; the connection is cut.
    IsLost,
    /// It is done; the connection is cut before its reply.
    LosesItsReply,
    /// It is sent and the connection is cut at once: whether the server does it, and when, nobody waits for.
    IsAbandoned,
}

/// What a road is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Road {
    Open,
    /// New connections are refused.
    Closed,
    /// Connections are made, and nobody answers; they stay as silent when the road is open again.
    Silent,
}

type Fates = Box<dyn FnMut(usize) -> Fate + Send>;

struct Shared {
    upstream: PgConnectOptions,
    fates: Mutex<Fates>,
    /// What binds so many parameters is an exchange.
    least: AtomicU16,
    exchanges: watch::Sender<usize>,
    requests: AtomicUsize,
    refusals: watch::Sender<usize>,
    /// Connections are cut or go silent when this changes.
    road: watch::Sender<Road>,
}

/// The road, for as long as it is held.
pub struct Proxy {
    folder: tempfile::TempDir,
    shared: Arc<Shared>,
}

impl Proxy {
    /// A road to a server on which everything arrives.
    pub fn to(upstream: &PgConnectOptions) -> Proxy {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(".s.PGSQL.5432")).unwrap();
        let shared = Arc::new(Shared {
            upstream: upstream.clone(),
            least: AtomicU16::new(EXCHANGE_PARAMETERS),
            fates: Mutex::new(Box::new(|_| Fate::Arrives)),
            exchanges: watch::Sender::new(0),
            requests: AtomicUsize::new(0),
            refusals: watch::Sender::new(0),
            road: watch::Sender::new(Road::Open),
        });
        let proxy = Proxy { folder, shared: shared.clone() };
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = shared.clone();
                if *shared.road.borrow() == Road::Closed {
                    shared.refusals.send_modify(|refusals| *refusals += 1);
                } else {
                    tokio::spawn(async move { connection(client, shared).await });
                }
            }
        });
        proxy
    }

    /// The database's URL by this road.
    pub fn url(&self) -> String {
        let options = self.shared.upstream.clone().socket(self.folder.path()).port(5432).ssl_mode(PgSslMode::Disable);
        options.to_url_lossy().to_string()
    }

    /// From now on decides what becomes of each exchange, by its number (from 0).
    pub fn decide(&self, fates: impl FnMut(usize) -> Fate + Send + 'static) {
        *self.shared.fates.lock().unwrap() = Box::new(fates);
    }

    /// Decides about submissions, too.
    pub fn and_submissions(&self) {
        self.shared.least.store(SUBMISSION_PARAMETERS, Ordering::Relaxed);
    }

    /// Decides about every statement.
    pub fn and_everything(&self) {
        self.shared.least.store(0, Ordering::Relaxed);
    }

    /// How many exchanges were sent so far.
    pub fn exchanges(&self) -> usize {
        *self.shared.exchanges.borrow()
    }

    /// Until so many more exchanges were sent; a worker that sends one has had its answer to those before.
    pub async fn more_exchanges(&self, count: usize) {
        let mut exchanges = self.shared.exchanges.subscribe();
        let enough = self.exchanges() + count;
        soon("exchanges", exchanges.wait_for(|exchanges| *exchanges >= enough)).await.unwrap();
    }

    /// Until so many more connections were refused.
    pub async fn more_refusals(&self, count: usize) {
        let mut refusals = self.shared.refusals.subscribe();
        let enough = *refusals.borrow() + count;
        soon("connections that are refused", refusals.wait_for(|refusals| *refusals >= enough)).await.unwrap();
    }

    /// How many requests of any kind were sent so far.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Cuts every connection; new ones are made.
    pub fn cut(&self) {
        self.shared.road.send_replace(Road::Open);
    }

    /// Cuts every connection and refuses new ones, until it is [cut](Proxy::cut) or opened again.
    pub fn close(&self) {
        self.shared.road.send_replace(Road::Closed);
    }

    /// Nobody answers any more, and nobody says so.
    pub fn fall_silent(&self) {
        self.shared.road.send_replace(Road::Silent);
    }

    /// New connections work; what fell silent stays silent.
    pub fn open(&self) {
        self.shared.road.send_if_modified(|road| {
            *road = Road::Open;
            false
        });
    }
}

async fn connection(client: UnixStream, shared: Arc<Shared>) {
    let mut road = shared.road.subscribe();
    if *road.borrow_and_update() == Road::Silent {
        // accepted, and never answered
        return std::future::pending().await;
    }
    // a server that is away: whoever comes is turned away
    match shared.upstream.get_socket() {
        Some(folder) => {
            let path: PathBuf = folder.join(format!(".s.PGSQL.{}", shared.upstream.get_port()));
            let Ok(server) = UnixStream::connect(path).await else { return };
            forward(client, server, &shared, road).await
        }
        None => {
            let address = (shared.upstream.get_host(), shared.upstream.get_port());
            let Ok(server) = TcpStream::connect(address).await else { return };
            forward(client, server, &shared, road).await
        }
    }
}

/// Carries bytes both ways until either end, or the road, ends it.
async fn forward<S: AsyncRead + AsyncWrite + Unpin>(
    mut client: UnixStream,
    mut server: S,
    shared: &Shared,
    mut road: watch::Receiver<Road>,
) {
    let (mut asked, mut answered) = (Vec::new(), Vec::new());
    let (mut begun, mut is_exchange) = (false, false);
    loop {
        tokio::select! {
            read = client.read_buf(&mut asked) => {
                if !matches!(read, Ok(1..)) {
                    return;
                }
                let mut sent = 0;
                while let Some(message) = message(&asked[sent..], begun) {
                    begun = true;
                    match message[0] {
                        b'B' => is_exchange = parameters(message) >= shared.least.load(Ordering::Relaxed),
                        b'Q' | b'S' => {
                            shared.requests.fetch_add(1, Ordering::SeqCst);
                        }
                        _ => {}
                    }
                    let is_any = message[0] == b'Q' && shared.least.load(Ordering::Relaxed) == 0;
                    let ends_an_exchange = is_any || message[0] == b'S' && std::mem::take(&mut is_exchange);
                    sent += message.len();
                    if !ends_an_exchange {
                        continue;
                    }
                    let number = *shared.exchanges.borrow();
                    let fate = (shared.fates.lock().unwrap())(number);
                    shared.exchanges.send_replace(number + 1);
                    match fate {
                        Fate::Arrives => {}
                        Fate::IsLost => return,
                        Fate::IsAbandoned => {
                            let _ = server.write_all(&asked[..sent]).await;
                            return;
                        }
                        Fate::LosesItsReply => {
                            let _ = server.write_all(&asked[..sent]).await;
                            while !is_ready(&answered) && matches!(server.read_buf(&mut answered).await, Ok(1..)) {}
                            return;
                        }
                    }
                }
                if server.write_all(&asked[..sent]).await.is_err() {
                    return;
                }
                asked.drain(..sent);
            }
            read = server.read_buf(&mut answered) => {
                if !matches!(read, Ok(1..)) || client.write_all(&answered).await.is_err() {
                    return;
                }
                answered.clear();
            }
            _ = road.changed() => {
                if *road.borrow() == Road::Silent {
                    return std::future::pending().await;
                }
                return;
            }
        }
    }
}

/// How many parameters `tasker.exchange` has, and no other statement; with a submission there are more.
const EXCHANGE_PARAMETERS: u16 = 21;
/// Those of `tasker.submit_tasks`.
const SUBMISSION_PARAMETERS: u16 = 10;
/// Whether a reply has come to its last message, ReadyForQuery, in a transaction or outside.
fn is_ready(answered: &[u8]) -> bool {
    matches!(answered.last_chunk(), Some(b"Z\0\0\0\x05I" | b"Z\0\0\0\x05T" | b"Z\0\0\0\x05E"))
}

/// The first whole message; the very first of a connection has no kind.
fn message(bytes: &[u8], begun: bool) -> Option<&[u8]> {
    let kind = usize::from(begun);
    let length = u32::from_be_bytes(*bytes.get(kind..)?.first_chunk()?) as usize;
    bytes.get(..kind + length)
}

/// How many parameters a Bind message binds: after two names and the parameters' formats.
fn parameters(bind: &[u8]) -> u16 {
    let names_end = bind.iter().enumerate().skip(5).filter(|(_, byte)| **byte == 0).nth(1).map_or(0, |(at, _)| at);
    let number = |at: usize| u16::from_be_bytes([bind[at], bind[at + 1]]);
    number(names_end + 3 + 2 * usize::from(number(names_end + 1)))
}
