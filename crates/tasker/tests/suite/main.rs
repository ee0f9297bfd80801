//! The engine's rules, tested on a real PostgreSQL server: `scripts/test`. All tests that need a database are modules of
//! this one program, and get theirs from [`support`].

#[cfg(feature = "embedded")]
mod embedded;
mod engine_attempts;
mod engine_connections;
mod engine_drive;
mod engine_leases;
mod engine_limits;
mod engine_results;
mod engine_workflows;
mod readiness;
mod support;
