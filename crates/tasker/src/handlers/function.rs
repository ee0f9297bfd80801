//! Ordinary async functions as handlers.

use std::{future::Future, marker::PhantomData, ops::Deref, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use super::{Attempt, BoxFuture, Handler, Outcome, StepError};
use crate::workflow::Step;

/// What a function is given: the task's input, and the attempt (through `Deref`).
pub struct Context<I> {
    /// The task's input.
    pub input: I,
    attempt: Attempt,
}

impl<I> Deref for Context<I> {
    type Target = Attempt;

    fn deref(&self) -> &Attempt {
        &self.attempt
    }
}

impl<I> Context<I> {
    /// The result of a step that this one comes directly after.
    ///
    /// # Errors
    /// The step is none of its parents, or its result (given by hand, say) is no `T`; neither is mended by a retry.
    pub fn result<T: DeserializeOwned>(&self, step: Step<T>) -> Result<T, StepError> {
        let name = step.name();
        let result = self.attempt.results.get(name).ok_or_else(|| {
            StepError::fatal(format!(
                "step `{}` asks for the result of `{name}`, which it does not come directly after",
                self.attempt.step_name
            ))
            .kind("unknown_result")
        })?;
        serde_json::from_str(result.get()).map_err(|e| {
            StepError::fatal(format!("the result of `{name}` is not what `{}` expects: {e}", self.attempt.step_name))
                .kind("unexpected_result")
        })
    }
}

/// A function as a handler: its input is the task's, its result any JSON.
pub fn function<I, T, F, Fut>(run: F) -> Arc<dyn Handler>
where
    I: DeserializeOwned + Send + 'static,
    T: Serialize + 'static,
    F: Fn(Context<I>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, StepError>> + Send + 'static,
{
    Arc::new(Function { run, types: PhantomData })
}

struct Function<I, T, F> {
    run: F,
    types: PhantomData<fn(I) -> T>,
}

impl<I, T, F, Fut> Handler for Function<I, T, F>
where
    I: DeserializeOwned + Send + 'static,
    T: Serialize + 'static,
    F: Fn(Context<I>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, StepError>> + Send + 'static,
{
    fn run(&self, attempt: Attempt) -> BoxFuture<Result<Outcome, StepError>> {
        let input = match serde_json::from_str(attempt.input.get()) {
            Ok(input) => input,
            Err(e) => {
                let error = StepError::fatal(format!("the task's input is not what this step expects: {e}"))
                    .kind("input_invalid");
                return Box::pin(async move { Err(error) });
            }
        };
        let running = (self.run)(Context { input, attempt });
        Box::pin(async move { Outcome::complete(&running.await?) })
    }
}
