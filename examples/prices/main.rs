//! Asks three shops for the prices of many products, four requests at a time to each shop.
//!
//! `cargo run -p tasker --features embedded --example prices`; see the README beside this file.

#[path = "../database.rs"]
mod database;
mod shops;

use std::{error::Error, path::Path};

use serde_json::json;
use tasker::{
    Submission, Tasker, WorkerOptions,
    handlers::{self, Options},
    workflow::Definition,
};
use tokio_util::sync::CancellationToken;

use self::shops::Shops;

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// Products and their cheapest offers.
    pub cheapest: Vec<String>,
    /// The greatest number of requests that a shop had at once.
    pub most_at_once: usize,
}

/// Submits so many products, and works until all have their prices.
pub async fn run(tasker: &Tasker, products: u32) -> Result<Report, Box<dyn Error>> {
    let shops = Shops::open().await?;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/prices/prices.yaml");
    let workflow = tasker.register_definition(&Definition::from_file(&file, &[])?).await?;
    // the shops are on this machine, which is not the public internet
    let options = Options { allow_command: false, allow_private_hosts: true, base_dir: ".".into() };
    for (name, handler) in handlers::built_in(&options) {
        tasker.handle(name, handler);
    }
    let stop = CancellationToken::new();
    let worker = tokio::spawn(tasker.worker(WorkerOptions::default()).run(stop.clone()));
    let inputs = (1..=products)
        .map(|product| (json!({ "product": product, "shops": shops.url() }), Submission::default()))
        .collect();
    let mut cheapest = Vec::new();
    for task in tasker.submit_many(workflow, inputs).await? {
        let state = database::end_of(tasker, task.task_id).await?;
        let result = tasker.store().results(task.task_id, &[3]).await?.pop().map(|(_, result)| result);
        cheapest.push(result.unwrap_or(state));
    }
    stop.cancel();
    worker.await??;
    Ok(Report { cheapest, most_at_once: shops.most_at_once() })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let database = database::open().await?;
    let report = run(&database.tasker, 20).await?;
    report.cheapest.iter().for_each(|offer| println!("{offer}"));
    println!("no shop had more than {} requests at once", report.most_at_once);
    database.close().await;
    Ok(())
}
