//! Runs the examples in the documentation, which nextest can't.

use crate::proc::Cmd;
use crate::progress::Step;
use crate::tally::Tally;
use crate::{interrupt, places};
use anyhow::{Context, Result, bail};
use std::fs;

/// Runs the examples of every library.
pub(super) fn run(filter: Option<&str>) -> Result<Tally> {
    let log = places::repository().join("target/doctests.log");
    let mut step = Step::start("examples in the documentation");
    let outcome = Cmd::new("cargo", "run the examples in the documentation")
        .args(["test", "--workspace", "--doc", "--no-fail-fast"])
        .args(filter.map(|filter| ["--", filter]).into_iter().flatten())
        .dir(places::repository())
        .run_logged(&log, &mut step);
    interrupt::check()?;
    let text = fs::read_to_string(&log).with_context(|| format!("reading {}", log.display()))?;
    let tally = count(&text);
    match outcome {
        Ok(()) => step.done(""),
        Err(error) if tally.failed == 0 => return Err(error),
        Err(_) => {
            drop(step);
            println!("{text}");
        }
    }
    if tally.failed == 0 && !text.contains("test result: ") {
        bail!("cargo test reported no result: see {}", log.display());
    }
    Ok(tally)
}

/// Adds up the lines `test result: ok. 3 passed; 0 failed; ...`, one per crate.
fn count(text: &str) -> Tally {
    let mut tally = Tally::default();
    for line in text
        .lines()
        .filter_map(|line| line.strip_prefix("test result: "))
    {
        tally.passed += number_before(line, " passed");
        tally.failed += number_before(line, " failed");
    }
    tally
}

fn number_before(line: &str, word: &str) -> usize {
    let before = line.split(word).next().unwrap_or_default();
    let digits = before.rsplit(' ').next().unwrap_or_default();
    digits.parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_crates_are_added() {
        let text = "   Doc-tests a\n\nrunning 3 tests\ntest result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; \
                    0 filtered out; finished in 0.10s\n\ntest result: FAILED. 11 passed; 2 failed; 0 ignored\n";
        assert_eq!(
            count(text),
            Tally {
                passed: 14,
                failed: 2
            }
        );
        assert_eq!(count("error: could not compile"), Tally::default());
    }
}
