//! The agent's data plane as a process, spoken to over TCP by a client of the test's own.
//!
//! What the rules of replicas are is tested in their crate; here it is that they hold over sockets,
//! threads, a real disk and `kill -9`.
// The helpers of tests are outside the functions that clippy takes for tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod client;
mod rig;
mod tls;

use client::{Client, pattern};
use moraine_model::{Cut, Role, Stamp};
use moraine_protocol::{Refusal, Reply};
use rig::{Rig, SECRET};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

const BUCKETS: u32 = 4;

#[test]
fn what_is_written_is_read_back_in_all_sizes() {
    let rig = Rig::new(1, BUCKETS);
    let agent = rig.start(0);
    let mut client = Client::connect(&rig, 0, SECRET).unwrap();
    let mut volume = client.open(&rig, 1, 0);
    for (first, count) in [(0, 1), (1, 7), (8, 256), (700, 64)] {
        volume.write(&mut client, (first, count), 3);
    }
    for (first, count) in [(0, 1), (1, 7), (8, 256), (700, 64)] {
        assert!(volume.read(&mut client, (first, count)) == pattern(first, count, 3));
    }
    assert!(
        volume.read(&mut client, (300, 2)).is_empty(),
        "never written"
    );
    drop(agent);
}

#[test]
fn who_has_not_the_secret_gets_nothing() {
    let rig = Rig::new(1, BUCKETS);
    let _agent = rig.start(0);
    let other = [9; 32];
    let error = Client::connect(&rig, 0, &other).err().unwrap().to_string();
    assert!(error.contains("secret"), "{error}");
    // One that doesn't shake hands at all.
    let mut stream = std::net::TcpStream::connect(rig.address(0)).unwrap();
    stream.write_all(&[0; 4096]).unwrap();
    let mut said = Vec::new();
    // The end of the connection, or its reset because of the bytes that nobody read.
    let _ = stream.read_to_end(&mut said);
    assert!(said.is_empty(), "{said:?}");
    assert!(Client::connect(&rig, 0, SECRET).is_ok());
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let rig = Rig::new(1, BUCKETS);
    let mut newest = [0_u8; 512];
    for round in 1..=8 {
        let mut agent = rig.start(0);
        let mut client = Client::connect(&rig, 0, SECRET).unwrap();
        let mut volume = client.open(&rig, 1, round);
        for (block, value) in (0..).zip(newest) {
            if value > 0 {
                let found = volume.read(&mut client, (block, 1));
                // What was sent and not acknowledged may be there, and nothing older.
                let sent = pattern(block, 1, value + 1);
                assert!(
                    found == pattern(block, 1, value) || found == sent,
                    "block {block}"
                );
                newest[usize::from(block)] = if found == sent { value + 1 } else { value };
            }
        }
        let sent: Vec<_> = (0..512_u16)
            .map(|nth| (nth * 37 + u16::from(round)) % 512)
            .collect();
        let mut waiting = BTreeMap::new();
        for &block in &sent[..200] {
            let value = newest[usize::from(block)] + 1;
            waiting.insert(volume.send(&mut client, (block, 1), value), (block, value));
        }
        for _ in 0..20 * usize::from(round) {
            let (id, reply) = client.receive();
            assert_eq!(reply, Reply::Done);
            let (block, value) = waiting.remove(&id).unwrap();
            newest[usize::from(block)] = value;
        }
        agent.kill();
    }
}

#[test]
fn a_frame_that_is_none_ends_its_connection_and_no_other() {
    let rig = Rig::new(1, BUCKETS);
    let _agent = rig.start(0);
    let mut good = Client::connect(&rig, 0, SECRET).unwrap();
    let mut bad = Client::connect(&rig, 0, SECRET).unwrap();
    let mut volume = good.open(&rig, 1, 0);
    volume.write(&mut good, (5, 2), 1);
    bad.send_bytes(&[0xff; 64]);
    assert!(bad.is_closed());
    assert!(volume.read(&mut good, (5, 2)) == pattern(5, 2, 1));
}

#[test]
fn a_fenced_engine_is_refused_over_the_wire() {
    let rig = Rig::new(1, BUCKETS);
    let _agent = rig.start(0);
    let mut client = Client::connect(&rig, 0, SECRET).unwrap();
    let mut old = client.open(&rig, 1, 0);
    old.write(&mut client, (0, 1), 1);
    let mut new = client.open(&rig, 2, 0);
    let id = old.send(&mut client, (0, 1), 2);
    let (answered, reply) = client.receive();
    assert_eq!(answered, id);
    assert!(matches!(reply, Reply::Refused(Refusal::Fenced { by }) if by.attach == 2));
    assert!(new.read(&mut client, (0, 1)) == pattern(0, 1, 1));
}

#[test]
fn a_new_replica_copies_what_it_lacks_and_says_so() {
    let mut rig = Rig::new(2, BUCKETS);
    rig.list(1, &[(0, Role::InSync, 1)]);
    let _first = rig.start(0);
    let mut second = rig.start(1);
    let mut client = Client::connect(&rig, 0, SECRET).unwrap();
    let mut volume = client.open(&rig, 1, 0);
    volume.write(&mut client, (0, 256), 1);
    volume.write(&mut client, (100, 8), 2);
    volume.zero(&mut client, (16, 4));
    rig.list(2, &[(0, Role::InSync, 1), (1, Role::Syncing, 2)]);
    let mut whole = BTreeSet::new();
    while whole.len() < BUCKETS as usize {
        let (bucket, since) = second.next_synced();
        assert_eq!(since, 2, "the report is of this listing");
        whole.insert(bucket);
    }
    rig.list(3, &[(0, Role::InSync, 1), (1, Role::InSync, 2)]);
    let mut client = Client::connect(&rig, 1, SECRET).unwrap();
    let mut copy = client.open(&rig, 2, 0);
    assert!(copy.read(&mut client, (0, 16)) == pattern(0, 16, 1));
    assert!(copy.read(&mut client, (16, 4)) == vec![0; 4 * 4096]);
    assert!(copy.read(&mut client, (100, 8)) == pattern(100, 8, 2));
    assert!(copy.read(&mut client, (108, 148)) == pattern(108, 148, 1));
    assert_eq!(copy.opened_at(), (Stamp::ZERO, Cut(0)));
}
