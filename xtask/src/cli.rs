//! The command line: one variant per command, handed on to the module that does it.

use crate::{image, interrupt, places};
use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// The chores of Moraine.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make Moraine's container image as an OCI archive
    Image(image::Options),
    /// Show where this checkout and its cache are
    Places,
}

/// Runs the command and returns the exit code.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    interrupt::listen()?;
    match args.command {
        Command::Image(options) => image::run(&options)?,
        Command::Places => {
            println!("repository  {}", places::repository().display());
            println!("cache       {}", places::cache()?.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}
