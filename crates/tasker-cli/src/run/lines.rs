//! A board in words: a line for a step, a line for all, and which steps a screen has room for.

use std::time::Instant;

use chrono::Utc;
use tasker::readiness::StepState;

use super::board::{Board, Now, Reason, Step};
use crate::output::{Paint, count, instant, time};

/// What is said when a signal was heard.
pub const STOPPING: &str = "stopping what runs; another Ctrl-C leaves at once";

/// At most so many lines for the steps that matter now: all of them in their order where they are that few, else what runs,
/// what failed, what waits for something other than its parents, and what ended last.
pub fn steps(board: &Board, room: usize, paint: Paint, now: Instant) -> Vec<String> {
    let shown: Vec<&Step> = match board.steps.len() <= room {
        true => board.steps.iter().collect(),
        false => {
            let mut shown: Vec<(u8, &Step)> = board.steps.iter().filter_map(|step| Some((rank(step)?, step))).collect();
            shown.sort_by_key(|(rank, _)| *rank);
            shown.into_iter().take(room).map(|(_, step)| step).collect()
        }
    };
    let width = shown.iter().map(|step| step.name.len()).max().unwrap_or(0).min(40);
    shown.into_iter().map(|step| line(step, width, paint, now)).collect()
}

/// What a crowded screen shows first.
fn rank(step: &Step) -> Option<u8> {
    match &step.now {
        Now::Waits(reason) if is_dead(reason) => Some(0),
        Now::Runs(_) => Some(1),
        Now::Waits(reason) if reason.word == "waiting_for_retry" => Some(2),
        Now::Waits(reason) if reason.word != "dependencies_not_satisfied" && reason.word != "ready" => Some(3),
        _ => None,
    }
}

fn is_dead(reason: &Reason) -> bool {
    matches!(reason.word.as_str(), "not_retryable" | "retries_exhausted")
}

/// One step: its sign, name, state and time.
pub fn line(step: &Step, width: usize, paint: Paint, now: Instant) -> String {
    let name = format!("{:width$}", step.name);
    let took = step.took.map(time).unwrap_or_default();
    match &step.now {
        Now::Unknown => format!("{} {}", paint.dim("·"), paint.dim(name)),
        Now::Runs(since) => format!("{} {name}  {}{}", paint.cyan("▸"), paint.cyan(time(now - *since)), attempt(step)),
        Now::Ended(StepState::Cancelled) => format!("{} {name}  cancelled", paint.red("✗")),
        Now::Ended(StepState::Complete) => format!("{} {name}  {}{}", paint.green("✓"), paint.dim(took), attempt(step)),
        Now::Ended(state) => format!("{} {name}  {state}", paint.green("✓")),
        Now::Waits(reason) => {
            let (sign, word) = match reason.word.as_str() {
                _ if is_dead(reason) => (paint.red("✗"), paint.red(&reason.word)),
                "dependencies_not_satisfied" => (paint.dim("·"), paint.dim(&reason.word)),
                _ => (paint.yellow("◦"), paint.yellow(&reason.word)),
            };
            let detail = detail(reason);
            let error = step.error.as_deref().map(|error| format!("  {}", paint.dim(error))).unwrap_or_default();
            format!("{sign} {name}  {word}{}{}{error}", paint.dim(detail), attempt(step))
        }
    }
}

/// What belongs to a reason's word: until when, or how many parents.
pub fn detail(reason: &Reason) -> String {
    match (reason.word.as_str(), reason.until) {
        ("dependencies_not_satisfied", _) => format!(" {}/{}", reason.parents.0, reason.parents.1),
        ("waiting_for_retry" | "scheduled_for_later", Some(until)) => match (until - Utc::now()).to_std() {
            Ok(left) if left.as_secs() < 60 => format!(" {}", time(left)),
            _ => format!(" until {}", instant(until)),
        },
        _ => String::new(),
    }
}

/// Which attempt it is, from the second on.
fn attempt(step: &Step) -> String {
    match step.attempt {
        0 | 1 => String::new(),
        number => format!("  attempt {number} of {}", step.retry_limit),
    }
}

/// All steps in one line: how many are satisfied, and how many do what.
pub fn summary(board: &Board, paint: Paint, now: Instant) -> String {
    let total = board.steps.len();
    let tally: String = board.tally().iter().map(|(word, number)| format!(" · {} {word}", count(*number))).collect();
    let elapsed = match board.is_stopping {
        true => STOPPING.into(),
        false => time(now - board.started),
    };
    format!("{elapsed} · {} of {} steps{}", count(board.satisfied()), count(total), paint.dim(tally))
}
