//! What the user sees while something takes longer than two seconds.
//!
//! One line per step: on a terminal it counts the seconds in place; elsewhere (CI, a file) it is printed when the
//! step starts, every 30 seconds while it lasts, and when it ends. No colours, no bars: a log must read the same.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

/// A step under way; ends with [`Step::done`], or shows as failed when dropped before that.
pub(crate) struct Step {
    name: String,
    started: Instant,
    shown: Instant,
    terminal: bool,
    open: bool,
}

impl Step {
    /// Starts a step and shows its name.
    pub(crate) fn start(name: impl Into<String>) -> Self {
        let now = Instant::now();
        let step = Self {
            name: name.into(),
            started: now,
            shown: now,
            terminal: stderr().is_terminal(),
            open: true,
        };
        if step.terminal {
            eprint!("  {} ...", step.name);
            stderr().flush().ok();
        } else {
            eprintln!("  {} ...", step.name);
        }
        step
    }

    /// Called while waiting: shows that it still goes on.
    pub(crate) fn tick(&mut self) {
        let pause = Duration::from_secs(if self.terminal { 1 } else { 30 });
        if self.shown.elapsed() < pause {
            return;
        }
        self.shown = Instant::now();
        let seconds = self.started.elapsed().as_secs();
        if self.terminal {
            eprint!("\r  {} ... {seconds} s", self.name);
            stderr().flush().ok();
        } else {
            eprintln!("  {} ... {seconds} s so far", self.name);
        }
    }

    /// Ends the step with what came of it (may be empty).
    pub(crate) fn done(mut self, outcome: &str) {
        self.end(if outcome.is_empty() { "done" } else { outcome });
    }

    fn end(&mut self, outcome: &str) {
        self.open = false;
        let start = if self.terminal { "\r" } else { "" };
        let seconds = self.started.elapsed().as_secs_f64();
        eprintln!("{start}  {} ... {outcome} ({seconds:.1} s)", self.name);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if self.open {
            self.end("FAILED");
        }
    }
}
