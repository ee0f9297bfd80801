//! A migrated database, ours alone, whose clock stands still until it is moved.

use std::ops::Deref;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{ConnectOptions, PgConnection, postgres::PgConnectOptions};
use tasker::store::Store;

/// An instant by the database's clock.
pub type Moment = DateTime<Utc>;

/// Long after any real clock, so that whoever asks another clock is found out.
const BEGINNING: &str = "2100-01-01T00:00:00Z";

/// A migrated database. It is made, questioned and dropped by those who give it to a test.
pub struct TestDatabase {
    store: Store,
    /// Where further sessions connect to; `None` on the embedded database, which has one connection only.
    server: Option<PgConnectOptions>,
}

impl Deref for TestDatabase {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl TestDatabase {
    /// A worker's heartbeat.
    pub async fn heartbeat(
        &self,
        worker_id: uuid::Uuid,
        claims: &[(uuid::Uuid, i32, uuid::Uuid)],
        lease: std::time::Duration,
    ) -> Result<Vec<tasker::store::Beat>, tasker::Error> {
        let mut connection = self.pool().acquire().await?;
        tasker::store::Store::heartbeat(&mut connection, worker_id, claims, lease).await
    }

    pub(super) fn new(store: Store, server: Option<PgConnectOptions>) -> TestDatabase {
        TestDatabase { store, server }
    }

    /// The embedded database, which many tests share one after the other.
    #[cfg(feature = "embedded")]
    pub fn embedded(store: Store) -> TestDatabase {
        TestDatabase { store, server: None }
    }

    /// Empties it, and holds its clock at the beginning of time.
    #[cfg(feature = "embedded")]
    pub async fn begin_anew(&self) {
        let tables: String = self
            .value("select string_agg(c.oid::regclass::text, ', ') from pg_class c where c.relnamespace = 'tasker'::regnamespace and c.relkind = 'r' and c.relname !~ '^schema_'")
            .await;
        self.run(&format!("truncate {tables}")).await;
        self.hold_the_clock().await;
    }

    /// Everything in it that breaks a promise.
    #[cfg(feature = "embedded")]
    pub async fn violations(&self) -> Vec<String> {
        super::invariants::violations(&mut self.pool().acquire().await.unwrap()).await
    }

    /// The URL of this database, for those who connect by themselves.
    pub fn url(&self) -> String {
        self.server.as_ref().expect("the embedded database has no URL").to_url_lossy().to_string()
    }

    /// How to reach it.
    pub fn options(&self) -> &PgConnectOptions {
        self.server.as_ref().expect("the embedded database is reached through its store only")
    }

    /// A session of its own, for tests in which two meet.
    pub async fn session(&self) -> PgConnection {
        self.server.as_ref().expect("the embedded database has one session only").connect().await.unwrap()
    }

    /// A pool of its own over the same database, as another process has one.
    pub async fn another_store(&self) -> Store {
        let options = self.server.clone().expect("the embedded database has one session only");
        Store::connect(options, 2, false).await.unwrap()
    }

    /// Runs statements as they are.
    pub async fn run(&self, sql: &str) {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        sqlx::raw_sql(sql).execute(self.pool()).await.unwrap_or_else(|error| panic!("{error}"));
    }

    /// The only value of a query's only row.
    pub async fn value<T>(&self, sql: &str) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        let query = sqlx::query_scalar(sqlx::AssertSqlSafe(sql.to_owned()));
        query.fetch_one(self.pool()).await.unwrap_or_else(|error| panic!("{error}\n{sql}"))
    }

    /// The values of a query's only column.
    pub async fn column<T>(&self, sql: &str) -> Vec<T>
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        let query = sqlx::query_scalar(sqlx::AssertSqlSafe(sql.to_owned()));
        query.fetch_all(self.pool()).await.unwrap_or_else(|error| panic!("{error}\n{sql}"))
    }

    /// Makes the clock stand still from now on, at its beginning.
    pub async fn hold_the_clock(&self) {
        self.store.hold_clock(BEGINNING.parse().unwrap()).await.unwrap();
    }

    /// The time by the database's clock, be it held or not.
    pub async fn now(&self) -> Moment {
        self.value("select tasker.clock()").await
    }

    /// Whether the clock stands still.
    pub async fn is_held(&self) -> bool {
        self.value("select to_regclass('tasker_test.clock') is not null").await
    }

    /// A pool of one session with further settings.
    pub async fn store_with(&self, settings: &[(&str, &str)]) -> Store {
        let options = self.server.clone().expect("the embedded database has one session only");
        Store::connect(options.options(settings.iter().copied()), 1, false).await.unwrap()
    }

    /// Moves the clock on: `5s`, `1h30m`.
    pub async fn advance(&self, by: &str) {
        self.set_clock(self.now().await + delta(by)).await;
    }

    /// Moves the clock anywhere, backwards too.
    pub async fn set_clock(&self, at: Moment) {
        self.store.set_clock(at).await.unwrap();
    }
}

/// A duration as workflow files write it.
pub(super) fn delta(text: &str) -> TimeDelta {
    let duration = tasker::duration::parse(text).unwrap_or_else(|error| panic!("{error}"));
    TimeDelta::from_std(duration).unwrap()
}
