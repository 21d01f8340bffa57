//! The faulty disk does what its script says, and nothing else; and the recording disk brings every
//! image that a crash could leave, and none that it could not.

// The helpers of tests are outside the functions that clippy takes for tests.
#![allow(clippy::unwrap_used, clippy::panic)]

use moraine_store::Buffer;
use moraine_store::disk::{
    Completion, Disk, FailureKind, Fault, FaultyDisk, MemoryDisk, Nth, Operation, Order, Recorder,
    RecordingDisk,
};
use std::collections::{BTreeSet, HashSet};

const SIZE_BYTES: u64 = 1 << 20;

fn faulty(script: impl FnMut(&Operation, Nth) -> Fault + Send + 'static) -> FaultyDisk<MemoryDisk> {
    FaultyDisk::new(MemoryDisk::new(SIZE_BYTES, 512), Box::new(script))
}

/// The fault for the writes, in order, and none for the rest and the others.
fn on_writes(faults: &'static [Fault]) -> FaultyDisk<MemoryDisk> {
    faulty(|operation, nth| match operation {
        Operation::Write { .. } => fault_of(faults, nth),
        _ => Fault::None,
    })
}

fn on_reads(faults: &'static [Fault]) -> FaultyDisk<MemoryDisk> {
    faulty(|operation, nth| match operation {
        Operation::Read { .. } => fault_of(faults, nth),
        _ => Fault::None,
    })
}

fn fault_of(faults: &[Fault], nth: Nth) -> Fault {
    let nth = usize::try_from(nth.of_kind).unwrap();
    faults.get(nth).copied().unwrap_or(Fault::None)
}

fn write(offset: u64, bytes: &[u8]) -> Operation {
    let buffers = bytes.iter().map(|&byte| Buffer::copy_of(&[byte; 4096]));
    Operation::Write {
        offset,
        buffers: buffers.collect(),
    }
}

fn run(disk: &mut impl Disk, operation: Operation) -> Completion {
    disk.submit(9, operation).unwrap();
    let mut completions = Vec::new();
    disk.wait(&mut completions);
    assert_eq!((completions.len(), completions[0].tag), (1, 9));
    assert_eq!(disk.in_flight(), 0);
    completions.remove(0)
}

/// The first byte of each block of a read.
fn read(disk: &mut impl Disk, offset: u64, blocks: usize) -> (Vec<u8>, Option<FailureKind>) {
    let buffer = Buffer::copy_of(&vec![0xEE; blocks * 4096]);
    let completion = run(disk, Operation::Read { offset, buffer });
    let Operation::Read { buffer, .. } = completion.operation else {
        panic!("another operation came back")
    };
    let firsts = buffer.chunks_exact(4096).map(|block| block[0]).collect();
    (firsts, completion.outcome.err().map(|failure| failure.kind))
}

fn on_platter<const N: usize>(disk: &FaultyDisk<MemoryDisk>) -> [u8; N] {
    std::array::from_fn(|nth| {
        let mut byte = [0];
        disk.inner().peek(nth as u64 * 4096, &mut byte);
        byte[0]
    })
}

#[test]
fn a_failed_write_is_not_done_or_done_all_the_same() {
    let mut disk = on_writes(&[Fault::Fail, Fault::FailDone, Fault::None]);
    for (nth, fails) in [true, true, false].into_iter().enumerate() {
        let completion = run(&mut disk, write(nth as u64 * 4096, &[7]));
        assert_eq!(completion.outcome.is_err(), fails, "write {nth}");
    }
    assert_eq!(on_platter(&disk), [0, 7, 7]);
}

#[test]
fn a_fault_can_pick_the_nth_sync_or_read() {
    let mut disk = faulty(|operation, nth| match (operation, nth.of_kind) {
        (Operation::Sync, 1) | (Operation::Read { .. }, 0) => Fault::Fail,
        _ => Fault::None,
    });
    assert!(run(&mut disk, Operation::Sync).outcome.is_ok());
    assert!(run(&mut disk, write(0, &[1])).outcome.is_ok());
    let failure = run(&mut disk, Operation::Sync).outcome.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Io);
    assert!(failure.source.is_some());
    assert_eq!(read(&mut disk, 0, 1).1, Some(FailureKind::Io));
    assert_eq!(read(&mut disk, 0, 1), (vec![1], None));
}

#[test]
fn a_short_transfer_moves_its_first_blocks() {
    let mut disk = on_writes(&[Fault::Short { blocks: 2 }]);
    let completion = run(&mut disk, write(0, &[1, 2, 3]));
    assert_eq!(completion.outcome.unwrap_err().kind, FailureKind::Short);
    assert_eq!(completion.operation.size_bytes(), 3 * 4096);
    assert_eq!(on_platter(&disk), [1, 2, 0]);

    let mut disk = on_reads(&[Fault::Short { blocks: 1 }]);
    run(&mut disk, write(0, &[1, 2]));
    let short = read(&mut disk, 0, 2);
    assert_eq!(short, (vec![1, 0xEE], Some(FailureKind::Short)));
}

#[test]
fn lies_succeed() {
    let mut disk = on_writes(&[
        Fault::Lost,
        Fault::Misdirect { offset: 8192 },
        Fault::Flip { byte: 4096, bit: 7 },
    ]);
    for (offset, bytes) in [(0, vec![1]), (4096, vec![2]), (12_288, vec![3, 3])] {
        let completion = run(&mut disk, write(offset, &bytes));
        assert!(completion.outcome.is_ok());
        let Operation::Write {
            offset: at,
            buffers,
        } = completion.operation
        else {
            panic!("another operation came back")
        };
        assert_eq!(at, offset, "the caller sees its own offset");
        assert!(
            buffers.iter().all(|buffer| buffer[0] == bytes[0]),
            "and data"
        );
    }
    assert_eq!(on_platter(&disk), [0, 0, 2, 3, 3 ^ 0x80]);

    let mut disk = on_reads(&[
        Fault::Misdirect { offset: 4096 },
        Fault::Flip { byte: 0, bit: 0 },
    ]);
    run(&mut disk, write(0, &[4, 6]));
    assert_eq!(read(&mut disk, 0, 1), (vec![6], None));
    assert_eq!(read(&mut disk, 0, 1), (vec![5], None));
    assert_eq!(read(&mut disk, 0, 1), (vec![4], None));
}

#[test]
fn delays_reorder_completions() {
    let mut disk = on_writes(&[
        Fault::Delay { polls: 3 },
        Fault::Delay { polls: 1 },
        Fault::None,
    ]);
    for tag in 0..3 {
        disk.submit(tag, write(tag * 4096, &[1])).unwrap();
    }
    let mut tags = Vec::new();
    while disk.in_flight() > 0 {
        let mut completions = Vec::new();
        disk.wait(&mut completions);
        assert!(!completions.is_empty());
        tags.extend(completions.iter().map(|completion| completion.tag));
    }
    assert_eq!(tags, [2, 1, 0]);
}

/// The first bytes of the first sectors of every image of every crash, by position.
fn images(
    recorder: &Recorder,
    sectors: usize,
    seed: u64,
    count: usize,
) -> BTreeSet<(usize, Vec<u8>)> {
    let firsts = |disk: MemoryDisk| {
        let mut bytes = vec![0; sectors * 512];
        disk.peek(0, &mut bytes);
        bytes.iter().step_by(512).copied().collect()
    };
    recorder
        .crashes(seed, count)
        .map(|crash| (crash.position, firsts(crash.image())))
        .collect()
}

#[test]
fn a_crash_leaves_what_ended_and_any_of_what_began() {
    let disk = MemoryDisk::new(SIZE_BYTES, 4096);
    disk.poke(0, &[9]);
    let mut disk = RecordingDisk::new(disk, Order::Submitted);
    let recorder = disk.recorder();
    disk.submit(1, write(0, &[1])).unwrap();
    disk.submit(2, write(4096, &[2])).unwrap();
    let mut completions = Vec::new();
    disk.poll(&mut completions);
    assert_eq!(completions.len(), 2);
    assert_eq!(recorder.position(), 4);
    disk.submit(3, Operation::Sync).unwrap();
    disk.poll(&mut completions);
    assert_eq!(recorder.position(), 4, "only changes are boundaries");

    let seen: BTreeSet<_> = images(&recorder, 16, 0, 4)
        .into_iter()
        .map(|(position, bytes)| (position, bytes[0], bytes[8]))
        .collect();
    let expected = [
        (0, 9, 0),
        (1, 1, 0),
        // The second has begun; with it lost it would be the image before.
        (2, 9, 2),
        (2, 1, 2),
        // The first has ended.
        (3, 1, 0),
        (3, 1, 2),
        (4, 1, 2),
    ];
    // A write of one logical block is never torn but wholly there or not.
    let torn: Vec<_> = seen
        .difference(&BTreeSet::from(expected))
        .copied()
        .collect();
    assert!(
        torn.iter()
            .all(|image| [(1, 9, 0), (2, 9, 0), (2, 1, 0)].contains(image)),
        "{torn:?}"
    );
    assert!(BTreeSet::from(expected).is_subset(&seen), "{seen:?}");
}

#[test]
fn writes_are_torn_at_logical_blocks() {
    let mut disk = RecordingDisk::new(MemoryDisk::new(SIZE_BYTES, 512), Order::Submitted);
    disk.submit(1, write(0, &[5, 5])).unwrap();
    let images = images(&disk.recorder(), 16, 3, 400);
    let torn: HashSet<_> = images.iter().map(|(_, bytes)| bytes.clone()).collect();
    assert!(torn.len() > 60, "only {} images", torn.len());
    assert!(torn.iter().flatten().all(|&byte| byte == 0 || byte == 5));
    let prefixes = (0..=16).filter(|&cut| {
        let prefix = [vec![5; cut], vec![0; 16 - cut]].concat();
        torn.contains(&prefix)
    });
    assert_eq!(prefixes.count(), 17);
}

#[test]
fn many_in_flight_are_sampled_the_same_for_the_same_seed() {
    let mut disk = RecordingDisk::new(MemoryDisk::new(SIZE_BYTES, 512), Order::Submitted);
    for tag in 0..40 {
        disk.submit(tag, write(tag * 4096, &[1])).unwrap();
    }
    let recorder = disk.recorder();
    let described = |seed| -> Vec<String> {
        recorder
            .crashes(seed, 6)
            .map(|crash| crash.to_string())
            .collect()
    };
    assert_eq!(described(1), described(1));
    assert_ne!(described(1), described(2));
    assert!(described(1).len() <= 41 * 6);
    let last = described(1).pop().unwrap();
    assert!(last.starts_with("crash after 40 boundaries; "), "{last}");
}

#[test]
fn a_discarded_range_reads_anything_and_its_neighbours_stay() {
    let kinds: HashSet<_> = (0..40)
        .map(|seed| {
            let disk = MemoryDisk::new(SIZE_BYTES, 512);
            disk.poke(0, &[7; 3 * 4096]);
            let mut disk = RecordingDisk::new(disk, Order::Submitted);
            let discard = Operation::Discard {
                offset: 4096,
                size_bytes: 4096,
            };
            run(&mut disk, discard);
            let last = disk.recorder().crashes(seed, 1).last().unwrap();
            let mut bytes = vec![0; 3 * 4096];
            last.image().peek(0, &mut bytes);
            let mut neighbours = bytes[..4096].iter().chain(&bytes[8192..]);
            assert!(neighbours.all(|&byte| byte == 7));
            match &bytes[4096..4099] {
                [7, 7, 7] => "kept",
                [0, 0, 0] => "zeros",
                _ => "anything",
            }
        })
        .collect();
    assert_eq!(kinds.len(), 3, "{kinds:?}");
}

#[test]
fn an_operation_outside_the_disk_leaves_no_trace() {
    let mut disk = RecordingDisk::new(MemoryDisk::new(SIZE_BYTES, 512), Order::Submitted);
    disk.submit(1, write(SIZE_BYTES, &[1])).unwrap();
    let mut completions = Vec::new();
    disk.poll(&mut completions);
    assert!(completions[0].outcome.is_err());
    let recorder = disk.recorder();
    disk.submit(2, write(0, &[1])).unwrap();
    disk.poll(&mut completions);
    let last = recorder.crashes(1, 1).last().unwrap();
    let mut byte = [0];
    last.image().peek(0, &mut byte);
    assert_eq!((last.position, byte), (2, [1]));
}

#[test]
fn handles_share_a_record_and_shuffled_ones_reorder() {
    let order = Order::Shuffled(5);
    let mut one = RecordingDisk::new(MemoryDisk::new(SIZE_BYTES, 512), order);
    let mut other = one.another(Order::Shuffled(6));
    for tag in 0..20 {
        one.submit(tag, write(tag * 8192, &[1])).unwrap();
        other.submit(tag, write(tag * 8192 + 4096, &[2])).unwrap();
    }
    let mut tags = Vec::new();
    for disk in [&mut one, &mut other] {
        let mut completions = Vec::new();
        while disk.in_flight() > 0 {
            disk.wait(&mut completions);
        }
        tags.push(
            completions
                .iter()
                .map(|completion| completion.tag)
                .collect::<Vec<_>>(),
        );
    }
    for tags in tags {
        assert!(!tags.is_sorted());
        assert_eq!(BTreeSet::from_iter(tags).len(), 20);
    }
    let recorder = one.recorder();
    assert_eq!(recorder.position(), 80);
    let last = recorder.crashes(1, 1).last().unwrap().image();
    for nth in 0..40_u8 {
        let mut byte = [0];
        last.peek(u64::from(nth) * 4096, &mut byte);
        assert_eq!(byte, [1 + nth % 2]);
    }
}
