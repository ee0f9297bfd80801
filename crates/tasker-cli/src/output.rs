//! What is printed: answers on stdout, everything else on stderr. A reader that goes away (`| head`) is no error.

use std::{
    fmt::Display,
    io::{self, ErrorKind, IsTerminal, Write},
    time::Duration,
};

use chrono::{DateTime, Local, Utc};
use console::measure_text_width;
use serde::Serialize;

use crate::ending::Failure;

/// Prints an answer, whole, on stdout.
pub fn print(text: &str) -> Result<(), Failure> {
    written(io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()))
}

/// Prints a part of an answer that goes on. Whether somebody still reads it.
pub fn print_to_reader(text: &str) -> Result<bool, Failure> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        result => written(result).map(|()| true),
    }
}

/// Prints one JSON value and a line end on stdout.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Failure::unable(format!("the answer has no JSON form: {e}")))?;
    print(&format!("{text}\n"))
}

/// What became of writing to stdout: nobody reads it any more, or there is no room for it.
pub fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::unable(format!("stdout cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints a line on stderr, where nothing that goes wrong can be told any more.
pub fn tell(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Somebody's text without what a terminal obeys: control characters, and those that turn the direction of writing.
pub fn harmless(text: &str) -> String {
    let is_obeyed = |c: char| {
        (c.is_control() && c != '\n' && c != '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if is_obeyed(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Colours, or none: where it is no terminal, or `NO_COLOR` is set.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    colours: bool,
}

impl Paint {
    /// For stdout.
    pub fn stdout() -> Paint {
        Paint::on(io::stdout().is_terminal())
    }

    /// For stderr.
    pub fn stderr() -> Paint {
        Paint::on(io::stderr().is_terminal())
    }

    fn on(is_terminal: bool) -> Paint {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        Paint {
            colours: is_terminal && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
        }
    }

    /// Whether there are colours.
    pub fn is_on(self) -> bool {
        self.colours
    }

    /// No colours.
    #[cfg(test)]
    pub fn none() -> Paint {
        Paint { colours: false }
    }

    /// Done, satisfied.
    pub fn green(self, text: impl Display) -> String {
        self.code(32, text)
    }

    /// Failed.
    pub fn red(self, text: impl Display) -> String {
        self.code(31, text)
    }

    /// Will go on by itself.
    pub fn yellow(self, text: impl Display) -> String {
        self.code(33, text)
    }

    /// Running.
    pub fn cyan(self, text: impl Display) -> String {
        self.code(36, text)
    }

    /// What the eye should find.
    pub fn bold(self, text: impl Display) -> String {
        self.code(1, text)
    }

    /// What the eye may pass over.
    pub fn dim(self, text: impl Display) -> String {
        self.code(2, text)
    }

    fn code(self, code: u8, text: impl Display) -> String {
        if self.colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// A duration as people say it: `12ms`, `0.3s`, `42s`, `3m5s`.
pub fn time(duration: Duration) -> String {
    match duration.as_secs_f64() {
        seconds if seconds < 0.095 => format!("{:.0}ms", seconds * 1000.0),
        seconds if seconds < 9.95 => format!("{seconds:.1}s"),
        seconds => tasker::duration::format(Duration::from_secs(seconds.round() as u64)),
    }
}

/// An instant on the reader's clock, without the day where that is today.
pub fn instant(at: DateTime<Utc>) -> String {
    let (at, today) = (at.with_timezone(&Local), Local::now().date_naive());
    at.format(if at.date_naive() == today { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" }).to_string()
}

/// A number with its digits in groups: `8,233`.
pub fn count(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// A number and its noun: `1 step`, `8,233 steps`.
pub fn counted(number: usize, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A text in one line, at most so many characters of it.
pub fn one_line(text: &str, at_most: usize) -> String {
    let line = harmless(&text.split_whitespace().collect::<Vec<_>>().join(" "));
    match line.char_indices().nth(at_most) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// A word as a shell takes it, quoted where that is needed.
pub fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+=,".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_string(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Lines of cells as columns, two spaces apart; the last column is as wide as it wants.
pub fn columns(lines: &[Vec<String>]) -> String {
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|cell| measure_text_width(cell)).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..lines.iter().map(Vec::len).max().unwrap_or(0)).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let mut row = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            row.push_str(cell);
            row.push_str(&" ".repeat(width - measure_text_width(cell) + 2));
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_not_printed() {
        assert_eq!(
            harmless("\x1b]0;pwned\x07 \u{202e}abc\u{9b}31m\tü\n"),
            "\u{fffd}]0;pwned\u{fffd} \u{fffd}abc\u{fffd}31m\tü\n"
        );
    }

    #[test]
    fn times_and_counts_read_as_people_say_them() {
        assert_eq!(time(Duration::from_millis(12)), "12ms");
        assert_eq!(time(Duration::from_millis(340)), "0.3s");
        assert_eq!(time(Duration::from_millis(9_960)), "10s");
        assert_eq!(time(Duration::from_millis(185_400)), "3m5s");
        assert_eq!([0, 999, 1_000, 8_233, 1_000_000].map(count), ["0", "999", "1,000", "8,233", "1,000,000"]);
        assert_eq!((counted(1, "step"), counted(2, "step")), ("1 step".into(), "2 steps".into()));
    }

    #[test]
    fn a_pasted_word_is_the_same_word() {
        assert_eq!(quoted("examples/repo_report.yaml"), "examples/repo_report.yaml");
        assert_eq!(quoted("it's here"), r"'it'\''s here'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn columns_line_up_whatever_their_colours() {
        let red = Paint { colours: true }.red("no");
        let lines = [vec!["a".into(), red, "x".into()], vec!["bb".into(), "yes".into(), "y".into()]];
        assert_eq!(columns(&lines), "a   \x1b[31mno\x1b[0m   x\nbb  yes  y\n");
    }

    #[test]
    fn a_text_becomes_a_line_and_its_beginning_is_shown() {
        assert_eq!(one_line("\n größer\n  more", 9), "größer mo…");
        assert_eq!(one_line("one\n", 3), "one");
    }
}
