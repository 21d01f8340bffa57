//! The fuzz targets' bodies without a fuzzer, on the stable toolchain: over the inputs that are
//! checked in, and over seeded mutations of valid structures.
//!
//! `MORAINE_FUZZ_CASES` says how many mutations each decoder gets, for longer runs. What fails is
//! printed as hexadecimal digits, to be kept below `fuzz/seeds`.

use super::decoders::{BODIES, Body};
use super::image::{NEWEST, unpack};
use super::patches::open_patched;
use super::seeds::{OPEN, seeds};
use moraine_store::format::NUMBER_MAX;
use std::path::Path;
use std::{env, fs, thread};

/// Mutations of each decoder's inputs; a whole disk gets one for each hundred of these.
const CASES: u64 = 20_000;
const CASES_PER_DISK: u64 = 100;

fn targets() -> impl Iterator<Item = (&'static str, Body)> {
    BODIES.into_iter().chain([(OPEN, open_patched as Body)])
}

/// Numbers that are on the edge of something.
const EDGES: [u64; 14] = [
    0,
    1,
    2,
    4,
    63,
    64,
    1023,
    1024,
    u16::MAX as u64,
    u32::MAX as u64,
    NUMBER_MAX,
    NUMBER_MAX + 1,
    u64::MAX - 1,
    u64::MAX,
];

/// A row of numbers that a seed fixes (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not zero.
    fn below(&mut self, end: usize) -> usize {
        let number = self.next() % u64::try_from(end).unwrap_or(u64::MAX);
        usize::try_from(number).unwrap_or(0)
    }
}

/// Changes an input a little; `other` is another valid one.
fn mutate(input: &mut Vec<u8>, other: &[u8], numbers: &mut Numbers) {
    if input.is_empty() {
        input.push(0);
    }
    let at = numbers.below(input.len());
    match numbers.below(8) {
        0 => input[at] ^= 1 << numbers.below(8),
        1 => input[at] = numbers.next().to_le_bytes()[0],
        2 => input.truncate(at),
        // A field: most begin at a multiple of four.
        3 | 4 => {
            let at = at / 4 * 4;
            let edge = EDGES[numbers.below(EDGES.len())].to_le_bytes();
            let count = [1, 2, 4, 8][numbers.below(4)].min(input.len() - at);
            input[at..at + count].copy_from_slice(&edge[..count]);
        }
        // A field with a number near the one it has.
        5 => {
            let change = u8::try_from(numbers.below(5)).unwrap_or(0).wrapping_sub(2);
            input[at] = input[at].wrapping_add(change);
        }
        6 => {
            let end = other.len().min(input.len());
            let (from, count) = (at.min(end), numbers.below(64).min(end - at.min(end)));
            input[from..from + count].copy_from_slice(&other[from..from + count]);
        }
        _ => {
            let count = numbers.below(96).min(input.len() - at);
            let again = input[at..at + count].to_vec();
            input.splice(at..at, again);
        }
    }
}

/// Prints the input of a case if its body panics.
struct Shown<'a>(&'a str, u64, &'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprint!("target {}, case {}, input ", self.0, self.1);
            for byte in self.2 {
                eprint!("{byte:02x}");
            }
            eprintln!();
        }
    }
}

fn run_mutations(target: &str, body: Body, cases: u64) {
    let seeds = seeds(target, &unpack(NEWEST));
    assert!(!seeds.is_empty(), "{target} has nothing to start from");
    for case in 0..cases {
        let mut numbers = Numbers(case);
        let mut input = seeds[numbers.below(seeds.len())].clone();
        for _ in 0..=numbers.below(4) {
            let other = &seeds[numbers.below(seeds.len())];
            mutate(&mut input, other, &mut numbers);
        }
        let _shown = Shown(target, case, &input);
        body(&input);
    }
}

fn cases() -> u64 {
    env::var("MORAINE_FUZZ_CASES").map_or(CASES, |cases| {
        cases.parse().expect("MORAINE_FUZZ_CASES is a number")
    })
}

#[test]
fn no_mutation_of_a_structure_makes_its_decoder_panic_or_lie() {
    for (target, body) in BODIES {
        run_mutations(target, body, cases());
    }
}

/// Rows of random patches, most of them on structures and with right checksums.
#[test]
fn no_mutation_of_a_disk_makes_the_store_panic_hang_or_lie() {
    for case in 0..cases().div_ceil(CASES_PER_DISK) {
        let mut numbers = Numbers(case);
        let mut input = Vec::new();
        for _ in 0..=numbers.below(4) {
            let kind = [0, 1, 2, 3, 4, 4][numbers.below(6)];
            let any_block = if numbers.below(5) == 0 { 0x10 } else { 0 };
            let leave = if numbers.below(8) == 0 { 0x20 } else { 0 };
            input.push(kind | any_block | leave);
            input.extend(&numbers.next().to_le_bytes()[..2]);
            let offset = u16::try_from(numbers.below(256) / 4 * 4).unwrap_or(0);
            input.extend(offset.to_le_bytes());
            let count = [1, 2, 4, 8][numbers.below(4)];
            let edge = EDGES[numbers.below(EDGES.len())];
            let value = if numbers.below(2) == 0 {
                edge
            } else {
                numbers.next()
            };
            match kind {
                0 | 1 => {
                    input.push(count - 1);
                    input.extend(&value.to_le_bytes()[..usize::from(count)]);
                }
                2 => input.extend(&numbers.next().to_le_bytes()[..2]),
                4 => input.extend(&numbers.next().to_le_bytes()[..4]),
                _ => {}
            }
        }
        let _shown = Shown(OPEN, case, &input);
        open_patched(&input);
    }
}

#[test]
fn every_input_that_is_kept_is_decoded_or_refused() {
    for (target, body) in targets() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz/seeds")
            .join(target);
        let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
        let mut count = 0;
        for file in files {
            let path = file.unwrap().path();
            println!("{}", path.display());
            body(&fs::read(&path).unwrap());
            count += 1;
        }
        assert!(count > 0, "{target} has no inputs");
    }
}
