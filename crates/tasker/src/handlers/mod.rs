//! What runs a step: the handlers that come with Tasker, and the trait that an application's own implement.

mod arguments;
mod command;
mod function;
mod http;
mod render;
mod sleep;
#[cfg(test)]
mod testing;
mod transform;

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Value, value::RawValue};
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use self::{
    arguments::{Argument, BUILT_IN, Kind, arguments, raw_keys},
    function::{Context, function, function_with},
};
use crate::{
    json,
    store::{Answer, Settlement, Store, Verdict},
    template::{Scope, SecretsUsed, TemplateError},
};

/// Runs attempts of steps. One value serves any number of attempts at once.
pub trait Handler: Send + Sync + 'static {
    /// Runs one attempt to its end. It may be dropped at any await when the lease is lost, the step is cancelled
    /// or its timeout passes; a panic is a failed attempt.
    fn run(&self, attempt: Attempt) -> BoxFuture<Result<Outcome, StepError>>;
}

/// A future that can be sent between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// What a handler is given.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The task.
    pub task_id: Uuid,
    /// The step: its task's id with the step's number in the last 24 bits.
    pub workflow_step_id: Uuid,
    /// The step's name.
    pub step_name: Arc<str>,
    /// The claim: the fence under which this attempt is settled.
    pub claim_id: Uuid,
    /// 1 for the first attempt.
    pub number: u32,
    /// The greatest number of attempts.
    pub retry_limit: u32,
    /// How often a person has begun the step anew; with task and step it makes [`Attempt::idempotency_key`].
    pub generation: u32,
    /// The instant for which an earlier attempt of this step said [`Outcome::WaitUntil`] or [`Outcome::WaitFor`].
    pub timer: Option<DateTime<Utc>>,
    /// The node's `with`, its templates rendered; `null` where there is none.
    pub with: serde_json::Value,
    /// The task's input.
    pub input: Arc<RawValue>,
    /// Results of the steps that this one needs, by name.
    pub results: Arc<BTreeMap<String, Box<RawValue>>>,
    /// What is recorded is without them.
    pub secrets: SecretsUsed,
    /// Cancelled when the attempt must stop: lease lost, step cancelled, timeout, shutdown.
    pub cancellation: CancellationToken,
}

impl Attempt {
    /// The key to send to outside systems: the same for every attempt of a step until a person retries it.
    pub fn idempotency_key(&self) -> String {
        format!("{}:{}:{}", self.task_id, self.step_name, self.generation)
    }

    /// Settles this attempt in a transaction of the handler's own, in the same database: what it wrote there and the step's end are
    /// committed together, or neither is. To be called last before the commit, at READ COMMITTED, by a role that may run steps; the
    /// handler then gives the same outcome. Secrets are taken out of it. [`Context::commit`] does all of that.
    ///
    /// # Errors
    /// `lease_lost`, `cancelled`: the attempt is not this handler's any more, and the transaction must be rolled back.
    pub async fn settle_in(&self, transaction: &mut PgConnection, outcome: &Outcome) -> Result<(), StepError> {
        let settlement = Settlement {
            task_id: self.task_id,
            step_number: crate::step_number_of(self.workflow_step_id),
            claim_id: self.claim_id,
            verdict: match outcome {
                Outcome::Complete(result) => Verdict::Complete(self.secrets.redact_json(result.get().into())),
                Outcome::Skip(result) => Verdict::Skip(self.secrets.redact_json(result.get().into())),
                Outcome::WaitUntil(at) => Verdict::Wait(*at),
                Outcome::WaitFor(time) => Verdict::WaitFor(*time),
            },
        };
        let refused = |kind: &str| {
            StepError::new("the attempt is not this handler's any more; its transaction is rolled back").kind(kind)
        };
        match Store::settle_in(transaction, &settlement).await? {
            Answer::Settled => Ok(()),
            Answer::LeaseLost => Err(refused("lease_lost")),
            Answer::Cancelled => Err(refused("cancelled")),
        }
    }

    /// What the templates that a handler renders itself can see.
    fn scope(&self) -> Scope {
        Scope::new(self.input.clone(), self.results.clone())
    }
}

/// A handler's answer.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Done, with this result.
    Complete(Box<RawValue>),
    /// Nothing to do: the children run, and receive this result.
    Skip(Box<RawValue>),
    /// Ask again at this instant; the attempt is given back.
    WaitUntil(DateTime<Utc>),
    /// As [`Outcome::WaitUntil`], so long after the database has heard of it: by its clock, whatever this machine's says.
    WaitFor(Duration),
}

impl Outcome {
    /// Done, with this value as the result.
    ///
    /// # Errors
    /// `result_not_storable`, which no retry will mend: what [`json::check`] refuses.
    pub fn complete<T: Serialize + ?Sized>(result: &T) -> Result<Outcome, StepError> {
        json::encode(result).map(Outcome::Complete).map_err(|invalid| {
            StepError::fatal(format!("its result cannot be stored: {invalid}")).kind("result_not_storable")
        })
    }
}

/// Why an attempt failed. Any error turns into one (`?`): tried again as the retry policy says. Like `anyhow::Error` it is no
/// `std::error::Error` itself, so that this holds.
#[derive(Clone, Debug)]
pub struct StepError {
    /// For people; cleaned and cut to 64 KiB when it is stored.
    pub message: String,
    /// A stable word, for example `handler_error`, `timeout`, `template_error`.
    pub kind: String,
    /// `None`: as the node's retry policy says.
    pub retryable: Option<bool>,
    /// A delay that the far side asked for, at most 24 h; it replaces the backoff.
    pub retry_after: Option<Duration>,
    /// It is no error, but an outcome that is handed up like one.
    outcome: Option<Box<Outcome>>,
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for StepError {
    fn from(error: E) -> Self {
        let any: &dyn std::any::Any = &error;
        if any.is::<TemplateError>() {
            return StepError::fatal(error.to_string()).kind("template_error");
        }
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message.push_str(": ");
            message.push_str(&error.to_string());
            cause = error.source();
        }
        StepError::new(message)
    }
}

impl StepError {
    /// Any error: tried again as the retry policy says.
    pub fn new(message: impl Into<String>) -> Self {
        StepError {
            message: message.into(),
            kind: "handler_error".into(),
            retryable: None,
            retry_after: None,
            outcome: None,
        }
    }

    /// An error that no retry will mend.
    pub fn fatal(message: impl Into<String>) -> Self {
        StepError { retryable: Some(false), ..StepError::new(message) }
    }

    /// An error after which the far side asks to be left alone for `delay` (at most 24 h).
    pub fn retry_after(delay: Duration, message: impl Into<String>) -> Self {
        StepError { retry_after: Some(delay), ..StepError::new(message) }
    }

    /// No error: there is nothing to do. The step is `skipped`, and its children run and receive this result.
    pub fn skip<T: Serialize + ?Sized>(result: &T) -> Self {
        match Outcome::complete(result) {
            Ok(Outcome::Complete(result)) => StepError::instead(Outcome::Skip(result), "there is nothing to do"),
            Ok(outcome) => StepError::instead(outcome, "there is nothing to do"),
            Err(error) => error,
        }
    }

    /// No error: the step is to be asked again at this instant; the attempt is given back, and [`Attempt::timer`] tells the next
    /// one.
    pub fn wait_until(at: DateTime<Utc>) -> Self {
        StepError::instead(Outcome::WaitUntil(at), "it waits")
    }

    /// As [`StepError::wait_until`], so long after the database has heard of it, by its clock.
    pub fn wait_for(time: Duration) -> Self {
        StepError::instead(Outcome::WaitFor(time), "it waits")
    }

    fn instead(outcome: Outcome, message: &str) -> Self {
        StepError { outcome: Some(Box::new(outcome)), ..StepError::new(message) }
    }

    /// The outcome that it is in truth, or the error.
    pub(crate) fn into_outcome(self) -> Result<Outcome, StepError> {
        match self.outcome {
            Some(outcome) => Ok(*outcome),
            None => Err(self),
        }
    }

    /// The same error under another kind.
    pub fn kind(self, kind: impl Into<String>) -> Self {
        StepError { kind: kind.into(), ..self }
    }
}

/// What the built-in handlers may do, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether there is the handler `command`, which runs any program. Without it `render` writes below
    /// [`Options::base_dir`] only: who can write any file can run any program.
    pub allow_command: bool,
    /// Whether `http` may ask hosts that are not on the public internet (loopback, private and link-local addresses), and uses the
    /// proxy that the environment names.
    pub allow_private_hosts: bool,
    /// The folder to which relative paths (`cwd`, `path`) are relative, and in which programs run.
    pub base_dir: PathBuf,
}

/// The handlers that come with Tasker, by name: those of [`BUILT_IN`], without `command` where it is not allowed.
/// A worker asks only for the steps of handlers that it has.
pub fn built_in(options: &Options) -> BTreeMap<String, Arc<dyn Handler>> {
    let base_dir: Arc<Path> = options.base_dir.clone().into();
    let mut handlers = BTreeMap::<String, Arc<dyn Handler>>::new();
    if options.allow_command {
        let command = command::Command { base_dir: base_dir.clone(), limits: command::Limits::default() };
        handlers.insert("command".into(), Arc::new(command));
    }
    handlers.insert("http".into(), Arc::new(http::Http::new(options.allow_private_hosts)));
    handlers.insert("render".into(), Arc::new(render::Render { base_dir, anywhere: options.allow_command }));
    handlers.insert("sleep".into(), Arc::new(sleep::Sleep));
    handlers.insert("transform".into(), Arc::new(transform::Transform));
    handlers
}

/// Whether a word is an HTTP status such as `200`, or a class of them such as `2xx`.
pub(crate) fn is_status(word: &str) -> bool {
    http::Statuses::read(word).is_some()
}

/// Reads a built-in handler's rendered `with`.
fn arguments_of<'a, T: Deserialize<'a>>(handler: &str, with: &'a Value) -> Result<T, StepError> {
    T::deserialize(with).map_err(|error| with_invalid(handler, error))
}

/// `with_invalid`: the arguments, rendered, are not what the handler takes.
fn with_invalid(handler: &str, reason: impl fmt::Display) -> StepError {
    StepError::fatal(format!("`with` is not what `{handler}` takes: {reason}")).kind("with_invalid")
}

/// Text in a rendered `with`, for which a number or a boolean may stand.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Text(text)),
            plain @ (Value::Number(_) | Value::Bool(_)) => Ok(Text(plain.to_string())),
            other => {
                let other = json::clean(&other.to_string(), 100);
                Err(de::Error::custom(format!("{other} stands where text, a number or a boolean is needed")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_handler_for_every_built_in_name() {
        let names = |allow_command| {
            built_in(&Options { allow_command, allow_private_hosts: false, base_dir: ".".into() }).into_keys()
        };
        assert!(names(true).eq(BUILT_IN));
        assert!(names(false).eq(BUILT_IN.into_iter().filter(|name| *name != "command")));
    }
}
