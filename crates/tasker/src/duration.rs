//! Durations as people write them: `100ms`, `30s`, `5m`, `2h`, `1d`, and several of them from the largest to the
//! smallest: `1h30m`.
//!
//! They are whole milliseconds from 0 to 366 days, and [`format()`] writes what [`parse`] reads.

use std::time::Duration;

/// The longest duration: 366 days.
pub const MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Units in milliseconds, the largest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Why a text is no duration, as a sentence that says how to write one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` {reason}")]
pub struct Invalid {
    /// What was written, its end cut off where it is long.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Reads a duration.
///
/// # Errors
/// A sentence about what is wrong: no unit, an unknown one, units out of order, a fraction, more than [`MAX`].
pub fn parse(text: &str) -> Result<Duration, Invalid> {
    let refuse = |reason: String| Err(Invalid { text: crate::json::clean(text, 64), reason });
    let mut rest = text;
    let mut millis: u64 = 0;
    let mut units = UNITS.iter();
    while !rest.is_empty() || text.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        rest = after;
        match (number, unit) {
            (number, "") if !number.is_empty() && rest.is_empty() => {
                return refuse(format!("has no unit; write `{number}s` or `{number}ms`"));
            }
            ("", _) | (_, "") => {
                return refuse("is not a duration; write for example `100ms`, `30s`, `5m`, `2h` or `1d`".into());
            }
            _ => {}
        }
        let Some((_, factor)) = units.find(|(name, _)| *name == unit) else {
            let known = UNITS.iter().any(|(name, _)| *name == unit);
            return refuse(match known {
                true => "has its units out of order; write the largest first, as in `1h30m`".into(),
                false => format!("has the unknown unit `{unit}`; there are `d`, `h`, `m`, `s` and `ms`"),
            });
        };
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor));
        match part.and_then(|part| millis.checked_add(part)).filter(|millis| u128::from(*millis) <= MAX.as_millis()) {
            Some(sum) => millis = sum,
            None => return refuse("is longer than 366 days".into()),
        }
    }
    Ok(Duration::from_millis(millis))
}

/// Writes a duration, what is below a millisecond left out: `1h30m`, `250ms`, `0s`.
pub fn format(duration: Duration) -> String {
    let mut millis = duration.as_millis();
    let mut text = String::new();
    for (unit, factor) in UNITS {
        let count = millis / u128::from(factor);
        millis %= u128::from(factor);
        if count > 0 {
            text += &format!("{count}{unit}");
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

/// For serde: a duration as its text.
pub mod text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Writes the text of [`super::format`].
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&super::format(*duration))
    }

    /// Reads with [`super::parse`].
    ///
    /// # Errors
    /// No text, or no duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        super::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// For serde: a duration as its text, or null.
pub mod optional_text {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    /// Writes the text of [`super::format`], or null.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        duration.map(super::format).serialize(serializer)
    }

    /// Reads with [`super::parse`], or null.
    ///
    /// # Errors
    /// Neither null nor text, or no duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| super::parse(&text)).transpose().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_duration_is_read_as_it_is_written_or_refused_with_a_sentence() {
        let example = "is not a duration; write for example `100ms`, `30s`, `5m`, `2h` or `1d`";
        let cases = [
            ("100ms", "100ms".to_string()),
            ("30s", "30s".into()),
            ("5m", "5m".into()),
            ("2h", "2h".into()),
            ("1d", "1d".into()),
            ("1h30m", "1h30m".into()),
            ("90s", "1m30s".into()),
            ("0s", "0s".into()),
            ("0ms", "0s".into()),
            ("366d", "366d".into()),
            ("1d2h3m4s5ms", "1d2h3m4s5ms".into()),
            ("", format!("`` {example}")),
            ("soon", format!("`soon` {example}")),
            ("-5s", format!("`-5s` {example}")),
            ("1.5h", format!("`1.5h` {example}")),
            ("30 s", format!("`30 s` {example}")),
            (" 30s", format!("` 30s` {example}")),
            ("5m ", format!("`5m ` {example}")),
            ("30", "`30` has no unit; write `30s` or `30ms`".into()),
            ("1h30", "`1h30` has no unit; write `30s` or `30ms`".into()),
            ("5min", "`5min` has the unknown unit `min`; there are `d`, `h`, `m`, `s` and `ms`".into()),
            ("5M", "`5M` has the unknown unit `M`; there are `d`, `h`, `m`, `s` and `ms`".into()),
            ("30m1h", "`30m1h` has its units out of order; write the largest first, as in `1h30m`".into()),
            ("1s1s", "`1s1s` has its units out of order; write the largest first, as in `1h30m`".into()),
            ("367d", "`367d` is longer than 366 days".into()),
            ("366d1ms", "`366d1ms` is longer than 366 days".into()),
            ("99999999999999999999s", "`99999999999999999999s` is longer than 366 days".into()),
            ("9999999999999999999d", "`9999999999999999999d` is longer than 366 days".into()),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).map_or_else(|invalid| invalid.to_string(), format), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(millis in 0..=MAX.as_millis() as u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&format(duration)).unwrap(), duration);
        }

        #[test]
        fn any_text_gets_an_answer(text in "[0-9]{0,22}[dhms .-]{0,3}[0-9]{0,3}[a-zé]{0,2}") {
            if let Ok(duration) = parse(&text) {
                prop_assert!(duration <= MAX);
            }
        }
    }
}
