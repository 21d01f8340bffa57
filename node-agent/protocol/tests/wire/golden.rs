//! The bytes of each message, as they were written down once: peers that are out there speak them.
//!
//! A fixture has a line for each frame, its name and its header and body in hexadecimal digits.
//! Nothing in it is ever changed; a new message adds a line, a new version a file.

use super::samples::samples;
use moraine_protocol::{Group, HEADER_BYTES, Header, Kind};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

const VERSION_1: &str = include_str!("../fixtures/version-1.txt");

/// The frames of a fixture, by their names.
pub(crate) fn frames(fixture: &str) -> BTreeMap<&str, Vec<u8>> {
    let lines = fixture.lines().filter(|line| !line.starts_with('#'));
    let frame = |line| {
        let (name, digits): (&str, &str) = str::split_once(line, ' ').unwrap();
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        (name, (0..digits.len()).step_by(2).map(byte).collect())
    };
    lines.map(frame).collect()
}

fn hex(bytes: &[u8]) -> String {
    let mut digits = String::new();
    for byte in bytes {
        write!(digits, "{byte:02x}").unwrap();
    }
    digits
}

#[test]
fn the_bytes_of_a_message_never_change() {
    let golden = frames(VERSION_1);
    let mut wrong = Vec::new();
    for (name, message) in samples() {
        let encoded = message.encode();
        if golden.get(name) != Some(&encoded) {
            wrong.push(format!("{name} {}", hex(&encoded)));
        }
    }
    let wrong = wrong.join("\n");
    assert!(
        wrong.is_empty(),
        "these are not what is written down:\n{wrong}"
    );
}

#[test]
fn every_kind_of_message_is_written_down() {
    let kind = |frame: &Vec<u8>| {
        let header: &[u8; HEADER_BYTES] = frame.first_chunk().unwrap();
        Header::decode(header).unwrap().kind()
    };
    let golden: BTreeSet<Kind> = frames(VERSION_1).values().map(kind).collect();
    let messages = Kind::ALL.into_iter();
    let messages = messages.filter(|kind| kind.group() != Group::Handshake);
    assert_eq!(golden, messages.collect());
}
