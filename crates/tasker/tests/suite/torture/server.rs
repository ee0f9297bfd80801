//! A server of the torture's own, which is stopped without a warning and started again, and a pooler before it.

use std::{path::Path, process::Stdio};

use sqlx::postgres::PgConnectOptions;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// It is gone when this is.
pub struct Server {
    pub url: String,
    control: String,
    _process: Child,
}

impl Server {
    pub async fn start() -> Server {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/with-postgres");
        // it stands beside a command, which ends when nobody holds its input any more
        let mut process = Command::new(script)
            .args(["sh", "-c", r#"echo "$DATABASE_URL"; echo "$TASKER_TEST_SERVER_CONTROL"; cat"#])
            .env_remove("TASKER_TEST_DATABASE_URL")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut line = async || lines.next_line().await.unwrap().expect("a server of its own could not be started");
        Server { url: line().await, control: line().await, _process: process }
    }

    /// As in a power cut of all its processes, and up again.
    pub async fn crash(&self) {
        let restart = format!("cd / && {} -m immediate -w -t 60 restart >/dev/null 2>&1", self.control);
        let status = Command::new("sh").args(["-c", &restart]).status().await.unwrap();
        assert!(status.success(), "the server does not come up again: {restart}");
    }

    /// As a standby of itself that is promoted: another timeline begins.
    pub async fn fail_over(&self) {
        let folder = self.control.rsplit(' ').next().unwrap();
        let promote = format!(
            "cd / && touch {folder}/standby.signal && {0} -m fast -w -t 60 restart >/dev/null 2>&1 && {0} -w -t 60 promote >/dev/null 2>&1",
            self.control
        );
        let status = Command::new("sh").args(["-c", &promote]).status().await.unwrap();
        assert!(status.success(), "the server is not promoted: {promote}");
    }
}

/// PgBouncer in session mode, where it is installed; gone when this is.
pub struct Pooler {
    pub options: PgConnectOptions,
    _folder: tempfile::TempDir,
    _process: Child,
}

impl Pooler {
    pub fn before(server: &PgConnectOptions) -> Option<Pooler> {
        let folder = tempfile::tempdir().unwrap();
        let database = server.get_database().expect("the server's URL names a database");
        let (user, port) = (server.get_username(), server.get_port());
        let host = server.get_socket().map_or(server.get_host().into(), |socket| socket.display().to_string());
        let path = folder.path().display();
        let settings = format!(
            "[databases]\n{database} = host={host} port={port} dbname={database} user={user}\n[pgbouncer]\npool_mode = session\nlisten_port = 6432\n\
             unix_socket_dir = {path}\nauth_type = any\nmax_client_conn = 500\ndefault_pool_size = 200\nserver_login_retry = 1\n\
             ignore_startup_parameters = extra_float_digits,options\nlogfile = {path}/log\n"
        );
        std::fs::write(folder.path().join("pgbouncer.ini"), settings).unwrap();
        // it does not run as root
        let nobody = if rustix::process::getuid().is_root() { "-u nobody" } else { "" };
        let begin = format!("chmod -R a+rwX {path}; exec pgbouncer -q {nobody} {path}/pgbouncer.ini");
        let mut process = Command::new("sh")
            .args(["-c", &begin])
            .env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        while !folder.path().join(".s.PGSQL.6432").exists() {
            if process.try_wait().unwrap().is_some() {
                return None;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let options = PgConnectOptions::new().socket(folder.path()).port(6432).username(user).database(database);
        Some(Pooler { options, _folder: folder, _process: process })
    }
}
