//! The body of the fuzz target `requests` without a fuzzer, on the stable toolchain: over the scripts
//! that are checked in, and over random ones and random mutations of both.
//!
//! `MORAINE_FUZZ_CASES` says how many, for longer runs. What fails is printed as hexadecimal digits,
//! to be kept below `fuzz/seeds`.

use super::net::Random;
use super::storm::{Tally, run};
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::{env, fs};

/// Scripts that are run.
const CASES: u64 = 300;
/// Bytes of a random script.
const BYTES: u64 = 2500;

/// The scripts that are checked in.
fn kept() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/requests");
    let files =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    // In one order everywhere.
    paths.sort();
    assert!(!paths.is_empty(), "no scripts");
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

fn bytes(random: &mut Random, count: u64) -> Vec<u8> {
    let bytes = (0..count).map(|_| u8::try_from(random.below(256)).unwrap());
    bytes.collect()
}

/// A place in a script.
fn place(random: &mut Random, script: &[u8]) -> usize {
    usize::try_from(random.below(script.len() as u64 + 1)).unwrap()
}

/// Another script, somewhat like the one.
fn mutated(random: &mut Random, script: &[u8], other: &[u8]) -> Vec<u8> {
    let mut script = script.to_vec();
    for _ in 0..=random.below(6) {
        let at = place(random, &script);
        let end = script.len().min(at + 1 + place(random, &[0; 40]));
        match random.below(5) {
            0 => drop(script.drain(at..end)),
            1 => {
                let again = script[at..end].to_vec();
                script.splice(at..at, again);
            }
            2 => {
                let from = place(random, other);
                let until = other.len().min(from + 1 + place(random, &[0; 400]));
                script.splice(at..end, other[from..until].iter().copied());
            }
            3 => {
                let new = bytes(random, 4);
                script.splice(at..at, new);
            }
            _ => script[at..end].iter_mut().take(1).for_each(|byte| {
                *byte = u8::try_from(random.below(256)).unwrap();
            }),
        }
    }
    script
}

/// Runs a script; if it fails, says which.
fn told(script: &[u8]) -> Tally {
    catch_unwind(AssertUnwindSafe(|| run(script))).unwrap_or_else(|panic| {
        let mut digits = String::new();
        for byte in script {
            write!(digits, "{byte:02x}").unwrap();
        }
        println!("the script: {digits}");
        resume_unwind(panic)
    })
}

#[test]
fn every_script_that_is_kept_breaks_no_rule() {
    for script in kept() {
        told(&script);
    }
}

#[test]
fn any_script_breaks_no_rule() {
    let cases = env::var("MORAINE_FUZZ_CASES").map_or(CASES, |cases| {
        cases.parse().expect("MORAINE_FUZZ_CASES is a number")
    });
    let scripts = kept();
    let mut all = Tally::default();
    for case in 0..cases {
        let mut random = Random::new(case);
        let new = bytes(&mut random, BYTES);
        let nth = usize::try_from(case).unwrap() % (scripts.len() * 2);
        let script = match scripts.get(nth) {
            Some(script) => mutated(&mut random, script, &new),
            None => new,
        };
        all.add(told(&script));
    }
    let Tally {
        opened,
        written,
        read,
        copied,
        listed,
        refused,
        calls,
        synced,
        crashes,
        damaged,
    } = all;
    let often = [opened, written, read, listed, refused, calls, crashes];
    assert!(often.iter().all(|count| *count >= cases / 2), "{all:?}");
    let least = copied.min(synced).min(damaged);
    assert!(cases < CASES || least > 0, "{all:?}");
}
