//! How often a step is tried, and how long it waits between two attempts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration;

/// The greatest `max_attempts`.
pub const MAX_ATTEMPTS: u32 = 1_000_000;

/// A step's retry policy. With `d = base_delay * 2^(failures - 1)`, never above `max_delay`, the next attempt
/// waits for a time uniform between `d / 2` and `d`; the database computes it once, when the failure is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The greatest number of attempts, the first included: 1 to 1,000,000; default 3.
    pub max_attempts: u32,
    /// The first delay, in whole milliseconds; default 1 s.
    #[serde(with = "duration::text")]
    pub base_delay: Duration,
    /// The greatest delay, in whole milliseconds; default 5 min.
    #[serde(with = "duration::text")]
    pub max_delay: Duration,
    /// Whether a failure that does not say otherwise may be retried; default true.
    pub retryable: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            max_attempts: 3,
            base_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(300),
            retryable: true,
        }
    }
}
