//! A process with a store on a real file is killed in a loop, at any moment, its recovery included.
//! After each kill all that it had answered must be there, and the rest whole or absent.
//!
//! What a power cut leaves is the recording disk's subject: here the kernel lives on, so that this
//! is about the store, the ring and the file together.

// The helpers of tests are outside the functions that clippy takes for tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod child;
mod ledger;
mod load;

use ledger::Ledger;
use load::Number;
use moraine_store::disk::{Allocation, create_file};
use moraine_store::format;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Kills of one test; `MORAINE_STORE_KILLS=500` makes a long one.
fn rounds() -> u64 {
    let rounds = std::env::var("MORAINE_STORE_KILLS").ok();
    rounds.map_or(20, |rounds| rounds.parse().expect("a number of kills"))
}

/// What a child said before it was killed.
struct Said {
    /// How its disk is asked, once it had recovered.
    ready: Option<String>,
    answered: Vec<Number>,
}

/// Starts a child that goes on with the load at `first`, and kills it after a while.
fn kill_one(path: &Path, first: Number, after: Duration) -> Said {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", child::NAME, "--ignored", "--nocapture"])
        .env(child::PATH, path)
        .env(child::FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    // Reads until the pipe breaks; the last line may be cut off, and then it was not said.
    let reader = std::thread::spawn(move || {
        let mut said = Said {
            ready: None,
            answered: Vec::new(),
        };
        for line in output.split(b'\n') {
            let line = String::from_utf8(line.unwrap()).unwrap();
            if let Some(number) = line.strip_prefix("answered ") {
                said.answered.extend(
                    number
                        .strip_suffix('.')
                        .map(|n| n.parse::<Number>().unwrap()),
                );
            } else if let Some(how) = line.strip_prefix("ready ") {
                said.ready = Some(how.to_owned());
            }
        }
        said
    });
    std::thread::sleep(after);
    assert_eq!(child.try_wait().unwrap(), None, "the child ended by itself");
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

#[test]
fn whatever_moment_a_process_is_killed_at_its_answers_hold() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("disk");
    create_file(&path, load::DISK_BYTES, Allocation::Reserved).unwrap();
    format(&mut load::open(&path).disk, &load::format_options()).unwrap();
    let mut ledger = Ledger::default();
    let mut first = 1;
    let (mut ready, mut verified) = (0, 0);
    let mut how = None;
    for round in 0..rounds() {
        let after = Duration::from_millis(20 + load::mix(round) % 500);
        let said = kill_one(&path, first, after);
        ready += u64::from(said.ready.is_some());
        how = said.ready.or(how);
        first = ledger.killed(first, &said.answered);
        // Every third time the next child recovers from what the kill left.
        if round % 3 != 2 {
            ledger.verify(&path);
            verified += 1;
        }
    }
    ledger.verify(&path);
    let how = how.expect("some child recovered");
    println!(
        "{} kills, {verified} verified, {} answered; {how}",
        rounds(),
        ledger.answered()
    );
    assert!(
        ready > rounds() / 2,
        "only {ready} children came to recover"
    );
    assert!(
        ledger.answered() > 5 * rounds(),
        "hardly anything was answered"
    );
}

/// Not a test: the process that is killed.
#[test]
#[ignore = "the other test runs it"]
fn the_process_that_is_killed() {
    child::run();
}
