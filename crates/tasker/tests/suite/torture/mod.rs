//! Torture: workers that are processes of their own, on a server of their own, while they are killed at random and at chosen moments, stopped for
//! longer than their leases, cut off and left in silence, sessions are terminated, notifications are off, a pooler is between, the server is stopped like in a power cut, submitters do
//! not hear what became of their submissions, and people intervene. Every effect is written into a file beside the database: that is the witness.
//!
//! `scripts/torture SECONDS` runs it for as long as one likes, with `TASKER_TEST_SEED` to decide the faults; the suite does a minute of it.
//! Every run must have reached what it claims to test, as often as its length allows.

mod faults;
mod growth;
pub mod server;
mod witness;
mod worker;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::{ConnectOptions, postgres::PgConnectOptions};
use tasker::{Tasker, workflow::Definition};

use crate::support::{Chance, breakage, seed};
use faults::Torture;

/// How long the work that is left may take when nothing goes wrong any more.
const RECOVERY: Duration = Duration::from_secs(90);

/// The workflows. What they do is in [`worker`].
const WORKFLOWS: &[&str] = &[
    "{name: chain, namespace: torture, version: 1.0.0, defaults: {retry: {max_attempts: 40, base_delay: 20ms, max_delay: 200ms}}, steps: [
        {name: a, handler: torture.work}, {name: b, handler: torture.slow, depends_on: [a]}, {name: c, handler: torture.work, depends_on: [b]}]}",
    "{name: diamond, namespace: torture, version: 1.0.0, defaults: {retry: {max_attempts: 40, base_delay: 20ms, max_delay: 200ms}}, steps: [
        {name: a, handler: torture.work}, {name: b, handler: torture.flaky, depends_on: [a]}, {name: c, handler: torture.bank, depends_on: [a]},
        {name: d, handler: torture.work, depends_on: [b, c]}]}",
    "{name: narrow, namespace: torture, version: 1.0.0, defaults: {retry: {max_attempts: 40, base_delay: 20ms, max_delay: 200ms}}, steps: [
        {name: a, handler: torture.work, concurrency: {limit: 3}}, {name: b, handler: torture.work, concurrency: {limit: 3}},
        {name: c, handler: torture.timer, depends_on: [a, b]}]}",
    "{name: poison, namespace: torture, version: 1.0.0, steps: [
        {name: a, handler: torture.poison, retry: {max_attempts: 3, base_delay: 20ms}}, {name: b, handler: torture.work, retry: {max_attempts: 40, base_delay: 20ms}}]}",
    "{name: secretive, namespace: torture, version: 1.0.0, steps: [
        {name: a, handler: torture.secret, with: {key: '{{ secrets.CANARY }}'}, retry: {max_attempts: 40, base_delay: 20ms, max_delay: 200ms}}]}",
    "{name: undead, namespace: torture, version: 1.0.0, defaults: {retry: {max_attempts: 40, base_delay: 20ms, max_delay: 200ms}}, steps: [
        {name: a, handler: torture.zombie}, {name: b, handler: torture.work, depends_on: [a]}]}",
];

/// What must have come about in so many seconds, for each.
const REACHED: &[(&str, u64)] = &[
    ("workers killed", 1),
    ("workers killed behind a pooler", 4),
    ("killed after the claim's commit", 20),
    ("killed in the middle of an effect", 20),
    ("killed before the reply to their exchange", 15),
    ("killed after the reply to their exchange", 15),
    ("pauses with stale settlements refused", 2),
    ("server stops", 10),
    ("submissions whose outcome nobody knew", 3),
    ("exchanges cut", 3),
    ("sessions terminated", 4),
    ("roads that fell silent", 20),
    ("times without notifications", 10),
    ("leases that expired", 1),
    ("steps that ran out of attempts", 15),
    ("tasks cancelled, paused or retried by hand", 3),
    ("tasks complete", 1),
];

#[test]
fn nothing_is_lost_or_done_twice_whatever_is_killed() {
    let seconds = std::env::var("TASKER_TORTURE_SECONDS").map_or(60, |text| text.parse().unwrap());
    let seed = seed();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(torture(Duration::from_secs(seconds), Chance::mixed(seed)));
}

async fn torture(time: Duration, chance: Chance) {
    let server = server::Server::start().await;
    let options: PgConnectOptions = server.url.parse().unwrap();
    let options = options.log_statements(tracing::log::LevelFilter::Off);
    let tasker = Tasker::connect(&server.url).await.unwrap();
    tasker.migrate().await.unwrap();
    if let Some(sql) = breakage() {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(tasker.store().pool()).await.unwrap();
    }
    for file in WORKFLOWS {
        let handlers: Vec<&str> = worker::HANDLERS.iter().chain([&worker::ZOMBIE]).copied().collect();
        let definition = Definition::from_yaml("torture.yaml", file.as_bytes(), None, &handlers).unwrap();
        tasker.register_definition(&definition).await.unwrap();
    }
    sqlx::raw_sql("create schema bank; create table bank.effects (step uuid not null)")
        .execute(tasker.store().pool())
        .await
        .unwrap();

    let torture = Arc::new(Torture::new(options, tasker, server, chance));
    let begun = Instant::now();
    torture.clone().run(time).await;
    println!("{:?} of faults: {}", begun.elapsed(), torture.told());

    // and now nothing goes wrong any more
    let begun = Instant::now();
    torture.heal().await;
    while torture.is_anything_live().await {
        assert!(
            begun.elapsed() < RECOVERY,
            "after {RECOVERY:?} without a fault there is still work:\n{}",
            torture.what_is_live().await
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("everything had ended {:?} after the last fault", begun.elapsed());
    torture.stop_workers().await;

    let mut broken = witness::check(&torture).await;
    let (grown, told) = torture.growth.check(torture.tasker.store().pool()).await;
    println!("{told}\n{}\n\n{}", torture.told(), witness::matrix(&torture, time));
    broken.extend(grown);
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    let missed: Vec<String> = REACHED
        .iter()
        // it is not on every machine
        .filter(|(what, _)| torture.pooler.is_some() || !what.ends_with("behind a pooler"))
        .filter(|(what, every)| torture.counted(what) * every < time.as_secs() / 2)
        .map(|(what, every)| {
            format!("{what}: {} in {time:?}, at least one in {}s was to be", torture.counted(what), every * 2)
        })
        .collect();
    assert!(missed.is_empty(), "what was not reached was not tested:\n{}", missed.join("\n"));
}
