//! `cargo xtask sim`: runs the cores under the faults of many seeds, on all processors.
//!
//! It builds the simulator optimised, but so that a panic of a core is caught and names its seed, and
//! hands the terminal over to it: progress and results are its own.

use crate::places;
use crate::proc::Cmd;
use crate::progress::Step;
use anyhow::Result;

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How many seeds
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Plant a bug on purpose; a wrong name lists them
    #[arg(long, value_name = "NAME")]
    mutation: Option<String>,
    /// Lines of the story of a failed seed; 10000 and more are everything that happened in it
    #[arg(long, default_value_t = 100)]
    lines: usize,
    /// Go on after a seed has failed
    #[arg(long)]
    go_on: bool,
}

/// Builds the simulator and runs it; false when a seed failed.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let mut step = Step::start("building the simulator");
    Cmd::new("cargo", "build the simulator")
        .args([
            "build",
            "--quiet",
            "--profile",
            "sim",
            "--package",
            "moraine-sim",
        ])
        .dir(places::repository())
        .read_on(&mut step)?;
    step.done("");
    let mut simulator = Cmd::new(
        places::repository().join("target/sim/moraine-sim"),
        "run the simulator",
    )
    .args(["--seeds", &options.seeds.to_string()])
    .args(["--first", &options.first.to_string()])
    .args(["--lines", &options.lines.to_string()]);
    if let Some(mutation) = &options.mutation {
        simulator = simulator.args(["--mutation", mutation]);
    }
    if options.go_on {
        simulator = simulator.arg("--go-on");
    }
    Ok(simulator.show()?.success())
}
