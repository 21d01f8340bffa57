//! `cargo xtask test`: every check and every test, counted together.
//!
//! ```text
//! tidy ─> nextest over the workspace ─> examples in the docs ─> a cluster ─> nextest over tests/e2e ─> no cluster
//! ```
//!
//! A stage that fails does not stop the others: one run shows all that is wrong. The last line is `N passed, N failed`;
//! a run of nothing has failed.

mod doctests;
mod e2e;
mod junit;
mod nextest;

pub(crate) use e2e::Cluster;

use crate::packages::Package;
use crate::tally::Tally;
use crate::{interrupt, places, tidy};
use anyhow::Result;

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only what needs no cluster: the inner loop
    #[arg(long)]
    fast: bool,
    /// Only tests whose names contain this, and no other checks
    filter: Option<String>,
    /// Leave the cluster up afterwards
    #[arg(long)]
    keep: bool,
}

/// Runs all stages and prints the totals; `cluster` is what the e2e tests run on.
pub(crate) fn run(options: &Options, cluster: &dyn Cluster) -> Result<Tally> {
    let packages = Package::list(&places::repository())?;
    let filter = options.filter.as_deref();
    let mut total = Tally::default();
    if filter.is_none() {
        stage(&mut total, || tidy::run(options.fast))?;
    }
    stage(&mut total, || nextest::workspace(filter))?;
    if packages.iter().any(Package::has_library) {
        stage(&mut total, || doctests::run(filter))?;
    }
    if !options.fast && packages.iter().any(|package| package.name == e2e::PACKAGE) {
        stage(&mut total, || e2e::run(cluster, filter, options.keep))?;
    }
    if total == Tally::default() {
        println!("no test ran");
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(total)
}

/// Runs a stage; one that breaks counts as a failed test, unless the user asked to stop.
fn stage(total: &mut Tally, run: impl FnOnce() -> Result<Tally>) -> Result<()> {
    let outcome = run();
    // Also when the stage ended well: what a stopped program reports is no result.
    interrupt::check()?;
    match outcome {
        Ok(tally) => *total += tally,
        Err(error) => {
            println!("error: {error:#}");
            total.add(false);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn a_broken_stage_is_a_failure_and_the_next_still_runs() {
        let mut total = Tally::default();
        stage(&mut total, || bail!("it does not compile")).unwrap();
        let good = Tally {
            passed: 2,
            failed: 0,
        };
        stage(&mut total, || Ok(good)).unwrap();
        assert_eq!((total.passed, total.failed), (2, 1));
    }
}
