//! The store's figures: each against a floor or a peer of the same run, as one JSON row a line.
//!
//! `cargo xtask bench store` shows them as a table. Words behind `--` choose groups:
//! `cargo bench -p moraine-store --bench store -- cpu index`.

// Figures are averages of counts that are far below 2^52, and indexes fit every machine this runs on.
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]

mod allocation;
mod compaction;
mod cpu;
mod disk;
mod fio;
mod index;
mod reopening;
mod rig;
mod row;

use row::Row;

/// Measures, and prints each row when it has it.
type Group = fn(&mut dyn FnMut(Row));

const GROUPS: &[(&str, Group)] = &[
    ("disk", disk::run),
    ("cpu", cpu::run),
    ("allocation", allocation::run),
    ("index", index::run),
    ("reopening", reopening::run),
    ("compaction", compaction::run),
];

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    for (name, run) in GROUPS {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            eprintln!("measuring {name} ...");
            run(&mut |row| println!("{}", row.to_json()));
        }
    }
}
