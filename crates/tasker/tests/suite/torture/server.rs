//! A server of the torture's own, which is stopped without a warning and started again.

use std::{path::Path, process::Stdio};

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
}
