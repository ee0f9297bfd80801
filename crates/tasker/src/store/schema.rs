//! Bringing a database to this program's schema: tables by numbered migrations (their history), views and functions
//! replaced from their files (the present).

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};

use super::Store;
use crate::Error;

/// The newest migration that this program knows.
pub const SCHEMA_VERSION: i32 = MIGRATIONS.len() as i32;

/// Tables: number n is the n-th.
const MIGRATIONS: &[(&str, &str)] = &[
    ("tables", include_str!("../../migrations/0001_tables.sql")),
    ("one_check_a_row", include_str!("../../migrations/0002_one_check_a_row.sql")),
    ("tasks_that_need_somebody", include_str!("../../migrations/0003_tasks_that_need_somebody.sql")),
    ("only_parents", include_str!("../../migrations/0004_only_parents.sql")),
    ("event_epochs", include_str!("../../migrations/0005_event_epochs.sql")),
    ("api_keys", include_str!("../../migrations/0006_api_keys.sql")),
    ("acted_deadlines", include_str!("../../migrations/0007_acted_deadlines.sql")),
    ("limits_of_named_steps", include_str!("../../migrations/0008_limits_of_named_steps.sql")),
    ("neighbours", include_str!("../../migrations/0009_neighbours.sql")),
];

/// Views and functions in the order in which they can be created.
const OBJECTS: &[&str] = &[
    include_str!("../../sql/functions/now.sql"),
    include_str!("../../sql/functions/clock.sql"),
    include_str!("../../sql/functions/uuid_v7.sql"),
    include_str!("../../sql/functions/step_id_text.sql"),
    include_str!("../../sql/functions/step_id_after.sql"),
    include_str!("../../sql/functions/step_id.sql"),
    include_str!("../../sql/functions/task_of.sql"),
    include_str!("../../sql/functions/step_number_of.sql"),
    include_str!("../../sql/functions/limit_key.sql"),
    include_str!("../../sql/functions/limit_key_in.sql"),
    include_str!("../../sql/functions/leases_under.sql"),
    include_str!("../../sql/functions/limit_of.sql"),
    include_str!("../../sql/views/workflow_steps.sql"),
    include_str!("../../sql/views/workflow_step_edges.sql"),
    include_str!("../../sql/views/step_readiness_statuses.sql"),
    include_str!("../../sql/views/step_dag_relationships.sql"),
    include_str!("../../sql/views/task_workflow_summaries.sql"),
    include_str!("../../sql/views/task_execution_contexts.sql"),
    include_str!("../../sql/views/workflow_step_attempts.sql"),
    include_str!("../../sql/views/step_readiness_divergences.sql"),
    include_str!("../../sql/views/events.sql"),
    include_str!("../../sql/functions/refuse.sql"),
    include_str!("../../sql/functions/event_epoch.sql"),
    include_str!("../../sql/functions/event_snapshot.sql"),
    include_str!("../../sql/functions/begin_event_epoch.sql"),
    include_str!("../../sql/functions/events_now.sql"),
    include_str!("../../sql/functions/read_events.sql"),
    include_str!("../../sql/functions/require_read_committed.sql"),
    include_str!("../../sql/functions/require_storable.sql"),
    include_str!("../../sql/functions/backoff.sql"),
    include_str!("../../sql/functions/next_transition.sql"),
    include_str!("../../sql/functions/record_start.sql"),
    include_str!("../../sql/functions/lock_task.sql"),
    include_str!("../../sql/functions/lock_step.sql"),
    include_str!("../../sql/functions/end_tasks.sql"),
    include_str!("../../sql/functions/conclude.sql"),
    include_str!("../../sql/functions/satisfy.sql"),
    include_str!("../../sql/functions/settle.sql"),
    include_str!("../../sql/functions/complete_step.sql"),
    include_str!("../../sql/functions/lease_or_enqueue.sql"),
    include_str!("../../sql/functions/enqueue.sql"),
    include_str!("../../sql/functions/enqueue_task.sql"),
    include_str!("../../sql/functions/stored_size.sql"),
    include_str!("../../sql/functions/deliver.sql"),
    include_str!("../../sql/functions/take.sql"),
    include_str!("../../sql/functions/keys_with_room.sql"),
    include_str!("../../sql/functions/claim.sql"),
    include_str!("../../sql/functions/claim_task.sql"),
    include_str!("../../sql/functions/answers.sql"),
    include_str!("../../sql/functions/require_settlements.sql"),
    include_str!("../../sql/functions/wait_for_turn.sql"),
    include_str!("../../sql/functions/exchange.sql"),
    include_str!("../../sql/functions/heartbeat.sql"),
    include_str!("../../sql/functions/lost_claims.sql"),
    include_str!("../../sql/functions/adopt.sql"),
    include_str!("../../sql/functions/release_steps.sql"),
    include_str!("../../sql/functions/fail_overdue.sql"),
    include_str!("../../sql/functions/is_held.sql"),
    include_str!("../../sql/functions/reap.sql"),
    include_str!("../../sql/functions/hold_unique_key.sql"),
    include_str!("../../sql/functions/revive_task.sql"),
    include_str!("../../sql/functions/cancel_unfinished.sql"),
    include_str!("../../sql/functions/cancel_task.sql"),
    include_str!("../../sql/functions/cancel_step.sql"),
    include_str!("../../sql/functions/pause_task.sql"),
    include_str!("../../sql/functions/resume_task.sql"),
    include_str!("../../sql/functions/retry_steps.sql"),
    include_str!("../../sql/functions/retry_step.sql"),
    include_str!("../../sql/functions/retry_task.sql"),
    include_str!("../../sql/functions/resolve_step.sql"),
    include_str!("../../sql/functions/resolve_task.sql"),
    include_str!("../../sql/functions/edit_step_input.sql"),
    include_str!("../../sql/functions/change_retry_limit.sql"),
    include_str!("../../sql/functions/explain_step.sql"),
    include_str!("../../sql/functions/wake.sql"),
    include_str!("../../sql/functions/register_worker.sql"),
    include_str!("../../sql/functions/register_workflow.sql"),
    include_str!("../../sql/functions/find_workflow.sql"),
    include_str!("../../sql/functions/submit_tasks.sql"),
    include_str!("../../sql/functions/submit_task.sql"),
    include_str!("../../sql/functions/catalogue_hash.sql"),
];

/// What the roles may do.
const GRANTS: &str = include_str!("../../sql/roles.sql");
/// From looking only to doing everything: each may what those before it may.
const ROLES: [&str; 4] = ["tasker_viewer", "tasker_submitter", "tasker_worker", "tasker_operator"];

/// Workers go on meanwhile, and a view's lock may meet theirs crosswise: then the migration, which has changed nothing, begins anew.
const DEADLOCKS: usize = 10;

/// Two programs that migrate at once wait for each other under this key.
const LOCK: &str = "select pg_advisory_xact_lock(7460)";

/// What a migration did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MigrationReport {
    /// Numbers of the migrations that ran now.
    pub migrations: Vec<i32>,
    /// Whether views and functions were replaced.
    pub replaced: bool,
}

impl Store {
    /// Brings the database to [`SCHEMA_VERSION`]. Safe to run by many at once, and again after a death at any point.
    ///
    /// # Errors
    /// [`Error::SchemaTooNew`]; [`Error::SchemaInUse`]; [`Error::Database`]: its user may not create what is missing, say. Each migration
    /// is whole or nothing, so that it can be called again.
    pub async fn migrate(&self) -> Result<MigrationReport, Error> {
        let store = self.clone();
        // run to its end in a task of its own: a caller that goes away leaves no open transaction behind
        let migrated = tokio::spawn(async move {
            for _ in 0..DEADLOCKS {
                match migrate(&mut *store.pool.acquire().await?).await {
                    Err(error) if error.sqlstate().as_deref() == Some("40P01") => {}
                    outcome => return outcome,
                }
            }
            migrate(&mut *store.pool.acquire().await?).await
        });
        migrated.await.map_err(|e| Error::Database(sqlx::Error::Io(std::io::Error::other(e))))?
    }

    /// Creates the roles `tasker_viewer`, `tasker_submitter`, `tasker_worker` and `tasker_operator` where there are none, without
    /// login, and gives them their rights in this database; later migrations give them anew.
    ///
    /// # Errors
    /// A user who may not create roles.
    pub async fn create_roles(&self) -> Result<(), Error> {
        let store = self.clone();
        // to its end, as a migration
        tokio::spawn(async move { create_roles(&mut *store.pool.acquire().await?).await })
            .await
            .map_err(|e| Error::Database(sqlx::Error::Io(std::io::Error::other(e))))?
    }

    /// The schema version in the database: 0 where there is none.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn schema_version(&self) -> Result<i32, Error> {
        version(&mut *self.pool.acquire().await?).await
    }

    /// Refuses a database that is not at this program's version.
    ///
    /// # Errors
    /// [`Error::SchemaTooNew`], [`Error::SchemaTooOld`], [`Error::Database`].
    pub async fn require_schema(&self) -> Result<(), Error> {
        match self.schema_version().await? {
            SCHEMA_VERSION => Ok(()),
            found if found > SCHEMA_VERSION => Err(Error::SchemaTooNew { found, known: SCHEMA_VERSION }),
            found => Err(Error::SchemaTooOld { found, needed: SCHEMA_VERSION }),
        }
    }
}

async fn create_roles(connection: &mut PgConnection) -> Result<(), Error> {
    let mut tx = connection.begin().await?;
    sqlx::raw_sql(LOCK).execute(&mut *tx).await?;
    for (n, role) in ROLES.iter().enumerate() {
        // another database of the server may be doing the same
        let create = format!(
            "do $$ begin create role {role} nologin; exception when duplicate_object or unique_violation then null; end $$"
        );
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut *tx).await?;
        if let Some(lesser) = n.checked_sub(1).map(|n| ROLES[n]) {
            sqlx::raw_sql(AssertSqlSafe(format!("grant {lesser} to {role}"))).execute(&mut *tx).await?;
        }
    }
    sqlx::raw_sql(GRANTS).execute(&mut *tx).await?;
    Ok(tx.commit().await?)
}

/// Gives the roles their rights anew, where they have been created for this database.
async fn grant_again(tx: &mut PgConnection) -> Result<(), Error> {
    let have_roles = "select count(*) = cardinality($1) and bool_or(has_schema_privilege(r.oid, 'tasker', 'usage'))
                      from pg_roles r where r.rolname = any($1)";
    if sqlx::query_scalar(have_roles).bind(ROLES.as_slice()).fetch_one(&mut *tx).await? {
        sqlx::raw_sql(GRANTS).execute(tx).await?;
    }
    Ok(())
}

async fn version(connection: &mut PgConnection) -> Result<i32, Error> {
    let there: bool = sqlx::query_scalar("select to_regclass('tasker.schema_migrations') is not null")
        .fetch_one(&mut *connection)
        .await?;
    if !there {
        return Ok(0);
    }
    Ok(sqlx::query_scalar("select coalesce(max(version), 0) from tasker.schema_migrations")
        .fetch_one(connection)
        .await?)
}

async fn migrate(connection: &mut PgConnection) -> Result<MigrationReport, Error> {
    let mut report = MigrationReport::default();
    let mut tx = connection.begin().await?;
    sqlx::raw_sql(LOCK).execute(&mut *tx).await?;
    sqlx::raw_sql(
        "create schema if not exists tasker;
         create table if not exists tasker.schema_migrations (version int primary key, name text not null, applied_at timestamptz not null);
         comment on table tasker.schema_migrations is 'The migrations of the tables that this database has had.';
         comment on column tasker.schema_migrations.version is 'The migration''s number, from 1.';
         comment on column tasker.schema_migrations.name is 'Its name.';
         comment on column tasker.schema_migrations.applied_at is 'When it ran.';
         create table if not exists tasker.schema_objects (only_row boolean primary key default true check (only_row), content_hash text not null);
         alter table tasker.schema_objects add column if not exists catalogue_hash text;
         comment on table tasker.schema_objects is 'Which views and functions this database has.';
         comment on column tasker.schema_objects.only_row is 'True: there is one row.';
         comment on column tasker.schema_objects.content_hash is 'SHA-256 of their text.';
         comment on column tasker.schema_objects.catalogue_hash is 'What tasker.catalogue_hash() said when they were created.';",
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;

    for (index, (name, sql)) in MIGRATIONS.iter().enumerate() {
        let number = index as i32 + 1;
        let mut tx = connection.begin().await?;
        sqlx::raw_sql(LOCK).execute(&mut *tx).await?;
        let found = version(&mut tx).await?;
        if found > SCHEMA_VERSION {
            return Err(Error::SchemaTooNew { found, known: SCHEMA_VERSION });
        }
        if found < number {
            sqlx::raw_sql(*sql).execute(&mut *tx).await?;
            sqlx::query("insert into tasker.schema_migrations values ($1, $2, clock_timestamp())")
                .bind(number)
                .bind(name)
                .execute(&mut *tx)
                .await?;
            report.migrations.push(number);
        }
        tx.commit().await?;
    }

    let mut tx = connection.begin().await?;
    sqlx::raw_sql(LOCK).execute(&mut *tx).await?;
    report.replaced = replace_objects(&mut tx).await?;
    if report != MigrationReport::default() {
        grant_again(&mut tx).await?;
    }
    sqlx::query("select tasker.begin_event_epoch()").execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(report)
}

/// What the views and functions in a database are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Objects {
    /// This program's.
    Present,
    /// Another program's.
    Others,
    /// This program's, and then somebody changed or dropped one.
    Changed,
}

pub(super) async fn objects(connection: &mut PgConnection) -> Result<Objects, Error> {
    let row =
        sqlx::query("select content_hash, catalogue_hash from tasker.schema_objects").fetch_optional(&mut *connection);
    let Some(row) = row.await? else { return Ok(Objects::Others) };
    if row.try_get::<String, _>(0)? != objects_hash() {
        return Ok(Objects::Others);
    }
    let is_there = "select to_regprocedure('tasker.catalogue_hash()') is not null";
    if !sqlx::query_scalar(is_there).fetch_one(&mut *connection).await? {
        return Ok(Objects::Changed);
    }
    let now: String = sqlx::query_scalar("select tasker.catalogue_hash()").fetch_one(connection).await?;
    let then: Option<String> = row.try_get(1)?;
    Ok(if then == Some(now) { Objects::Present } else { Objects::Changed })
}

/// What is stored of [`OBJECTS`] when they have been created.
fn objects_hash() -> String {
    crate::hash::hex(OBJECTS.iter().map(|o| o.as_bytes()))
}

/// Drops all views and functions of the schema by name, never with `cascade`, and creates the present ones.
async fn replace_objects(tx: &mut PgConnection) -> Result<bool, Error> {
    if objects(tx).await? == Objects::Present {
        return Ok(false);
    }
    let in_use = |error: sqlx::Error| match &error {
        sqlx::Error::Database(e) if e.code().as_deref() == Some("2BP01") => {
            let detail =
                e.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().and_then(|e| e.detail()).unwrap_or_default();
            Error::SchemaInUse { detail: detail.to_string() }
        }
        _ => error.into(),
    };
    // functions whose types come from views first, then the views, then what the views call; not what tables' constraints call
    let drop_functions_but = |also: &str| {
        format!(
            "select 'drop function ' || string_agg(p.oid::regprocedure::text, ', ') from pg_proc p
             where p.pronamespace = 'tasker'::regnamespace and p.oid not in (
               select d.refobjid from pg_depend d where d.refclassid = 'pg_proc'::regclass and (
                 d.classid = 'pg_constraint'::regclass and d.objid in (
                   select c.oid from pg_constraint c where c.connamespace = 'tasker'::regnamespace){also}))"
        )
    };
    for statement in [
        drop_functions_but(" or d.classid = 'pg_rewrite'::regclass"),
        "select 'drop view ' || string_agg(c.oid::regclass::text, ', ') from pg_class c
         where c.relnamespace = 'tasker'::regnamespace and c.relkind = 'v'"
            .into(),
        drop_functions_but(""),
    ] {
        if let Some(drop) =
            sqlx::query(AssertSqlSafe(statement)).fetch_one(&mut *tx).await?.try_get::<Option<String>, _>(0)?
        {
            sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut *tx).await.map_err(in_use)?;
        }
    }
    for object in OBJECTS {
        sqlx::raw_sql(*object).execute(&mut *tx).await?;
    }
    sqlx::query(
        "insert into tasker.schema_objects (content_hash, catalogue_hash) values ($1, tasker.catalogue_hash())
         on conflict (only_row) do update set content_hash = excluded.content_hash, catalogue_hash = excluded.catalogue_hash",
    )
        .bind(objects_hash())
        .execute(&mut *tx)
        .await?;
    sqlx::raw_sql("revoke all on all functions in schema tasker from public").execute(tx).await?;
    Ok(true)
}
