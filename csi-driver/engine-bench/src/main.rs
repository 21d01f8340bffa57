//! The program `moraine-engine-bench`.
#![forbid(unsafe_code)]

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    moraine_engine_bench::cli::main(moraine_engine_bench::cli::Args::parse())
}
