//! Copies of replicas, from one host to another, while engines write.

use super::net::*;
use super::world::*;
use moraine_model::*;
use moraine_protocol::*;
use moraine_store::Buffer;

/// Disk 2 in sync since 1, disk 1 as given.
fn beside(epoch: u64, role: Role, since: u64) -> BucketEntry {
    entry(epoch, &[(1, role, since), (2, Role::InSync, 1)])
}

fn only_source(epoch: u64) -> BucketEntry {
    entry(epoch, &[(2, Role::InSync, 1)])
}

fn learn(net: &mut Net, entry: &BucketEntry) {
    for host in net.hosts.values_mut() {
        host.replicas.learn(entry.clone());
    }
}

#[test]
fn a_new_replica_gets_everything() {
    let mut net = Net::new(2, 1);
    net.open(&[2], 7, 3, &only_source(1));
    let by = under(7, 3, 1);
    for nth in 0..5_u64 {
        let chunk = u32::try_from(nth).unwrap() * 3;
        net.done(&[2], || {
            write(by, block(chunk, 100, 60), 10 + nth, nth / 2, nth)
        });
        net.done(&[2], || zero(by, block(chunk, 150, 10), 20 + nth, nth / 2));
        net.done(&[2], || {
            write(by, block(chunk, 1000, 1), 30 + nth, nth, 40 + nth)
        });
    }
    learn(&mut net, &beside(2, Role::Syncing, 2));
    net.until_synced(1, 2);
    let wanted = content(&net.hosts[&2], 7);
    assert!(wanted.len() > 300);
    assert_eq!(content(&net.hosts[&1], 7), wanted);
    let metrics = net.host(1).replicas.metrics();
    assert_eq!(metrics.syncs_done, 1);
    assert!(metrics.copied_bytes >= 5 * 51 * BLOCK_BYTES as u64);
    // Its fence is the source's, and durable.
    let fenced = net
        .host(1)
        .crashed()
        .refused((open(7, 2, beside(2, Role::Syncing, 2)), None));
    assert_eq!(fenced, Refusal::Fenced { by: generation(3) });
    // Promoted, it shows the same.
    let promoted = beside(3, Role::InSync, 2);
    net.open(&[1, 2], 7, 3, &promoted);
    let by = under(7, 3, 3);
    for at in [At::Head, At::Cut(Cut(0)), At::Cut(Cut(2))] {
        for chunk in [0, 3, 6, 9, 12] {
            let seen = [1, 2].map(|disk| net.host(disk).blocks(by, block(chunk, 90, 250), at));
            assert!(seen[0] == seen[1], "chunk {chunk} at {at:?} differs");
        }
    }
}

#[test]
fn a_share_without_blocks_comes_with_its_fence() {
    let mut net = Net::new(2, 1);
    net.open(&[2], 7, 3, &only_source(1));
    let listed = beside(2, Role::Syncing, 2);
    learn(&mut net, &listed);
    net.until_synced(1, 2);
    let refused = net.host(1).crashed().refused((open(7, 2, listed), None));
    assert_eq!(refused, Refusal::Fenced { by: generation(3) });
}

#[test]
fn a_copy_is_reported_until_the_entry_says_so_and_not_after() {
    let mut net = Net::new(2, 1);
    net.open(&[2], 7, 3, &only_source(1));
    learn(&mut net, &beside(2, Role::Syncing, 2));
    net.until_synced(1, 2);
    net.synced.clear();
    net.host(1).now_ms += net.hosts[&1].options.sync.report_ms;
    net.steps(3);
    assert!(net.synced.contains(&(1, 2)), "it is not repeated");
    learn(&mut net, &beside(3, Role::InSync, 2));
    net.steps(3);
    net.synced.clear();
    net.host(1).now_ms += 10 * net.hosts[&1].options.sync.report_ms;
    net.steps(10);
    assert!(net.synced.is_empty());
}

#[test]
fn a_returning_replica_gets_what_it_missed_and_nothing_else() {
    let mut net = Net::new(2, 1);
    let both = beside(1, Role::InSync, 1);
    net.open(&[1, 2], 7, 3, &both);
    let by = under(7, 3, 1);
    net.done(&[1, 2], || write(by, block(0, 0, 64), 1, 0, 1));
    net.done(&[1, 2], || write(by, block(1, 0, 64), 2, 0, 2));
    let close = Request::Close {
        under: by,
        mark: Stamp::new(3, 0, 2),
    };
    net.done(&[1, 2], || (close.clone(), None));
    // What only the one that goes away has was never acknowledged.
    net.done(&[1], || write(by, block(1, 10, 4), 3, 0, 666));
    net.done(&[1], || write(by, block(2, 10, 4), 4, 0, 667));
    net.open(&[2], 7, 4, &only_source(2));
    let by = under(7, 4, 2);
    net.done(&[2], || write(by, block(1, 60, 8), 1, 0, 3));
    net.done(&[2], || zero(by, block(1, 2, 1), 2, 0));
    learn(&mut net, &beside(3, Role::Syncing, 3));
    net.until_synced(1, 3);
    assert_eq!(content(&net.hosts[&1], 7), content(&net.hosts[&2], 7));
    let metrics = net.host(1).replicas.metrics();
    assert_eq!(metrics.chunks_compared, 2);
    // The blocks that differ, and those between: four that were never acknowledged, eight new.
    assert_eq!(metrics.copied_bytes, 12 * BLOCK_BYTES as u64);
}

#[test]
fn writes_go_on_while_a_replica_is_copied() {
    let mut net = Net::new(2, 5);
    net.open(&[2], 7, 3, &only_source(1));
    let by = under(7, 3, 1);
    for chunk in 0..10_u32 {
        net.done(&[2], || {
            write(by, block(chunk, 0, 64), 1 + u64::from(chunk), 0, 1)
        });
    }
    let listed = beside(2, Role::Syncing, 2);
    net.open(&[1, 2], 7, 3, &listed);
    let by = under(7, 3, 2);
    let mut sequence = 100;
    while !net.synced.contains(&(1, 2)) {
        sequence += 1;
        let chunk = u32::try_from(sequence % 10).unwrap();
        let first = u16::try_from(sequence % 60).unwrap();
        let number = sequence;
        if sequence % 5 == 0 {
            net.done(&[1, 2], || {
                zero(by, block(chunk, first, 5), sequence, sequence / 40)
            });
        } else {
            net.done(&[1, 2], || {
                write(by, block(chunk, first, 3), sequence, sequence / 40, number)
            });
        }
    }
    assert!(sequence > 110, "nothing was written meanwhile");
    assert_eq!(content(&net.hosts[&1], 7), content(&net.hosts[&2], 7));
}

#[test]
fn an_unacknowledged_write_since_the_listing_stays_unless_its_engine_is_fenced_at_the_source() {
    for fenced in [false, true] {
        let mut net = Net::new(2, 1);
        net.open(&[2], 7, 3, &only_source(1));
        net.done(&[2], || write(under(7, 3, 1), block(0, 0, 8), 1, 0, 1));
        let listed = beside(2, Role::Syncing, 2);
        // The copy can't begin before the source is there again.
        let source = net.hosts.remove(&2).unwrap();
        net.open(&[1], 7, 3, &listed);
        let by = under(7, 3, 2);
        net.done(&[1], || write(by, block(0, 2, 1), 2, 0, 22));
        net.done(&[1], || write(by, block(5, 0, 1), 3, 0, 23));
        net.hosts.insert(2, source);
        if fenced {
            net.open(&[2], 7, 4, &listed);
        }
        net.until_synced(1, 2);
        let [here, there] = [1, 2].map(|disk| content(&net.hosts[&disk], 7));
        if fenced {
            assert_eq!(here, there);
            let refused = net.host(1).refused(write(by, block(0, 2, 1), 2, 0, 22));
            assert_eq!(refused, Refusal::Fenced { by: generation(4) });
        } else {
            assert_eq!(here[&(0, 0, 2)].0, Stamp::new(3, 0, 2));
            assert_eq!(here[&(5, 0, 0)].0, Stamp::new(3, 0, 3));
            assert_eq!(here.len(), there.len() + 1);
        }
    }
}

#[test]
fn the_fence_of_the_source_is_durable_before_anything_that_follows_from_it() {
    let mut net = Net::new(2, 1);
    net.open(&[1, 2], 7, 3, &beside(1, Role::InSync, 1));
    net.done(&[1, 2], || write(under(7, 3, 1), block(0, 0, 4), 1, 0, 1));
    net.done(&[1], || write(under(7, 3, 1), block(0, 0, 4), 2, 0, 2));
    net.host(1).calm();
    net.open(&[2], 7, 4, &only_source(2));
    let listed = beside(3, Role::Syncing, 3);
    net.host(1).replicas.learn(listed.clone());
    net.host(1).calm();
    net.shuffle = true;
    let zombie = content(&net.hosts[&1], 7);
    for _ in 0..2000 {
        net.step();
        let mut crashed = net.host(1).crashed();
        if content(&crashed, 7) != zombie {
            let refused = crashed.refused((open(7, 3, listed.clone()), None));
            assert_eq!(refused, Refusal::Fenced { by: generation(4) });
        }
        if net.synced.contains(&(1, 3)) {
            return;
        }
    }
    panic!("never whole");
}

#[test]
fn clones_snapshots_and_deleted_volumes_come_with_what_they_read() {
    let mut net = Net::new(2, 1);
    for number in [7, 8, 9] {
        net.open(&[2], number, 1, &only_source(1));
    }
    let at = |number| under(number, 1, 1);
    for cut in 0..4_u64 {
        for number in [7, 9] {
            let sequence = cut + 1;
            net.done(&[2], || {
                write(at(number), block(0, 0, 20), sequence, cut, 10 + cut)
            });
            net.done(&[2], || {
                zero(at(number), block(0, 5, 2), sequence + 10, cut)
            });
        }
    }
    let source = net.host(2);
    source.replicas.add_reference(volume(7), Cut(1), volume(8));
    source.calm();
    source.ask(write(at(8), block(0, 3, 1), 1, 0, 99));
    for (number, cut) in [(7, 0), (7, 1), (9, 1)] {
        source.replicas.delete_snapshot(volume(number), Cut(cut));
    }
    source.calm();
    source.replicas.delete_volume(volume(7), Cut(3));
    source.calm();
    learn(&mut net, &beside(2, Role::Syncing, 2));
    net.until_synced(1, 2);
    for number in [7, 8, 9] {
        assert_eq!(
            content(&net.hosts[&1], number),
            content(&net.hosts[&2], number)
        );
        let kept = [1, 2].map(|disk| {
            let shard = shard_of(&net.hosts[&disk].disk);
            let kept = shard.retention(share(number)).unwrap();
            let references: Vec<_> = kept.references().collect();
            (
                kept.deleted().collect::<Vec<_>>(),
                references,
                kept.head_deleted_at(),
            )
        });
        assert_eq!(kept[0], kept[1]);
    }
    let promoted = beside(3, Role::InSync, 2);
    net.open(&[1, 2], 8, 1, &promoted);
    let by = under(8, 1, 3);
    let seen = [1, 2].map(|disk| net.host(disk).blocks(by, block(0, 0, 20), At::Head));
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0][5], Some(vec![0; BLOCK_BYTES]));
    let bytes = filled(20, 11);
    assert_eq!(seen[0][0].as_deref(), Some(&bytes[..BLOCK_BYTES]));
}

#[test]
fn shares_that_the_source_lacks_are_dropped() {
    let mut net = Net::new(2, 1);
    let mark = Stamp::new(1, 0, 1);
    for number in [5, 6, 7] {
        net.open(&[1], number, 1, &alone(1));
        net.done(&[1], || write(under(number, 1, 1), block(0, 0, 4), 1, 0, 1));
        let close = Request::Close {
            under: under(number, 1, 1),
            mark,
        };
        net.done(&[1], || (close.clone(), None));
    }
    net.host(1)
        .replicas
        .add_reference(volume(5), Cut(0), volume(6));
    net.host(1).calm();
    net.open(&[2], 7, 1, &only_source(2));
    net.done(&[2], || write(under(7, 1, 2), block(0, 0, 4), 1, 0, 1));
    learn(&mut net, &beside(3, Role::Syncing, 3));
    net.until_synced(1, 3);
    let shard = shard_of(&net.hosts[&1].disk);
    let held: Vec<u64> = [5, 6, 7]
        .map(|number| shard.share_bytes(share(number)))
        .into();
    assert_eq!(held, [0, 0, 4 * BLOCK_BYTES as u64]);
    assert_eq!(
        shard.notes(&[3]).count(),
        1,
        "marks of what was dropped are left"
    );
}

#[test]
fn a_share_that_appears_while_the_source_is_listed_is_kept() {
    let mut net = Net::new(2, 1);
    for number in 100..170 {
        net.open(&[2], number, 1, &only_source(1));
        net.done(&[2], || write(under(number, 1, 1), block(0, 0, 1), 1, 0, 1));
    }
    let listed = beside(2, Role::Syncing, 2);
    learn(&mut net, &listed);
    while !net.calls.contains_key("chunks") {
        net.step();
    }
    // The first page is here: this volume lies before its end, and is not in it.
    net.open(&[1, 2], 5, 1, &listed);
    net.done(&[1, 2], || write(under(5, 1, 2), block(0, 0, 1), 1, 0, 55));
    net.until_synced(1, 2);
    assert_eq!(net.calls["shares"], 2);
    for number in [5, 100, 169] {
        assert_eq!(content(&net.hosts[&1], number).len(), 1, "volume {number}");
    }
}

#[test]
fn a_change_of_the_entry_in_the_middle_goes_on_under_the_new_epoch() {
    let mut net = Net::new(2, 3);
    net.open(&[2], 7, 3, &only_source(1));
    for chunk in 0..10_u32 {
        net.done(&[2], || {
            write(
                under(7, 3, 1),
                block(chunk, 0, 64),
                1 + u64::from(chunk),
                0,
                1,
            )
        });
    }
    learn(&mut net, &beside(2, Role::Syncing, 2));
    while net.calls.get("copy").is_none_or(|copies| *copies < 3) {
        net.step();
    }
    // A third disk is listed; only the target hears of it, the source from the target.
    let third = entry(
        5,
        &[
            (1, Role::Syncing, 2),
            (2, Role::InSync, 1),
            (3, Role::Syncing, 5),
        ],
    );
    net.host(1).replicas.learn(third.clone());
    net.until_synced(1, 2);
    assert_eq!(net.calls["adopt"], 2);
    assert_eq!(net.host(2).replicas.entries().next(), Some(&third));
    assert_eq!(content(&net.hosts[&1], 7), content(&net.hosts[&2], 7));
    assert_eq!(net.host(1).replicas.metrics().syncs_started, 1);
    // A new listing begins again; only the source has heard of it.
    net.synced.clear();
    net.host(2).replicas.learn(beside(9, Role::Syncing, 8));
    net.host(1)
        .replicas
        .learn(entry(6, &[(2, Role::InSync, 1)]));
    net.host(1)
        .replicas
        .learn(entry(7, &[(1, Role::Syncing, 7), (2, Role::InSync, 1)]));
    net.until_synced(1, 8);
    assert!(!net.synced.contains(&(1, 7)));
    assert_eq!(content(&net.hosts[&1], 7), content(&net.hosts[&2], 7));
}

#[test]
fn an_answer_that_outlives_its_entry_is_not_written() {
    let mut net = Net::new(3, 3);
    let both = |epoch, since| {
        let source = (2, Role::InSync, 1);
        entry(
            epoch,
            &[(1, Role::Syncing, since), source, (3, Role::InSync, 1)],
        )
    };
    let two = entry(1, &[(2, Role::InSync, 1), (3, Role::InSync, 1)]);
    net.open(&[2, 3], 7, 3, &two);
    // A write that reached only the source.
    net.done(&[2], || write(under(7, 3, 1), block(0, 0, 4), 1, 0, 66));
    learn(&mut net, &both(2, 2));
    net.host(1).queue.hold(true);
    while !net.calls.contains_key("copy") {
        net.step();
    }
    // The source answers, and only then the target hears of an entry without it.
    let mut source = net.hosts.remove(&2).unwrap();
    for _ in 0..5 {
        source.poll();
    }
    net.hosts.insert(2, source);
    let without = entry(3, &[(1, Role::Syncing, 2), (3, Role::InSync, 1)]);
    net.host(1).replicas.learn(without.clone());
    net.host(3).replicas.learn(without.clone());
    net.open(&[1, 3], 7, 4, &without);
    assert!(content(&net.hosts[&1], 7).is_empty());
    net.until_synced(1, 2);
    assert!(content(&net.hosts[&1], 7).is_empty());
}

#[test]
fn an_open_waits_for_the_copies_that_the_store_has() {
    let mut net = Net::new(2, 3);
    net.open(&[2], 7, 3, &only_source(1));
    net.done(&[2], || write(under(7, 3, 1), block(0, 0, 4), 1, 0, 5));
    let listed = beside(2, Role::Syncing, 2);
    learn(&mut net, &listed);
    while net.host(1).replicas.metrics().copied_bytes == 0 {
        net.step();
    }
    // The data is here; its write is under way.
    let host = net.host(1);
    host.queue.hold(true);
    host.poll();
    assert!(host.queue.pending() > 0, "no copy is under way");
    let opening = host.send((open(7, 3, listed), None));
    // Fence and entry are durable: no note holds the answer back.
    host.poll();
    assert!(host.answer(opening).is_none());
    host.queue.hold(false);
    host.calm();
    let opened = Reply::Opened {
        mark: Stamp::ZERO,
        cut: Cut(0),
        above_mark: true,
    };
    assert_eq!(host.answer(opening).unwrap().0, opened);
}

#[test]
fn another_source_is_asked_when_one_is_gone() {
    let mut net = Net::new(3, 3);
    let two = |epoch| entry(epoch, &[(2, Role::InSync, 1), (3, Role::InSync, 1)]);
    net.open(&[2, 3], 7, 3, &two(1));
    for chunk in 0..6_u32 {
        net.done(&[2, 3], || {
            write(
                under(7, 3, 1),
                block(chunk, 0, 64),
                1 + u64::from(chunk),
                0,
                1,
            )
        });
    }
    let sources = [
        (1, Role::Syncing, 2),
        (2, Role::InSync, 1),
        (3, Role::InSync, 1),
    ];
    learn(&mut net, &entry(2, &sources));
    while net.calls.get("copy").is_none_or(|copies| *copies < 2) {
        net.step();
    }
    net.host(1).forget_calls();
    net.hosts.remove(&2);
    net.until_synced(1, 2);
    assert_eq!(content(&net.hosts[&1], 7), content(&net.hosts[&3], 7));
    assert!(net.host(1).replicas.metrics().sync_failures > 0);
}

#[test]
fn copying_keeps_to_its_rate() {
    let mut net = Net::new(2, 3);
    let mut options = net.hosts[&1].options;
    options.sync.bytes_per_s = 100 * BLOCK_BYTES as u64;
    net.hosts
        .insert(1, Host::with(formatted(1, SEGMENTS), options));
    net.open(&[2], 7, 3, &only_source(1));
    for chunk in 0..8_u32 {
        net.done(&[2], || {
            write(
                under(7, 3, 1),
                block(chunk, 0, 64),
                1 + u64::from(chunk),
                0,
                1,
            )
        });
    }
    learn(&mut net, &beside(2, Role::Syncing, 2));
    let begun = net.host(1).now_ms;
    net.until_synced(1, 2);
    let took = net.host(1).now_ms - begun;
    // 512 blocks at 100 a second, the first second's worth at once, and the last ones on credit.
    assert!(
        (3000..6000).contains(&took),
        "{took} ms of the test's own clock"
    );
}

/// One volume's engine in a random run.
struct Writer {
    number: u128,
    attach: u32,
    sequence: u64,
    cut: u64,
    /// Its newest write that all listed replicas have acknowledged, and so all before it.
    mark: Stamp,
}

impl Writer {
    fn write(&mut self, net: &mut Net, disks: &[u128], epoch: u64) {
        self.sequence += 1;
        let chunk = u32::try_from(net.random.below(3)).unwrap();
        let first = u16::try_from(net.random.below(40)).unwrap();
        let count = u16::try_from(1 + net.random.below(24)).unwrap();
        let block = block(chunk, first, count);
        let by = under(self.number, self.attach, epoch);
        let cut = match net.random.below(8) {
            0 if self.cut > 0 => self.cut - 1,
            _ => self.cut,
        };
        let (sequence, number) = (self.sequence, self.sequence * 1000 + u64::from(self.attach));
        let zeroing = net.random.one_in(4);
        let make = || -> (Request, Option<Buffer>) {
            let request = if zeroing {
                zero(by, block, sequence, cut)
            } else {
                write(by, block, sequence, cut, number)
            };
            with_mark(request, self.mark)
        };
        net.done(disks, make);
        if disks.contains(&2) {
            self.mark = Stamp::new(self.attach, 0, sequence);
        }
        if net.random.one_in(6) {
            self.cut += 1;
        }
    }
}

/// Two hosts, three volumes, and what happens to them.
struct Run {
    net: Net,
    writers: Vec<Writer>,
    epoch: u64,
    since: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut net = Net::new(2, seed);
        net.shuffle = seed.is_multiple_of(2);
        for disk in [1, 2] {
            let mut options = net.hosts[&disk].options;
            options.sync.retry_ms = 5;
            options.sync.report_ms = 20;
            options.mark_interval_ms = 50;
            let host = Host::with(formatted(disk, SEGMENTS), options);
            net.hosts.insert(disk, host);
        }
        let writers = (7..10).map(|number| Writer {
            number,
            attach: 1,
            sequence: 0,
            cut: 0,
            mark: Stamp::ZERO,
        });
        Self {
            net,
            writers: writers.collect(),
            epoch: 1,
            since: 1,
        }
    }

    /// Opens all volumes, some by a new engine.
    fn attach(&mut self, disks: &[u128], entry: &BucketEntry, anew: bool) {
        for writer in &mut self.writers {
            if anew || self.net.random.one_in(2) {
                writer.attach += 1;
                writer.sequence = 0;
            }
            self.net.open(disks, writer.number, writer.attach, entry);
        }
    }

    fn write(&mut self, disks: &[u128]) {
        let nth = usize::try_from(self.net.random.below(3)).unwrap();
        self.writers[nth].write(&mut self.net, disks, self.epoch);
    }

    fn writes(&mut self, disks: &[u128], count: u64) {
        for _ in 0..count {
            self.write(disks);
        }
    }

    /// Deletes a snapshot at the source, if there is one so far below the head.
    fn delete_snapshot(&mut self, below: u64) {
        let nth = usize::try_from(self.net.random.below(3)).unwrap();
        let Writer { number, cut, .. } = self.writers[nth];
        if cut >= below {
            let cut = Cut(self.net.random.below(cut - below + 1));
            let source = self.net.host(2);
            source.replicas.delete_snapshot(volume(number), cut);
        }
    }

    fn add_clone(&mut self) {
        for _ in 0..200 {
            let source = self.net.host(2);
            if source.replicas.add_reference(volume(7), Cut(0), volume(9)) {
                return;
            }
            self.net.step();
        }
    }

    /// One disk goes away, comes back, and is in sync in the end.
    fn round(&mut self, clone: bool) {
        let some = |net: &mut Net| 5 + net.random.below(20);
        let count = some(&mut self.net);
        self.writes(&[1, 2], count);
        // The last ones before it goes reach only the one that goes: nobody was told of them.
        let count = self.net.random.below(4);
        self.writes(&[1], count);
        self.epoch += 1;
        self.attach(&[2], &only_source(self.epoch), true);
        for _ in 0..some(&mut self.net) {
            self.write(&[2]);
            if self.net.random.one_in(5) {
                self.delete_snapshot(1);
            }
        }
        if clone {
            self.add_clone();
        }
        if self.net.random.one_in(2) {
            self.net.crash(1);
        }
        self.epoch += 1;
        self.since = self.epoch;
        let listed = beside(self.epoch, Role::Syncing, self.since);
        self.net.loss = 20;
        learn(&mut self.net, &listed);
        self.attach(&[1, 2], &listed, false);
        while !self.net.synced.contains(&(1, self.since)) {
            self.meanwhile();
        }
        self.net.loss = 0;
        self.epoch += 1;
        let promoted = beside(self.epoch, Role::InSync, self.since);
        self.attach(&[1, 2], &promoted, false);
    }

    /// What happens while the copy is made.
    fn meanwhile(&mut self) {
        match self.net.random.below(40) {
            0..4 => self.write(&[1, 2]),
            4 if self.net.random.one_in(20) => self.net.crash(1),
            5 if self.net.random.one_in(20) => self.net.crash(2),
            6 if self.net.random.one_in(4) => {
                self.epoch += 1;
                let listed = beside(self.epoch, Role::Syncing, self.since);
                self.net.host(1).replicas.learn(listed.clone());
                self.attach(&[1, 2], &listed, false);
            }
            7 => self.delete_snapshot(2),
            _ => self.net.step(),
        }
    }
}

/// What both show at the head and at each snapshot that both keep.
fn compare(net: &mut Net, writers: &[Writer], epoch: u64, seed: u64) {
    for disk in [1, 2] {
        net.host(disk).queue.hold(false);
    }
    for writer in writers {
        let by = under(writer.number, writer.attach, epoch);
        let cuts = (0..writer.cut).map(|cut| At::Cut(Cut(cut)));
        for at in cuts.chain([At::Head]) {
            for chunk in 0..3 {
                let ask = || (read(by, block(chunk, 0, 64), at), None);
                let mut shown = Vec::new();
                for disk in [1, 2] {
                    let (reply, data) = net.host(disk).ask_data(ask());
                    shown.push(match reply {
                        Reply::Data { parts } => Some(spread(block(chunk, 0, 64), &parts, &data)),
                        Reply::Refused(Refusal::NoSnapshot) => None,
                        other => panic!("{other:?}"),
                    });
                }
                if let (Some(one), Some(two)) = (&shown[0], &shown[1]) {
                    let number = writer.number;
                    assert!(
                        one == two,
                        "seed {seed}: volume {number}, chunk {chunk} at {at:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_copy_shows_what_its_source_shows_whatever_happens_meanwhile() {
    for seed in 0..seeds(20) {
        let mut run = Run::new(seed);
        run.attach(&[1, 2], &beside(1, Role::InSync, 1), false);
        for round in 0..3 {
            run.round(round == 1);
            compare(&mut run.net, &run.writers, run.epoch, seed);
        }
    }
}
