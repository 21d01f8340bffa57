//! What the program `moraine-engine-bench` is made of: a load that drives a volume as fio would, and
//! an NBD server that gives a volume to whoever speaks NBD. Both take any [`volume::Volume`]; how
//! one is attached is the engine's shell.
#![forbid(unsafe_code)]

pub mod cli;
pub mod load;
pub mod nbd;
pub mod report;
pub mod trial;
pub mod volume;
