//! Where a worker's next search for work begins.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sqlx::{Row, postgres::PgRow};

use crate::Error;

/// How many limit keys are kept.
const MAX_KEYS: usize = 200;

/// Where a worker's next search begins, in each of its (handler, lane) pairs and for the limit keys that it has lately seen there.
/// What is dead before a position is not read again.
#[derive(Debug)]
pub(crate) struct Positions {
    pairs: Vec<Pair>,
    /// By the pair's number, from 1 on, and the key: in the order in which the database walks them.
    keys: BTreeMap<(i32, String), DateTime<Utc>>,
}

#[derive(Debug)]
struct Pair {
    handler_id: i32,
    lane: i16,
    from: DateTime<Utc>,
    /// The limit key after which the walk over limited steps goes on.
    after_key: String,
}

/// Positions as the columns that the verb takes.
#[derive(Default)]
pub(super) struct Columns<'a> {
    pub handlers: Vec<i32>,
    pub lanes: Vec<i16>,
    pub from: Vec<DateTime<Utc>>,
    pub after_keys: Vec<&'a str>,
    pub known_pairs: Vec<i32>,
    pub known_keys: Vec<&'a str>,
    pub known_from: Vec<DateTime<Utc>>,
}

impl Positions {
    /// From the beginning, in all lanes of these handlers.
    pub(crate) fn new(handler_ids: &[i32]) -> Positions {
        let lanes = handler_ids.iter().flat_map(|id| [(*id, 0), (*id, 1), (*id, 2)]);
        let pair = |(handler_id, lane)| Pair { handler_id, lane, from: DateTime::UNIX_EPOCH, after_key: String::new() };
        Positions { pairs: lanes.map(pair).collect(), keys: BTreeMap::new() }
    }

    /// The next search begins at the beginning.
    pub(crate) fn reset(&mut self) {
        self.pairs.iter_mut().for_each(|pair| pair.from = DateTime::UNIX_EPOCH);
        self.keys.values_mut().for_each(|from| *from = DateTime::UNIX_EPOCH);
    }

    /// Whether the next search begins at the beginning.
    pub(crate) fn are_reset(&self) -> bool {
        self.pairs.iter().all(|pair| pair.from == DateTime::UNIX_EPOCH)
    }

    /// Whether the last search has not looked at all limit keys.
    pub(crate) fn are_within_keys(&self) -> bool {
        self.pairs.iter().any(|pair| !pair.after_key.is_empty())
    }

    #[cfg(test)]
    pub(crate) fn move_to(&mut self, at: DateTime<Utc>) {
        self.pairs.iter_mut().for_each(|pair| pair.from = at);
    }

    pub(super) fn columns(&self) -> Columns<'_> {
        Columns {
            handlers: self.pairs.iter().map(|pair| pair.handler_id).collect(),
            lanes: self.pairs.iter().map(|pair| pair.lane).collect(),
            from: self.pairs.iter().map(|pair| pair.from).collect(),
            after_keys: self.pairs.iter().map(|pair| pair.after_key.as_str()).collect(),
            known_pairs: self.keys.keys().map(|(pair, _)| *pair).collect(),
            known_keys: self.keys.keys().map(|(_, key)| key.as_str()).collect(),
            known_from: self.keys.values().copied().collect(),
        }
    }

    /// As an exchange answers.
    pub(super) fn move_on(&mut self, row: &PgRow) -> Result<(), Error> {
        let from: Vec<DateTime<Utc>> = row.try_get("next_positions")?;
        let after_keys: Vec<String> = row.try_get("next_keys")?;
        for ((pair, from), after_key) in self.pairs.iter_mut().zip(from).zip(after_keys) {
            (pair.from, pair.after_key) = (from, after_key);
        }
        if let Some(pairs) = row.try_get::<Option<Vec<i32>>, _>("seen_pairs")? {
            let keys: Vec<String> = row.try_get("seen_keys")?;
            let from: Vec<DateTime<Utc>> = row.try_get("seen_from")?;
            self.saw(pairs.into_iter().zip(keys).zip(from));
        }
        Ok(())
    }

    fn saw(&mut self, seen: impl Iterator<Item = ((i32, String), DateTime<Utc>)>) {
        self.keys.extend(seen);
        if self.keys.len() > MAX_KEYS {
            // where nothing waits, the position is that of the search itself: those are given up first
            let mut all: Vec<_> = std::mem::take(&mut self.keys).into_iter().collect();
            all.sort_by_key(|(_, from)| *from);
            all.truncate(MAX_KEYS);
            self.keys = all.into_iter().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_has_a_position_in_each_lane_of_each_handler() {
        let positions = Positions::new(&[7, 9]);
        let columns = positions.columns();
        assert_eq!(columns.handlers, [7, 7, 7, 9, 9, 9]);
        assert_eq!(columns.lanes, [0, 1, 2, 0, 1, 2]);
        assert!(positions.are_reset());
    }

    #[test]
    fn keys_are_kept_in_the_databases_order_and_the_idle_ones_are_given_up_first() {
        let mut positions = Positions::new(&[7]);
        let now = Utc::now();
        let key = |n: usize| (1 + (n % 2) as i32, format!("1:{n}"));
        positions.saw((0..150).map(|n| (key(n), now)));
        positions.saw((150..300).map(|n| (key(n), now - chrono::TimeDelta::seconds(1))));
        let columns = positions.columns();
        assert_eq!(columns.known_keys.len(), MAX_KEYS);
        assert!((150..300).all(|n| columns.known_keys.contains(&key(n).1.as_str())));
        let known: Vec<_> = columns.known_pairs.iter().zip(&columns.known_keys).collect();
        assert!(known.is_sorted() && columns.known_from.contains(&now));
        positions.reset();
        assert!(positions.columns().known_from.iter().all(|from| *from == DateTime::UNIX_EPOCH));
        assert_eq!(positions.keys.len(), MAX_KEYS, "a full search knows what to ask for");
    }
}
