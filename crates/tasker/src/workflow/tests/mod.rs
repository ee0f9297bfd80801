//! Workflow files: mistakes that are told, files that load, and graphs of real runs.

mod load;
mod mistakes;
mod real;
mod schema;
