//! Workflows in YAML: a file is read whole, and refused whole with everything that is wrong in it, each with its line
//! and column.

mod read;
mod schema;
mod tree;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    fs::File,
    io::Read,
    path::Path,
};

pub use self::schema::schema;
use self::{
    read::{Read as Draft, TemplateFile},
    tree::{Kind, Mark, Tree},
};
use super::{Definition, MAX_BYTES, Problem, Spot, validate};
use crate::place::Segment;

/// How many problems are printed.
const MAX_PRINTED: usize = 100;

/// Why a workflow file is refused: everything that is wrong with it, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What is wrong; never empty.
    pub problems: Vec<Located>,
}

/// Something wrong in a file. Printed as `workflow.yaml:12:9: step `ship` depends on itself`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The file's name, as it was given; that of a template file where the problem is in there.
    pub file: String,
    /// Line and column, from 1, the column in characters; `None` where the file as a whole is meant.
    pub position: Option<(u32, u32)>,
    /// A sentence.
    pub message: String,
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.problems.iter().take(MAX_PRINTED).map(Located::to_string).collect();
        f.write_str(&lines.join("\n"))?;
        match self.problems.len().checked_sub(MAX_PRINTED) {
            Some(more) if more > 0 => write!(f, "\nand {more} more"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Refused {}

pub(super) fn from_file(path: &Path, functions: &[&str]) -> Result<Definition, Refused> {
    let name = path.display().to_string();
    let mut text = Vec::new();
    // One byte more than may be there shows that there is too much.
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES as u64 + 1).read_to_end(&mut text));
    read.map_err(|error| refuse(&name, None, format!("the file cannot be read: {error}")))?;
    from_yaml(&name, &text, Some(path.parent().unwrap_or(Path::new(""))), functions)
}

pub(super) fn from_yaml(
    file: &str,
    text: &[u8],
    folder: Option<&Path>,
    functions: &[&str],
) -> Result<Definition, Refused> {
    if text.len() > MAX_BYTES {
        return Err(refuse(file, None, format!("the file is larger than {MAX_BYTES} bytes")));
    }
    let text = std::str::from_utf8(text).map_err(|error| {
        let before = text.utf8_chunks().next().map_or("", |chunk| chunk.valid());
        let position = position_at(before, error.valid_up_to(), (1, 1));
        refuse(file, Some(position), "the file is not text: from here on its bytes are not UTF-8".into())
    })?;
    let tree = tree::parse(text).map_err(|(mark, message)| refuse(file, Some((mark.line, mark.column)), message))?;
    let Draft { draft, faults, template_files } = read::read(&tree, text, folder);
    let found = match validate::check(draft, functions) {
        Ok(definition) if faults.is_empty() => return Ok(definition),
        Ok(_) => Vec::new(),
        Err(problems) => problems,
    };
    let here = |(mark, message): (Mark, String)| Located {
        file: file.into(),
        position: Some((mark.line, mark.column)),
        message,
    };
    let mut problems: Vec<Located> = faults.into_iter().map(here).collect();
    // What stands where something is wrong already is not judged any further.
    let known: HashSet<Option<(u32, u32)>> = problems.iter().map(|problem| problem.position).collect();
    let found = found.into_iter().map(|problem| locate(problem, file, text, &tree, &template_files));
    problems.extend(found.filter(|problem| problem.file != file || !known.contains(&problem.position)));
    problems.sort_by(|a, b| (a.file != file, &a.file, a.position).cmp(&(b.file != file, &b.file, b.position)));
    problems.dedup();
    Err(Refused { problems })
}

fn refuse(file: &str, position: Option<(u32, u32)>, message: String) -> Refused {
    Refused { problems: vec![Located { file: file.into(), position, message }] }
}

/// Finds a problem's line and column.
fn locate(
    problem: Problem,
    file: &str,
    text: &str,
    tree: &Tree,
    template_files: &HashMap<usize, TemplateFile>,
) -> Located {
    if let (Some(template), Spot::Offset(offset)) = (template_of(&problem.place, template_files), problem.spot) {
        let position = Some(position_at(&template.text, offset, (1, 1)));
        return Located { file: template.name.clone(), position, message: problem.message };
    }
    let nearest = tree.nearest(&problem.place);
    let value = nearest.value.mark;
    let position = match (problem.spot, &nearest.value.kind) {
        (Spot::Key, _) => nearest.key.map_or((value.line, value.column), |key| (key.line, key.column)),
        (Spot::Offset(offset), Kind::Text(decoded)) if nearest.is_exact => within(text, value, decoded, offset),
        _ => (value.line, value.column),
    };
    Located { file: file.into(), position: Some(position), message: problem.message }
}

/// The template file that a place is in, if any.
fn template_of<'t>(place: &[Segment], files: &'t HashMap<usize, TemplateFile>) -> Option<&'t TemplateFile> {
    match place {
        [_, Segment::Element(step), _, Segment::Member(key)] if key == "template" => files.get(step),
        _ => None,
    }
}

/// The position of a byte of a scalar's value. What is written may have quotes, escapes and indentation, so the word
/// that begins at this byte is looked for: its nth occurrence is the nth in both.
fn within(text: &str, mark: Mark, decoded: &str, offset: usize) -> (u32, u32) {
    let start = (mark.line, mark.column);
    let Some(written) = text.get(mark.start as usize..mark.end as usize) else { return start };
    let Some((before, after)) = decoded.split_at_checked(offset) else { return start };
    let word_end = after.find(|c: char| !c.is_alphanumeric() && !matches!(c, '_' | '.')).unwrap_or(after.len());
    let word_end = if word_end == 0 { after.chars().next().map_or(0, char::len_utf8) } else { word_end };
    let word = &after[..word_end];
    if word.is_empty() {
        return start;
    }
    let nth = decoded.match_indices(word).filter(|(at, _)| *at < before.len()).count();
    match written.match_indices(word).nth(nth) {
        Some((at, _)) => position_at(written, at, start),
        None => start,
    }
}

/// The line and column of a byte of a text whose first byte is at `start`.
fn position_at(text: &str, offset: usize, start: (u32, u32)) -> (u32, u32) {
    let before = &text[..text.floor_char_boundary(offset)];
    let lines = before.matches('\n').count() as u32;
    let columns = before.chars().rev().take_while(|c| *c != '\n').count() as u32;
    match lines {
        0 => (start.0, start.1 + columns),
        _ => (start.0 + lines, 1 + columns),
    }
}
