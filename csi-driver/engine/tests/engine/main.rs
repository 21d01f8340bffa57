//! The engine against replicas in memory, driven by hand and at random.
// The helpers of tests are outside the functions that clippy takes for tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod attach;
mod failures;
mod history;
mod paths;
mod random;
mod replica;
mod service;
mod world;
