//! The engine's rules, tested on a real PostgreSQL server: `scripts/test`. All tests that need a database are modules of
//! this one program, and get theirs from [`support`].

mod bad_input;
mod batches;
mod by_hand;
mod claims;
mod crowd;
mod divergences;
#[cfg(feature = "embedded")]
mod embedded;
mod engine_attempts;
mod engine_connections;
mod engine_door;
mod engine_drive;
mod engine_functions;
mod engine_leases;
mod engine_limits;
mod engine_results;
mod engine_submissions;
mod engine_workflows;
mod events;
mod examples;
mod explain;
mod failures;
mod grid;
mod guide;
mod hand_ins;
mod interleavings;
mod kit;
mod limit_keys;
mod model;
mod plans;
mod pooler;
mod races;
mod readiness;
mod reference;
mod schema;
mod seed_defects;
mod standstills;
mod statements;
mod submissions;
mod support;
mod tidy;
mod torture;
mod truth_table;
