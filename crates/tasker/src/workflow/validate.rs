//! From what someone wrote to a workflow that can run: every rule that does not depend on the way of writing.
//!
//! A problem names its place in the draft (`steps[3].depends_on[1]`), not a line: the reader of YAML knows where that
//! is, and a workflow built in Rust goes through the same rules without one.

use serde_json::Value;

use super::{Concurrency, Definition, MAX_BYTES, MAX_STEPS, Node, Priority, edges, input, with, with::Mention};
use crate::{
    duration, handlers, is_name, json,
    place::{Place, Segment},
    retry,
    suggest::{self, did_you_mean},
};

/// A workflow as someone wrote it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    /// The tenant.
    pub namespace: String,
    /// The workflow's name.
    pub name: String,
    /// A semantic version.
    pub version: String,
    /// For people.
    pub description: Option<String>,
    /// JSON Schema of a task's input.
    pub input: Option<Value>,
    /// The steps, in any order.
    pub steps: Vec<DraftStep>,
}

/// A step as someone wrote it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DraftStep {
    /// Its name.
    pub name: String,
    /// What runs it; `None`: the function `namespace.workflow.step`.
    pub handler: Option<String>,
    /// The handler's arguments; `null`: none.
    pub with: Value,
    /// Names of the parents.
    pub depends_on: Vec<String>,
    /// How often and when it is tried again.
    pub retry: retry::Policy,
    /// The greatest duration of one attempt; `None`: unlimited.
    pub timeout: Option<std::time::Duration>,
    /// How many may run at once.
    pub concurrency: Option<Concurrency>,
    /// Its lane.
    pub priority: Priority,
}

/// Something wrong with a draft.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// Where: the steps from the draft's root, for example `steps`, 3, `depends_on`, 1.
    pub place: Vec<Segment>,
    /// What there.
    pub spot: Spot,
    /// A sentence, which names the step.
    pub message: String,
}

/// What at a place a problem is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spot {
    /// The value.
    Value,
    /// The member's name.
    Key,
    /// The value's text, from this byte on.
    Offset(usize),
}

/// Collects problems.
pub(super) struct Report {
    problems: Vec<Problem>,
}

impl Report {
    pub(super) fn add(&mut self, place: Place, spot: Spot, message: String) {
        self.problems.push(Problem { place: place.segments(), spot, message });
    }

    /// About a mention of a step in a template.
    pub(super) fn add_at(&mut self, mention: &Mention, message: String) {
        self.problems.push(Problem { place: mention.place.clone(), spot: Spot::Offset(mention.offset), message });
    }

    /// `; did you mean ..?`, as long as there are few problems: a search costs the number of candidates.
    pub(super) fn did_you_mean<'a>(&self, word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
        if self.problems.len() < 100 { did_you_mean(word, candidates) } else { String::new() }
    }
}

pub(super) fn check(draft: Draft, functions: &[&str]) -> Result<Definition, Vec<Problem>> {
    let mut report = Report { problems: Vec::new() };
    check_head(&draft, &mut report);
    let edges = edges::check(&draft, &mut report);
    let root = Place::Root;
    let steps = root.member("steps");
    let mut handlers = Vec::with_capacity(draft.steps.len());
    let mut mentions = Vec::with_capacity(draft.steps.len());
    let mut bytes = 0;
    for (index, step) in draft.steps.iter().enumerate() {
        let place = steps.element(index);
        let handler =
            step.handler.clone().unwrap_or_else(|| format!("{}.{}.{}", draft.namespace, draft.name, step.name));
        check_step(step, place, &mut report);
        check_handler(step, &handler, functions, place, &mut report);
        bytes += with::check(&step.name, &handler, &step.with, place, &mut report);
        mentions.push(with::mentions(&step.name, &handler, &step.with, place, &mut report));
        handlers.push(handler);
    }
    if bytes > MAX_BYTES {
        report.add(steps, Spot::Key, format!("the steps' `with` have {bytes} bytes in all, more than {MAX_BYTES}"));
    }
    let needs = edges::check_mentions(&draft, &edges, &mentions, &mut report);
    if !report.problems.is_empty() {
        return Err(report.problems);
    }
    let parents = edges.into_parents();
    let mut nodes = Vec::with_capacity(handlers.len());
    for (((step, handler), parents), mut needs) in draft.steps.into_iter().zip(handlers).zip(parents).zip(needs) {
        if handlers::arguments(&handler).is_none() {
            needs.extend(&parents);
        }
        needs.sort_unstable();
        needs.dedup();
        let DraftStep { name, with, retry, timeout, concurrency, priority, .. } = step;
        nodes.push(Node { name, handler, with, parents, needs, retry, timeout, concurrency, priority });
    }
    let Draft { namespace, name, version, description, input, .. } = draft;
    Ok(Definition { namespace, name, version, description, input, steps: nodes })
}

fn check_head(draft: &Draft, report: &mut Report) {
    let root = Place::Root;
    for (member, name) in [("namespace", &draft.namespace), ("name", &draft.name)] {
        if let Some(fault) = name_fault(name) {
            report.add(root.member(member), Spot::Value, format!("`{member}`: {fault}"));
        }
    }
    if let Some(fault) = version_fault(&draft.version) {
        report.add(root.member("version"), Spot::Value, format!("`version`: {fault}"));
    }
    if let Some(Err(invalid)) = draft.description.as_ref().map(json::encode) {
        report.add(root.member("description"), Spot::Value, format!("`description`: {invalid}"));
    }
    if let Some(schema) = &draft.input {
        let place = root.member("input");
        if let Err(invalid) = json::encode(schema) {
            report.add(place, Spot::Value, format!("`input`: {invalid}"));
        }
        for (inside, message) in input::schema_problems(schema) {
            let place = place.segments().into_iter().chain(inside).collect();
            let message = format!("`input` is not a JSON Schema: {message}");
            report.problems.push(Problem { place, spot: Spot::Value, message });
        }
    }
    let place = root.member("steps");
    match draft.steps.len() {
        0 => report.add(place, Spot::Value, "a workflow has at least one step".into()),
        count if count > MAX_STEPS => {
            report.add(place, Spot::Key, format!("a workflow has at most {MAX_STEPS} steps, this one has {count}"));
        }
        _ => {}
    }
}

fn check_step(step: &DraftStep, place: Place, report: &mut Report) {
    let name = &step.name;
    if let Some(fault) = name_fault(name) {
        report.add(place.member("name"), Spot::Value, format!("a step's name: {fault}"));
    }
    let retry = place.member("retry");
    if !(1..=retry::MAX_ATTEMPTS).contains(&step.retry.max_attempts) {
        let message = format!("step `{name}`: `max_attempts` is a number from 1 to {}", retry::MAX_ATTEMPTS);
        report.add(retry.member("max_attempts"), Spot::Value, message);
    }
    let [base_delay, max_delay] = [step.retry.base_delay, step.retry.max_delay];
    if base_delay > max_delay {
        let message = format!(
            "step `{name}`: `base_delay` is {}, above `max_delay`, which is {}",
            duration::format(base_delay),
            duration::format(max_delay)
        );
        report.add(retry.member("base_delay"), Spot::Value, message);
    }
    let durations = [
        (retry.member("base_delay"), Some(base_delay)),
        (retry.member("max_delay"), Some(max_delay)),
        (place.member("timeout"), step.timeout),
    ];
    for (place, duration) in durations {
        if duration.is_some_and(|it| it > duration::MAX || it.subsec_nanos() % 1_000_000 != 0) {
            report.add(
                place,
                Spot::Value,
                format!("step `{name}`: a duration has whole milliseconds, at most 366 days"),
            );
        }
    }
    if step.timeout.is_some_and(|timeout| timeout.is_zero()) {
        report.add(place.member("timeout"), Spot::Value, format!("step `{name}`: a `timeout` is longer than nothing"));
    }
    if let Some(Concurrency { limit, key }) = &step.concurrency {
        let place = place.member("concurrency");
        if *limit == 0 {
            report.add(
                place.member("limit"),
                Spot::Value,
                format!("step `{name}`: a concurrency `limit` is at least 1"),
            );
        }
        if let Some(bad) = key.iter().find(|member| !is_member(member)) {
            let message = format!(
                "step `{name}`: a concurrency `key` is a path of members in the input, such as `customer.id`; \
                 `{bad}` is no member's name"
            );
            report.add(place.member("key"), Spot::Value, message);
        }
    }
}

fn check_handler(step: &DraftStep, handler: &str, functions: &[&str], place: Place, report: &mut Report) {
    let is_path = handler.split('.').count() > 1 && handler.split('.').all(is_name);
    if handlers::arguments(handler).is_some() || functions.contains(&handler) || is_path {
        return;
    }
    let name = &step.name;
    let message = if step.handler.is_none() {
        return; // the names that it is made of are wrong themselves
    } else {
        let known = handlers::BUILT_IN.iter().chain(functions).copied();
        let suggestion = match report.did_you_mean(handler, known) {
            nothing if nothing.is_empty() => format!(
                "; there are {}, and functions, whose names have dots (`shop.fulfil.ship`)",
                suggest::list(&handlers::BUILT_IN)
            ),
            suggestion => suggestion,
        };
        format!("step `{name}` has the unknown handler `{handler}`{suggestion}")
    };
    report.add(place.member("handler"), Spot::Value, message);
}

/// What is wrong with a name, and the nearest legal one.
fn name_fault(name: &str) -> Option<String> {
    if is_name(name) {
        return None;
    }
    let rule =
        "a name begins with a letter from a to z and goes on with such letters, digits and `_`, 63 in all at most";
    let legal = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let nearest: String = name.trim().chars().map(legal).take(63).collect();
    let suggestion = if is_name(&nearest) { format!("; did you mean `{nearest}`?") } else { String::new() };
    Some(format!("`{}` is not a name: {rule}{suggestion}", json::clean(name, 100)))
}

fn version_fault(version: &str) -> Option<String> {
    match semver::Version::parse(version) {
        Ok(parsed) if !parsed.build.is_empty() => {
            Some(format!("`{version}` has build metadata (`+{}`), which Tasker adds by itself", parsed.build))
        }
        Ok(_) if version.len() > 100 => Some("a version has at most 100 characters".into()),
        Ok(_) => None,
        Err(_) => {
            let plain = version.trim_start_matches('v');
            let tries = [plain.to_string(), format!("{plain}.0"), format!("{plain}.0.0")];
            let nearest = tries.iter().find(|text| semver::Version::parse(text).is_ok());
            let suggestion = nearest.map(|it| format!("; did you mean `{it}`?")).unwrap_or_default();
            let version = json::clean(version, 100);
            Some(format!("`{version}` is not a semantic version such as `1.0.0`{suggestion}"))
        }
    }
}

/// Whether a word can stand in a concurrency key's path.
fn is_member(word: &str) -> bool {
    !word.is_empty() && word.len() <= 255 && word.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
}
