//! A workflow's definition: the validated form behind every way of writing one (YAML, Rust).
//!
//! A [`Draft`] is what someone wrote; [`Definition::check`] makes a [`Definition`] of it or says everything that is
//! wrong with it. So whoever holds a definition knows that its names are legal, its graph is acyclic and its templates
//! refer to upstream steps.

mod builder;
mod edges;
mod file;
mod graph;
mod input;
mod validate;
mod with;
mod yaml;

use std::{path::Path, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

pub use self::{
    builder::{Step, Workflow},
    graph::Level,
    input::InputSchema,
    validate::{Draft, DraftStep, Problem, Spot},
    yaml::{Located, Refused, schema},
};
use crate::{duration, retry};

/// The greatest number of steps of a workflow.
pub const MAX_STEPS: usize = 100_000;
/// The greatest number of edges of a workflow.
pub const MAX_EDGES: usize = 1_000_000;
/// The greatest size of a definition, as a file and in its steps' `with`, in bytes: 16 MiB.
pub const MAX_BYTES: usize = 16 << 20;

/// A valid workflow: a named graph of nodes. (Read from JSON only where a valid one was stored.)
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// The tenant, `default` where the file names none.
    pub namespace: String,
    /// The workflow's name.
    pub name: String,
    /// A semantic version, for example `1.0.0`, without build metadata.
    pub version: String,
    /// One line or more for people.
    pub description: Option<String>,
    /// JSON Schema of a task's input, always an object; `None`: any object.
    pub input: Option<Value>,
    /// The nodes; a node's place in this list is its step number.
    pub steps: Vec<Node>,
}

/// One node of a workflow's graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Unique in the workflow.
    pub name: String,
    /// What runs it: a built-in (`command`, `transform`, `render`, `sleep`) or a registered function's name.
    pub handler: String,
    /// The handler's arguments, with templates in its strings; `null` where there are none.
    pub with: Value,
    /// Step numbers of the parents, ascending.
    pub parents: Vec<u32>,
    /// Step numbers whose results the attempt is given: those that its templates name, and for a handler in code its
    /// parents; ascending.
    pub needs: Vec<u32>,
    /// How often and when it is tried again.
    pub retry: retry::Policy,
    /// The greatest duration of one attempt, in whole milliseconds; `None`: unlimited.
    #[serde(with = "duration::optional_text")]
    pub timeout: Option<Duration>,
    /// How many steps with this name (and key) may run at once, over all tasks.
    pub concurrency: Option<Concurrency>,
    /// Its lane in the handler's queue.
    pub priority: Priority,
}

/// A limit on how many steps run at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concurrency {
    /// At least 1.
    pub limit: u32,
    /// A path of members in the task's input, for example `["customer", "id"]`; empty: one limit for all.
    pub key: Vec<String>,
}

/// A lane of a handler's queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "graphql", derive(async_graphql::Enum), graphql(rename_items = "snake_case"))]
pub enum Priority {
    /// Served as if it had come a minute earlier than `normal`.
    High,
    /// The default.
    #[default]
    Normal,
    /// Served as if it had come a minute later than `normal`.
    Low,
}

impl Definition {
    /// Makes a definition of a draft. `functions` are the names of registered functions; a name with a dot in it is
    /// taken for one, too.
    ///
    /// # Errors
    /// Everything that is wrong with the draft.
    pub fn check(draft: Draft, functions: &[&str]) -> Result<Definition, Vec<Problem>> {
        validate::check(draft, functions)
    }

    /// Reads a workflow file; the template files that it names are relative to its folder, and become part of the
    /// definition.
    ///
    /// # Errors
    /// Everything that is wrong with the file, or why it cannot be read.
    pub fn from_file(path: &Path, functions: &[&str]) -> Result<Definition, Refused> {
        yaml::from_file(path, functions)
    }

    /// Reads a workflow from YAML. `file` is its name in messages; `folder` is where its template files are, and
    /// without one it may not name any.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn from_yaml(
        file: &str,
        text: &[u8],
        folder: Option<&Path>,
        functions: &[&str],
    ) -> Result<Definition, Refused> {
        yaml::from_yaml(file, text, folder, functions)
    }

    /// Where each node stands in the graph, by step number. Linear in the number of steps and edges.
    pub fn levels(&self) -> Vec<Level> {
        let parents: Vec<Vec<u32>> = self.steps.iter().map(|step| step.parents.clone()).collect();
        // A definition has no cycles; what was not one (a stored text that someone edited) has levels of 0.
        graph::levels(&parents, &graph::order(&parents).unwrap_or_default())
    }

    /// SHA-256 of the definition's canonical JSON (the members of all objects sorted by name), in hexadecimal: equal
    /// exactly where the contents are, whatever the order in which they were written.
    pub fn content_hash(&self) -> String {
        // Serialising plain data of our own into a value cannot fail.
        let mut content = serde_json::to_value(self).unwrap_or_default();
        content.sort_all_objects();
        format!("{:x}", Sha256::digest(content.to_string()))
    }

    /// Fills in the defaults of the input schema's `properties`, nested ones where their object is there, and
    /// validates the result.
    ///
    /// # Errors
    /// Everything that is wrong with the input, each with its path: `` `input.count`: "x" is not of type "integer" ``.
    pub fn check_input(&self, input: &Value) -> Result<Value, Vec<String>> {
        input::check(self.input.as_ref(), input)
    }
}

#[cfg(test)]
mod tests;
