//! A database for each test on a PostgreSQL server, copied from a template that is migrated once.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    panic::{self, AssertUnwindSafe},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use tasker::store::Store;

use super::{TestDatabase, invariants};

/// Runs a test on a database of its own whose clock stands still. Whatever the test does, panic or not, the database is
/// asked afterwards whether everything in it holds, and dropped.
pub fn with_database(test: impl AsyncFnOnce(&TestDatabase)) {
    run(Made::Template { held: true }, test);
}

/// The same with the real clock and the functions as they are shipped: for plans, and for real workers.
pub fn with_real_clock(test: impl AsyncFnOnce(&TestDatabase)) {
    run(Made::Template { held: false }, test);
}

/// The same on a database without the schema, which the test has to bring about; `how` are further words of `create database`.
pub fn with_empty_database(how: &str, test: impl AsyncFnOnce(&TestDatabase)) {
    run(Made::Empty(how), test);
}

/// How a database is made.
enum Made<'a> {
    Template { held: bool },
    Empty(&'a str),
}

fn run(made: Made, test: impl AsyncFnOnce(&TestDatabase)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (name, db) = runtime.block_on(create(made));
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(test(&db))));
    let violations = runtime.block_on(async {
        // the pool's connections may be in the middle of something
        let mut session = db.session().await;
        let violations = invariants::violations(&mut session).await;
        let mut admin = server().connect().await.unwrap();
        execute(&mut admin, format!("drop database {name} with (force)")).await;
        violations
    });
    match outcome {
        Ok(()) => {
            assert!(violations.is_empty(), "the test left a database that is not right:\n{}", violations.join("\n"))
        }
        Err(panic) => {
            if !violations.is_empty() {
                eprintln!("the test also left a database that is not right:\n{}", violations.join("\n"));
            }
            panic::resume_unwind(panic);
        }
    }
}

/// The server that `scripts/test` names.
fn server() -> PgConnectOptions {
    let url = env::var("TASKER_TEST_DATABASE_URL")
        .expect("TASKER_TEST_DATABASE_URL names no PostgreSQL server: run scripts/test, which starts one");
    url.parse().expect("TASKER_TEST_DATABASE_URL is no URL of a PostgreSQL server")
}

async fn create(made: Made<'_>) -> (String, TestDatabase) {
    let mut admin = server().connect().await.expect("the server of TASKER_TEST_DATABASE_URL does not answer");
    let name = format!("tasker_test_{}_{}", seconds(), &uuid::Uuid::new_v4().simple().to_string()[..12]);
    let how = match made {
        Made::Template { .. } => format!("template {}", template(&mut admin).await),
        // a database has a collation provider of its own from PostgreSQL 15 on
        Made::Empty(how) if is_older_than_15(&mut admin).await && how.contains("provider") => {
            "template template0".into()
        }
        Made::Empty(how) => format!("template template0 {how}"),
    };
    execute(&mut admin, format!("create database {name} {how}")).await;
    // whoever forgets the schema before a name finds nothing
    execute(&mut admin, format!("alter database {name} set search_path = ''")).await;
    if let Made::Template { held: true } = made {
        // planning the views anew for each question would be most of a test's time
        execute(&mut admin, format!("alter database {name} set plan_cache_mode = force_generic_plan")).await;
    }
    admin.close().await.unwrap();
    let options = server().database(&name);
    let store = Store::connect(options.clone(), 4, false).await.unwrap();
    let db = TestDatabase::new(store, Some(options));
    if let Made::Template { held: true } = made {
        db.hold_the_clock().await;
    }
    (name, db)
}

async fn is_older_than_15(admin: &mut PgConnection) -> bool {
    sqlx::query_scalar("select current_setting('server_version_num')::int < 150000").fetch_one(admin).await.unwrap()
}

/// The template's name. It is made by whoever comes first, for as long as the schema's text is the same.
async fn template(admin: &mut PgConnection) -> String {
    let schema = schema_hash();
    execute(admin, "select pg_advisory_lock(7463)".into()).await;
    let made: Option<String> =
        sqlx::query_scalar("select datname from pg_database where datname ~ $1 and datistemplate")
            .bind(format!("^tasker_template_[0-9]+_{schema:016x}$"))
            .fetch_optional(&mut *admin)
            .await
            .unwrap();
    let name = match made {
        Some(name) => name,
        None => {
            drop_leftovers(admin).await;
            let name = format!("tasker_template_{}_{schema:016x}", seconds());
            execute(admin, format!("create database {name} template template0")).await;
            let store = Store::connect(server().database(&name), 1, false).await.unwrap();
            store.migrate().await.unwrap();
            if let Some(sql) = breakage() {
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(store.pool()).await.unwrap();
            }
            store.pool().close().await;
            execute(admin, format!("alter database {name} is_template true allow_connections false")).await;
            name
        }
    };
    execute(admin, "select pg_advisory_unlock(7463)".into()).await;
    name
}

/// Drops what tests that were killed left behind a day ago or earlier, and templates of that age.
async fn drop_leftovers(admin: &mut PgConnection) {
    let names: Vec<String> = sqlx::query_scalar(
        "select datname from pg_database where datname ~ '^tasker_(test|template)_[0-9]+_[0-9a-f]+$'",
    )
    .fetch_all(&mut *admin)
    .await
    .unwrap();
    let yesterday = seconds() - 86_400;
    for name in names {
        let made_at = name.split('_').nth(2).and_then(|seconds| seconds.parse().ok());
        if made_at.is_some_and(|made_at: u64| made_at < yesterday) {
            execute(admin, format!("alter database {name} is_template false")).await;
            execute(admin, format!("drop database if exists {name} with (force)")).await;
        }
    }
}

/// SQL that is run in every database after its migration, from the file that `TASKER_TEST_SQL` names: to break a safeguard,
/// and see which test notices.
pub fn breakage() -> Option<String> {
    env::var("TASKER_TEST_SQL").ok().map(|path| fs::read_to_string(path).unwrap())
}

/// Of everything that the schema is made of.
fn schema_hash() -> u64 {
    let mut hasher = DefaultHasher::new();
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["migrations", "sql/functions", "sql/views"] {
        let mut files: Vec<_> =
            fs::read_dir(crate_folder.join(folder)).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        for file in files {
            fs::read(&file).unwrap().hash(&mut hasher);
        }
    }
    fs::read(crate_folder.join("src/store/schema.rs")).unwrap().hash(&mut hasher);
    breakage().hash(&mut hasher);
    hasher.finish()
}

fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

async fn execute(connection: &mut PgConnection, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql.clone()))
        .execute(connection)
        .await
        .unwrap_or_else(|error| panic!("{error}\n{sql}"));
}
