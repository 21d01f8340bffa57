//! What a replica says that it holds, to engines and to replicas that copy.

use super::world::*;
use moraine_model::*;
use moraine_protocol::*;

fn chunks(number: u128, attach: Option<u32>, epoch: u64, above: Stamp) -> Request {
    Request::Chunks {
        share: share(number),
        epoch: Epoch(epoch),
        generation: attach.map(generation),
        above,
        from: ChunkIndex::new(0).unwrap(),
    }
}

fn two(epoch: u64) -> BucketEntry {
    entry(epoch, &[(1, Role::InSync, 1), (2, Role::Syncing, 2)])
}

#[test]
fn an_engine_finds_what_lies_above_the_marks() {
    let mut host = Host::new(1);
    host.open(7, 1, alone(1));
    let by = under(7, 1, 1);
    for (chunk, sequence) in [(4, 1), (9, 2), (2, 3)] {
        host.ask(write(by, block(chunk, 0, 2), sequence, 0, 1));
    }
    host.ask(zero(by, block(2, 1, 4), 4, 6));
    let named = |reply| match reply {
        Reply::Chunks { chunks, more } => {
            assert!(!more);
            let chunks = chunks.into_iter();
            chunks
                .map(|c| (c.chunk.get(), c.newest.sequence))
                .collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    let reply = host.plain(chunks(7, Some(1), 1, Stamp::new(1, 0, 1)));
    assert_eq!(named(reply), [(2, 4), (9, 2)]);
    let layers = Request::Layers {
        share: share(7),
        epoch: Epoch(1),
        generation: Some(generation(1)),
        chunk: ChunkIndex::new(2).unwrap(),
    };
    let wanted = [(6, 4), (0, 3)].map(|(cut, sequence)| LayerStamp {
        cut: Cut(cut),
        newest: Stamp::new(1, 0, sequence),
    });
    let wanted = Reply::Layers {
        fence: generation(1),
        layers: wanted.to_vec(),
    };
    assert_eq!(host.plain(layers), wanted);
    let versions = Request::Versions {
        share: share(7),
        epoch: Epoch(1),
        generation: Some(generation(1)),
        chunk: ChunkIndex::new(2).unwrap(),
        cut: Cut(6),
    };
    let tag = Tag {
        stamp: Stamp::new(1, 0, 4),
        cut: Cut(6),
        epoch: Epoch(1),
    };
    let version = Version {
        range: range(1, 4),
        kind: VersionKind::Zero,
        tag,
    };
    let wanted = Reply::Versions {
        fence: generation(1),
        versions: vec![version],
    };
    assert_eq!(host.plain(versions), wanted);
    // Fences and epochs hold for lists too.
    let stale = host.plain(chunks(7, Some(1), 0, Stamp::ZERO));
    assert!(matches!(stale, Reply::Refused(Refusal::StaleEpoch { .. })));
    let fenced = host.plain(chunks(7, Some(0), 1, Stamp::ZERO));
    assert!(matches!(fenced, Reply::Refused(Refusal::Fenced { .. })));
    let not_open = host.plain(chunks(8, Some(1), 1, Stamp::ZERO));
    assert_eq!(not_open, Reply::Refused(Refusal::NotOpen));
}

#[test]
fn of_a_syncing_replica_an_engine_finds_what_was_written_since_it_was_listed() {
    let mut host = Host::new(1);
    host.open(7, 1, alone(1));
    for chunk in [1, 2] {
        host.ask(write(
            under(7, 1, 1),
            block(chunk, 0, 1),
            chunk.into(),
            0,
            1,
        ));
    }
    host.open(7, 1, syncing(5, 5));
    host.ask(write(under(7, 1, 5), block(2, 7, 1), 3, 0, 1));
    let reply = host.plain(chunks(7, Some(1), 5, Stamp::ZERO));
    let newest = Stamp::new(1, 0, 3);
    let chunk = ChunkIndex::new(2).unwrap();
    let wanted = Reply::Chunks {
        chunks: vec![ChunkStamp { chunk, newest }],
        more: false,
    };
    assert_eq!(reply, wanted);
    // Nor does it agree by what it held before.
    let versions = |generation| Request::Versions {
        share: share(7),
        epoch: Epoch(5),
        generation,
        chunk,
        cut: Cut(0),
    };
    let Reply::Versions { versions, .. } = host.plain(versions(Some(generation(1)))) else {
        panic!("no versions");
    };
    let seen: Vec<_> = versions.iter().map(|version| version.range).collect();
    assert_eq!(seen, [range(7, 1)]);
    let layers = |chunk| Request::Layers {
        share: share(7),
        epoch: Epoch(5),
        generation: Some(generation(1)),
        chunk,
    };
    let other = ChunkIndex::new(1).unwrap();
    for (chunk, layers_told) in [(chunk, 1), (other, 0)] {
        let Reply::Layers { layers, .. } = host.plain(layers(chunk)) else {
            panic!("no layers");
        };
        assert_eq!(layers.len(), layers_told);
    }
}

#[test]
fn a_source_serves_only_in_sync_and_under_its_own_epoch() {
    let mut host = Host::new(1);
    host.open(7, 1, alone(1));
    host.ask(write(under(7, 1, 1), block(0, 0, 3), 1, 0, 9));
    let adopt = |entry| Request::Adopt { entry };
    assert_eq!(host.plain(adopt(two(2))), Reply::Done);
    assert_eq!(host.crashed().replicas.entries().next(), Some(&two(2)));
    let copy = |epoch| Request::Copy {
        share: share(7),
        epoch: Epoch(epoch),
        block: block(0, 1, 4),
        cut: Cut(0),
    };
    let (reply, data) = host.ask_data((copy(2), None));
    let Reply::Data { parts } = reply else {
        panic!("{reply:?}");
    };
    assert_eq!(parts[0].version.tag.epoch, Epoch(1));
    let seen = spread(block(0, 1, 4), &parts, &data);
    assert_eq!(
        (seen[1].as_deref(), &seen[2]),
        (Some(&filled(3, 9)[2 * BLOCK_BYTES..]), &None)
    );
    assert_eq!(host.replicas.metrics().served_bytes, 2 * BLOCK_BYTES as u64);
    let stale = Reply::Refused(Refusal::StaleEpoch { entry: two(2) });
    assert_eq!(host.plain(copy(1)), stale);
    assert_eq!(host.plain(adopt(alone(1))), stale);
    assert_eq!(host.plain(copy(3)), Reply::Refused(Refusal::NotOpen));
    let long = Request::Copy {
        share: share(7),
        epoch: Epoch(2),
        block: block(0, 0, 257),
        cut: Cut(0),
    };
    assert_eq!(
        host.plain(long),
        Reply::Refused(malformed(Rule::PayloadFitsRange))
    );
    // Syncing itself, it is no source.
    let refused = Reply::Refused(malformed(Rule::SourceInSync));
    assert_eq!(host.plain(adopt(syncing(3, 3))), refused);
    host.replicas.learn(syncing(3, 3));
    host.calm();
    assert_eq!(host.plain(copy(3)), refused);
    assert_eq!(host.plain(chunks(7, None, 3, Stamp::ZERO)), refused);
}

#[test]
fn an_entry_is_adopted_for_a_copy_when_what_came_before_has_finished() {
    let mut host = Host::new(1);
    host.open(7, 1, alone(1));
    host.calm();
    host.queue.hold(true);
    let writing = host.send(write(under(7, 1, 1), block(0, 0, 1), 1, 0, 9));
    host.poll();
    let adopting = host.send((Request::Adopt { entry: two(2) }, None));
    host.poll();
    assert_eq!(
        host.refused(write(under(7, 1, 1), block(0, 1, 1), 2, 0, 9)),
        Refusal::StaleEpoch { entry: two(2) }
    );
    assert!(host.answer(writing).is_none() && host.answer(adopting).is_none());
    assert_eq!(
        host.plain(chunks(7, None, 2, Stamp::ZERO)),
        Reply::Refused(Refusal::NotOpen)
    );
    host.queue.hold(false);
    host.calm();
    assert_eq!(host.answer(writing).unwrap().0, Reply::Done);
    assert_eq!(host.answer(adopting).unwrap().0, Reply::Done);
    assert!(matches!(
        host.plain(chunks(7, None, 2, Stamp::ZERO)),
        Reply::Chunks { .. }
    ));
}

#[test]
fn a_reader_under_an_older_entry_holds_up_its_adoption_for_a_copy_too() {
    let mut host = Host::new(1);
    host.open(7, 1, alone(1));
    host.ask(write(under(7, 1, 1), block(0, 0, 1), 1, 0, 9));
    host.replicas.learn(two(2));
    host.calm();
    host.open(7, 1, two(2));
    host.calm();
    host.queue.hold(true);
    let reading = host.send((read(under(7, 1, 2), block(0, 0, 1), At::Head), None));
    let next = entry(3, &[(1, Role::InSync, 1), (2, Role::Syncing, 3)]);
    host.replicas.learn(next.clone());
    host.poll();
    // The note may be durable before the read has ended.
    while host.queue.pending() > 1 {
        host.queue.complete(1);
        host.poll();
    }
    let adopt = Request::Adopt {
        entry: next.clone(),
    };
    let adopting = host.send((adopt, None));
    host.poll();
    assert!(host.answer(reading).is_none() && host.answer(adopting).is_none());
    // The entry is durable, but nothing is told before what came under the older one has ended.
    assert_eq!(host.crashed().replicas.entries().next(), Some(&next));
    let early = host.plain(chunks(7, None, 3, Stamp::ZERO));
    assert_eq!(early, Reply::Refused(Refusal::NotOpen));
    host.queue.hold(false);
    host.calm();
    assert_eq!(host.answer(adopting).unwrap().0, Reply::Done);
}

#[test]
fn shares_come_in_pages_with_all_that_is_kept_of_them() {
    let mut host = Host::new(1);
    for number in 1..=70 {
        host.open(number, 3, alone(1));
    }
    let by = under(5, 3, 1);
    for (sequence, cut) in [(1, 0), (2, 1), (3, 2)] {
        host.ask(write(by, block(0, 0, 1), sequence, cut, 1));
    }
    host.replicas.add_reference(volume(5), Cut(1), volume(900));
    host.replicas.delete_snapshot(volume(5), Cut(0));
    host.calm();
    host.replicas.delete_volume(volume(5), Cut(2));
    host.calm();
    let page = |after: Option<u128>| Request::Shares {
        bucket: bucket(),
        epoch: Epoch(1),
        after: after.map(volume),
    };
    let Reply::Shares { shares, more } = host.plain(page(None)) else {
        panic!("no shares");
    };
    assert!(more && shares.len() == 64 && shares.is_sorted_by_key(|s| s.volume));
    let wanted = ShareState {
        volume: volume(5),
        fence: generation(3),
        deleted_at: Some(Cut(2)),
        deleted_snapshots: vec![Cut(0)],
        references: vec![(Cut(1), volume(900))],
    };
    assert_eq!(shares[4], wanted);
    let Reply::Shares { shares, more } = host.plain(page(Some(64))) else {
        panic!("no shares");
    };
    assert_eq!((shares.len(), more), (6, false));
}

#[test]
fn a_source_tells_only_of_fences_that_no_crash_takes_back() {
    let mut host = Host::new(1);
    host.open(7, 1, two(2));
    host.calm();
    host.queue.hold(true);
    host.send((open(7, 2, two(2)), None));
    host.poll();
    let layers = Request::Layers {
        share: share(7),
        epoch: Epoch(2),
        generation: None,
        chunk: ChunkIndex::new(0).unwrap(),
    };
    let fence = |reply| match reply {
        Reply::Layers { fence, .. } => fence,
        other => panic!("{other:?}"),
    };
    assert_eq!(fence(host.plain(layers.clone())), generation(1));
    host.queue.hold(false);
    host.calm();
    assert_eq!(fence(host.plain(layers)), generation(2));
}
