//! YAML as a tree in which every value and every key knows where it stands.

use std::thread;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::Number;
use serde_saphyr::{
    Budget, Error as YamlError, Location, MessageFormatter, Options, Spanned, UserMessageFormatter,
    budget::BudgetBreach,
};

use crate::{json, place::Segment};

/// How many values and aliases a file may have. Sixteen megabytes of the shortest values are fewer.
const MAX_NODES: usize = 20_000_000;
/// How many values may come out of aliases.
const MAX_REPLAYED: usize = 100_000;
/// Without optimisation a level costs the parser 40 KiB.
const STACK_BYTES: usize = 16 << 20;

/// Where something stands in a file: line and column from 1, counted in characters, and its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) start: u32,
    pub(super) end: u32,
}

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) mark: Mark,
    pub(super) kind: Kind,
}

/// A value.
#[derive(Debug)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Tree>),
    Object(Vec<(Key, Tree)>),
}

/// A member's name and where it stands.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) mark: Mark,
    pub(super) text: String,
}

impl Tree {
    /// A member of an object.
    pub(super) fn get(&self, name: &str) -> Option<&Tree> {
        let Kind::Object(members) = &self.kind else { return None };
        members.iter().find(|(key, _)| key.text == name).map(|(_, value)| value)
    }

    /// The value at a place and its key, or the nearest that is there on the way.
    pub(super) fn nearest(&self, place: &[Segment]) -> Nearest<'_> {
        let mut found = Nearest { value: self, key: None, is_exact: true };
        for segment in place {
            let next = match (segment, &found.value.kind) {
                (Segment::Member(name), Kind::Object(members)) => {
                    members.iter().find(|(key, _)| key.text == *name).map(|(key, value)| (Some(key.mark), value))
                }
                (Segment::Element(index), Kind::List(items)) => items.get(*index).map(|value| (None, value)),
                _ => None,
            };
            match next {
                Some((key, value)) => (found.key, found.value) = (key, value),
                None => return Nearest { is_exact: false, ..found },
            }
        }
        found
    }
}

/// What [`Tree::nearest`] finds.
pub(super) struct Nearest<'t> {
    pub(super) value: &'t Tree,
    /// Where the value's name stands, if it has one.
    pub(super) key: Option<Mark>,
    /// Whether this is the place that was asked for.
    pub(super) is_exact: bool,
}

/// Parses one YAML document, in a thread of its own: the parser recurses, and the caller's stack may be small.
///
/// An error is the first thing that is wrong: where, and a sentence.
pub(super) fn parse(text: &str) -> Result<Tree, (Mark, String)> {
    let top = Mark { line: 1, column: 1, ..Mark::default() };
    let parser = thread::Builder::new().stack_size(STACK_BYTES);
    let parse = || serde_saphyr::from_str_with_options(text, options());
    let parsed = thread::scope(|scope| parser.spawn_scoped(scope, parse).map(|thread| thread.join()));
    match parsed {
        Ok(Ok(parsed)) => parsed.map_err(|error| {
            let mark = error.location().map_or(top, mark);
            match bare_template(text, mark) {
                Some(mark) => (mark, "a value that begins with `{{` must stand in quotes: \"{{ .. }}\"".into()),
                None => (mark, sentence(&error)),
            }
        }),
        Ok(Err(_)) => Err((top, "the YAML parser gave up".into())),
        Err(error) => Err((top, format!("no thread for the YAML parser: {error}"))),
    }
}

fn options() -> Options {
    let mut budget = Budget::default();
    budget.max_depth = json::MAX_DEPTH + 8; // a step's `with` has its own, exact limit
    budget.flow_nesting_limit = 2_000; // beyond what the parser looks ahead, so that it is the depth which is refused
    (budget.max_nodes, budget.max_events) = (MAX_NODES, MAX_NODES * 2);
    (budget.max_aliases, budget.max_anchors) = (MAX_REPLAYED, MAX_REPLAYED);
    budget.max_merge_keys = MAX_REPLAYED;
    budget.enforce_alias_anchor_ratio = false;
    let mut options = Options::default();
    options.budget = Some(budget);
    options.alias_limits.max_total_replayed_events = MAX_REPLAYED;
    options.with_snippet = false;
    options.emit_comments = false;
    options.strict_booleans = true;
    options.leading_zero_numbers_as_strings = true;
    options.underscored_numbers_as_strings = true;
    options
}

fn mark(location: Location) -> Mark {
    let span = location.span();
    let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let start = span.byte_offset().unwrap_or(0);
    Mark {
        line: number(location.line()),
        column: number(location.column()),
        start: number(start),
        end: number(start + span.byte_len().unwrap_or(0)),
    }
}

/// Where a parse error is about `{{`, which opens an object within an object: the place of the two braces.
fn bare_template(text: &str, mark: Mark) -> Option<Mark> {
    let at = mark.start as usize;
    let start = [at.checked_sub(1), Some(at)]
        .into_iter()
        .flatten()
        .find(|start| text.as_bytes().get(*start..start + 2) == Some(b"{{"))?;
    let back = (at - start) as u32;
    Some(Mark { column: mark.column.saturating_sub(back), start: mark.start - back, ..mark })
}

fn sentence(error: &YamlError) -> String {
    match error {
        YamlError::AliasError { error, .. } => sentence(error),
        YamlError::UnknownAnchor { .. } => "this alias has no anchor".into(),
        YamlError::MultipleDocuments { .. } => "a file holds one workflow, and here a second document begins".into(),
        YamlError::DuplicateMappingKey { key: Some(key), .. } => format!("the key `{key}` is here a second time"),
        YamlError::NullIntoString { .. } | YamlError::Unexpected { .. } => "a key must be text".into(),
        YamlError::RecursiveReferencesRequireWeakTypes { .. } => "an alias stands within its own anchor".into(),
        YamlError::Budget { breach: BudgetBreach::Depth { .. }, .. } => "this is nested too deeply".into(),
        YamlError::Budget { .. } | YamlError::AliasReplayLimitExceeded { .. } => {
            format!("this file has too many values: its aliases may stand for {MAX_REPLAYED} at most")
        }
        YamlError::NonFiniteFloat { .. } => "a number must be finite and fit into 64 bits".into(),
        error => format!("this is not YAML: {}", UserMessageFormatter.format_message(error)),
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, defined, .. } = Spanned::<Kind>::deserialize(deserializer)?;
        Ok(Tree { mark: mark(defined), kind: value })
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, defined, .. } = Spanned::<String>::deserialize(deserializer)?;
        Ok(Key { mark: mark(defined), text: value })
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Kind, E> {
        Number::from_f64(value).map(Kind::Number).ok_or_else(|| E::custom("a number must be finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Text(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Kind, E> {
        Ok(Kind::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Kind, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Kind::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Kind, A::Error> {
        let mut object = Vec::new();
        while let Some(member) = members.next_entry()? {
            object.push(member);
        }
        Ok(Kind::Object(object))
    }
}
