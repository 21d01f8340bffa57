//! `moraine-agent store`: looks at one disk while no agent has it, for people who want to know what
//! is on it, or have it back. `docs/offline.md` is its manual.
//!
//! Every command opens the disk read-only; what recovery would write stays in memory. Nothing here
//! talks to Kubernetes, repairs or formats.

mod check;
mod dump;
mod export;
mod progress;
mod report;
mod size;
mod source;
mod table;

use anyhow::Result;
use clap::Subcommand;
use std::io;
use std::process::ExitCode;

/// What can be done with a disk that no agent has.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look for damage: exit code 0 if there is none, 1 if there is, 2 if the disk can't be checked
    Check(check::Args),
    /// Show what is on the disk: superblock, volumes, segments, the entries of one of them
    Dump(dump::Args),
    /// Write a volume or snapshot to a raw image, from what this disk alone holds
    Export(export::Args),
}

/// How a command ended that could do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// With nothing to complain of.
    Clean,
    /// Something on the disk is damaged.
    Damaged,
}

/// Runs a command. The exit code is 0 if all is well, 1 if something is damaged, 2 if the command
/// could not do its work.
pub(crate) fn main(args: Args) -> ExitCode {
    let mut out = io::stdout().lock();
    let ended: Result<Outcome> = match args.command {
        Command::Check(args) => check::run(&args, &mut out),
        Command::Dump(args) => dump::run(&args, &mut out),
        Command::Export(args) => export::run(&args, &mut out),
    };
    match ended {
        Ok(Outcome::Clean) => ExitCode::SUCCESS,
        Ok(Outcome::Damaged) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
