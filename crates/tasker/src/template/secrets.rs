//! Secrets, by name: `{{ secrets.API_KEY }}` is looked up when an attempt's templates are rendered, on the machine of its worker, and
//! stands nowhere in the database.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use minijinja::{Error, ErrorKind, Value, value::Object};
use serde_json::Value as Json;

/// What stands for a secret in what is stored.
const REDACTED: &str = "[secret]";
/// What is shorter is no secret, and occurs by chance.
const LEAST_LENGTH: usize = 4;
/// The environment variable of a secret begins so.
const PREFIX: &str = "TASKER_SECRET_";
/// The environment variable that names the folder of secrets.
const FOLDER: &str = "TASKER_SECRETS";

/// Where a worker finds secrets: `NAME` is the environment's variable `TASKER_SECRET_NAME`, or the text of the file `NAME` in a folder,
/// without its last newline.
#[derive(Clone, Default)]
pub struct Secrets {
    folder: Option<PathBuf>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").field("folder", &self.folder).finish()
    }
}

impl Secrets {
    /// From the environment, and from the folder that its variable `TASKER_SECRETS` names.
    pub fn from_environment() -> Secrets {
        Secrets { folder: std::env::var_os(FOLDER).filter(|folder| !folder.is_empty()).map(PathBuf::from) }
    }

    /// From the environment, and from this folder.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Secrets {
        Secrets { folder: Some(folder.into()) }
    }

    fn find(&self, name: &str) -> Result<String, String> {
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name {
            return Err(format!("`{name}` cannot be a secret's name: it has letters, digits and `_`"));
        }
        if let Ok(value) = std::env::var(format!("{PREFIX}{name}")) {
            return Ok(value);
        }
        let nowhere =
            format!("there is no secret `{name}`: its worker has neither the environment variable {PREFIX}{name}");
        match self.folder.as_ref().map(|folder| folder.join(name)) {
            None => Err(format!("{nowhere} nor a folder of secrets ({FOLDER})")),
            Some(file) => match std::fs::read_to_string(&file) {
                Ok(text) => Ok(text
                    .strip_suffix('\n')
                    .map(|text| text.strip_suffix('\r').unwrap_or(text))
                    .unwrap_or(&text)
                    .into()),
                Err(error) => Err(format!("{nowhere} nor the file {}: {error}", file.display())),
            },
        }
    }
}

/// Whether an environment variable is one that holds, or leads to, secrets.
pub(crate) fn is_secret(variable: &std::ffi::OsStr) -> bool {
    variable == FOLDER || variable.to_string_lossy().starts_with(PREFIX)
}

/// The secrets that the templates of one attempt have named. Their text is not shown.
#[derive(Clone, Default)]
pub struct SecretsUsed(Arc<Mutex<Vec<String>>>);

impl fmt::Debug for SecretsUsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.values().len())
    }
}

impl SecretsUsed {
    /// A text without them.
    pub(crate) fn redact(&self, text: String) -> String {
        self.values().iter().fold(text, |text, secret| text.replace(secret.as_str(), REDACTED))
    }

    /// JSON text whose strings are without them.
    pub(crate) fn redact_json(&self, text: String) -> String {
        if self.values().is_empty() {
            return text;
        }
        let Ok(mut value) = serde_json::from_str(&text) else { return text };
        if self.redact_value(&mut value) { value.to_string() } else { text }
    }

    fn redact_value(&self, value: &mut Json) -> bool {
        match value {
            Json::String(text) => {
                let redacted = self.redact(text.clone());
                let is_changed = redacted != *text;
                *text = redacted;
                is_changed
            }
            Json::Array(items) => items.iter_mut().fold(false, |changed, item| self.redact_value(item) | changed),
            Json::Object(members) => {
                let mut is_changed = false;
                for (name, mut member) in std::mem::take(members) {
                    let redacted = self.redact(name.clone());
                    is_changed |= self.redact_value(&mut member) | (redacted != name);
                    members.insert(redacted, member);
                }
                is_changed
            }
            _ => false,
        }
    }

    /// The longest first: one may contain another.
    fn values(&self) -> Vec<String> {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        values.retain(|value| value.len() >= LEAST_LENGTH);
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        values
    }
}

/// The template's `secrets`.
#[derive(Debug)]
pub(super) struct Variable {
    pub(super) secrets: Secrets,
    pub(super) used: SecretsUsed,
}

impl Object for Variable {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        Some(match self.secrets.find(name) {
            Ok(value) => {
                self.used.0.lock().unwrap_or_else(PoisonError::into_inner).push(value.clone());
                Value::from(value)
            }
            Err(message) => Value::from(Error::new(ErrorKind::InvalidOperation, message)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_stands_nowhere_in_what_is_kept() {
        let used = SecretsUsed(Arc::new(Mutex::new(vec!["se\"cret".into(), "se\"cret-long".into(), "abc".into()])));
        assert_eq!(used.redact("a se\"cret-long and a se\"cret, abc".into()), "a [secret] and a [secret], abc");
        let json = r#"{"se\"cret":["x se\"cret",{"n":1.50}],"abc":"abc"}"#;
        assert_eq!(used.redact_json(json.into()), r#"{"[secret]":["x [secret]",{"n":1.5}],"abc":"abc"}"#);
        let untouched = r#"{"n":1.50}"#;
        assert_eq!(used.redact_json(untouched.into()), untouched);
    }

    #[test]
    fn a_secret_is_a_file_or_a_variable() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("API_KEY"), "k3y\r\n").unwrap();
        let secrets = Secrets::in_folder(folder.path());
        assert_eq!(secrets.find("API_KEY").unwrap(), "k3y");
        for name in ["", "../API_KEY", "a/b", "A.B"] {
            assert!(secrets.find(name).unwrap_err().contains("cannot be a secret's name"), "{name}");
        }
        let absent = secrets.find("ABSENT").unwrap_err();
        assert!(absent.contains("TASKER_SECRET_ABSENT") && absent.contains("No such file"), "{absent}");
        assert!(Secrets::default().find("ABSENT").unwrap_err().contains("nor a folder of secrets (TASKER_SECRETS)"));
    }
}
