//! What the engine takes: queries and processor's time while idle, bytes on the disk, memory.

use std::{
    collections::{BTreeMap, HashSet},
    iter::repeat_n,
    process::Stdio,
    time::{Duration, Instant},
};

use tasker::sqlx::{self, Connection, PgConnection};

use super::{
    Result, Round,
    figures::{all_are_complete, submit, submit_many, until_done, with_workers},
    graphs::{Graph, ran},
    report::{Bar, Report, Unit},
};
use crate::output::tell;

/// Ten workers that have nothing to do: how often each asks the server anything. (The server's count of transactions has its own in it.)
pub async fn idle(round: &Round, report: &mut Report, connection: &mut PgConnection) -> Result<()> {
    const WORKERS: usize = 10;
    const ASKED: &str = "select pid, query_start::text from pg_stat_activity
        where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid() and query_start is not null";
    with_workers(repeat_n(&round.tasker, WORKERS), 100, async || {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let before: HashSet<(i32, String)> =
            sqlx::query_as(ASKED).fetch_all(&mut *connection).await?.into_iter().collect();
        let mut asked = before.clone();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) {
            tokio::time::sleep(Duration::from_millis(50)).await;
            asked.extend(sqlx::query_as::<_, (i32, String)>(ASKED).fetch_all(&mut *connection).await?);
        }
        let rate = (asked.len() - before.len()) as f64 / begun.elapsed().as_secs_f64() / WORKERS as f64;
        let bar = Bar::Value { at_least: 1.0, strive: 1.0 };
        report.add("idle, queries a second and worker", Unit::Count, rate, None, bar);

        if !cfg!(target_os = "linux") {
            return Ok(());
        }
        // while nobody is asked who has asked
        let (begun, before) = (Instant::now(), processor_time()?);
        tokio::time::sleep(Duration::from_secs(5)).await;
        let busy = (processor_time()? - before).as_secs_f64() / begun.elapsed().as_secs_f64() / WORKERS as f64;
        let bar = Bar::Value { at_least: 0.1, strive: 0.05 };
        report.add("idle, processor's time of a worker, %", Unit::Count, busy * 100.0, None, bar);
        Ok(())
    })
    .await
}

/// Diamonds: the bytes a step on the disk, all together, of each table and index, and after a vacuum.
pub async fn storage(round: &Round, report: &mut Report) -> Result<()> {
    let connection = &mut PgConnection::connect(&round.url).await?;
    let workflow = Graph::diamond().register(&round.tasker).await?;
    let steps = round.tasks * 4;
    let before = sizes(connection).await?;
    submit_many(&round.tasker, workflow, round.tasks).await?;
    let first = ran();
    with_workers(repeat_n(&round.tasker, 2), 100, async || until_done(connection, first, steps).await).await?;
    all_are_complete(connection).await?;
    let mut add = |what: &str, bytes: f64| {
        report.add(format!("stored bytes a step{what}"), Unit::Count, bytes / steps as f64, None, Bar::None);
    };
    let after = sizes(connection).await?;
    let grown = |sizes: &BTreeMap<String, f64>| sizes.values().sum::<f64>() - before.values().sum::<f64>();
    add("", grown(&after));
    for (relation, size) in &after {
        let bytes = size - before.get(relation).unwrap_or(&0.0);
        if bytes >= steps as f64 {
            add(&format!(", {relation}"), bytes);
        }
    }
    sqlx::raw_sql("vacuum").execute(&mut *connection).await?;
    add(", vacuumed", grown(&sizes(connection).await?));
    Ok(())
}

/// How many bytes each table and index has.
async fn sizes(connection: &mut PgConnection) -> Result<BTreeMap<String, f64>> {
    const SIZES: &str = "
        select c.relname::text, case c.relkind when 'r' then pg_table_size(c.oid) else pg_relation_size(c.oid) end::float8 from pg_class c
        where c.relnamespace = 'tasker'::regnamespace and c.relkind in ('r', 'i')";
    let sizes: Vec<(String, f64)> = sqlx::query_as(SIZES).fetch_all(connection).await?;
    Ok(sizes.into_iter().collect())
}

/// A worker's process that runs one task of so many steps: how much more memory it has had at most than with a task of four.
pub async fn memory_of_a_task(round: &Round, report: &mut Report) -> Result<()> {
    const NOTHING: &str = "handler: transform, with: {value: true}";
    if !cfg!(target_os = "linux") {
        tell("the memory of a process is read on Linux only");
        return Ok(());
    }
    let small = Graph::roots(4).register_for(&round.tasker, NOTHING).await?;
    for (steps, size) in [(1_000, "1,000"), (10_000, "10,000"), (100_000, "100,000")] {
        let workflow = Graph::roots(steps).register_for(&round.tasker, NOTHING).await?;
        let mut worker = tokio::process::Command::new(std::env::current_exe()?)
            .args(["worker", "--database", &round.url])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let process = worker.id().ok_or("the worker has ended")?.to_string();
        let mut most = Vec::new();
        for workflow in [small, workflow] {
            let task = submit(&round.tasker, workflow).await?;
            if !round.tasker.wait(task).await?.is_complete() {
                return Err("a task did not end well".into());
            }
            most.push(memory(&process, "VmHWM")?);
        }
        worker.kill().await?;
        let bytes = (most[1] - most[0]) / steps as f64;
        let name = format!("memory of a task of {size} steps, bytes a step");
        report.add(name, Unit::Count, bytes, None, Bar::None);
    }
    Ok(())
}

/// What a process (`self`: this one) has of one kind of memory, in bytes: `VmRSS` now, `VmHWM` at most so far.
pub fn memory(process: &str, kind: &str) -> Result<f64> {
    let file = format!("/proc/{process}/status");
    let status = std::fs::read_to_string(&file)?;
    let line = status.lines().find(|line| line.starts_with(kind)).ok_or_else(|| format!("no {kind} in {file}"))?;
    let kib: f64 = line.split_whitespace().nth(1).ok_or_else(|| format!("an empty {kind} in {file}"))?.parse()?;
    Ok(kib * 1024.0)
}

/// How long this process has had a processor so far.
fn processor_time() -> Result<Duration> {
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // what is in parentheses is the name, with any characters
    let (_, rest) = stat.rsplit_once(')').ok_or("no name in /proc/self/stat")?;
    let ticks = rest.split_whitespace().skip(11).take(2).map(str::parse::<f64>).sum::<std::result::Result<f64, _>>()?;
    Ok(Duration::from_secs_f64(ticks / TICKS))
}
