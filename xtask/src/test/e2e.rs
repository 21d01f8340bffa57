//! The tests on a real cluster: brings one up, runs `tests/e2e` on it, keeps the logs of what failed, and takes it down.
//!
//! How a cluster is made is not known here: a [`Cluster`] is handed in.

use super::junit::Report;
use super::nextest;
use crate::proc::Cmd;
use crate::progress::Step;
use crate::tally::Tally;
use crate::{interrupt, places};
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// The crate that has these tests.
pub(super) const PACKAGE: &str = "moraine-e2e";
/// Where a test leaves logs of its own.
const LOGS_VARIABLE: &str = "MORAINE_E2E_LOGS";

/// The program that drives a volume from outside of the cluster.
const LOAD: &str = "moraine-engine-bench";
const LOAD_VARIABLE: &str = "MORAINE_ENGINE_BENCH";
/// This program, for tests that add nodes and kill them.
const XTASK_VARIABLE: &str = "MORAINE_XTASK";

/// A cluster to test on, with our image on every node.
pub(crate) trait Cluster {
    /// Brings it up, and returns the environment in which kubectl and helm reach it.
    fn up(&self) -> Result<Vec<(String, OsString)>>;
    /// Copies the logs of its parts and pods into the folder.
    fn copy_logs(&self, folder: &Path) -> Result<()>;
    /// Takes it down, also when it is only half up.
    fn down(&self) -> Result<()>;
}

/// Runs the tests whose names contain the filter.
pub(super) fn run(cluster: &dyn Cluster, filter: Option<&str>, keep: bool) -> Result<Tally> {
    let selection = ["--package", PACKAGE, "--features", "cluster", "--test", "*"];
    // Before the cluster, which takes its time: there may be nothing to run, or nothing that compiles.
    if nextest::count("e2e", &selection, filter)? == 0 {
        return Ok(Tally::default());
    }
    let logs = logs_folder()?;
    let programs = [
        (LOAD_VARIABLE.to_owned(), load()?.into()),
        (
            XTASK_VARIABLE.to_owned(),
            std::env::current_exe()
                .context("finding this program")?
                .into(),
        ),
    ];
    run_on(cluster, keep, &logs, |environment| {
        let environment = [environment, &programs].concat();
        nextest::run("e2e", &selection, filter, &environment)
    })
}

/// Builds the load that tests put on a volume.
fn load() -> Result<PathBuf> {
    let mut step = Step::start(format!("building {LOAD}"));
    Cmd::new("cargo", "build the load of the tests")
        .args(["build", "--package", LOAD])
        .dir(places::repository())
        .run_logged(&places::repository().join("target/load.log"), &mut step)?;
    step.done("");
    // Where this very program was built.
    let beside = std::env::current_exe().context("finding this program")?;
    Ok(beside.with_file_name(LOAD))
}

fn run_on(
    cluster: &dyn Cluster,
    keep: bool,
    logs: &Path,
    tests: impl FnOnce(&[(String, OsString)]) -> Result<Report>,
) -> Result<Tally> {
    fs::create_dir_all(logs).with_context(|| format!("making {}", logs.display()))?;
    let down = Down { cluster, keep };
    let outcome = cluster.up().and_then(|mut environment| {
        environment.push((LOGS_VARIABLE.to_owned(), logs.into()));
        tests(&environment)
    });
    let good = outcome
        .as_ref()
        .is_ok_and(|report| report.failures.is_empty());
    if good {
        fs::remove_dir_all(logs).with_context(|| format!("removing {}", logs.display()))?;
    } else {
        interrupt::shielded(|| keep_logs(cluster, logs, outcome.as_ref().ok()));
    }
    drop(down);
    Ok(outcome?.tally())
}

/// Takes the cluster down however the tests end, Ctrl-C and a panic included.
struct Down<'a> {
    cluster: &'a dyn Cluster,
    keep: bool,
}

impl Drop for Down<'_> {
    fn drop(&mut self) {
        if self.keep {
            println!(
                "the cluster stays up as asked: `cargo xtask cluster down --name test` ends it"
            );
        } else if let Err(error) = interrupt::shielded(|| self.cluster.down()) {
            println!("error: the cluster could not be taken down: {error:#}");
        }
    }
}

fn keep_logs(cluster: &dyn Cluster, logs: &Path, report: Option<&Report>) {
    if let Err(error) = cluster.copy_logs(&logs.join("cluster")) {
        println!("the cluster's logs could not be kept: {error:#}");
    }
    for failure in report.into_iter().flat_map(|report| &report.failures) {
        let path = logs.join(format!("{}.log", file_name(&failure.name)));
        match fs::write(&path, &failure.output) {
            Ok(()) => println!("failed: {}: see {}", failure.name, path.display()),
            Err(error) => println!("failed: {}: {error}", failure.name),
        }
    }
    println!("all logs are in {}", logs.display());
}

/// A name as a file's: `moraine-e2e::volumes attach::twice` becomes `moraine-e2e-volumes-attach-twice`.
fn file_name(name: &str) -> String {
    let words = name.split(|letter: char| !letter.is_alphanumeric() && !"-_.".contains(letter));
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join("-")
}

/// A folder of this run's own, named by the time.
fn logs_folder() -> Result<PathBuf> {
    let now = Cmd::new("date", "tell the time")
        .args(["-u", "+%Y%m%dT%H%M%SZ"])
        .read()?;
    Ok(places::repository().join("target/test-logs").join(now))
}

#[cfg(test)]
mod tests;
