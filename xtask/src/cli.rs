//! The command line: one variant per command, handed on to the module that does it.

use crate::lab::Lab;
use crate::{bench, cluster, components, demo, image, interrupt, places, sim, test, tidy};
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
    /// Run Moraine's main job on a Kubernetes made for it
    Demo(demo::Options),
    /// Make Moraine's container image as an OCI archive
    Image(image::Options),
    /// A real Kubernetes on this machine
    Cluster(cluster::Args),
    /// Build the programs that a cluster is made of into the cache, and list them
    Components,
    #[command(flatten)]
    Inner(cluster::Inner),
    /// Measure, and hold each figure against its target
    Bench(bench::Options),
    /// Run the cores under seeded faults
    Sim(sim::Options),
    /// Show where this checkout and its cache are
    Places,
    /// Check what no compiler checks, then format, lints, documentation and dependencies
    Tidy {
        /// Only the rules over the text alone
        #[arg(long)]
        quick: bool,
    },
    /// Run every check and every test; the last line says `N passed, N failed`
    Test(test::Options),
}

/// Runs the command and returns the exit code.
pub(crate) fn run(args: Args) -> Result<ExitCode> {
    interrupt::listen()?;
    match args.command {
        Command::Demo(options) => demo::run(&options)?,
        Command::Image(options) => image::run(&options)?,
        Command::Cluster(args) => return cluster::command(args),
        Command::Inner(inner) => inner.run()?,
        Command::Components => components::command()?,
        Command::Bench(options) => return Ok(exit_code(bench::run(&options)?)),
        Command::Sim(options) => return Ok(exit_code(sim::run(&options)?)),
        Command::Places => {
            println!("repository  {}", places::repository().display());
            println!("cache       {}", places::cache()?.display());
        }
        Command::Tidy { quick } => return Ok(exit_code(tidy::run(quick)?.good())),
        Command::Test(options) => {
            let lab = Lab::of("test", 3, &["box"]);
            return Ok(exit_code(test::run(&options, &lab)?.good()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn exit_code(good: bool) -> ExitCode {
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
