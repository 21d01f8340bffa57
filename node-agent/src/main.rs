//! The program `moraine-agent`.
#![forbid(unsafe_code)]

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    moraine_agent::cli::main(moraine_agent::cli::Args::parse())
}
