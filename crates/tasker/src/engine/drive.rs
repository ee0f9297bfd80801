//! One task to its end: the loop that asks the task's execution context what to do, when an exchange has given nothing.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Observer, Settings, batch, runner::Runner, waker::Waker};
use crate::{Error, context::TaskExecutionContext, handlers::Handler, store::Store};

/// How a driven task stands when the driver leaves it.
#[derive(Clone, Debug)]
pub enum Driven {
    /// Nothing more can be done without a person: it has ended, it is blocked, or it is paused. The context says which.
    Rests(Box<TaskExecutionContext>),
    /// The caller's token was cancelled; what ran was given back.
    Interrupted,
}

pub(crate) async fn drive(
    store: Store,
    handlers: BTreeMap<String, Arc<dyn Handler>>,
    settings: Settings,
    wake: Waker,
    task_id: Uuid,
    observer: Option<Observer>,
    stop: CancellationToken,
) -> Result<Driven, Error> {
    let begun = Runner::begin(store.clone(), handlers, settings, wake, Some(task_id), observer, &stop);
    let Some(mut runner) = begun.await? else { return Ok(Driven::Interrupted) };
    let _heart = runner.start_heart();
    let mut looked_again = false;
    loop {
        if stop.is_cancelled() {
            runner.release_all().await?;
            return Ok(Driven::Interrupted);
        }
        let turn = runner.turn(true).await?;
        if !turn.idle {
            looked_again = false;
            runner.wait(turn.next_in, &stop).await;
            continue;
        }
        let context = match TaskExecutionContext::find(&store, task_id).await {
            Ok(Some(context)) => context,
            Ok(None) => {
                let message = format!("there is no task {task_id}");
                return Err(Error::Refused { code: "unknown_task".into(), message });
            }
            Err(error) => {
                let turn = runner.trouble(batch::trouble(error))?;
                runner.wait(turn.next_in, &stop).await;
                continue;
            }
        };
        if context.rests() {
            return Ok(Driven::Rests(Box::new(context)));
        }
        let wait = match context.recommended_action.as_str() {
            // ready since the exchange looked; if the next one gives nothing either, it is somebody else's
            "execute_ready_steps" if !looked_again => Duration::from_millis(1),
            // somebody else's work, a slot, an instant: the exchange says when
            _ => turn.next_in,
        };
        looked_again = true;
        runner.wait(wait, &stop).await;
    }
}
