//! A clock that stands still until it is moved, for tests: every view and every verb asks it.

use chrono::{DateTime, Utc};

use sqlx::{AssertSqlSafe, PgConnection};

use super::Store;
use crate::Error;

/// Takes the place of the functions by which every view and every verb asks for the time.
const HELD: &str = "
    create schema if not exists tasker_test;
    create table if not exists tasker_test.clock (at timestamptz not null);
    truncate tasker_test.clock;
    insert into tasker_test.clock values (now());
    create or replace function tasker.now() returns timestamptz language sql stable parallel safe return (select at from tasker_test.clock);
    create or replace function tasker.clock() returns timestamptz language sql volatile return (select at from tasker_test.clock);";

impl Store {
    /// Holds the database's clock at an instant. For tests: nothing makes it run again.
    ///
    /// # Errors
    /// [`Error::Database`]: its user may not replace the schema's function `clock`, say.
    pub async fn hold_clock(&self, at: DateTime<Utc>) -> Result<(), Error> {
        sqlx::raw_sql(HELD).execute(&self.pool).await?;
        self.set_clock(at).await
    }

    /// Moves a clock that is [held](Store::hold_clock), backwards too.
    ///
    /// # Errors
    /// [`Error::Database`], where the clock is not held, too.
    pub async fn set_clock(&self, at: DateTime<Utc>) -> Result<(), Error> {
        sqlx::query("update tasker_test.clock set at = $1").bind(at).execute(&self.pool).await?;
        Ok(())
    }

    /// The time by the database's clock.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn clock(&self) -> Result<DateTime<Utc>, Error> {
        Ok(sqlx::query_scalar("select tasker.clock()").fetch_one(&self.pool).await?)
    }

    /// Makes an empty database. Its name is a test's own: letters, digits and `_`.
    pub(crate) async fn create_database(admin: &mut PgConnection, name: &str) -> Result<(), Error> {
        sqlx::raw_sql(AssertSqlSafe(format!("create database {name} template template0"))).execute(admin).await?;
        Ok(())
    }

    /// Drops it, whoever is in it.
    pub(crate) async fn drop_database(admin: &mut PgConnection, name: &str) -> Result<(), Error> {
        sqlx::raw_sql(AssertSqlSafe(format!("drop database if exists {name} with (force)"))).execute(admin).await?;
        Ok(())
    }

    /// The next instant at which something happens by itself: a step is due, a lease expires, a deadline passes.
    pub(crate) async fn next_instant(&self) -> Result<Option<DateTime<Utc>>, Error> {
        Ok(sqlx::query_scalar(
            "select least(
               (select min(r.queue_at) from tasker.ready_steps r where r.queue_at > tasker.clock()),
               (select min(l.lease_expires_at) + interval '1 ms' from tasker.leases l where l.lease_expires_at >= tasker.clock()),
               (select min(d.deadline) + interval '1 ms' from tasker.task_deadlines d where d.deadline >= tasker.clock()))",
        )
        .fetch_one(&self.pool)
        .await?)
    }
}
