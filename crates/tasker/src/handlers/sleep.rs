//! The handler `sleep` waits for a `duration` or `until` an instant, in the database.
//!
//! The first call says when to ask again and gives the attempt back; the second, made when that instant has passed,
//! completes. In between no worker is held, and the wait survives whatever happens to the workers.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::json;

use super::{Attempt, BoxFuture, Handler, Outcome, StepError, arguments_of, with_invalid};
use crate::duration;

/// Waits; see the module's text.
pub(super) struct Sleep;

/// The database's clock decides that a timer is due. A worker's clock may be behind it by this much, and the step
/// would be asked again and again until it has caught up.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::seconds(10);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct With {
    duration: Option<String>,
    until: Option<DateTime<Utc>>,
}

impl Handler for Sleep {
    fn run(&self, attempt: Attempt) -> BoxFuture<Result<Outcome, StepError>> {
        Box::pin(async move { sleep(&attempt, Utc::now()) })
    }
}

fn sleep(attempt: &Attempt, now: DateTime<Utc>) -> Result<Outcome, StepError> {
    let with: With = arguments_of("sleep", &attempt.with)?;
    let (until, due) = match attempt.timer {
        Some(timer) => (timer, timer - CLOCK_TOLERANCE <= now),
        None => {
            let until = with.until(now)?;
            (until, until <= now)
        }
    };
    if due { Outcome::complete(&json!({ "until": until })) } else { Ok(Outcome::WaitUntil(until)) }
}

impl With {
    fn until(&self, now: DateTime<Utc>) -> Result<DateTime<Utc>, StepError> {
        let invalid = |message: String| with_invalid("sleep", message);
        match (&self.duration, self.until) {
            (None, Some(until)) => Ok(until),
            (Some(text), None) => {
                let duration = duration::parse(text).map_err(|error| invalid(format!("`duration`: {error}")))?;
                let until = TimeDelta::from_std(duration).ok().and_then(|delta| now.checked_add_signed(delta));
                until.ok_or_else(|| invalid(format!("`duration`: {text} from now is after the end of time")))
            }
            _ => Err(invalid("one of `duration` and `until` is needed".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::handlers::testing::{attempt, told};

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    /// The answer at noon.
    fn answer(with: Value, timer: Option<&str>) -> String {
        told(sleep(&Attempt { timer: timer.map(at), ..attempt(with) }, at("2026-01-31T12:00:00Z")))
    }

    #[test]
    fn the_first_call_says_when_to_ask_again() {
        assert_eq!(answer(json!({ "duration": "1h30m" }), None), "WaitUntil(2026-01-31T13:30:00Z)");
        assert_eq!(answer(json!({ "until": "2026-02-01T01:00:00+01:00" }), None), "WaitUntil(2026-02-01T00:00:00Z)");
    }

    #[test]
    fn the_second_call_completes() {
        let result = r#"{"until":"2026-01-31T11:59:59Z"}"#;
        assert_eq!(answer(json!({ "duration": "1h30m" }), Some("2026-01-31T11:59:59Z")), result);
    }

    #[test]
    fn what_is_past_needs_no_wait() {
        assert_eq!(answer(json!({ "duration": "0s" }), None), r#"{"until":"2026-01-31T12:00:00Z"}"#);
        assert_eq!(answer(json!({ "until": "2020-01-01T00:00:00Z" }), None), r#"{"until":"2020-01-01T00:00:00Z"}"#);
    }

    #[test]
    fn the_database_s_clock_may_be_a_little_ahead() {
        let with = json!({ "duration": "1h" });
        assert_eq!(answer(with.clone(), Some("2026-01-31T12:00:10Z")), r#"{"until":"2026-01-31T12:00:10Z"}"#);
        assert_eq!(answer(with, Some("2026-01-31T12:00:11Z")), "WaitUntil(2026-01-31T12:00:11Z)");
    }

    #[test]
    fn it_takes_one_of_duration_and_until() {
        for with in [json!({}), json!({ "duration": "1s", "until": "2026-01-31T12:00:00Z" })] {
            assert!(answer(with, None).ends_with("one of `duration` and `until` is needed"));
        }
        assert!(answer(json!({ "duration": "soon" }), None).contains("`duration`: `soon` is not a duration"));
        assert!(answer(json!({ "until": "tomorrow" }), None).starts_with("with_invalid (fatal): "));
    }
}
