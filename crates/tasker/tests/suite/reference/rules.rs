//! The rules, a second time: a plain engine in memory that knows a graph, what has happened, and the clock, and nothing of SQL, queues,
//! counts or locks. It recounts everything from scratch at each question. Each function cites the rules (`docs/src/rules.md`) that it is written from.

use std::collections::HashMap;

use chrono::TimeDelta;
use tasker::workflow::{Definition, Node};
use uuid::Uuid;

use crate::support::Moment;

/// A workflow's tasks and the clock.
#[derive(Clone)]
pub struct World {
    pub nodes: Vec<Node>,
    pub now: Moment,
    pub tasks: Vec<Task>,
    /// How each claim that is over has ended.
    pub ended: HashMap<Uuid, Ended>,
}

/// 1.1
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Pending,
    InProgress,
    Complete,
    Failed,
    Cancelled,
    ResolvedManually,
    Skipped,
}

use State::*;

#[derive(Clone, Debug)]
pub struct Task {
    pub id: Uuid,
    /// Of the input: whose slot its limited steps take.
    pub key: u64,
    pub state: State,
    pub paused: bool,
    /// As submitted.
    pub deadline: Option<Moment>,
    /// Whether the deadline is still to be acted on.
    pub is_deadline_ahead: bool,
    pub steps: Vec<Step>,
}

/// 1.5: everything that lasts.
#[derive(Clone, Debug)]
pub struct Step {
    pub state: State,
    /// Claims that count.
    pub attempts: i32,
    pub attempts_before: i32,
    /// `None`: the node's.
    pub retry_limit: Option<i32>,
    pub retryable: bool,
    /// Not before then.
    pub due: Due,
    pub asked_delay: Option<f64>,
    pub generation: i32,
    pub timer: Option<Moment>,
    pub last_failure_at: Option<Moment>,
    pub last_attempted_at: Option<Moment>,
    pub lease: Option<Lease>,
}

/// An instant, or where it lies: a backoff is chosen by chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Due {
    Now,
    At(Moment),
    Between(Moment, Moment),
}

#[derive(Clone, Debug)]
pub struct Lease {
    pub claim_id: Uuid,
    pub expires_at: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Settled,
    Released,
    Cancelled,
    Lost,
}

/// What a handler says.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    Complete,
    Skip,
    Wait(Moment),
    Fail { retryable: Option<bool>, delay: Option<f64> },
}

pub const LEASE: TimeDelta = TimeDelta::seconds(30);

impl State {
    /// 1.2
    pub fn satisfies(self) -> bool {
        matches!(self, Complete | ResolvedManually | Skipped)
    }

    pub fn word(self) -> &'static str {
        match self {
            Pending => "pending",
            InProgress => "in_progress",
            Complete => "complete",
            Failed => "failed",
            Cancelled => "cancelled",
            ResolvedManually => "resolved_manually",
            Skipped => "skipped",
        }
    }
}

impl Task {
    /// 1.1
    pub fn is_live(&self) -> bool {
        matches!(self.state, Pending | InProgress)
    }
}

impl World {
    pub fn new(definition: &Definition, now: Moment) -> World {
        World { nodes: definition.steps.clone(), now, tasks: Vec::new(), ended: HashMap::new() }
    }

    // ---- questions

    /// 2.2
    pub fn limit(&self, task: usize, step: usize) -> i32 {
        self.tasks[task].steps[step].retry_limit.unwrap_or(self.nodes[step].retry.max_attempts as i32)
    }

    pub fn satisfied_parents(&self, task: usize, step: usize) -> usize {
        let satisfies = |parent: &&u32| self.tasks[task].steps[**parent as usize].state.satisfies();
        self.nodes[step].parents.iter().filter(satisfies).count()
    }

    pub fn dependencies_satisfied(&self, task: usize, step: usize) -> bool {
        self.satisfied_parents(task, step) == self.nodes[step].parents.len()
    }

    /// 1.3: cancelled, or pending or failed and out of attempts or not retryable.
    pub fn is_dead(&self, task: usize, step: usize) -> bool {
        let s = &self.tasks[task].steps[step];
        match s.state {
            Cancelled => true,
            Pending | Failed => !s.retryable || s.attempts >= self.limit(task, step),
            _ => false,
        }
    }

    /// 1.4: pending or failed, not dead, every parent satisfies it.
    pub fn is_open(&self, task: usize, step: usize) -> bool {
        matches!(self.tasks[task].steps[step].state, Pending | Failed)
            && !self.is_dead(task, step)
            && self.dependencies_satisfied(task, step)
    }

    pub fn is_due(&self, task: usize, step: usize) -> bool {
        match self.tasks[task].steps[step].due {
            Due::Now => true,
            Due::At(at) => at <= self.now,
            Due::Between(from, _) => from <= self.now,
        }
    }

    /// 2.5: live leases count, over all tasks whose input has the same key.
    pub fn has_room(&self, task: usize, step: usize) -> bool {
        let Some(concurrency) = &self.nodes[step].concurrency else { return true };
        let same_key = |other: &&Task| concurrency.key.is_empty() || other.key == self.tasks[task].key;
        let taken = self.tasks.iter().filter(same_key).filter(|other| other.steps[step].lease.is_some()).count();
        taken < concurrency.limit as usize
    }

    /// 2.1: why a step may not run: the first reason that holds.
    pub fn blocking_reason(&self, task: usize, step: usize) -> Option<&'static str> {
        let (t, s) = (&self.tasks[task], &self.tasks[task].steps[step]);
        Some(match s.state {
            Complete | ResolvedManually | Skipped | Cancelled => "finished",
            InProgress => "in_progress",
            _ if !s.retryable => "not_retryable",
            _ if s.attempts >= self.limit(task, step) => "retries_exhausted",
            _ if !self.dependencies_satisfied(task, step) => "dependencies_not_satisfied",
            _ if !t.is_live() => "task_not_live",
            _ if t.paused => "task_paused",
            Failed if !self.is_due(task, step) => "waiting_for_retry",
            _ if !self.is_due(task, step) => "scheduled_for_later",
            _ if !self.has_room(task, step) => "concurrency_limit_reached",
            _ => return None,
        })
    }

    pub fn is_ready(&self, task: usize, step: usize) -> bool {
        self.blocking_reason(task, step).is_none()
    }

    /// Leaves that are not satisfied.
    pub fn open_leaves(&self, task: usize) -> i32 {
        let is_leaf = |step: &usize| !self.nodes.iter().any(|node| node.parents.contains(&(*step as u32)));
        let is_open = |step: &usize| !self.tasks[task].steps[*step].state.satisfies();
        (0..self.nodes.len()).filter(is_leaf).filter(is_open).count() as i32
    }

    // ---- what happens

    /// 3.6: a start time is when its steps are due.
    pub fn submit(&mut self, id: Uuid, key: u64, run_at: Option<Moment>, deadline: Option<Moment>) {
        let step = Step {
            state: Pending,
            attempts: 0,
            attempts_before: 0,
            retry_limit: None,
            retryable: true,
            due: Due::At(run_at.unwrap_or(self.now)),
            asked_delay: None,
            generation: 0,
            timer: None,
            last_failure_at: None,
            last_attempted_at: None,
            lease: None,
        };
        self.tasks.push(Task {
            id,
            key,
            state: Pending,
            paused: false,
            deadline,
            is_deadline_ahead: deadline.is_some(),
            steps: vec![step; self.nodes.len()],
        });
    }

    /// 4.1: the claim counts the attempt, and what was due is over (1.5); 3.5: its task has begun.
    pub fn claim(&mut self, task: usize, step: usize, claim_id: Uuid) {
        let now = self.now;
        let t = &mut self.tasks[task];
        if t.state == Pending {
            t.state = InProgress;
        }
        let s = &mut t.steps[step];
        s.state = InProgress;
        s.attempts += 1;
        s.retryable = true;
        s.due = Due::Now;
        s.asked_delay = None;
        s.last_attempted_at = Some(now);
        s.lease = Some(Lease { claim_id, expires_at: now + LEASE });
    }

    /// 4.2: what a claim that is over is told: its end was settled, cancelled, or taken away.
    fn answer(&self, claim_id: Uuid) -> &'static str {
        match self.ended.get(&claim_id) {
            Some(Ended::Settled) => "settled",
            Some(Ended::Cancelled) => "cancelled",
            Some(Ended::Released | Ended::Lost) | None => "lease_lost",
        }
    }

    fn holds(&self, task: usize, step: usize, claim_id: Uuid) -> bool {
        self.tasks[task].steps[step].lease.as_ref().is_some_and(|lease| lease.claim_id == claim_id)
    }

    fn end(&mut self, task: usize, step: usize, how: Ended) {
        if let Some(lease) = self.tasks[task].steps[step].lease.take() {
            self.ended.insert(lease.claim_id, how);
        }
    }

    /// 4.2: the end of an attempt. A claim that is gone changes nothing.
    pub fn settle(&mut self, task: usize, step: usize, claim_id: Uuid, outcome: Outcome) -> &'static str {
        if !self.holds(task, step, claim_id) {
            return self.answer(claim_id);
        }
        self.end(task, step, Ended::Settled);
        match outcome {
            Outcome::Complete => self.become_(task, step, Complete),
            Outcome::Skip => self.become_(task, step, Skipped),
            // 4.3
            Outcome::Wait(at) => {
                self.give_back(task, step, at);
                self.tasks[task].steps[step].timer = Some(at);
            }
            Outcome::Fail { retryable, delay } => self.fail(task, step, retryable, delay),
        }
        self.conclude(task);
        "settled"
    }

    /// 4.4: the attempt is given back; where a node may run once only, it is not.
    pub fn release(&mut self, task: usize, step: usize, claim_id: Uuid) -> &'static str {
        if !self.holds(task, step, claim_id) {
            return match self.ended.get(&claim_id) {
                Some(Ended::Released) => "released",
                _ => self.answer(claim_id),
            };
        }
        self.end(task, step, Ended::Released);
        if self.nodes[step].retry.max_attempts == 1 {
            self.fail(task, step, None, None);
        } else {
            self.give_back(task, step, self.now);
        }
        self.conclude(task);
        "released"
    }

    /// 4.5
    pub fn heartbeat(&mut self, task: usize, step: usize, claim_id: Uuid) -> &'static str {
        if !self.holds(task, step, claim_id) {
            return if self.answer(claim_id) == "cancelled" { "cancelled" } else { "lease_lost" };
        }
        let expires_at = self.now + LEASE;
        self.tasks[task].steps[step].lease = Some(Lease { claim_id, expires_at });
        "renewed"
    }

    /// 4.6: expired leases are failed attempts; 3.7: then open and leased steps of tasks whose deadline has passed fail for good.
    pub fn reap(&mut self) {
        for task in 0..self.tasks.len() {
            for step in 0..self.nodes.len() {
                let lease = &self.tasks[task].steps[step].lease;
                if lease.as_ref().is_some_and(|lease| lease.expires_at < self.now) {
                    self.end(task, step, Ended::Lost);
                    self.fail(task, step, None, None);
                }
            }
            self.conclude(task);
            let t = &self.tasks[task];
            if t.is_live() && t.is_deadline_ahead && t.deadline.is_some_and(|deadline| deadline <= self.now) {
                for step in 0..self.nodes.len() {
                    if self.tasks[task].steps[step].lease.is_some() {
                        self.end(task, step, Ended::Lost);
                        self.fail(task, step, Some(false), None);
                    } else if self.is_open(task, step) {
                        self.become_(task, step, Failed);
                        self.tasks[task].steps[step].retryable = false;
                    }
                }
                self.tasks[task].is_deadline_ahead = false;
                self.conclude(task);
            }
        }
    }

    /// A state in which nothing is due.
    fn become_(&mut self, task: usize, step: usize, state: State) {
        let s = &mut self.tasks[task].steps[step];
        s.state = state;
        s.retryable = true;
        s.due = Due::Now;
        s.asked_delay = None;
    }

    fn give_back(&mut self, task: usize, step: usize, at: Moment) {
        self.become_(task, step, Pending);
        let s = &mut self.tasks[task].steps[step];
        s.attempts -= 1;
        s.due = Due::At(at);
    }

    /// 2.3 and, where a delay was asked for, 2.4.
    fn fail(&mut self, task: usize, step: usize, retryable: Option<bool>, delay: Option<f64>) {
        let (now, limit, policy) = (self.now, self.limit(task, step), &self.nodes[step].retry);
        let failures = self.tasks[task].steps[step].attempts - self.tasks[task].steps[step].attempts_before;
        let factor = 2f64.powi((failures - 1).clamp(0, 30));
        let longest = (policy.base_delay.as_secs_f64() * factor).min(policy.max_delay.as_secs_f64());
        let after = |seconds: f64| now + TimeDelta::nanoseconds((seconds * 1e9) as i64);
        let delay = delay.map(|delay| delay.clamp(0.0, 86_400.0));
        let may_retry = retryable.unwrap_or(policy.retryable);
        self.become_(task, step, Failed);
        let s = &mut self.tasks[task].steps[step];
        s.retryable = may_retry;
        s.asked_delay = delay;
        s.last_failure_at = Some(now);
        if may_retry && s.attempts < limit {
            s.due = match delay {
                Some(delay) => Due::At(after(delay)),
                None => Due::Between(after(longest / 2.0), after(longest)),
            };
        }
    }

    /// 3.4: a task is complete when every step is satisfied, and has failed when nothing in it is open or leased; not while it is paused.
    pub fn conclude(&mut self, task: usize) {
        let t = &self.tasks[task];
        if !t.is_live() {
            return;
        }
        if t.steps.iter().all(|s| s.state.satisfies()) {
            self.end_task(task, Complete);
        } else if !t.paused
            && !(0..self.nodes.len()).any(|step| t.steps[step].lease.is_some() || self.is_open(task, step))
        {
            self.end_task(task, Failed);
        }
    }

    fn end_task(&mut self, task: usize, state: State) {
        self.tasks[task].state = state;
        self.tasks[task].is_deadline_ahead = false;
    }

    /// 5.7: a failed task that a person opens again has its deadline again, unless that has passed.
    fn revive(&mut self, task: usize) {
        let now = self.now;
        let t = &mut self.tasks[task];
        if t.state == Failed {
            t.state = InProgress;
            t.deadline = t.deadline.filter(|deadline| *deadline > now);
            t.is_deadline_ahead = t.deadline.is_some();
        }
    }

    /// A person's verb over a step. `Err`: why it is refused.
    pub fn step_verb(&mut self, task: usize, step: usize, verb: &str, argument: i32) -> Result<(), &'static str> {
        let (state, live) = (self.tasks[task].steps[step].state, self.tasks[task].is_live());
        let can_live = live || self.tasks[task].state == Failed;
        match verb {
            // 5.3
            "cancel_step" => match state {
                Cancelled => return Ok(()),
                state if state.satisfies() => return Err("step_is_finished"),
                _ if !live => return Err("task_not_live"),
                _ => {
                    self.end(task, step, Ended::Cancelled);
                    self.become_(task, step, Cancelled);
                }
            },
            // 5.1
            "retry_step" => {
                if !can_live {
                    return Err("task_not_live");
                } else if self.is_dead(task, step) {
                    self.revive(task);
                    self.begin_anew(task, step);
                } else if state == Failed {
                    self.tasks[task].steps[step].due = Due::At(self.now);
                } else {
                    return Err("nothing_to_retry");
                }
            }
            // 5.2
            "resolve_step" => {
                if !can_live {
                    return Err("task_not_live");
                } else if state.satisfies() {
                    return Err("step_is_finished");
                } else if state == InProgress {
                    return Err("step_in_progress");
                } else if !self.dependencies_satisfied(task, step) {
                    return Err("dependencies_not_satisfied");
                }
                self.revive(task);
                self.become_(task, step, ResolvedManually);
            }
            // 5.5
            "edit_step_input" => {
                if !matches!(state, Pending | Failed) {
                    return Err("step_not_waiting");
                } else if !can_live {
                    return Err("task_not_live");
                }
            }
            // 5.6
            "change_retry_limit" => {
                if !matches!(state, Pending | Failed | InProgress) {
                    return Err("step_is_finished");
                } else if !live {
                    return Err("task_not_live");
                } else if argument < self.tasks[task].steps[step].attempts.max(1) {
                    return Err("limit_too_low");
                }
                let now = self.now;
                let s = &mut self.tasks[task].steps[step];
                s.retry_limit = Some(argument);
                if state != InProgress {
                    let has_attempts = s.attempts < argument && s.retryable;
                    s.due = match s.due {
                        _ if !has_attempts => Due::Now,
                        Due::Now => Due::At(now),
                        due => due,
                    };
                }
            }
            _ => panic!("there is no verb {verb}"),
        }
        self.conclude(task);
        Ok(())
    }

    /// 5.1: pending, due now, with the node's attempts on top of those counted.
    fn begin_anew(&mut self, task: usize, step: usize) {
        self.become_(task, step, Pending);
        let now = self.now;
        let more = self.nodes[step].retry.max_attempts as i32;
        let s = &mut self.tasks[task].steps[step];
        s.due = Due::At(now);
        s.attempts_before = s.attempts;
        s.retry_limit = Some(s.attempts + more);
        s.generation += 1;
        s.timer = None;
    }

    /// A person's verb over a task. `Err`: why it is refused.
    pub fn task_verb(&mut self, task: usize, verb: &str) -> Result<(), &'static str> {
        let (state, live) = (self.tasks[task].state, self.tasks[task].is_live());
        let wanted = if verb == "cancel_task" { Cancelled } else { ResolvedManually };
        match verb {
            // 5.2, 5.3
            "cancel_task" | "resolve_task" => {
                if state == wanted {
                    return Ok(());
                } else if !live && state != Failed {
                    return Err("task_is_finished");
                }
                for step in 0..self.nodes.len() {
                    if matches!(self.tasks[task].steps[step].state, Pending | InProgress | Failed) {
                        self.end(task, step, Ended::Cancelled);
                        self.become_(task, step, Cancelled);
                    }
                }
                self.end_task(task, wanted);
            }
            "retry_task" => {
                if !live && state != Failed {
                    return Err("task_not_live");
                }
                let dead: Vec<usize> = (0..self.nodes.len()).filter(|step| self.is_dead(task, *step)).collect();
                if dead.is_empty() {
                    return Err("nothing_to_retry");
                }
                self.revive(task);
                for step in dead {
                    self.begin_anew(task, step);
                }
            }
            // 5.4
            "pause_task" | "resume_task" if !live => return Err("task_not_live"),
            "pause_task" => self.tasks[task].paused = true,
            "resume_task" => self.tasks[task].paused = false,
            _ => panic!("there is no verb {verb}"),
        }
        self.conclude(task);
        Ok(())
    }
}
