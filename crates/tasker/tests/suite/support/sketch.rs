//! Workflows in one line.
//!
//! `a, b > c` is two roots and a step that waits for both; `a > b, c > d` a diamond; `a > b; a > c` the same step in two
//! chains (an edge that is written twice is one). What a step is like stands in brackets where it first appears: `a[attempts=5 base=1s max=1m fatal
//! concurrency=2 key=customer.id priority=high handler=x]`.

use std::hash::{DefaultHasher, Hash, Hasher};

use tasker::{
    duration,
    workflow::{Concurrency, Definition, Draft, DraftStep, Priority},
};

/// The workflow that a line describes.
pub fn sketch(line: &str) -> Definition {
    let mut steps: Vec<DraftStep> = Vec::new();
    for chain in line.split(';') {
        let mut parents: Vec<String> = Vec::new();
        for layer in chain.split('>') {
            let mut names = Vec::new();
            for word in layer.split(',') {
                let (name, traits) = word.split_once('[').unwrap_or((word, ""));
                let name = name.trim().to_string();
                let step = match steps.iter().position(|step| step.name == name) {
                    Some(known) => &mut steps[known],
                    None => {
                        steps.push(DraftStep { name: name.clone(), ..DraftStep::default() });
                        steps.last_mut().unwrap()
                    }
                };
                for parent in &parents {
                    if !step.depends_on.contains(parent) {
                        step.depends_on.push(parent.clone());
                    }
                }
                for word in traits.trim_end().trim_end_matches(']').split_whitespace() {
                    characterise(step, word);
                }
                names.push(name);
            }
            parents = names;
        }
    }
    let mut hasher = DefaultHasher::new();
    line.hash(&mut hasher);
    let name = format!("sketch_{:08x}", hasher.finish() as u32);
    let draft = Draft { namespace: "test".into(), name, version: "1.0.0".into(), steps, ..Draft::default() };
    Definition::check(draft, &[]).unwrap_or_else(|problems| panic!("`{line}` is no workflow: {problems:?}"))
}

fn characterise(step: &mut DraftStep, word: &str) {
    let (what, value) = word.split_once('=').unwrap_or((word, ""));
    let time = || duration::parse(value).unwrap_or_else(|error| panic!("{error}"));
    match what {
        "attempts" => step.retry.max_attempts = value.parse().unwrap(),
        "base" => step.retry.base_delay = time(),
        "max" => step.retry.max_delay = time(),
        "fatal" => step.retry.retryable = false,
        "concurrency" => {
            let key = step.concurrency.take().map(|known| known.key).unwrap_or_default();
            step.concurrency = Some(Concurrency { limit: value.parse().unwrap(), key });
        }
        "key" => {
            let limit = step.concurrency.take().map_or(1, |known| known.limit);
            step.concurrency = Some(Concurrency { limit, key: value.split('.').map(str::to_string).collect() });
        }
        "priority" => step.priority = priority(value),
        "handler" => step.handler = Some(format!("test.{value}")),
        _ => panic!("`{word}` says nothing about step `{}`", step.name),
    }
}

/// A priority by its name.
pub fn priority(name: &str) -> Priority {
    match name {
        "high" => Priority::High,
        "normal" => Priority::Normal,
        "low" => Priority::Low,
        _ => panic!("`{name}` is no priority"),
    }
}
