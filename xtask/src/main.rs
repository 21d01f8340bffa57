//! `cargo xtask`: every chore of the project, in the project's own language.
//!
//! This file only parses and reports; each command lives in a module of its own. An error ends as one sentence
//! with its causes, never as a trace: whoever reads it should know what to do next.
#![forbid(unsafe_code)]

mod apt;
mod bench;
mod cli;
mod cluster;
mod components;
mod demo;
mod image;
mod interrupt;
mod lab;
mod lock;
mod oci;
mod packages;
mod places;
mod preflight;
mod proc;
mod progress;
mod sim;
mod tally;
mod test;
mod tidy;
mod tools;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run(cli::Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
