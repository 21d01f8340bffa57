//! Requests that are wrong in themselves, and those that there is no room for.

use super::world::*;
use moraine_model::*;
use moraine_protocol::*;
use moraine_replica::{Options, Output, Replicas, SessionId, StartError};
use moraine_store::{Buffer, FormatOptions, Shard, ShardOptions};

#[test]
fn data_that_does_not_fit_its_range_is_refused() {
    let mut host = Host::new(1);
    host.open(7, 1, alone(1));
    let by = under(7, 1, 1);
    let refused = malformed(Rule::PayloadFitsRange);
    let (good, _) = write(by, block(0, 0, 2), 1, 0, 1);
    let (zeroing, _) = zero(by, block(0, 0, 2), 1, 0);
    let long = write(by, block(0, 0, 257), 1, 0, 1);
    let Request::Write { content, .. } = &good else {
        unreachable!()
    };
    let few_sums = Request::Write {
        under: by,
        block: block(0, 0, 3),
        sequence: 1,
        cut: Cut(0),
        mark: Stamp::ZERO,
        content: content.clone(),
    };
    let bad = [
        (good.clone(), None),
        (good.clone(), Some(Buffer::zeroed(1))),
        (good, Some(Buffer::zeroed(3))),
        (few_sums, Some(Buffer::zeroed(3))),
        (zeroing, Some(Buffer::zeroed(2))),
        long,
        (read(by, block(0, 0, 257), At::Head), None),
        (read(by, block(0, 0, 1), At::Head), Some(Buffer::zeroed(1))),
        (Request::Ping, Some(Buffer::zeroed(1))),
    ];
    for request in bad {
        assert_eq!(host.refused(request), refused);
    }
    let zeroing = zero(by, block(0, 0, 1024), 1, 0);
    assert_eq!(
        host.ask(zeroing),
        Reply::Done,
        "zeros have no data and no bound"
    );
    assert_eq!(host.plain(Request::Ping), Reply::Done);
}

#[test]
fn data_that_was_damaged_on_its_way_is_refused() {
    let mut host = Host::new(1);
    host.open(7, 1, alone(1));
    let by = under(7, 1, 1);
    let (request, data) = write(by, block(0, 8, 3), 1, 0, 1);
    let mut data = data.unwrap();
    data[BLOCK_BYTES] ^= 1;
    let refused = host.refused((request, Some(data)));
    assert_eq!(refused, Refusal::Mismatch { block: 9 });
    assert_eq!(
        host.blocks(by, block(0, 8, 3), At::Head),
        [None, None, None]
    );
}

#[test]
fn buckets_of_others_are_refused() {
    let mut disk = moraine_store::disk::MemoryDisk::new(64 << 20, 4096);
    let options = FormatOptions {
        segment_blocks: SEGMENT_BLOCKS,
        shards: 2,
        ..FormatOptions::new(cluster(), disk_id(1))
    };
    moraine_store::format(&mut disk, &options).unwrap();
    let opened = moraine_store::open(&mut disk, cluster()).unwrap();
    let shard = Shard::recover(disk.another(), &opened, 1, ShardOptions::default()).unwrap();
    let options = Options {
        buckets: 4,
        ..Options::new(disk_id(1))
    };
    let mut replicas = Replicas::new(shard, options).unwrap();
    let mut ask = |bucket: u32| {
        let bucket = BucketId::new(bucket).unwrap();
        let listing = Listing {
            disk: disk_id(1),
            role: Role::InSync,
            since: Epoch(1),
        };
        let entry = BucketEntry::new(bucket, Epoch(1), vec![listing]).unwrap();
        replicas.learn(entry.clone());
        replicas.request(ENGINE, RequestId(1), open(7, 1, entry), None);
        for now_ms in 0..100 {
            replicas.poll(now_ms);
        }
        match replicas.next_output() {
            Some(Output::Reply { reply, .. }) => reply,
            other => panic!("{other:?}"),
        }
    };
    let not_here = Reply::Refused(Refusal::NotHere);
    assert_eq!(ask(0), not_here);
    assert_eq!(ask(2), not_here);
    assert_eq!(ask(5), not_here, "the pool has four buckets");
    assert!(matches!(ask(1), Reply::Opened { .. }));
    assert!(matches!(ask(3), Reply::Opened { .. }));
    assert_eq!(replicas.entries().count(), 2);
}

#[test]
fn the_store_of_another_disk_is_refused() {
    let disk = formatted(1, 16);
    let refused = Replicas::new(shard_of(&disk), Options::new(disk_id(2)));
    assert!(matches!(refused, Err(StartError::OtherDisk { .. })));
}

#[test]
fn a_note_that_can_not_be_read_stops_the_start() {
    let good = Host::new(1);
    let spoilt = [
        (vec![2, 0, 0, 0, 0], vec![1]),
        (vec![1, 0, 0, 0, 0], vec![1, 5]),
        (vec![9, 1], vec![1]),
    ];
    for (key, value) in spoilt {
        let mut shard = shard_of(&good.disk);
        let value = Some(value);
        shard.submit(moraine_store::Request::Note {
            key: key.clone(),
            value,
        });
        for now_ms in 0..100 {
            shard.poll(now_ms);
        }
        let refused = Replicas::new(shard, good.options);
        let Err(StartError::Note { key: named, .. }) = refused else {
            panic!("started with a note that it can't read: {key:?}");
        };
        assert_eq!(named, key);
    }
}

#[test]
fn more_than_so_many_requests_at_once_are_refused() {
    let host = Host::new(1);
    let options = Options {
        requests_max: 4,
        ..host.options
    };
    let mut host = Host::with(host.disk, options);
    host.open(7, 1, alone(1));
    host.queue.hold(true);
    let by = under(7, 1, 1);
    let ids: Vec<_> = (0..6)
        .map(|nth| host.send(write(by, block(0, nth, 1), 1 + u64::from(nth), 0, 1)))
        .collect();
    for id in &ids[4..] {
        assert_eq!(host.answer(*id).unwrap().0, Reply::Refused(Refusal::Busy));
    }
    host.queue.hold(false);
    host.calm();
    for id in &ids[..4] {
        assert_eq!(host.answer(*id).unwrap().0, Reply::Done);
    }
    assert_eq!(host.ask(write(by, block(0, 0, 1), 9, 0, 1)), Reply::Done);
}

#[test]
fn a_full_disk_refuses_data_and_takes_the_rest() {
    let mut host = Host::with(formatted(1, 12), Options::new(disk_id(1)));
    host.open(7, 1, alone(1));
    let by = under(7, 1, 1);
    let mut sequence = 0;
    let full = (0..200).find_map(|chunk| {
        sequence += 1;
        match host.ask(write(by, block(chunk, 0, 64), sequence, 0, 1)) {
            Reply::Done => None,
            other => Some(other),
        }
    });
    assert_eq!(full, Some(Reply::Refused(Refusal::NoSpace)));
    assert_eq!(
        host.blocks(by, block(0, 0, 1), At::Head),
        [Some(filled(1, 1))]
    );
    assert_eq!(
        host.ask(zero(by, block(0, 0, 64), sequence + 1, 0)),
        Reply::Done
    );
    host.open(7, 2, alone(2));
    assert_eq!(host.crashed().open(7, 2, alone(2)).1, Cut(0));
}

#[test]
fn every_refusal_is_counted() {
    let mut host = Host::new(1);
    host.replicas
        .request(SessionId(2), RequestId(1), open(7, 1, alone(1)), None);
    host.calm();
    let before = host.replicas.metrics();
    host.refused(write(under(7, 1, 0), block(0, 0, 1), 1, 0, 1));
    host.refused(write(under(7, 0, 1), block(0, 0, 1), 1, 0, 1));
    host.refused(write(under(8, 1, 1), block(0, 0, 1), 1, 0, 1));
    let after = host.replicas.metrics();
    assert_eq!(after.refusals.stale_epoch, before.refusals.stale_epoch + 1);
    assert_eq!(after.refusals.fenced, before.refusals.fenced + 1);
    assert_eq!(after.refusals.not_open, before.refusals.not_open + 1);
    assert_eq!(after.requests, before.requests + 3);
}
