//! Long runs: what becomes of the rate when there is much history, and when another session holds an old snapshot.

use std::{
    iter::repeat_n,
    time::{Duration, Instant},
};

use tasker::sqlx::{self, Connection, PgConnection};

use super::{
    Result, Round, before,
    figures::{VIEWS, all_are_complete, ms, submit, submit_many, until_done, with_workers},
    floors,
    footprint::memory,
    graphs::{Graph, ran},
    report::{Bar, Report, Unit},
};

/// What can be asked for by itself.
pub const GROUPS: [&str; 5] =
    ["before and after", "long run of diamonds", "long run of layers", "beside an old snapshot", "much stored"];

/// How many steps a short run has.
const SHORT: usize = 100_000;

/// Measures one group, in a database of its own; a long run has so many steps.
pub async fn measure(round: &Round, report: &mut Report, group: &str, steps: usize) -> Result<()> {
    match group {
        "before and after" => before::measure(round, report, &mut PgConnection::connect(&round.url).await?).await,
        "long run of diamonds" => long_run(round, report, "diamonds", &Graph::diamond(), steps).await,
        "long run of layers" => long_run(round, report, "layers", &Graph::layers(), steps).await,
        "much stored" => much_stored(round, report, steps).await,
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
    let (worst, floor) = worst_tenth(&long, &short)?;
    report.add(
        format!("long run of {name}, worst tenth"),
        Unit::PerSecond,
        worst,
        Some(("the short run's", floor)),
        bar,
    );
    let beside = Some(("the short run's", short.tenths[9].rate));
    report.add(format!("long run of {name}, last tenth"), Unit::PerSecond, long.tenths[9].rate, beside, bar);
    let beside = Some(("after a tenth", long.tenths[0].memory));
    let bar = Bar::Ratio { at_least: 1.1, strive: 1.0 };
    report.add(format!("long run of {name}, this process in MiB"), Unit::Count, long.tenths[9].memory, beside, bar);
    Ok(())
}

/// A run, and as long a one while a session holds a snapshot that is older than it, in a database of its own: neither stands beside what
/// the other has stored.
async fn beside_a_snapshot(round: &Round, report: &mut Report, steps: usize) -> Result<()> {
    let normal = round.elsewhere(async |round| run(round, &Graph::diamond(), steps).await).await?;
    let mut other = PgConnection::connect(&round.url).await?;
    let mut old = other.begin().await?;
    sqlx::raw_sql("set transaction isolation level repeatable read; select count(*) from tasker.tasks")
        .execute(&mut *old)
        .await?;
    let beside = run(round, &Graph::diamond(), steps).await?;
    old.rollback().await?;
    let bar = Bar::Ratio { at_least: 0.95, strive: 1.0 };
    report.add("beside an old snapshot, steps", Unit::PerSecond, beside.rate, Some(("without it", normal.rate)), bar);
    let (worst, floor) = worst_tenth(&beside, &normal)?;
    report.add("beside an old snapshot, worst tenth", Unit::PerSecond, worst, Some(("without it", floor)), bar);
    let floor = Some(("without it", normal.tenths[9].rate));
    report.add("beside an old snapshot, last tenth", Unit::PerSecond, beside.tenths[9].rate, floor, bar);
    let floor = Some(("without it", normal.between));
    let bar = Bar::Ratio { at_least: 1.5, strive: 1.0 };
    report.add("beside an old snapshot, exchange to exchange, p99", Unit::Milliseconds, beside.between, floor, bar);
    Ok(())
}

/// Ten times as many steps that have ended are stored: a short run after it beside one before it, and the views of one task.
async fn much_stored(round: &Round, report: &mut Report, steps: usize) -> Result<()> {
    let mut connection = PgConnection::connect(&round.url).await?;
    let workflow = Graph::layers().register(&round.tasker).await?;
    let reads_before = read_views(round, workflow).await?;
    let run_before = run(round, &Graph::diamond(), SHORT.min(steps)).await?;
    before::fill_ours(&mut connection, workflow, steps / 10).await?;
    sqlx::raw_sql("vacuum analyze").execute(&mut connection).await?;
    let _ = sqlx::raw_sql("checkpoint").execute(&mut connection).await;
    let reads_after = read_views(round, workflow).await?;
    let run_after = run(round, &Graph::diamond(), SHORT.min(steps)).await?;
    let floor = Some(("before", run_before.rate));
    let bar = Bar::Ratio { at_least: 0.9, strive: 1.0 };
    report.add("much stored, steps", Unit::PerSecond, run_after.rate, floor, bar);
    for ((name, _), (after, before)) in VIEWS.iter().zip(reads_after.into_iter().zip(reads_before)) {
        let floor = Some(("before", ms(before.0)));
        report.add(format!("much stored, read {name}"), Unit::Milliseconds, ms(after.0), floor, Bar::None);
        let bar = Bar::Ratio { at_least: 1.05, strive: 1.0 };
        report.add(format!("much stored, pages of {name}"), Unit::Count, after.1, Some(("before", before.1)), bar);
    }
    Ok(())
}

/// A new task of 100 steps in each view: how long it takes, warm, and how many pages are looked at.
async fn read_views(round: &Round, workflow: i32) -> Result<Vec<(Duration, f64)>> {
    let task = submit(&round.tasker, workflow).await?;
    let mut own = round.tasker.store().pool().acquire().await?;
    let mut read = Vec::new();
    for (_, sql) in VIEWS {
        let took = floors::median(21, async || {
            sqlx::query(sql).bind(task).fetch_all(&mut *own).await?;
            Ok(())
        });
        let took = took.await?;
        read.push((took, before::pages(&mut own, &sql.replace("$1", &format!("'{task}'"))).await?));
    }
    sqlx::query("select tasker.cancel_task($1)").bind(task).execute(&mut *own).await?;
    Ok(read)
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

/// What is run first is not what is run last: the rate of that tenth that is slowest beside the same one of another run, and its rate there.
fn worst_tenth(run: &Run, other: &Run) -> Result<(f64, f64)> {
    let pairs = run.tenths.iter().zip(&other.tenths).map(|(tenth, floor)| (tenth.rate, floor.rate));
    Ok(pairs.min_by(|a, b| (a.0 / a.1).total_cmp(&(b.0 / b.1))).ok_or("a run without tenths")?)
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
    submit_many(&round.tasker, workflow, tasks).await?;
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
            tenths.push(Tenth {
                rate: (count - counted) as f64 / begun.elapsed().as_secs_f64(),
                memory: memory("self", "VmRSS")? / f64::from(1 << 20),
            });
            (counted, begun) = (count, Instant::now());
        }
    }
    Ok(tenths)
}
