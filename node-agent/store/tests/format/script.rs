//! The disk that is kept as a fixture: a small store that has been through everything that leaves
//! a structure of its own on the disk, ended by a crash.
//!
//! Every id, stamp and step is fixed, and the store is deterministic, so the same code makes the
//! same bytes each time. `examples/write-fixture.rs` writes them to files.

use super::driver::{Driver, NOW_MS, Value, settle};
use moraine_model::{Cut, Epoch, Stamp, VolumeId};
use moraine_store::disk::{CrashFate, MemoryDisk, Operation};
use moraine_store::index::Share;
use moraine_store::{Control, Request};

/// Makes the disk, and the text of what a reader must find on it.
pub(crate) fn make() -> (MemoryDisk, String) {
    let mut driver = Driver::new();
    for bucket in [0, 1] {
        churn(&mut driver, bucket);
        snapshots(&mut driver, bucket);
        holes(&mut driver, bucket);
        deletions(&mut driver, bucket);
        age(&mut driver, bucket);
    }
    // A second bucket of the first shard: its entries lie among those of the other.
    let other = Driver::share(1, 2);
    driver.write(other, (0, 0, 3), 0, Value::Data);
    driver.write(other, (0, 1008, 16), 1, Value::Zero);
    crash_in_data(&mut driver, Driver::share(7, 0));
    crash_in_header(&mut driver, Driver::share(7, 1));
    (driver.disk.another(), driver.model.text())
}

/// Fills extents that are mostly dead when they are closed, and compacts them.
fn churn(driver: &mut Driver, bucket: u32) {
    let (busy, calm) = (Driver::share(1, bucket), Driver::share(3, bucket));
    for round in 0..10_u16 {
        driver.write(busy, (1, 0, 12), 0, Value::Data);
        driver.write(busy, (1, 12, 12), 0, Value::Data);
        driver.write(calm, (u32::from(round), 8 * round, 6), 0, Value::Data);
        driver.write(calm, (20, 100 + round, 1), 0, Value::Zero);
        driver.note(calm, "round", Some(&round.to_string()));
    }
    let shard = driver.shard(busy);
    let before = shard.metrics().compactions;
    shard.request_compaction();
    settle(shard);
    let after = shard.metrics().compactions;
    assert!(after > before, "the script leaves something to compact");
}

/// Several cuts, a clone that reads at the oldest, and snapshots deleted.
fn snapshots(driver: &mut Driver, bucket: u32) {
    let (volume, clone) = (Driver::share(1, bucket), Driver::share(2, bucket));
    let child = |volume| VolumeId::new(volume).expect("volumes are not zero");
    driver.write(volume, (0, 0, 16), 0, Value::Data);
    driver.write(volume, (0, 8, 4), 0, Value::Zero);
    for child in [child(2), child(6)] {
        driver.control(volume, Control::AddReference { cut: Cut(0), child });
    }
    driver.write(volume, (0, 4, 6), 1, Value::Data);
    driver.write(volume, (0, 20, 4), 1, Value::Zero);
    driver.write(volume, (0, 6, 2), 2, Value::Data);
    driver.write(clone, (0, 2, 2), 0, Value::Data);
    driver.write(clone, (0, 5, 1), 0, Value::Zero);
    driver.control(volume, Control::DeleteSnapshot { cut: Cut(1) });
    driver.control(volume, Control::DeleteSnapshot { cut: Cut(0) });
    let child = child(6);
    driver.control(volume, Control::RemoveReference { cut: Cut(0), child });
}

/// A hole in one layer, and one that reaches down to a collected one.
fn holes(driver: &mut Driver, bucket: u32) {
    let (volume, calm) = (Driver::share(1, bucket), Driver::share(3, bucket));
    driver.write(volume, (2, 0, 8), 0, Value::Data);
    driver.write(volume, (2, 2, 4), 1, Value::Data);
    driver.write(volume, (2, 3, 2), 1, Value::Hole(1));
    driver.control(calm, Control::DeleteSnapshot { cut: Cut(0) });
    driver.write(calm, (40, 0, 4), 0, Value::Data);
    driver.write(calm, (40, 0, 3), 1, Value::Data);
    driver.write(calm, (40, 1, 2), 1, Value::Hole(0));
}

/// A deleted volume with a snapshot, a share that was dropped and came back, notes that changed.
fn deletions(driver: &mut Driver, bucket: u32) {
    let (deleted, dropped) = (Driver::share(4, bucket), Driver::share(5, bucket));
    driver.write(deleted, (3, 0, 4), 0, Value::Data);
    driver.write(deleted, (3, 2, 4), 1, Value::Data);
    driver.control(deleted, Control::DeleteVolume { cut: Cut(1) });
    driver.write(dropped, (0, 0, 5), 0, Value::Data);
    driver.control(dropped, Control::DeleteSnapshot { cut: Cut(0) });
    driver.control(dropped, Control::DropShare);
    driver.note(dropped, "fence", Some("attach 1"));
    driver.note(dropped, "fence", Some("attach 2"));
    driver.note(dropped, "empty", Some(""));
    // The longest key and the longest value.
    driver.note(dropped, &"k".repeat(63), Some(&"v".repeat(512)));
    driver.note(dropped, "gone", Some("soon"));
    driver.note(dropped, "gone", None);
    driver.stamp = Stamp::new(2, 1, driver.stamp.sequence);
    driver.epoch = Epoch(2);
    driver.write(dropped, (1, 0, 2), 0, Value::Data);
}

/// Bitmaps go to the disk, and then more blocks die than they know of.
fn age(driver: &mut Driver, bucket: u32) {
    let (busy, calm) = (Driver::share(1, bucket), Driver::share(3, bucket));
    for round in 0..6 {
        driver.write(busy, (1, 0, 12), 1, Value::Data);
        driver.write(busy, (1, 12, 12), 1, Value::Data);
        driver.write(calm, (30, 8 * round, 6), 0, Value::Data);
    }
    let shard = driver.shard(busy);
    shard.checkpoint();
    settle(shard);
    driver.write(calm, (30, 0, 14), 0, Value::Data);
    driver.write(calm, (30, 14, 16), 0, Value::Data);
    driver.write(calm, (5, 40, 3), 1, Value::Data);
}

/// Ends a shard while a compaction and two batches are under way: the scratch extent stays, the
/// first batch is whole though nobody was told, of the second a part of the data is missing.
fn crash_in_data(driver: &mut Driver, share: Share) {
    driver.queue(share).hold(true);
    driver.shard(share).request_compaction();
    driver.shard(share).poll(NOW_MS);
    // The two copies of the scratch extent's head, and the reads of its first source.
    for _ in 0..4 {
        assert!(driver.queue(share).complete(0), "a compaction is under way");
        driver.shard(share).poll(NOW_MS);
    }
    let (whole, note) = driver.prepare(share, (0, 0, 3), 0, Value::Data);
    driver.shard(share).submit(Request::Write(whole));
    driver.shard(share).poll(NOW_MS);
    let (torn, _) = driver.prepare(share, (1, 0, 3), 0, Value::Data);
    driver.shard(share).submit(Request::Write(torn));
    driver.shard(share).poll(NOW_MS);
    let mut batches = 0;
    driver.queue(share).crash(|operation| {
        batches += usize::from(is_batch(operation));
        match (is_batch(operation), batches) {
            (true, 1) => CrashFate::Whole,
            (true, _) => CrashFate::Sectors(vec![true; 2 * 8 + 3]),
            _ => CrashFate::Lost,
        }
    });
    assert_eq!(batches, 2, "two batches were in flight");
    note(&mut driver.model);
}

/// Ends a shard while a batch is under way, of whose header only the first sector reaches the disk.
fn crash_in_header(driver: &mut Driver, share: Share) {
    driver.queue(share).hold(true);
    let (torn, _) = driver.prepare(share, (0, 0, 12), 0, Value::Data);
    driver.shard(share).submit(Request::Write(torn));
    driver.shard(share).poll(NOW_MS);
    let mut batches = 0;
    driver.queue(share).crash(|operation| {
        batches += usize::from(is_batch(operation));
        CrashFate::Sectors(vec![is_batch(operation)])
    });
    assert_eq!(batches, 1, "one batch was in flight");
}

fn is_batch(operation: &Operation) -> bool {
    match operation {
        Operation::Write { buffers, .. } => {
            let first = buffers.first();
            first.is_some_and(|first| first.starts_with(b"MOR-BTCH"))
        }
        _ => false,
    }
}
