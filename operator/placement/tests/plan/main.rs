//! Plans for pools of all kinds, carried out and checked; and held against the fewest copies that there can be.

// A test says where it fails by panicking; figures are small.
#![allow(clippy::unwrap_used, clippy::panic)]

mod cases;
mod laws;
mod oracle;
mod stories;
mod world;
