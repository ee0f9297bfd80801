//! The only module that speaks SQL. Everything else asks it in the domain's words.
//!
//! A verb is one function call; what it means is in its file under `sql/functions/`.
//!
//! Arrays that a query is given stand in a subquery, `unnest((select $1::uuid[]))`: a planner that can count them believes that a plan
//! for so many is cheaper than one for any number, and plans a view anew in each call, which takes longer than to read it.

mod access;
mod clock;
mod doctor;
mod events;
mod exchange;
mod line;
mod lists;
mod named_tasks;
mod positions;
mod schema;
mod steps;
mod tasks;
mod workflows;

use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::{
    ConnectOptions, Connection, FromRow, PgConnection, PgPool, Postgres, Row,
    postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow},
    query::QueryAs,
};
use uuid::Uuid;

pub use access::AuditRecord;
pub use doctor::{Examination, Finding};
pub use events::History;
pub use exchange::{Answer, Beat, Claimed, Exchanged, Released, Settlement, Verdict};
pub(crate) use line::Line;
pub use lists::{BulkReport, TaskFilter, TaskListItem, TaskVerb};
pub use named_tasks::{Graph, GraphNode, NamedStep, NamedTask, NamedTaskGraph};
pub(crate) use positions::Positions;
pub use schema::{MigrationReport, SCHEMA_VERSION};
pub use steps::{Cause, StepPage, StepVerb, Steps, WorkflowStep, WorkflowStepAttempt};
pub use tasks::{ByHand, Submission, Submitted};
pub(crate) use tasks::{NewTask, submit};
pub(crate) use workflows::{LoadedWorkflow, find_workflow, input_schema};

use crate::Error;

/// A pool of connections, and whether it is the embedded database's only one.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) pool: PgPool,
    /// How to reach the server; `None`: the embedded database, with its one connection.
    pub(crate) server: Option<PgConnectOptions>,
    /// Who sends wake-ups: a listener knows its own process's, which it has had already.
    pub(crate) process_id: Uuid,
}

/// Where a server is asked for.
fn server(options: &PgConnectOptions) -> String {
    match options.get_socket() {
        Some(folder) => folder.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    }
}

/// How long a connection is waited for; the embedded database's only one, which all share, longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// A connection that lay idle for longer is asked before it is used: a round trip, and no error for the caller.
const IDLE_AND_TRUSTED: Duration = Duration::from_secs(1);
/// How long it may take to answer.
const PING: Duration = Duration::from_secs(2);

impl Store {
    /// Reads a server's URL.
    pub(crate) fn options(url: &str) -> Result<PgConnectOptions, Error> {
        // the driver takes any scheme for its own
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(Error::DatabaseUrl("it begins neither with postgres:// nor with postgresql://".into()));
        }
        url.parse().map_err(|error| match error {
            sqlx::Error::Configuration(why) => Error::DatabaseUrl(why.to_string()),
            error => error.into(),
        })
    }

    /// Opens a pool. `connections`: the greatest number of connections, at least 1.
    ///
    /// # Errors
    /// A server that refuses, at once; one that does not answer, after 30 s.
    pub async fn connect(options: PgConnectOptions, connections: u32, single: bool) -> Result<Store, Error> {
        let patience = if single { PATIENCE * 20 } else { PATIENCE };
        Store::connect_with(options, connections, single, patience).await
    }

    /// The same; `patience`: how long a connection is waited for while others use them all.
    pub(crate) async fn connect_with(
        options: PgConnectOptions,
        connections: u32,
        single: bool,
        patience: Duration,
    ) -> Result<Store, Error> {
        let options = options.application_name("tasker");
        if !single {
            // a pool tries again until its patience ends, and then does not say why
            let first = match tokio::time::timeout(PATIENCE, options.connect()).await {
                Ok(Err(sqlx::Error::Io(source))) => {
                    return Err(Error::Unreachable { server: server(&options), source });
                }
                Ok(first) => first.map_err(Error::from)?,
                Err(_) => {
                    let silent = std::io::Error::new(
                        std::io::ErrorKind::TimedOut,
                        format!("it gave no answer within {PATIENCE:?}"),
                    );
                    return Err(Error::Unreachable { server: server(&options), source: silent });
                }
            };
            refuse_pooler(first, options.connect().await?).await?;
        }
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .test_before_acquire(false)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    // compiling a view of a large task takes longer than reading it
                    sqlx::query("set jit = off").execute(connection).await.map(drop)
                })
            })
            .before_acquire(move |connection, known| {
                Box::pin(async move {
                    // what lay idle may be dead, or silent for ever (the embedded one never is)
                    if !single && known.idle_for > IDLE_AND_TRUSTED {
                        return match tokio::time::timeout(PING, connection.ping()).await {
                            Ok(answer) => answer.map(|()| true),
                            Err(silent) => Err(sqlx::Error::Io(silent.into())),
                        };
                    }
                    Ok(true)
                })
            })
            .acquire_timeout(patience)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.clone())
            .await?;
        Ok(Store { pool, server: (!single).then_some(options), process_id: Uuid::new_v4() })
    }

    /// The pool, for an application that shares it.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Whether there is one connection only: the embedded database's.
    pub fn is_single(&self) -> bool {
        self.server.is_none()
    }

    /// To ask now and then whether the database answers.
    pub fn pulse(&self) -> Pulse {
        Pulse(Line::new(self.clone()))
    }

    /// Tells sleeping workers in other processes to look for work now; to be called after the commit.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn wake(&self) -> Result<(), Error> {
        sqlx::query("select tasker.wake($1)").bind(self.process_id.to_string()).execute(&self.pool).await?;
        Ok(())
    }

    /// Where to LISTEN for wake-ups; `None` on the embedded database, whose wake-ups stay in the process.
    pub(crate) async fn listener(&self) -> Result<Option<sqlx::postgres::PgListener>, Error> {
        let Some(options) = &self.server else { return Ok(None) };
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(Duration::from_secs(5))
            .connect_with(options.clone())
            .await?;
        let mut listener = sqlx::postgres::PgListener::connect_with(&pool).await?;
        listener.ignore_pool_close_event(true);
        listener.listen("tasker_wake").await?;
        Ok(Some(listener))
    }
}

/// Asks whether a database answers, over a connection of its own: a pool whose connections are all busy is no dead database.
pub struct Pulse(Line);

impl Pulse {
    /// Whether it answers within this time; the embedded database always does, if late.
    pub async fn answers(&mut self, within: Duration) -> bool {
        let asked = async |connection: &mut PgConnection| Ok(sqlx::query("select 1").execute(connection).await?);
        let answers = self.0.call(within, asked).await.is_ok();
        if !answers {
            self.0.broken();
        }
        answers
    }
}

/// How often two sessions are compared.
const COMPARISONS: usize = 3;

/// Refuses where two sessions that are open at once are one for the server: a pooler gives its own away after each transaction. Asked
/// without prepared statements, which such a pooler mixes up.
async fn refuse_pooler(mut one: PgConnection, mut other: PgConnection) -> Result<(), Error> {
    async fn backend(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
        sqlx::raw_sql("select pg_backend_pid()").fetch_one(connection).await?.try_get_unchecked(0)
    }
    for _ in 0..COMPARISONS {
        if backend(&mut one).await? == backend(&mut other).await? {
            return Err(Error::Pooler);
        }
    }
    one.close().await?;
    other.close().await?;
    Ok(())
}

/// Calls a verb; again, a few times, where the database gave it up for the sake of another transaction (a serialisation
/// failure, a deadlock): nothing was changed.
pub(crate) async fn again<T, F>(call: impl Fn() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, sqlx::Error>>,
{
    for pause in [10, 30, 100, 300] {
        match call().await {
            Err(sqlx::Error::Database(error)) if matches!(error.code().as_deref(), Some("40001" | "40P01")) => {
                let jitter = u64::from(Uuid::new_v4().as_bytes()[0]);
                tokio::time::sleep(Duration::from_millis(pause / 2 + pause * jitter / 255)).await;
            }
            answer => return Ok(answer?),
        }
    }
    Ok(call().await?)
}

/// How many bytes of inputs, of results or of errors are read at once for an answer that gathers those of many tasks or steps.
const MAX_GATHERED: usize = 32 << 20;

impl Store {
    /// Rows, until they have more than so many bytes; and whether that was so. The rest of the answer is not read: the connection is given up.
    async fn until<T>(
        &self,
        query: QueryAs<'_, Postgres, T, PgArguments>,
        at_most: usize,
        bytes: impl Fn(&T) -> usize,
    ) -> Result<(Vec<T>, bool), Error>
    where
        T: Send + Unpin + for<'r> FromRow<'r, PgRow>,
    {
        let mut connection = self.pool.acquire().await?;
        let (mut rows, mut size) = (Vec::new(), 0);
        {
            let mut answer = query.fetch(&mut *connection);
            while size <= at_most
                && let Some(row) = answer.try_next().await?
            {
                size += bytes(&row);
                rows.push(row);
            }
        }
        if size > at_most && !self.is_single() {
            connection.close_on_drop();
        }
        Ok((rows, size > at_most))
    }

    /// Rows for an answer that gathers those of many tasks or steps.
    async fn gather<T>(
        &self,
        query: QueryAs<'_, Postgres, T, PgArguments>,
        bytes: impl Fn(&T) -> usize,
    ) -> Result<Vec<T>, Error>
    where
        T: Send + Unpin + for<'r> FromRow<'r, PgRow>,
    {
        let (rows, is_cut) = self.until(query, MAX_GATHERED, bytes).await?;
        if is_cut {
            let message = format!("this is more than {} MiB: ask for fewer at once", MAX_GATHERED >> 20);
            return Err(Error::Refused { code: "too_many".into(), message });
        }
        Ok(rows)
    }
}

/// Asks a listener's own session whether it still listens.
pub(crate) async fn listens(listener: &mut sqlx::postgres::PgListener) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("select exists (select from pg_listening_channels() c where c = 'tasker_wake')")
        .fetch_one(listener)
        .await
}
