//! When a worker looks for expired leases and passed deadlines, and from which instant on.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often it begins at the beginning: a lease that was committed long after its end lies behind its position.
const FULL_INTERVAL: Duration = Duration::from_secs(60);
/// Beginning at the beginning takes at most a hundredth of its time, since that reads what is dead, where an old snapshot keeps it; but so often
/// it begins there whatever it takes.
const AT_LEAST_EVERY: Duration = Duration::from_secs(300);
/// How many of each are acted on in one call.
pub(super) const AT_MOST: i32 = 100;

/// The state of a worker's looks.
pub(super) struct Reaping {
    /// The database moves it on.
    pub from: DateTime<Utc>,
    last: Option<Instant>,
    last_full: Option<Instant>,
    full_took: Duration,
}

impl Reaping {
    pub(super) fn new() -> Reaping {
        Reaping { from: DateTime::UNIX_EPOCH, last: None, last_full: None, full_took: Duration::ZERO }
    }

    /// Whether it is time to look.
    pub(super) fn is_due(&self) -> bool {
        self.last.is_none_or(|at| at.elapsed() >= INTERVAL)
    }

    /// Before a look.
    pub(super) fn begins(&mut self) {
        self.last = Some(Instant::now());
        let pause = (self.full_took * 100).clamp(FULL_INTERVAL, AT_LEAST_EVERY);
        if self.last_full.is_none_or(|at| at.elapsed() >= pause) {
            self.from = DateTime::UNIX_EPOCH;
            self.last_full = self.last;
        }
    }

    /// After it.
    pub(super) fn ended(&mut self) {
        if let Some(at) = self.last.filter(|_| self.last == self.last_full) {
            self.full_took = at.elapsed();
        }
    }

    /// There may be more of them.
    pub(super) fn again_at_once(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ago(seconds: u64) -> Option<Instant> {
        Instant::now().checked_sub(Duration::from_secs(seconds))
    }

    #[test]
    fn it_begins_at_the_beginning_once_a_minute_and_less_often_where_that_takes_long() {
        let mut reaping = Reaping::new();
        let begins_at_the_beginning = |reaping: &mut Reaping| {
            reaping.from = Utc::now();
            reaping.begins();
            reaping.from == DateTime::UNIX_EPOCH
        };
        assert!(reaping.is_due() && begins_at_the_beginning(&mut reaping), "a new one");
        reaping.ended();
        assert!(!reaping.is_due() && !begins_at_the_beginning(&mut reaping));
        (reaping.last, reaping.last_full) = (ago(1), ago(61));
        assert!(reaping.is_due() && begins_at_the_beginning(&mut reaping));
        (reaping.last, reaping.last_full) = (ago(2), None);
        reaping.last_full = reaping.last;
        reaping.ended();
        reaping.last_full = ago(190);
        assert!(!begins_at_the_beginning(&mut reaping), "it took 2 s: not within 200");
        reaping.last_full = ago(201);
        assert!(begins_at_the_beginning(&mut reaping));
        reaping.again_at_once();
        assert!(reaping.is_due());
    }
}
