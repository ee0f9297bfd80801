//! The rules about a step's `with`: the arguments of the handlers that come with Tasker, and its templates.

use chrono::DateTime;
use serde_json::{Map, Value};

use super::{Spot, validate::Report};
use crate::{
    duration, handlers,
    handlers::{Argument, Kind},
    json,
    place::{Place, Segment},
    suggest,
    template::{Form, analyse, is_template},
};

/// A step that a template of another step mentions.
pub(super) struct Mention {
    /// Its name, as written.
    pub(super) step: String,
    /// The string's place in the draft.
    pub(super) place: Vec<Segment>,
    /// Where in the string.
    pub(super) offset: usize,
}

/// Checks a `with` against its handler, and gives its size in bytes.
pub(super) fn check(name: &str, handler: &str, with: &Value, step: Place, report: &mut Report) -> usize {
    let place = step.member("with");
    let bytes = match json::encode(with) {
        Ok(text) => text.get().len(),
        Err(invalid) => {
            report.add(place, Spot::Value, format!("step `{name}`: in its `with`, {invalid}"));
            return 0;
        }
    };
    let Some(arguments) = handlers::arguments(handler) else { return bytes };
    let nothing = Map::new();
    match with {
        Value::Object(members) => check_arguments(name, handler, arguments, members, place, report),
        Value::Null => check_arguments(name, handler, arguments, &nothing, place, report),
        _ => {
            let message = format!("step `{name}`: the `with` of `{handler}` is an object of its arguments");
            report.add(place, Spot::Value, message);
        }
    }
    bytes
}

fn check_arguments(
    name: &str,
    handler: &str,
    arguments: &[Argument],
    with: &Map<String, Value>,
    place: Place,
    report: &mut Report,
) {
    let names: Vec<&str> = arguments.iter().map(|argument| argument.name).collect();
    for (key, value) in with {
        let here = place.member(key);
        match arguments.iter().find(|argument| argument.name == key) {
            Some(argument) => {
                if let Some(fault) = fault(argument.kind, value) {
                    report.add(here, Spot::Value, format!("step `{name}`: `{key}` {fault}"));
                }
            }
            None => {
                let suggestion = match report.did_you_mean(key, names.iter().copied()) {
                    nothing if nothing.is_empty() => format!("; it takes {}", suggest::list(&names)),
                    suggestion => suggestion,
                };
                let message = format!("step `{name}`: `{handler}` takes no argument `{key}`{suggestion}");
                report.add(here, Spot::Key, message);
            }
        }
    }
    for argument in arguments.iter().filter(|argument| argument.required && !with.contains_key(argument.name)) {
        let message = format!("step `{name}`: `{handler}` needs the argument `{}`", argument.name);
        report.add(place, Spot::Key, message);
    }
    let count = with.keys().filter(|key| ["duration", "until"].contains(&key.as_str())).count();
    if handler == "sleep" && count != 1 {
        let message = format!("step `{name}`: `sleep` takes either `duration` or `until`");
        report.add(place, Spot::Key, message);
    }
}

/// What is wrong with an argument's value; a template is judged when it is rendered.
fn fault(kind: Kind, value: &Value) -> Option<String> {
    if value.as_str().is_some_and(is_template) && !matches!(kind, Kind::Template | Kind::Expression) {
        return None;
    }
    let is_text = |value: &Value| value.is_string() || value.is_number() || value.is_boolean();
    let text = value.as_str();
    let expected = match kind {
        Kind::Any => return None,
        Kind::Text if is_text(value) => return None,
        Kind::Text => "must be text".into(),
        Kind::Texts if value.as_array().is_some_and(|items| items.iter().all(is_text)) => return None,
        Kind::Texts => "must be a list of texts".into(),
        Kind::TextByName
            if value
                .as_object()
                .is_some_and(|members| members.values().all(|value| value.is_null() || is_text(value))) =>
        {
            return None;
        }
        Kind::TextByName => "must be an object of texts".into(),
        Kind::Word(words) if text.is_some_and(|text| words.contains(&text)) => return None,
        Kind::Word(words) => {
            let suggestion = text.map(|text| suggest::did_you_mean(text, words.iter().copied())).unwrap_or_default();
            format!("is one of {}{suggestion}", suggest::list(words))
        }
        Kind::Statuses
            if value.as_array().is_some_and(|items| {
                items.iter().all(|item| match item {
                    Value::Number(_) => handlers::is_status(&item.to_string()),
                    Value::String(word) => is_template(word) || handlers::is_status(word),
                    _ => false,
                })
            }) =>
        {
            return None;
        }
        Kind::Statuses => "is a list of statuses such as 200, or of classes such as `2xx`".into(),
        Kind::Duration => {
            let text = text.map_or_else(|| value.to_string(), str::to_string);
            format!("is a duration: {}", duration::parse(&text).err()?)
        }
        Kind::Instant if text.is_some_and(|text| DateTime::parse_from_rfc3339(text).is_ok()) => return None,
        Kind::Instant => "is an instant such as `2026-01-31T12:00:00Z`".into(),
        Kind::Template | Kind::Expression if value.is_string() => return None,
        Kind::Template => "must be text".into(),
        Kind::Expression => "must be text, an expression such as `output.name`".into(),
    };
    Some(expected)
}

/// Reads all templates of a `with`: reports what is wrong with them, and gives the steps that they mention.
pub(super) fn mentions(name: &str, handler: &str, with: &Value, step: Place, report: &mut Report) -> Vec<Mention> {
    // what these answer with, or write, is kept
    let keeps = ["transform", "render", "sleep"].contains(&handler);
    let variables: &[&str] = if keeps { &[] } else { &["secrets"] };
    let mut reading = Reading { name, variables, report, mentions: Vec::new() };
    let place = step.member("with");
    let raw_keys = handlers::raw_keys(handler);
    match with {
        Value::Object(members) => {
            for (key, value) in members {
                let here = place.member(key);
                match (raw_keys.contains(&key.as_str()), value) {
                    (true, Value::String(source)) if handler == "command" && !is_template(source) => {
                        reading.string(source, Form::Expression, &["output"], here);
                    }
                    (true, Value::String(source)) if handler == "command" => {
                        reading.string(source, Form::Text, &["output"], here);
                    }
                    _ => reading.member(key, value, here),
                }
            }
        }
        value => reading.value(value, place),
    }
    reading.mentions
}

struct Reading<'a> {
    name: &'a str,
    /// Beside `input` and `steps`.
    variables: &'a [&'a str],
    report: &'a mut Report,
    mentions: Vec<Mention>,
}

impl Reading<'_> {
    fn value(&mut self, value: &Value, place: Place) {
        match value {
            Value::String(source) => self.string(source, Form::Text, self.variables, place),
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(index, item)| self.value(item, place.element(index)));
            }
            Value::Object(members) => {
                members.iter().for_each(|(key, value)| self.member(key, value, place.member(key)))
            }
            _ => {}
        }
    }

    fn member(&mut self, key: &str, value: &Value, place: Place) {
        if is_template(key) {
            let message = format!("step `{}`: a member's name cannot be a template", self.name);
            self.report.add(place, Spot::Key, message);
        }
        self.value(value, place);
    }

    fn string(&mut self, source: &str, form: Form, variables: &[&str], place: Place) {
        let analysis = analyse(source, form, variables);
        for fault in analysis.faults {
            let message = format!("step `{}`: in its template, {}", self.name, fault.message);
            self.report.add(place, Spot::Offset(fault.offset), message);
        }
        for reference in analysis.references {
            self.mentions.push(Mention { step: reference.step, place: place.segments(), offset: reference.offset });
        }
    }
}
