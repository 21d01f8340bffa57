//! The bodies of the targets, taken from the protocol's own tests, so that both run the very same.
//!
//! Nothing is decided here: a target that needs a new body gets it there.
#![forbid(unsafe_code)]
// The tests use more of these files than the targets do.
#![allow(dead_code)]

#[path = "../../tests/wire/bodies.rs"]
mod bodies;
#[path = "../../tests/wire/meetings.rs"]
mod meetings;

/// Runs the body of a target on one input.
///
/// # Panics
/// If what must hold does not, or if there is no such target.
pub fn run(target: &str, bytes: &[u8]) {
    let body = bodies::BODIES.iter().find(|(name, _)| *name == target);
    let (_, body) = body.unwrap_or_else(|| unreachable!("no target is called {target}"));
    body(bytes);
}
