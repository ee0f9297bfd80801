//! Templates in workflow files: the strings of a step's `with` are templates over `input`,
//! `steps.<name>.result` and, where nothing of them is stored, `secrets.<NAME>`, in the language of Jinja.
//!
//! A string that is exactly one expression, `{{ steps.count.result.lines + 1 }}`, keeps the value's JSON type; any
//! other is text. In text, values are written as JSON writes them (`true`, `null`, `{"a":1}`), and strings as they
//! are. What is undefined is an error that names it. Everything is bounded: the work ([`FUEL`]), the output, the
//! depth of the source, so that no template can hold up or end the process.
//!
//! Strings are compiled each time they are rendered: it costs about as much as evaluating them (0.3 µs for a path,
//! 30 µs for an expression over 123 results), and a compiled expression would hold 12 KiB.

mod analysis;
mod json_value;
mod scope;
mod secrets;

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value, syntax::SyntaxConfig,
    value::ValueKind,
};
use serde_json::Value as Json;

pub(crate) use self::analysis::is_template;
pub(crate) use self::secrets::is_secret;
use self::{analysis::parts, json_value::to_json};
pub use self::{
    analysis::{Analysis, Fault, Form, Reference, analyse},
    scope::Scope,
    secrets::{Secrets, SecretsUsed},
};
use crate::{json, place::Place};

/// The work that one string may cost: about one unit an instruction, and one for each 64 bytes made.
pub const FUEL: u64 = 1_000_000;
/// The greatest size of a rendered `with`, in bytes.
pub const MAX_VALUE_BYTES: usize = json::MAX_BYTES;
/// The greatest size of a rendered file, in bytes.
pub const MAX_TEXT_BYTES: usize = 16 << 20;
/// How long all strings of one `with` may take together.
const MAX_DURATION: Duration = Duration::from_secs(30);

/// Why a template could not be rendered. No retry mends it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", if place.is_empty() { String::new() } else { format!("{place}: ") })]
pub struct TemplateError {
    /// Where the string stands, for example `with.args[1]`.
    pub place: String,
    /// What is wrong, for example `` `input.customer` is undefined ``.
    pub message: String,
}

/// Renders every string in a step's `with`, at any depth; the members named in `raw_keys` (see
/// [`handlers::raw_keys`](crate::handlers::raw_keys)) stay as they are.
///
/// # Errors
/// The first string that fails: a syntax error, an undefined value, a value that JSON does not have, or a limit.
pub fn render(with: &Json, raw_keys: &[&str], scope: &Scope) -> Result<Json, TemplateError> {
    let root = Place::Root;
    let mut rendering = Rendering { scope, bytes_left: MAX_VALUE_BYTES, ends_at: Instant::now() + MAX_DURATION };
    let place = root.member("with");
    let Json::Object(members) = with else { return rendering.value(with, place) };
    let render_member = |(key, value): (&String, &Json)| {
        let rendered = match raw_keys.contains(&key.as_str()) {
            true => value.clone(),
            false => rendering.value(value, place.member(key))?,
        };
        Ok((key.clone(), rendered))
    };
    members.iter().map(render_member).collect::<Result<_, _>>().map(Json::Object)
}

/// Evaluates one expression, for example a command's `select`: `output.commits[0]`, with or without `{{ }}` around it.
///
/// # Errors
/// As [`render`]; `place` is the place in the error.
pub fn evaluate(place: Place, source: &str, scope: &Scope) -> Result<Json, TemplateError> {
    let mut rendering = Rendering { scope, bytes_left: MAX_VALUE_BYTES, ends_at: Instant::now() + MAX_DURATION };
    match is_template(source) {
        true => rendering.string(source, place),
        false => rendering.expression(source, place),
    }
}

/// Renders the text of a file called `name`: where it ends in `.html`, `.htm`, `.xhtml`, `.xml` or `.svg`, values are
/// escaped for it (`|safe` says that one is markup already).
///
/// # Errors
/// As [`render`], with the template's line; a text above [`MAX_TEXT_BYTES`].
pub fn render_text(name: &str, source: &str, scope: &Scope) -> Result<String, TemplateError> {
    let fail = |message: String| TemplateError { place: name.into(), message };
    parts(source, Form::Text).map_err(|fault| fail(fault.message))?;
    let text = ENVIRONMENT
        .render_named_str(name, source, scope.root())
        .map_err(|error| fail(format!("{}{}", line_of(&error, source), sentence(&error, scope))))?;
    if text.len() > MAX_TEXT_BYTES {
        return Err(fail(format!("the text has {} bytes, more than {MAX_TEXT_BYTES}", text.len())));
    }
    Ok(text)
}

struct Rendering<'a> {
    scope: &'a Scope,
    bytes_left: usize,
    ends_at: Instant,
}

impl Rendering<'_> {
    fn value(&mut self, value: &Json, place: Place) -> Result<Json, TemplateError> {
        match value {
            Json::String(source) => self.string(source, place),
            Json::Array(items) => {
                let items = items.iter().enumerate().map(|(index, item)| self.value(item, place.element(index)));
                items.collect::<Result<_, _>>().map(Json::Array)
            }
            Json::Object(members) => {
                let members = members.iter().map(|(key, member)| {
                    let rendered = self.value(member, place.member(key))?;
                    Ok((key.clone(), rendered))
                });
                members.collect::<Result<_, _>>().map(Json::Object)
            }
            plain => Ok(plain.clone()),
        }
    }

    fn string(&mut self, source: &str, place: Place) -> Result<Json, TemplateError> {
        if !is_template(source) {
            self.spend(source.len(), &place)?;
            return Ok(Json::String(source.into()));
        }
        let parts = parts(source, Form::Text).map_err(|fault| error_at(&place, fault.message))?;
        if let Some(expression) = parts.expression {
            return self.checked_expression(&source[expression], place);
        }
        self.check_time(&place)?;
        let text = ENVIRONMENT
            .render_named_str("", source, self.scope.root())
            .map_err(|error| error_at(&place, sentence(&error, self.scope)))?;
        self.spend(text.len(), &place)?;
        Ok(Json::String(text))
    }

    fn expression(&mut self, source: &str, place: Place) -> Result<Json, TemplateError> {
        parts(source, Form::Expression).map_err(|fault| error_at(&place, fault.message))?;
        self.checked_expression(source, place)
    }

    fn checked_expression(&mut self, source: &str, place: Place) -> Result<Json, TemplateError> {
        self.check_time(&place)?;
        let fail = |error: Error| error_at(&place, sentence(&error, self.scope));
        let expression = ENVIRONMENT.compile_expression_owned(source).map_err(fail)?;
        let value = expression.eval(self.scope.root()).map_err(fail)?;
        if value.is_undefined() {
            // As text, strict rules apply to the whole too, and the error names what is missing.
            ENVIRONMENT.render_named_str("", &format!("{{{{ {source}\n}}}}"), self.scope.root()).map_err(fail)?;
            return Ok(Json::Null);
        }
        to_json(&value, place, &mut self.bytes_left)
    }

    fn spend(&mut self, bytes: usize, place: &Place) -> Result<(), TemplateError> {
        json_value::spend(&mut self.bytes_left, bytes, place)
    }

    fn check_time(&self, place: &Place) -> Result<(), TemplateError> {
        match Instant::now() < self.ends_at {
            true => Ok(()),
            false => Err(error_at(place, format!("the templates of this step take more than {MAX_DURATION:?}"))),
        }
    }
}

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(environment);

/// The language of all templates: minijinja's, strict, with `fromjson`. Without `namespace` and recursive loops (see
/// [`analysis`]) no value can grow deeper than its template is long.
fn environment<'source>() -> Environment<'source> {
    let mut environment = Environment::new();
    environment.set_syntax(syntax());
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_debug(true); // so that errors name what is undefined
    environment.set_fuel(Some(FUEL));
    environment.set_auto_escape_callback(|name| match name.to_ascii_lowercase().rsplit('.').next() {
        Some("html" | "htm" | "xhtml" | "xml" | "svg") => AutoEscape::Html,
        _ => AutoEscape::None,
    });
    environment.set_formatter(write_as_json_does);
    environment.remove_global("debug");
    environment.remove_global("namespace");
    environment.add_filter("fromjson", from_json);
    environment
}

/// Jinja's delimiters; unlike there, a template's last newline stays.
fn syntax() -> SyntaxConfig {
    SyntaxConfig::builder().keep_trailing_newline(true).build().unwrap_or_default()
}

/// Writes a value into text: strings, numbers and markup as they are, the rest as JSON.
fn write_as_json_does(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Bool => out.write_str(if value.is_true() { "true" } else { "false" }).map_err(Error::from),
        ValueKind::None => out.write_str("null").map_err(Error::from),
        ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => {
            let mut bytes_left = MAX_TEXT_BYTES;
            let json = to_json(value, Place::Root, &mut bytes_left)
                .map_err(|error| Error::new(ErrorKind::BadSerialization, error.to_string()))?;
            minijinja::escape_formatter(out, state, &Value::from(json.to_string()))
        }
        _ => minijinja::escape_formatter(out, state, value),
    }
}

/// The filter `fromjson`: the value that a JSON text stands for.
fn from_json(state: &State, text: &str) -> Result<Value, Error> {
    state.consume_fuel(text.len() as u64 / 16)?;
    serde_json::from_str(text)
        .map_err(|error| Error::new(ErrorKind::CannotDeserialize, format!("the text is not JSON: {error}")))
}

fn error_at(place: &Place, message: impl Into<String>) -> TemplateError {
    TemplateError { place: place.to_string(), message: message.into() }
}

/// What went wrong, without minijinja's name of the template and its line.
fn sentence(error: &Error, scope: &Scope) -> String {
    let detail = error.detail().unwrap_or_default();
    let mut sentence = match (error.kind(), detail) {
        (ErrorKind::OutOfFuel, _) => format!("it costs more work than a template may ({FUEL} units)"),
        (kind @ ErrorKind::SyntaxError, detail) => format!("{kind}: {detail}"),
        (kind, "") => kind.to_string(),
        (_, detail) => detail.into(),
    };
    if let Some(path) = detail.strip_prefix('`').and_then(|rest| rest.strip_suffix("` is undefined")) {
        sentence += &scope.hint(path);
    }
    if let Some(cause) = std::error::Error::source(error) {
        sentence += &format!(": {cause}");
    }
    sentence
}

/// `line 3: ` for an error in a text of more than one line.
fn line_of(error: &Error, source: &str) -> String {
    match error.line() {
        Some(line) if source.contains('\n') => format!("line {line}: "),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
