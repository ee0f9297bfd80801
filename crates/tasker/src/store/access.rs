//! Keys of those who come over HTTP, and the record of what they asked for.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Store;
use crate::{
    Error,
    access::{ApiKey, Role, Secret},
};

const COLUMNS: &str = "api_key_id, name, role, namespaces, created_at, expires_at, revoked_at";

/// What was asked for.
#[derive(Clone, Debug)]
pub struct AuditRecord<'a> {
    /// Who.
    pub actor: &'a str,
    /// With which key.
    pub api_key_id: Option<Uuid>,
    /// The operation.
    pub action: &'a str,
    /// On what.
    pub object: &'a str,
    /// Why.
    pub reason: Option<&'a str>,
}

impl Store {
    /// Makes a key. Its text is told now, and never again.
    ///
    /// # Errors
    /// [`Error::Refused`] (`bad_key_name`, `bad_namespace`), [`Error::Database`].
    pub async fn create_key(
        &self,
        name: &str,
        role: Role,
        namespaces: Option<&[String]>,
        expires_at: Option<DateTime<Utc>>,
    ) -> Result<(ApiKey, Secret), Error> {
        let refuse = |code: &str, message: &str| Err(Error::Refused { code: code.into(), message: message.into() });
        if !(1..=100).contains(&name.chars().count()) || name.chars().any(char::is_control) {
            return refuse("bad_key_name", "a key's name says whose it is, in 1 to 100 characters");
        }
        if namespaces.is_some_and(|names| names.is_empty() || names.iter().any(|name| !crate::is_name(name))) {
            return refuse("bad_namespace", "namespaces are at least one name each of a-z, 0-9 and _");
        }
        let secret = Secret::random();
        let sql = format!(
            "with changed as (
               insert into tasker.api_keys (api_key_id, name, role, namespaces, key_hash, created_at, expires_at)
               values (tasker.uuid_v7(), $1, $2, $3, $4, tasker.clock(), $5) returning {COLUMNS}),
             {}",
            kept("create_key")
        );
        let key = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(name)
            .bind(role.as_str())
            .bind(namespaces)
            .bind(Secret::hash(secret.reveal()))
            .bind(expires_at)
            .fetch_one(&self.pool)
            .await?;
        Ok((key, secret))
    }

    /// Makes a key in the place of another, with its name, role, namespaces and life time; the old one is good for that much longer.
    ///
    /// # Errors
    /// [`Error::Refused`] (`unknown_key`), [`Error::Database`].
    pub async fn rotate_key(&self, api_key_id: Uuid, grace: Duration) -> Result<(ApiKey, Secret), Error> {
        let secret = Secret::random();
        let sql = format!(
            "with old as (
               select k.* from tasker.api_keys k
               where k.api_key_id = $1 and k.revoked_at is null and coalesce(k.expires_at > tasker.clock(), true) for update),
             ending as (
               update tasker.api_keys k set expires_at = least(k.expires_at, tasker.clock() + make_interval(secs => $3))
               from old o where k.api_key_id = o.api_key_id),
             changed as (
               insert into tasker.api_keys (api_key_id, name, role, namespaces, key_hash, created_at, expires_at)
               select tasker.uuid_v7(), o.name, o.role, o.namespaces, $2, tasker.clock(), tasker.clock() + (o.expires_at - o.created_at)
               from old o returning {COLUMNS}),
             {}",
            kept("rotate_key")
        );
        let key = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(api_key_id)
            .bind(Secret::hash(secret.reveal()))
            .bind(grace.as_secs_f64())
            .fetch_optional(&self.pool)
            .await?;
        Ok((key.ok_or_else(|| unknown_key(api_key_id))?, secret))
    }

    /// Makes a key good for nothing, from now on.
    ///
    /// # Errors
    /// [`Error::Refused`] (`unknown_key`), [`Error::Database`].
    pub async fn revoke_key(&self, api_key_id: Uuid) -> Result<ApiKey, Error> {
        let sql = format!(
            "with changed as (
               update tasker.api_keys set revoked_at = coalesce(revoked_at, tasker.clock()) where api_key_id = $1 returning {COLUMNS}),
             {}",
            kept("revoke_key")
        );
        let key = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(api_key_id).fetch_optional(&self.pool).await?;
        key.ok_or_else(|| unknown_key(api_key_id))
    }

    /// All keys, the first one first; those that are good for nothing, too.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn keys(&self) -> Result<Vec<ApiKey>, Error> {
        let sql = format!("select {COLUMNS} from tasker.api_keys order by api_key_id");
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(sql)).fetch_all(&self.pool).await?)
    }

    /// The key with this text, if it is good for something now.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn key(&self, text: &str) -> Result<Option<ApiKey>, Error> {
        let sql = format!(
            "select {COLUMNS} from tasker.api_keys
             where key_hash = $1 and revoked_at is null and coalesce(expires_at > tasker.clock(), true)"
        );
        Ok(sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(Secret::hash(text)).fetch_optional(&self.pool).await?)
    }

    /// Whether this key is good for something now.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn is_good_key(&self, api_key_id: Uuid) -> Result<bool, Error> {
        let sql = "select exists (select from tasker.api_keys
            where api_key_id = $1 and revoked_at is null and coalesce(expires_at > tasker.clock(), true))";
        Ok(sqlx::query_scalar(sql).bind(api_key_id).fetch_one(&self.pool).await?)
    }

    /// Whether there is any key, be it good for nothing now: who once asked for keys goes on asking.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn has_keys(&self) -> Result<bool, Error> {
        let sql = "select exists (select from tasker.api_keys)";
        Ok(sqlx::query_scalar(sql).fetch_one(&self.pool).await?)
    }

    /// Keeps what was asked for: before it is done.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn audit(&self, record: AuditRecord<'_>) -> Result<(), Error> {
        Store::audit_in(&mut *self.pool.acquire().await?, record).await
    }

    /// The same in the caller's transaction: it is kept with what is done there, or neither is.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn audit_in(connection: &mut PgConnection, record: AuditRecord<'_>) -> Result<(), Error> {
        sqlx::query(
            "insert into tasker.audit_records (at, actor, api_key_id, action, object, reason) values (tasker.clock(), $1, $2, $3, $4, $5)",
        )
        .bind(record.actor)
        .bind(record.api_key_id)
        .bind(record.action)
        .bind(record.object)
        .bind(record.reason)
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// What follows a change of keys: a record of it in the audit, by whoever is logged in to the database.
fn kept(action: &str) -> String {
    format!(
        "kept as (
           insert into tasker.audit_records (at, actor, action, object)
           select tasker.clock(), session_user, '{action}', c.api_key_id || ' ' || c.name from changed c)
         select * from changed"
    )
}

fn unknown_key(api_key_id: Uuid) -> Error {
    let message = format!("there is no key {api_key_id} that is good for something: `tasker key list` has them all");
    Error::Refused { code: "unknown_key".into(), message }
}
