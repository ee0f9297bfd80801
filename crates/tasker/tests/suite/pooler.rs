//! A pooler in transaction mode is refused at the door. Here it is played: a server that gives every session the same process, as such
//! a pooler does while it is idle, or that does not take the driver's startup parameters, as PgBouncer 1.18 does by default.

use tasker::{Error, Tasker};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

use crate::support::soon;

/// What it answers to a session's beginning, and to every query.
#[derive(Clone, Copy)]
struct Answers {
    startup: fn() -> Vec<u8>,
    query: fn() -> Vec<u8>,
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], (body.len() as u32 + 4).to_be_bytes().as_slice(), body].concat()
}

fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

fn welcome() -> Vec<u8> {
    [message(b'R', &[0; 4]), ready()].concat()
}

/// One row with one text, `7`.
fn the_same_process() -> Vec<u8> {
    let column = [b"pid\0".as_slice(), &[0; 6], &23u32.to_be_bytes(), &[0, 4], &[0xff; 4], &[0; 2]].concat();
    let description = message(b'T', &[&[0, 1], column.as_slice()].concat());
    let row = message(b'D', &[0, 1, 0, 0, 0, 1, b'7']);
    [description, row, message(b'C', b"SELECT 1\0"), ready()].concat()
}

fn refusal() -> Vec<u8> {
    message(b'E', b"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: extra_float_digits\0\0")
}

async fn serve(mut client: UnixStream, answers: Answers) {
    let mut asked = vec![0; 4096];
    let mut begun = false;
    while let Ok(1..) = client.read(&mut asked).await {
        let answer = if begun { (answers.query)() } else { (answers.startup)() };
        begun = true;
        if client.write_all(&answer).await.is_err() {
            return;
        }
    }
}

async fn connect(answers: Answers) -> Result<Tasker, Error> {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join(".s.PGSQL.6432")).unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(serve(client, answers));
        }
    });
    Tasker::connect(&format!("postgres://tasker@localhost:6432/shop?sslmode=disable&host={}", folder.path().display()))
        .await
}

#[test]
fn what_gives_its_sessions_away_is_refused_with_the_remedy() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(soon("the refusals", async {
        for startup in [welcome as fn() -> Vec<u8>, refusal] {
            let refused = connect(Answers { startup, query: the_same_process }).await.err().unwrap();
            assert_eq!(refused.code(), "pooler", "{refused}");
            assert!(refused.to_string().contains("TASKER_DIRECT_URL"), "{refused}");
        }
    }));
}
