//! What the handlers that come with Tasker take in a step's `with`: read when a workflow is defined, so that a
//! misspelt or missing argument is refused before anything runs.

/// The handlers that come with Tasker.
pub const BUILT_IN: [&str; 5] = ["command", "http", "render", "sleep", "transform"];

/// One member of a built-in handler's `with`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argument {
    /// Its name.
    pub name: &'static str,
    /// What it may be, once its templates are rendered.
    pub kind: Kind,
    /// Whether it must be there.
    pub required: bool,
}

/// What an argument may be. A number or a boolean stands for its text wherever text is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any JSON.
    Any,
    /// Text.
    Text,
    /// A list of texts.
    Texts,
    /// An object whose members are texts, or `null` for what is not to be there.
    TextByName,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of HTTP statuses such as `200`, or of classes such as `2xx`.
    Statuses,
    /// A duration such as `30s`.
    Duration,
    /// An instant such as `2026-01-31T12:00:00Z`.
    Instant,
    /// A template that the handler renders itself, as a file's text.
    Template,
    /// An expression over `output` (and `input` and `steps`) that the handler evaluates itself.
    Expression,
}

const fn required(name: &'static str, kind: Kind) -> Argument {
    Argument { name, kind, required: true }
}

const fn optional(name: &'static str, kind: Kind) -> Argument {
    Argument { name, kind, required: false }
}

const COMMAND: &[Argument] = &[
    required("program", Kind::Text),
    optional("args", Kind::Texts),
    optional("env", Kind::TextByName),
    optional("cwd", Kind::Text),
    optional("stdin", Kind::Any),
    optional("output", Kind::Word(&["json", "lines", "text"])),
    optional("select", Kind::Expression),
];
const HTTP: &[Argument] = &[
    required("url", Kind::Text),
    optional("method", Kind::Word(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])),
    optional("headers", Kind::TextByName),
    optional("query", Kind::TextByName),
    optional("body", Kind::Any),
    optional("expect", Kind::Statuses),
];
/// In a file also `template_file`, which is read when the file is.
const RENDER: &[Argument] = &[required("template", Kind::Template), required("path", Kind::Text)];
/// Exactly one of the two.
const SLEEP: &[Argument] = &[optional("duration", Kind::Duration), optional("until", Kind::Instant)];
const TRANSFORM: &[Argument] = &[required("value", Kind::Any)];

/// The arguments of a built-in handler; `None` for any other.
pub fn arguments(handler: &str) -> Option<&'static [Argument]> {
    match handler {
        "command" => Some(COMMAND),
        "http" => Some(HTTP),
        "render" => Some(RENDER),
        "sleep" => Some(SLEEP),
        "transform" => Some(TRANSFORM),
        _ => None,
    }
}

/// The members of a handler's `with` that are not rendered before it runs, because it does that itself.
pub fn raw_keys(handler: &str) -> &'static [&'static str] {
    match handler {
        "command" => &["select"],
        "render" => &["template"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_keys_are_the_arguments_that_a_handler_renders_itself() {
        for handler in BUILT_IN {
            let arguments = arguments(handler).unwrap();
            let is_raw = |argument: &&Argument| matches!(argument.kind, Kind::Template | Kind::Expression);
            let raw: Vec<&str> = arguments.iter().filter(is_raw).map(|argument| argument.name).collect();
            assert_eq!(raw_keys(handler), raw, "{handler}");
        }
        assert!(raw_keys("shop.fulfil.ship").is_empty());
    }
}
