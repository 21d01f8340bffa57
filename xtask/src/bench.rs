//! `cargo xtask bench NAME`: a table of figures, each with what it is held against, and `ok` or `SHORT`.
//!
//! ```text
//! a function here, or `cargo bench` of a crate that prints rows as JSON lines ─> rows ─> table, JSON file, exit code
//! ```
//!
//! A crate offers a benchmark by a target `[[bench]] name = "NAME", harness = false` that prints one [`Row`] per line;
//! xtask never depends on what it measures. Floors and peers are measured in the same run, since figures of another
//! day or machine say nothing. Tests never assert times: this is the place that does.

mod ground;
mod machine;
mod row;
mod table;

use crate::apt;
use crate::packages::Package;
use crate::places;
use crate::proc::Cmd;
use crate::progress::Step;
use anyhow::{Context, Result, bail};
use machine::Machine;
use row::{Judged, Row};
use serde::Serialize;
use std::fs;
use std::path::PathBuf;

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Which benchmark; without a name they are listed
    name: Option<String>,
    /// Keep the rows and what they were measured on
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Measures, and returns what it found.
type Measure = fn() -> Result<Vec<Row>>;

/// The benchmarks of the project's own chores.
const OURS: &[(&str, Measure)] = &[("ground", ground::run)];

/// Debian packages that a crate's benchmark runs as floor or peer.
const PACKAGES: &[(&str, &[&str])] = &[("data-plane", &["fio"]), ("store", &["fio"])];

/// A finished benchmark, as `--json` keeps it.
#[derive(Serialize)]
struct Outcome<'a> {
    bench: &'a str,
    machine: &'a Machine,
    rows: &'a [Judged],
}

/// Runs one benchmark; false when a row is short of its target.
pub(crate) fn run(options: &Options) -> Result<bool> {
    let Some(name) = options.name.as_deref() else {
        let names = names()?;
        println!("{}", names.join("\n"));
        return Ok(true);
    };
    let rows = match OURS.iter().find(|(ours, _)| *ours == name) {
        Some((_, measure)) => measure()?,
        None => measure_crate(name)?,
    };
    if rows.is_empty() {
        bail!("the benchmark {name} measured nothing");
    }
    let rows: Vec<Judged> = rows.into_iter().map(Row::judge).collect::<Result<_>>()?;
    let machine = Machine::look()?;
    println!("{}", table::render(&rows));
    println!("{machine}");
    if let Some(path) = &options.json {
        let outcome = Outcome {
            bench: name,
            machine: &machine,
            rows: &rows,
        };
        let json = serde_json::to_string_pretty(&outcome)?;
        fs::write(path, json + "\n").with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(rows.iter().all(Judged::is_ok))
}

/// Every benchmark there is.
fn names() -> Result<Vec<String>> {
    let mut names: Vec<String> = OURS.iter().map(|(name, _)| (*name).to_owned()).collect();
    for package in Package::list(&places::repository())? {
        names.extend(package.benches().map(ToOwned::to_owned));
    }
    Ok(names)
}

/// Runs the target of this name in whichever crate has it.
fn measure_crate(name: &str) -> Result<Vec<Row>> {
    let packages = Package::list(&places::repository())?;
    let has = |package: &&Package| package.benches().any(|bench| bench == name);
    let Some(package) = packages.iter().find(has) else {
        let names = names()?.join(", ");
        bail!("there is no benchmark {name}; there are: {names}");
    };
    if let Some((_, needed)) = PACKAGES.iter().find(|(bench, _)| *bench == name) {
        apt::ensure(needed)?;
    }
    let mut step = Step::start(format!("measuring {name}"));
    let printed = Cmd::new("cargo", format!("measure {name}"))
        .args(["bench", "--quiet", "--package", &package.name])
        .args(["--bench", name])
        .dir(places::repository())
        .read_on(&mut step)?;
    step.done("");
    rows_of(&printed)
}

fn rows_of(printed: &str) -> Result<Vec<Row>> {
    let lines = printed.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| serde_json::from_str(line).with_context(|| format!("not a row: {line}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_prints_a_row_per_line() {
        let printed = "{\"figure\":\"write\",\"value\":2,\"unit\":\"MB/s\",\"against\":{\"name\":\"dd\",\"value\":4},\
                       \"target\":{\"ratio_at_least\":0.8}}\n\n\
                       {\"figure\":\"open\",\"value\":0.5,\"unit\":\"s\",\"target\":{\"at_most\":1}}\n";
        let rows = rows_of(printed).unwrap();
        let judged: Vec<Judged> = rows.into_iter().map(|row| row.judge().unwrap()).collect();
        assert_eq!(
            judged.iter().map(Judged::is_ok).collect::<Vec<_>>(),
            [false, true]
        );
        assert!(rows_of("running 1 test\n").is_err());
        assert!(rows_of("{\"figure\":\"write\",\"value\":2,\"unit\":\"s\"}\n").is_err());
    }
}
