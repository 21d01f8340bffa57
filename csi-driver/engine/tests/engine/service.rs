//! What a volume does when nothing fails: reads, writes, zeros, flushes, cuts, growth, detaching.

use crate::replica::Value;
use crate::world::{BLOCK, World, block, entry, reached};
use bytes::{Bytes, BytesMut};
use moraine_engine::{Engine, Io, IoError, NewError, Output, ResizeError, Settings};
use moraine_model::{CHUNK_BYTES, Cut, Generation, Role, Stamp};
use moraine_protocol::{Content, Request};

fn numbers(count: u64) -> Bytes {
    let mut data = BytesMut::new();
    for number in 1..=count {
        data.extend_from_slice(&block(number));
    }
    data.freeze()
}

#[test]
fn what_was_written_is_read_and_the_rest_is_zeros() {
    let mut world = World::attached(3, 3, 3, 2);
    let offset = 1022 * BLOCK;
    let data = numbers(600);
    let write = world.submit(Io::Write { offset, data });
    world.run();
    assert_eq!(world.done[&write], Ok(Bytes::new()));
    let read = world.read(1020, 604);
    world.run();
    let expected: Vec<u64> = [0, 0].into_iter().chain(1..=600).chain([0, 0]).collect();
    assert_eq!(world.values(read), expected);
    for disk in &world.disks {
        let (bucket, chunk, number) = world.bucket_of(1022);
        let held = disk.shown(bucket, chunk, number, Cut(0));
        assert_eq!(held, Value::Data(block(1)));
    }
}

#[test]
fn data_is_neither_copied_on_its_way_out_nor_on_its_way_in() {
    let mut world = World::attached(3, 2, 1, 1);
    let data = numbers(2);
    let at = data.as_ptr();
    world.submit(Io::Write { offset: 0, data });
    let sent = world.wire.iter().map(|message| message.payload.as_ptr());
    assert_eq!(sent.collect::<Vec<_>>(), [at, at]);
    world.run();
    let read = world.read(1, 1);
    let deliver = world.wire.len() - 1;
    world.deliver(deliver);
    let came = world.wire[deliver].payload.as_ptr();
    world.answer(deliver);
    assert_eq!(world.done[&read].as_ref().unwrap().as_ptr(), came);
}

#[test]
fn zeros_replace_data_without_data() {
    let mut world = World::attached(3, 3, 2, 2);
    world.submit(Io::Write {
        offset: 0,
        data: numbers(8),
    });
    world.run();
    let zero = world.submit(Io::Zero {
        offset: BLOCK,
        length: 1030 * BLOCK,
    });
    world.run();
    assert_eq!(world.done[&zero], Ok(Bytes::new()));
    let zeros = world.sent.iter().filter(|request| {
        matches!(
            request,
            Request::Write {
                content: Content::Zero,
                ..
            }
        )
    });
    assert_eq!(zeros.count(), 6, "one for each chunk and replica");
    let read = world.read(0, 4);
    world.run();
    assert_eq!(world.values(read), [1, 0, 0, 0]);
}

#[test]
fn a_write_is_acknowledged_when_every_replica_has_it_and_not_before() {
    let mut world = World::attached(3, 3, 1, 1);
    let write = world.write(5, 9);
    assert_eq!(world.wire.len(), 3);
    for left in (0..3).rev() {
        assert!(!world.done.contains_key(&write));
        world.deliver(0);
        world.answer(left);
    }
    assert_eq!(world.done[&write], Ok(Bytes::new()));
}

#[test]
fn overlapping_writes_go_one_after_another_and_a_read_waits_for_them() {
    let mut world = World::attached(2, 2, 1, 1);
    let [first, second] = [world.write(5, 1), world.write(5, 2)];
    let beside = world.write(6, 3);
    let read = world.read(5, 1);
    assert_eq!(world.wire.len(), 4, "the first write and the one beside it");
    for _ in 0..2 {
        world.deliver(0);
    }
    for _ in 0..2 {
        world.answer(2);
    }
    assert!(world.done.contains_key(&first) && !world.done.contains_key(&second));
    world.run();
    assert!(world.done[&beside].is_ok());
    assert_eq!(world.values(read), [2]);
}

#[test]
fn a_flush_ends_when_the_writes_before_it_have() {
    let mut world = World::attached(2, 2, 1, 1);
    let at_once = world.submit(Io::Flush);
    assert_eq!(world.done[&at_once], Ok(Bytes::new()));
    world.write(1, 1);
    let flush = world.submit(Io::Flush);
    world.write(2, 2);
    for _ in 0..2 {
        world.deliver(0);
    }
    // The second write isn't done yet; it came later.
    for _ in 0..2 {
        assert!(!world.done.contains_key(&flush));
        world.answer(2);
    }
    assert_eq!(world.done[&flush], Ok(Bytes::new()));
    assert_eq!(world.unanswered(), 1);
    world.run();
}

#[test]
fn what_makes_no_sense_is_refused_at_once() {
    let mut world = World::attached(2, 2, 1, 1);
    let size_bytes = CHUNK_BYTES;
    let read = |offset, length| Io::Read { offset, length };
    let misaligned = |offset, length| IoError::Misaligned { offset, length };
    let cases = [
        (read(1, BLOCK), misaligned(1, BLOCK)),
        (read(0, 100), misaligned(0, 100)),
        (read(0, 0), misaligned(0, 0)),
        (
            Io::Write {
                offset: 0,
                data: Bytes::new(),
            },
            misaligned(0, 0),
        ),
        (
            read(size_bytes, BLOCK),
            IoError::OutOfRange {
                offset: size_bytes,
                length: BLOCK,
                size_bytes,
            },
        ),
        (
            read(u64::MAX - 4095, 2 * BLOCK),
            IoError::OutOfRange {
                offset: u64::MAX - 4095,
                length: 2 * BLOCK,
                size_bytes,
            },
        ),
    ];
    for (io, error) in cases {
        let io = world.submit(io);
        assert_eq!(world.done[&io], Err(error));
    }
}

#[test]
fn a_read_only_volume_is_read_only() {
    let mut settings = World::new(1, 1, 1, 1).settings;
    settings.read_only = true;
    let mut world = World::with(settings, 1, 1);
    world.connect_all();
    world.run();
    let [write, read] = [world.write(0, 1), world.read(0, 1)];
    world.run();
    assert_eq!(world.done[&write], Err(IoError::ReadOnly));
    assert_eq!(world.values(read), [0]);
}

#[test]
fn no_more_operations_wait_than_may() {
    let mut settings = World::new(1, 1, 1, 1).settings;
    settings.limits.ios_max = 3;
    let mut world = World::with(settings, 1, 1);
    let first: Vec<_> = (0..3).map(|at| world.write(at, at + 1)).collect();
    let busy = world.write(3, 4);
    assert_eq!(world.done[&busy], Err(IoError::Busy { limit: 3 }));
    world.connect_all();
    world.run();
    assert!(first.iter().all(|io| world.done[io].is_ok()));
}

#[test]
fn a_large_operation_has_few_parts_under_way_at_once() {
    let mut settings = World::new(1, 1, 8, 1).settings;
    settings.limits.parts_max = 2;
    let mut world = World::with(settings, 1, 1);
    world.connect_all();
    world.run();
    let write = world.submit(Io::Write {
        offset: 0,
        data: numbers(2048),
    });
    assert_eq!(world.wire.len(), 2);
    world.run();
    assert!(world.done[&write].is_ok());
    let read = world.read(0, 2048);
    assert_eq!(world.wire.len(), 2);
    world.run();
    assert_eq!(world.values(read), (1..=2048).collect::<Vec<_>>());
}

#[test]
fn marks_say_up_to_where_all_is_acknowledged() {
    let mut world = World::attached(2, 2, 1, 1);
    let marks = |world: &World| -> Vec<u64> {
        let writes = world.sent.iter().filter_map(|request| match request {
            Request::Write { mark, .. } => Some(*mark),
            _ => None,
        });
        let marks = writes.map(|mark| {
            assert_eq!(mark.generation, world.settings.generation);
            mark.sequence
        });
        marks.collect()
    };
    world.write(1, 1);
    world.write(2, 2);
    assert_eq!(marks(&world), [0; 4], "the first is in flight");
    world.run();
    world.write(3, 3);
    assert_eq!(marks(&world)[4..], [2; 2]);
    world.run();
}

#[test]
fn a_new_cut_waits_for_writes_in_flight_and_holds_new_ones() {
    let mut world = World::attached(2, 2, 2, 2);
    world.expect(|output| *output == reached(1, 0));
    let old = world.write(1, 1);
    world.engine.raise_cut(Cut(4));
    world.engine.raise_cut(Cut(3));
    world.take_outputs();
    let new = world.write(1030, 2);
    assert_eq!(world.wire.len(), 2, "the new write is held");
    assert!(world.events.is_empty());
    world.run();
    assert_eq!(world.events, [reached(1, 4)]);
    assert!(world.done[&old].is_ok() && world.done[&new].is_ok());
    let cuts = world.sent.iter().filter_map(|request| match request {
        Request::Write { cut, .. } => Some(cut.0),
        _ => None,
    });
    assert_eq!(cuts.collect::<Vec<_>>(), [0, 0, 4, 4]);
    world.engine.raise_cut(Cut(2));
    world.take_outputs();
    assert_eq!(world.events[1], reached(1, 4));
}

#[test]
fn a_clean_detach_finishes_what_is_in_flight_and_leaves_nothing_to_reconcile() {
    let mut world = World::attached(2, 2, 4, 3);
    let write = world.write(1, 1);
    world.engine.detach();
    let late = world.write(2, 2);
    assert_eq!(world.done[&late], Err(IoError::Detached));
    world.run();
    assert!(world.done[&write].is_ok());
    world.expect(|output| *output == Output::Detached { clean: true });
    for disk in &world.disks {
        for replica in disk.replicas.values() {
            assert_eq!(replica.mark, Stamp::new(1, 0, 1));
        }
    }
    let late = world.read(1, 1);
    assert_eq!(world.done[&late], Err(IoError::Detached));
    world.restart(crate::world::generation(2), false);
    world.connect_all();
    world.run();
    world.expect(|output| *output == Output::Attached);
    assert_eq!(world.engine.metrics().reconciled, 0);
}

#[test]
fn a_detach_that_takes_too_long_is_not_clean() {
    let mut world = World::attached(2, 2, 1, 1);
    world.kill(1);
    let write = world.write(1, 1);
    world.engine.detach();
    world.pass(4_000);
    assert!(!world.done.contains_key(&write));
    world.pass(2_000);
    assert_eq!(world.done[&write], Err(IoError::Detached));
    world.expect(|output| *output == Output::Detached { clean: false });
}

#[test]
fn a_volume_grows_when_its_further_buckets_are_open() {
    let mut settings = World::new(2, 2, 1, 16).settings;
    settings.size_bytes = 10 * BLOCK;
    let mut world = World::with(settings, 2, 2);
    world.connect_all();
    world.run();
    assert_eq!(world.known.len(), 1, "one chunk has one bucket");
    let beyond = world.write(5000, 1);
    assert!(world.done[&beyond].is_err());
    let size_bytes = 8 * CHUNK_BYTES;
    world.engine.resize(size_bytes).unwrap();
    world.take_outputs();
    let beyond = world.write(5000, 1);
    assert!(world.done[&beyond].is_err(), "not yet");
    world.run();
    world.expect(|output| *output == Output::Resized { size_bytes });
    let inside = world.write(5000, 1);
    world.run();
    assert!(world.done[&inside].is_ok());
    let now = size_bytes;
    let smaller = world.engine.resize(BLOCK);
    assert_eq!(
        smaller,
        Err(ResizeError::Smaller {
            size_bytes: BLOCK,
            now
        })
    );
}

#[test]
fn a_detach_while_the_volume_grows_leaves_no_bucket_unreconciled() {
    let mut settings = World::new(2, 2, 1, 16).settings;
    settings.size_bytes = CHUNK_BYTES;
    let mut world = World::with(settings, 2, 2);
    world.connect_all();
    world.run();
    let (bucket, chunk, number) = world.bucket_of(3 * 1024);
    let newest = world.map[&bucket].clone();
    let left = crate::replica::Held {
        stamp: Stamp::new(0, 1, 5),
        epoch: newest.epoch(),
        value: Value::Data(block(7)),
    };
    world.disks[1].learn(&newest);
    let replica = world.disks[1].replicas.get_mut(&bucket).unwrap();
    replica.held.insert((chunk, number, Cut(0)), left);
    world.engine.resize(8 * CHUNK_BYTES).unwrap();
    world.take_outputs();
    let is_open = |request: &Request| matches!(request, Request::Open { .. });
    while let Some(at) = world.wire.iter().position(|m| is_open(&m.request)) {
        match world.wire[at].reply {
            None => world.deliver(at),
            Some(_) => world.answer(at),
        }
    }
    world.engine.detach();
    world.take_outputs();
    // What was asked last is delivered first: replicas would be told before all is done.
    while !world.wire.is_empty() {
        let last = world.wire.len() - 1;
        match world.wire[last].reply {
            None => world.deliver(last),
            Some(_) => world.answer(last),
        }
    }
    world.expect(|output| *output == Output::Detached { clean: true });
    let shown = world.disks[0].shown(bucket, chunk, number, Cut(0));
    assert_eq!(shown, Value::Data(block(7)));
}

#[test]
fn an_engine_that_can_not_be_is_not_made() {
    let settings = World::new(1, 1, 4, 4).settings;
    let entries = || {
        let ids = (0..4).map(|id| moraine_model::BucketId::new(id).unwrap());
        ids.map(|id| entry(id, 1, &[(0, Role::InSync, 1)]))
            .collect()
    };
    let error = |settings: Settings| Engine::new(settings, entries()).unwrap_err();
    let size_bytes = 100;
    assert_eq!(
        error(Settings {
            size_bytes,
            ..settings
        }),
        NewError::Size { size_bytes }
    );
    let buckets = 0;
    assert_eq!(
        error(Settings {
            buckets,
            ..settings
        }),
        NewError::Buckets { buckets }
    );
    let generation = Generation::default();
    assert_eq!(
        error(Settings {
            generation,
            ..settings
        }),
        NewError::Generation
    );
    let missing = Engine::new(settings, Vec::new()).unwrap_err();
    assert!(matches!(missing, NewError::NoEntry { .. }));
    assert!(Engine::new(settings, entries()).is_ok());
}
