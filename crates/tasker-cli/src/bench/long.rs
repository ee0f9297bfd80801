//! Long runs: what becomes of the rate when there is much history, and when another session holds an old snapshot.

use std::{
    iter::repeat_n,
    time::{Duration, Instant},
};

use tasker::sqlx::{self, Connection, PgConnection};

use super::{
    Result, Round, before,
    figures::{all_are_complete, submit_many, until_done, with_workers},
    graphs::{Graph, ran},
    report::{Bar, Report, Unit},
};

/// What can be asked for by itself.
pub const GROUPS: [&str; 4] =
    ["before and after", "long run of diamonds", "long run of layers", "beside an old snapshot"];

/// How many steps a short run has.
const SHORT: usize = 100_000;

/// Measures one group, in a database of its own; a long run has so many steps.
pub async fn measure(round: &Round, report: &mut Report, group: &str, steps: usize) -> Result<()> {
    match group {
        "before and after" => before::measure(round, report, &mut PgConnection::connect(&round.url).await?).await,
        "long run of diamonds" => long_run(round, report, "diamonds", &Graph::diamond(), steps).await,
        "long run of layers" => long_run(round, report, "layers", &Graph::layers(), steps).await,
        _ => beside_a_snapshot(round, report, steps).await,
    }
}

/// A short run, and a long one after it.
async fn long_run(round: &Round, report: &mut Report, name: &str, graph: &Graph, steps: usize) -> Result<()> {
    let short = run(round, graph, SHORT.min(steps)).await?;
    let long = run(round, graph, steps).await?;
    let bar = Bar::Ratio { at_least: 0.9, strive: 1.0 };
    let beside = Some(("a short run", short.rate));
    report.add(format!("long run of {name}, steps"), Unit::PerSecond, long.rate, beside, bar);
    let beside = Some(("the second", long.tenths[1].rate));
    report.add(format!("long run of {name}, last tenth"), Unit::PerSecond, long.tenths[9].rate, beside, bar);
    let beside = Some(("after a tenth", long.tenths[0].memory));
    let bar = Bar::Ratio { at_least: 1.1, strive: 1.0 };
    report.add(format!("long run of {name}, this process in MiB"), Unit::Count, long.tenths[9].memory, beside, bar);
    Ok(())
}

/// A run, and another while a session holds a snapshot that is older than it.
async fn beside_a_snapshot(round: &Round, report: &mut Report, steps: usize) -> Result<()> {
    let normal = run(round, &Graph::diamond(), steps).await?;
    let mut other = PgConnection::connect(&round.url).await?;
    let mut old = other.begin().await?;
    sqlx::raw_sql("set transaction isolation level repeatable read; select count(*) from tasker.tasks")
        .execute(&mut *old)
        .await?;
    let beside = run(round, &Graph::diamond(), steps).await?;
    old.rollback().await?;
    let floor = Some(("without it", normal.rate));
    let bar = Bar::Ratio { at_least: 0.95, strive: 1.0 };
    report.add("beside an old snapshot, steps", Unit::PerSecond, beside.rate, floor, bar);
    let floor = Some(("without it", normal.tenths[9].rate));
    report.add("beside an old snapshot, last tenth", Unit::PerSecond, beside.tenths[9].rate, floor, bar);
    let floor = Some(("without it", normal.between));
    let bar = Bar::Ratio { at_least: 1.5, strive: 1.0 };
    report.add("beside an old snapshot, exchange to exchange, p99", Unit::Milliseconds, beside.between, floor, bar);
    Ok(())
}

/// A run's figures.
struct Run {
    /// Steps a second.
    rate: f64,
    tenths: Vec<Tenth>,
    /// From one settlement of a worker to its next, the 99th percentile, in milliseconds.
    between: f64,
}

/// One of a run's ten parts.
struct Tenth {
    /// Steps a second.
    rate: f64,
    /// What the process keeps in memory at its end, in MiB.
    memory: f64,
}

/// Submits up front, and lets two workers run it.
async fn run(round: &Round, graph: &Graph, steps: usize) -> Result<Run> {
    // of the last settlements of this run
    const BETWEEN: &str = "
        select extract(epoch from percentile_cont(0.99) within group (order by took))::float8 * 1000 from (
          select at - lag(at) over (partition by worker_id order by number) as took from (
            select distinct worker_id, number, at from tasker.workflow_step_transitions
            where verb = 'settle' and number > greatest($1, (select last_value from tasker.transition_numbers) - 20000)) e) b";
    let mut connection = PgConnection::connect(&round.url).await?;
    let workflow = graph.register(&round.tasker).await?;
    let tasks = steps / graph.parents.len();
    let steps = tasks * graph.parents.len();
    submit_many(round, workflow, tasks).await?;
    // what was written so far goes to the disk now, and not at an instant of the server's choice; whoever may not say so, waits for it
    let _ = sqlx::raw_sql("checkpoint").execute(&mut connection).await;
    let number: i64 =
        sqlx::query_scalar("select last_value from tasker.transition_numbers").fetch_one(&mut connection).await?;
    let measured = with_workers(repeat_n(&round.tasker, 2), 100, async || {
        let (first, begun) = (ran(), Instant::now());
        let tenths = by_tenths(steps).await?;
        until_done(&mut connection, first, steps).await?;
        let rate = steps as f64 / begun.elapsed().as_secs_f64();
        let between = sqlx::query_scalar(BETWEEN).bind(number).fetch_one(&mut connection).await?;
        Ok(Run { rate, tenths, between })
    })
    .await;
    all_are_complete(&mut connection).await?;
    measured
}

/// The tenths of so many steps that are being run.
async fn by_tenths(steps: usize) -> Result<Vec<Tenth>> {
    let (before, mut begun) = (ran(), Instant::now());
    let (mut tenths, mut counted) = (Vec::new(), 0);
    while tenths.len() < 10 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let count = ran() - before;
        if count >= steps * (tenths.len() + 1) / 10 {
            tenths.push(Tenth { rate: (count - counted) as f64 / begun.elapsed().as_secs_f64(), memory: memory()? });
            (counted, begun) = (count, Instant::now());
        }
    }
    Ok(tenths)
}

/// What this process keeps in memory, in MiB.
fn memory() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS in /proc/self/status")?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or("an empty VmRSS")?.parse()?;
    Ok(kib / 1024.0)
}
