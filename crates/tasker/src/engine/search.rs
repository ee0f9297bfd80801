//! Where a worker looks for work: a position in each of its queues, and when it begins anew.

use std::time::{Duration, Instant};

use crate::store::Positions;

/// A busy worker searches from the beginning of its queues this often: commits that came late lie behind its positions.
const FULL_INTERVAL: Duration = Duration::from_secs(10);
/// A search from the beginning that takes this long reads what is dead, which an old snapshot keeps.
const LONG: Duration = Duration::from_millis(50);
/// Whatever they take, they begin this often: commits that came late are not left lying.
const AT_LEAST_EVERY: Duration = Duration::from_secs(60);
/// A call that settles does not search again so soon after a search that found everything, unless a wake-up came: its
/// children come without one.
pub(super) const INTERVAL: Duration = Duration::from_millis(10);

/// The state of a worker's searches.
pub(super) struct Search {
    pub positions: Positions,
    last_full: Instant,
    /// How long the last two took: one alone may have waited for something else.
    full_took: [Duration; 2],
    /// How long the last call took that settled and searched, but not from the beginning.
    settling_took: Duration,
    /// When a search last saw the end of the queue.
    saw_the_end: Option<Instant>,
    /// How many searches in a row found what is due in somebody else's hands.
    too_late: u32,
}

impl Search {
    pub(super) fn new(handler_ids: &[i32]) -> Search {
        Search {
            positions: Positions::new(handler_ids),
            last_full: Instant::now(),
            full_took: [Duration::ZERO; 2],
            settling_took: Duration::ZERO,
            saw_the_end: None,
            too_late: 0,
        }
    }

    /// Whether a call that settles is to search as well.
    pub(super) fn is_due(&self) -> bool {
        self.saw_the_end.is_none_or(|at| at.elapsed() >= INTERVAL)
    }

    /// Before a search. Says whether it looks at everything.
    pub(super) fn begins(&mut self) -> bool {
        if self.last_full.elapsed() >= FULL_INTERVAL {
            self.begin_anew();
        }
        self.positions.are_reset()
    }

    /// After a search that was sent at that instant, looked at everything or not, settled as well or not, and saw the end of the
    /// queue or not.
    pub(super) fn ended(&mut self, sent_at: Instant, was_full: bool, settled: bool, saw_the_end: bool) {
        let took = sent_at.elapsed();
        // what was asked for is not done where the children of what was settled are all that the worker can take
        if was_full && !self.positions.are_reset() {
            let besides = if settled { self.settling_took } else { Duration::ZERO };
            self.full_took = [self.full_took[1], took.saturating_sub(besides)];
        } else if settled {
            self.settling_took = took;
        }
        self.saw_the_end = saw_the_end.then_some(sent_at);
    }

    /// How long until the next step is due, by what a search said of it. What is due now and was not received is in somebody
    /// else's hands: it is looked at again soon, and less and less often.
    pub(super) fn due_in(&mut self, told: Option<Duration>) -> Option<Duration> {
        if told != Some(Duration::ZERO) {
            self.too_late = 0;
            return told;
        }
        // not all limit keys were looked at: the next search goes on behind them
        if self.positions.are_within_keys() {
            return Some(2 * INTERVAL);
        }
        self.too_late += 1;
        Some(INTERVAL * 2_u32.pow(self.too_late.min(10) - 1))
    }

    /// The next search is due, and looks at everything; unless that would take more than a twentieth of the worker's time, or a hundredth where
    /// it is long: what could be found there can wait, what is new lies ahead.
    pub(super) fn begin_anew(&mut self) {
        self.saw_the_end = None;
        let took = self.full_took[0].min(self.full_took[1]);
        let times = if took >= LONG { 100 } else { 20 };
        if self.last_full.elapsed() >= AT_LEAST_EVERY.min(took * times) {
            self.last_full = Instant::now();
            self.positions.reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;

    fn search() -> Search {
        Search::new(&[7])
    }

    /// As the database's answer moves them.
    fn move_on(search: &mut Search) {
        search.positions.move_to(Utc::now());
    }

    fn ago(millis: u64) -> Instant {
        Instant::now().checked_sub(Duration::from_millis(millis)).unwrap()
    }

    #[test]
    fn a_search_that_saw_the_end_is_not_repeated_at_once() {
        let mut search = search();
        assert!(search.is_due());
        search.ended(Instant::now(), false, false, true);
        assert!(!search.is_due());
        search.begin_anew();
        assert!(search.is_due());
    }

    /// A search from the beginning that took so long and moved the positions on.
    fn looked(search: &mut Search, took: u64, settled: bool) {
        move_on(search);
        search.ended(ago(took), true, settled, true);
    }

    #[test]
    fn a_costly_search_from_the_beginning_is_seldom() {
        let mut search = search();
        assert!(search.begins());
        looked(&mut search, 40, false);
        search.begin_anew();
        assert!(search.begins(), "one alone may have waited for something else");
        looked(&mut search, 40, false);
        search.last_full = ago(700);
        search.begin_anew();
        assert!(search.is_due() && !search.begins(), "it takes 0.04 s: not within 0.8");
        search.last_full = ago(900);
        search.begin_anew();
        assert!(search.begins());
        looked(&mut search, 300, false);
        looked(&mut search, 300, false);
        search.last_full = ago(29_000);
        assert!(!search.begins(), "it takes 0.3 s: not within thirty");
        search.last_full = ago(31_000);
        assert!(search.begins());
        looked(&mut search, 5000, false);
        looked(&mut search, 5000, false);
        search.last_full = ago(59_000);
        assert!(!search.begins());
        search.last_full = ago(61_000);
        assert!(search.begins(), "once a minute, whatever it takes");
    }

    #[test]
    fn what_is_settled_in_the_same_call_is_not_counted_as_search() {
        let mut search = search();
        search.ended(ago(2000), false, true, true);
        looked(&mut search, 2010, true);
        looked(&mut search, 2010, true);
        search.last_full = ago(10_000);
        assert!(search.begins());
        looked(&mut search, 2300, true);
        looked(&mut search, 2300, true);
        search.last_full = ago(25_000);
        assert!(!search.begins(), "it takes 0.3 s beside what is settled: not within thirty");
    }

    #[test]
    fn a_search_that_was_not_made_is_not_counted() {
        let mut search = search();
        looked(&mut search, 300, false);
        looked(&mut search, 300, false);
        search.positions.reset();
        for _ in 0..2 {
            search.ended(Instant::now(), true, true, true);
        }
        move_on(&mut search);
        search.last_full = ago(20_000);
        assert!(!search.begins());
    }

    #[test]
    fn what_is_in_other_hands_is_looked_at_less_and_less_often() {
        let mut search = search();
        let mut pauses = || search.due_in(Some(Duration::ZERO)).unwrap().as_millis();
        assert_eq!([pauses(), pauses(), pauses()], [10, 20, 40]);
        assert_eq!(search.due_in(Some(Duration::from_secs(7))), Some(Duration::from_secs(7)));
        assert_eq!(search.due_in(Some(Duration::ZERO)), Some(INTERVAL));
    }

    #[test]
    fn a_busy_worker_looks_at_everything_now_and_then() {
        let mut search = search();
        move_on(&mut search);
        assert!(!search.begins());
        search.last_full = Instant::now().checked_sub(FULL_INTERVAL).unwrap();
        assert!(search.begins());
    }
}
