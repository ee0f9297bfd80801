//! What every test stands on: a database of its own whose clock stands still, a worker's calls, workflows and histories
//! written in one line, and the questions that are asked after every test, whatever it did.

mod chance;
pub mod contender;
mod database;
mod invariants;
mod play;
mod proxy;
mod rule;
mod server;
mod sketch;
mod stage;
pub mod watch;
mod worker;

pub use chance::{Chance, cases, seed};
pub use database::{Moment, TestDatabase};
pub use invariants::violations;
pub use play::{Play, code};
pub use proxy::{Fate, Proxy};
pub use rule::Rule;
pub(crate) use rule::rules;
pub use server::{breakage, with_database, with_empty_database, with_real_clock};
pub use sketch::sketch;
pub use stage::{Process, Running, Stage, does, lease, nothing, raw, soon};
pub use worker::{Claim, Outcome, Search, Worker, reap};
