//! Shards on a disk that fails or lies, at every operation of a run in turn.
//!
//! What fails is survived: the shard stops with a typed error and, opened again, has all that it
//! answered. A lie can't be survived by one disk alone, but it is never data: each read gives what
//! was written last, or an error, or opening is refused. `docs/format.md`, "Damage", says which; the
//! one write that a lie may take silently is the last of all.

use super::script::{check, everything, forgive_the_last_write, the_last_write};
use super::world::*;
use crate::disk::{CrashFate, Fault, FaultyDisk, MemoryDisk, Nth, Operation};
use crate::*;
use moraine_model::BLOCK_BYTES;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

type Faulty = FaultyDisk<MemoryDisk>;

const SEGMENTS: u64 = 12;

/// Which operations, and the place among them of the one that goes wrong.
#[derive(Debug, Clone, Copy)]
enum At {
    Write(u64),
    Read(u64),
}

impl At {
    fn is(self, operation: &Operation, nth: Nth) -> bool {
        match (self, operation) {
            (Self::Write(at), Operation::Write { .. })
            | (Self::Read(at), Operation::Read { .. }) => at == nth.of_kind,
            _ => false,
        }
    }
}

/// A handle on which one operation goes wrong, and whether it has.
fn faulty(
    disk: &MemoryDisk,
    at: At,
    fault: impl Fn(&Operation) -> Fault + Send + 'static,
) -> (Faulty, Arc<AtomicBool>) {
    let hit = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&hit);
    let script = move |operation: &Operation, nth| {
        if !at.is(operation, nth) {
            return Fault::None;
        }
        told.store(true, Ordering::Relaxed);
        fault(operation)
    };
    (FaultyDisk::new(disk.another(), Box::new(script)), hit)
}

/// Opens an empty disk so that the operation of the run goes wrong, the opening aside. Later writes
/// overtake earlier ones.
fn world(
    at: At,
    fault: impl Fn(&Operation) -> Fault + Send + 'static,
) -> (World<Faulty>, Arc<AtomicBool>) {
    let disk = formatted(SEGMENTS, 512);
    let at = match at {
        At::Write(nth) => At::Write(nth),
        // The superblock, and a head for each segment.
        At::Read(nth) => At::Read(nth + 1 + SEGMENTS),
    };
    let (handle, hit) = faulty(&disk, at, fault);
    let mut world = World::without_shard(disk);
    world.queue = handle.inner().queue();
    world.open_through(handle).unwrap();
    world.queue.hold(true);
    (world, hit)
}

/// The same platter with an honest handle.
fn well(ill: World<Faulty>) -> World {
    let mut world = World::without_shard(ill.disk);
    world.model = ill.model;
    world.pending = ill.pending;
    world.unsure = ill.unsure;
    world
}

/// Everything there is, and each of the operations in turn until the run has no more.
fn each_in_turn(mut run: impl FnMut(u64) -> bool) -> u64 {
    let mut nth = 0;
    while run(nth) {
        nth += 1;
    }
    nth
}

fn a_write_that_fails(fault: Fault) {
    let stops = each_in_turn(|nth| {
        let (mut world, hit) = world(At::Write(nth), move |_| fault);
        everything(&mut world);
        let hit = hit.load(Ordering::Relaxed);
        assert_eq!(world.shard().is_stopped(), hit, "write {nth}");
        assert!(world.pending.is_empty(), "each request is answered");
        if !hit {
            return false;
        }
        if nth % 2 == 0 {
            let mut world = well(world);
            world.queue.crash(|_| CrashFate::Lost);
            world.open();
            world.settle();
            check(&mut world);
        } else {
            let (replies, shard) = world.shard.take().unwrap().reopen();
            assert!(replies.is_empty(), "all were taken");
            world.shard = Some(shard.unwrap());
            world.check_invariants();
            world.settle();
            check(&mut world);
            assert!(!world.shard().is_stopped());
        }
        true
    });
    assert!(stops > 100, "the run has only {stops} writes");
}

#[test]
fn a_write_that_fails_stops_the_shard_and_loses_nothing() {
    a_write_that_fails(Fault::Fail);
}

#[test]
fn a_write_that_fails_and_was_done_stops_the_shard_and_loses_nothing() {
    a_write_that_fails(Fault::FailDone);
}

#[test]
fn a_short_write_stops_the_shard_and_loses_nothing() {
    a_write_that_fails(Fault::Short { blocks: 1 });
}

/// A byte of the operation that depends on which it is.
fn flip(operation: &Operation, nth: u64) -> Fault {
    let bytes = operation.size_bytes().max(1);
    let byte = nth.wrapping_mul(7919).wrapping_add(nth << 9) % bytes;
    Fault::Flip {
        byte: byte as usize,
        bit: (nth % 8) as u8,
    }
}

/// What became of the disk after the lie.
#[derive(Debug, Default)]
struct Ends {
    refused: u64,
    unreadable: u64,
    unharmed: u64,
}

/// The shard goes on after the lie, is read, opened again, read, compacts and scrubs, and is read.
fn a_write_that_lies(fault: impl Fn(&Operation, u64) -> Fault + Copy + Send + 'static) -> Ends {
    let mut ends = Ends::default();
    let lies = each_in_turn(|nth| {
        let (mut world, hit) = world(At::Write(nth), move |operation| fault(operation, nth));
        world.may_fail = true;
        everything(&mut world);
        the_last_write(&mut world);
        check(&mut world);
        let live_errors = world.failed_reads;
        let mut world = well(world);
        world.may_fail = true;
        let handle = world.disk.another();
        world.queue = handle.queue();
        match world.open_through(handle) {
            Ok(()) => {}
            Err(OpenError::Damaged { .. }) => {
                ends.refused += 1;
                return hit.load(Ordering::Relaxed);
            }
            Err(other) => panic!("write {nth}: {other}"),
        }
        world.check_invariants();
        forgive_the_last_write(&mut world);
        check(&mut world);
        world.shard().request_compaction();
        world.shard().start_scrub();
        world.drain();
        check(&mut world);
        if live_errors + world.failed_reads > 0 {
            ends.unreadable += 1;
        } else {
            ends.unharmed += 1;
        }
        hit.load(Ordering::Relaxed)
    });
    assert!(lies > 100, "the run has only {lies} writes");
    assert!(ends.refused > 0 && ends.unreadable > 0, "{ends:?}");
    ends
}

#[test]
fn a_write_that_is_lost_though_acknowledged_is_never_taken_for_there() {
    a_write_that_lies(|_, _| Fault::Lost);
}

#[test]
fn a_bit_that_is_flipped_on_its_way_to_the_disk_is_never_data() {
    a_write_that_lies(flip);
}

/// What was to be overwritten stays, and what lay elsewhere is overwritten.
#[test]
fn a_write_that_goes_elsewhere_is_never_data_there() {
    a_write_that_lies(|operation, nth| {
        let blocks = SEGMENTS * u64::from(SEGMENT) + u64::from(format::FIRST_SEGMENT);
        let room = blocks - operation.size_bytes() / BLOCK_BYTES as u64;
        let block = nth.wrapping_mul(104_729) % room;
        Fault::Misdirect {
            offset: block * BLOCK_BYTES as u64,
        }
    });
}

/// The heads of segments are where one wrong write can do the most.
#[test]
fn a_write_that_goes_to_the_head_of_a_segment_is_an_error_at_most() {
    a_write_that_lies(|_, nth| {
        let segment = nth % SEGMENTS * u64::from(SEGMENT);
        let block = u64::from(format::FIRST_SEGMENT) + segment + nth % 3;
        Fault::Misdirect {
            offset: block * BLOCK_BYTES as u64,
        }
    });
}

fn a_read_that_goes_wrong(fault: impl Fn(&Operation, u64) -> Fault + Copy + Send + 'static) {
    let mut failed = 0;
    let reads = each_in_turn(|nth| {
        let (mut world, hit) = world(At::Read(nth), move |operation| fault(operation, nth));
        world.may_fail = true;
        everything(&mut world);
        let hit = hit.load(Ordering::Relaxed);
        check(&mut world);
        assert!(!world.shard().is_stopped(), "a read stops nothing");
        assert!(world.failed_reads <= 1, "one read fails at most");
        failed += world.failed_reads;
        let mut world = well(world);
        world.open();
        check(&mut world);
        hit
    });
    assert!(reads > 20 && failed > 5, "{failed} of {reads} failed");
}

#[test]
fn a_read_that_fails_is_an_error_and_nothing_else() {
    a_read_that_goes_wrong(|_, _| Fault::Fail);
}

#[test]
fn a_short_read_is_an_error_and_nothing_else() {
    a_read_that_goes_wrong(|_, _| Fault::Short { blocks: 0 });
}

#[test]
fn a_flipped_bit_in_a_read_is_an_error_and_nothing_else() {
    a_read_that_goes_wrong(flip);
}

/// The platter after a run whose last extent is still open.
fn cut_off() -> World {
    let mut world = World::new(SEGMENTS, 512);
    everything(&mut world);
    the_last_write(&mut world);
    world.shard = None;
    world
}

fn bytes(disk: &MemoryDisk) -> Vec<u8> {
    let mut bytes = vec![0; disk.geometry().size_bytes as usize];
    disk.peek(0, &mut bytes);
    bytes
}

#[test]
fn a_recovery_whose_read_fails_says_so_and_has_written_nothing() {
    for fault in [Fault::Fail, Fault::Short { blocks: 0 }] {
        let mut world = cut_off();
        let before = bytes(&world.disk);
        let mut spared = 0;
        let reads = each_in_turn(|nth| {
            let (handle, hit) = faulty(&world.disk.duplicate(), At::Read(nth), move |_| fault);
            let platter = handle.inner().another();
            let mut again = World::without_shard(platter.another());
            let opened = again.open_through(handle);
            let hit = hit.load(Ordering::Relaxed);
            match opened {
                Ok(()) => {
                    // The batches say what an index does.
                    spared += u64::from(hit);
                    let mut again = well(again);
                    again.model = world.model.clone();
                    again.open();
                    check(&mut again);
                }
                Err(error) => {
                    assert!(hit && matches!(error, OpenError::Io { .. }), "{error}");
                    assert!(bytes(&platter) == before, "something was written");
                }
            }
            hit
        });
        assert!(reads > SEGMENTS, "recovery has only {reads} reads");
        assert!(spared <= 3, "{spared} failing reads did not matter");
        world.open();
        check(&mut world);
    }
}

#[test]
fn a_recovery_whose_write_or_sync_fails_can_be_tried_again() {
    for fault in [Fault::Fail, Fault::FailDone, Fault::Short { blocks: 1 }] {
        let mut world = cut_off();
        let writes = each_in_turn(|nth| {
            let disk = world.disk.duplicate();
            let (handle, hit) = faulty(&disk, At::Write(nth), move |_| fault);
            let mut ill: World<Faulty> = World::without_shard(disk);
            ill.model = world.model.clone();
            let opened = ill.open_through(handle);
            let hit = hit.load(Ordering::Relaxed);
            assert_eq!(hit, opened.is_err(), "write {nth}");
            let mut world = well(ill);
            world.open();
            check(&mut world);
            hit
        });
        assert!(writes >= 4, "recovery has only {writes} writes");
        let script = |operation: &Operation, _| match operation {
            Operation::Sync => Fault::Fail,
            _ => Fault::None,
        };
        let before = bytes(&world.disk);
        let handle = FaultyDisk::new(world.disk.another(), Box::new(script));
        let mut ill: World<Faulty> = World::without_shard(world.disk.another());
        assert!(matches!(
            ill.open_through(handle),
            Err(OpenError::Io { .. })
        ));
        assert!(bytes(&world.disk) == before, "something was written");
        world.open();
        check(&mut world);
    }
}

/// Footer, and the offset of the segment, of each closed segment.
fn closed_segments(disk: &MemoryDisk) -> Vec<(u64, format::Footer)> {
    let opened = open(&mut disk.another(), cluster()).unwrap();
    let layout = opened.superblock.layout;
    let offsets = (0..layout.segments).map(|number| layout.offset(number, 0));
    let footers = offsets.filter_map(|offset| {
        let mut block = vec![0; BLOCK_BYTES];
        let footer_at = u64::from(SEGMENT - format::FOOTER_BLOCKS) * BLOCK_BYTES as u64;
        disk.peek(offset + footer_at, &mut block);
        let footer = format::Footer::decode(&block, SEGMENT).ok()?;
        let head = opened.segments.iter().map(|segment| segment.head);
        let mut head = head.filter(|head| head.state == format::SegmentState::Closed);
        head.any(|head| {
            (head.segment, head.incarnation)
                == (footer.identity.segment, footer.identity.incarnation)
        })
        .then_some((offset, footer))
    });
    footers.collect()
}

fn damage(disk: &MemoryDisk, offset: u64) {
    let mut byte = [0];
    disk.peek(offset, &mut byte);
    disk.poke(offset, &[byte[0] ^ 0x40]);
}

/// Batches say what their index says, as long as the footer tells that none is missing.
#[test]
fn an_index_that_is_damaged_is_made_up_for_by_all_the_batches_or_the_disk_is_refused() {
    let mut run = World::new(SEGMENTS, 512);
    everything(&mut run);
    // Closes what was still open, and one extent more.
    run.crash(|_| CrashFate::Lost);
    let (mut from_batches, mut refused) = (0, 0);
    for (offset, footer) in closed_segments(&run.disk) {
        let block = |number: u32| offset + u64::from(number) * BLOCK_BYTES as u64;
        let mut first = vec![0; BLOCK_BYTES];
        run.disk.peek(block(format::HEAD_BLOCKS), &mut first);
        let has_batches = format::decode_header(&first, SEGMENT).is_ok();
        for headers in [false, true] {
            let disk = run.disk.duplicate();
            damage(&disk, block(footer.index_position) + 30);
            if headers {
                damage(&disk, block(format::HEAD_BLOCKS) + 30);
            }
            let mut world = World::without_shard(disk.another());
            world.model = run.model.clone();
            match world.open_through(disk) {
                Ok(()) => {
                    assert!(has_batches && !headers);
                    check(&mut world);
                    world.shard().request_compaction();
                    world.drain();
                    check(&mut world);
                    from_batches += 1;
                }
                Err(OpenError::Damaged { .. }) => {
                    assert!(!has_batches || headers);
                    refused += 1;
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(
        from_batches > 0 && refused > from_batches,
        "{from_batches}, {refused}"
    );
}

/// Where a lie about a batch is told, and how.
#[derive(Debug, Clone, Copy)]
enum Lie {
    Lost,
    Elsewhere,
    InHeader,
    InData,
}

impl Lie {
    fn fault(self, operation: &Operation) -> Fault {
        match self {
            Self::Lost => Fault::Lost,
            // The middle of a free segment.
            Self::Elsewhere => Fault::Misdirect {
                offset: (u64::from(format::FIRST_SEGMENT) + 9 * u64::from(SEGMENT) + 20)
                    * BLOCK_BYTES as u64,
            },
            Self::InHeader => Fault::Flip { byte: 60, bit: 3 },
            Self::InData => Fault::Flip {
                byte: operation.size_bytes() as usize - 9,
                bit: 0,
            },
        }
    }
}

/// Five batches in one extent, one after another, and a lie about one of them.
#[test]
fn a_lie_about_a_batch_is_found_unless_it_was_the_last() {
    const BATCHES: u16 = 5;
    for lie in [Lie::Lost, Lie::Elsewhere, Lie::InHeader, Lie::InData] {
        for lied in 0..BATCHES {
            // The first two writes are the head of the extent.
            let at = At::Write(2 + u64::from(lied));
            let (mut world, _) = world(at, move |operation| lie.fault(operation));
            for nth in 0..BATCHES {
                let tag = tag(u64::from(nth) + 1, 0);
                world.write(place(1, 0), range(nth * 4, 2), tag, data(tag.stamp));
                world.drain();
            }
            world.may_fail = true;
            world.check_all(1, 1, 1);
            let harmed_live = !matches!(lie, Lie::InHeader);
            assert_eq!(world.failed_reads > 0, harmed_live, "{lie:?} {lied}");
            let mut world = well(world);
            let handle = world.disk.another();
            let opened = world.open_through(handle);
            let last = lied + 1 == BATCHES;
            match (lie, last) {
                (Lie::InData, false) => {
                    opened.unwrap();
                    world.may_fail = true;
                    world.check_all(1, 1, 1);
                    assert!(world.failed_reads > 0, "{lie:?} {lied}");
                }
                (_, false) => assert!(
                    matches!(opened, Err(OpenError::Damaged { .. })),
                    "{lie:?} {lied}"
                ),
                (_, true) => {
                    opened.unwrap();
                    assert_eq!(world.shard().versions(place(1, 0)).len(), 4);
                    let share = world.model.shares.get_mut(&place(1, 0).share());
                    share
                        .unwrap()
                        .versions
                        .retain(|(_, block, _), _| *block < lied * 4);
                    world.check_all(1, 1, 1);
                }
            }
        }
    }
}

/// An extent with a write in it and a read of it that the disk holds back; then a write fails.
fn stopped_with_a_read_under_way() -> World<Faulty> {
    let (mut world, _) = world(At::Write(3), |_| Fault::Fail);
    let tag = |nth| tag(nth, 0);
    world.write(place(1, 0), range(0, 4), tag(1), data(tag(1).stamp));
    world.drain();
    world.submit(Pending::Read(place(1, 0), range(0, 4), ReadAt::Head));
    world.write(place(1, 0), range(8, 4), tag(2), data(tag(2).stamp));
    world
}

#[test]
fn a_shard_that_stops_owes_no_answer() {
    let mut world = stopped_with_a_read_under_way();
    world.poll();
    assert!(world.shard().is_stopped());
    assert!(world.pending.is_empty(), "{:?}", world.pending);
    world.drain();
}

#[test]
fn opening_a_shard_again_gives_every_answer_that_nobody_has_taken() {
    for stops in [true, false] {
        let mut world = stopped_with_a_read_under_way();
        if stops {
            world.shard().poll(0);
        }
        assert_eq!(world.shard().is_stopped(), stops);
        let (replies, shard) = world.shard.take().unwrap().reopen();
        // The write that fails is the first of the recovery if the shard had not come to it.
        assert_eq!(shard.is_ok(), stops);
        for reply in replies {
            assert!(world.pending.remove(&reply.id).is_some(), "answered twice");
            assert!(matches!(reply.outcome, Err(StoreError::Stopped)));
        }
        assert!(world.pending.is_empty(), "{:?}", world.pending);
    }
}

/// A bit may be wrong wherever recovery looks; what it then finds is right, or it says what it misses.
#[test]
fn a_flipped_bit_in_what_recovery_reads_is_never_data() {
    let cut_off = cut_off();
    let (mut refused, mut unharmed) = (0, 0);
    for seed in 0..12 {
        each_in_turn(|nth| {
            let disk = cut_off.disk.duplicate();
            let (handle, hit) = faulty(&disk, At::Read(nth), move |operation| {
                flip(operation, nth * 31 + seed * 1009)
            });
            let mut world: World<Faulty> = World::without_shard(disk);
            world.model = cut_off.model.clone();
            let opened = world.open_through(handle);
            let hit = hit.load(Ordering::Relaxed);
            match opened {
                Ok(()) => {
                    let mut world = well(world);
                    world.may_fail = true;
                    world.open();
                    forgive_the_last_write(&mut world);
                    check(&mut world);
                    unharmed += u64::from(hit);
                }
                Err(OpenError::Damaged { .. }) => refused += 1,
                Err(other) => panic!("read {nth}: {other}"),
            }
            hit
        });
    }
    assert!(
        refused > 0 && unharmed > 0,
        "{refused} refused, {unharmed} not"
    );
}
