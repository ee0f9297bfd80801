//! From a tree of YAML to a draft: the words of the format, and the types of their values.

use std::{
    collections::HashMap, fmt::Display, fs::File, io::Read as _, ops::RangeInclusive, path::Path, time::Duration,
};

use serde_json::Value;

use super::tree::{Kind, Mark, Tree};
use crate::{
    duration, handlers, json, retry,
    suggest::{did_you_mean, list},
    template,
    workflow::{Concurrency, Draft, DraftStep, Priority},
};

pub(super) const WORKFLOW: [&str; 7] = ["name", "namespace", "version", "description", "input", "defaults", "steps"];
pub(super) const STEP: [&str; 8] =
    ["name", "handler", "with", "depends_on", "retry", "timeout", "concurrency", "priority"];
pub(super) const DEFAULTS: [&str; 3] = ["retry", "timeout", "priority"];
pub(super) const RETRY: [&str; 4] = ["max_attempts", "base_delay", "max_delay", "retryable"];
pub(super) const CONCURRENCY: [&str; 2] = ["limit", "key"];

/// What is read from a file.
pub(super) struct Read {
    pub(super) draft: Draft,
    /// What is wrong with words and types.
    pub(super) faults: Vec<(Mark, String)>,
    /// The files that became steps' `template`, by the steps' numbers.
    pub(super) template_files: HashMap<usize, TemplateFile>,
}

/// A template that stood in a file of its own.
pub(super) struct TemplateFile {
    pub(super) name: String,
    pub(super) text: String,
}

/// Reads what can be read; what cannot is replaced by its default, and a fault.
pub(super) fn read(tree: &Tree, text: &str, folder: Option<&Path>) -> Read {
    let mut reader = Reader { text, folder, step: None, faults: Vec::new(), template_files: HashMap::new() };
    let draft = reader.workflow(tree);
    Read { draft, faults: reader.faults, template_files: reader.template_files }
}

struct Reader<'a> {
    text: &'a str,
    folder: Option<&'a Path>,
    /// The step that is being read: its number and name.
    step: Option<(usize, String)>,
    faults: Vec<(Mark, String)>,
    template_files: HashMap<usize, TemplateFile>,
}

/// What every step has where it does not say otherwise.
#[derive(Clone, Default)]
struct Defaults {
    retry: retry::Policy,
    timeout: Option<Duration>,
    priority: Priority,
}

impl Reader<'_> {
    fn workflow(&mut self, tree: &Tree) -> Draft {
        if matches!(tree.kind, Kind::Null) {
            self.fault(tree.mark, "the file is empty; a workflow has at least `name`, `version` and `steps`");
        } else if self.object(tree, "a workflow", &WORKFLOW) {
            ["name", "version", "steps"].iter().for_each(|key| self.require(tree, key));
        }
        let mut defaults = Defaults::default();
        if let Some(tree) = tree.get("defaults")
            && self.object(tree, "`defaults`", &DEFAULTS)
        {
            defaults = self.defaults(tree, "defaults.", &defaults);
        }
        Draft {
            namespace: self.text(tree, "namespace", "").unwrap_or_else(|| "default".into()),
            name: self.text(tree, "name", "").unwrap_or_default(),
            version: self.version(tree).unwrap_or_default(),
            description: self.text(tree, "description", ""),
            input: tree.get("input").map(|tree| self.json(tree)),
            steps: self.list(tree, "steps", "").into_iter().enumerate().map(|it| self.step(it, &defaults)).collect(),
        }
    }

    fn version(&mut self, tree: &Tree) -> Option<String> {
        if let Some(Tree { kind: Kind::Number(_), mark }) = tree.get("version") {
            let written = self.written(tree.get("version")?);
            let missing = ".0".repeat(2usize.saturating_sub(written.matches('.').count()));
            let message = format!("`version` must be text, a semantic version: `version: \"{written}{missing}\"`");
            self.fault(*mark, message);
            return None;
        }
        self.text(tree, "version", "")
    }

    fn step(&mut self, (number, tree): (usize, &Tree), defaults: &Defaults) -> DraftStep {
        let name = match tree.get("name").map(|tree| &tree.kind) {
            Some(Kind::Text(name)) => format!("`{}`", json::clean(name, 100)),
            _ => format!("number {}", number + 1),
        };
        self.step = Some((number, name));
        if self.object(tree, "a step", &STEP) {
            self.require(tree, "name");
            if tree.get("handler").is_none() {
                let known = list(&handlers::BUILT_IN);
                let message =
                    format!("`handler` is missing: {known}, or a function's name, such as `shop.fulfil.ship`");
                self.fault(tree.mark, message);
            }
        }
        let Defaults { retry, timeout, priority } = self.defaults(tree, "", defaults);
        let step = DraftStep {
            name: self.text(tree, "name", "").unwrap_or_default(),
            handler: self.text(tree, "handler", ""),
            with: self.with(number, tree),
            depends_on: self.depends_on(tree),
            retry,
            timeout,
            concurrency: self.concurrency(tree),
            priority,
        };
        self.step = None;
        step
    }

    fn depends_on(&mut self, tree: &Tree) -> Vec<String> {
        if let Some(Tree { kind: Kind::Text(name), mark }) = tree.get("depends_on") {
            self.fault(*mark, format!("`depends_on` must be a list; write `[{name}]`"));
            return Vec::new();
        }
        let mut names = Vec::new();
        for entry in self.list(tree, "depends_on", "") {
            // A wrong one keeps its place, so that the places of those behind it stay what they are.
            names.push(self.as_text(entry, "a name in `depends_on`").unwrap_or_default());
        }
        names
    }

    /// Reads `retry`, `timeout` and `priority`, of a step or of `defaults`.
    fn defaults(&mut self, tree: &Tree, path: &str, fallback: &Defaults) -> Defaults {
        let mut retry = fallback.retry.clone();
        if let Some(tree) = tree.get("retry")
            && self.object(tree, &format!("`{path}retry`"), &RETRY)
        {
            let path = format!("{path}retry.");
            let attempts = self.number(tree, "max_attempts", &path, 1..=retry::MAX_ATTEMPTS);
            retry.max_attempts = attempts.unwrap_or(retry.max_attempts);
            retry.retryable = self.boolean(tree, "retryable", &path).unwrap_or(retry.retryable);
            let delays = [self.duration(tree, "base_delay", &path), self.duration(tree, "max_delay", &path)];
            retry.base_delay = delays[0].unwrap_or(retry.base_delay);
            retry.max_delay = delays[1].unwrap_or(retry.max_delay);
            if retry.base_delay > retry.max_delay {
                let [base, max] = [retry.base_delay, retry.max_delay].map(duration::format);
                let mark = tree.get("base_delay").or(tree.get("max_delay")).unwrap_or(tree).mark;
                self.fault(mark, format!("`{path}base_delay` is {base}, above `max_delay`, which is {max}"));
                retry.max_delay = retry.base_delay;
            }
        }
        let words = ["high", "normal", "low"];
        let priority = match self.word(tree, "priority", path, &words) {
            Some(0) => Priority::High,
            Some(1) => Priority::Normal,
            Some(_) => Priority::Low,
            None => fallback.priority,
        };
        let mut timeout = self.duration(tree, "timeout", path);
        if let (Some(Duration::ZERO), Some(tree)) = (timeout, tree.get("timeout")) {
            self.fault(tree.mark, format!("`{path}timeout` must be longer than nothing"));
            timeout = None;
        }
        Defaults { retry, timeout: timeout.or(fallback.timeout), priority }
    }

    fn concurrency(&mut self, tree: &Tree) -> Option<Concurrency> {
        let tree = tree.get("concurrency")?;
        if !self.object(tree, "`concurrency`", &CONCURRENCY) {
            return None;
        }
        self.require(tree, "limit");
        let key = match self.text(tree, "key", "concurrency.") {
            Some(key) => key.split('.').map(str::to_string).collect(),
            None => Vec::new(),
        };
        let limit = self.number(tree, "limit", "concurrency.", 1..=i32::MAX as u32).unwrap_or(1);
        Some(Concurrency { limit, key })
    }

    /// Reads `with`, a template file in the place of its name.
    fn with(&mut self, number: usize, step: &Tree) -> Value {
        let Some(tree) = step.get("with") else { return Value::Null };
        let mut with = self.json(tree);
        let is_render = matches!(step.get("handler"), Some(Tree { kind: Kind::Text(name), .. }) if name == "render");
        if let (true, Some(file), Some(members)) = (is_render, tree.get("template_file"), with.as_object_mut()) {
            members.remove("template_file");
            if members.contains_key("template") {
                self.fault(file.mark, "`render` takes either `template` or `template_file`");
            } else {
                // Where it cannot be read there is no second complaint about a missing template.
                let template = self.template_file(file).inspect(|template| {
                    members.insert("template".into(), template.text.clone().into());
                });
                match template {
                    Some(template) => drop(self.template_files.insert(number, template)),
                    None => drop(members.insert("template".into(), "".into())),
                }
            }
        }
        with
    }

    fn template_file(&mut self, tree: &Tree) -> Option<TemplateFile> {
        let path = self.as_text(tree, "`template_file`")?;
        if template::is_template(&path) {
            self.fault(tree.mark, "`template_file` is read when the workflow is, so its name cannot be a template");
            return None;
        }
        let Some(folder) = self.folder else {
            self.fault(tree.mark, "there are no files here; put the text into `template` itself");
            return None;
        };
        let path = folder.join(path);
        let mut text = String::new();
        let limit = json::MAX_BYTES as u64;
        let read = File::open(&path).and_then(|file| file.take(limit + 1).read_to_string(&mut text));
        let name = path.display();
        match read {
            Err(error) => self.fault(tree.mark, format!("the template file `{name}` cannot be read: {error}")),
            Ok(_) if text.len() as u64 > limit => {
                self.fault(tree.mark, format!("the template file `{name}` is larger than {limit} bytes"));
            }
            Ok(_) => return Some(TemplateFile { name: name.to_string(), text }),
        }
        None
    }

    fn json(&mut self, tree: &Tree) -> Value {
        match &tree.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(value) => {
                let written = self.written(tree);
                if value.is_f64() && !written.contains(['.', 'e', 'E']) {
                    self.fault(tree.mark, format!("the number {written} does not fit into 64 bits; put it in quotes"));
                }
                Value::Number(value.clone())
            }
            Kind::Text(text) => Value::String(text.clone()),
            Kind::List(items) => items.iter().map(|item| self.json(item)).collect(),
            Kind::Object(members) => {
                let members = members.iter().map(|(key, value)| (key.text.clone(), self.json(value)));
                Value::Object(members.collect())
            }
        }
    }

    /// What a scalar looks like in the file.
    fn written(&self, tree: &Tree) -> &str {
        self.text.get(tree.mark.start as usize..tree.mark.end as usize).unwrap_or_default()
    }

    fn fault(&mut self, mark: Mark, message: impl Display) {
        let message = match &self.step {
            Some((_, name)) => format!("step {name}: {message}"),
            None => message.to_string(),
        };
        self.faults.push((mark, message));
    }

    /// Whether a value is an object; its unknown members are faults.
    fn object(&mut self, tree: &Tree, what: &str, known: &[&str]) -> bool {
        let Kind::Object(members) = &tree.kind else {
            self.fault(tree.mark, format!("{what} is an object with {}, not {}", list(known), describe(tree)));
            return false;
        };
        for (key, _) in members.iter().filter(|(key, _)| !known.contains(&key.text.as_str())) {
            let suggestion = match did_you_mean(&key.text, known.iter().copied()) {
                nothing if nothing.is_empty() => format!("; {what} has {}", list(known)),
                suggestion => suggestion,
            };
            self.fault(key.mark, format!("unknown key `{}`{suggestion}", json::clean(&key.text, 100)));
        }
        true
    }

    fn require(&mut self, tree: &Tree, key: &str) {
        if tree.get(key).is_none() {
            self.fault(tree.mark, format!("`{key}` is missing"));
        }
    }

    fn list<'t>(&mut self, tree: &'t Tree, key: &str, path: &str) -> Vec<&'t Tree> {
        match tree.get(key) {
            Some(Tree { kind: Kind::List(items), .. }) => items.iter().collect(),
            Some(other) => {
                self.fault(other.mark, format!("`{path}{key}` must be a list, not {}", describe(other)));
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    fn text(&mut self, tree: &Tree, key: &str, path: &str) -> Option<String> {
        self.as_text(tree.get(key)?, &format!("`{path}{key}`"))
    }

    fn as_text(&mut self, tree: &Tree, what: &str) -> Option<String> {
        match &tree.kind {
            Kind::Text(text) => return Some(text.clone()),
            Kind::Number(_) | Kind::Bool(_) => {
                let written = self.written(tree).to_string();
                self.fault(tree.mark, format!("{what} must be text; put it in quotes: \"{written}\""));
            }
            _ => self.fault(tree.mark, format!("{what} must be text, not {}", describe(tree))),
        }
        None
    }

    fn number(&mut self, tree: &Tree, key: &str, path: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let tree = tree.get(key)?;
        let number = match &tree.kind {
            Kind::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
            _ => None,
        };
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let (first, last) = (range.start(), range.end());
            let message = format!("`{path}{key}` must be a number from {first} to {last}, not {}", describe(tree));
            self.fault(tree.mark, message);
        }
        number
    }

    fn boolean(&mut self, tree: &Tree, key: &str, path: &str) -> Option<bool> {
        let tree = tree.get(key)?;
        if let Kind::Bool(value) = tree.kind {
            return Some(value);
        }
        self.fault(tree.mark, format!("`{path}{key}` must be `true` or `false`, not {}", describe(tree)));
        None
    }

    fn duration(&mut self, tree: &Tree, key: &str, path: &str) -> Option<Duration> {
        let tree = tree.get(key)?;
        let invalid = match &tree.kind {
            Kind::Text(text) => match duration::parse(text) {
                Ok(duration) => return Some(duration),
                Err(invalid) => invalid.to_string(),
            },
            // A bare number: the sentence about the unit that is missing.
            Kind::Number(number) => match duration::parse(&number.to_string()) {
                Ok(_) => return None,
                Err(invalid) => invalid.to_string(),
            },
            _ => format!("a duration is written like `30s`, not {}", describe(tree)),
        };
        self.fault(tree.mark, format!("`{path}{key}`: {invalid}"));
        None
    }

    /// The index of one of `words`.
    fn word(&mut self, tree: &Tree, key: &str, path: &str, words: &[&str]) -> Option<usize> {
        let tree = tree.get(key)?;
        let text = if let Kind::Text(text) = &tree.kind { text.as_str() } else { "" };
        let index = words.iter().position(|word| *word == text);
        if index.is_none() {
            let suggestion = did_you_mean(text, words.iter().copied());
            let message = format!("`{path}{key}` must be one of {}, not {}{suggestion}", list(words), describe(tree));
            self.fault(tree.mark, message);
        }
        index
    }
}

/// A value in a sentence.
fn describe(tree: &Tree) -> String {
    match &tree.kind {
        Kind::Null => "nothing".into(),
        Kind::Bool(value) => value.to_string(),
        Kind::Number(number) => number.to_string(),
        Kind::Text(text) => format!("the text `{}`", json::clean(text, 60)),
        Kind::List(_) => "a list".into(),
        Kind::Object(_) => "an object".into(),
    }
}
