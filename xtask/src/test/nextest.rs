//! Runs tests with cargo-nextest and learns from its JUnit report what became of each.
//!
//! The user sees nextest's own output; nothing here reads that text.

use super::junit::{self, Report};
use crate::places;
use crate::proc::Cmd;
use crate::tally::Tally;
use crate::tools::{self, Tool};
use anyhow::{Context, Result};
use std::fs;
use std::io::ErrorKind;

/// All tests that need no cluster.
pub(super) fn workspace(filter: Option<&str>) -> Result<Tally> {
    let report = run("ci", &["--workspace"], filter, &[])?;
    Ok(report.tally())
}

/// Runs the tests of a profile of `.config/nextest.toml`.
pub(super) fn run(
    profile: &str,
    selection: &[&str],
    filter: Option<&str>,
    environment: &[(String, String)],
) -> Result<Report> {
    let report = places::repository().join(format!("target/nextest/{profile}/junit.xml"));
    // An old report must not stand in for a run that never came so far.
    match fs::remove_file(&report) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("removing {}", report.display()));
        }
        _ => {}
    }
    let mut nextest = Cmd::new(tools::ensure(Tool::Nextest)?, "run the tests")
        .args(["nextest", "run", "--profile", profile])
        .args(["--no-input-handler", "--no-tests", "pass"])
        .args(selection)
        .args(filter)
        .dir(places::repository());
    for (name, value) in environment {
        nextest = nextest.env(name, value);
    }
    let status = nextest.show()?;
    let mut report = match fs::read_to_string(&report) {
        Ok(text) => junit::parse(&text)?,
        Err(error) if error.kind() == ErrorKind::NotFound => Report::default(),
        Err(error) => return Err(error).with_context(|| format!("reading {}", report.display())),
    };
    if !status.success() && report.failures.is_empty() {
        report.add_failure(
            "the test run itself",
            "see above; no test's result says why",
        );
    }
    Ok(report)
}
