//! A task's input: the JSON Schema that a workflow has for it, its defaults, and what is wrong with an input.

use jsonschema::{PatternOptions, ValidationError, Validator, paths::LocationSegment};
use serde_json::Value;

use crate::{
    json,
    place::{Place, Segment},
};

/// How much of a complaint about an input is kept, in bytes: it repeats the input.
const MAX_COMPLAINT_BYTES: usize = 500;

/// What is wrong with a schema: the place inside of it, and a sentence.
pub(super) fn schema_problems(schema: &Value) -> Vec<(Vec<Segment>, String)> {
    let problem = |error: &ValidationError| (segments(error), json::clean(&error.to_string(), MAX_COMPLAINT_BYTES));
    match jsonschema::meta::validator_for(schema) {
        Ok(meta) => {
            let problems: Vec<_> = meta.iter_errors(schema).map(|error| problem(&error)).collect();
            match problems.is_empty() {
                true => validator(schema).err().map(|error| problem(&error)).into_iter().collect(),
                false => problems,
            }
        }
        Err(error) => vec![problem(&error)],
    }
}

/// See [`Definition::check_input`](super::Definition::check_input).
pub(super) fn check(schema: Option<&Value>, input: &Value) -> Result<Value, Vec<String>> {
    if !input.is_object() {
        return Err(vec!["the input must be a JSON object".into()]);
    }
    let mut input = input.clone();
    if let Some(schema) = schema {
        fill_in(schema, &mut input);
        let validator = validator(schema).map_err(|error| vec![format!("the input's schema: {error}")])?;
        let problems: Vec<String> = validator.iter_errors(&input).map(|error| complaint(&error)).collect();
        if !problems.is_empty() {
            return Err(problems);
        }
    }
    json::encode(&input).map_err(|invalid| vec![format!("the input: {invalid}")])?;
    Ok(input)
}

/// Nothing is fetched over a network, `format` is asserted, and patterns take linear time.
fn validator(schema: &Value) -> Result<Validator, ValidationError<'static>> {
    let patterns = PatternOptions::regex();
    jsonschema::options().offline().should_validate_formats(true).with_pattern_options(patterns).build(schema)
}

/// Adds the defaults of `properties` that are missing, in objects that are there.
fn fill_in(schema: &Value, value: &mut Value) {
    let (Some(Value::Object(properties)), Value::Object(members)) = (schema.get("properties"), value) else { return };
    for (name, property) in properties {
        if let (false, Some(default)) = (members.contains_key(name), property.get("default")) {
            members.insert(name.clone(), default.clone());
        }
        if let Some(member) = members.get_mut(name) {
            fill_in(property, member);
        }
    }
}

fn complaint(error: &ValidationError) -> String {
    let message = json::clean(&error.to_string(), MAX_COMPLAINT_BYTES);
    format!("`{}`: {message}", path(&segments(error)))
}

fn segments(error: &ValidationError) -> Vec<Segment> {
    let segment = |segment: LocationSegment| match segment {
        LocationSegment::Property(name) => Segment::Member(name.to_string()),
        LocationSegment::Index(index) => Segment::Element(index),
    };
    error.instance_path().segments().map(segment).collect()
}

/// `input.customer.id`.
fn path(segments: &[Segment]) -> String {
    fn write(place: &Place, rest: &[Segment]) -> String {
        match rest {
            [] => place.to_string(),
            [Segment::Member(name), rest @ ..] => write(&place.member(name), rest),
            [Segment::Element(index), rest @ ..] => write(&place.element(*index), rest),
        }
    }
    write(&Place::Root.member("input"), segments)
}
