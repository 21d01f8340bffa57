//! The engine against replicas in memory, driven by hand and at random.

mod attach;
mod failures;
mod history;
mod paths;
mod random;
mod replica;
mod service;
mod world;
