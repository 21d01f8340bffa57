//! The data plane's figures: three agents, one engine, each figure against a floor or a limit, as
//! one JSON row a line.
//!
//! `cargo xtask bench data-plane` shows them as a table. Words behind `--` choose groups:
//! `cargo bench -p moraine-engine-bench --bench data-plane -- disk cpu`.

// Figures are averages of counts that are far below 2^52.
#![allow(clippy::cast_precision_loss)]

mod agents;
mod cpu;
mod disk;
mod failure;
mod fio;
mod process;
mod row;

use row::Row;
use std::path::Path;

/// Measures, and prints each row when it has it.
type Group = fn(&mut dyn FnMut(Row));

const GROUPS: &[(&str, Group)] = &[
    ("disk", disk::run),
    ("cpu", cpu::run),
    ("failure", failure::run),
    ("resync", failure::resync),
];

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    agents::build();
    for (name, run) in GROUPS {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            eprintln!("measuring {name} ...");
            run(&mut |row| println!("{}", row.to_json()));
        }
    }
}

/// A folder of cargo's, on the disk that is measured.
fn on_disk() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// The middle of some figures.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
