//! The command line: one variant per command, handed on to the module that does it.

use crate::{bench, cluster, components, image, interrupt, places, test, tidy};
use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use std::path::Path;
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
    /// Measure, and hold each figure against its target
    Bench(bench::Options),
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
        Command::Image(options) => image::run(&options)?,
        Command::Cluster(args) => return cluster::command(args),
        Command::Inner(inner) => inner.run()?,
        Command::Components => components::command()?,
        Command::Bench(options) => return Ok(exit_code(bench::run(&options)?)),
        Command::Places => {
            println!("repository  {}", places::repository().display());
            println!("cache       {}", places::cache()?.display());
        }
        Command::Tidy { quick } => return Ok(exit_code(tidy::run(quick)?.good())),
        Command::Test(options) => return Ok(exit_code(test::run(&options, &NoCluster)?.good())),
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

/// Stands in until this checkout can make a cluster.
struct NoCluster;

impl test::Cluster for NoCluster {
    fn up(&self) -> Result<Vec<(String, String)>> {
        bail!("this checkout can't make a cluster: use --fast")
    }

    fn copy_logs(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    fn down(&self) -> Result<()> {
        Ok(())
    }
}
