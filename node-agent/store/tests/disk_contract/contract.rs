//! The checks of the contract, each for any disk.

use super::rig::{Dice, Rig, SIZE_BYTES, drain, filled, pattern, read, run, write};
use moraine_store::Buffer;
use moraine_store::disk::{Disk, FailureKind, Operation};
use std::collections::{HashMap, HashSet};

const BLOCKS: u64 = SIZE_BYTES / 4096;
const OPERATIONS: u64 = 800;

pub(crate) fn what_was_written_is_read_back(rig: &mut Rig) {
    let disk = rig.disk();
    let own = filled(disk, &[1, 2]);
    let plain = Buffer::copy_of(&pattern(3));
    let addresses = [own.as_ptr(), plain.as_ptr()];
    let offset = (BLOCKS - 3) * 4096;
    let buffers = vec![own, plain];
    let completion = run(disk, Operation::Write { offset, buffers });
    completion.outcome.unwrap();
    let Operation::Write { buffers, .. } = completion.operation else {
        panic!("another operation came back")
    };
    let returned: Vec<_> = buffers.iter().map(|buffer| buffer.as_ptr()).collect();
    assert_eq!(returned, addresses, "the same memory comes back");
    assert!(buffers[0][..4096] == pattern(1), "with the same content");
    write(disk, 0, &[4]).outcome.unwrap();

    let expected = [pattern(1), pattern(2), pattern(3)].concat();
    assert!(read(disk, offset, 3) == expected);
    assert!(read(disk, 0, 1) == pattern(4));
    let buffer = Buffer::zeroed(1);
    let completion = run(disk, Operation::Read { offset, buffer });
    let Operation::Read { buffer, .. } = completion.operation else {
        panic!("another operation came back")
    };
    assert!(buffer[..] == pattern(1), "memory of others serves as well");
}

pub(crate) fn an_operation_that_does_not_fit_fails_and_comes_back(rig: &mut Rig) {
    let disk = rig.disk();
    let sector = u64::from(disk.geometry().logical_block_bytes);
    let last = SIZE_BYTES - 4096;
    for offset in [SIZE_BYTES, last + sector, sector / 2, u64::MAX - 4095] {
        let writes = write(disk, offset, &[1]);
        let reads = run(
            disk,
            Operation::Read {
                offset,
                buffer: Buffer::zeroed(1),
            },
        );
        let discards = run(
            disk,
            Operation::Discard {
                offset,
                size_bytes: 4096,
            },
        );
        for completion in [writes, reads, discards] {
            let failure = completion.outcome.unwrap_err();
            assert_eq!(failure.kind, FailureKind::OutOfRange, "offset {offset}");
            assert_eq!(completion.operation.size_bytes(), 4096);
        }
    }
    assert!(
        read(disk, SIZE_BYTES - 4096, 1) == [0; 4096],
        "nothing was written"
    );
}

pub(crate) fn more_pieces_than_a_system_call_takes_are_refused(rig: &mut Rig) {
    let disk = rig.disk();
    for (pieces, fits) in [(1024, true), (1025, false)] {
        let buffers = (0..pieces).map(|_| Buffer::zeroed(1)).collect();
        let completion = run(disk, Operation::Write { offset: 0, buffers });
        assert_eq!(completion.outcome.is_ok(), fits, "{pieces}");
    }
}

pub(crate) fn an_empty_operation_succeeds(rig: &mut Rig) {
    let disk = rig.disk();
    let offset = 4096;
    let empties = [
        Operation::Read {
            offset,
            buffer: Buffer::zeroed(0),
        },
        Operation::Write {
            offset,
            buffers: Vec::new(),
        },
        Operation::Discard {
            offset,
            size_bytes: 0,
        },
    ];
    for operation in empties {
        run(disk, operation).outcome.unwrap();
    }
}

pub(crate) fn a_full_queue_gives_the_operation_back(rig: &mut Rig) {
    let disk = rig.disk();
    let depth = disk.geometry().queue_depth;
    for round in 0..2 {
        for tag in 0..depth as u64 {
            let buffers = vec![filled(disk, &[tag + round])];
            let offset = tag * 4096;
            disk.submit(tag, Operation::Write { offset, buffers })
                .unwrap();
        }
        assert_eq!(disk.in_flight(), depth);
        let buffer = filled(disk, &[99]);
        let refused = disk.submit(0, Operation::Read { offset: 0, buffer });
        let Err(Operation::Read { buffer, .. }) = refused else {
            panic!("the operation was not given back: {refused:?}")
        };
        assert!(buffer[..] == pattern(99));
        let tags: HashSet<_> = drain(disk)
            .iter()
            .map(|completion| completion.tag)
            .collect();
        assert_eq!(tags.len(), depth);
    }
    for tag in 0..depth as u64 {
        assert!(read(disk, tag * 4096, 1) == pattern(tag + 1));
    }
}

/// Random writes, reads and syncs at random depth, never two at one block at once; every read must
/// bring what was last written there.
pub(crate) fn many_operations_in_flight_match_a_model(rig: &mut Rig) {
    let disk = rig.disk();
    let mut dice = Dice(42);
    let mut model: HashMap<u64, u64> = HashMap::new();
    let mut busy: HashSet<u64> = HashSet::new();
    let mut blocks_of: HashMap<u64, Vec<u64>> = HashMap::new();
    let mut completions = Vec::new();
    for tag in 0..OPERATIONS {
        let first = dice.below(BLOCKS - 8);
        let blocks: Vec<_> = (first..=first + dice.below(8)).collect();
        if blocks.iter().all(|block| !busy.contains(block)) {
            let operation = random_operation(disk, &mut dice, tag, &blocks);
            if let Operation::Write { .. } = operation {
                model.extend(blocks.iter().map(|&block| (block, block + tag)));
            }
            if disk.submit(tag, operation).is_ok() {
                busy.extend(&blocks);
                blocks_of.insert(tag, blocks);
            } else {
                panic!("more in flight than this check lets")
            }
        }
        if disk.in_flight() >= 64 {
            disk.wait(&mut completions);
        } else if dice.below(4) == 0 {
            disk.poll(&mut completions);
        }
        if tag == OPERATIONS - 1 {
            completions.extend(drain(disk));
        }
        for completion in completions.drain(..) {
            completion.outcome.unwrap();
            let blocks = blocks_of.remove(&completion.tag).expect("completed twice");
            for block in &blocks {
                busy.remove(block);
            }
            finish(disk, completion.operation, &blocks, &model);
        }
    }
    assert!(blocks_of.is_empty(), "never completed: {blocks_of:?}");
    let image = read(disk, 0, usize::try_from(BLOCKS).unwrap());
    for (block, bytes) in image.chunks_exact(4096).enumerate() {
        assert!(bytes == expected(&model, block as u64), "block {block}");
    }
}

fn random_operation(disk: &mut dyn Disk, dice: &mut Dice, tag: u64, blocks: &[u64]) -> Operation {
    let offset = blocks[0] * 4096;
    let numbers: Vec<_> = blocks.iter().map(|block| block + tag).collect();
    match dice.below(9) {
        0 => Operation::Sync,
        1..4 => Operation::Read {
            offset,
            buffer: disk.buffer(blocks.len()),
        },
        4..6 => Operation::Write {
            offset,
            buffers: vec![filled(disk, &numbers)],
        },
        6 => Operation::Write {
            offset,
            buffers: vec![Buffer::copy_of(&filled(disk, &numbers))],
        },
        _ => Operation::Write {
            offset,
            buffers: numbers
                .iter()
                .map(|&number| filled(disk, &[number]))
                .collect(),
        },
    }
}

fn finish(disk: &mut dyn Disk, operation: Operation, blocks: &[u64], model: &HashMap<u64, u64>) {
    match operation {
        Operation::Read { buffer, .. } => {
            for (bytes, block) in buffer.chunks_exact(4096).zip(blocks) {
                assert!(bytes == expected(model, *block), "block {block}");
            }
            disk.recycle(buffer);
        }
        Operation::Write { buffers, .. } => {
            for (nth, bytes) in buffers
                .iter()
                .flat_map(|buffer| buffer.chunks_exact(4096))
                .enumerate()
            {
                assert!(
                    bytes == expected(model, blocks[nth]),
                    "the data was not touched"
                );
            }
            for buffer in buffers {
                disk.recycle(buffer);
            }
        }
        Operation::Sync | Operation::Discard { .. } => {}
    }
}

fn expected(model: &HashMap<u64, u64>, block: u64) -> Vec<u8> {
    match model.get(&block) {
        Some(&number) => pattern(number),
        None => vec![0; 4096],
    }
}

pub(crate) fn a_discard_leaves_its_neighbours(rig: &mut Rig) {
    let disk = rig.disk();
    write(disk, 0, &[1, 2, 3, 4]).outcome.unwrap();
    let discard = Operation::Discard {
        offset: 4096,
        size_bytes: 8192,
    };
    run(disk, discard).outcome.unwrap();
    run(disk, Operation::Sync).outcome.unwrap();
    assert!(read(disk, 0, 1) == pattern(1));
    assert!(read(disk, 3 * 4096, 1) == pattern(4));
    write(disk, 4096, &[5]).outcome.unwrap();
    assert!(read(disk, 4096, 1) == pattern(5));
}

pub(crate) fn a_disk_may_move_to_another_thread(rig: &mut Rig) {
    write(rig.disk(), 0, &[1]).outcome.unwrap();
    let mut disk = rig.disk.take().unwrap();
    // In flight while it moves, and its first thread is gone when it completes.
    let moving = std::thread::spawn(move || {
        let buffers = vec![filled(&mut *disk, &[2])];
        let offset = 4096;
        disk.submit(5, Operation::Write { offset, buffers })
            .unwrap();
        let mut completions = Vec::new();
        disk.poll(&mut completions);
        (disk, completions)
    });
    let (mut disk, mut completions) = moving.join().unwrap();
    completions.extend(drain(&mut *disk));
    assert_eq!(completions.len(), 1);
    assert!(read(&mut *disk, 0, 2) == [pattern(1), pattern(2)].concat());
}
