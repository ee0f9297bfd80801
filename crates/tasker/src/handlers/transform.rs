//! The handler `transform` answers with its `value`: any JSON, whose templates were rendered before the attempt.

use serde::Deserialize;
use serde_json::Value;

use super::{Attempt, BoxFuture, Handler, Outcome, StepError, arguments_of};

/// Computes values; see the module's text.
pub(super) struct Transform;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct With {
    value: Value,
}

impl Handler for Transform {
    fn run(&self, attempt: Attempt) -> BoxFuture<Result<Outcome, StepError>> {
        Box::pin(async move {
            let with: With = arguments_of("transform", &attempt.with)?;
            Outcome::complete(&with.value)
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::handlers::testing::{attempt, told};

    #[tokio::test]
    async fn the_result_is_the_value() {
        for value in [json!({ "b": [1, null], "a": "x" }), json!(null), json!(false)] {
            assert_eq!(told(Transform.run(attempt(json!({ "value": value }))).await), value.to_string());
        }
        let error = told(Transform.run(attempt(json!({}))).await);
        assert_eq!(error, "with_invalid (fatal): `with` is not what `transform` takes: missing field `value`");
        let error = told(Transform.run(attempt(json!({ "value": "x".repeat(1 << 20) }))).await);
        assert!(error.starts_with("result_not_storable (fatal): "));
    }
}
