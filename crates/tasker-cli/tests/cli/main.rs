//! The binary as a user has it: its exit codes, what it prints, and what survives when it is stopped or killed.

mod support;

mod bad_servers;
mod checking;
mod completions;
mod doors;
mod endings;
mod examples;
mod guide;
mod http;
mod interruptions;
mod looking;
mod real_graphs;
mod secrets;
mod server;
mod watching;
