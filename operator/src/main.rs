//! The program `moraine-operator`.
#![forbid(unsafe_code)]

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    moraine_operator::cli::main(moraine_operator::cli::Args::parse())
}
