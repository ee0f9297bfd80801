//! Ordinary async functions as handlers.

use std::{future::Future, marker::PhantomData, ops::Deref, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Postgres, Transaction};

use super::{Attempt, BoxFuture, Handler, Outcome, StepError};
use crate::workflow::Step;

/// What a function is given: the task's input, the application's state, and the attempt (through `Deref`).
pub struct Context<I, S = ()> {
    /// The task's input.
    pub input: I,
    /// What the application gave to [`Workflow::state`](crate::workflow::Workflow::state), a clone of it.
    pub state: S,
    attempt: Attempt,
}

impl<I, S> Deref for Context<I, S> {
    type Target = Attempt;

    fn deref(&self) -> &Attempt {
        &self.attempt
    }
}

impl<I, S> Context<I, S> {
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

impl<I, S> Context<I, S> {
    /// Commits a transaction of the handler's own together with the step's end, in the same database: the effects that it has there
    /// happen exactly once, whoever is killed and whenever. At READ COMMITTED, by a role that may run steps. The handler ends with what this gives:
    ///
    /// ```no_run
    /// # use tasker::{StepError, handlers::Context, sqlx};
    /// async fn pay(cx: Context<i64, sqlx::PgPool>) -> Result<String, StepError> {
    ///     let mut transaction = cx.state.begin().await?;
    ///     sqlx::query("update accounts set balance = balance - 1 where id = $1").bind(cx.input).execute(&mut *transaction).await?;
    ///     cx.commit(transaction, "paid".into()).await
    /// }
    /// ```
    ///
    /// # Errors
    /// `lease_lost`, `cancelled`: the attempt is not this handler's any more, and nothing is committed. Errors of the database: of a
    /// commit whose reply was lost nobody knows, until the step is tried again; if it had happened, the step is complete.
    pub async fn commit<T: Serialize>(
        &self,
        mut transaction: Transaction<'_, Postgres>,
        result: T,
    ) -> Result<T, StepError> {
        self.attempt.settle_in(&mut transaction, &Outcome::complete(&result)?).await?;
        transaction.commit().await?;
        Ok(result)
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
    function_with((), run)
}

/// As [`function`], with a state of the application's, of which every attempt gets a clone.
pub fn function_with<I, S, T, F, Fut>(state: S, run: F) -> Arc<dyn Handler>
where
    I: DeserializeOwned + Send + 'static,
    S: Clone + Send + Sync + 'static,
    T: Serialize + 'static,
    F: Fn(Context<I, S>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, StepError>> + Send + 'static,
{
    Arc::new(Function { state, run, types: PhantomData })
}

struct Function<I, S, T, F> {
    state: S,
    run: F,
    types: PhantomData<fn(I) -> T>,
}

impl<I, S, T, F, Fut> Handler for Function<I, S, T, F>
where
    I: DeserializeOwned + Send + 'static,
    S: Clone + Send + Sync + 'static,
    T: Serialize + 'static,
    F: Fn(Context<I, S>) -> Fut + Send + Sync + 'static,
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
        let running = (self.run)(Context { input, state: self.state.clone(), attempt });
        Box::pin(async move { Outcome::complete(&running.await?) })
    }
}
