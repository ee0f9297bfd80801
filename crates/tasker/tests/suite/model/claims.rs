//! One step of a task, its workers, and what is on its way between them.

use std::collections::{BTreeMap, BTreeSet};

use stateright::{Model, Property};

use super::{breaks, broken};

/// The protocol, with or without a safeguard.
struct Claims {
    workers: usize,
    attempts: u8,
    /// Whether people cancel and retry.
    people: bool,
    without: Option<Safeguard>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Safeguard {
    /// A message must name the claim that holds the step.
    Fence,
    /// It must name the claim, and not only the worker.
    FenceOfTheClaim,
    /// The claim counts the attempt, and not the failure.
    CountWhenClaiming,
    /// The reaper looks again when it writes.
    SecondLookOfTheReaper,
    /// A claimer locks the row that says ready, and does not trust what it saw.
    ReadyRow,
    /// A cancellation takes the step out of the queue.
    CancelEmptiesTheQueue,
    /// A cancellation ends the lease.
    CancelEndsTheLease,
    /// Leases end.
    Reaper,
    /// A failed attempt is put back into the queue.
    Enqueue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Pending,
    Running,
    Failed,
    Dead,
    Complete,
    Cancelled,
}

type ClaimId = u8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Message {
    Settle { worker: usize, claim: ClaimId, ok: bool },
    Release { worker: usize, claim: ClaimId },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Lease {
    claim: ClaimId,
    worker: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    step: Step,
    is_ready: bool,
    lease: Option<Lease>,
    attempts: u8,
    limit: u8,
    claims: u8,
    has_been_retried: bool,
    has_been_released: bool,
    /// What each worker believes to hold.
    held: Vec<Option<ClaimId>>,
    /// Who has seen the step ready and is about to take it.
    about_to_take: BTreeSet<usize>,
    about_to_reap: Option<ClaimId>,
    under_way: BTreeSet<Message>,
    /// The first answer to each settlement.
    answers: BTreeMap<ClaimId, bool>,
    // what happened, for the promises
    starts: u8,
    completions: u8,
    broken: BTreeSet<&'static str>,
    /// The last of what must come about somewhere.
    seen: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq)]
enum Action {
    Claim(usize),
    ClaimAndLoseTheReply(usize),
    Look(usize),
    Finish(usize, bool),
    GiveBack(usize),
    Die(usize),
    Deliver(Message),
    Expire,
    ReapRead,
    ReapWrite,
    Cancel,
    Retry,
}

const STALE: &str = "only the claim that holds the step is heard";
const ONCE: &str = "a step has one result";
const FINAL: &str = "what is complete is final";
const STARTS: &str = "a step starts at most so often";
const ALONE: &str = "no claim while another holds";
const CANCELLED: &str = "no claim after a cancellation";
const LEASED: &str = "running means leased";
const STUCK: &str = "nothing sticks";
const ENDS: &str = "everything ends";
const SAME: &str = "the same settlement has the same answer";

impl Claims {
    fn lacks(&self, safeguard: Safeguard) -> bool {
        self.without == Some(safeguard)
    }

    fn claim(&self, s: &mut State, worker: usize, hears: bool) {
        if s.lease.is_some() {
            s.broken.insert(ALONE);
        }
        if s.step == Step::Cancelled {
            s.broken.insert(CANCELLED);
        }
        s.is_ready = false;
        s.claims += 1;
        s.starts += 1;
        if !self.lacks(Safeguard::CountWhenClaiming) {
            s.attempts += 1;
        }
        s.step = Step::Running;
        s.lease = Some(Lease { claim: s.claims, worker });
        if hears {
            s.held[worker] = Some(s.claims);
        } else {
            s.seen = Some("the reply to a claim is lost");
        }
    }

    fn fail(&self, s: &mut State) {
        if s.step == Step::Complete {
            s.broken.insert(FINAL);
        }
        s.lease = None;
        if self.lacks(Safeguard::CountWhenClaiming) {
            s.attempts += 1;
        }
        s.step = if s.attempts < s.limit { Step::Failed } else { Step::Dead };
        s.is_ready = s.step == Step::Failed && !self.lacks(Safeguard::Enqueue);
    }

    /// An expired lease; one that counts failures does not hear of a worker that died.
    fn expire(&self, s: &mut State) {
        s.seen = Some("a lease expires");
        if self.lacks(Safeguard::CountWhenClaiming) {
            s.lease = None;
            s.step = Step::Failed;
            s.is_ready = true;
        } else {
            self.fail(s);
        }
    }

    fn hears(&self, s: &State, worker: usize, claim: ClaimId) -> bool {
        match self.without {
            Some(Safeguard::Fence) => s.step == Step::Running || s.step == Step::Failed,
            Some(Safeguard::FenceOfTheClaim) => s.lease.is_some_and(|lease| lease.worker == worker),
            _ => s.lease.is_some_and(|lease| lease.claim == claim),
        }
    }

    fn deliver(&self, s: &mut State, message: Message) {
        let (worker, claim) = match message {
            Message::Settle { worker, claim, .. } | Message::Release { worker, claim } => (worker, claim),
        };
        let is_heard = self.hears(s, worker, claim);
        if is_heard && s.lease.is_none_or(|lease| lease.claim != claim) {
            s.broken.insert(STALE);
        }
        match message {
            Message::Settle { ok, .. } => {
                let answer = is_heard || s.answers.get(&claim) == Some(&true);
                if *s.answers.entry(claim).or_insert(answer) != answer {
                    s.broken.insert(SAME);
                }
                match (is_heard, ok) {
                    (true, true) => {
                        s.lease = None;
                        s.is_ready = false;
                        s.step = Step::Complete;
                        s.completions += 1;
                        s.seen = Some("it is complete");
                    }
                    (true, false) => self.fail(s),
                    (false, _) if !answer => s.seen = Some("a late settlement is refused"),
                    (false, _) => s.seen = Some("a settlement is sent twice"),
                }
            }
            Message::Release { .. } if is_heard => {
                s.lease = None;
                s.attempts = s.attempts.saturating_sub(1);
                s.starts -= 1;
                s.step = Step::Pending;
                s.is_ready = true;
                s.seen = Some("a step is given back");
            }
            Message::Release { .. } => {}
        }
    }
}

impl Model for Claims {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            step: Step::Pending,
            is_ready: true,
            lease: None,
            attempts: 0,
            limit: self.attempts,
            claims: 0,
            has_been_retried: false,
            has_been_released: false,
            held: vec![None; self.workers],
            about_to_take: BTreeSet::new(),
            about_to_reap: None,
            under_way: BTreeSet::new(),
            answers: BTreeMap::new(),
            starts: 0,
            completions: 0,
            broken: BTreeSet::new(),
            seen: None,
        }]
    }

    fn actions(&self, s: &State, actions: &mut Vec<Action>) {
        for worker in 0..self.workers {
            match s.held[worker] {
                None if self.lacks(Safeguard::ReadyRow) => {
                    if s.is_ready {
                        actions.push(Action::Look(worker));
                    }
                    if s.about_to_take.contains(&worker) {
                        actions.push(Action::Claim(worker));
                    }
                }
                None if s.is_ready => {
                    actions.push(Action::Claim(worker));
                    actions.push(Action::ClaimAndLoseTheReply(worker));
                }
                None => {}
                Some(_) => {
                    actions.extend([Action::Finish(worker, true), Action::Finish(worker, false), Action::Die(worker)]);
                    if !s.has_been_released {
                        actions.push(Action::GiveBack(worker));
                    }
                }
            }
        }
        for message in &s.under_way {
            actions.push(Action::Deliver(*message));
        }
        if self.lacks(Safeguard::SecondLookOfTheReaper) {
            actions.extend([Action::ReapRead, Action::ReapWrite]);
        } else if !self.lacks(Safeguard::Reaper) && s.lease.is_some() {
            actions.push(Action::Expire);
        }
        if self.people && !matches!(s.step, Step::Complete | Step::Cancelled) && !s.has_been_retried {
            actions.push(Action::Cancel);
        }
        if self.people && matches!(s.step, Step::Dead | Step::Cancelled) && !s.has_been_retried {
            actions.push(Action::Retry);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut s = last.clone();
        s.seen = None;
        match action {
            Action::Look(worker) => drop(s.about_to_take.insert(worker)),
            Action::Claim(worker) => {
                s.about_to_take.remove(&worker);
                self.claim(&mut s, worker, true);
            }
            Action::ClaimAndLoseTheReply(worker) => self.claim(&mut s, worker, false),
            Action::Finish(worker, ok) => {
                let claim = s.held[worker].take()?;
                s.under_way.insert(Message::Settle { worker, claim, ok });
            }
            Action::GiveBack(worker) => {
                s.has_been_released = true;
                let claim = s.held[worker].take()?;
                s.under_way.insert(Message::Release { worker, claim });
            }
            Action::Die(worker) => {
                s.held[worker] = None;
                s.seen = Some("a worker dies");
            }
            // it stays under way: it may come a second time
            Action::Deliver(message) => self.deliver(&mut s, message),
            Action::Expire => self.expire(&mut s),
            Action::ReapRead => s.about_to_reap = Some(s.lease?.claim),
            Action::ReapWrite => {
                s.about_to_reap.take()?;
                self.fail(&mut s);
            }
            Action::Cancel => {
                if s.lease.is_some() {
                    s.seen = Some("a step is cancelled while it runs");
                }
                s.step = Step::Cancelled;
                if !self.lacks(Safeguard::CancelEmptiesTheQueue) {
                    s.is_ready = false;
                }
                if !self.lacks(Safeguard::CancelEndsTheLease) {
                    s.lease = None;
                }
            }
            Action::Retry => {
                s.has_been_retried = true;
                s.step = Step::Pending;
                s.is_ready = true;
                s.limit = s.attempts + 1;
                s.seen = Some("a person begins it anew");
            }
        }
        // what is only remembered changes nothing
        let same = State { seen: last.seen, ..s.clone() } == *last && (s.seen.is_none() || s.seen == last.seen);
        (!same).then_some(s)
    }

    /// What claims more and more often is broken already.
    fn within_boundary(&self, s: &State) -> bool {
        s.claims <= 6
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(STALE, |_, s: &State| !s.broken.contains(STALE)),
            Property::always(ONCE, |_, s: &State| s.completions <= 1),
            Property::always(FINAL, |_, s: &State| !s.broken.contains(FINAL)),
            Property::always(STARTS, |_, s: &State| s.starts <= s.limit),
            Property::always(ALONE, |_, s: &State| !s.broken.contains(ALONE)),
            Property::always(CANCELLED, |_, s: &State| !s.broken.contains(CANCELLED)),
            Property::always(LEASED, |_, s: &State| (s.step == Step::Running) == s.lease.is_some()),
            Property::always(STUCK, |_, s: &State| {
                matches!(s.step, Step::Dead | Step::Complete | Step::Cancelled) || s.is_ready || s.lease.is_some()
            }),
            Property::always(SAME, |_, s: &State| !s.broken.contains(SAME)),
            Property::eventually(ENDS, |_, s: &State| matches!(s.step, Step::Dead | Step::Complete | Step::Cancelled)),
            Property::sometimes("it is complete", |_, s: &State| s.seen == Some("it is complete")),
            Property::sometimes("the reply to a claim is lost", |_, s: &State| {
                s.seen == Some("the reply to a claim is lost")
            }),
            Property::sometimes("a late settlement is refused", |_, s: &State| {
                s.seen == Some("a late settlement is refused")
            }),
            Property::sometimes("a settlement is sent twice", |_, s: &State| {
                s.seen == Some("a settlement is sent twice")
            }),
            Property::sometimes("a step is cancelled while it runs", |_, s: &State| {
                s.seen == Some("a step is cancelled while it runs")
            }),
            Property::sometimes("a step is given back", |_, s: &State| s.seen == Some("a step is given back")),
            Property::sometimes("a person begins it anew", |_, s: &State| s.seen == Some("a person begins it anew")),
            Property::sometimes("a worker dies", |_, s: &State| s.seen == Some("a worker dies")),
        ]
    }
}

#[test]
fn every_promise_holds_in_every_state() {
    let (states, broken) = broken(Claims { workers: 3, attempts: 2, people: true, without: None });
    println!("{states} states");
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn without_a_safeguard_a_promise_is_broken() {
    for (without, promise) in [
        (Safeguard::Fence, STALE),
        (Safeguard::FenceOfTheClaim, STALE),
        (Safeguard::CountWhenClaiming, STARTS),
        (Safeguard::SecondLookOfTheReaper, FINAL),
        (Safeguard::ReadyRow, ALONE),
        (Safeguard::CancelEmptiesTheQueue, CANCELLED),
        (Safeguard::CancelEndsTheLease, LEASED),
        (Safeguard::Reaper, ENDS),
        (Safeguard::Enqueue, STUCK),
    ] {
        print!("without {without:?}: ");
        // nobody comes to the help of what sticks
        let people = !matches!(without, Safeguard::Reaper | Safeguard::Enqueue);
        breaks(Claims { workers: 2, attempts: 2, people, without: Some(without) }, promise);
    }
}
