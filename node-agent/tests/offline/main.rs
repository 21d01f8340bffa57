//! `moraine-agent store` as its users run it, over files that the store wrote and that were damaged on
//! purpose.

#![allow(clippy::unwrap_used, clippy::panic)] // A panic here is a failed test.

mod check;
mod dump;
mod export;
mod refusals;
mod rig;
