//! The library's door.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use serde::{Serialize, de::DeserializeOwned};
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Error,
    context::TaskExecutionContext,
    engine::{self, Driven, Observer, Waker, Worker, WorkerOptions},
    events::{Cursor, Hub, Subscription},
    handlers::Handler,
    json,
    store::{NewTask, Store, Submission, Submitted, find_workflow, input_schema, submit},
    workflow::{Definition, InputSchema, Step, Workflow},
};

/// A database with Tasker's schema, and the handlers that this process has for it. Cheap to clone.
#[derive(Clone)]
pub struct Tasker {
    store: Store,
    wake: Waker,
    events: Hub,
    handlers: Arc<RwLock<BTreeMap<String, Arc<dyn Handler>>>>,
    inputs: Arc<RwLock<HashMap<i32, Option<Arc<InputSchema>>>>>,
    #[cfg(feature = "embedded")]
    embedded: Option<Arc<crate::embedded::Database>>,
}

/// How many workflows' input schemas are kept at hand.
const MAX_INPUTS: usize = 1000;
/// How long a question waits for a connection: who waits longer is told to come again.
const TURN: Duration = Duration::from_secs(5);
/// How many connections a process opens at most.
const CONNECTIONS: u32 = 8;

impl Tasker {
    /// Connects to a PostgreSQL server (14 or later) by its URL. The schema is not touched: see [`Tasker::migrate`].
    ///
    /// # Errors
    /// A URL that cannot be read, a server that refuses, one that does not answer within 30 s.
    pub async fn connect(url: &str) -> Result<Tasker, Error> {
        let options = Store::options(url)?;
        Ok(Tasker::over(Store::connect(options, CONNECTIONS, false).await?))
    }

    /// As [`Tasker::connect`], for whoever answers others' questions: the server ends a statement that takes longer than so long, and a connection is not waited
    /// for longer than 5 s while others use them all.
    ///
    /// # Errors
    /// As [`Tasker::connect`].
    pub async fn connect_with_timeout(url: &str, of_a_statement: Duration) -> Result<Tasker, Error> {
        let timeout = format!("{}ms", of_a_statement.as_millis());
        let options = Store::options(url)?.options([("statement_timeout", timeout)]);
        Ok(Tasker::over(Store::connect_with(options, CONNECTIONS, false, TURN).await?))
    }

    /// Opens the embedded PostgreSQL in a folder, making and migrating it if need be; one process at a time.
    ///
    /// # Errors
    /// Another process has the folder open, or it cannot be written.
    #[cfg(feature = "embedded")]
    pub async fn embedded(folder: impl AsRef<std::path::Path>) -> Result<Tasker, Error> {
        let (database, store) = crate::embedded::open(folder.as_ref()).await?;
        Ok(Tasker { embedded: Some(Arc::new(database)), ..Tasker::over(store) })
    }

    /// Whether an embedded database is in a folder.
    pub fn is_embedded(folder: impl AsRef<std::path::Path>) -> bool {
        folder.as_ref().join("postgres").is_dir()
    }

    fn over(store: Store) -> Tasker {
        Tasker {
            wake: Waker::new(store.clone()),
            events: Hub::default(),
            store,
            handlers: Arc::default(),
            inputs: Arc::default(),
            #[cfg(feature = "embedded")]
            embedded: None,
        }
    }

    /// The database behind it.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Closes the connections, and the embedded database where that is what it is.
    pub async fn close(self) {
        self.store.pool.close().await;
        #[cfg(feature = "embedded")]
        if let Some(database) = self.embedded.and_then(Arc::into_inner) {
            database.shut_down().await;
        }
    }

    /// Follows what happens after a cursor (`None`: from the beginning), to everything or to one task. As many as wanted: one reader a process asks the
    /// database, at most every 20 ms and at least every 200 ms.
    pub fn follow(&self, after: Option<Cursor>, task_id: Option<Uuid>) -> Subscription {
        self.events.follow(&self.store, &self.wake, after, task_id)
    }

    /// Brings the schema to this program's version.
    ///
    /// # Errors
    /// As [`Store::migrate`].
    pub async fn migrate(&self) -> Result<crate::store::MigrationReport, Error> {
        self.store.migrate().await
    }

    /// Adds a handler, under the name that nodes call it by; it replaces one of that name.
    pub fn handle(&self, name: impl Into<String>, handler: Arc<dyn Handler>) {
        self.handlers.write().unwrap_or_else(PoisonError::into_inner).insert(name.into(), handler);
    }

    /// Writes a workflow that was built in Rust, and adds its functions as handlers. Gives its `named_task_id`.
    ///
    /// # Errors
    /// A definition that is not valid (all its problems), or a version that has another content already.
    pub async fn register<I, S>(&self, workflow: &Workflow<I, S>) -> Result<i32, Error>
    where
        I: DeserializeOwned + Send + 'static,
        S: Clone + Send + Sync + 'static,
    {
        let id = self.store.register(&workflow.definition()?).await?;
        for (name, handler) in workflow.handlers() {
            self.handle(name, handler);
        }
        Ok(id)
    }

    /// Writes a valid definition. Gives its `named_task_id`.
    ///
    /// # Errors
    /// [`Error::Refused`] (`version_taken`): the version has another content; [`Error::Database`].
    pub async fn register_definition(&self, definition: &Definition) -> Result<i32, Error> {
        self.store.register(definition).await
    }

    /// Submits a task of a workflow (`namespace`, `name`). Workers start it at once.
    ///
    /// # Errors
    /// [`Error::Refused`] with a code: an unknown workflow or version (`unknown_workflow`), a used idempotency key with another body
    /// (`idempotency_key_reused`), a [`Submission`] out of its ranges; [`Error::Json`]: an input that is no JSON object of at most
    /// 1 MiB, or that the workflow's schema refuses; and the database's.
    pub async fn submit(
        &self,
        namespace: &str,
        name: &str,
        input: &impl Serialize,
        submission: Submission,
    ) -> Result<Submitted, Error> {
        let mut connection = self.store.pool.acquire().await?;
        let task = self.task_of(&mut connection, namespace, name, input, submission).await?;
        drop(connection);
        self.submit_one(task).await
    }

    /// Submits a task of a workflow that is written in this program: of its version, with an input of its type.
    ///
    /// # Errors
    /// As [`Tasker::submit`].
    pub async fn submit_workflow<I: Serialize, S>(
        &self,
        workflow: &Workflow<I, S>,
        input: &I,
        submission: Submission,
    ) -> Result<Submitted, Error> {
        let (namespace, name, version) = workflow.name();
        let submission = Submission { version: submission.version.or(Some(version.into())), ..submission };
        self.submit(namespace, name, input, submission).await
    }

    /// Submits a task of a known version.
    ///
    /// # Errors
    /// As [`Tasker::submit`].
    pub async fn submit_version(
        &self,
        named_task_id: i32,
        input: &impl Serialize,
        submission: Submission,
    ) -> Result<Submitted, Error> {
        let mut connection = self.store.pool.acquire().await?;
        let task = self.task_of_version(&mut connection, named_task_id, input, submission).await?;
        drop(connection);
        self.submit_one(task).await
    }

    /// An idle worker of this process submits it in its own next call, and starts it in the same.
    async fn submit_one(&self, task: NewTask) -> Result<Submitted, Error> {
        let task = Arc::new(task);
        if let Some(submitted) = self.wake.door.hand_in(&task).await {
            self.wake.wake_besides();
            return submitted;
        }
        let submitted = submit(&mut *self.store.pool.acquire().await?, &[&task]).await?;
        self.wake();
        submitted.into_iter().next().ok_or(Error::Database(sqlx::Error::RowNotFound))
    }

    /// Submits many tasks of one known version in one call, which takes all of them or none.
    ///
    /// # Errors
    /// As [`Tasker::submit`], of the first task that is refused; then none is taken.
    pub async fn submit_many(
        &self,
        named_task_id: i32,
        inputs: Vec<(serde_json::Value, Submission)>,
    ) -> Result<Vec<Submitted>, Error> {
        let mut connection = self.store.pool.acquire().await?;
        let mut tasks = Vec::with_capacity(inputs.len());
        for (input, submission) in inputs {
            tasks.push(self.task_of_version(&mut connection, named_task_id, &input, submission).await?);
        }
        let submitted = submit(&mut connection, &tasks.iter().collect::<Vec<_>>()).await?;
        self.wake();
        Ok(submitted)
    }

    /// Submits a task in the caller's own transaction: it commits with it, or leaves nothing. Workers find it within
    /// their poll interval after the commit, or at once with [`Tasker::wake`].
    ///
    /// # Errors
    /// As [`Tasker::submit`]. After one of the database's the transaction can only be rolled back.
    pub async fn submit_in(
        &self,
        transaction: &mut PgConnection,
        namespace: &str,
        name: &str,
        input: &impl Serialize,
        submission: Submission,
    ) -> Result<Submitted, Error> {
        let task = self.task_of(transaction, namespace, name, input, submission).await?;
        let submitted = submit(transaction, &[&task]).await?;
        submitted.into_iter().next().ok_or(Error::Database(sqlx::Error::RowNotFound))
    }

    /// Tells workers, here and elsewhere, to look for work now. A hint: without it they look within their poll interval.
    pub fn wake(&self) {
        self.wake.wake();
    }

    /// A worker with this process's handlers.
    pub fn worker(&self, options: WorkerOptions) -> Worker {
        Worker { store: self.store.clone(), handlers: self.served(), wake: self.wake.clone(), options }
    }

    /// Runs one task to its end, in this process, with this process's handlers.
    ///
    /// # Errors
    /// An unknown task; a database that is away for longer than half a minute.
    pub async fn drive(
        &self,
        task_id: Uuid,
        options: WorkerOptions,
        observer: Option<Observer>,
        stop: CancellationToken,
    ) -> Result<Driven, Error> {
        engine::drive(self.store.clone(), self.served(), options, self.wake.clone(), task_id, observer, stop).await
    }

    /// Waits until a task has ended, or goes on only when a person acts (it is paused, or what stays to do waits for a dead step):
    /// wherever its workers are. Asks the database when a worker of this process has handed in what may be the end, and besides every 10 ms to
    /// 1 s, less often the longer it takes; [`tokio::time::timeout`] ends it.
    ///
    /// # Errors
    /// [`Error::Refused`] (`unknown_task`), [`Error::Database`].
    pub async fn wait(&self, task_id: Uuid) -> Result<TaskExecutionContext, Error> {
        let begun = Instant::now();
        let mut waiting = self.wake.waiters.enter(task_id);
        loop {
            let goes_on = self.store.goes_on(task_id).await?.ok_or_else(|| Error::Refused {
                code: "unknown_task".into(),
                message: format!("there is no task {task_id}"),
            })?;
            if !goes_on
                && let Some(context) = TaskExecutionContext::find(&self.store, task_id).await?.filter(|c| c.rests())
            {
                return Ok(context);
            }
            let at_most = (begun.elapsed() / 10).clamp(Duration::from_millis(10), Duration::from_secs(1));
            let _ = tokio::time::timeout(at_most, waiting.told()).await;
        }
    }

    /// A step's result; `None`: it has none, yet or for good.
    ///
    /// # Errors
    /// [`Error::Json`]: it is no `T`, being given by hand, or by another version; [`Error::Database`].
    pub async fn result<T: DeserializeOwned>(&self, task_id: Uuid, step: Step<T>) -> Result<Option<T>, Error> {
        let what = || format!("the result of `{}`", step.name());
        let result = self.store.result(task_id, step.name()).await?;
        let read = |text: String| {
            serde_json::from_str(&text).map_err(|e| Error::Json { what: what(), message: e.to_string() })
        };
        result.map(read).transpose()
    }

    /// What a loop over this database needs.
    pub(crate) fn parts(&self) -> (BTreeMap<String, Arc<dyn Handler>>, Waker) {
        (self.served(), self.wake.clone())
    }

    fn served(&self) -> BTreeMap<String, Arc<dyn Handler>> {
        self.handlers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn task_of(
        &self,
        connection: &mut PgConnection,
        namespace: &str,
        name: &str,
        input: &impl Serialize,
        submission: Submission,
    ) -> Result<NewTask, Error> {
        let id = find_workflow(connection, namespace, name, submission.version.as_deref()).await?;
        let asked = serde_json::json!(submission.version);
        self.new_task(connection, id, asked, input, submission).await
    }

    async fn task_of_version(
        &self,
        connection: &mut PgConnection,
        named_task_id: i32,
        input: &impl Serialize,
        submission: Submission,
    ) -> Result<NewTask, Error> {
        if submission.version.is_some() {
            let message = "the workflow's id names its version already: leave the submission's out".into();
            return Err(Error::Refused { code: "bad_version".into(), message });
        }
        self.new_task(connection, named_task_id, named_task_id.into(), input, submission).await
    }

    /// A task whose input is checked against the workflow's schema, with its defaults. `asked`: the version as the caller named it.
    async fn new_task(
        &self,
        connection: &mut PgConnection,
        named_task_id: i32,
        asked: serde_json::Value,
        input: &impl Serialize,
        submission: Submission,
    ) -> Result<NewTask, Error> {
        let refused = |message: String| Error::Json { what: "the input".into(), message };
        let input = json::encode(input).map_err(|e| refused(e.to_string()))?;
        if !input.get().starts_with('{') {
            return Err(refused("it must be a JSON object".into()));
        }
        submission.check()?;
        let asked = format!("[{asked}, {}]", input.get());
        let known = self.inputs.read().unwrap_or_else(PoisonError::into_inner).get(&named_task_id).cloned();
        let schema = match known {
            Some(schema) => schema,
            None => {
                let schema = input_schema(connection, named_task_id).await?.map(Arc::new);
                let mut inputs = self.inputs.write().unwrap_or_else(PoisonError::into_inner);
                if inputs.len() >= MAX_INPUTS {
                    inputs.clear();
                }
                inputs.insert(named_task_id, schema.clone());
                schema
            }
        };
        let context = match schema {
            None => input.get().to_string(),
            Some(schema) => {
                let input = serde_json::from_str(input.get()).map_err(|e| refused(e.to_string()))?;
                schema.complete(&input).map_err(|problems| refused(problems.join("; ")))?.to_string()
            }
        };
        Ok(NewTask { named_task_id, context, asked, submission })
    }
}
