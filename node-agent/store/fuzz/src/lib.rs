//! The bodies of the targets, taken from the store's own tests, so that both run the very same.
//!
//! Nothing is decided here: a target that needs a new body gets it there.
#![forbid(unsafe_code)]
// The tests use more of these files than the targets do.
#![allow(dead_code)]

#[path = "../../tests/format/decoders.rs"]
mod decoders;
#[path = "../../tests/format/driver.rs"]
mod driver;
#[path = "../../tests/format/image.rs"]
mod image;
#[path = "../../tests/format/model.rs"]
mod model;
#[path = "../../tests/format/patches.rs"]
mod patches;

/// Runs the body of a target on one input.
///
/// # Panics
/// If what must hold does not, or if there is no such target.
pub fn run(target: &str, bytes: &[u8]) {
    let body = decoders::BODIES.iter().find(|(name, _)| *name == target);
    match body {
        Some((_, body)) => body(bytes),
        None if target == "open" => patches::open_patched(bytes),
        None => unreachable!("no target is called {target}"),
    }
}
