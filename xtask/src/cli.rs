//! The command line: one variant per command, handed on to the module that does it.

use crate::{cluster, components, image, interrupt, places};
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
    /// A real Kubernetes on this machine
    Cluster(cluster::Args),
    /// Build the programs that a cluster is made of into the cache, and list them
    Components,
    #[command(flatten)]
    Inner(cluster::Inner),
    /// Show where this checkout and its cache are
    Places,
}

/// Runs the command and returns the exit code.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    interrupt::listen()?;
    match args.command {
        Command::Image(options) => image::run(&options)?,
        Command::Cluster(args) => return cluster::command(args),
        Command::Inner(inner) => inner.run()?,
        Command::Components => components::command()?,
        Command::Places => {
            println!("repository  {}", places::repository().display());
            println!("cache       {}", places::cache()?.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}
