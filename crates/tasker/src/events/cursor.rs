//! Places in the order of events.

use std::{fmt, str::FromStr};

use serde::Serialize;

use crate::Error;

/// A place in the order of events: a history, and the snapshot up to which it was read. Its text is a URL's and a header's, and is not to be taken apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Cursor(String);

impl Cursor {
    /// One that the database made.
    pub(crate) fn trusted(text: String) -> Cursor {
        Cursor(text)
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether everything up to here was read, and this is not within a window.
    pub fn is_whole(&self) -> bool {
        self.0.matches('/').count() == 1
    }

    /// Where to begin to read from here, everything having been read, up to another such place.
    pub(super) fn up_to(&self, other: &Cursor) -> Cursor {
        let until = other.0.split_once('/').map_or("", |(_, until)| until);
        Cursor(format!("{}/{until}/0/{}/-1", self.0, uuid::Uuid::nil()))
    }

    /// Up to where its window goes: the place itself where it is within none.
    pub(super) fn until(&self) -> Cursor {
        match self.0.split('/').collect::<Vec<_>>()[..] {
            [epoch, _, until, ..] => Cursor(format!("{epoch}/{until}")),
            _ => self.clone(),
        }
    }

    /// Whether all that was read up to another place, and perhaps more, was read up to here.
    pub(super) fn covers(&self, other: &Cursor) -> bool {
        let epoch = |cursor: &Cursor| cursor.0.split('/').next().map(str::to_owned);
        match (self.snapshot(), other.snapshot()) {
            (Some(this), Some(than)) => epoch(self) == epoch(other) && (this == than || this.is_after(&than)),
            _ => false,
        }
    }

    /// `None`: it is within a window.
    fn snapshot(&self) -> Option<Snapshot> {
        self.0.split_once('/').and_then(|(_, snapshot)| snapshot.parse().ok())
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Cursor, Error> {
        let parts: Vec<&str> = text.split('/').collect();
        let is_number =
            |text: &str, least: i64| text.parse::<i64>().is_ok_and(|n| n >= least) && !text.starts_with('+');
        let is_right = match parts[..] {
            [epoch, ref snapshots @ ..]
                if epoch.len() == 16 && epoch.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) =>
            {
                match snapshots {
                    [since] => Snapshot::is(since),
                    [since, until, number, task, step] => {
                        Snapshot::is(since)
                            && Snapshot::is(until)
                            && is_number(number, 0)
                            && task.len() == 36
                            && uuid::Uuid::try_parse(task).is_ok()
                            && is_number(step, -1)
                            && step.len() <= 8
                    }
                    _ => false,
                }
            }
            _ => false,
        };
        if is_right {
            return Ok(Cursor(text.to_owned()));
        }
        let message = "this is no cursor over events: give one back as it came, or none to begin anew".into();
        Err(Error::Refused { code: "bad_cursor".into(), message })
    }
}

/// Which transactions were over: a `pg_snapshot`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Snapshot {
    xmin: u64,
    xmax: u64,
    running: Vec<u64>,
}

impl Snapshot {
    fn is(text: &str) -> bool {
        text.parse::<Snapshot>().is_ok()
    }

    /// Whether it was taken after another: all of a server's snapshots follow each other.
    fn is_after(&self, other: &Snapshot) -> bool {
        (self.xmax, other.running.len()) > (other.xmax, self.running.len())
    }
}

impl FromStr for Snapshot {
    type Err = ();

    fn from_str(text: &str) -> Result<Snapshot, ()> {
        let number = |text: &str| match text.bytes().all(|c| c.is_ascii_digit()) {
            true => text.parse::<u64>().ok().filter(|n| *n < i64::MAX as u64).ok_or(()),
            false => Err(()),
        };
        let [xmin, xmax, running] = text.split(':').collect::<Vec<_>>()[..] else { return Err(()) };
        let (xmin, xmax) = (number(xmin)?, number(xmax)?);
        let running = running.split(',').filter(|_| !running.is_empty()).map(number).collect::<Result<Vec<_>, ()>>()?;
        let is_ordered = running.is_sorted_by(|a, b| a < b) && running.iter().all(|xid| (xmin..xmax).contains(xid));
        (xmin > 0 && xmin <= xmax && is_ordered).then_some(Snapshot { xmin, xmax, running }).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_covers_those_before_it() {
        let at = |snapshot: &str| Cursor::trusted(format!("0123456789abcdef/{snapshot}"));
        let (first, later) = (at("10:20:12,15"), ["10:20:12,15", "10:20:12", "15:20:15", "10:21:12,15,20", "30:30:"]);
        assert!(later.iter().all(|snapshot| at(snapshot).covers(&first)));
        assert!(later[1..].iter().all(|snapshot| !first.covers(&at(snapshot))));
        let within = first.up_to(&at("30:30:"));
        assert!(first.is_whole() && !within.is_whole() && !within.covers(&first));
        assert_eq!((within.until(), first.until()), (at("30:30:"), first.clone()));
        assert!(!Cursor::trusted("1123456789abcdef/30:30:".into()).covers(&first), "another history");
        assert_eq!(within.as_str(), "0123456789abcdef/10:20:12,15/30:30:/0/00000000-0000-0000-0000-000000000000/-1");
        assert_eq!(within.as_str().parse::<Cursor>().unwrap(), within);
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let good = "0123456789abcdef/10:20:12,15";
        let within = "/10:20:/7/01900000-0000-7000-8000-000000000000/-1";
        for text in [good, "0123456789abcdef/3:3:", &format!("{good}{within}")] {
            assert_eq!(text.parse::<Cursor>().unwrap().as_str(), text);
        }
        let many = format!("{good}{within}/1");
        for text in [
            "",
            "/",
            "x",
            "0123456789abcdeg/3:3:",
            "0123456789abcdef",
            "0123456789abcdef/",
            "0123456789abcdef/3:3",
            "0123456789abcdef/5:3:",
            "0123456789abcdef/0:3:",
            "0123456789abcdef/3:9:8,4",
            "0123456789abcdef/3:9:4,4",
            "0123456789abcdef/3:9:10",
            "0123456789abcdef/3:9:4,",
            "0123456789abcdef/3:99999999999999999999:",
            "0123456789abcdef/+3:9:",
            "0123456789abcdef/3:3:/3:3:",
            &many,
            "0123456789abcdef/３:3:",
        ] {
            assert_eq!(text.parse::<Cursor>().unwrap_err().code(), "bad_cursor", "{text}");
        }
    }
}
