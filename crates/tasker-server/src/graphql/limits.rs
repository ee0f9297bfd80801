//! What a query may be, judged before anything of it is validated or done: its text by its tokens, then its shape, fragments counted as often as they stand.
//! What it takes, it takes whole: a query with one field that the caller may not ask for is refused.

use std::collections::{BTreeSet, HashMap};

use async_graphql::{
    Positioned, Value as ConstValue,
    parser::types::{
        DocumentOperations, ExecutableDocument, OperationDefinition, OperationType, Selection, SelectionSet, TypeKind,
        TypeSystemDefinition,
    },
};
use tasker::access::Permission;

use crate::{
    access::{Caller, forbidden},
    problem::Problem,
};

/// How many tokens a query has at most.
pub(super) const MAX_TOKENS: usize = 2_000;
/// How deep its brackets are nested at most.
const MAX_NESTING: usize = 64;
/// How deep its fields are nested at most, what it asks of the schema aside.
pub(super) const MAX_DEPTH: usize = 10;
/// How many fields have another name at most.
pub(super) const MAX_ALIASES: usize = 15;
/// How many fields stand at its root at most.
pub(super) const MAX_ROOTS: usize = 10;
/// How many fields it has at most.
const MAX_FIELDS: usize = 2_000;
/// How many lists of the schema stand within each other at most: each multiplies the answer, which no limit of time ends.
const MAX_SCHEMA_LISTS: usize = 2;
/// How many fields it asks of the schema at most: GraphiQL asks for some 200.
const MAX_SCHEMA_FIELDS: usize = 400;
/// How many fields the answer has at most, by what each list has where it is full.
pub(super) const MAX_COMPLEXITY: usize = 50_000;

/// What each field of the roots takes, as the schema declares it; `None`: it declares nothing.
pub(super) struct Permissions(HashMap<(&'static str, String), Option<Permission>>);

/// The roots' names, by operation.
fn root(operation: OperationType) -> &'static str {
    match operation {
        OperationType::Query => "Query",
        OperationType::Mutation => "Mutation",
        OperationType::Subscription => "Subscription",
    }
}

impl Permissions {
    /// Reads the declarations: a field that has none is closed.
    pub fn of(schema: &str) -> Permissions {
        let mut permissions = HashMap::new();
        let definitions = async_graphql::parser::parse_schema(schema).map(|document| document.definitions);
        for definition in definitions.unwrap_or_default() {
            let TypeSystemDefinition::Type(Positioned { node, .. }) = definition else { continue };
            let roots = [OperationType::Query, OperationType::Mutation, OperationType::Subscription].map(root);
            let Some(root) = roots.into_iter().find(|root| *root == node.name.node.as_str()) else { continue };
            let TypeKind::Object(object) = node.kind else { continue };
            for field in object.fields {
                let takes = field.node.directives.iter().find(|directive| directive.node.name.node == "takes");
                let word = takes.and_then(|takes| takes.node.get_argument("permission"));
                let permission = word.and_then(|word| match &word.node {
                    ConstValue::String(word) => Permission::of(word),
                    _ => None,
                });
                permissions.insert((root, field.node.name.node.to_string()), permission);
            }
        }
        Permissions(permissions)
    }

    /// What a field takes. What is asked about the schema is no secret to whoever may look, and what is not there is refused by the validation.
    fn of_field(&self, operation: OperationType, field: &str) -> Result<Permission, Problem> {
        match self.0.get(&(root(operation), field.to_owned())) {
            None => Ok(Permission::Read),
            Some(Some(permission)) => Ok(*permission),
            Some(None) => Err(forbidden(format!("the field {field} declares no permission, and is closed"))),
        }
    }
}

/// Judges a text before it is parsed.
///
/// # Errors
/// `too_many_tokens`, `too_deep`, `json` for a number that would be another one once it is read.
pub(super) fn text(query: &str) -> Result<(), Problem> {
    let (mut tokens, mut nesting) = (0, 0_usize);
    for token in Tokens(query) {
        tokens += 1;
        match token {
            "{" | "(" | "[" => nesting += 1,
            "}" | ")" | "]" => nesting = nesting.saturating_sub(1),
            _ => number(token)?,
        }
        if nesting > MAX_NESTING {
            return Err(Problem::bad("too_deep", format!("the query is nested more than {MAX_NESTING} levels deep")));
        }
        if tokens > MAX_TOKENS {
            return Err(Problem::bad("too_many_tokens", format!("a query has at most {MAX_TOKENS} tokens")));
        }
    }
    Ok(())
}

/// Refuses numbers in variables that would be others once they are read.
///
/// # Errors
/// `json`.
pub(super) fn numbers(json: &str) -> Result<(), Problem> {
    Tokens(json).try_for_each(number)
}

/// Numbers are read as 64 bits, whole or floating.
fn number(token: &str) -> Result<(), Problem> {
    if !token.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return Ok(());
    }
    let digits = |text: &str| -> String {
        let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
        let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
        digits.trim_start_matches('0').trim_end_matches('0').to_owned()
    };
    let is_whole = token.parse::<i64>().is_ok() || token.parse::<u64>().is_ok();
    let is_kept = |read: f64| read.is_finite() && digits(token) == digits(&format!("{read:e}"));
    if is_whole || token.parse().is_ok_and(is_kept) {
        return Ok(());
    }
    let shown: String = token.chars().take(64).collect();
    Err(Problem::bad("json", format!("the number {shown} is not held exactly: send it as a string")))
}

/// The tokens of GraphQL, or of JSON.
struct Tokens<'a>(&'a str);

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        loop {
            self.0 = self.0.trim_start_matches(|c: char| c.is_whitespace() || c == ',' || c == '\u{feff}');
            match self.0.strip_prefix('#') {
                Some(comment) => self.0 = comment.find(['\n', '\r']).map_or("", |end| &comment[end..]),
                None => break,
            }
        }
        let first = self.0.chars().next()?;
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+' | '.');
        let end = if self.0.starts_with("\"\"\"") {
            block(self.0)
        } else if first == '"' {
            string(self.0)
        } else if is_word(first) {
            self.0.find(|c| !is_word(c)).unwrap_or(self.0.len())
        } else {
            first.len_utf8()
        };
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        Some(token)
    }
}

/// Where a string ends.
fn string(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

/// Where a block of text ends.
fn block(text: &str) -> usize {
    let mut at = 3;
    while let Some(found) = text[at..].find("\"\"\"") {
        let end = at + found;
        if !text[..end].ends_with('\\') {
            return end + 3;
        }
        at = end + 3;
    }
    text.len()
}

/// How large some selection is, its fragments unfolded.
#[derive(Clone, Copy, Default)]
struct Size {
    depth: usize,
    fields: usize,
    aliases: usize,
    /// Fields that stand at its own level.
    width: usize,
    /// Lists of the schema within each other.
    schema_lists: usize,
    /// Fields that are asked of the schema.
    schema_fields: usize,
}

/// What sizes are known.
struct Measure<'a> {
    document: &'a ExecutableDocument,
    /// `None`: it is being measured.
    fragments: HashMap<&'a str, Option<Size>>,
}

impl<'a> Measure<'a> {
    fn of(&mut self, selection: &'a SelectionSet) -> Result<Size, Problem> {
        let mut size = Size::default();
        for item in &selection.items {
            let found = match &item.node {
                Selection::Field(Positioned { node: field, .. }) => {
                    let within = self.of(&field.selection_set.node)?;
                    let name = field.name.node.as_str();
                    let is_list = matches!(name, "types" | "fields" | "inputFields" | "interfaces" | "possibleTypes");
                    let is_of_schema = name.starts_with("__");
                    if is_of_schema && within.schema_lists > MAX_SCHEMA_LISTS {
                        let detail = format!("lists of the schema stand at most {MAX_SCHEMA_LISTS} within each other");
                        return Err(Problem::bad("too_deep", detail));
                    }
                    Size {
                        depth: 1 + if is_of_schema { 0 } else { within.depth },
                        fields: within.fields.saturating_add(1),
                        aliases: within.aliases.saturating_add(usize::from(field.alias.is_some())),
                        width: 1,
                        schema_lists: within.schema_lists + usize::from(is_list),
                        schema_fields: if is_of_schema { within.fields } else { within.schema_fields },
                    }
                }
                Selection::InlineFragment(fragment) => self.of(&fragment.node.selection_set.node)?,
                Selection::FragmentSpread(spread) => self.of_fragment(spread.node.fragment_name.node.as_str())?,
            };
            size = Size {
                depth: size.depth.max(found.depth),
                fields: size.fields.saturating_add(found.fields),
                aliases: size.aliases.saturating_add(found.aliases),
                width: size.width.saturating_add(found.width),
                schema_lists: size.schema_lists.max(found.schema_lists),
                schema_fields: size.schema_fields.saturating_add(found.schema_fields),
            };
        }
        Ok(size)
    }

    fn of_fragment(&mut self, name: &'a str) -> Result<Size, Problem> {
        match self.fragments.get(name) {
            Some(Some(known)) => return Ok(*known),
            Some(None) => return Err(Problem::bad("bad_query", format!("the fragment {name} contains itself"))),
            None => {}
        }
        // one that is not there is refused by the validation
        let Some(fragment) = self.document.fragments.iter().find(|(known, _)| known.as_str() == name) else {
            return Ok(Size::default());
        };
        self.fragments.insert(name, None);
        let size = self.of(&fragment.1.node.selection_set.node)?;
        self.fragments.insert(name, Some(size));
        Ok(size)
    }

    /// The names of the fields at a selection's own level.
    fn names(&self, selection: &'a SelectionSet, seen: &mut BTreeSet<&'a str>, names: &mut BTreeSet<&'a str>) {
        for item in &selection.items {
            match &item.node {
                Selection::Field(field) => _ = names.insert(field.node.name.node.as_str()),
                Selection::InlineFragment(fragment) => self.names(&fragment.node.selection_set.node, seen, names),
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    if let Some(fragment) = self.document.fragments.get(name)
                        && seen.insert(name.as_str())
                    {
                        self.names(&fragment.node.selection_set.node, seen, names);
                    }
                }
            }
        }
    }
}

/// Judges a document: every operation's size, and whether the caller may ask for the one that is meant. Gives what that one is.
///
/// # Errors
/// `too_deep`, `too_many_aliases`, `too_many_fields`, `bad_query`, `forbidden`.
pub(super) fn document(
    document: &ExecutableDocument,
    operation_name: Option<&str>,
    permissions: &Permissions,
    caller: &Caller,
) -> Result<OperationType, Problem> {
    let mut measure = Measure { document, fragments: HashMap::new() };
    for (_, operation) in document.operations.iter() {
        let size = measure.of(&operation.node.selection_set.node)?;
        let roots = if operation.node.ty == OperationType::Subscription { 1 } else { MAX_ROOTS };
        for (code, found, most, what) in [
            ("too_deep", size.depth, MAX_DEPTH, "fields are nested at most"),
            ("too_many_aliases", size.aliases, MAX_ALIASES, "the fields with a name of their own are at most"),
            ("too_many_fields", size.fields, MAX_FIELDS, "its fields are at most"),
            (
                "too_many_fields",
                size.schema_fields,
                MAX_SCHEMA_FIELDS,
                "the fields that it asks of the schema are at most",
            ),
            ("too_many_fields", size.width, roots, "the fields at the root of an operation are at most"),
        ] {
            if found > most {
                return Err(Problem::bad(code, format!("{what} {most}; this query has {found}")));
            }
        }
    }
    let operation = meant(document, operation_name)?;
    let mut names = BTreeSet::new();
    measure.names(&operation.selection_set.node, &mut BTreeSet::new(), &mut names);
    for name in names {
        caller.needs(permissions.of_field(operation.ty, name)?)?;
    }
    Ok(operation.ty)
}

/// The operation that is meant.
fn meant<'a>(
    document: &'a ExecutableDocument,
    operation_name: Option<&str>,
) -> Result<&'a OperationDefinition, Problem> {
    let operation = match (&document.operations, operation_name) {
        (DocumentOperations::Single(operation), None) => Some(operation),
        (DocumentOperations::Multiple(operations), None) if operations.len() == 1 => operations.values().next(),
        (_, Some(name)) => document
            .operations
            .iter()
            .find(|(known, _)| known.is_some_and(|known| known == name))
            .map(|(_, operation)| operation),
        _ => None,
    };
    let bad = || {
        Problem::bad(
            "bad_query",
            "operationName names one of the query's operations; it may be left out where there is one",
        )
    };
    operation.map(|operation| &operation.node).ok_or_else(bad)
}
