//! Where a value stands in a JSON document, written as people write it: `with.args[1]`, `with.env["A-B"]`.

use std::fmt;

/// A value's place: a chain of borrowed steps from the document's root, so that naming places costs nothing until
/// one is printed or kept.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// The document itself, without a name.
    Root,
    /// A member of the object at the first place.
    Member(&'a Place<'a>, &'a str),
    /// An element of the list at the first place, from 0.
    Element(&'a Place<'a>, usize),
}

/// One step of a kept place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// A member of an object.
    Member(String),
    /// An element of a list, from 0.
    Element(usize),
}

impl<'a> Place<'a> {
    /// The member `name` of the value at this place.
    pub fn member(&'a self, name: &'a str) -> Place<'a> {
        Place::Member(self, name)
    }

    /// The element `index` of the list at this place.
    pub fn element(&'a self, index: usize) -> Place<'a> {
        Place::Element(self, index)
    }

    /// The number of steps from the root to this place.
    pub fn depth(&self) -> usize {
        let mut depth = 0;
        let mut here = self;
        while let Place::Member(parent, _) | Place::Element(parent, _) = here {
            here = parent;
            depth += 1;
        }
        depth
    }

    /// The steps from the root to this place.
    pub fn segments(&self) -> Vec<Segment> {
        let mut segments = Vec::new();
        let mut here = self;
        loop {
            here = match here {
                Place::Root => break,
                Place::Member(parent, name) => {
                    segments.push(Segment::Member(name.to_string()));
                    parent
                }
                Place::Element(parent, index) => {
                    segments.push(Segment::Element(*index));
                    parent
                }
            };
        }
        segments.reverse();
        segments
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.segments().iter().enumerate() {
            match segment {
                Segment::Member(name) if is_plain(name) && index == 0 => f.write_str(name)?,
                Segment::Member(name) if is_plain(name) => write!(f, ".{name}")?,
                Segment::Member(name) => write!(f, "[{name:?}]")?,
                Segment::Element(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Whether a member can be written after a dot.
fn is_plain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_like_the_path_that_a_template_would_use() {
        let with = Place::Root.member("with");
        let arguments = with.member("args");
        assert_eq!(arguments.element(1).to_string(), "with.args[1]");
        let environment = with.member("env");
        assert_eq!(environment.member("A-B").to_string(), r#"with.env["A-B"]"#);
        assert_eq!(Place::Root.to_string(), "");
        assert_eq!((Place::Root.depth(), arguments.element(1).depth()), (0, 3));
        assert_eq!(
            arguments.element(1).segments(),
            [Segment::Member("with".into()), Segment::Member("args".into()), Segment::Element(1)]
        );
    }
}
