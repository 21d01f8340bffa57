//! The two clocks, read here and handed on as values.
//!
//! Ages and deadlines use the monotonic one, which no correction of the time of day can bend; what
//! objects show uses the time of day.

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

    /// The moment at which the clock reads `time`, to sleep until.
    pub(crate) fn moment(&self, time: Duration) -> Instant {
        self.start + time
    }

    /// The time of day.
    pub(crate) fn time_of_day() -> Timestamp {
        Timestamp::now()
    }
}
