//! What a progress view knows of each step: the engine's events as they happen, and between them the readiness view's word.

pub mod lines;

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tasker::{
    Event,
    readiness::{StepReadinessStatus, StepState},
    store::{Verdict, WorkflowStep},
};

use crate::output::one_line;

/// All steps of the run's task, by number.
pub struct Board {
    pub steps: Vec<Step>,
    pub started: Instant,
    /// Whether a signal asked it to end.
    pub is_stopping: bool,
    news: Vec<News>,
}

/// One step.
pub struct Step {
    pub name: String,
    pub now: Now,
    /// The number of the attempt that runs, or of the last one.
    pub attempt: u32,
    pub retry_limit: u32,
    /// The first line of its last failure in this run.
    pub error: Option<String>,
    /// How long its last attempt in this run took, what it waited in between included.
    pub took: Option<Duration>,
    /// When that attempt was first claimed.
    began: Option<Instant>,
    /// When an event last spoke of it: a view that was asked earlier knows less.
    heard_at: Option<Instant>,
}

/// What a step is doing.
#[derive(Clone, Debug, PartialEq)]
pub enum Now {
    /// Nobody has asked the view since it last changed.
    Unknown,
    /// It does not run, for the view's reason.
    Waits(Reason),
    /// An attempt runs since then.
    Runs(Instant),
    /// It is satisfied, or cancelled.
    Ended(StepState),
}

/// Why a step does not run.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    /// The view's own word; `ready` where it has none.
    pub word: String,
    /// Not before this instant.
    pub until: Option<DateTime<Utc>>,
    /// Satisfied parents, of how many.
    pub parents: (i32, i32),
}

/// What has become of a step, for who prints lines.
pub enum News {
    /// It has ended, or does not run for another reason than before.
    Changed { step: usize, now: Now },
    /// An attempt failed.
    Failed { step: usize, attempt: u32, kind: String },
}

impl Board {
    pub fn new(names: impl IntoIterator<Item = String>) -> Board {
        let step = |name| Step {
            name,
            now: Now::Unknown,
            attempt: 0,
            retry_limit: 0,
            error: None,
            took: None,
            began: None,
            heard_at: None,
        };
        Board {
            steps: names.into_iter().map(step).collect(),
            started: Instant::now(),
            is_stopping: false,
            news: Vec::new(),
        }
    }

    /// With a task's steps as they stand.
    pub fn of(steps: &[WorkflowStep]) -> Board {
        let mut board = Board::new(steps.iter().map(|step| step.name.clone()));
        board.see(steps.iter().map(|step| step.readiness.clone()).collect(), board.started);
        for step in steps {
            board.blame(step.step_number, step.error.as_deref());
        }
        board.take_news();
        board
    }

    /// Takes in what a step's last failure said.
    pub fn blame(&mut self, step_number: i32, error: Option<&str>) {
        if let Some(step) = self.steps.get_mut(step_number as usize) {
            step.error = error.map(|error| one_line(error, 200));
        }
    }

    /// Takes in what the engine did.
    pub fn hear(&mut self, event: Event, at: Instant) {
        let number = match &event {
            Event::Started(claimed) => claimed.step_number,
            Event::Settled { step_number, .. } => *step_number,
        } as usize;
        let Some(step) = self.steps.get_mut(number) else { return };
        step.heard_at = Some(at);
        match event {
            Event::Started(claimed) => {
                step.attempt = claimed.attempt.max(0) as u32;
                step.retry_limit = claimed.retry_limit.max(0) as u32;
                step.now = Now::Runs(at);
                step.began.get_or_insert(at);
            }
            Event::Settled { verdict, .. } => {
                step.took = step.began.map(|began| at - began);
                let now = match verdict {
                    Verdict::Complete(_) => Now::Ended(StepState::Complete),
                    Verdict::Skip(_) => Now::Ended(StepState::Skipped),
                    Verdict::Wait(_) | Verdict::WaitFor(_) => Now::Unknown,
                    Verdict::Fail { error, kind, .. } => {
                        step.began = None;
                        step.error = Some(one_line(&error, 200));
                        self.news.push(News::Failed { step: number, attempt: step.attempt, kind });
                        Now::Unknown
                    }
                };
                // the view may have said so before
                if matches!(now, Now::Ended(_)) && step.now != now {
                    self.news.push(News::Changed { step: number, now: now.clone() });
                }
                step.now = now;
            }
        }
    }

    /// Takes in what the view said when it was asked at `asked_at`, about steps of which nothing was heard since.
    pub fn see(&mut self, rows: Vec<StepReadinessStatus>, asked_at: Instant) {
        for row in rows {
            let number = row.step_number as usize;
            let Some(step) = self.steps.get_mut(number).filter(|step| step.heard_at.is_none_or(|at| at < asked_at))
            else {
                continue;
            };
            step.attempt = row.attempts.max(0) as u32;
            step.retry_limit = row.retry_limit.max(0) as u32;
            let now = match (row.current_state, row.blocking_reason) {
                (StepState::InProgress, _) => match step.now {
                    Now::Runs(since) => Now::Runs(since),
                    _ => Now::Runs(asked_at.checked_sub(since(row.last_attempted_at)).unwrap_or(asked_at)),
                },
                (state, Some(word)) if word == "finished" => Now::Ended(state),
                (_, word) => Now::Waits(Reason {
                    word: word.unwrap_or_else(|| "ready".into()),
                    until: row.next_retry_at,
                    parents: (row.completed_parents, row.total_parents),
                }),
            };
            if now != step.now {
                if let (Now::Runs(since), Now::Ended(_)) = (&step.now, &now) {
                    step.took = Some(asked_at.saturating_duration_since(*since));
                }
                step.now = now.clone();
                self.news.push(News::Changed { step: number, now });
            }
        }
    }

    /// What has happened since this was last asked.
    pub fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// How many steps are satisfied.
    pub fn satisfied(&self) -> usize {
        self.steps.iter().filter(|step| step.is_satisfied()).count()
    }

    /// How many steps run, and how many do not, for each of the view's reasons.
    pub fn tally(&self) -> Vec<(&str, usize)> {
        tally(&self.steps)
    }
}

/// How many of some steps run, and how many do not, for each of the view's reasons, in the order of the steps.
pub fn tally<'a>(steps: impl IntoIterator<Item = &'a Step>) -> Vec<(&'a str, usize)> {
    let mut tally: Vec<(&str, usize)> = vec![("in_progress", 0)];
    for word in steps.into_iter().filter_map(Step::word) {
        match tally.iter_mut().find(|(known, _)| *known == word) {
            Some((_, count)) => *count += 1,
            None => tally.push((word, 1)),
        }
    }
    tally.retain(|(_, count)| *count > 0);
    tally
}

impl Step {
    /// Whether its children may run.
    pub fn is_satisfied(&self) -> bool {
        matches!(self.now, Now::Ended(state) if state != StepState::Cancelled)
    }

    /// What it is doing, in one word; `None`: it is satisfied, or nobody has asked yet.
    pub fn word(&self) -> Option<&str> {
        match &self.now {
            Now::Runs(_) => Some("in_progress"),
            Now::Waits(reason) => Some(&reason.word),
            Now::Ended(StepState::Cancelled) => Some("cancelled"),
            Now::Ended(_) | Now::Unknown => None,
        }
    }
}

fn since(at: Option<DateTime<Utc>>) -> Duration {
    at.and_then(|at| (Utc::now() - at).to_std().ok()).unwrap_or_default()
}
