//! What can go wrong at the library's doors: one enum, a stable code for each variant, a sentence that helps.

/// An error of the library. Answers such as a lost lease are values, not errors.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A verb refused: the code is a stable word (`unknown_task`, `task_not_live`, `idempotency_key_reused`, ..).
    #[error("{message}")]
    Refused {
        /// A stable word.
        code: String,
        /// What is wrong, and what to do.
        message: String,
    },
    /// The database could not be reached, or failed.
    #[error("the database failed: {}", told(.0))]
    Database(#[source] sqlx::Error),
    /// What should name a server is no PostgreSQL URL. It is not repeated: a password may stand in it.
    #[error(
        "DATABASE_URL (or --database) is not the URL of a PostgreSQL server, such as postgres://ann@localhost:5432/shop: {0}"
    )]
    DatabaseUrl(String),
    /// What answers gives a server's session away after each transaction.
    #[error(
        "a pooler in transaction mode (such as PgBouncer) stands between this program and the server: it mixes up sessions' prepared \
         statements, and notifications do not arrive. Give the URL of the server itself, or of a pool in session mode: in TASKER_DIRECT_URL, \
         while others go on with DATABASE_URL. (SQL alone, such as `select tasker.submit_task(..)`, goes through any pooler.)"
    )]
    Pooler,
    /// No server could be reached.
    #[error("the database at {server} cannot be reached: {source}")]
    Unreachable {
        /// Its host and port, or its socket.
        server: String,
        /// Why.
        source: std::io::Error,
    },
    /// The schema in the database is newer than this program.
    #[error(
        "the database has schema version {found}, and this program knows versions up to {known}: use a newer program"
    )]
    SchemaTooNew {
        /// The version in the database.
        found: i32,
        /// The newest that this program knows.
        known: i32,
    },
    /// The database has no schema, or an older one.
    #[error("the database has {}, and this program needs version {needed}: run `tasker migrate`", if *found == 0 { "no Tasker schema".to_string() } else { format!("schema version {found}") })]
    SchemaTooOld {
        /// The version in the database, 0 for none.
        found: i32,
        /// The version that this program needs.
        needed: i32,
    },
    /// A view or function of the user's own stands on one of ours, which has changed.
    #[error(
        "the schema cannot be replaced while other objects stand on it:\n{detail}\ndrop them, migrate, and create them again"
    )]
    SchemaInUse {
        /// What depends on what.
        detail: String,
    },
    /// A definition that is not valid.
    #[error("{0}")]
    Definition(String),
    /// JSON that is refused at the door.
    #[error("{what}: {message}")]
    Json {
        /// What was read.
        what: String,
        /// Why it is refused.
        message: String,
    },
    /// The embedded database could not be opened.
    #[error("{0}")]
    Embedded(String),
}

impl Error {
    /// The server said nothing for so long.
    pub(crate) fn no_answer(waited: std::time::Duration) -> Error {
        let error = std::io::Error::new(std::io::ErrorKind::TimedOut, format!("it gave no answer within {waited:?}"));
        Error::Database(sqlx::Error::Io(error))
    }

    /// Nobody knows whether it happened.
    pub(crate) fn lost(why: &str) -> Error {
        Error::Database(sqlx::Error::Io(std::io::Error::other(why)))
    }

    /// A stable word for the kind of error.
    pub fn code(&self) -> &str {
        match self {
            Error::Refused { code, .. } => code,
            Error::Database(_) => "database",
            Error::DatabaseUrl(_) => "database_url",
            Error::Pooler => "pooler",
            Error::Unreachable { .. } => "unreachable",
            Error::SchemaTooNew { .. } => "schema_too_new",
            Error::SchemaTooOld { .. } => "schema_too_old",
            Error::SchemaInUse { .. } => "schema_in_use",
            Error::Definition(_) => "definition",
            Error::Json { .. } => "json",
            Error::Embedded(_) => "embedded",
        }
    }

    /// The SQLSTATE where the database gave one.
    pub fn sqlstate(&self) -> Option<String> {
        match self {
            Error::Database(sqlx::Error::Database(e)) => e.code().map(|c| c.to_string()),
            _ => None,
        }
    }
}

/// The server's own words, without the driver's.
fn told(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().map(|code| format!(" ({code})")).unwrap_or_default();
            format!("{}{code}", error.message())
        }
        sqlx::Error::Io(error) => format!("it cannot be reached: {error}"),
        sqlx::Error::PoolTimedOut => "no connection became free in time".into(),
        error => error.to_string(),
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        if let sqlx::Error::Database(e) = &error
            && e.code().as_deref() == Some("TA001")
        {
            let detail = e.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().and_then(|e| e.detail());
            return Error::Refused { code: detail.unwrap_or("refused").to_string(), message: e.message().to_string() };
        }
        if let sqlx::Error::Database(e) = &error
            && (e.code().as_deref() == Some("42P05") || e.message().starts_with("unsupported startup parameter"))
        {
            return Error::Pooler;
        }
        Error::Database(error)
    }
}
