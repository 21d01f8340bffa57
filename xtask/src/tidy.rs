//! `cargo xtask tidy`: what no compiler checks, and the compilers' own checks after it.
//!
//! ```text
//! git ls-files, cargo metadata ─> Tree ─> rules, one file each ─> findings ─> file:line: what, and what to do
//!                                 programs (fmt, clippy, deny, doc) ─────┘
//! ```
//!
//! A rule is a pure function of the [`Tree`], so each is tested on small inputs that break it. Nothing here changes
//! a file: a finding says what its author should do.

mod dependencies;
mod exceptions;
mod generated;
mod leftovers;
mod lengths;
mod links;
mod modules;
mod programs;
mod purity;
mod shape;
mod syntax;
mod text;
mod tree;
mod unsafety;
mod versions;

use crate::places;
use crate::tally::Tally;
use anyhow::{Context, Result};
use std::fmt;
use std::time::Instant;
use tree::Tree;

/// Something that is wrong, and what to do about it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    /// 0 when it is about the file as a whole.
    line: usize,
    text: String,
}

impl Finding {
    fn new(path: impl Into<String>, line: usize, text: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            line,
            text: text.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(out, "{}: {}", self.path, self.text),
            line => write!(out, "{}:{line}: {}", self.path, self.text),
        }
    }
}

/// What became of a rule that ran to its end.
enum Verdict {
    Checked(Vec<Finding>),
    /// It could not be checked here, and why.
    Skipped(String),
}

/// One thing that is checked.
struct Rule {
    name: &'static str,
    check: fn(&Tree) -> Result<Verdict>,
}

/// The rules over the text alone: a second or two in all.
const QUICK: &[Rule] = &[
    rule("dependencies between crates", |tree| {
        found(dependencies::check(tree))
    }),
    rule("versions and reasons of dependencies", |tree| {
        found(versions::check(tree)?)
    }),
    rule("unsafe code", |tree| found(unsafety::check(tree))),
    rule("dead files", |tree| found(modules::check(tree))),
    rule("lengths of files and functions", |tree| {
        found(lengths::check(tree)?)
    }),
    rule("shape of source files", |tree| found(shape::check(tree))),
    rule("no clock, thread or randomness in the cores", |tree| {
        found(purity::check(tree))
    }),
    rule("leftovers and traces of a workplace", |tree| {
        found(leftovers::check(tree))
    }),
    rule("links between documents", |tree| found(links::check(tree))),
    rule("text hygiene", |tree| found(text::check(tree))),
];

/// The rules that run programs.
const SLOW: &[Rule] = &[
    rule("generated files", generated::check),
    rule("cargo fmt", programs::fmt),
    rule("cargo clippy", programs::clippy),
    rule("cargo doc", programs::doc),
    rule("cargo deny", programs::deny),
    rule("cargo deny advisories", programs::advisories),
];

const fn rule(name: &'static str, check: fn(&Tree) -> Result<Verdict>) -> Rule {
    Rule { name, check }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the shape of every rule's function"
)]
fn found(findings: Vec<Finding>) -> Result<Verdict> {
    Ok(Verdict::Checked(findings))
}

/// Checks everything, or with `quick` the rules over the text alone; prints findings and a summary.
pub(crate) fn run(quick: bool) -> Result<Tally> {
    let started = Instant::now();
    let tree = Tree::read(&places::repository())?;
    let mut tally = Tally::default();
    let mut findings = 0;
    let slow = if quick { &[] } else { SLOW };
    for rule in QUICK.iter().chain(slow) {
        match (rule.check)(&tree).with_context(|| format!("checking {}", rule.name))? {
            Verdict::Checked(mut list) => {
                list.sort();
                for finding in &list {
                    println!("{finding}");
                }
                findings += list.len();
                tally.add(list.is_empty());
            }
            Verdict::Skipped(why) => println!("{} not checked: {why}", rule.name),
        }
    }
    println!(
        "tidy: {} rules over {} files: {findings} findings ({:.1} s)",
        tally.passed + tally.failed,
        tree.files.len(),
        started.elapsed().as_secs_f64(),
    );
    Ok(tally)
}
