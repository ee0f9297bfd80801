//! Whatever may run now, to its end: for tests, under a clock that is moved by hand.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use super::{Settings, runner::Runner, waker::Waker};
use crate::{Error, handlers::Handler, store::Store};

/// Runs everything that is due, and what follows from it, until nothing is; then moves the clock to the next instant at which
/// something happens, and so on until `until`.
pub(crate) async fn run_until(
    store: Store,
    handlers: BTreeMap<String, Arc<dyn Handler>>,
    settings: Settings,
    wake: Waker,
    until: Option<DateTime<Utc>>,
) -> Result<(), Error> {
    let never = CancellationToken::new();
    let begun = Runner::begin(store.clone(), handlers, settings, wake, None, None, &never).await?;
    let Some(mut runner) = begun else { return Ok(()) };
    let _heart = runner.start_heart();
    loop {
        run_until_idle(&mut runner, &never).await?;
        let Some(until) = until else { return Ok(()) };
        match store.next_instant().await? {
            Some(at) if at <= until => store.set_clock(at).await?,
            _ => break store.set_clock(until).await?,
        }
    }
    run_until_idle(&mut runner, &never).await
}

async fn run_until_idle(runner: &mut Runner, never: &CancellationToken) -> Result<(), Error> {
    loop {
        runner.look_at_everything();
        let turn = runner.turn(true).await?;
        if turn.idle {
            return Ok(());
        }
        let wait = if runner.running_count() == 0 { Duration::ZERO } else { turn.next_in };
        runner.wait(wait, never).await;
    }
}
