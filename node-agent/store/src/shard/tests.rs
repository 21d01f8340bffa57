//! A shard on a disk in memory, beside a slow obvious model.

// Numbers in these tests are tiny.
#![allow(clippy::cast_possible_truncation, clippy::cast_lossless)]

mod basics;
mod chunks;
mod crash;
mod faults;
mod holes;
mod inspect;
mod model;
mod random;
mod recorded;
mod script;
mod space;
mod two_shards;
mod world;
