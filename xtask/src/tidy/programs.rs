//! The checks that other programs make: rustfmt, clippy, rustdoc and cargo-deny.
//!
//! Their findings are printed in tidy's form where they name a file and line, else as they come.

use super::tree::Tree;
use super::{Finding, Verdict};
use crate::proc::Cmd;
use crate::progress::Step;
use crate::tools::{self, Tool};
use crate::{interrupt, places};
use anyhow::{Context, Result};
use std::fs;
use std::time::Duration;

/// Where the advisories are kept; only asked whether it can be reached.
const ADVISORIES: &str = "https://github.com/RustSec/advisory-db";

/// Formatting.
pub(super) fn fmt(_: &Tree) -> Result<Verdict> {
    let cargo = Cmd::new("cargo", "check the format").args(["fmt", "--all", "--", "--check", "-l"]);
    run("cargo fmt", "fmt", cargo, |line| {
        let path = line.trim().strip_suffix(".rs")?;
        Some(Finding::new(
            relative(&format!("{path}.rs")),
            0,
            "run `cargo fmt`",
        ))
    })
}

/// Lints, all targets and features.
pub(super) fn clippy(_: &Tree) -> Result<Verdict> {
    let cargo = Cmd::new("cargo", "run clippy")
        .args(["clippy", "--workspace", "--all-targets", "--all-features"])
        .args(["--message-format", "short", "--", "-D", "warnings"]);
    run("cargo clippy", "clippy", cargo, compiler_line)
}

/// Links and examples in the documentation.
pub(super) fn doc(_: &Tree) -> Result<Verdict> {
    let cargo = Cmd::new("cargo", "build the documentation")
        .env("RUSTDOCFLAGS", "-D warnings")
        .args([
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
        ])
        .args(["--message-format", "short"]);
    run("cargo doc", "doc", cargo, compiler_line)
}

/// What we depend on: versions, wrappers, licences and sources.
pub(super) fn deny(_: &Tree) -> Result<Verdict> {
    let program = tools::ensure(Tool::Deny)?;
    let deny = Cmd::new(program, "check the dependencies").args([
        "--color",
        "never",
        "--log-level",
        "error",
        "check",
        "bans",
        "licenses",
        "sources",
    ]);
    run("cargo deny", "deny", deny, |_| None)
}

/// Known holes in what we depend on; needs the database, which is a git repository.
pub(super) fn advisories(_: &Tree) -> Result<Verdict> {
    let reached = Cmd::new("git", "reach the advisories")
        .args(["ls-remote", "--quiet", ADVISORIES, "HEAD"])
        .env("GIT_TERMINAL_PROMPT", "0")
        .limit(Duration::from_secs(15))
        .run();
    interrupt::check()?;
    if reached.is_err() {
        return Ok(Verdict::Skipped(format!("{ADVISORIES} can't be reached")));
    }
    let program = tools::ensure(Tool::Deny)?;
    let deny = Cmd::new(program, "check the advisories").args([
        "--color",
        "never",
        "--log-level",
        "error",
        "check",
        "advisories",
    ]);
    run("cargo deny advisories", "advisories", deny, |_| None)
}

/// Runs a program and reads its findings line by line; output that has none is shown as it is.
fn run(
    name: &str,
    log: &str,
    program: Cmd,
    read: impl Fn(&str) -> Option<Finding>,
) -> Result<Verdict> {
    let log = places::repository().join(format!("target/tidy/{log}.log"));
    let mut step = Step::start(name);
    let outcome = program
        .dir(places::repository())
        .run_logged(&log, &mut step);
    interrupt::check()?;
    let Err(error) = outcome else {
        step.done("");
        return Ok(Verdict::Checked(Vec::new()));
    };
    drop(step);
    let text = fs::read(&log).with_context(|| format!("{error:#}"))?;
    let text = String::from_utf8_lossy(&text);
    let mut findings: Vec<Finding> = text.lines().filter_map(read).collect();
    findings.sort();
    findings.dedup();
    if findings.is_empty() {
        println!("{}", from_first_error(&text));
        findings.push(Finding::new(name, 0, "mend what it says above"));
    }
    Ok(Verdict::Checked(findings))
}

/// Without what a program says before anything goes wrong.
fn from_first_error(text: &str) -> &str {
    let start = if text.starts_with("error") {
        Some(0)
    } else {
        text.find("\nerror").map(|at| at + 1)
    };
    &text[start.unwrap_or_default()..]
}

/// `path:line:column: level: message`, as the compiler's short form has it.
fn compiler_line(line: &str) -> Option<Finding> {
    let (path, rest) = line.split_once(".rs:")?;
    let (number, rest) = rest.split_once(':')?;
    let (_column, message) = rest.split_once(": ")?;
    let path = relative(&format!("{path}.rs"));
    Some(Finding::new(path, number.parse().ok()?, message))
}

fn relative(path: &str) -> String {
    let top = format!("{}/", places::repository().display());
    path.strip_prefix(&top).unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compilers_lines_become_findings() {
        let line = "xtask/src/a.rs:3:5: warning: unused variable: `b`: help: prefix it";
        let found = compiler_line(line).unwrap().to_string();
        assert_eq!(
            found,
            "xtask/src/a.rs:3: warning: unused variable: `b`: help: prefix it"
        );
        assert_eq!(
            compiler_line("error: could not compile `xtask` (bin)"),
            None
        );
    }

    #[test]
    fn what_goes_before_the_first_error_is_left_out() {
        let text = "   Compiling a\nerror: b\n  c\n";
        assert_eq!(from_first_error(text), "error: b\n  c\n");
        assert_eq!(from_first_error("error: b\n"), "error: b\n");
        assert_eq!(from_first_error("odd\n"), "odd\n");
    }

    #[test]
    fn a_program_that_fails_without_findings_is_a_finding() {
        let program = Cmd::new("sh", "fail").args(["-c", "echo odd; exit 1"]);
        let verdict = run("sh", "test-sh", program, compiler_line).unwrap();
        assert!(matches!(verdict, Verdict::Checked(found) if found.len() == 1));
        let program = Cmd::new("sh", "pass").args(["-c", "echo fine"]);
        let verdict = run("sh", "test-sh-fine", program, compiler_line).unwrap();
        assert!(matches!(verdict, Verdict::Checked(found) if found.is_empty()));
    }
}
