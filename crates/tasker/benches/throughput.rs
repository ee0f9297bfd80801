//! How fast the engine moves no-op steps on a PostgreSQL server: diamonds submitted up front, and a chain of four beside
//! five one-row commits in a row. `DATABASE_URL` names an empty database; see `scripts/bench`.

use std::{
    error::Error,
    time::{Duration, Instant},
};

use tasker::{
    Settings, StepError, Submission, Tasker,
    handlers::Context,
    workflow::{Step, Workflow},
};
use tokio_util::sync::CancellationToken;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const A: Step<bool> = Step::named("a");
const B: Step<bool> = Step::named("b");
const C: Step<bool> = Step::named("c");
const D: Step<bool> = Step::named("d");

/// Tells the clock that a chain's last step runs, so that nobody polls before.
static LAST_STEP: tokio::sync::Notify = tokio::sync::Notify::const_new();

async fn last(_: Context<serde_json::Value>) -> std::result::Result<bool, StepError> {
    LAST_STEP.notify_one();
    Ok(true)
}

async fn nothing(_: Context<serde_json::Value>) -> std::result::Result<bool, StepError> {
    Ok(true)
}

fn main() -> Result<()> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(run())
}

async fn run() -> Result<()> {
    let url = std::env::var("DATABASE_URL").map_err(|_| "DATABASE_URL is not set: run scripts/bench")?;
    let tasks: usize = std::env::var("TASKS").ok().and_then(|t| t.parse().ok()).unwrap_or(20_000);
    let tasker = Tasker::connect(&url).await?;
    tasker.migrate().await?;
    let diamond = Workflow::<serde_json::Value>::new("bench", "diamond", "1.0.0")
        .step(A, nothing)
        .step(B, nothing)
        .after(A)
        .step(C, nothing)
        .after(A)
        .step(D, nothing)
        .after(B)
        .after(C);
    let diamond = tasker.register(&diamond).await?;
    let chain = Workflow::<serde_json::Value>::new("bench", "chain", "1.0.0")
        .step(A, nothing)
        .step(B, nothing)
        .after(A)
        .step(C, nothing)
        .after(B)
        .step(D, last)
        .after(C);
    let chain = tasker.register(&chain).await?;

    // first, before there is something to vacuum
    latency(&tasker, chain).await?;
    diamonds(&tasker, diamond, tasks, 2, 100).await?;
    Ok(())
}

/// Submits `tasks` diamonds, and runs them with so many workers, each with batches of up to `batch`.
async fn diamonds(tasker: &Tasker, workflow: i32, tasks: usize, workers: usize, batch: usize) -> Result<()> {
    let begun = Instant::now();
    for chunk in (0..tasks).collect::<Vec<_>>().chunks(500) {
        tasker
            .submit_many(
                workflow,
                chunk
                    .iter()
                    .map(|n| (serde_json::json!({ "order": n, "customer": "c-1" }), Submission::default()))
                    .collect(),
            )
            .await?;
    }
    let submitted = begun.elapsed();
    let begun = Instant::now();
    let stop = CancellationToken::new();
    let running: Vec<_> = (0..workers)
        .map(|_| tokio::spawn(tasker.worker(Settings { concurrency: batch, ..Settings::default() }).run(stop.clone())))
        .collect();
    while open_tasks(tasker).await? > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ran = begun.elapsed();
    stop.cancel();
    for worker in running {
        worker.await??;
    }
    let complete: i64 =
        sqlx::query_scalar("select count(*) from tasker.tasks where state = 'complete' and named_task_id = $1")
            .bind(workflow)
            .fetch_one(tasker.store().pool())
            .await?;
    assert_eq!(complete as usize, tasks);
    let steps = (tasks * 4) as f64;
    println!(
        "diamonds n={tasks} steps={steps} batch={batch} workers={workers}: submit {:.2} s ({:.0} tasks/s), run {:.2} s = {:.0} steps/s",
        submitted.as_secs_f64(),
        tasks as f64 / submitted.as_secs_f64(),
        ran.as_secs_f64(),
        steps / ran.as_secs_f64()
    );
    Ok(())
}

async fn open_tasks(tasker: &Tasker) -> Result<i64> {
    // the hot set is empty exactly when nothing is left to do
    Ok(sqlx::query_scalar("select (select count(*) from (select 1 from tasker.ready_steps limit 1) r) + (select count(*) from (select 1 from tasker.leases limit 1) l)")
        .fetch_one(tasker.store().pool()).await?)
}

/// A chain of four on an idle worker, from submission to its last result, beside five one-row commits in a row.
async fn latency(tasker: &Tasker, workflow: i32) -> Result<()> {
    const ROUNDS: usize = 300;
    let pool = tasker.store().pool();
    sqlx::raw_sql(
        "create table if not exists public.one_row (id bigint generated always as identity primary key, v text)",
    )
    .execute(pool)
    .await?;
    let stop = CancellationToken::new();
    let worker = tokio::spawn(tasker.worker(Settings::default()).run(stop.clone()));
    let (mut ours, mut commits) = (Vec::new(), Vec::new());
    let mut connection = pool.acquire().await?;
    for _ in 0..ROUNDS {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let begun = Instant::now();
        for _ in 0..5 {
            sqlx::query("insert into public.one_row (v) values ('x')").execute(&mut *connection).await?;
        }
        commits.push(begun.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
        let begun = Instant::now();
        let task = tasker.submit_version(workflow, &serde_json::json!({}), Submission::default()).await?;
        LAST_STEP.notified().await;
        loop {
            let state: String = sqlx::query_scalar("select state::text from tasker.tasks where task_id = $1")
                .bind(task.task_id)
                .fetch_one(&mut *connection)
                .await?;
            if state == "complete" {
                break;
            }
        }
        ours.push(begun.elapsed());
    }
    drop(connection);
    stop.cancel();
    worker.await??;
    ours.sort();
    commits.sort();
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    println!(
        "chain of 4: p50 {:.2} p95 {:.2} ms; five commits p50 {:.2} p95 {:.2} ms; ratio {:.2}",
        ms(ours[ROUNDS / 2]),
        ms(ours[ROUNDS * 95 / 100]),
        ms(commits[ROUNDS / 2]),
        ms(commits[ROUNDS * 95 / 100]),
        ours[ROUNDS / 2].as_secs_f64() / commits[ROUNDS / 2].as_secs_f64()
    );
    Ok(())
}
