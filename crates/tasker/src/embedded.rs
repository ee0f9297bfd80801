//! PostgreSQL inside the process, its data in a folder: nothing to install. One connection at a time, no fsync (it survives
//! the death of the process, not of the machine): for a laptop, a demonstration, a test; not for production.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
};

use pglite_oxide::PgliteServer;
use sqlx::postgres::PgConnectOptions;

use crate::{Error, store::Store};

/// The running database; it stops when this is dropped.
pub(crate) struct Database {
    server: Option<PgliteServer>,
    /// Held for as long as the database runs: who has it knows that every former owner is dead.
    lock: Option<File>,
    socket: tempfile::TempDir,
}

impl Database {
    /// Stops it, its connections closed, and frees the folder.
    pub(crate) async fn shut_down(mut self) {
        let (server, lock) = (self.server.take(), self.lock.take());
        let _ = tokio::task::spawn_blocking(move || {
            let _ = server.map(PgliteServer::shutdown);
            drop(lock);
        })
        .await;
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // the server ends when its last connection is closed, which may be later than this: wait for it elsewhere. A failure
        // leaves what a kill would leave, and the next start recovers from that
        let (server, lock) = (self.server.take(), self.lock.take());
        std::thread::spawn(move || {
            let _ = server.map(PgliteServer::shutdown);
            drop(lock);
        });
    }
}

/// Opens the folder, making it if need be, and ends the leases of its former owner at once.
pub(crate) async fn open(folder: &Path) -> Result<(Database, Store), Error> {
    let making = folder.join(MAKING);
    let folder = folder.to_path_buf();
    let database = tokio::task::spawn_blocking(move || start(&folder))
        .await
        .map_err(|e| Error::Embedded(format!("the embedded database could not be started: {e}")))??;
    let options = PgConnectOptions::new_without_pgpass()
        .socket(database.socket.path())
        .username("postgres")
        .database("template1")
        .statement_cache_capacity(200);
    let store = Store::connect(options, 1, true).await?;
    store.migrate().await?;
    match std::fs::remove_file(&making) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::Embedded(format!("cannot remove {}: {e}", making.display())));
        }
        _ => {}
    }
    store.end_all_leases().await?;
    Ok((database, store))
}

/// A file that is there from before the database's own files until they are complete: with it they are made anew, since whoever
/// made them died over it.
const MAKING: &str = "making";

fn start(folder: &Path) -> Result<Database, Error> {
    let broken = |what: &str, e: &dyn std::fmt::Display| Error::Embedded(format!("{what} {}: {e}", folder.display()));
    std::fs::create_dir_all(folder).map_err(|e| broken("cannot make the folder", &e))?;
    let lock = lock(folder)?;
    let socket = tempfile::Builder::new()
        .prefix("tasker-")
        .tempdir()
        .map_err(|e| broken("cannot make a socket's folder for", &e))?;
    let (data, making) = (folder.join("postgres"), folder.join(MAKING));
    if making.exists() && data.exists() {
        std::fs::remove_dir_all(&data).map_err(|e| broken("cannot make the database anew in", &e))?;
    }
    if !data.exists() {
        std::fs::write(&making, "").map_err(|e| broken("cannot write to", &e))?;
    }
    let server = PgliteServer::builder()
        .path(data)
        .unix(socket.path().join(".s.PGSQL.5432"))
        .start()
        .map_err(|e| broken("cannot start the embedded database in", &e))?;
    Ok(Database { server: Some(server), lock: Some(lock), socket })
}

fn lock(folder: &Path) -> Result<File, Error> {
    let path: PathBuf = folder.join("lock");
    let broken = |e: std::io::Error| Error::Embedded(format!("cannot lock {}: {e}", path.display()));
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(broken)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0).map_err(broken)?;
            file.rewind().map_err(broken)?;
            write!(file, "{}", std::process::id()).map_err(broken)?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            let _ = file.read_to_string(&mut owner);
            let owner = if owner.is_empty() { "another process".into() } else { format!("process {owner}") };
            Err(Error::Embedded(format!(
                "{owner} has the embedded database in {} open, and it serves one process at a time: wait until that one ends, \
                 give another folder, or use a PostgreSQL server (DATABASE_URL)",
                folder.display()
            )))
        }
        Err(TryLockError::Error(e)) => Err(broken(e)),
    }
}
