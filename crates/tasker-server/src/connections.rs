//! Connections: a client that does not say what it wants, or does not read what it is told, is not waited for without end.

use std::{io, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::PATIENCE;

/// Within what time a request's head has to come, the first of a connection or the next.
const HEAD: Duration = Duration::from_secs(10);
/// How long what is being answered is waited for at the end: a request, and as long again for its client to read it.
const DRAIN: Duration = PATIENCE.saturating_mul(2);

/// Serves until `stop` is cancelled; what is being answered then is answered to its end.
pub(crate) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) -> io::Result<()> {
    let mut protocol = http1::Builder::new();
    protocol.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let service = TowerToHyperService::new(router);
    let open = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                let connection = open.watch(protocol.serve_connection(TokioIo::new(stream), service.clone()));
                // how a connection ends concerns its client
                tokio::spawn(async move { connection.await.ok() });
            }
            // the client has gone already, or there are no descriptors left: some of them will be given back
            Err(error) => {
                tracing::warn!("a connection cannot be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, open.shutdown()).await.is_err() {
        tracing::warn!("some clients have not read their answers within {DRAIN:?}: they are left");
    }
    Ok(())
}
