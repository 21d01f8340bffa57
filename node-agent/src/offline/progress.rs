//! Tells a person who waits how far it is, on stderr, so that stdout holds the answer alone.

use std::time::{Duration, Instant};

/// What is done sooner is not worth a line.
const QUIET: Duration = Duration::from_secs(2);
/// Time between two lines.
const PAUSE: Duration = Duration::from_secs(5);

/// How far something is.
pub(super) struct Progress {
    what: &'static str,
    done: u64,
    total: u64,
    next: Instant,
}

impl Progress {
    /// Something of `total` parts begins; `what` names it and its parts.
    pub(super) fn start(what: &'static str, total: u64) -> Self {
        Self {
            what,
            done: 0,
            total,
            next: Instant::now() + QUIET,
        }
    }

    /// One part more is done.
    pub(super) fn step(&mut self) {
        self.done += 1;
        let now = Instant::now();
        if now >= self.next {
            self.next = now + PAUSE;
            let percent = (self.done * 100).checked_div(self.total).unwrap_or(100);
            eprintln!(
                "{}: {} of {} ({percent}%)",
                self.what, self.done, self.total
            );
        }
    }
}
