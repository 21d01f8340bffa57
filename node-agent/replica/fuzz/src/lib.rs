//! The body of the target, taken from the replica core's own tests, so that both run the very same.
#![forbid(unsafe_code)]
// The tests use more of these files than the target does.
#![allow(dead_code)]

#[path = "../../tests/replica/answers.rs"]
mod answers;
#[path = "../../tests/replica/promises.rs"]
mod promises;
#[path = "../../tests/replica/script.rs"]
mod script;
#[path = "../../tests/replica/storm.rs"]
mod storm;
#[path = "../../tests/replica/world.rs"]
mod world;

/// Runs the bytes as a script.
///
/// # Panics
/// If a rule is broken.
pub fn requests(bytes: &[u8]) {
    storm::run(bytes);
}
