//! A worker: serves every task whose steps its handlers can run, until it is told to stop.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{Settings, runner::Runner, waker::Waker};
use crate::{Error, handlers::Handler, store::Store};

/// How a worker behaves.
pub type WorkerOptions = Settings;

/// Serves every task whose steps its handlers can run. Made by [`Tasker::worker`](crate::Tasker::worker).
pub struct Worker {
    pub(crate) store: Store,
    pub(crate) handlers: BTreeMap<String, Arc<dyn Handler>>,
    pub(crate) wake: Waker,
    pub(crate) options: WorkerOptions,
}

impl Worker {
    /// Works until `shutdown` is cancelled; then it claims nothing more, lets handlers finish for
    /// [`Settings::drain`], settles what has finished, and gives the rest back.
    ///
    /// # Errors
    /// A schema that is not this program's; a database that is only away for a while is waited for.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let drain = self.options.drain;
        let begun =
            Runner::begin(self.store.clone(), self.handlers, self.options, self.wake.clone(), None, None, &shutdown);
        let Some(mut runner) = begun.await? else { return Ok(()) };
        let _working = self.wake.working();
        let _heart = runner.start_heart();
        let _ear = Ear(tokio::spawn(listen(self.store, self.wake)));
        while !shutdown.is_cancelled() {
            let turn = runner.turn(true).await?;
            runner.wait(turn.next_in, &shutdown).await;
        }
        let never = CancellationToken::new();
        let ends_at = tokio::time::Instant::now() + drain;
        while (runner.running_count() > 0 || runner.has_settlements()) && tokio::time::Instant::now() < ends_at {
            let turn = runner.turn(false).await?;
            let left = ends_at.saturating_duration_since(tokio::time::Instant::now());
            runner.wait(turn.next_in.min(left), &never).await;
        }
        runner.release_all().await
    }
}

struct Ear(tokio::task::JoinHandle<()>);

impl Drop for Ear {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How often the listener is asked whether it still hears: a connection that went deaf silently says nothing by itself.
const LISTENER_CHECK: Duration = Duration::from_secs(60);

/// Turns notifications into wake-ups. They are hints: without any, the poll interval finds everything.
async fn listen(store: Store, wake: Waker) {
    let own = store.process_id.to_string();
    loop {
        match store.listener().await {
            Ok(None) => return,
            Ok(Some(mut listener)) => {
                wake.here();
                loop {
                    match tokio::time::timeout(LISTENER_CHECK, listener.try_recv()).await {
                        Ok(Ok(Some(sent))) if sent.payload() == own => {}
                        Ok(Ok(Some(_))) => wake.here(),
                        Ok(Ok(None)) => {
                            debug!("the listener has reconnected, and may have missed something");
                            wake.here();
                        }
                        Ok(Err(error)) => {
                            warn!("the listener failed and begins anew: {error}");
                            break;
                        }
                        Err(_) => {
                            if !hears(&mut listener).await {
                                warn!("the listener went deaf and begins anew");
                                break;
                            }
                        }
                    }
                }
            }
            Err(error) => debug!("no listener yet: {error}"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn hears(listener: &mut sqlx::postgres::PgListener) -> bool {
    let asked = crate::store::listens(listener);
    matches!(tokio::time::timeout(Duration::from_secs(5), asked).await, Ok(Ok(true)))
}
