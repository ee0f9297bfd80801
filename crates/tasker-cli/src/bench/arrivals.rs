//! Tasks that arrive at set instants, whether or not those before them are done: a latency counts from the instant at which the task was to
//! arrive, so that whoever is late is not forgiven for it.

use std::{
    iter::repeat_n,
    time::{Duration, Instant},
};

use tasker::sqlx::PgConnection;

use super::{
    Result, Round,
    figures::{ms, submit, with_workers},
    floors,
    graphs::Graph,
    report::{Bar, Report, Unit},
};

/// For so long they arrive.
const WHILE: Duration = Duration::from_secs(5);

/// Four steps in sequence, from arrival to result, at a few rates: two workers.
pub async fn measure(round: &Round, report: &mut Report, connection: &mut PgConnection) -> Result<()> {
    let workflow = Graph::chain(4).register(&round.tasker).await?;
    let commit = floors::median(300, async || floors::commit(connection).await).await?;
    for rate in [10, 100, 400] {
        let mut took = with_workers(repeat_n(&round.tasker, 2), 100, async || {
            tokio::time::sleep(Duration::from_millis(200)).await;
            arrive(round, workflow, rate).await
        })
        .await?;
        took.sort();
        for (name, place) in [("p50", took.len() / 2), ("p99", took.len() * 99 / 100), ("most", took.len() - 1)] {
            let floor = Some(("five commits", 5.0 * ms(commit)));
            let name = format!("{rate} arrivals a second, {name}");
            report.add(name, Unit::Milliseconds, ms(took[place]), floor, Bar::None);
        }
    }
    Ok(())
}

/// So many tasks a second; gives how long each was late for its result.
async fn arrive(round: &Round, workflow: i32, rate: u32) -> Result<Vec<Duration>> {
    let (sender, mut due) = tokio::sync::mpsc::unbounded_channel();
    let begun = Instant::now() + Duration::from_millis(50);
    // a thread of its own: the runtime's timers know milliseconds only
    std::thread::spawn(move || {
        for number in 0..rate * WHILE.as_secs() as u32 {
            let at = begun + Duration::from_secs(1) * number / rate;
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            if sender.send(at).is_err() {
                return;
            }
        }
    });
    let mut running = tokio::task::JoinSet::new();
    while let Some(at) = due.recv().await {
        let tasker = round.tasker.clone();
        running.spawn(async move {
            let task = submit(&tasker, workflow).await?;
            match tasker.wait(task).await?.is_complete() {
                true => Ok(at.elapsed()),
                false => Err("a chain did not end well".into()),
            }
        });
    }
    running.join_all().await.into_iter().collect()
}
