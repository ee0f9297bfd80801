//! Tasker runs workflows that are directed acyclic graphs of steps, keeps every fact in PostgreSQL, and
//! answers from the database, at any moment and exactly: which steps may run now, and why not the others?

pub mod duration;
pub mod handlers;
pub mod json;
pub mod place;
pub mod retry;
mod suggest;
pub mod template;
pub mod workflow;

/// The names of namespaces, workflows and steps match `^[a-z][a-z0-9_]{0,62}$`.
pub fn is_name(name: &str) -> bool {
    let rest_ok = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
    name.len() <= 63 && name.bytes().next().is_some_and(|c| c.is_ascii_lowercase()) && name.bytes().all(rest_ok)
}
