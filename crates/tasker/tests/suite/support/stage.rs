//! Real workers, and handlers that a test can watch and hold. Nothing here sleeps: whoever waits is told, or gives up.

use std::{future::Future, sync::Arc, time::Duration};

use chrono::Utc;
use serde_json::{Value, value::RawValue};
use tasker::{
    Attempt, Error, Handler, Outcome, Settings, StepError, Tasker,
    handlers::{BoxFuture, Context, function},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Moment, TestDatabase};

/// What every wait ends with, sooner or later.
const PATIENCE: Duration = Duration::from_secs(90);

/// Waits, but not for ever.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited for {PATIENCE:?}: {what}"))
}

/// A worker that runs in a task of its own.
pub struct Running {
    shutdown: CancellationToken,
    ended: JoinHandle<Result<(), Error>>,
}

impl Running {
    /// Starts a worker with the handlers that `tasker` has now.
    pub fn start(tasker: &Tasker, settings: Settings) -> Running {
        let shutdown = CancellationToken::new();
        let ended = tokio::spawn(tasker.worker(settings).run(shutdown.clone()));
        Running { shutdown, ended }
    }

    /// Tells it to stop, without waiting for it.
    pub fn shut_down(&self) {
        self.shutdown.cancel();
    }

    /// Lets it drain, to its end.
    pub async fn stop(self) {
        self.shut_down();
        soon("the worker's end", self.ended).await.unwrap().unwrap();
    }
}

/// A worker as a process of its own, with its own runtime, which can be killed.
pub struct Process(Option<tokio::runtime::Runtime>);

impl Process {
    /// Starts a worker with one handler for all of these names.
    pub async fn start(url: &str, settings: Settings, handlers: Vec<(String, Arc<dyn Handler>)>) -> Process {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let url = url.to_string();
        let started = runtime.spawn(async move {
            let tasker = Tasker::connect(&url).await.unwrap();
            for (name, handler) in handlers {
                tasker.handle(name, handler);
            }
            Running::start(&tasker, settings)
        });
        soon("a process's start", started).await.unwrap();
        Process(Some(runtime))
    }

    /// Ends it here and now: nothing is settled, nothing is given back.
    pub fn kill(mut self) {
        self.0.take().unwrap().shutdown_background();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Settings for tests: a short lease.
pub fn lease(lease: Duration) -> Settings {
    Settings { lease, ..Settings::default() }
}

/// A closure as a handler.
pub fn does<F, Fut>(run: F) -> Arc<dyn Handler>
where
    F: Fn(Attempt) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Outcome, StepError>> + Send + 'static,
{
    struct Does<F>(F);
    impl<F, Fut> Handler for Does<F>
    where
        F: Fn(Attempt) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Outcome, StepError>> + Send + 'static,
    {
        fn run(&self, attempt: Attempt) -> BoxFuture<Result<Outcome, StepError>> {
            Box::pin(self.0(attempt))
        }
    }
    Arc::new(Does(run))
}

/// A handler that completes with `null` at once.
pub fn nothing() -> Arc<dyn Handler> {
    function(async |_: Context<Value>| Ok(()))
}

/// Where the attempts of a handler wait for what the test tells them to do.
pub struct Stage {
    entrances: mpsc::UnboundedReceiver<Actor>,
}

/// An attempt that waits.
pub struct Actor {
    /// What the handler was given.
    pub attempt: Attempt,
    answer: oneshot::Sender<Result<Outcome, StepError>>,
    exit: oneshot::Receiver<Moment>,
}

/// Tells when the handler's future ends, or is dropped.
struct Exit(Option<oneshot::Sender<Moment>>);

impl Drop for Exit {
    fn drop(&mut self) {
        if let Some(exit) = self.0.take() {
            let _ = exit.send(Utc::now());
        }
    }
}

impl Stage {
    /// A handler whose attempts come onto the stage.
    pub fn new() -> (Arc<dyn Handler>, Stage) {
        let (enter, entrances) = mpsc::unbounded_channel();
        let handler = does(move |attempt| {
            let (answer, answered) = oneshot::channel();
            let (exits, exit) = oneshot::channel();
            let exits = Exit(Some(exits));
            let _ = enter.send(Actor { attempt, answer, exit });
            async move {
                let _exits = exits;
                match answered.await {
                    Ok(answer) => answer,
                    Err(_) => std::future::pending().await,
                }
            }
        });
        (handler, Stage { entrances })
    }

    /// The next attempt that begins.
    pub async fn enters(&mut self) -> Actor {
        soon("an attempt's beginning", self.entrances.recv()).await.unwrap()
    }

    /// The next attempt that begins, which must be of the step with this name.
    pub async fn enters_as(&mut self, step: &str) -> Actor {
        let actor = self.enters().await;
        assert_eq!(&*actor.attempt.step_name, step);
        actor
    }

    /// An attempt that has begun already, if there is one.
    pub fn has_entered(&mut self) -> Option<Actor> {
        self.entrances.try_recv().ok()
    }
}

impl Actor {
    /// Ends the attempt.
    pub fn answers(self, answer: Result<Outcome, StepError>) {
        let _ = self.answer.send(answer);
    }

    /// Completes it with this JSON.
    pub fn completes(self, json: &str) {
        self.answers(Ok(Outcome::Complete(raw(json))));
    }

    /// Until it is told to stop.
    pub async fn is_told_to_stop(&self) {
        soon("the token of an attempt", self.attempt.cancellation.cancelled()).await;
    }

    /// Until its future is dropped. Gives when that was.
    pub async fn until_dropped(self) -> Moment {
        soon("the end of a handler's future", self.exit).await.unwrap()
    }
}

/// JSON as it is written, whether it can be stored or not.
pub fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_string()).unwrap()
}

impl TestDatabase {
    /// Connects as another process would.
    pub async fn tasker(&self) -> Tasker {
        Tasker::connect(&self.url()).await.unwrap()
    }

    /// Asks until the answer is yes: for what nobody tells.
    pub async fn until(&self, question: &str) {
        soon(question, async {
            while !self.value::<Option<bool>>(question).await.unwrap_or(false) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }

    /// Until a task is in this state.
    pub async fn until_task(&self, task: Uuid, state: &str) {
        self.until(&format!("select state = '{state}' from tasker.tasks where task_id = '{task}'")).await;
    }

    /// How the steps of a task ended, a line for each: name, state, attempts, and the last failure.
    pub async fn ends(&self, task: Uuid) -> String {
        let lines: Vec<String> = self
            .column(&format!(
                "select concat_ws(' ', s.name, s.state, s.attempts || '/' || s.retry_limit,
                   (select concat(h.error_kind, ': ', e.error) from tasker.workflow_step_transitions h
                    left join tasker.step_errors e on e.task_id = h.task_id and e.step_number = h.step_number and e.number = h.number
                    where h.task_id = s.task_id and h.step_number = s.step_number and h.error_kind is not null order by h.number desc limit 1))
                 from tasker.workflow_steps s where s.task_id = '{task}' order by s.step_number"
            ))
            .await;
        lines.join("\n")
    }

    /// A step's result, as it is stored.
    pub async fn result_of(&self, task: Uuid, step_number: i32) -> String {
        self.value(&format!(
            "select result::text from tasker.step_results where task_id = '{task}' and step_number = {step_number}"
        ))
        .await
    }
}
