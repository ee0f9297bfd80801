//! What the server does at best: a round trip, commits of one row, in a row and side by side.

use std::time::{Duration, Instant};

use tasker::sqlx::{self, Connection, PgConnection};

use super::{Result, Round};

/// For so long commits are counted.
const WHILE: Duration = Duration::from_secs(1);

/// Makes the table whose rows are committed.
pub async fn make(connection: &mut PgConnection) -> Result<()> {
    let table =
        "create table if not exists public.one_row (id bigint generated always as identity primary key, v text)";
    sqlx::raw_sql(table).execute(connection).await?;
    Ok(())
}

/// Commits one row.
pub async fn commit(connection: &mut PgConnection) -> Result<()> {
    sqlx::query("insert into public.one_row (v) values ('x')").execute(connection).await?;
    Ok(())
}

/// How many rows so many clients commit a second, each in a transaction of its own.
pub async fn commits_a_second(round: &Round, clients: usize) -> Result<f64> {
    let mut connections = Vec::new();
    for _ in 0..clients {
        let mut connection = PgConnection::connect(&round.url).await?;
        commit(&mut connection).await?;
        connections.push(connection);
    }
    let begun = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for mut connection in connections {
        running.spawn(async move {
            let mut count = 0;
            while begun.elapsed() < WHILE {
                commit(&mut connection).await?;
                count += 1;
            }
            Ok::<usize, super::Trouble>(count)
        });
    }
    let mut count = 0;
    while let Some(ended) = running.join_next().await {
        count += ended??;
    }
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}

/// Inserts so many rows into one table, so many a statement; gives how long it took.
pub async fn rows_inserted(connection: &mut PgConnection, rows: usize, a_statement: usize) -> Result<Duration> {
    let begun = Instant::now();
    for _ in 0..rows / a_statement {
        sqlx::query("insert into public.one_row (v) select 'x' from generate_series(1, $1)")
            .bind(a_statement as i32)
            .execute(&mut *connection)
            .await?;
    }
    Ok(begun.elapsed())
}

/// The middle of what something takes, again and again.
pub async fn median(times: usize, mut what: impl AsyncFnMut() -> Result<()>) -> Result<Duration> {
    let mut took = Vec::with_capacity(times);
    for _ in 0..times {
        let begun = Instant::now();
        what().await?;
        took.push(begun.elapsed());
    }
    took.sort();
    Ok(took[times / 2])
}
