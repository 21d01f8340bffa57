//! The two clocks, read here and handed on as values: the monotonic one for pauses and ages, the time
//! of day for what objects show.

use k8s_openapi::jiff::Timestamp;
use std::time::Duration;
use tokio::time::Instant;

/// A monotonic clock that starts at zero.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that reads zero now.
    pub(crate) fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Time since the start.
    pub(crate) fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    /// The time of day.
    pub(crate) fn time_of_day() -> Timestamp {
        Timestamp::now()
    }
}
