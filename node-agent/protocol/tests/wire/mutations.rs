//! The fuzz targets' bodies without a fuzzer, on the stable toolchain: over the inputs that are
//! checked in, and over random mutations of them and of the golden frames.
//!
//! `MORAINE_FUZZ_CASES` says how many mutations each decoder gets, for longer runs. What fails is
//! printed as a list of bytes, to be kept below `fuzz/seeds`.

use super::bodies::BODIES;
use super::golden::{VERSION_1, frames};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};
use std::path::Path;
use std::{env, fs};

/// Mutations of each decoder's inputs.
const CASES: u32 = 2_000;

/// Numbers that are on the edge of something.
const EDGES: [u64; 14] = [
    0,
    1,
    2,
    255,
    256,
    257,
    1023,
    1024,
    4096,
    u16::MAX as u64,
    1 << 20,
    u32::MAX as u64,
    1 << 62,
    u64::MAX,
];

/// A change of an input.
#[derive(Debug, Clone)]
enum Change {
    Bit(Index, u8),
    Byte(Index, u8),
    Cut(Index),
    /// A field of so many bytes becomes a number.
    Field(Index, u64, usize),
    /// A byte grows or shrinks a little.
    Near(Index, u8),
    /// Some bytes come twice.
    Again(Index, usize),
    /// Some bytes are those of another input.
    Other(Index, usize, Vec<u8>),
}

impl Change {
    fn make(&self, input: &mut Vec<u8>) {
        if input.is_empty() {
            input.push(0);
        }
        let length = input.len();
        match self {
            Self::Bit(at, bit) => input[at.index(length)] ^= 1 << bit,
            Self::Byte(at, byte) => input[at.index(length)] = *byte,
            Self::Cut(at) => input.truncate(at.index(length)),
            Self::Field(at, number, bytes) => {
                let at = at.index(length);
                let count = (*bytes).min(length - at);
                input[at..at + count].copy_from_slice(&number.to_le_bytes()[..count]);
            }
            Self::Near(at, by) => {
                let byte = &mut input[at.index(length)];
                *byte = byte.wrapping_add(*by);
            }
            Self::Again(at, bytes) => {
                let at = at.index(length);
                let again = input[at..length.min(at + bytes)].to_vec();
                input.splice(at..at, again);
            }
            Self::Other(at, bytes, other) => {
                let from = at.index(length).min(other.len());
                let end = length.min(other.len()).min(from + bytes).max(from);
                input[from..end].copy_from_slice(&other[from..end]);
            }
        }
    }
}

fn change(inputs: Vec<Vec<u8>>) -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    let width = select(Vec::from([1, 2, 4, 8]));
    let near = select(Vec::from([1, 2, 254, 255]));
    prop_oneof![
        (at(), 0..8_u8).prop_map(|(at, bit)| Change::Bit(at, bit)),
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        at().prop_map(Change::Cut),
        (at(), select(EDGES.to_vec()), width)
            .prop_map(|(at, number, width)| Change::Field(at, number, width)),
        (at(), near).prop_map(|(at, by)| Change::Near(at, by)),
        (at(), 1..96_usize).prop_map(|(at, bytes)| Change::Again(at, bytes)),
        (at(), 1..64_usize, select(inputs))
            .prop_map(|(at, bytes, other)| Change::Other(at, bytes, other)),
    ]
}

/// The inputs of a target that are checked in.
fn kept(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(target);
    let files =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    // In one order everywhere.
    paths.sort();
    assert!(!paths.is_empty(), "{target} has no inputs");
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn every_input_that_is_kept_is_decoded_or_refused() {
    for (target, body) in BODIES {
        for (number, input) in kept(target).iter().enumerate() {
            println!("{target}, input {number}");
            body(input);
        }
    }
}

#[test]
fn no_mutation_of_a_frame_makes_its_decoder_panic_or_lie() {
    let cases = env::var("MORAINE_FUZZ_CASES").map_or(CASES, |cases| {
        cases.parse().expect("MORAINE_FUZZ_CASES is a number")
    });
    for (target, body) in BODIES {
        let mut inputs = kept(target);
        inputs.extend(frames(VERSION_1).into_values());
        let changes = vec(change(inputs.clone()), 1..5);
        let mutated = (select(inputs), changes).prop_map(|(mut input, changes)| {
            for change in &changes {
                change.make(&mut input);
            }
            input
        });
        let mut runner = TestRunner::new(Config {
            cases,
            failure_persistence: None,
            ..Config::default()
        });
        let outcome = runner.run(&mutated, |input| {
            body(&input);
            Ok(())
        });
        assert!(outcome.is_ok(), "target {target}: {}", outcome.unwrap_err());
    }
}
