//! A definition as a file has it, to send it to where no other files are.

use serde_json::{Value, json};

use super::{Concurrency, Definition, Node};
use crate::duration;

impl Definition {
    /// The file that it could have been read from, as JSON, which is YAML: what template files had in them stands in it.
    pub fn to_file(&self) -> Value {
        said(json!({
            "namespace": self.namespace, "name": self.name, "version": self.version, "description": self.description, "input": self.input,
            "steps": self.steps.iter().map(|node| self.step(node)).collect::<Value>(),
        }))
    }

    fn step(&self, node: &Node) -> Value {
        let parents = node.parents.iter().map(|number| self.steps[*number as usize].name.as_str());
        let concurrency = |Concurrency { limit, key }: &Concurrency| {
            said(json!({ "limit": limit, "key": (!key.is_empty()).then(|| key.join(".")) }))
        };
        said(json!({
            "name": node.name, "handler": node.handler, "with": node.with, "depends_on": parents.collect::<Value>(), "retry": node.retry,
            "timeout": node.timeout.map(duration::format), "concurrency": node.concurrency.as_ref().map(concurrency), "priority": node.priority,
        }))
    }
}

/// Without the members of which nothing is said.
fn said(mut object: Value) -> Value {
    if let Some(members) = object.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    object
}
