//! Looking for what is wrong with a live database. A check is a file under `sql/doctor/`: a query whose rows are what it
//! found, each with its remedy.

use std::time::Duration;

use serde::Serialize;
use sqlx::FromRow;

use super::{
    SCHEMA_VERSION, Store,
    schema::{Objects, objects},
};
use crate::Error;

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check that found it.
    pub check: &'static str,
    /// Whether it must be mended; else it is advice.
    pub wrong: bool,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

/// What was looked at, and what was found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Examination {
    /// The schema's version in the database; 0: there is none, or nobody looked.
    pub schema_version: i32,
    /// The checks that were made.
    pub checks: Vec<&'static str>,
    /// What they found.
    pub findings: Vec<Finding>,
}

/// One question to the database.
struct Check {
    name: &'static str,
    /// Whether it reads Tasker's schema.
    of_schema: bool,
    /// Whether it makes sense on the embedded database: nothing else runs beside it, and its settings are known.
    on_embedded: bool,
    sql: &'static str,
}

macro_rules! checks {
    ($($name:literal ($of_schema:expr, $on_embedded:expr),)*) => {
        &[$(Check {
            name: $name,
            of_schema: $of_schema,
            on_embedded: $on_embedded,
            sql: include_str!(concat!("../../sql/doctor/", $name, ".sql")),
        }),*]
    };
}

const CHECKS: &[Check] = checks! {
    "divergences" (true, true),
    "stuck_tasks" (true, true),
    "counts" (true, true),
    "histories" (true, true),
    "limits" (true, true),
    "unserved_steps" (true, false),
    "unreaped" (true, false),
    "stale_workers" (true, false),
    "invalid_indexes" (false, true),
    "bloat" (false, true),
    "old_snapshots" (false, false),
    "settings" (false, false),
    "connections" (false, false),
};

/// Of one check's rows, at most so many are told.
const AT_MOST: usize = 20;

/// How long a notification to oneself may take.
const HEARD_WITHIN: Duration = Duration::from_secs(2);

#[derive(FromRow)]
struct Found {
    wrong: bool,
    problem: String,
    remedy: String,
}

impl Store {
    /// Looks for what is wrong. `everything`: recounts tasks that have ended, too, which reads all of history.
    ///
    /// # Errors
    /// A database that cannot be reached. A check that fails is a finding.
    pub async fn examine(&self, everything: bool) -> Result<Examination, Error> {
        let mut examination = Examination::default();
        let found = self.schema_version().await?;
        examination.schema_version = found;
        examination.look("schema", self.schema_findings(found).await);
        for check in CHECKS {
            if (check.of_schema && found != SCHEMA_VERSION) || (self.is_single() && !check.on_embedded) {
                continue;
            }
            examination.look(check.name, self.ask(check, everything).await);
        }
        if !self.is_single() && found == SCHEMA_VERSION {
            examination.look("notifications", self.notification_findings().await);
        }
        Ok(examination)
    }

    async fn ask(&self, check: &Check, everything: bool) -> Result<Vec<Found>, Error> {
        let query = sqlx::query_as(check.sql);
        let query = if check.sql.contains("$1") { query.bind(everything) } else { query };
        Ok(query.fetch_all(&self.pool).await?)
    }

    async fn schema_findings(&self, found: i32) -> Result<Vec<Found>, Error> {
        let finding = |problem: String, remedy: &str| Ok(vec![Found { wrong: true, problem, remedy: remedy.into() }]);
        match self.require_schema().await {
            Err(Error::SchemaTooNew { .. }) => {
                return finding(
                    format!("the schema has version {found}, this program knows {SCHEMA_VERSION}"),
                    "use the newer program",
                );
            }
            Err(Error::SchemaTooOld { .. }) if found == 0 => {
                return finding("there is no schema".into(), "tasker migrate");
            }
            Err(Error::SchemaTooOld { .. }) => {
                return finding(
                    format!("the schema has version {found}, this program needs {SCHEMA_VERSION}"),
                    "tasker migrate",
                );
            }
            other => other?,
        }
        match objects(&mut *self.pool.acquire().await?).await? {
            Objects::Present => Ok(Vec::new()),
            Objects::Others => finding(
                "views and functions are not this program's".into(),
                "tasker migrate, with the newest of the programs in use",
            ),
            Objects::Changed => finding(
                "a view or a function was changed or dropped since they were created".into(),
                "tasker migrate creates them anew",
            ),
        }
    }

    /// Whether a session that listens hears what another says.
    async fn notification_findings(&self) -> Result<Vec<Found>, Error> {
        let Some(mut listener) = self.listener().await? else { return Ok(Vec::new()) };
        // not by the verb, which not everybody may call
        let own = self.process_id.to_string();
        sqlx::query("select pg_notify('tasker_wake', $1)").bind(&own).execute(&self.pool).await?;
        let heard = tokio::time::timeout(HEARD_WITHIN, async {
            loop {
                match listener.recv().await {
                    Ok(said) if said.payload() == own => return true,
                    Ok(_) => {}
                    Err(_) => return false,
                }
            }
        });
        Ok(match heard.await {
            Ok(true) => Vec::new(),
            _ => vec![Found {
                wrong: false,
                problem: "notifications do not arrive".into(),
                remedy: "give workers a URL that leads to the server itself; without, they find new work once a second"
                    .into(),
            }],
        })
    }
}

impl Examination {
    /// Whether anything must be mended.
    pub fn is_wrong(&self) -> bool {
        self.findings.iter().any(|finding| finding.wrong)
    }

    fn look(&mut self, check: &'static str, found: Result<Vec<Found>, Error>) {
        self.checks.push(check);
        let found = match found {
            Ok(found) => found,
            Err(error) => vec![Found {
                wrong: true,
                problem: format!("the check could not be made: {error}"),
                remedy: "see what the database says".into(),
            }],
        };
        let rest = found.get(AT_MOST..).unwrap_or_default();
        let rest = (!rest.is_empty()).then(|| Found {
            wrong: rest.iter().any(|found| found.wrong),
            problem: format!("and {} more of this kind", rest.len()),
            remedy: "as above".into(),
        });
        let finding =
            |found: Found| Finding { check, wrong: found.wrong, problem: found.problem, remedy: found.remedy };
        self.findings.extend(found.into_iter().take(AT_MOST).chain(rest).map(finding));
    }
}
