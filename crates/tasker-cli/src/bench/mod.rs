//! `tasker bench`: how fast the engine is on a server, beside what the same server does at best with plain SQL in the same minutes.

mod arrivals;
mod bare;
mod before;
#[cfg(feature = "embedded")]
mod embedded;
mod figures;
mod floors;
mod footprint;
mod graphs;
mod long;
mod report;

use std::path::PathBuf;

use tasker::{Tasker, sqlx};

use crate::{
    Session,
    ending::{Ending, Failure},
    output::{Paint, print, print_json, tell},
};
use report::Report;

/// Measure the engine on a server, beside plain SQL
#[derive(clap::Args)]
pub struct Args {
    /// How many rounds; each has a database of its own, which is dropped afterwards
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How many four-step tasks are run where many are
    #[arg(long, default_value_t = 20_000, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(100..=10_000_000))]
    tasks: usize,
    /// Only the groups of figures with this in their name, such as `diamonds` or `reads`
    #[arg(long, default_value = "", value_name = "TEXT")]
    only: String,
    /// Also the long runs, of so many steps each
    #[arg(long, value_name = "STEPS", num_args = 0..=1, default_missing_value = "1000000",
        value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(10_000..=100_000_000))]
    long: Option<usize>,
    /// Write a page with plots
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,
}

/// A group that needs a database in which nothing else has been.
const STORAGE: &str = "storage";

/// What goes wrong while measuring.
type Trouble = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Trouble>;

/// One round's database.
struct Round {
    url: String,
    tasker: Tasker,
    tasks: usize,
    only: String,
}

impl Round {
    /// Whether a group of figures is asked for.
    fn wants(&self, group: &str) -> bool {
        group.contains(&self.only)
    }

    /// Does something in another new database of the server.
    async fn elsewhere<T>(&self, measure: impl AsyncFnOnce(&Round) -> Result<T>) -> Result<T> {
        in_a_database(&self.url, self.tasks, &self.only, measure).await
    }
}

/// Measures. What it makes on the server are databases named tasker_bench_.., and they are gone afterwards.
pub async fn run(args: Args, session: &Session) -> std::result::Result<Ending, Failure> {
    let url = session.database.server().ok_or_else(|| {
        Failure::misused(
            "bench measures a server: give --database, or set DATABASE_URL (scripts/bench starts one of its own)",
        )
    })?;
    let long = if args.long.is_some() { &long::GROUPS[..] } else { &[] };
    let groups = [&figures::GROUPS[..], &[STORAGE], long].concat();
    if !groups.iter().any(|group| group.contains(&args.only)) {
        let groups = groups.join("; ");
        return Err(Failure::misused(format!(
            "no group of figures has `{}` in its name; there are: {groups}",
            args.only
        )));
    }
    let mut report = Report::default();
    for number in 1..=args.rounds {
        tell(format_args!("round {number} of {}", args.rounds));
        let unable = |trouble| Failure::unable(format!("round {number}: {trouble}"));
        in_a_database(url, args.tasks, &args.only, async |round| figures::measure(round, &mut report).await)
            .await
            .map_err(unable)?;
        if STORAGE.contains(&args.only) {
            in_a_database(url, args.tasks, &args.only, async |round| footprint::storage(round, &mut report).await)
                .await
                .map_err(unable)?;
        }
        let Some(steps) = args.long else { continue };
        for group in long::GROUPS.iter().filter(|group| group.contains(&args.only)) {
            in_a_database(url, args.tasks, &args.only, async |round| {
                long::measure(round, &mut report, group, steps).await
            })
            .await
            .map_err(unable)?;
        }
    }
    if let Some(page) = &args.page {
        std::fs::write(page, report.page())
            .map_err(|error| Failure::unable(format!("{} cannot be written: {error}", page.display())))?;
    }
    match session.json {
        true => print_json(&report.figures)?,
        false => print(&report.table(Paint::stdout()))?,
    }
    Ok(Ending::Done)
}

/// Does something in a new database of the server, with our schema, and drops that.
async fn in_a_database<T>(
    url: &str,
    tasks: usize,
    only: &str,
    measure: impl AsyncFnOnce(&Round) -> Result<T>,
) -> Result<T> {
    let server: sqlx::postgres::PgConnectOptions = url.parse()?;
    let mut admin = sqlx::ConnectOptions::connect(&server).await?;
    let name = format!("tasker_bench_{}", uuid::Uuid::new_v4().simple());
    let create = sqlx::AssertSqlSafe(format!("create database {name}"));
    sqlx::raw_sql(create).execute(&mut admin).await.map_err(|e| format!("a database cannot be created: {e}"))?;
    let url = sqlx::ConnectOptions::to_url_lossy(&server.database(&name)).to_string();
    let measured = async {
        let tasker = Tasker::connect(&url).await?;
        tasker.migrate().await?;
        let round = Round { url, tasker, tasks, only: only.to_owned() };
        let measured = measure(&round).await?;
        round.tasker.close().await;
        Ok(measured)
    };
    let measured: Result<T> = measured.await;
    let drop = sqlx::AssertSqlSafe(format!("drop database {name} with (force)"));
    let dropped = sqlx::raw_sql(drop).execute(&mut admin).await;
    let measured = measured?;
    dropped.map_err(|e| format!("the database {name} cannot be dropped: {e}"))?;
    Ok(measured)
}
