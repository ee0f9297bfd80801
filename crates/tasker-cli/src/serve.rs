//! `tasker serve`: the doors over HTTP, until a signal ends it.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::{
    Session,
    ending::{Ending, Failure},
    output::tell,
};

/// Serve REST and events over HTTP, until SIGTERM or Ctrl-C
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    listen: Listen,
}

/// Where to listen.
#[derive(clap::Args)]
pub struct Listen {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", env = "TASKER_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

impl Listen {
    /// Listens.
    pub async fn open(&self) -> Result<TcpListener, Failure> {
        tasker_server::listen(self.listen).await.map_err(|why| {
            Failure::unable(format!("{} cannot be listened on: {why}; --listen takes another address", self.listen))
        })
    }
}

/// Serves. The first signal lets requests end, the second leaves at once.
pub async fn run(args: Args, session: &Session) -> Result<Ending, Failure> {
    let tasker = tokio::select! {
        opened = session.database.open() => opened?,
        () = session.stop.cancelled() => return Ok(Ending::Interrupted),
    };
    let listener = args.listen.open().await?;
    tell(format_args!("serving {}", addresses(&listener)?));
    let served = tasker_server::serve(listener, tasker.clone(), session.stop.clone()).await;
    tasker.close().await;
    served.map_err(|why| Failure::unable(format!("it cannot be served: {why}")))?;
    tracing::info!("drained");
    Ok(Ending::Done)
}

/// What a person opens.
pub fn addresses(listener: &TcpListener) -> Result<String, Failure> {
    let address = listener.local_addr().map_err(|why| Failure::unable(format!("it cannot be listened on: {why}")))?;
    Ok(format!("http://{address}/v1  (what it can: http://{address}/openapi.json)"))
}
