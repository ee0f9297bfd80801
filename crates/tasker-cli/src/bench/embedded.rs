//! The embedded database: how soon its first step runs, and how fast it is beside the server.

use std::{
    iter::repeat_n,
    path::Path,
    time::{Duration, Instant},
};

use tasker::{
    Tasker,
    sqlx::{Connection, PgConnection},
};

use super::{
    Result, Round,
    figures::{ms, submit, submit_many, until_done, with_workers},
    graphs::{Graph, ran},
    report::{Bar, Report, Unit},
};

/// Makes one, opens it again, and runs diamonds on it; and as many on the server.
pub async fn measure(round: &Round, report: &mut Report) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("tasker_bench_{}", uuid::Uuid::new_v4().simple()));
    let measured = on_both(round, report, &folder).await;
    std::fs::remove_dir_all(&folder)?;
    measured
}

async fn on_both(round: &Round, report: &mut Report, folder: &Path) -> Result<()> {
    let tasks = round.tasks / 4;
    for (name, at_least, strive) in [("cold", 2_000.0, 1_000.0), ("warm", 1_000.0, 500.0)] {
        let begun = Instant::now();
        let tasker = Tasker::embedded(folder).await?;
        let workflow = Graph::diamond().register(&tasker).await?;
        let first = ran();
        let took = with_workers([&tasker], 100, async || {
            submit(&tasker, workflow).await?;
            while ran() == first {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let took = begun.elapsed();
            until(first + 4).await;
            Ok(took)
        });
        let bar = Bar::Value { at_least, strive };
        report.add(format!("embedded, start to first step, {name}"), Unit::Milliseconds, ms(took.await?), None, bar);
        tasker.close().await;
    }

    let tasker = Tasker::embedded(folder).await?;
    let workflow = Graph::diamond().register(&tasker).await?;
    submit_many(&tasker, workflow, tasks).await?;
    let (first, begun) = (ran(), Instant::now());
    with_workers([&tasker], 100, async || {
        until(first + tasks * 4).await;
        Ok(())
    })
    .await?;
    let rate = (tasks * 4) as f64 / begun.elapsed().as_secs_f64();
    tasker.close().await;

    let workflow = Graph::diamond().register(&round.tasker).await?;
    let mut connection = PgConnection::connect(&round.url).await?;
    submit_many(&round.tasker, workflow, tasks).await?;
    let (first, begun) = (ran(), Instant::now());
    with_workers(repeat_n(&round.tasker, 2), 100, async || until_done(&mut connection, first, tasks * 4).await).await?;
    let floor = (tasks * 4) as f64 / begun.elapsed().as_secs_f64();
    let bar = Bar::Ratio { at_least: 0.5, strive: 1.0 };
    report.add("embedded, steps", Unit::PerSecond, rate, Some(("the server", floor)), bar);
    Ok(())
}

/// Until so many attempts have run.
async fn until(count: usize) {
    while ran() < count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
