//! The handler `sleep` waits for a `duration` or `until` an instant, in the database.
//!
//! The first call says when to ask again and gives the attempt back; the second, made when that instant has passed,
//! completes. In between no worker is held, and the wait survives whatever happens to the workers.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::json;

use super::{Attempt, BoxFuture, Handler, Outcome, StepError, arguments_of, with_invalid};
use crate::duration;

/// Waits; see the module's text.
pub(super) struct Sleep;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct With {
    duration: Option<String>,
    until: Option<DateTime<Utc>>,
}

impl Handler for Sleep {
    fn run(&self, attempt: Attempt) -> BoxFuture<Result<Outcome, StepError>> {
        Box::pin(async move { sleep(&attempt) })
    }
}

fn sleep(attempt: &Attempt) -> Result<Outcome, StepError> {
    let with: With = arguments_of("sleep", &attempt.with)?;
    // the database's clock has decided that its time has come
    if let Some(until) = attempt.timer {
        return Outcome::complete(&json!({ "until": until }));
    }
    let invalid = |message: String| with_invalid("sleep", message);
    match (with.duration, with.until) {
        (None, Some(until)) => Ok(Outcome::WaitUntil(until)),
        (Some(text), None) => {
            let duration = duration::parse(&text).map_err(|error| invalid(format!("`duration`: {error}")))?;
            Ok(Outcome::WaitFor(duration))
        }
        _ => Err(invalid("one of `duration` and `until` is needed".into())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::handlers::testing::{attempt, told};

    fn answer(with: Value, timer: Option<&str>) -> String {
        let timer = timer.map(|at| at.parse().unwrap());
        told(sleep(&Attempt { timer, ..attempt(with) }))
    }

    #[test]
    fn the_first_call_says_when_to_ask_again() {
        assert_eq!(answer(json!({ "duration": "1h30m" }), None), "WaitFor(5400s)");
        assert_eq!(answer(json!({ "until": "2026-02-01T01:00:00+01:00" }), None), "WaitUntil(2026-02-01T00:00:00Z)");
    }

    #[test]
    fn the_second_call_completes() {
        let result = r#"{"until":"2026-01-31T11:59:59Z"}"#;
        assert_eq!(answer(json!({ "duration": "1h30m" }), Some("2026-01-31T11:59:59Z")), result);
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
