//! Workflows in Rust: typed step names, and ordinary async functions as handlers.

use std::{future::Future, marker::PhantomData, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use super::{Concurrency, Definition, Draft, DraftStep, Priority};
use crate::{
    Error,
    handlers::{Context, Handler, StepError, function_with},
};

/// A step's name with the type of its result: a constant that definition and handlers share.
pub struct Step<T> {
    name: &'static str,
    result: PhantomData<fn() -> T>,
}

impl<T> Step<T> {
    /// A step with this name (`^[a-z][a-z0-9_]{0,62}$`), whose handler gives a `T`.
    pub const fn named(name: &'static str) -> Step<T> {
        Step { name, result: PhantomData }
    }

    /// The name.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<T> Clone for Step<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Step<T> {}

/// A workflow whose tasks have an input of type `I`, and its handlers a state of type `S`, being built; what is said after
/// [`Workflow::step`] is of that step.
#[derive(Clone)]
pub struct Workflow<I = serde_json::Value, S = ()> {
    draft: Draft,
    state: S,
    handlers: Vec<(String, Arc<dyn Handler>)>,
    input: PhantomData<fn(I)>,
}

impl<I, S> Workflow<I, S> {
    /// Namespace, name, version.
    pub(crate) fn name(&self) -> (&str, &str, &str) {
        (&self.draft.namespace, &self.draft.name, &self.draft.version)
    }
}

impl<I> Workflow<I> {
    /// A workflow without steps; `version` is semantic (`1.0.0`).
    pub fn new(namespace: &str, name: &str, version: &str) -> Workflow<I> {
        let draft =
            Draft { namespace: namespace.into(), name: name.into(), version: version.into(), ..Draft::default() };
        Workflow { draft, state: (), handlers: Vec::new(), input: PhantomData }
    }
}

impl<I: DeserializeOwned + Send + 'static, S: Clone + Send + Sync + 'static> Workflow<I, S> {
    /// What the application gives to its handlers: connections, clients, configuration. The steps added from now on find a clone of
    /// it in [`Context::state`].
    pub fn state<T: Clone + Send + Sync + 'static>(self, state: T) -> Workflow<I, T> {
        Workflow { draft: self.draft, state, handlers: self.handlers, input: PhantomData }
    }

    /// Adds a step that runs an async function. Its handler is called `namespace.workflow.step`.
    pub fn step<T, F, Fut>(mut self, step: Step<T>, run: F) -> Self
    where
        T: Serialize + 'static,
        F: Fn(Context<I, S>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, StepError>> + Send + 'static,
    {
        let name = format!("{}.{}.{}", self.draft.namespace, self.draft.name, step.name);
        self.draft.steps.push(DraftStep {
            name: step.name.into(),
            handler: Some(name.clone()),
            ..DraftStep::default()
        });
        self.handlers.push((name, function_with(self.state.clone(), run)));
        self
    }

    /// The step begins only when that one is satisfied.
    pub fn after<T>(self, step: Step<T>) -> Self {
        self.last(|s| s.depends_on.push(step.name.into()))
    }

    /// The greatest number of attempts, the first included; default 3.
    pub fn max_attempts(self, attempts: u32) -> Self {
        self.last(|s| s.retry.max_attempts = attempts)
    }

    /// The first and the greatest delay between attempts; default 1 s and 5 min.
    pub fn backoff(self, base: Duration, max: Duration) -> Self {
        self.last(|s| {
            s.retry.base_delay = base;
            s.retry.max_delay = max;
        })
    }

    /// The greatest duration of an attempt; default: unlimited.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.last(|s| s.timeout = Some(timeout))
    }

    /// How many steps with this name may run at once over all tasks, for each value at `key` in the input (empty: one for all).
    pub fn concurrency(self, limit: u32, key: &[&str]) -> Self {
        self.last(|s| s.concurrency = Some(Concurrency { limit, key: key.iter().map(|k| k.to_string()).collect() }))
    }

    /// Its lane in the handler's queue.
    pub fn priority(self, priority: Priority) -> Self {
        self.last(|s| s.priority = priority)
    }

    fn last(mut self, change: impl FnOnce(&mut DraftStep)) -> Self {
        if let Some(step) = self.draft.steps.last_mut() {
            change(step);
        }
        self
    }

    /// The validated form.
    ///
    /// # Errors
    /// All problems of the definition at once.
    pub fn definition(&self) -> Result<Definition, Error> {
        Definition::check(self.draft.clone(), &[]).map_err(|problems| {
            Error::Definition(problems.iter().map(|p| p.to_string()).collect::<Vec<_>>().join("\n"))
        })
    }

    /// The functions, by handler name.
    pub(crate) fn handlers(&self) -> impl Iterator<Item = (String, Arc<dyn Handler>)> + '_ {
        self.handlers.iter().cloned()
    }
}
