//! The one JSON validator, which stands at every door, and the cleaning of texts that must never be refused.
//!
//! It is stricter than serde_json and PostgreSQL's `jsonb` together, so that what it lets in can be read by both for
//! ever: at most 1 MiB and 64 levels deep, no NUL character, no half of a surrogate pair, and numbers that both hold
//! (integers of 64 bits; others finite, at most 64 characters long, their exponent between -308 and 308). No name stands
//! twice in an object: whoever reads the first value and whoever reads the last would not mean the same.

use std::{borrow::Cow, collections::HashSet};

use serde::Serialize;
use serde_json::value::RawValue;

/// The greatest size of a JSON text, in bytes: 1 MiB.
pub const MAX_BYTES: usize = 1 << 20;
/// The greatest depth of nesting: `[]` has 1.
pub const MAX_DEPTH: usize = 64;
/// The greatest size of an error's message and of a log entry, in bytes: 64 KiB.
pub const MAX_MESSAGE_BYTES: usize = 64 << 10;

const MAX_NUMBER_CHARS: usize = 64;
/// Of a name in a message.
const MAX_NAME_BYTES: usize = 64;
const MAX_EXPONENT: u32 = 308;

/// Why a JSON text is refused. An offset counts bytes from the text's beginning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Larger than [`MAX_BYTES`].
    #[error("the JSON has {bytes} bytes, more than {MAX_BYTES}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// No JSON at all.
    #[error("this is not JSON: {reason}")]
    Syntax {
        /// What the parser says.
        reason: String,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("the JSON is nested more than {MAX_DEPTH} levels deep (at byte {offset})")]
    TooDeep {
        /// Where the first level too many begins.
        offset: usize,
    },
    /// A string holds the NUL character, `\u0000`.
    #[error("a string in the JSON holds the NUL character, which PostgreSQL cannot store (at byte {offset})")]
    Nul {
        /// Where its escape begins.
        offset: usize,
    },
    /// A string holds half of a surrogate pair, such as `\ud800`.
    #[error("a string in the JSON holds half of a surrogate pair, which is no character (at byte {offset})")]
    LoneSurrogate {
        /// Where its escape begins.
        offset: usize,
    },
    /// A name stands twice in an object.
    #[error("the name {name:?} stands twice in an object of the JSON (the second time at byte {offset})")]
    Twice {
        /// The name, its end cut off where it is long.
        name: String,
        /// Where it begins for the second time.
        offset: usize,
    },
    /// A number that is not held exactly enough by every reader.
    #[error("the number {text} in the JSON {reason} (at byte {offset})")]
    Number {
        /// The number, its end cut off where it is long.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
        /// Where it begins.
        offset: usize,
    },
}

/// Checks a JSON text, and gives it back as it is, without the white space around it.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(text: &str) -> Result<Box<RawValue>, Invalid> {
    if text.len() > MAX_BYTES {
        return Err(Invalid::TooLarge { bytes: text.len() });
    }
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| Invalid::Syntax { reason: error.to_string() })?;
    Scan { text, at: 0, names: Vec::new() }.run()?;
    Ok(raw.to_owned())
}

/// Writes a Rust value as JSON and [`check`]s it.
///
/// # Errors
/// The first thing that is wrong, or what serde says where the value has no JSON form.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Box<RawValue>, Invalid> {
    check(&serde_json::to_string(value).map_err(|error| Invalid::Syntax { reason: error.to_string() })?)
}

/// Makes a text storable and printable, whatever it is: an error's message is never refused. Control characters other
/// than tab and line breaks become U+FFFD; a text that would be longer than `max_bytes` is cut between two
/// characters, and says so at its end.
pub fn clean(text: &str, max_bytes: usize) -> String {
    let mut cleaned = String::with_capacity(text.len().min(max_bytes));
    for character in text.chars() {
        let is_kept = !character.is_ascii_control() || matches!(character, '\t' | '\n' | '\r');
        let character = if is_kept { character } else { char::REPLACEMENT_CHARACTER };
        if cleaned.len() + character.len_utf8() > max_bytes {
            let mark = format!("… [cut: {} bytes in all]", text.len());
            if let Some(room) = max_bytes.checked_sub(mark.len()) {
                cleaned.truncate(cleaned.floor_char_boundary(room));
                cleaned += &mark;
            }
            break;
        }
        cleaned.push(character);
    }
    cleaned
}

/// A pass over a text that is JSON by its grammar.
struct Scan<'a> {
    text: &'a str,
    at: usize,
    /// Those seen so far, of each array and object that is open here.
    names: Vec<HashSet<Cow<'a, str>>>,
}

impl Scan<'_> {
    fn run(mut self) -> Result<(), Invalid> {
        while let Some(byte) = self.byte() {
            match byte {
                b'"' => self.string()?,
                b'-' | b'0'..=b'9' => self.number()?,
                b'[' | b'{' => {
                    if self.names.len() == MAX_DEPTH {
                        return Err(Invalid::TooDeep { offset: self.at });
                    }
                    self.names.push(HashSet::new());
                    self.at += 1;
                }
                b']' | b'}' => {
                    self.names.pop();
                    self.at += 1;
                }
                _ => self.at += 1,
            }
        }
        Ok(())
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// From the opening quote to behind the closing one; where a colon follows, it is a name.
    fn string(&mut self) -> Result<(), Invalid> {
        let offset = self.at;
        self.at += 1;
        while let Some(byte) = self.byte() {
            self.at += match byte {
                b'"' => break,
                b'\\' => self.escape_len()?,
                _ => 1,
            };
        }
        self.at += 1;
        let quoted = &self.text[offset..self.at];
        if !self.text[self.at..].trim_start().starts_with(':') {
            return Ok(());
        }
        let name = match quoted.contains('\\') {
            true => serde_json::from_str::<String>(quoted).unwrap_or_default().into(),
            false => Cow::from(&quoted[1..quoted.len() - 1]),
        };
        match self.names.last_mut().and_then(|names| names.replace(name)) {
            Some(name) => Err(Invalid::Twice { name: clean(&name, MAX_NAME_BYTES), offset }),
            None => Ok(()),
        }
    }

    /// The length of the escape that begins here, that of a surrogate pair being one escape.
    fn escape_len(&self) -> Result<usize, Invalid> {
        let offset = self.at;
        match self.code_unit(offset) {
            Some(0) => Err(Invalid::Nul { offset }),
            Some(0xD800..=0xDBFF) if matches!(self.code_unit(offset + 6), Some(0xDC00..=0xDFFF)) => Ok(12),
            Some(0xD800..=0xDFFF) => Err(Invalid::LoneSurrogate { offset }),
            Some(_) => Ok(6),
            None => Ok(2),
        }
    }

    /// What `\uXXXX` at this offset stands for.
    fn code_unit(&self, offset: usize) -> Option<u16> {
        let digits = self.text.get(offset..offset + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok()
    }

    fn number(&mut self) -> Result<(), Invalid> {
        let rest = &self.text[self.at..];
        let is_part = |byte: u8| matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        let number = &rest[..rest.bytes().position(|byte| !is_part(byte)).unwrap_or(rest.len())];
        let offset = self.at;
        self.at += number.len();
        match number_fault(number) {
            None => Ok(()),
            Some(reason) => Err(Invalid::Number { text: clean(number, MAX_NUMBER_CHARS), reason, offset }),
        }
    }
}

fn number_fault(number: &str) -> Option<&'static str> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    if number.len() > MAX_NUMBER_CHARS {
        return Some("has more than 64 characters");
    }
    if mantissa.len() == number.len() && !number.contains('.') {
        let fits = number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok();
        return (!fits).then_some("does not fit into 64 bits");
    }
    let exponent = exponent.trim_start_matches(['+', '-']).parse::<u32>();
    if exponent.is_ok_and(|exponent| exponent <= MAX_EXPONENT) && number.parse::<f64>().is_ok_and(f64::is_finite) {
        return None;
    }
    Some("is not between -1e308 and 1e308, or too near to zero")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn checked(text: &str) -> String {
        check(text).map_or_else(|invalid| invalid.to_string(), |raw| format!("ok {}", raw.get()))
    }

    #[test]
    fn a_text_is_let_in_as_it_is_or_refused_with_a_sentence() {
        let nul =
            |at| format!("a string in the JSON holds the NUL character, which PostgreSQL cannot store (at byte {at})");
        let half =
            |at| format!("a string in the JSON holds half of a surrogate pair, which is no character (at byte {at})");
        let twice = |name, at| {
            format!("the name \"{name}\" stands twice in an object of the JSON (the second time at byte {at})")
        };
        let near = "is not between -1e308 and 1e308, or too near to zero";
        let cases = [
            (r#" {"b": 1,"a" : [1.50, -0]} "#, r#"ok {"b": 1,"a" : [1.50, -0]}"#.to_string()),
            ("null", "ok null".into()),
            (r#"{"a":1,"b":{"a":[{"a":2},{"a":"b"}]}}"#, r#"ok {"a":1,"b":{"a":[{"a":2},{"a":"b"}]}}"#.into()),
            (r#"{"a":":","b":"a"}"#, r#"ok {"a":":","b":"a"}"#.into()),
            (r#"{"a":1,"a":2}"#, twice("a", 7)),
            (r#"[{"b":1,"a":[],"é":{}, "\u00e9" : 2}]"#, twice("é", 24)),
            (r#"{"a\"b":1,"a\u0022b":2}"#, twice("a\\\"b", 10)),
            ("18446744073709551615", "ok 18446744073709551615".into()),
            ("-9223372036854775808", "ok -9223372036854775808".into()),
            ("1e308", "ok 1e308".into()),
            (r#""\ud83d\ude00 \\u0000 \u0001""#, r#"ok "\ud83d\ude00 \\u0000 \u0001""#.into()),
            ("", "this is not JSON: EOF while parsing a value at line 1 column 0".into()),
            ("{\"a\": 1,}", "this is not JSON: key must be a string at line 1 column 9".into()),
            ("[1] 2", "this is not JSON: trailing characters at line 1 column 5".into()),
            ("[NaN]", "this is not JSON: expected value at line 1 column 2".into()),
            ("01", "this is not JSON: invalid number at line 1 column 2".into()),
            (r#"["a", "b\u0000"]"#, nul(8)),
            (r#""\\\u0000""#, nul(3)),
            (r#""\ud800""#, half(1)),
            (r#""x\udc00""#, half(2)),
            (r#""\ud800\ud800\udc00""#, half(1)),
            (r#""\ud83dx\ude00""#, half(1)),
            (r#"{"\ud800": 1}"#, half(2)),
            (
                "[18446744073709551616]",
                "the number 18446744073709551616 in the JSON does not fit into 64 bits (at byte 1)".into(),
            ),
            (
                "-9223372036854775809",
                "the number -9223372036854775809 in the JSON does not fit into 64 bits (at byte 0)".into(),
            ),
            ("1e309", format!("the number 1e309 in the JSON {near} (at byte 0)")),
            ("2e308", format!("the number 2e308 in the JSON {near} (at byte 0)")),
            ("1E-400", format!("the number 1E-400 in the JSON {near} (at byte 0)")),
            ("1e99999999999", format!("the number 1e99999999999 in the JSON {near} (at byte 0)")),
        ];
        for (text, expected) in cases {
            assert_eq!(checked(text), expected, "{text}");
        }
        let long = format!("0.{}", "1".repeat(70));
        assert!(
            checked(&long).ends_with("… [cut: 72 bytes in all] in the JSON has more than 64 characters (at byte 0)")
        );
    }

    #[test]
    fn size_and_depth_end_where_they_should() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(check(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(check(&nested(MAX_DEPTH + 1)).unwrap_err(), Invalid::TooDeep { offset: MAX_DEPTH });
        assert_eq!(check(&nested(400_000)).unwrap_err(), Invalid::TooDeep { offset: MAX_DEPTH });
        let flat = format!("[{}[]]", "[],".repeat(1000));
        assert!(check(&flat).is_ok());
        let string = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
        assert!(check(&string(MAX_BYTES)).is_ok());
        assert_eq!(check(&string(MAX_BYTES + 1)).unwrap_err(), Invalid::TooLarge { bytes: MAX_BYTES + 1 });
    }

    #[test]
    fn rust_values_pass_the_same_door() {
        assert_eq!(encode(&("a", 1)).unwrap().get(), r#"["a",1]"#);
        assert_eq!(encode("a\0").unwrap_err(), Invalid::Nul { offset: 2 });
        assert_eq!(
            encode(&u128::MAX).unwrap_err().to_string().split(" in ").nth(1),
            Some("the JSON does not fit into 64 bits (at byte 0)")
        );
    }

    #[test]
    fn a_message_is_cleaned_and_cut_but_never_lost() {
        assert_eq!(clean("a\0b\tc\r\n\u{1b}[31m é", 100), "a\u{fffd}b\tc\r\n\u{fffd}[31m é");
        let long = clean(&"é".repeat(100), 99);
        assert_eq!(long, format!("{}… [cut: 200 bytes in all]", "é".repeat(36)));
        assert_eq!(clean("abc", 3), "abc");
        assert_eq!(clean("abcd", 3), "abc");
        assert_eq!(clean("ééé", 3), "é");
        assert_eq!(clean("", 0), "");
    }

    /// What the validator should say, by another road: a parsed tree for the grammar, and the text for the rest.
    fn is_valid(text: &str) -> bool {
        fn depth(value: &Value) -> usize {
            match value {
                Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
                Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
                _ => 0,
            }
        }
        fn strings(value: &Value) -> Vec<&str> {
            match value {
                Value::String(text) => vec![text],
                Value::Array(items) => items.iter().flat_map(strings).collect(),
                Value::Object(members) => {
                    members.iter().flat_map(|(key, value)| strings(value).into_iter().chain([key.as_str()])).collect()
                }
                _ => vec![],
            }
        }
        let Ok(value) = serde_json::from_str::<Value>(text) else { return false };
        depth(&value) <= MAX_DEPTH && !strings(&value).iter().any(|text| text.contains('\0'))
    }

    fn json() -> impl Strategy<Value = String> {
        let escape = prop_oneof![
            Just("\\u0000".to_string()),
            Just("\\ud83d".into()),
            Just("\\ude00".into()),
            Just("\\\\".into()),
            Just("\\\"".into()),
            Just("\\n".into()),
            Just("u0000".into()),
            "[a-z \u{e9}\u{1f600}]{0,3}",
        ];
        let string = prop::collection::vec(escape, 0..5).prop_map(|parts| format!("\"{}\"", parts.concat()));
        let leaf = prop_oneof![
            string.clone(),
            any::<i64>().prop_map(|n| n.to_string()),
            any::<u64>().prop_map(|n| n.to_string()),
            (-1e300..1e300f64).prop_map(|n| format!("{n:e}")),
            Just("true".into()),
            Just("null".into()),
        ];
        leaf.prop_recursive(80, 200, 3, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(", "))),
                prop::collection::vec((string.clone(), inner), 0..3).prop_map(|members| {
                    // names that differ: a parsed tree keeps one of those that are alike
                    let member =
                        |(n, (name, value)): (usize, &(String, String))| format!("\"{n}{}:{value}", &name[1..]);
                    let members: Vec<String> = members.iter().enumerate().map(member).collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_parsed_tree(text in json()) {
            prop_assert_eq!(check(&text).is_ok(), is_valid(&text), "{}", text);
            if let Ok(raw) = check(&text) {
                prop_assert_eq!(raw.get(), text);
            }
        }

        #[test]
        fn it_agrees_where_a_character_is_missing_or_stands_twice(text in json(), at in any::<prop::sample::Index>(), twice in any::<bool>()) {
            let mut characters: Vec<char> = text.chars().collect();
            let at = at.index(characters.len());
            match twice {
                true => characters.insert(at, characters[at]),
                false => drop(characters.remove(at)),
            }
            let text: String = characters.into_iter().collect();
            // What a doubled digit makes of a number is the table's matter.
            prop_assume!(!text.contains(|c: char| c.is_ascii_digit()) || !is_valid(&text));
            prop_assert_eq!(check(&text).is_ok(), is_valid(&text), "{}", text);
        }

        #[test]
        fn a_cleaned_text_keeps_its_limit_and_stays_as_it_is(text in any::<String>(), max_bytes in 0..200usize) {
            let cleaned = clean(&text, max_bytes);
            prop_assert!(cleaned.len() <= max_bytes);
            prop_assert!(!cleaned.contains('\0'));
            prop_assert_eq!(clean(&cleaned, max_bytes), cleaned);
        }
    }
}
