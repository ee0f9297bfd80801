//! A workflow's definition: the validated form behind every way of writing one (YAML, Rust).
//!
//! A [`Definition`] can only be made by validation, so whoever holds one knows that its names are legal, its
//! graph is acyclic and its templates refer to upstream steps.

use std::time::Duration;

use serde::Serialize;

use crate::retry;

/// A valid workflow: a named graph of nodes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Definition {
    /// The tenant, `default` where the file names none.
    pub namespace: String,
    /// The workflow's name.
    pub name: String,
    /// A semantic version, for example `1.0.0`.
    pub version: String,
    /// One line or more for people.
    pub description: Option<String>,
    /// JSON Schema of a task's input; `None`: any object.
    pub input: Option<serde_json::Value>,
    /// The nodes; a node's place in this list is its step number.
    pub steps: Vec<Node>,
}

/// One node of a workflow's graph.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Node {
    /// Unique in the workflow.
    pub name: String,
    /// What runs it: a built-in (`command`, `transform`, `render`, `sleep`) or a registered function's name.
    pub handler: String,
    /// The handler's arguments, with templates in its strings; `null` where there are none.
    pub with: serde_json::Value,
    /// Step numbers of the parents, ascending.
    pub parents: Vec<u32>,
    /// Step numbers whose results the attempt is given: those that its templates name, and for a handler in code its parents; ascending.
    pub needs: Vec<u32>,
    /// How often and when it is tried again.
    pub retry: retry::Policy,
    /// The greatest duration of one attempt; `None`: unlimited.
    pub timeout: Option<Duration>,
    /// How many steps with this name (and key) may run at once, over all tasks.
    pub concurrency: Option<Concurrency>,
    /// Its lane in the handler's queue.
    pub priority: Priority,
}

/// A limit on how many steps run at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Concurrency {
    /// At least 1.
    pub limit: u32,
    /// A path of members in the task's input, for example `["customer", "id"]`; empty: one limit for all.
    pub key: Vec<String>,
}

/// A lane of a handler's queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Served as if it had come a minute earlier than `normal`.
    High,
    /// The default.
    #[default]
    Normal,
    /// Served as if it had come a minute later than `normal`.
    Low,
}
