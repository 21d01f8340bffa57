//! The program `moraine-csi`.
#![forbid(unsafe_code)]

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    moraine_csi::cli::main(moraine_csi::cli::Args::parse())
}
