//! A board in words: a line for a step, a line for all, and which steps a screen has room for.

use std::time::Instant;

use chrono::Utc;
use tasker::readiness::StepState;

use super::{Board, Now, Reason, Step};
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

/// Whether only a person can help.
pub fn is_dead(reason: &Reason) -> bool {
    matches!(reason.word.as_str(), "not_retryable" | "retries_exhausted")
}

/// One step: its sign, name, state and time.
fn line(step: &Step, width: usize, paint: Paint, now: Instant) -> String {
    format!("{} {:width$}{}", sign(step, paint), step.name, state(step, paint, now))
}

/// A step's state in one sign.
pub fn sign(step: &Step, paint: Paint) -> String {
    match &step.now {
        Now::Unknown => paint.dim("·"),
        Now::Runs(_) => paint.cyan("▸"),
        Now::Ended(StepState::Cancelled) => paint.red("✗"),
        Now::Ended(_) => paint.green("✓"),
        Now::Waits(reason) if is_dead(reason) => paint.red("✗"),
        Now::Waits(reason) if reason.word == "dependencies_not_satisfied" => paint.dim("·"),
        Now::Waits(_) => paint.yellow("◦"),
    }
}

/// A step's state in words, as they stand behind its name.
pub fn state(step: &Step, paint: Paint, now: Instant) -> String {
    match &step.now {
        Now::Unknown => String::new(),
        Now::Runs(since) => {
            format!("  {}{}", paint.cyan(time(now.saturating_duration_since(*since))), attempt(step))
        }
        Now::Ended(StepState::Complete) => {
            let took = step.took.map(|took| format!("  {}", paint.dim(time(took)))).unwrap_or_default();
            format!("{took}{}", attempt(step))
        }
        Now::Ended(state) => format!("  {state}"),
        Now::Waits(reason) => {
            let word = match reason.word.as_str() {
                _ if is_dead(reason) => paint.red(&reason.word),
                "dependencies_not_satisfied" => paint.dim(&reason.word),
                _ => paint.yellow(&reason.word),
            };
            let detail = detail(reason);
            let error = step.error.as_deref().map(|error| format!("  {}", paint.dim(error))).unwrap_or_default();
            format!("  {word}{}{}{error}", paint.dim(detail), attempt(step))
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
pub fn attempt(step: &Step) -> String {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tasker::{Event, readiness::StepReadinessStatus, store::Verdict};
    use uuid::Uuid;

    use super::*;

    /// What the view says of a step: its state and its reason.
    fn row(step_number: i32, current_state: StepState, word: Option<&str>) -> StepReadinessStatus {
        StepReadinessStatus {
            workflow_step_id: Uuid::nil(),
            task_id: Uuid::nil(),
            step_number,
            named_step_id: 1,
            name: String::new(),
            current_state,
            dependencies_satisfied: false,
            retry_eligible: false,
            ready_for_execution: word.is_none(),
            blocking_reason: word.map(String::from),
            last_failure_at: None,
            next_retry_at: None,
            total_parents: 2,
            completed_parents: 1,
            attempts: 3,
            retry_limit: 3,
            backoff_request_seconds: None,
            last_attempted_at: None,
        }
    }

    fn board() -> Board {
        use StepState::*;
        let names = ["done", "waits", "runs", "broken", "later", "ready", "skipped"];
        let mut board = Board::new(names.map(String::from));
        let rows = [
            row(0, Complete, Some("finished")),
            row(1, Pending, Some("dependencies_not_satisfied")),
            row(2, InProgress, Some("in_progress")),
            row(3, Failed, Some("retries_exhausted")),
            row(4, Failed, Some("waiting_for_retry")),
            row(5, Pending, None),
            row(6, Skipped, Some("finished")),
        ];
        board.see(rows.into(), board.started);
        board
    }

    #[test]
    fn a_few_steps_stand_in_their_order_each_with_its_word() {
        let board = board();
        let lines = steps(&board, 7, Paint::none(), board.started + Duration::from_secs(2));
        let expected = [
            "✓ done     attempt 3 of 3",
            "· waits    dependencies_not_satisfied 1/2  attempt 3 of 3",
            "▸ runs     2.0s  attempt 3 of 3",
            "✗ broken   retries_exhausted  attempt 3 of 3",
            "◦ later    waiting_for_retry  attempt 3 of 3",
            "◦ ready    ready  attempt 3 of 3",
            "✓ skipped  skipped",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn of_many_steps_those_that_matter_are_shown_and_all_are_counted() {
        let board = board();
        let now = board.started + Duration::from_secs(2);
        let names = |room| -> Vec<String> {
            let lines = steps(&board, room, Paint::none(), now);
            lines.iter().map(|line| line.split_whitespace().nth(1).unwrap().into()).collect()
        };
        assert_eq!(names(2), ["broken", "runs"]);
        assert_eq!(names(6), ["broken", "runs", "later"]);
        assert_eq!(
            summary(&board, Paint::none(), now),
            "2.0s · 2 of 7 steps · 1 in_progress · 1 dependencies_not_satisfied · 1 retries_exhausted · 1 waiting_for_retry · 1 ready"
        );
    }

    #[test]
    fn what_the_engine_said_stands_until_the_view_is_asked_later() {
        let mut board = board();
        let settled = Event::Settled { task_id: Uuid::nil(), step_number: 2, verdict: Verdict::Complete("1".into()) };
        let heard_at = board.started + Duration::from_secs(1);
        board.hear(settled, heard_at);
        board.see(vec![row(2, StepState::InProgress, Some("in_progress"))], board.started);
        assert_eq!(board.steps[2].now, Now::Ended(StepState::Complete), "an older answer changes nothing");
        board.see(vec![row(2, StepState::Failed, None)], heard_at + Duration::from_millis(1));
        assert_eq!(board.steps[2].word(), Some("ready"));
    }
}
