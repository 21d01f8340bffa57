//! The wire from outside: golden bytes of each version, and decoders fed with what nobody sent.
// The helpers of tests are outside the functions that clippy takes for tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bodies;
mod damage;
mod documentation;
mod golden;
mod handshake;
mod meetings;
mod mutations;
mod roundtrip;
mod samples;
mod strategies;
