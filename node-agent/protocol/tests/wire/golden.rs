//! The bytes of each message, as they were written down once: peers that are out there speak them.
//!
//! A fixture has a line for each frame, its name and its header and body in hexadecimal digits.
//! Nothing in it is ever changed; a new message adds a line, a new version a file.

use super::handshake::proven;
use super::meetings::{Failed, client, cluster, meet, secret, server};
use super::samples::samples;
use moraine_protocol::handshake::Reject;
use moraine_protocol::{HEADER_BYTES, Header, Kind, Versions};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

pub(crate) const VERSION_1: &str = include_str!("../fixtures/version-1.txt");

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

/// The frames of a handshake, and of those that fail.
fn handshake() -> Vec<(&'static str, Vec<u8>)> {
    let secret = secret();
    let met = meet(client(&secret), server(&secret), |_, _| {});
    let names = ["hello", "challenge", "proof", "welcome"];
    let mut frames: Vec<_> = names.into_iter().zip(met.unwrap().2).collect();
    let rejects = [
        ("reject-denied", Reject::Denied),
        ("reject-disk", Reject::NoSuchDisk),
        ("reject-shard", Reject::WrongShard { shards: 3 }),
        ("reject-busy", Reject::Busy),
    ];
    for (name, reject) in rejects {
        let (_, server) = proven(&secret);
        frames.push((name, server.reject(reject).answer.unwrap()));
    }
    let mut elsewhere = server(&secret);
    elsewhere.cluster = cluster(1);
    let mut later = server(&secret);
    later.versions = Versions::new(2, 3).unwrap();
    for (name, server) in [("reject-cluster", elsewhere), ("reject-version", later)] {
        let Err(Failed::Server(refused)) = meet(client(&secret), server, |_, _| {}) else {
            panic!("{name}: they must not meet")
        };
        frames.push((name, refused.answer.unwrap()));
    }
    frames
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
    let messages = samples().into_iter();
    let messages = messages.map(|(name, message)| (name, message.encode()));
    for (name, encoded) in messages.chain(handshake()) {
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
    assert_eq!(golden, Kind::ALL.into_iter().collect());
}
