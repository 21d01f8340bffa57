//! The format from outside: fixtures of each version, and decoders fed with what nobody wrote.
// The helpers of tests are outside the functions that clippy takes for tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod crafted;
mod decoders;
mod driver;
mod image;
mod model;
mod mutations;
mod patches;
mod script;
mod seeds;
mod version_1;
