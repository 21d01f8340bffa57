//! One seed from its beginning to its end, and what came of it.

use crate::mutation::Mutation;
use crate::trace::{About, Trace};
use crate::value::Spot;
use crate::world::{Counts, Violation, World};
use moraine_model::BucketId;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

/// A run that went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// What it came to; two runs of a seed have the same.
    pub digest: u64,
    /// What happened in it.
    pub counts: Counts,
}

/// A run in which something was wrong.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What was wrong.
    pub what: String,
    /// The block and its bucket, if it is about one.
    spot: Option<(Spot, BucketId)>,
}

/// So many lines are everything that happened, not only what matters for the block.
const EVERYTHING: usize = 10_000;
/// More events than any run has that comes to its end.
const EVENTS_MAX: u64 = 3_000_000;

thread_local! {
    /// While this thread runs a seed: what its last panic said.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps what a panic says instead of printing it: a core's broken promise is a finding like others.
fn listen_to_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let heard = PANIC.with_borrow_mut(|text| {
                text.as_mut().map(|text| *text = info.to_string()).is_some()
            });
            if !heard {
                usual(info);
            }
        }));
    });
}

/// Runs a seed.
pub fn run(seed: u64, mutation: Option<Mutation>) -> Result<Outcome, Failure> {
    run_with(seed, mutation, &Trace::default())
}

fn run_with(seed: u64, mutation: Option<Mutation>, trace: &Trace) -> Result<Outcome, Failure> {
    listen_to_panics();
    PANIC.set(Some(String::new()));
    let attempt = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(seed, mutation, trace.clone());
        while world.step() {
            if world.counts.events > EVENTS_MAX {
                world.violated(
                    None,
                    "too many events: something goes round in circles".into(),
                );
            }
        }
        match world.violation.take() {
            Some(Violation { what, spot }) => {
                world.note(About::World, |_| format!("WRONG: {what}"));
                let spot = spot.map(|spot| (spot, world.bucket(spot)));
                Err(Failure { seed, what, spot })
            }
            None => Ok(Outcome {
                digest: world.digest(),
                counts: world.counts,
            }),
        }
    }));
    let panic = PANIC.take().unwrap_or_default();
    attempt.unwrap_or_else(|_| {
        Err(Failure {
            seed,
            what: format!("a panic: {panic}"),
            spot: None,
        })
    })
}

/// The story of a failed run, for a person, in so many lines at most: the run is made again and
/// tells it.
pub fn story(failure: &Failure, mutation: Option<Mutation>, lines: usize) -> Vec<String> {
    let trace = Trace::kept();
    // The failure is known; this time only the story counts.
    drop(run_with(failure.seed, mutation, &trace));
    trace.story(failure.spot.filter(|_| lines < EVERYTHING), lines)
}
