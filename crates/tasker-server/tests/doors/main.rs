//! The doors as a client has them: each request goes through the whole router, on a database of the test's own.

mod access;
mod bad_input;
mod bounds;
mod diagrams;
mod document;
mod events;
mod graphql;
mod graphql_access;
mod graphql_events;
mod graphql_limits;
mod graphql_page;
mod graphql_statements;
mod life;
mod outage;
mod statements;
mod support;
