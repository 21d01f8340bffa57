//! Copies at their edges: crashes at every step, deleted volumes, sources that answer nonsense, full
//! and failing disks.

use super::net::*;
use super::world::*;
use moraine_model::*;
use moraine_protocol::*;
use moraine_replica::{Options, Output, RecoverError, Replicas};
use moraine_store::disk::{Fault, FaultyDisk, MemoryDisk, Operation};
use moraine_store::{Buffer, Shard, ShardOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn beside(epoch: u64, role: Role, since: u64) -> BucketEntry {
    entry(epoch, &[(1, role, since), (2, Role::InSync, 1)])
}

/// Both have an acknowledged version at cut 0, below the mark; snapshot 0 is deleted; what was
/// written with cut 1 reached only disk 1, which then went away.
fn hidden_below_the_mark() -> Net {
    let mut net = Net::new(2, 9);
    net.open(&[1, 2], 7, 1, &beside(1, Role::InSync, 1));
    let by = under(7, 1, 1);
    net.done(&[1, 2], || write(by, block(0, 0, 8), 1, 0, 10));
    let close = Request::Close {
        under: by,
        mark: Stamp::new(1, 0, 1),
    };
    net.done(&[1, 2], || (close.clone(), None));
    net.done(&[1], || write(by, block(0, 2, 3), 2, 1, 66));
    for disk in [1, 2] {
        net.host(disk).replicas.delete_snapshot(volume(7), Cut(0));
        net.host(disk).calm();
    }
    assert_eq!(
        content(&net.hosts[&1], 7).len(),
        8,
        "cut 1 alone is left of three blocks"
    );
    net.open(&[2], 7, 2, &entry(2, &[(2, Role::InSync, 1)]));
    net
}

fn run_to_the_end(net: &mut Net) {
    for host in net.hosts.values_mut() {
        host.replicas.learn(beside(3, Role::Syncing, 3));
    }
    net.until_synced(1, 3);
    assert_eq!(content(&net.hosts[&1], 7), content(&net.hosts[&2], 7));
}

#[test]
fn a_version_below_the_mark_that_a_lost_write_hid_comes_back() {
    let mut net = hidden_below_the_mark();
    run_to_the_end(&mut net);
    assert_eq!(content(&net.hosts[&1], 7).len(), 8);
    // The mark is what it was, on the disk too.
    net.host(1).now_ms += net.hosts[&1].options.mark_interval_ms;
    net.host(1).calm();
    let (mark, ..) = net
        .host(1)
        .crashed()
        .open(7, 2, beside(3, Role::Syncing, 3));
    assert_eq!(mark, Stamp::new(1, 0, 1));
}

#[test]
fn no_crash_in_the_middle_of_a_copy_loses_what_its_mark_speaks_of() {
    let mut net = hidden_below_the_mark();
    net.shuffle = true;
    net.host(1).replicas.learn(beside(3, Role::Syncing, 3));
    let mut crashes = 0;
    let mut before = None;
    while !net.synced.contains(&(1, 3)) {
        net.step();
        // Only where the disk has changed.
        let now = shard_of(&net.hosts[&1].disk).metrics().log_blocks;
        let state = (content(&net.hosts[&1], 7), notes(&net.hosts[&1]), now);
        if before.as_ref() == Some(&state) {
            continue;
        }
        before = Some(state);
        crashes += 1;
        let mut again = Net::new(2, 1);
        for disk in [1, 2] {
            let host = net.host(disk).crashed();
            again.hosts.insert(disk, host);
        }
        run_to_the_end(&mut again);
    }
    assert!(crashes >= 4, "{crashes}");
}

fn notes(host: &Host) -> Vec<(Vec<u8>, Vec<u8>)> {
    let shard = shard_of(&host.disk);
    let notes = shard.notes(&[]);
    notes
        .map(|(key, value)| (key.to_vec(), value.to_vec()))
        .collect()
}

#[test]
fn a_deleted_volume_that_is_back_above_its_mark_is_equal() {
    let mut net = Net::new(2, 9);
    net.open(&[1, 2], 7, 1, &beside(1, Role::InSync, 1));
    let by = under(7, 1, 1);
    net.done(&[1, 2], || write(by, block(0, 0, 8), 1, 0, 10));
    net.done(&[1, 2], || write(by, block(0, 2, 3), 2, 1, 11));
    for disk in [1, 2] {
        net.host(disk).replicas.delete_volume(volume(7), Cut(1));
        net.host(disk).calm();
    }
    net.host(2)
        .replicas
        .learn(entry(2, &[(2, Role::InSync, 1)]));
    run_to_the_end(&mut net);
    assert_eq!(content(&net.hosts[&1], 7).len(), 8);
    assert_eq!(net.host(1).replicas.metrics().copied_bytes, 0);
}

#[test]
fn a_volume_that_was_deleted_here_first_needs_nothing_of_its_head() {
    let mut net = Net::new(2, 9);
    net.open(&[1, 2], 7, 1, &beside(1, Role::InSync, 1));
    net.done(&[1, 2], || write(under(7, 1, 1), block(0, 0, 8), 1, 0, 10));
    net.host(1).replicas.delete_volume(volume(7), Cut(0));
    net.host(1).calm();
    assert!(content(&net.hosts[&1], 7).is_empty());
    for host in net.hosts.values_mut() {
        host.replicas.learn(beside(3, Role::Syncing, 3));
    }
    net.until_synced(1, 3);
    assert!(content(&net.hosts[&1], 7).is_empty());
}

#[test]
fn a_clone_whose_deletion_was_heard_here_first_is_asked_about_again() {
    let mut net = Net::new(2, 9);
    let both = beside(1, Role::InSync, 1);
    for number in [7, 8] {
        net.open(&[1, 2], number, 1, &both);
        let cut = 8 - u64::try_from(number).unwrap();
        net.done(&[1, 2], || {
            write(under(number, 1, 1), block(0, 0, 2), 1, cut, 10)
        });
    }
    // Volume 8 reads through to a snapshot of 7 that is deleted otherwise.
    for disk in [1, 2] {
        let host = net.host(disk);
        host.replicas.add_reference(volume(7), Cut(1), volume(8));
        host.calm();
        host.replicas.delete_snapshot(volume(7), Cut(1));
        host.calm();
    }
    let deletes = |host: &mut Host| {
        host.replicas.delete_volume(volume(8), Cut(0));
        host.calm();
        host.replicas.remove_reference(volume(7), Cut(1), volume(8));
        host.calm();
    };
    deletes(net.host(1));
    for host in net.hosts.values_mut() {
        host.replicas.learn(beside(3, Role::Syncing, 3));
    }
    // The source still names the clone, which can't be named here any more.
    for _ in 0..500 {
        net.step();
    }
    assert!(net.host(1).replicas.metrics().sync_failures > 0);
    assert!(!net.synced.contains(&(1, 3)));
    deletes(net.host(2));
    net.until_synced(1, 3);
}

/// Some version, of anything.
fn any_version(random: &mut Random, stamp: Stamp) -> Version {
    let (first, count) = (random.below(1000), 1 + random.below(24));
    let kinds = [VersionKind::Data, VersionKind::Zero];
    Version {
        range: range(u16::try_from(first).unwrap(), u16::try_from(count).unwrap()),
        kind: kinds[usize::from(random.one_in(2))],
        tag: Tag {
            stamp,
            cut: Cut(random.below(3)),
            epoch: Epoch(random.below(5)),
        },
    }
}

/// Some data, which mostly doesn't fit its versions.
fn any_data(random: &mut Random, stamp: Stamp) -> (Reply, Option<Buffer>) {
    let parts = (0..random.below(4)).map(|_| Part {
        version: any_version(random, stamp),
        inherited: random.one_in(8),
        checksums: vec![1; usize::try_from(random.below(20)).unwrap()].into(),
    });
    let parts = parts.collect();
    let blocks = usize::try_from(random.below(20)).unwrap();
    let payload = (blocks > 0).then(|| Buffer::zeroed(blocks));
    (Reply::Data { parts }, payload)
}

/// Some reply, which is right only by chance.
fn nonsense(random: &mut Random) -> (Reply, Option<Buffer>) {
    let stamp = Stamp::new(u32::try_from(random.below(4)).unwrap(), 0, random.below(20));
    let fence = stamp.generation;
    let more = random.one_in(2);
    let some = 0..random.below(3);
    let reply = match random.below(9) {
        0 => Reply::Done,
        1 => return any_data(random, stamp),
        2 => {
            let shares = some.map(|_| ShareState {
                volume: volume(1 + u128::from(random.below(9))),
                fence,
                deleted_at: None,
                deleted_snapshots: Vec::new(),
                references: Vec::new(),
            });
            let shares = shares.collect();
            Reply::Shares { shares, more }
        }
        3 => {
            let chunks = some.map(|_| ChunkStamp {
                chunk: ChunkIndex::new(u32::try_from(random.below(1 << 24)).unwrap()).unwrap(),
                newest: stamp,
            });
            let chunks = chunks.collect();
            Reply::Chunks { chunks, more }
        }
        4 => {
            let cut = Cut(random.below(3));
            let layers = vec![LayerStamp { cut, newest: stamp }];
            Reply::Layers { fence, layers }
        }
        5 => {
            let versions = some.map(|_| any_version(random, stamp)).collect();
            Reply::Versions { fence, versions }
        }
        6 => Reply::Refused(Refusal::NotOpen),
        7 => Reply::Refused(Refusal::Damaged { block: 3 }),
        _ => {
            let entry = beside(3 + random.below(2), Role::Syncing, 3);
            Reply::Refused(Refusal::StaleEpoch { entry })
        }
    };
    let payload = random.one_in(4).then(|| Buffer::zeroed(2));
    (reply, payload)
}

#[test]
fn a_source_that_answers_nonsense_is_survived() {
    for seed in 0..seeds(20) {
        let mut net = Net::new(2, seed);
        net.open(&[2], 7, 2, &entry(1, &[(2, Role::InSync, 1)]));
        for chunk in 0..3 {
            net.done(&[2], || {
                write(
                    under(7, 2, 1),
                    block(chunk, 0, 20),
                    1 + u64::from(chunk),
                    0,
                    9,
                )
            });
        }
        let listed = entry(
            3,
            &[
                (1, Role::Syncing, 3),
                (2, Role::InSync, 1),
                (3, Role::InSync, 1),
            ],
        );
        for host in net.hosts.values_mut() {
            host.options.sync.retry_ms = 3;
        }
        let target = net.host(1).crashed();
        net.hosts.insert(1, target);
        net.host(1).replicas.learn(listed);
        // Disk 3 answers anything; disk 2 as it should.
        let mut bad = Random::new(seed);
        for _ in 0..3000 {
            net.host(1).poll();
            let outputs = std::mem::take(&mut net.host(1).outputs);
            let mut rest = Vec::new();
            for output in outputs {
                match output {
                    Output::Call { call, disk, .. } if disk == disk_id(3) => {
                        let (reply, payload) = nonsense(&mut bad);
                        net.host(1).replicas.answered(call, Some(reply), payload);
                    }
                    other => rest.push(other),
                }
            }
            net.host(1).outputs.extend(rest);
            net.step();
        }
        let metrics = net.host(1).replicas.metrics();
        assert!(metrics.sync_failures + metrics.syncs_done > 0);
    }
}

#[test]
fn a_full_disk_holds_a_copy_up_until_there_is_room() {
    let mut net = Net::new(2, 1);
    let options = net.hosts[&1].options;
    net.hosts.insert(1, Host::with(formatted(1, 12), options));
    net.open(&[2], 7, 1, &entry(1, &[(2, Role::InSync, 1)]));
    let by = under(7, 1, 1);
    for chunk in 0..40 {
        net.done(&[2], || {
            write(by, block(chunk, 0, 64), 1 + u64::from(chunk), 0, 1)
        });
    }
    for host in net.hosts.values_mut() {
        host.replicas.learn(beside(2, Role::Syncing, 2));
    }
    net.steps(4000);
    assert!(net.synced.is_empty());
    assert!(net.host(1).replicas.metrics().sync_failures > 1);
    net.open(&[1, 2], 7, 1, &beside(2, Role::Syncing, 2));
    let by = under(7, 1, 2);
    for chunk in 0..35 {
        net.done(&[1, 2], || {
            zero(by, block(chunk, 0, 1024), 100 + u64::from(chunk), 0)
        });
    }
    net.until_synced(1, 2);
    assert_eq!(content(&net.hosts[&1], 7), content(&net.hosts[&2], 7));
}

/// The replicas of a disk whose writes fail when they are told to.
fn failing_replicas(
    disk: &MemoryDisk,
    failing: &Arc<AtomicBool>,
) -> Replicas<FaultyDisk<MemoryDisk>> {
    let script = Arc::clone(failing);
    let mut handle = disk.another();
    let opened = moraine_store::open(&mut handle, cluster()).unwrap();
    let faulty = FaultyDisk::new(
        handle,
        Box::new(move |operation, _| match operation {
            Operation::Write { .. } if script.load(Ordering::Relaxed) => Fault::Fail,
            _ => Fault::None,
        }),
    );
    let shard = Shard::recover(faulty, &opened, 0, ShardOptions::default()).unwrap();
    Replicas::new(shard, Options::new(disk_id(1))).unwrap()
}

#[test]
fn after_a_failed_write_all_is_refused_and_the_rest_is_there_again() {
    let disk = formatted(1, 64);
    let failing = Arc::new(AtomicBool::new(false));
    let mut replicas = failing_replicas(&disk, &failing);
    let mut id = 0;
    let mut send = |replicas: &mut Replicas<_>, (request, payload): (Request, Option<Buffer>)| {
        id += 1;
        replicas.request(ENGINE, RequestId(id), request, payload);
        RequestId(id)
    };
    let by = under(7, 1, 1);
    send(&mut replicas, (open(7, 1, alone(1)), None));
    for now_ms in 0..20 {
        replicas.poll(now_ms);
    }
    send(&mut replicas, write(by, block(0, 0, 1), 1, 0, 5));
    for now_ms in 20..40 {
        replicas.poll(now_ms);
    }
    let mut replies = Vec::new();
    while let Some(output) = replicas.next_output() {
        replies.push(output);
    }
    assert_eq!(replies.len(), 2);
    failing.store(true, Ordering::Relaxed);
    let mut asked = vec![
        send(&mut replicas, write(by, block(0, 1, 1), 2, 0, 6)),
        send(&mut replicas, (open(7, 2, alone(1)), None)),
        send(&mut replicas, (open(8, 1, alone(2)), None)),
    ];
    for now_ms in 40..60 {
        replicas.poll(now_ms);
    }
    assert!(replicas.is_stopped());
    asked.push(send(&mut replicas, (Request::Ping, None)));
    failing.store(false, Ordering::Relaxed);
    let requests = replicas.metrics().requests;
    let (outputs, again) = replicas.recover();
    for output in &outputs {
        let Output::Reply { id, reply, .. } = output else {
            panic!("{output:?}");
        };
        assert!(asked.contains(id));
        assert_eq!(*reply, Reply::Refused(Refusal::Stopped));
    }
    assert_eq!(outputs.len(), asked.len());
    let mut replicas = again
        .map_err(|error: RecoverError| error.to_string())
        .unwrap();
    assert_eq!(replicas.metrics().requests, requests);
    let reading = send(&mut replicas, (read(by, block(0, 0, 1), At::Head), None));
    for now_ms in 60..80 {
        replicas.poll(now_ms);
    }
    let output = replicas.next_output();
    let Some(Output::Reply { id, payload, .. }) = output else {
        panic!("{output:?}");
    };
    assert_eq!(id, reading);
    assert_eq!(payload[0].to_vec(), filled(1, 5));
}
