//! Attempts for the handlers' tests.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Attempt, Outcome, StepError};
use crate::template::SecretsUsed;

/// A first attempt with this rendered `with`; its input is `{"who": "<Ann>"}` and its parent `count` gave 7.
pub(super) fn attempt(with: Value) -> Attempt {
    Attempt {
        task_id: Uuid::from_u128(1 << 24),
        workflow_step_id: Uuid::from_u128((1 << 24) + 1),
        step_name: "step".into(),
        claim_id: Uuid::nil(),
        number: 1,
        retry_limit: 3,
        generation: 0,
        timer: None,
        with,
        input: Arc::from(raw(&json!({ "who": "<Ann>" }))),
        results: Arc::new(BTreeMap::from([("count".into(), raw(&json!(7)))])),
        secrets: SecretsUsed::default(),
        cancellation: CancellationToken::new(),
    }
}

/// JSON as text.
fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).expect("JSON can be written")
}

/// What an attempt came to: its result, or `kind: message`, with a mark where no retry will mend it.
pub(super) fn told(outcome: Result<Outcome, StepError>) -> String {
    match outcome {
        Ok(Outcome::Complete(result)) => result.get().into(),
        Ok(other) => format!("{other:?}"),
        Err(error) => {
            let fatal = if error.retryable == Some(false) { " (fatal)" } else { "" };
            format!("{}{fatal}: {}", error.kind, error.message)
        }
    }
}
