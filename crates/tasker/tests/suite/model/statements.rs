//! What two transactions see of each other between their statements: each statement sees what is committed when it begins, and what its
//! own transaction has written.

use stateright::{Model, Property};

use super::{breaks, broken};

/// A task with the steps a and b. Depending on the play they are the parents of c, or stand for themselves.
struct Play {
    transactions: Vec<Program>,
    without: Option<Safeguard>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Program {
    /// Settles parent a or b of c, and releases c where both are complete.
    Join(usize),
    /// Settles a, which has failed for good, and fails the task where nothing can run.
    Fail,
    /// Claims b.
    Claim,
    /// Cancels the task.
    Cancel,
    /// Edits b, which waits in the queue: refused where it runs.
    Edit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Safeguard {
    /// The task is locked before anything of it is read.
    TaskLock,
    /// Queue and leases are asked about in one statement.
    OneStatement,
    /// Leases are read in a later statement than that which waits for claimers.
    LaterStatement,
    /// The ready row goes first, in a statement that waits for claimers.
    ReadyRowFirst,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    // committed
    complete: [bool; 2],
    child_is_ready: bool,
    b_is_ready: bool,
    b_is_leased: bool,
    has_failed: bool,
    is_cancelled: bool,
    edited_while_leased: bool,
    // locks
    task: Option<usize>,
    ready_row: Option<usize>,
    /// Where each transaction stands, and what it has seen.
    places: Vec<(u8, [bool; 2])>,
}

const DONE: u8 = 9;

impl Model for Play {
    type State = State;
    type Action = usize;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            complete: [false; 2],
            child_is_ready: false,
            b_is_ready: true,
            b_is_leased: false,
            has_failed: false,
            is_cancelled: false,
            edited_while_leased: false,
            task: None,
            ready_row: None,
            places: vec![(0, [false; 2]); self.transactions.len()],
        }]
    }

    fn actions(&self, s: &State, actions: &mut Vec<usize>) {
        actions.extend((0..self.transactions.len()).filter(|who| s.places[*who].0 != DONE));
    }

    /// The next statement of one of them; `None` where it waits.
    fn next_state(&self, last: &State, who: usize) -> Option<State> {
        let mut s = last.clone();
        let lacks = |safeguard| self.without == Some(safeguard);
        let (place, seen) = s.places[who];
        let program = self.transactions[who];
        if place == 0 && program != Program::Claim {
            if !lacks(Safeguard::TaskLock) {
                if s.task.is_some() {
                    return None;
                }
                s.task = Some(who);
            }
            s.places[who].0 = 1;
            return Some(s);
        }
        let next = &mut s.places[who];
        match (program, place) {
            // the parents that are complete, its own included
            (Program::Join(parent), 1) => *next = (2, [last.complete[1 - parent], false]),
            (Program::Join(parent), _) => {
                s.complete[parent] = true;
                s.child_is_ready |= seen[0];
                s.leave(who);
            }
            (Program::Fail, 1) if lacks(Safeguard::OneStatement) => *next = (2, [last.b_is_leased, false]),
            (Program::Fail, 1) => *next = (3, [last.b_is_leased, last.b_is_ready]),
            (Program::Fail, 2) => *next = (3, [seen[0], last.b_is_ready]),
            (Program::Fail, _) => {
                s.has_failed = seen == [false, false] && !s.is_cancelled;
                s.leave(who);
            }
            // skip locked: who meets a lock goes on without
            (Program::Claim, 0) if !last.b_is_ready || last.ready_row.is_some() => s.leave(who),
            (Program::Claim, 0) => {
                s.ready_row = Some(who);
                next.0 = 1;
            }
            (Program::Claim, _) => {
                s.b_is_ready = false;
                s.b_is_leased = true;
                s.leave(who);
            }
            // the deletion of the ready row waits for the claimer that has locked it
            (Program::Cancel | Program::Edit, 1) if lacks(Safeguard::LaterStatement) => {
                *next = (2, [last.b_is_leased, false])
            }
            (Program::Cancel | Program::Edit, 1) => next.0 = 2,
            (Program::Edit, 2) if lacks(Safeguard::ReadyRowFirst) => *next = (3, [last.b_is_leased, false]),
            (Program::Cancel | Program::Edit, 2) => {
                if last.ready_row.is_some() {
                    return None;
                }
                if last.b_is_ready {
                    s.ready_row = Some(who);
                }
                let seen = if lacks(Safeguard::LaterStatement) { seen } else { [last.b_is_leased, last.b_is_ready] };
                s.places[who] = (3, seen);
            }
            (Program::Cancel, _) => {
                s.is_cancelled = true;
                s.b_is_ready = false;
                if seen[0] {
                    s.b_is_leased = false;
                }
                s.leave(who);
            }
            (Program::Edit, _) => {
                // written beside an attempt that runs
                s.edited_while_leased = !seen[0] && s.b_is_leased;
                s.leave(who);
            }
        }
        Some(s)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(JOINED, |_, s: &State| s.complete != [true; 2] || s.child_is_ready),
            Property::always(LIVE, |_, s: &State| !(s.has_failed && (s.b_is_leased || s.b_is_ready))),
            Property::always(CANCELLED, |_, s: &State| !(s.is_cancelled && (s.b_is_leased || s.b_is_ready))),
            Property::always(EDITED, |_, s: &State| !s.edited_while_leased),
            Property::always(NOBODY_WAITS, |play, s: &State| {
                let mut actions = Vec::new();
                play.actions(s, &mut actions);
                actions.is_empty() || actions.iter().any(|who| play.next_state(s, *who).is_some())
            }),
        ]
    }
}

const JOINED: &str = "a child whose parents are complete is released";
const LIVE: &str = "a task that has failed has nothing to run";
const CANCELLED: &str = "a cancelled task has nothing to run";
const EDITED: &str = "what runs is not edited";
const NOBODY_WAITS: &str = "nobody waits for ever";

impl State {
    /// Commits: its locks are free.
    fn leave(&mut self, who: usize) {
        self.places[who].0 = DONE;
        for lock in [&mut self.task, &mut self.ready_row] {
            if *lock == Some(who) {
                *lock = None;
            }
        }
    }
}

const PLAYS: [&[Program]; 6] = [
    &[Program::Join(0), Program::Join(1)],
    &[Program::Fail, Program::Claim],
    &[Program::Cancel, Program::Claim],
    &[Program::Edit, Program::Claim],
    &[Program::Cancel, Program::Fail, Program::Claim],
    &[Program::Edit, Program::Cancel, Program::Claim],
];

#[test]
fn whatever_is_between_two_statements_the_promises_hold() {
    for play in PLAYS {
        let (states, broken) = broken(Play { transactions: play.to_vec(), without: None });
        println!("{play:?}: {states} states");
        assert!(broken.is_empty(), "{play:?}: {broken:#?}");
    }
}

#[test]
fn without_a_safeguard_two_statements_miss_each_other() {
    for (without, play, promise) in [
        (Safeguard::TaskLock, PLAYS[0], JOINED),
        (Safeguard::OneStatement, PLAYS[1], LIVE),
        (Safeguard::LaterStatement, PLAYS[2], CANCELLED),
        (Safeguard::ReadyRowFirst, PLAYS[3], EDITED),
    ] {
        print!("without {without:?}: ");
        breaks(Play { transactions: play.to_vec(), without: Some(without) }, promise);
    }
}
