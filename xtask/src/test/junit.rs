//! Reads a `JUnit` report: which tests passed, which failed, and what the failed ones printed.

use crate::tally::Tally;
use anyhow::{Context, Result};
use roxmltree::{Document, Node};

/// What became of the tests of one run.
#[derive(Debug, Default)]
pub(super) struct Report {
    passed: usize,
    pub(super) failures: Vec<Failure>,
}

/// A test that failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// Binary and test.
    pub(super) name: String,
    pub(super) output: String,
}

impl Report {
    /// Counts a failure that is no test's.
    pub(super) fn add_failure(&mut self, name: &str, output: &str) {
        self.failures.push(Failure {
            name: name.to_owned(),
            output: output.to_owned(),
        });
    }

    /// The counts.
    pub(super) fn tally(&self) -> Tally {
        Tally {
            passed: self.passed,
            failed: self.failures.len(),
        }
    }
}

/// Parses a report.
pub(super) fn parse(text: &str) -> Result<Report> {
    let document = Document::parse(text).context("parsing the JUnit report")?;
    let mut report = Report::default();
    for case in elements(document.root(), "testcase") {
        if case.children().any(|child| child.has_tag_name("skipped")) {
            continue;
        }
        let failed =
            |node: &Node<'_, '_>| node.has_tag_name("failure") || node.has_tag_name("error");
        match case.children().find(failed) {
            None => report.passed += 1,
            Some(failure) => {
                let part = |name| case.attribute(name).unwrap_or_default();
                let name = format!("{} {}", part("classname"), part("name"));
                report.add_failure(name.trim(), &output(case, failure));
            }
        }
    }
    Ok(report)
}

fn elements<'a>(root: Node<'a, 'a>, name: &'static str) -> impl Iterator<Item = Node<'a, 'a>> {
    root.descendants()
        .filter(move |node| node.has_tag_name(name))
}

fn output(case: Node<'_, '_>, failure: Node<'_, '_>) -> String {
    let mut text = String::new();
    for part in ["type", "message"] {
        text.extend(failure.attribute(part).map(|value| format!("{value}\n")));
    }
    for stream in ["system-out", "system-err"] {
        let streams = case.children().filter(|child| child.has_tag_name(stream));
        for node in streams {
            let printed = node.text().unwrap_or_default();
            text.extend(["--- ", stream, "\n", printed, "\n"]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="4" failures="1" errors="1">
  <testsuite name="moraine-store" tests="4" disabled="0" errors="1" failures="1">
    <testcase name="passes" classname="moraine-store" time="0.005"/>
    <testcase name="hangs" classname="moraine-store" time="120.0">
      <failure type="test timeout" message="timed out"/>
      <system-out>reading 2 &lt; 3</system-out>
    </testcase>
    <testcase name="will_not_start" classname="moraine-store"><error type="execution failure"/></testcase>
    <testcase name="left_out" classname="moraine-store"><skipped/></testcase>
    <testcase name="at_second_try" classname="moraine-store"><flakyFailure type="test failure"/></testcase>
  </testsuite>
</testsuites>"#;

    #[test]
    fn counts_and_names_what_failed() {
        let report = parse(REPORT).unwrap();
        assert_eq!(
            report.tally(),
            Tally {
                passed: 2,
                failed: 2
            }
        );
        assert_eq!(report.failures[0].name, "moraine-store hangs");
        assert!(report.failures[0].output.contains("test timeout"));
        assert!(report.failures[0].output.contains("reading 2 < 3"));
        assert_eq!(report.failures[1].name, "moraine-store will_not_start");
    }

    #[test]
    fn a_broken_report_is_an_error() {
        assert!(parse("<testsuites>").is_err());
    }
}
