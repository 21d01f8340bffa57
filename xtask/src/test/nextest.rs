//! Runs tests with cargo-nextest and learns from its `JUnit` report what became of each.
//!
//! The user sees nextest's own output; nothing here reads that text.

use super::junit::{self, Report};
use crate::places;
use crate::proc::Cmd;
use crate::progress::Step;
use crate::tally::Tally;
use crate::tools::{self, Tool};
use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;

/// All tests that need no cluster.
pub(super) fn workspace(filter: Option<&str>) -> Result<Tally> {
    let report = run("ci", &["--workspace"], filter, &[])?;
    Ok(report.tally())
}

/// Builds the tests and counts those that a run would run.
pub(super) fn count(profile: &str, selection: &[&str], filter: Option<&str>) -> Result<usize> {
    let mut step = Step::start("building the tests");
    let json = Cmd::new(tools::ensure(Tool::Nextest)?, "list the tests")
        .args(["nextest", "list", "--profile", profile])
        .args(["--message-format", "json"])
        .args(selection)
        .args(filter)
        .dir(places::repository())
        .read_on(&mut step)?;
    step.done("");
    let list: List = serde_json::from_str(&json).context("reading the list of tests")?;
    Ok(list.matching())
}

/// What `nextest list` prints.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct List {
    rust_suites: BTreeMap<String, Suite>,
}

#[derive(Deserialize)]
struct Suite {
    testcases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Case {
    filter_match: Match,
}

#[derive(Deserialize)]
struct Match {
    status: String,
}

impl List {
    fn matching(&self) -> usize {
        let cases = self
            .rust_suites
            .values()
            .flat_map(|suite| suite.testcases.values());
        cases
            .filter(|case| case.filter_match.status == "matches")
            .count()
    }
}

/// Runs the tests of a profile of `.config/nextest.toml`.
pub(super) fn run(
    profile: &str,
    selection: &[&str],
    filter: Option<&str>,
    environment: &[(String, OsString)],
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

#[cfg(test)]
mod tests {
    use super::List;

    #[test]
    fn only_tests_that_match_count() {
        let json = r#"{"test-count": 3, "rust-suites": {
            "moraine-e2e::volumes": {"package-name": "moraine-e2e", "testcases": {
                "attach": {"kind": "test", "ignored": false, "filter-match": {"status": "matches"}},
                "detach": {"filter-match": {"status": "mismatch", "reason": "string"}}}},
            "moraine-e2e::empty": {"testcases": {}}}}"#;
        let list: List = serde_json::from_str(json).unwrap();
        assert_eq!(list.matching(), 1);
    }
}
