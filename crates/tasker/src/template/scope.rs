//! What a template can see: the task's input, and the results of steps, each parsed when it is first named.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use minijinja::{
    Error, ErrorKind, Value,
    value::{Object, ValueKind},
};
use serde_json::value::RawValue;

use super::secrets::{Secrets, SecretsUsed, Variable};
use crate::suggest;

/// The variables of a template: `input`, `steps.<name>.result`, and what [`Scope::and`] adds.
///
/// Making one copies no payload, and a payload that no template names is never parsed.
#[derive(Clone, Debug)]
pub struct Scope {
    variables: Arc<Variables>,
}

impl Scope {
    /// A scope over a task's input and the results of steps by name.
    pub fn new(input: Arc<RawValue>, results: Arc<BTreeMap<String, Box<RawValue>>>) -> Scope {
        let steps = Value::from_object(Steps { results, parsed: Mutex::default() });
        Scope { variables: Arc::new(Variables { input, parsed_input: OnceLock::new(), steps, more: Vec::new() }) }
    }

    /// The same scope with one more variable, for example a command's `output`.
    pub fn and(self, name: &str, value: &RawValue) -> Scope {
        let mut variables = Arc::unwrap_or_clone(self.variables);
        variables.more.push((name.into(), parse(value)));
        Scope { variables: Arc::new(variables) }
    }

    /// The same scope with `secrets`; what templates name of them is remembered.
    pub(crate) fn and_secrets(self, secrets: Secrets, used: SecretsUsed) -> Scope {
        let mut variables = Arc::unwrap_or_clone(self.variables);
        variables.more.push(("secrets".into(), Value::from_object(Variable { secrets, used })));
        Scope { variables: Arc::new(variables) }
    }

    /// The value that minijinja takes as a template's root.
    pub(super) fn root(&self) -> Value {
        Value::from_dyn_object(self.variables.clone())
    }

    /// `; did you mean `input.customer`?` for a path that is not there, where a name like its last one is.
    pub(super) fn hint(&self, path: &str) -> String {
        let Some((parent, name)) = path.rsplit_once('.') else { return String::new() };
        let mut here = self.root();
        for segment in parent.split('.') {
            match here.get_attr(segment) {
                Ok(next) if next.kind() == ValueKind::Map => here = next,
                _ => return String::new(),
            }
        }
        let members: Vec<String> = here.try_iter().into_iter().flatten().map(|key| key.to_string()).collect();
        match suggest::closest(name, members.iter().map(String::as_str)) {
            Some(member) => format!("; did you mean `{parent}.{member}`?"),
            None => String::new(),
        }
    }
}

#[derive(Clone, Debug)]
struct Variables {
    input: Arc<RawValue>,
    parsed_input: OnceLock<Value>,
    steps: Value,
    more: Vec<(String, Value)>,
}

impl Object for Variables {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "input" => Some(self.parsed_input.get_or_init(|| parse(&self.input)).clone()),
            "steps" => Some(self.steps.clone()),
            name => self.more.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone()),
        }
    }
}

#[derive(Debug)]
struct Steps {
    results: Arc<BTreeMap<String, Box<RawValue>>>,
    parsed: Mutex<HashMap<String, Value>>,
}

impl Object for Steps {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(step) = parsed.get(name) {
            return Some(step.clone());
        }
        let step = Value::from_pairs([("result", parse(self.results.get(name)?))]);
        parsed.insert(name.into(), step.clone());
        Some(step)
    }
}

/// The template's form of a JSON text. A text that does not parse becomes an error where a template uses it.
fn parse(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get())
        .unwrap_or_else(|error| Value::from(Error::new(ErrorKind::CannotDeserialize, error.to_string())))
}
