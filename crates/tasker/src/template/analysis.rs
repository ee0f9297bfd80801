//! What can be said of a template without running it: which steps it names, and what is wrong with it.
//!
//! It reads minijinja's own tokens. `steps` must be followed by a step's name and `.result`, so that what a template
//! needs is known when the workflow is defined: `steps|items`, `steps[input.name]` and `{% set s = steps %}` are
//! refused with a sentence. Sources nested so deeply that minijinja's recursion could exhaust a thread's stack are
//! refused too: long chains in an expression, long chains of `elif`, and ways to nest values at run time without
//! end (recursive loops; `namespace` does not exist).

use std::ops::Range;

use minijinja::{
    Environment, ErrorKind,
    machinery::{Span, Token, tokenize},
};

use super::{ENVIRONMENT, syntax};
use crate::suggest;

/// The greatest number of tokens between two commas of an expression, those of enclosing brackets included.
const MAX_CHAIN: usize = 500;
/// The greatest number of `elif` in enclosing `if` blocks.
const MAX_ELIF: usize = 100;
/// The greatest number of brackets and filters in all `set` and `with` blocks of a template.
const MAX_SET_DEPTH: usize = 1_000;
/// Names that mean something to the language where a variable could stand.
const WORDS: [&str; 6] = ["range", "dict", "true", "false", "none", "loop"];

/// How a string is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Text with `{{ }}` in it.
    Text,
    /// An expression without braces.
    Expression,
}

/// A step whose result a template names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The step's name, as written.
    pub step: String,
    /// Where `steps` begins, in bytes from the template's beginning.
    pub offset: usize,
}

/// Something wrong in a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// A sentence.
    pub message: String,
    /// Where, in bytes from the template's beginning.
    pub offset: usize,
}

/// What is known of a template before it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Analysis {
    /// Every mention of a step's result, in order.
    pub references: Vec<Reference>,
    /// What is wrong: syntax, unknown variables and filters, uses of `steps` that cannot be followed.
    pub faults: Vec<Fault>,
}

/// Reads a template. Its variables are `input`, `steps` and those of `more_variables`.
pub fn analyse(source: &str, form: Form, more_variables: &[&str]) -> Analysis {
    if form == Form::Text && !is_template(source) {
        return Analysis::default();
    }
    let parts = match parts(source, form) {
        Ok(parts) => parts,
        Err(fault) => return Analysis { references: Vec::new(), faults: vec![fault] },
    };
    let mut analysis = Analysis { references: parts.references, faults: parts.faults };
    match undeclared_variables(source, form, parts.expression.clone()) {
        Ok(names) => {
            let known: Vec<&str> = ["input", "steps"].into_iter().chain(more_variables.iter().copied()).collect();
            let unknown =
                names.iter().filter(|name| !known.contains(&name.as_str()) && !WORDS.contains(&name.as_str()));
            analysis.faults.extend(unknown.map(|name| Fault {
                message: match suggest::closest(name, known.iter().copied()) {
                    _ if name == "secrets" => {
                        "`secrets` are for `http`, `command` and functions: what comes of this template is kept".into()
                    }
                    Some(found) => format!("unknown variable `{name}`; did you mean `{found}`?"),
                    None => format!("unknown variable `{name}`; there are {}", suggest::list(&known)),
                },
                offset: parts.names.iter().find(|(known, _)| known == name).map_or(0, |(_, offset)| *offset),
            }));
        }
        Err(fault) => analysis.faults.push(fault),
    }
    analysis.faults.sort_by_key(|fault| fault.offset);
    analysis
}

/// Whether a string has template syntax in it at all.
pub(crate) fn is_template(text: &str) -> bool {
    text.bytes().zip(text.bytes().skip(1)).any(|(first, second)| first == b'{' && b"{%#".contains(&second))
}

/// What the tokens of a template say.
#[derive(Default)]
pub(super) struct Parts<'s> {
    /// Where the expression stands in a text that is exactly `{{ expression }}`.
    pub(super) expression: Option<Range<usize>>,
    references: Vec<Reference>,
    faults: Vec<Fault>,
    /// Identifiers where a variable may stand, with their offsets.
    names: Vec<(&'s str, usize)>,
}

/// Reads a template's tokens; an error is one that forbids compiling it.
pub(super) fn parts(source: &str, form: Form) -> Result<Parts<'_>, Fault> {
    let mut tokens = Vec::new();
    for token in tokenize(source, form == Form::Expression, syntax()) {
        tokens.push(token.map_err(|error| syntax_fault(&error, 0))?);
    }
    check_depth(&tokens)?;
    let mut parts = Parts { expression: single_expression(source, &tokens), ..Parts::default() };
    for (index, (token, span)) in tokens.iter().enumerate() {
        let Token::Ident(name) = token else { continue };
        let offset = span.start_offset as usize;
        let before = |distance: usize| index.checked_sub(distance).map(|index| &tokens[index].0);
        match (before(2), before(1)) {
            (_, Some(Token::Dot)) => {}
            (_, Some(Token::Pipe)) | (Some(Token::BlockStart), Some(Token::Ident("filter"))) => {
                parts.faults.extend(unknown_filter(name, offset));
            }
            (_, Some(Token::Ident("is"))) if *name == "not" => {}
            (_, Some(Token::Ident("is"))) | (Some(Token::Ident("is")), Some(Token::Ident("not"))) => {
                parts.faults.extend(unknown_test(name, offset));
            }
            _ if *name == "steps" => match step_named(&tokens[index + 1..]) {
                Ok(step) => parts.references.push(Reference { step: step.into(), offset }),
                Err(message) => parts.faults.push(Fault { message, offset }),
            },
            _ => parts.names.push((name, offset)),
        }
    }
    Ok(parts)
}

/// The step that the tokens after `steps` name.
fn step_named<'t>(after: &'t [(Token, Span)]) -> Result<&'t str, String> {
    let Some((step, rest)) = member(after) else {
        return Err("`steps` must be followed by the name of a step, as in `steps.NAME.result`, so that what a \
                    template needs is known beforehand"
            .into());
    };
    match member(rest) {
        Some(("result", _)) => Ok(step),
        Some((other, _)) => Err(format!("a step has nothing but its `result`; write `steps.{step}.result.{other}`?")),
        None => Err(format!("a step has nothing but its `result`; write `steps.{step}.result`")),
    }
}

/// The member that `.name` or `["name"]` names, and the tokens after it.
fn member<'t>(tokens: &'t [(Token, Span)]) -> Option<(&'t str, &'t [(Token<'t>, Span)])> {
    match tokens {
        [(Token::Dot, _), (Token::Ident(name), _), rest @ ..] => Some((name, rest)),
        [(Token::BracketOpen, _), (Token::Str(name), _), (Token::BracketClose, _), rest @ ..] => Some((name, rest)),
        [(Token::BracketOpen, _), (Token::String(name), _), (Token::BracketClose, _), rest @ ..] => Some((name, rest)),
        _ => None,
    }
}

/// What is between `{{` and `}}` where these are the template's first and last tokens, and its only ones.
fn single_expression(source: &str, tokens: &[(Token, Span)]) -> Option<Range<usize>> {
    let [(Token::VariableStart, start), inner @ .., (Token::VariableEnd, end)] = tokens else { return None };
    let is_edge = |token: &Token| matches!(token, Token::VariableStart | Token::VariableEnd | Token::BlockStart);
    let is_whole = start.start_offset == 0 && end.end_offset as usize == source.len();
    let is_single = is_whole && !inner.iter().any(|(token, _)| is_edge(token));
    is_single.then_some(start.end_offset as usize..end.start_offset as usize)
}

fn check_depth(tokens: &[(Token, Span)]) -> Result<(), Fault> {
    let mut open = vec![0]; // tokens since the last comma, for each open bracket
    let mut chain = 0; // their sum
    let mut elifs = vec![0]; // for each open `if`
    let mut set_depth = 0;
    let mut block = "";
    for (index, (token, span)) in tokens.iter().enumerate() {
        let fault = |message: &str| Fault { message: message.into(), offset: span.start_offset as usize };
        let is_open = matches!(token, Token::BracketOpen | Token::BraceOpen | Token::ParenOpen);
        match token {
            Token::VariableStart | Token::BlockStart => {
                (open, chain) = (vec![0], 0);
                block = match (token, tokens.get(index + 1)) {
                    (Token::BlockStart, Some((Token::Ident(name), _))) => name,
                    _ => "",
                };
                match block {
                    "if" => elifs.push(0),
                    "elif" => *last(&mut elifs) += 1,
                    "endif" => drop(elifs.pop()),
                    _ => {}
                }
            }
            Token::TemplateData(_) | Token::VariableEnd | Token::BlockEnd => {}
            Token::BracketClose | Token::BraceClose | Token::ParenClose => chain -= open.pop().unwrap_or(0),
            Token::Comma => chain -= std::mem::take(last(&mut open)),
            Token::Ident("recursive") if block == "for" => return Err(fault("loops cannot be recursive")),
            _ => {
                *last(&mut open) += 1;
                chain += 1;
                if is_open {
                    open.push(0);
                }
            }
        }
        set_depth += usize::from(matches!(block, "set" | "with") && (is_open || matches!(token, Token::Pipe)));
        if chain > MAX_CHAIN {
            return Err(fault("the expression is too long: break it up with `{% set %}` or in a step of its own"));
        }
        if elifs.iter().sum::<usize>() > MAX_ELIF {
            return Err(fault("there are too many `elif`"));
        }
        if set_depth > MAX_SET_DEPTH {
            return Err(fault("there are too many lists, objects, calls and filters in `set` blocks"));
        }
    }
    Ok(())
}

fn last(counts: &mut Vec<usize>) -> &mut usize {
    if counts.is_empty() {
        counts.push(0);
    }
    let index = counts.len() - 1;
    &mut counts[index]
}

fn undeclared_variables(source: &str, form: Form, expression: Option<Range<usize>>) -> Result<Vec<String>, Fault> {
    let mut environment = Environment::new();
    environment.set_syntax(syntax());
    let expression = if form == Form::Expression { Some(0..source.len()) } else { expression };
    let names = match expression {
        Some(at) => {
            let compiled = environment.compile_expression(&source[at.clone()]);
            compiled.map_err(|error| syntax_fault(&error, at.start))?.undeclared_variables(false)
        }
        None => {
            let compiled = environment.template_from_str(source);
            compiled.map_err(|error| syntax_fault(&error, 0))?.undeclared_variables(false)
        }
    };
    let mut names: Vec<String> = names.into_iter().collect();
    names.sort();
    Ok(names)
}

fn syntax_fault(error: &minijinja::Error, shift: usize) -> Fault {
    let detail = error.detail().unwrap_or("it cannot be read");
    Fault {
        message: format!("{}: {detail}", ErrorKind::SyntaxError),
        offset: shift + error.range().map_or(0, |at| at.start),
    }
}

fn unknown_filter(name: &str, offset: usize) -> Option<Fault> {
    let error = ENVIRONMENT.empty_state().apply_filter(name, &[]).err()?;
    let unknown = error.kind() == ErrorKind::UnknownFilter;
    unknown.then(|| Fault { message: format!("unknown filter `{name}`"), offset })
}

fn unknown_test(name: &str, offset: usize) -> Option<Fault> {
    let error = ENVIRONMENT.empty_state().perform_test(name, &[]).err()?;
    let unknown = error.kind() == ErrorKind::UnknownTest;
    unknown.then(|| Fault { message: format!("unknown test `{name}` after `is`"), offset })
}
