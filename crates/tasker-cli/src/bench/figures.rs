//! The figures: each of ours beside its floor, measured in the same round.

use std::{
    iter::repeat_n,
    time::{Duration, Instant},
};

use serde_json::json;
use tasker::{
    Settings, Submission, Tasker,
    sqlx::{self, Connection, PgConnection},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::output::tell;

use super::{
    Result, Round, arrivals,
    bare::{self, BARE, BARE_QUEUE, Bare},
    floors, footprint,
    graphs::{Graph, ran},
    report::{Bar, Report, Unit},
};

/// What can be asked for by itself.
pub const GROUPS: [&str; 16] = [
    "chain of 4",
    "submit",
    "chain of 1,000",
    "chain of 10,000",
    "diamonds",
    "one step a call, 2 workers",
    "one step a call, 8 workers",
    "1,000 steps into one",
    "10,000 steps into one",
    "reads",
    "dense graph",
    "idle",
    "200 workers",
    "arrivals",
    "memory of a task",
    "embedded",
];

/// Measures everything that is asked for, once.
pub async fn measure(round: &Round, report: &mut Report) -> Result<()> {
    let mut connection = PgConnection::connect(&round.url).await?;
    floors::make(&mut connection).await?;
    // what waits for one commit after the other comes first, before there is something to vacuum
    if round.wants("chain of 4") {
        chain_of_four(round, report, &mut connection).await?;
    }
    if round.wants("submit") {
        submissions(round, report, &mut connection).await?;
    }
    for (name, steps) in [("chain of 1,000", 1_000), ("chain of 10,000", 10_000)] {
        if round.wants(name) {
            long_chain(round, report, &mut connection, name, steps).await?;
        }
    }
    if round.wants("diamonds") {
        diamonds(round, report, &mut connection).await?;
    }
    for (name, workers) in [("one step a call, 2 workers", 2), ("one step a call, 8 workers", 8)] {
        if round.wants(name) {
            one_a_call(round, report, name, workers).await?;
        }
    }
    for (name, steps) in [("1,000 steps into one", 1_000), ("10,000 steps into one", 10_000)] {
        if round.wants(name) {
            into_one(round, report, &mut connection, name, steps).await?;
        }
    }
    if round.wants("reads") {
        // as the library's own sessions read
        reads(round, report, &mut *round.tasker.store().pool().acquire().await?).await?;
    }
    if round.wants("dense graph") {
        dense(round, report, &mut connection).await?;
    }
    if round.wants("idle") {
        footprint::idle(round, report, &mut connection).await?;
    }
    if round.wants("200 workers") {
        crowd(round, report, &mut connection).await?;
    }
    if round.wants("arrivals") {
        arrivals::measure(round, report, &mut connection).await?;
    }
    if round.wants("memory of a task") {
        footprint::memory_of_a_task(round, report).await?;
    }
    if round.wants("embedded") {
        #[cfg(feature = "embedded")]
        super::embedded::measure(round, report).await?;
        #[cfg(not(feature = "embedded"))]
        tell("this program was built without the embedded database");
    }
    Ok(())
}

/// Lets a worker of each run, each with so many attempts at once.
pub async fn with_workers<'a, T>(
    taskers: impl IntoIterator<Item = &'a Tasker>,
    concurrency: usize,
    what: impl AsyncFnOnce() -> Result<T>,
) -> Result<T> {
    let stop = CancellationToken::new();
    let settings = Settings { concurrency, ..Settings::default() };
    let run = |tasker: &Tasker| tokio::spawn(tasker.worker(settings.clone()).run(stop.clone()));
    let running: Vec<_> = taskers.into_iter().map(run).collect();
    let measured = what().await;
    stop.cancel();
    for worker in running {
        worker.await??;
    }
    measured
}

pub async fn submit(tasker: &Tasker, workflow: i32) -> Result<Uuid> {
    Ok(tasker.submit_version(workflow, &json!({}), Submission::default()).await?.task_id)
}

/// Submits so many tasks in calls of 500; gives how long it took.
pub async fn submit_many(tasker: &Tasker, workflow: i32, tasks: usize) -> Result<Duration> {
    let begun = Instant::now();
    for chunk in (0..tasks).collect::<Vec<_>>().chunks(500) {
        let task = |n: &usize| (json!({ "order": n, "customer": "c-1" }), Submission::default());
        tasker.submit_many(workflow, chunk.iter().map(task).collect()).await?;
    }
    Ok(begun.elapsed())
}

/// Until so many steps have run since there were `first`, and nothing is left to do. The server is asked
/// only at the end: to ask it means to read what is dead in its hot tables.
pub async fn until_done(connection: &mut PgConnection, first: usize, steps: usize) -> Result<()> {
    const LEFT: &str = "select exists (select from tasker.ready_steps) or exists (select from tasker.leases)";
    while ran() < first + steps {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    while sqlx::query_scalar(LEFT).fetch_one(&mut *connection).await? {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Every task must have ended well.
pub async fn all_are_complete(connection: &mut PgConnection) -> Result<()> {
    const OPEN: &str = "select count(*) from tasker.tasks where state not in ('complete', 'cancelled')";
    match sqlx::query_scalar(OPEN).fetch_one(connection).await? {
        0i64 => Ok(()),
        open => Err(format!("{open} tasks are not complete").into()),
    }
}

/// An idle worker, and a task of four steps in sequence, from submission until whoever waits for it knows.
async fn chain_of_four(round: &Round, report: &mut Report, connection: &mut PgConnection) -> Result<()> {
    const TIMES: usize = 300;
    let pause = || tokio::time::sleep(Duration::from_millis(5));
    let workflow = Graph::chain(4).register(&round.tasker).await?;
    let (mut ours, mut commits) = (Vec::new(), Vec::new());
    with_workers(repeat_n(&round.tasker, 1), 100, async || {
        for _ in 0..TIMES {
            pause().await;
            let begun = Instant::now();
            for _ in 0..5 {
                floors::commit(connection).await?;
            }
            commits.push(begun.elapsed());
            pause().await;
            let begun = Instant::now();
            let task = submit(&round.tasker, workflow).await?;
            let context = round.tasker.wait(task).await?;
            ours.push(begun.elapsed());
            if !context.is_complete() {
                return Err("a chain did not end well".into());
            }
        }
        Ok(())
    })
    .await?;
    ours.sort();
    commits.sort();
    let [p50, p95] = [TIMES / 2, TIMES * 95 / 100];
    let bar = Bar::Ratio { at_least: 2.0, strive: 1.5 };
    report.add(
        "chain of 4, submission to result, p50",
        Unit::Milliseconds,
        ms(ours[p50]),
        Some(("five commits", ms(commits[p50]))),
        bar,
    );
    report.add(
        "chain of 4, submission to result, p95",
        Unit::Milliseconds,
        ms(ours[p95]),
        Some(("five commits", ms(commits[p95]))),
        Bar::None,
    );
    Ok(())
}

/// Nobody works: what a submission costs.
async fn submissions(round: &Round, report: &mut Report, connection: &mut PgConnection) -> Result<()> {
    let small = Graph::diamond().register(&round.tasker).await?;
    let large = Graph::chain(1_000).register(&round.tasker).await?;
    let commit = floors::median(300, async || floors::commit(connection).await).await?;
    let one = floors::median(300, async || submit(&round.tasker, small).await.map(drop)).await?;
    let of_1000 = floors::median(300, async || submit(&round.tasker, large).await.map(drop)).await?;
    let bar = Bar::Ratio { at_least: 2.0, strive: 1.3 };
    report.add("submit one task, p50", Unit::Milliseconds, ms(one), Some(("a commit", ms(commit))), bar);
    let bar = Bar::Ratio { at_least: 1.1, strive: 1.0 };
    report.add("submit a task of 1,000 steps, p50", Unit::Milliseconds, ms(of_1000), Some(("one of 4", ms(one))), bar);
    cancel_pending(connection).await
}

/// Nobody is to run what was only submitted.
async fn cancel_pending(connection: &mut PgConnection) -> Result<()> {
    sqlx::raw_sql("select count(tasker.cancel_task(task_id)) from tasker.tasks where state = 'pending'")
        .execute(connection)
        .await?;
    Ok(())
}

/// Many diamonds, submitted up front: two workers.
async fn diamonds(round: &Round, report: &mut Report, connection: &mut PgConnection) -> Result<()> {
    let (tasks, steps) = (round.tasks, round.tasks * 4);
    let (bare_submitted, bare_ran) = bare_diamonds(round, connection, &BARE).await?;
    let (_, queue_ran) = bare_diamonds(round, connection, &BARE_QUEUE).await?;
    let inserted = floors::rows_inserted(connection, tasks, 500).await?;

    let workflow = Graph::diamond().register(&round.tasker).await?;
    let submitted = submit_many(&round.tasker, workflow, tasks).await?;
    let commits = commits_so_far(connection).await?;
    let (first, begun) = (ran(), Instant::now());
    with_workers(repeat_n(&round.tasker, 2), 100, async || until_done(connection, first, steps).await).await?;
    let took = begun.elapsed();
    all_are_complete(connection).await?;
    let commits = commits_so_far(connection).await? - commits;
    let begun = Instant::now();
    let other = tokio::spawn({
        let tasker = round.tasker.clone();
        async move { submit_many(&tasker, workflow, tasks / 2).await }
    });
    submit_many(&round.tasker, workflow, tasks - tasks / 2).await?;
    other.await??;
    let submitted_by_two = begun.elapsed();
    let open = sqlx::query_scalar("select task_id from tasker.tasks where state = 'pending' order by 1");
    let blindly = bare::write_rows(round, workflow, open.fetch_all(&mut *connection).await?, 2).await?;
    all_are_complete(connection).await?;

    let rate = |count: usize, took: Duration| count as f64 / took.as_secs_f64();
    let floor = Some((BARE.is, rate(steps, bare_ran)));
    report.add("diamonds, steps", Unit::PerSecond, rate(steps, took), floor, Bar::Ratio { at_least: 0.7, strive: 1.0 });
    let floor = Some((BARE_QUEUE.is, rate(steps, queue_ran)));
    report.add("diamonds, steps beside a queue", Unit::PerSecond, rate(steps, took), floor, Bar::None);
    let floor = Some(("their rows alone", rate(steps, blindly)));
    report.add("diamonds, steps beside their rows", Unit::PerSecond, rate(steps, took), floor, Bar::None);
    let floor = Some(("rows of one table", rate(tasks, inserted)));
    let bar = Bar::Value { at_least: 60_000.0, strive: 120_000.0 };
    report.add("diamonds, submitted tasks", Unit::PerSecond, rate(tasks, submitted), floor, bar);
    report.add("diamonds, submitted by two", Unit::PerSecond, rate(tasks, submitted_by_two), None, bar);
    let floor = Some((BARE.is, rate(tasks, bare_submitted)));
    report.add("diamonds, submitted beside bare", Unit::PerSecond, rate(tasks, submitted), floor, Bar::None);
    let bar = Bar::Value { at_least: 0.05, strive: 0.05 };
    report.add("diamonds, transactions a step", Unit::Count, commits / steps as f64, None, bar);
    Ok(())
}

/// The same by a bare engine: how long their submission took, and their run.
async fn bare_diamonds(round: &Round, connection: &mut PgConnection, bare: &Bare) -> Result<(Duration, Duration)> {
    bare.make(connection, &Graph::diamond()).await?;
    let submitted = bare.submit(connection, round.tasks, 500).await?;
    Ok((submitted, bare.run(round, round.tasks * 4, 2, 100).await?))
}

/// The server's count of transactions in this database.
async fn commits_so_far(connection: &mut PgConnection) -> Result<f64> {
    // sessions tell what they have counted at most once a second
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    const COMMITS: &str = "select xact_commit::float8 from pg_stat_database where datname = current_database()";
    Ok(sqlx::query_scalar(COMMITS).fetch_one(connection).await?)
}

/// Diamonds by workers that run one attempt at a time: a transaction a step.
async fn one_a_call(round: &Round, report: &mut Report, name: &'static str, workers: usize) -> Result<()> {
    let tasks = round.tasks / 20;
    let floor = floors::commits_a_second(round, workers).await?;
    let workflow = Graph::diamond().register(&round.tasker).await?;
    submit_many(&round.tasker, workflow, tasks).await?;
    let mut connection = PgConnection::connect(&round.url).await?;
    let (first, begun) = (ran(), Instant::now());
    with_workers(repeat_n(&round.tasker, workers), 1, async || until_done(&mut connection, first, tasks * 4).await)
        .await?;
    let rate = (tasks * 4) as f64 / begun.elapsed().as_secs_f64();
    all_are_complete(&mut connection).await?;
    let floor = Some(("commits by as many", floor));
    report.add(name, Unit::PerSecond, rate, floor, Bar::Ratio { at_least: 0.5, strive: 0.8 });
    Ok(())
}

/// Submits a task to so many workers that are idle; gives it, and how long it took to its end.
async fn one_task(round: &Round, workflow: i32, workers: usize) -> Result<(Uuid, Duration)> {
    with_workers(repeat_n(&round.tasker, workers), 100, async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let begun = Instant::now();
        let task = submit(&round.tasker, workflow).await?;
        round.tasker.wait(task).await?;
        Ok((task, begun.elapsed()))
    })
    .await
}

/// A wide task: two workers.
async fn into_one(
    round: &Round,
    report: &mut Report,
    connection: &mut PgConnection,
    name: &'static str,
    steps: usize,
) -> Result<()> {
    let graph = Graph::wide(steps);
    let mut floors = Vec::new();
    for bare in [&BARE, &BARE_QUEUE] {
        bare.make(connection, &graph).await?;
        let submitted = bare.submit(connection, 1, 1).await?;
        floors.push((bare.is, ms(submitted + bare.run(round, steps + 1, 2, 100).await?)));
    }
    let workflow = graph.register(&round.tasker).await?;
    let (_, took) = one_task(round, workflow, 2).await?;
    report.add(name, Unit::Milliseconds, ms(took), Some(floors[0]), Bar::Ratio { at_least: 2.0, strive: 1.2 });
    report.add(format!("{name}, beside a queue"), Unit::Milliseconds, ms(took), Some(floors[1]), Bar::None);
    Ok(())
}

/// A long chain: one worker, one commit a step.
async fn long_chain(
    round: &Round,
    report: &mut Report,
    connection: &mut PgConnection,
    name: &'static str,
    steps: usize,
) -> Result<()> {
    let workflow = Graph::chain(steps).register(&round.tasker).await?;
    let begun = Instant::now();
    for _ in 0..steps {
        floors::commit(connection).await?;
    }
    let floor = begun.elapsed();
    let (task, took) = one_task(round, workflow, 1).await?;
    let floor = Some(("as many commits", ms(floor)));
    report.add(name, Unit::Milliseconds, ms(took), floor, Bar::Ratio { at_least: 1.8, strive: 1.3 });
    if steps == 10_000 {
        const TENTHS: &str = "
            with s as (select at, ntile(10) over (order by number) as tenth from tasker.workflow_step_transitions
              where task_id = $1 and verb = 'settle'),
            t as (select tenth, extract(epoch from max(at) - min(at))::float8 as took from s group by 1)
            select (select took from t where tenth = 10) / (select took from t where tenth = 1)";
        let growth: f64 = sqlx::query_scalar(TENTHS).bind(task).fetch_one(connection).await?;
        let bar = Bar::Value { at_least: 1.1, strive: 1.0 };
        report.add("chain of 10,000, last tenth over first", Unit::Count, growth, None, bar);
    }
    Ok(())
}

/// What is read of one task.
pub const VIEWS: [(&str, &str); 4] = [
    ("readiness", "select * from tasker.step_readiness_statuses where task_id = $1"),
    ("context", "select * from tasker.task_execution_contexts where task_id = $1"),
    ("summary", "select * from tasker.task_workflow_summaries where task_id = $1"),
    ("DAG relationships", "select * from tasker.step_dag_relationships where task_id = $1"),
];

/// The views of one task, warm.
async fn reads(round: &Round, report: &mut Report, connection: &mut PgConnection) -> Result<()> {
    const TIMES: usize = 100;
    let floor = floors::median(TIMES, async || {
        sqlx::query("select 1").execute(&mut *connection).await?;
        Ok(())
    })
    .await?;
    for (size, graph, bar) in [
        ("100", Graph::layers(), Bar::Value { at_least: 0.6, strive: 0.3 }),
        ("10,000", Graph::chain(10_000), Bar::Value { at_least: 20.0, strive: 10.0 }),
    ] {
        let workflow = graph.register(&round.tasker).await?;
        let task = submit(&round.tasker, workflow).await?;
        for (what, sql) in VIEWS {
            let took = floors::median(TIMES, async || {
                sqlx::query(sql).bind(task).fetch_all(&mut *connection).await?;
                Ok(())
            });
            let name = format!("read {what} of {size} steps, p50");
            report.add(name, Unit::Milliseconds, ms(took.await?), Some(("a round trip", ms(floor))), bar);
        }
        sqlx::query("select tasker.cancel_task($1)").bind(task).execute(&mut *connection).await?;
    }
    Ok(())
}

/// A thousand steps with fifty thousand edges, new each time: registered and submitted.
async fn dense(round: &Round, report: &mut Report, connection: &mut PgConnection) -> Result<()> {
    let mut number = 0;
    let took = floors::median(5, async || {
        number += 1;
        let graph = Graph { name: format!("dense_{number}"), ..Graph::dense() };
        let workflow = graph.register(&round.tasker).await?;
        submit(&round.tasker, workflow).await.map(drop)
    });
    let bar = Bar::Value { at_least: 500.0, strive: 500.0 };
    report.add("dense graph, registered and submitted, p50", Unit::Milliseconds, ms(took.await?), None, bar);
    cancel_pending(connection).await
}

/// Two hundred workers beside twenty, each with a pool of its own, as in a process of its own. What their sessions do once, at their
/// beginning, is done before; submission is in it.
async fn crowd(round: &Round, report: &mut Report, connection: &mut PgConnection) -> Result<()> {
    let room: i32 =
        sqlx::query_scalar("select current_setting('max_connections')::int").fetch_one(&mut *connection).await?;
    if room < 1_500 {
        tell(format_args!("200 workers need a server with max_connections of 1500 and more; this one has {room}"));
        return Ok(());
    }
    let workflow = Graph::diamond().register(&round.tasker).await?;
    let mut rates = Vec::new();
    for workers in [20, 200] {
        let mut taskers = Vec::new();
        for _ in 0..workers {
            let tasker = Tasker::connect(&round.url).await?;
            Graph::diamond().register(&tasker).await?;
            taskers.push(tasker);
        }
        let rate = with_workers(&taskers, 100, async || {
            let first = ran();
            submit_many(&round.tasker, workflow, workers * 200).await?;
            until_done(connection, first, workers * 800).await?;
            tokio::time::sleep(Duration::from_secs(3)).await;

            let (first, begun) = (ran(), Instant::now());
            submit_many(&round.tasker, workflow, round.tasks * 5).await?;
            until_done(connection, first, round.tasks * 20).await?;
            Ok((round.tasks * 20) as f64 / begun.elapsed().as_secs_f64())
        });
        rates.push(rate.await?);
        for tasker in taskers {
            tasker.close().await;
        }
        all_are_complete(connection).await?;
    }
    let bar = Bar::Ratio { at_least: 1.0, strive: 1.0 };
    report.add("200 workers, steps", Unit::PerSecond, rates[1], Some(("20 workers", rates[0])), bar);
    Ok(())
}

pub fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}
