//! `tasker serve`: the doors over HTTP, until a signal ends it.

use std::net::SocketAddr;

use tasker::Tasker;
use tasker_server::Access;
use tokio::net::TcpListener;

use crate::{
    Session,
    ending::{Ending, Failure},
    output::tell,
};

/// Serve REST, GraphQL and events over HTTP, until SIGTERM or Ctrl-C
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    listen: Listen,
}

/// Where to listen.
#[derive(clap::Args)]
pub struct Listen {
    /// Where to listen; port 0 takes a free one. Others than this machine can reach it only where there are keys (`tasker key`)
    #[arg(long, value_name = "ADDRESS:PORT", env = "TASKER_LISTEN", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

impl Listen {
    /// Listens, with keys or without.
    pub async fn open(&self, tasker: &Tasker) -> Result<(TcpListener, Access), Failure> {
        let failed = |why| {
            Failure::unable(format!("{} cannot be listened on: {why}; --listen takes another address", self.listen))
        };
        let refused = |why| Failure::unable(format!("{} is not served: {why}", self.listen));
        let access = tasker_server::access(tasker, self.listen).await.map_err(refused)?;
        Ok((TcpListener::bind(self.listen).await.map_err(failed)?, access))
    }
}

/// Serves. The first signal lets requests end, the second leaves at once.
pub async fn run(args: Args, session: &Session) -> Result<Ending, Failure> {
    let tasker = tokio::select! {
        opened = session.database.open_to_serve(tasker_server::PATIENCE) => opened?,
        () = session.stop.cancelled() => return Ok(Ending::Interrupted),
    };
    let (listener, access) = args.listen.open(&tasker).await?;
    tell(format_args!("serving {}{}", addresses(&listener)?, if access == Access::Keys { ", with keys" } else { "" }));
    let served = tasker_server::serve(listener, tasker.clone(), access, session.stop.clone()).await;
    tasker.close().await;
    served.map_err(|why| Failure::unable(format!("it cannot be served: {why}")))?;
    tracing::info!("drained");
    Ok(Ending::Done)
}

/// What a person opens.
pub fn addresses(listener: &TcpListener) -> Result<String, Failure> {
    let address = listener.local_addr().map_err(|why| Failure::unable(format!("it cannot be listened on: {why}")))?;
    Ok(format!("http://{address}/v1  (what it can: http://{address}/docs)"))
}
