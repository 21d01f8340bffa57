//! `cargo xtask bench ground`: is the inner loop still short?

use super::row::{Row, Target};
use crate::proc::Cmd;
use crate::progress::Step;
use crate::{interrupt, places};
use anyhow::{Context, Result};
use std::env;
use std::time::Instant;

/// One of our own commands and how long it may take.
struct Chore {
    figure: &'static str,
    args: &'static [&'static str],
    runs: usize,
    limit_s: f64,
}

const CHORES: &[Chore] = &[
    Chore {
        figure: "tidy --quick",
        args: &["tidy", "--quick"],
        runs: 5,
        limit_s: 5.0,
    },
    Chore {
        figure: "test --fast, all built",
        args: &["test", "--fast"],
        runs: 3,
        limit_s: 300.0,
    },
    Chore {
        figure: "demo, all built",
        args: &["demo"],
        runs: 3,
        limit_s: 60.0,
    },
];

/// Measures each chore; one that fails has no time.
pub(super) fn run() -> Result<Vec<Row>> {
    CHORES.iter().map(measure).collect()
}

fn measure(chore: &Chore) -> Result<Row> {
    let program = env::current_exe().context("finding this program")?;
    let mut step = Step::start(format!("{} runs of {}", chore.runs + 1, chore.figure));
    let mut times = Vec::new();
    // The first run builds and fills the page cache; it is not counted.
    for run in 0..=chore.runs {
        interrupt::check()?;
        let started = Instant::now();
        Cmd::new(&program, format!("measure {}", chore.figure))
            .args(chore.args)
            .dir(places::repository())
            .read_on(&mut step)?;
        if run > 0 {
            times.push(started.elapsed().as_secs_f64());
        }
    }
    step.done("");
    Ok(Row {
        figure: format!("{} (median of {})", chore.figure, chore.runs),
        value: median(times),
        unit: "s".to_owned(),
        against: None,
        target: Target::AtMost(chore.limit_s),
    })
}

/// The middle one; of an even number the upper of the two, which never flatters a time.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    #[expect(clippy::float_cmp, reason = "the values are copied, not computed")]
    fn the_median_is_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0]), 4.0);
        assert!(median(Vec::new()).is_nan());
    }
}
