//! The format as a JSON Schema, for editors: they complete and check while a file is written. It knows words and types;
//! what a graph or a template means, only [`Definition::from_file`](crate::workflow::Definition::from_file) judges.

use serde_json::{Map, Value, json};

use super::read::{CONCURRENCY, DEFAULTS, RETRY, STEP, WORKFLOW};
use crate::{
    handlers::{self, BUILT_IN, Kind},
    retry::MAX_ATTEMPTS,
};

/// The JSON Schema (draft 2020-12) of a workflow file.
pub fn schema() -> Value {
    let handlers = BUILT_IN.map(|handler| {
        json!({
            "if": { "properties": { "handler": { "const": handler } }, "required": ["handler"] },
            "then": { "properties": { "with": with(handler) }, "required": ["with"] },
        })
    });
    let mut step = object(&STEP, &["name", "handler"], member_of_a_step);
    step["allOf"] = handlers.into_iter().collect();
    let mut workflow = object(&WORKFLOW, &["name", "version", "steps"], |word| match word {
        "steps" => json!({ "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/step" } }),
        "defaults" => object(&DEFAULTS, &[], member_of_a_step),
        "input" => {
            json!({ "type": "object", "description": "A JSON Schema of a task's input; a `default` fills in what is not given" })
        }
        "description" => json!({ "type": "string", "description": "For people" }),
        "version" => json!({
            "type": "string",
            "pattern": r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?$",
            "description": "A semantic version, such as 1.0.0: the same version always has the same content",
        }),
        "namespace" => name("Whose workflow it is", Some("default")),
        _ => name("The workflow's name", None),
    });
    workflow["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    workflow["title"] = "A Tasker workflow".into();
    workflow["$defs"] = json!({
        "step": step,
        "duration": { "type": "string", "pattern": r"^(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?$", "minLength": 2, "examples": ["100ms", "30s", "5m", "1h30m"] },
        "template": { "type": "string", "pattern": r"\{\{|\{%" },
    });
    workflow
}

fn member_of_a_step(word: &str) -> Value {
    match word {
        "name" => name("Unique in the workflow", None),
        "handler" => json!({
            "anyOf": [{ "enum": BUILT_IN }, { "type": "string", "minLength": 1 }],
            "description": "What runs the step: one that comes with Tasker, or a function's name, such as shop.fulfil.ship",
        }),
        "with" => {
            json!({ "description": "The handler's arguments; strings in them are templates over `input` and `steps.<name>.result`" })
        }
        "depends_on" => json!({
            "type": "array",
            "items": { "type": "string" },
            "description": "The step begins when all of these are complete; its templates may use their results, and those of steps before them",
        }),
        "retry" => object(&RETRY, &[], |word| match word {
            "max_attempts" => {
                json!({ "type": "integer", "minimum": 1, "maximum": MAX_ATTEMPTS, "default": 3, "description": "The first included" })
            }
            "retryable" => json!({ "type": "boolean", "default": true }),
            "base_delay" => duration("The delay after the first failure; it doubles, and is spread by chance", "1s"),
            _ => duration("The greatest delay", "5m"),
        }),
        "timeout" => json!({ "$ref": "#/$defs/duration", "description": "The greatest duration of one attempt" }),
        "concurrency" => object(&CONCURRENCY, &["limit"], |word| match word {
            "limit" => {
                json!({ "type": "integer", "minimum": 1, "description": "How many steps of this name may run at once, over all tasks" })
            }
            _ => {
                json!({ "type": "string", "description": "Counted for each value at this path of the input, such as customer.id" })
            }
        }),
        _ => {
            json!({ "enum": ["high", "normal", "low"], "default": "normal", "description": "Its lane in the handler's queue" })
        }
    }
}

/// An object with these members and no others.
fn object(words: &[&str], required: &[&str], member: impl Fn(&str) -> Value) -> Value {
    let members: Map<String, Value> = words.iter().map(|word| (word.to_string(), member(word))).collect();
    let mut object = json!({ "type": "object", "additionalProperties": false, "properties": members });
    if !required.is_empty() {
        object["required"] = required.into();
    }
    object
}

fn name(description: &str, default: Option<&str>) -> Value {
    let mut name = json!({ "type": "string", "pattern": "^[a-z][a-z0-9_]{0,62}$", "description": description });
    if let Some(default) = default {
        name["default"] = default.into();
    }
    name
}

fn duration(description: &str, default: &str) -> Value {
    json!({ "$ref": "#/$defs/duration", "description": description, "default": default })
}

/// What a handler takes.
fn with(handler: &str) -> Value {
    let arguments = handlers::arguments(handler).unwrap_or_default();
    let mut members: Map<String, Value> =
        arguments.iter().map(|argument| (argument.name.to_string(), of_kind(argument.kind))).collect();
    let mut required: Vec<&str> = arguments.iter().filter(|a| a.required).map(|argument| argument.name).collect();
    let mut with = json!({ "type": "object", "additionalProperties": false });
    let one_of = |names: [&str; 2]| names.iter().map(|name| json!({ "required": [name] })).collect::<Value>();
    match handler {
        "render" => {
            members.insert("template_file".into(), json!({ "type": "string", "description": "Relative to this file" }));
            required.retain(|name| *name != "template");
            with["oneOf"] = one_of(["template", "template_file"]);
        }
        "sleep" => with["oneOf"] = one_of(["duration", "until"]),
        _ => {}
    }
    with["properties"] = members.into();
    with["required"] = required.into();
    with
}

/// What may stand for an argument of a kind: a template may, for any that is rendered before the handler runs.
fn of_kind(kind: Kind) -> Value {
    let text = json!({ "type": ["string", "number", "boolean"] });
    let or_template = |value: Value| json!({ "anyOf": [value, { "$ref": "#/$defs/template" }] });
    match kind {
        Kind::Any => json!({}),
        Kind::Text => text,
        Kind::Texts => or_template(json!({ "type": "array", "items": text })),
        Kind::TextByName => or_template(
            json!({ "type": "object", "additionalProperties": { "type": ["string", "number", "boolean", "null"] } }),
        ),
        Kind::Word(words) => or_template(json!({ "enum": words })),
        Kind::Statuses => or_template(json!({
            "type": "array",
            "items": { "anyOf": [{ "type": "integer", "minimum": 100, "maximum": 599 }, { "type": "string" }] },
        })),
        Kind::Duration => or_template(json!({ "$ref": "#/$defs/duration" })),
        Kind::Instant => or_template(json!({ "type": "string", "format": "date-time" })),
        Kind::Template => json!({ "type": "string" }),
        Kind::Expression => json!({ "type": "string", "description": "An expression such as output.name" }),
    }
}
