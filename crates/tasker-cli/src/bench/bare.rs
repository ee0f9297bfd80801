//! The bare engine in its two forms (`bare.sql`, `bare_queue.sql`), driven as a worker drives ours; and the rows of ours, written by somebody
//! who knows what will happen (`rows.sql`).

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tasker::sqlx::{self, Connection, PgConnection};
use uuid::Uuid;

use super::{Result, Round, graphs::Graph};

/// One form of it.
pub struct Bare {
    pub is: &'static str,
    schema: &'static str,
    made_by: &'static str,
}

/// Steps alone, with their states and counters.
pub const BARE: Bare = Bare { is: "the bare engine", schema: "bare", made_by: include_str!("bare.sql") };
/// Steps, and a queue of what may run.
pub const BARE_QUEUE: Bare =
    Bare { is: "with a queue apart", schema: "bare_queue", made_by: include_str!("bare_queue.sql") };

impl Bare {
    /// Makes it, for one graph.
    pub async fn make(&self, connection: &mut PgConnection, graph: &Graph) -> Result<()> {
        let schema = self.schema;
        let drop = sqlx::AssertSqlSafe(format!("drop schema if exists {schema} cascade"));
        sqlx::raw_sql(drop).execute(&mut *connection).await?;
        sqlx::raw_sql(self.made_by).execute(&mut *connection).await?;
        let edges = graph.parents.iter().enumerate();
        let (from, to): (Vec<i32>, Vec<i32>) =
            edges.flat_map(|(step, parents)| parents.iter().map(move |parent| (*parent as i32, step as i32))).unzip();
        let fill = sqlx::AssertSqlSafe(format!("insert into {schema}.edges select * from unnest($1, $2)"));
        sqlx::query(fill).bind(from).bind(to).execute(&mut *connection).await?;
        let totals: Vec<i32> = graph.parents.iter().map(|parents| parents.len() as i32).collect();
        let fill = sqlx::AssertSqlSafe(format!(
            "insert into {schema}.parents select n - 1, t from unnest($1) with ordinality u(t, n)"
        ));
        sqlx::query(fill).bind(totals).execute(&mut *connection).await?;
        let analyze = sqlx::AssertSqlSafe(format!("analyze {schema}.edges, {schema}.parents"));
        sqlx::raw_sql(analyze).execute(connection).await?;
        Ok(())
    }

    /// Submits so many tasks, so many a call; gives how long it took.
    pub async fn submit(&self, connection: &mut PgConnection, tasks: usize, a_call: usize) -> Result<Duration> {
        let begun = Instant::now();
        let numbers: Vec<i64> = (0..tasks as i64).collect();
        let submit = format!("select {}.submit($1)", self.schema);
        for chunk in numbers.chunks(a_call) {
            sqlx::query(sqlx::AssertSqlSafe(&*submit)).bind(chunk).execute(&mut *connection).await?;
        }
        Ok(begun.elapsed())
    }

    /// Runs what was submitted, of so many steps; gives how long it took.
    pub async fn run(&self, round: &Round, steps: usize, workers: usize, batch: usize) -> Result<Duration> {
        let done = Arc::new(AtomicUsize::new(0));
        let mut connections = Vec::new();
        for _ in 0..workers {
            connections.push(PgConnection::connect(&round.url).await?);
        }
        let begun = Instant::now();
        let mut running = tokio::task::JoinSet::new();
        for mut connection in connections {
            let (done, turn) = (done.clone(), format!("select task, step from {}.turn($1, $2, $3)", self.schema));
            running.spawn(async move {
                let mut held: Vec<(i64, i32)> = Vec::new();
                loop {
                    let (tasks, of_steps): (Vec<i64>, Vec<i32>) = held.iter().copied().unzip();
                    let count = held.len();
                    held = sqlx::query_as(sqlx::AssertSqlSafe(&*turn))
                        .bind(tasks)
                        .bind(of_steps)
                        .bind(batch as i32)
                        .fetch_all(&mut connection)
                        .await?;
                    if done.fetch_add(count, Ordering::Relaxed) + count >= steps && held.is_empty() {
                        return Ok::<_, sqlx::Error>(());
                    }
                    if held.is_empty() {
                        tokio::time::sleep(Duration::from_micros(200)).await;
                    }
                }
            });
        }
        while let Some(ended) = running.join_next().await {
            ended??;
        }
        Ok(begun.elapsed())
    }
}

/// Writes what a run of these diamonds would write, of a hundred tasks a time; gives how long it took.
pub async fn write_rows(round: &Round, workflow: i32, tasks: Vec<Uuid>, workers: usize) -> Result<Duration> {
    let mut connections = Vec::new();
    for _ in 0..workers {
        connections.push(PgConnection::connect(&round.url).await?);
    }
    sqlx::raw_sql(include_str!("rows.sql")).execute(&mut connections[0]).await?;
    let begun = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for (mut connection, share) in connections.into_iter().zip(tasks.chunks(tasks.len().div_ceil(workers))) {
        let share = share.to_vec();
        running.spawn(async move {
            let worker = Uuid::new_v4();
            for hundred in share.chunks(100) {
                for layer in 0..4 {
                    sqlx::query("select bare.write($1, $2, $3, $4)")
                        .bind(hundred)
                        .bind(layer)
                        .bind(worker)
                        .bind(workflow)
                        .execute(&mut connection)
                        .await?;
                }
            }
            Ok::<_, sqlx::Error>(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(begun.elapsed())
}
