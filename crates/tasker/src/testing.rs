//! For tests of an application's own workflows: a database for each test, whose clock stands still until it is moved, handlers that
//! are played, and pictures of how a task stands.
//!
//! ```no_run
//! use std::time::Duration;
//! use tasker::{Outcome, StepError, Submission, testing::TestDatabase};
//! # async fn test(fulfil_order: tasker::workflow::Workflow) -> Result<(), tasker::Error> {
//! let db = TestDatabase::new().await?;
//! db.tasker().register(&fulfil_order).await?;
//! let charge = db.fake("shop.fulfil_order.charge", |attempt| match attempt.number {
//!     1 => Err(StepError::new("the bank is closed")),
//!     _ => Outcome::complete(&42),
//! });
//!
//! let order = serde_json::json!({ "item": "teapot" });
//! let task = db.tasker().submit("shop", "fulfil_order", &order, Submission::default()).await?.task_id;
//! db.run_until_idle().await?;
//! db.assert_steps(task, "
//!     charge failed 1/3 waiting_for_retry
//!     ship pending 0/3 dependencies_not_satisfied
//! ").await?;
//!
//! db.pass(Duration::from_secs(60)).await?; // nobody waits: the clock jumps from one instant to the next
//! db.assert_steps(task, "
//!     charge complete 2/3
//!     ship complete 1/3
//! ").await?;
//! assert_eq!(charge.attempts().len(), 2);
//! db.close().await
//! # }
//! ```
//!
//! The database is on the server that `TASKER_TEST_DATABASE_URL` names (its user may create databases), or, where there is none and the
//! crate's feature `embedded` is on, one inside the process.

use std::{
    env,
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use sqlx::{ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use uuid::Uuid;

use crate::{
    Attempt, Error, Outcome, Settings, StepError, Tasker,
    engine::run_until,
    handlers::{BoxFuture, Handler},
    readiness::StepState,
    store::{Steps, Store, WorkflowStep},
};

/// The variable that names a server for tests.
const SERVER: &str = "TASKER_TEST_DATABASE_URL";

/// A migrated database of a test's own. Its clock begins at the present second, and stands still.
pub struct TestDatabase {
    tasker: Tasker,
    /// A database of this name on a server, to be dropped.
    made: Option<(PgConnectOptions, String)>,
    /// Of the one inside the process.
    _folder: Option<tempfile::TempDir>,
}

impl TestDatabase {
    /// On the server that `TASKER_TEST_DATABASE_URL` names, or inside the process.
    ///
    /// # Errors
    /// No server is named and there is no feature `embedded`; the server cannot be reached, or its user may not create databases.
    pub async fn new() -> Result<TestDatabase, Error> {
        match env::var(SERVER) {
            Ok(url) if !url.is_empty() => TestDatabase::on_server(&url).await,
            _ => TestDatabase::in_process().await,
        }
    }

    /// A new database on this server.
    ///
    /// # Errors
    /// As [`TestDatabase::new`].
    pub async fn on_server(url: &str) -> Result<TestDatabase, Error> {
        let server = Store::options(url)?;
        let name = format!("tasker_test_{}", Uuid::new_v4().simple());
        let mut admin = server.connect().await?;
        Store::create_database(&mut admin, &name).await?;
        admin.close().await?;
        let url = server.clone().database(&name).to_url_lossy();
        TestDatabase::over(Tasker::connect(url.as_str()).await?, Some((server, name)), None).await
    }

    #[cfg(feature = "embedded")]
    /// Inside the process, in a temporary folder.
    ///
    /// # Errors
    /// There is no feature `embedded`.
    pub async fn in_process() -> Result<TestDatabase, Error> {
        let folder = tempfile::tempdir().map_err(|e| Error::Embedded(format!("cannot make a folder: {e}")))?;
        let tasker = Tasker::embedded(folder.path()).await?;
        TestDatabase::over(tasker, None, Some(folder)).await
    }

    #[cfg(not(feature = "embedded"))]
    /// Inside the process, in a temporary folder.
    ///
    /// # Errors
    /// There is no feature `embedded`.
    pub async fn in_process() -> Result<TestDatabase, Error> {
        Err(Error::Embedded(format!("{SERVER} names no PostgreSQL server, and the feature `embedded` is off")))
    }

    async fn over(
        tasker: Tasker,
        made: Option<(PgConnectOptions, String)>,
        folder: Option<tempfile::TempDir>,
    ) -> Result<TestDatabase, Error> {
        let db = TestDatabase { tasker, made, _folder: folder };
        db.tasker.migrate().await?;
        db.tasker.store().hold_clock(Utc::now().trunc_subsecs(0)).await?;
        Ok(db)
    }

    /// The door: register workflows, add handlers, submit.
    pub fn tasker(&self) -> &Tasker {
        &self.tasker
    }

    /// The time by the database's clock.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn now(&self) -> Result<DateTime<Utc>, Error> {
        self.tasker.store().clock().await
    }

    /// Moves the clock on, and runs nothing.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn advance(&self, by: Duration) -> Result<(), Error> {
        self.tasker.store().set_clock(self.now().await? + delta(by)).await
    }

    /// Moves the clock anywhere, backwards too, and runs nothing.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn set_clock(&self, at: DateTime<Utc>) -> Result<(), Error> {
        self.tasker.store().set_clock(at).await
    }

    /// Runs, by this process's handlers, everything that is due and what follows from it, until nothing is due. Steps of other
    /// handlers stay as they are.
    ///
    /// # Errors
    /// [`Error::Database`]; a schema that is not this program's.
    pub async fn run_until_idle(&self) -> Result<(), Error> {
        self.run(None).await
    }

    /// Lets time pass: whatever becomes due in between (retries, timers, deadlines, expired leases) happens at its instant.
    ///
    /// # Errors
    /// [`Error::Database`]; a schema that is not this program's.
    pub async fn pass(&self, time: Duration) -> Result<(), Error> {
        let until = self.now().await? + delta(time);
        self.run(Some(until)).await
    }

    async fn run(&self, until: Option<DateTime<Utc>>) -> Result<(), Error> {
        let (handlers, wake) = self.tasker.parts();
        run_until(self.tasker.store().clone(), handlers, Settings::default(), wake, until).await
    }

    /// Plays a handler, in the place of one of that name: every attempt is answered by this function, and remembered.
    pub fn fake<F>(&self, name: &str, answer: F) -> Fake
    where
        F: Fn(&Attempt) -> Result<Outcome, StepError> + Send + Sync + 'static,
    {
        let fake = Fake::default();
        self.tasker.handle(name, Arc::new(Played { answer, attempts: fake.0.clone() }));
        fake
    }

    /// How each step of a task stands, a line each: name, state, attempts of how many, and why it may not run now.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn steps(&self, task_id: Uuid) -> Result<String, Error> {
        let lines: Vec<String> = self.items(task_id).await?.iter().map(line).collect();
        Ok(lines.join("\n"))
    }

    /// Compares that with what is expected; indentation does not count.
    ///
    /// # Panics
    /// Where it differs, with the [picture](TestDatabase::picture).
    ///
    /// # Errors
    /// [`Error::Database`].
    #[track_caller]
    pub fn assert_steps(&self, task_id: Uuid, expected: &str) -> impl Future<Output = Result<(), Error>> {
        let caller = std::panic::Location::caller();
        let expected: Vec<String> =
            expected.lines().map(|line| line.trim().to_string()).filter(|line| !line.is_empty()).collect();
        async move {
            let found: Vec<String> = self.items(task_id).await?.iter().map(line).collect();
            if found == expected {
                return Ok(());
            }
            let picture = self.picture(task_id).await?;
            panic!(
                "{caller}: the steps stand otherwise than expected\nexpected:\n    {}\nfound:\n{picture}",
                expected.join("\n    ")
            );
        }
    }

    /// How a task stands, to look at: each step with its state, its attempts, what it waits for and until when, and its last error.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn picture(&self, task_id: Uuid) -> Result<String, Error> {
        let now = self.now().await?;
        let mut picture = String::new();
        for item in self.items(task_id).await? {
            let _ = write!(picture, "    {}", line(&item));
            if let Some(at) = item.next_retry_at.filter(|at| *at > now) {
                let left = crate::duration::format((at - now).to_std().unwrap_or_default());
                let _ = write!(picture, ", due in {left}");
            }
            if let Some(kind) = &item.error_kind {
                let _ = write!(picture, ", {kind}: {}", item.error.as_deref().unwrap_or_default());
            }
            picture.push('\n');
        }
        let _ = write!(picture, "    at {now}");
        Ok(picture)
    }

    async fn items(&self, task_id: Uuid) -> Result<Vec<WorkflowStep>, Error> {
        self.tasker.store().workflow_steps(task_id, Steps::From(0, i32::MAX), false).await
    }

    /// Drops the database.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn close(mut self) -> Result<(), Error> {
        self.tasker.clone().close().await;
        match self.made.take() {
            Some((server, name)) => drop_database(server, name).await,
            None => Ok(()),
        }
    }
}

impl Drop for TestDatabase {
    /// A test that fails leaves no database behind either.
    fn drop(&mut self) {
        let Some((server, name)) = self.made.take() else { return };
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(drop_database(server, name)).map_err(std::io::Error::other)
        });
        let _ = dropping.join();
    }
}

async fn drop_database(server: PgConnectOptions, name: String) -> Result<(), Error> {
    let mut admin: PgConnection = server.connect().await?;
    Store::drop_database(&mut admin, &name).await
}

/// `charge failed 1/3 waiting_for_retry`.
fn line(item: &WorkflowStep) -> String {
    let waits = matches!(item.current_state, StepState::Pending | StepState::Failed);
    let reason = item.blocking_reason.as_deref().filter(|_| waits).unwrap_or_default();
    let line = format!("{} {} {}/{} {reason}", item.name, item.current_state.as_str(), item.attempts, item.retry_limit);
    line.trim_end().to_string()
}

fn delta(time: Duration) -> TimeDelta {
    TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX)
}

/// A handler that is played: what it was asked.
#[derive(Clone, Default)]
pub struct Fake(Arc<Mutex<Vec<Attempt>>>);

impl Fake {
    /// Every attempt so far, in the order in which they began.
    pub fn attempts(&self) -> Vec<Attempt> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Played<F> {
    answer: F,
    attempts: Arc<Mutex<Vec<Attempt>>>,
}

impl<F> Handler for Played<F>
where
    F: Fn(&Attempt) -> Result<Outcome, StepError> + Send + Sync + 'static,
{
    fn run(&self, attempt: Attempt) -> BoxFuture<Result<Outcome, StepError>> {
        let answer = (self.answer)(&attempt);
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).push(attempt);
        Box::pin(async move { answer })
    }
}
