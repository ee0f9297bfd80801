//! Who waits for whom: transactions as the locks that they take, in their order.

use stateright::{Model, Property};

use super::{breaks, broken};

/// Two tasks, each with a ready row, a lease and a limit key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Lock {
    Turn,
    Task(u8),
    ReadyRow(u8),
    Lease(u8),
    Key(u8),
}

use Lock::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Take {
    /// Waits for it.
    Wait(Lock),
    /// Goes on without (skip locked).
    Skip(Lock),
    /// Skips this lock and the so many that follow, where it is taken.
    SkipAll(Lock, usize),
}

use Take::*;

struct Meeting {
    transactions: Vec<Vec<Take>>,
}

/// What each has got, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    places: Vec<usize>,
    held: Vec<(Lock, usize)>,
}

impl Model for Meeting {
    type State = State;
    type Action = usize;

    fn init_states(&self) -> Vec<State> {
        vec![State { places: vec![0; self.transactions.len()], held: Vec::new() }]
    }

    fn actions(&self, s: &State, actions: &mut Vec<usize>) {
        actions.extend((0..self.transactions.len()).filter(|who| s.places[*who] <= self.transactions[*who].len()));
    }

    fn next_state(&self, last: &State, who: usize) -> Option<State> {
        let mut s = last.clone();
        let is_free = |lock: Lock| !last.held.iter().any(|(held, by)| *held == lock && *by != who);
        match self.transactions[who].get(last.places[who]) {
            // the end frees what it holds
            None => s.held.retain(|(_, by)| *by != who),
            Some(Wait(lock)) if !is_free(*lock) => return None,
            Some(Skip(lock)) if !is_free(*lock) => {}
            Some(SkipAll(lock, more)) if !is_free(*lock) => s.places[who] += more,
            Some(Wait(lock) | Skip(lock) | SkipAll(lock, _)) => {
                s.held.push((*lock, who));
                s.held.sort_by_key(|(lock, by)| (format!("{lock:?}"), *by));
            }
        }
        s.places[who] += 1;
        Some(s)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always(NO_DEADLOCK, |meeting, s: &State| {
            let mut actions = Vec::new();
            meeting.actions(s, &mut actions);
            actions.is_empty() || actions.iter().any(|who| meeting.next_state(s, *who).is_some())
        })]
    }
}

const NO_DEADLOCK: &str = "somebody can always go on";

/// The verbs, over both tasks where they may be.
fn verbs() -> Vec<(&'static str, Vec<Take>)> {
    vec![
        (
            "exchange",
            vec![
                Wait(Turn),
                Wait(Task(1)),
                Wait(Task(2)),
                Wait(Lease(1)),
                Wait(Lease(2)),
                Skip(ReadyRow(1)),
                Skip(ReadyRow(2)),
            ],
        ),
        (
            "exchange with limits",
            vec![
                Wait(Turn),
                Wait(Task(1)),
                Wait(Lease(1)),
                Wait(Key(1)),
                Wait(Key(2)),
                Skip(ReadyRow(1)),
                Skip(ReadyRow(2)),
            ],
        ),
        ("claim", vec![Wait(Turn), Wait(Key(1)), Wait(Key(2)), Skip(ReadyRow(1)), Skip(ReadyRow(2))]),
        ("claim the other way round", vec![Wait(Turn), Skip(ReadyRow(2)), Skip(ReadyRow(1))]),
        ("exchange that only hands in", vec![Wait(Task(1)), Wait(Task(2)), Wait(Lease(1)), Wait(Lease(2))]),
        ("heartbeat", vec![Skip(Lease(2)), Skip(Lease(1))]),
        ("release", vec![Wait(Task(1)), Wait(Task(2)), Wait(Lease(2)), Wait(Lease(1))]),
        ("reap", vec![SkipAll(Task(1), 1), Wait(Lease(1)), SkipAll(Task(2), 1), Wait(Lease(2))]),
        ("cancel", vec![Wait(Task(1)), Wait(ReadyRow(1)), Wait(Lease(1))]),
        ("cancel the other", vec![Wait(Task(2)), Wait(ReadyRow(2)), Wait(Lease(2))]),
        ("edit", vec![Wait(Task(1)), Wait(ReadyRow(1))]),
    ]
}

#[test]
fn no_three_verbs_wait_for_each_other() {
    let verbs = verbs();
    let (mut meetings, mut visited) = (0, 0);
    for (a, first) in verbs.iter().enumerate() {
        for (b, second) in verbs.iter().enumerate().skip(a) {
            for third in &verbs[b..] {
                let transactions = vec![first.1.clone(), second.1.clone(), third.1.clone()];
                let (states, broken) = broken(Meeting { transactions });
                assert!(broken.is_empty(), "{} {} {}: {broken:#?}", first.0, second.0, third.0);
                meetings += 1;
                visited += states;
            }
        }
    }
    println!("{meetings} meetings, {visited} states");
}

#[test]
fn without_the_order_they_do() {
    let exchange = verbs().remove(0).1;
    for (what, one, other) in [
        (
            "tasks in the order in which they are handed in",
            exchange.clone(),
            vec![Wait(Task(2)), Wait(Task(1)), Wait(Lease(1))],
        ),
        ("a reaper that waits", exchange, vec![Wait(Task(2)), Wait(Lease(2)), Wait(Task(1)), Wait(Lease(1))]),
        ("a heartbeat that waits", vec![Wait(Lease(2)), Wait(Lease(1))], verbs().remove(0).1),
        ("a claimer that waits", vec![Wait(ReadyRow(1)), Wait(Task(1))], vec![Wait(Task(1)), Wait(ReadyRow(1))]),
        ("a turn under a task's lock", vec![Wait(Task(1)), Wait(Turn)], verbs().remove(0).1),
        ("keys in any order", vec![Wait(Key(1)), Wait(Key(2))], vec![Wait(Key(2)), Wait(Key(1))]),
        ("keys before tasks", vec![Wait(Key(1)), Wait(Task(1))], verbs().remove(1).1),
    ] {
        print!("{what}: ");
        breaks(Meeting { transactions: vec![one, other] }, NO_DEADLOCK);
    }
}
