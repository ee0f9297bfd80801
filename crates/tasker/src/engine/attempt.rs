//! One attempt: render the arguments, run the handler under its timeout, turn whatever comes of it into a verdict.

use std::{
    collections::BTreeMap, future::Future, panic::AssertUnwindSafe, pin::Pin, sync::Arc, task::Poll, time::Duration,
};

use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use super::{batch, definitions::Definitions};
use crate::{
    Error,
    handlers::{self, Attempt, Outcome, StepError},
    json,
    store::{Claimed, LoadedWorkflow, Store, Verdict},
    template::{self, Scope, Secrets, SecretsUsed},
};

/// How long a handler that was told to stop may take to do so before its future is dropped.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Runs a claimed step to its verdict; `None`: it was told to stop, and nothing is to be recorded. `time_left`: how long
/// it may take to stop.
pub(super) async fn run(
    store: Store,
    definitions: &Definitions,
    claimed: Claimed,
    cancellation: CancellationToken,
    time_left: impl Fn() -> Duration,
) -> Option<Verdict> {
    // a panic outside of the handler, such as that of what it guards when it is dropped, must not leave the lease behind
    let attempt = attempt(store, definitions, claimed, cancellation, time_left);
    caught(AssertUnwindSafe(attempt)).await.unwrap_or_else(|panic| Some(verdict(Err(panic))))
}

async fn attempt(
    store: Store,
    definitions: &Definitions,
    claimed: Claimed,
    cancellation: CancellationToken,
    time_left: impl Fn() -> Duration,
) -> Option<Verdict> {
    let found = tokio::select! {
        biased;
        () = cancellation.cancelled() => return None,
        found = definitions.find(claimed.named_task_id, claimed.step_number) => found,
    };
    let (workflow, handler) = match found {
        Ok(found) => found,
        Err(error) => return Some(failure(error)),
    };
    let node = &workflow.nodes[claimed.step_number as usize];
    let used = SecretsUsed::default();
    let prepared = tokio::select! {
        biased;
        () = cancellation.cancelled() => return None,
        prepared = prepare(&store, &workflow, claimed, definitions.secrets.clone(), used.clone(), cancellation.child_token()) => prepared,
    };
    let attempt = match prepared {
        Ok(attempt) => attempt,
        Err(Prepare::Step(error)) => return Some(redacted(failure(error), &used)),
        // the database went away: the next attempt fetches it, if this one can be recorded at all
        Err(Prepare::Database(error)) => {
            return Some(failure(
                StepError::new(format!("what it needs could not be fetched: {error}")).kind("database"),
            ));
        }
    };
    let stop = attempt.cancellation.clone();
    // dropping this on a timeout or a stop drops the handler's future, and what it guards dies with it
    let handler = AssertUnwindSafe(async move { handler.run(attempt).await });
    let mut running = std::pin::pin!(caught(handler));
    let timeout = async {
        match node.timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    let verdict = tokio::select! {
        biased;
        ended = &mut running => answer(ended, &cancellation),
        () = cancellation.cancelled() => {
            let ended = tokio::time::timeout(STOP_GRACE.min(time_left()), &mut running).await;
            match ended {
                Ok(ended) => answer(ended, &cancellation),
                Err(_) => None,
            }
        }
        () = timeout => {
            stop.cancel();
            let _ = tokio::time::timeout(STOP_GRACE.min(time_left()), &mut running).await;
            let timeout = node.timeout.unwrap_or_default();
            Some(failure(StepError::new(format!("it did not end within its timeout of {}", crate::duration::format(timeout))).kind("timeout")))
        }
    };
    verdict.map(|verdict| redacted(verdict, &used))
}

enum Prepare {
    Step(StepError),
    Database(Error),
}

async fn prepare(
    store: &Store,
    workflow: &LoadedWorkflow,
    claimed: Claimed,
    secrets: Secrets,
    used: SecretsUsed,
    cancellation: CancellationToken,
) -> Result<Attempt, Prepare> {
    let node = &workflow.nodes[claimed.step_number as usize];
    let stored = |what: &str, e: serde_json::Error| {
        Prepare::Step(StepError::fatal(format!("{what} cannot be read back: {e}")).kind("not_readable"))
    };
    let by_number: BTreeMap<i32, Box<RawValue>> = match claimed.results {
        Some(results) => serde_json::from_str(&results).map_err(|e| stored("a result", e))?,
        None => {
            let fetch = || store.results(claimed.task_id, &node.needs);
            let fetched = batch::with_patience(fetch).await.map_err(Prepare::Database)?;
            let results = fetched.into_iter().map(|(number, text)| Ok((number, RawValue::from_string(text)?)));
            results.collect::<Result<_, _>>().map_err(|e| stored("a result", e))?
        }
    };
    let by_name: BTreeMap<String, Box<RawValue>> = by_number
        .into_iter()
        .filter_map(|(number, result)| Some((workflow.nodes.get(number as usize)?.name.to_string(), result)))
        .collect();
    let results = Arc::new(by_name);
    let context = match claimed.context {
        Some(context) => context,
        None => {
            let fetch = || store.context_of(claimed.task_id);
            batch::with_patience(fetch).await.map_err(Prepare::Database)?.unwrap_or_default()
        }
    };
    let mut input: Arc<RawValue> = RawValue::from_string(context).map_err(|e| stored("the input", e))?.into();
    if let Some(schema) = &workflow.input {
        // the doors in Rust have checked it already; a task that came by SQL is checked here
        let invalid =
            |problems: Vec<String>| Prepare::Step(StepError::fatal(problems.join("; ")).kind("input_invalid"));
        let value = serde_json::from_str(input.get()).map_err(|e| stored("the input", e))?;
        let complete = schema.complete(&value).map_err(invalid)?;
        input = json::encode(&complete).map_err(|e| invalid(vec![e.to_string()]))?.into();
    }
    let with = match claimed.input {
        Some(edited) => serde_json::from_str(&edited).map_err(|e| stored("the edited input", e))?,
        None => {
            let scope = Scope::new(input.clone(), results.clone()).and_secrets(secrets, used.clone());
            template::render(&node.with, handlers::raw_keys(&node.handler), &scope)
                .map_err(|e| Prepare::Step(e.into()))?
        }
    };
    Ok(Attempt {
        task_id: claimed.task_id,
        workflow_step_id: crate::step_id(claimed.task_id, claimed.step_number),
        step_name: node.name.clone(),
        claim_id: claimed.claim_id,
        number: claimed.attempt as u32,
        retry_limit: claimed.retry_limit as u32,
        generation: claimed.generation as u32,
        timer: claimed.timer,
        with,
        input,
        results,
        secrets: used,
        cancellation,
    })
}

/// A verdict without the secrets that its attempt was given.
fn redacted(verdict: Verdict, used: &SecretsUsed) -> Verdict {
    match verdict {
        Verdict::Complete(result) => Verdict::Complete(used.redact_json(result)),
        Verdict::Skip(result) => Verdict::Skip(used.redact_json(result)),
        Verdict::Fail { error, kind, retryable, delay } => {
            Verdict::Fail { error: used.redact(error), kind, retryable, delay }
        }
        Verdict::Wait(_) | Verdict::WaitFor(_) => verdict,
    }
}

/// What is recorded of a handler's end. What one that was told to stop finishes all the same is not thrown away; its error
/// says only that it was told to stop.
fn answer(ended: Ended, cancellation: &CancellationToken) -> Option<Verdict> {
    let is_interrupted = cancellation.is_cancelled() && !matches!(ended, Ok(Ok(_)));
    (!is_interrupted).then(|| verdict(ended))
}

/// How a handler ended; or a panic's message.
type Ended = Result<Result<Outcome, StepError>, String>;

fn verdict(ended: Ended) -> Verdict {
    let storable = |result: Box<RawValue>| match json::check(result.get()) {
        Ok(_) => Ok(String::from(Box::<str>::from(result))),
        Err(e) => {
            Err(failure(StepError::fatal(format!("its result cannot be stored: {e}")).kind("result_not_storable")))
        }
    };
    // an outcome may be handed up like an error
    match ended.map(|ended| ended.or_else(StepError::into_outcome)) {
        Ok(Ok(Outcome::Complete(result))) => storable(result).map_or_else(|failed| failed, Verdict::Complete),
        Ok(Ok(Outcome::Skip(result))) => storable(result).map_or_else(|failed| failed, Verdict::Skip),
        Ok(Ok(Outcome::WaitUntil(at))) => Verdict::Wait(at),
        Ok(Ok(Outcome::WaitFor(time))) => Verdict::WaitFor(time),
        Ok(Err(error)) => failure(error),
        Err(panic) => failure(StepError::new(format!("the handler panicked: {panic}")).kind("panic")),
    }
}

/// A failed attempt, its message cleaned so that it is never lost.
fn failure(error: StepError) -> Verdict {
    Verdict::Fail {
        error: json::clean(&error.message, json::MAX_MESSAGE_BYTES),
        kind: json::clean(&error.kind, 64),
        retryable: error.retryable,
        delay: error.retry_after.map(|d| d.as_secs_f64()),
    }
}

/// Runs a future; a panic in it is an error with the panic's message.
fn caught<F: Future>(future: AssertUnwindSafe<F>) -> impl Future<Output = Result<F::Output, String>> {
    let mut future = Box::pin(future.0);
    std::future::poll_fn(move |cx| {
        let poll = std::panic::catch_unwind(AssertUnwindSafe(|| Pin::as_mut(&mut future).poll(cx)));
        match poll {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panic) => Poll::Ready(Err(panic
                .downcast_ref::<&str>()
                .map(|s| s.to_string())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "(no message)".into()))),
        }
    })
}
