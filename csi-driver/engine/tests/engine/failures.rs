//! Refusals, bad copies, new maps and time-outs in the middle of requests.

use crate::replica::Value;
use crate::world::{BLOCK, World, block, disk_id, entry, generation};
use bytes::Bytes;
use moraine_engine::{Io, IoError, IoId, Output};
use moraine_model::{Cut, Role, Stamp};
use moraine_protocol::{Refusal, Request};

const IN: Role = Role::InSync;
const SYNC: Role = Role::Syncing;

fn written(world: &mut World, at: u64, value: u64) -> IoId {
    let write = world.write(at, value);
    world.run();
    assert!(world.done[&write].is_ok());
    write
}

#[test]
fn acknowledgements_of_an_older_map_count_for_nothing() {
    let mut world = World::attached(3, 2, 1, 1);
    let (bucket, chunk, number) = world.bucket_of(5);
    let write = world.write(5, 9);
    for _ in 0..2 {
        world.deliver(0);
    }
    world.answer(0);
    let newer = world.publish(bucket, &[(0, IN, 1), (1, IN, 1), (2, SYNC, 2)]);
    world.learn(&newer);
    let late = world
        .wire
        .iter()
        .position(|message| message.reply.is_some());
    world.answer(late.unwrap());
    assert!(
        !world.done.contains_key(&write),
        "two of three, under an older map"
    );
    world.run();
    assert!(world.done[&write].is_ok());
    let shown = world.disks[2].shown(bucket, chunk, number, Cut(0));
    assert_eq!(shown, Value::Data(block(9)));
    let sequences = world.sent.iter().filter_map(|request| match request {
        Request::Write { sequence, .. } => Some(*sequence),
        _ => None,
    });
    assert!(
        sequences
            .collect::<Vec<_>>()
            .iter()
            .all(|sequence| *sequence == 1)
    );
}

#[test]
fn a_write_is_done_without_a_replica_that_the_map_drops() {
    let mut world = World::attached(2, 2, 1, 1);
    let (bucket, ..) = world.bucket_of(5);
    world.stuck.insert(1);
    let write = world.write(5, 9);
    world.run();
    assert!(!world.done.contains_key(&write));
    let newer = world.publish(bucket, &[(0, IN, 1)]);
    world.learn(&newer);
    world.run();
    assert!(world.done[&write].is_ok());
}

#[test]
fn a_refusal_teaches_the_newest_entry_and_older_ones_are_ignored() {
    let mut world = World::attached(2, 2, 1, 1);
    let (bucket, ..) = world.bucket_of(5);
    let newer = world.publish(bucket, &[(0, IN, 1), (1, SYNC, 2)]);
    world.disks[0].learn(&newer);
    let write = world.write(5, 9);
    world.run();
    assert!(world.done[&write].is_ok());
    assert_eq!(world.known[&bucket], newer);
    let older = entry(bucket, 1, &[(0, IN, 1), (1, IN, 1)]);
    world.learn(&older);
    let other = entry(bucket, 2, &[(0, IN, 1)]);
    world.learn(&other);
    assert_eq!(world.known[&bucket], newer);
    assert_eq!(world.engine.metrics().entries_in_conflict, 1);
    written(&mut world, 5, 10);
}

#[test]
fn nothing_is_opened_under_an_entry_before_it_is_durable() {
    let mut world = World::attached(2, 2, 1, 1);
    let (bucket, ..) = world.bucket_of(5);
    world.auto_keep = false;
    let newer = world.publish(bucket, &[(0, IN, 1), (1, IN, 1)]);
    world.learn(&newer);
    let write = world.write(5, 9);
    world.pass(1_000);
    assert!(world.wire.is_empty() && !world.done.contains_key(&write));
    world.keep_now(newer);
    world.run();
    assert!(world.done[&write].is_ok());
}

#[test]
fn a_read_in_flight_under_an_older_map_is_repeated() {
    let mut world = World::attached(2, 2, 1, 1);
    written(&mut world, 5, 9);
    let (bucket, ..) = world.bucket_of(5);
    let read = world.read(5, 1);
    world.deliver(0);
    let newer = world.publish(bucket, &[(0, IN, 1)]);
    world.learn(&newer);
    world.answer(0);
    assert!(
        !world.done.contains_key(&read),
        "its answer is of an older map"
    );
    world.run();
    assert_eq!(world.values(read), [9]);
}

#[test]
fn refusals_for_now_are_asked_again() {
    for refusal in [
        Refusal::Busy,
        Refusal::Stopped,
        Refusal::UnknownVolume,
        Refusal::Mismatch { block: 5 },
    ] {
        let mut world = World::attached(2, 2, 1, 1);
        world.disks[1].refuse = Some((3, refusal));
        let write = world.write(5, 9);
        world.run();
        assert!(!world.done.contains_key(&write));
        world.pass(200);
        assert!(world.done[&write].is_ok());
        for disk in 0..2 {
            world.disks[disk].refuse = Some((2, Refusal::Busy));
        }
        let read = world.read(5, 1);
        world.pass(200);
        assert_eq!(world.values(read), [9]);
    }
}

#[test]
fn a_replica_that_forgot_that_it_is_open_is_opened_again() {
    let mut world = World::attached(2, 2, 1, 1);
    let (bucket, ..) = world.bucket_of(5);
    world.disks[1].replicas.get_mut(&bucket).unwrap().fence = generation(0);
    let write = world.write(5, 9);
    world.run();
    assert!(world.done[&write].is_ok());
    for disk in &mut world.disks {
        disk.replicas.get_mut(&bucket).unwrap().fence = generation(0);
    }
    let read = world.read(5, 1);
    world.pass(100);
    assert_eq!(world.values(read), [9]);
}

#[test]
fn nothing_is_relied_on_that_a_replica_acknowledged_before_it_forgot() {
    let mut world = World::attached(2, 2, 1, 1);
    let (bucket, chunk, number) = world.bucket_of(5);
    world.stuck.insert(0);
    let first = world.write(5, 9);
    world.run();
    let replica = world.disks[1].replicas.get_mut(&bucket).unwrap();
    replica.fence = generation(0);
    replica.held.clear();
    let second = world.write(6, 10);
    world.run();
    world.stuck.clear();
    world.run();
    assert!(world.done[&first].is_ok() && world.done[&second].is_ok());
    let shown = world.disks[1].shown(bucket, chunk, number, Cut(0));
    assert_eq!(shown, Value::Data(block(9)));
}

#[test]
fn without_space_the_operation_ends_and_the_write_stays() {
    let mut world = World::attached(2, 2, 1, 1);
    world.disks[1].refuse = Some((u32::MAX, Refusal::NoSpace));
    let write = world.write(5, 9);
    world.pass(200);
    assert!(!world.done.contains_key(&write), "there may be room soon");
    world.pass(2_000);
    assert_eq!(world.done[&write], Err(IoError::NoSpace));
    let disk = disk_id(1);
    world.expect(|output| *output == Output::Suspect { disk });
    let read = world.read(5, 1);
    let flush = world.submit(Io::Flush);
    world.pass(100);
    assert!(!world.done.contains_key(&read), "replicas differ");
    assert!(
        world.done[&flush].is_ok(),
        "a write that failed is not waited for"
    );
    world.disks[1].refuse = None;
    world.pass(2_000);
    assert_eq!(world.values(read), [9]);
    world.expect(|output| *output == Output::Trust { disk });
    world.engine.detach();
    world.run();
    world.take_outputs();
    world.run();
    world.expect(|output| *output == Output::Detached { clean: true });
}

#[test]
fn an_operation_ends_when_its_time_is_over_and_the_write_stays() {
    let mut world = World::attached(2, 2, 1, 1);
    world.kill(1);
    let write = world.write(5, 9);
    let behind = world.read(5, 1);
    world.pass(9_000);
    assert!(world.done.is_empty());
    world.pass(1_000);
    let waited_ms = 10_000;
    assert_eq!(world.done[&write], Err(IoError::TimedOut { waited_ms }));
    assert_eq!(world.done[&behind], Err(IoError::TimedOut { waited_ms }));
    let read = world.read(5, 1);
    world.connect(1);
    world.run();
    assert_eq!(world.values(read), [9], "it landed after all");
}

#[test]
fn an_answer_that_comes_after_the_time_is_over_is_nobodys() {
    let mut world = World::attached(1, 1, 1, 1);
    written(&mut world, 5, 9);
    world.stuck.insert(0);
    let late = world.read(5, 1);
    world.pass(10_000);
    assert!(matches!(world.done[&late], Err(IoError::TimedOut { .. })));
    world.stuck.clear();
    world.run();
    let read = world.read(5, 1);
    world.run();
    assert_eq!(world.values(read), [9]);
}

#[test]
fn a_detach_waits_for_writes_that_nobody_waits_for_any_more() {
    let mut world = World::attached(2, 2, 1, 1);
    world.kill(1);
    let write = world.write(5, 9);
    world.pass(10_000);
    assert!(matches!(world.done[&write], Err(IoError::TimedOut { .. })));
    world.events.clear();
    world.engine.detach();
    world.take_outputs();
    world.run();
    assert_eq!(world.events, []);
    world.connect(1);
    world.run();
    world.expect(|output| *output == Output::Detached { clean: true });
    let marks = world.disks.iter().flat_map(|disk| disk.replicas.values());
    assert!(
        marks
            .map(|replica| replica.mark)
            .all(|mark| mark == Stamp::new(1, 0, 1))
    );
}

#[test]
fn a_damaged_copy_is_read_elsewhere_and_repaired() {
    let mut world = World::attached(2, 2, 1, 1);
    let (bucket, chunk, number) = world.bucket_of(5);
    written(&mut world, 5, 9);
    for disk in 0..2 {
        world.disks[disk].damaged.insert((chunk, number));
        let read = world.read(4, 3);
        world.run();
        assert_eq!(world.values(read), [0, 9, 0]);
        // The read may have gone to the good copy; then this one is found next time.
        let read = world.read(4, 3);
        world.run();
        assert_eq!(world.values(read), [0, 9, 0]);
        world.disks[1 - disk].refuse = Some((2, Refusal::Busy));
        let read = world.read(4, 3);
        world.pass(100);
        assert_eq!(world.values(read), [0, 9, 0]);
        world.disks[1 - disk].refuse = None;
        world.pass(100);
        assert!(world.disks[disk].damaged.is_empty(), "repaired");
    }
    assert_eq!(world.engine.metrics().repaired, 2);
    let held = world.disks.iter().map(|disk| {
        let of = &disk.replicas[&bucket].held[&(chunk, number, Cut(0))];
        (of.stamp, of.value.clone())
    });
    let all = (Stamp::new(1, 0, 3), Value::Data(block(9)));
    assert_eq!(held.collect::<Vec<_>>(), [all.clone(), all]);
}

#[test]
fn what_was_damaged_on_its_way_is_no_data() {
    let mut world = World::attached(2, 2, 1, 1);
    written(&mut world, 5, 9);
    world.disks[0].garble = 2;
    world.disks[1].garble = 1;
    let read = world.read(5, 1);
    world.pass(100);
    assert_eq!(world.values(read), [9]);
    assert!(world.engine.metrics().mismatches >= 2);
}

#[test]
fn damage_on_every_replica_is_an_error_and_not_data() {
    let mut world = World::attached(2, 2, 1, 1);
    let (_, chunk, number) = world.bucket_of(5);
    written(&mut world, 5, 9);
    for disk in &mut world.disks {
        disk.damaged.insert((chunk, number));
    }
    let read = world.read(4, 2);
    world.pass(1_000);
    let damaged = IoError::Damaged { chunk: 0, block: 5 };
    assert_eq!(world.done[&read], Err(damaged));
    written(&mut world, 5, 10);
    let read = world.read(4, 2);
    world.run();
    assert_eq!(world.values(read), [0, 10], "a new write heals it");
}

#[test]
fn a_repair_does_not_overwrite_what_was_written_meanwhile() {
    let mut world = World::attached(2, 2, 1, 1);
    let (_, chunk, number) = world.bucket_of(5);
    written(&mut world, 5, 9);
    world.disks[0].damaged.insert((chunk, number));
    world.disks[1].refuse = Some((1, Refusal::Busy));
    let read = world.read(5, 1);
    let write = world.write(5, 10);
    world.pass(100);
    assert_eq!(world.values(read), [9]);
    assert!(world.done[&write].is_ok());
    let read = world.read(5, 1);
    world.run();
    assert_eq!(world.values(read), [10]);
}

#[test]
fn nobody_touches_a_block_while_it_is_repaired() {
    let mut world = World::attached(2, 2, 1, 1);
    written(&mut world, 5, 9);
    let read = world.read(5, 1);
    let (_, chunk, number) = world.bucket_of(5);
    let bad = world.wire[0].disk;
    world.disks[bad].damaged.insert((chunk, number));
    for _ in 0..2 {
        world.deliver(0);
        world.answer(0);
    }
    assert_eq!(world.values(read), [9]);
    // The repair reads; a write that comes now waits until it has written.
    let write = world.write(5, 10);
    let is_read = |request: &Request| matches!(request, Request::Read { .. });
    assert!(world.wire.len() == 1 && is_read(&world.wire[0].request));
    world.run();
    assert!(world.done[&write].is_ok());
    assert_eq!(world.engine.metrics().repaired, 1);
    let read = world.read(5, 1);
    world.run();
    assert_eq!(world.values(read), [10]);
}

#[test]
fn a_disk_that_refuses_for_too_long_is_suspected_whatever_the_reason() {
    let disk = disk_id(1);
    for refusal in [Refusal::NotHere, Refusal::Busy, Refusal::NoSpace] {
        let mut world = World::attached(2, 2, 1, 1);
        world.events.clear();
        world.disks[1].refuse = Some((u32::MAX, refusal));
        let write = world.write(5, 9);
        world.pass(80);
        assert_eq!(world.events, []);
        world.pass(2_000);
        assert_eq!(world.events, [Output::Suspect { disk }]);
        world.disks[1].refuse = None;
        world.pass(2_000);
        assert_eq!(world.events[1..], [Output::Trust { disk }]);
        assert!(world.done.contains_key(&write));
    }
    // The map drops it: nothing is said about it any more.
    let mut world = World::attached(2, 2, 1, 1);
    world.events.clear();
    world.disks[1].refuse = Some((u32::MAX, Refusal::NoSpace));
    world.write(5, 9);
    world.pass(200);
    let (bucket, ..) = world.bucket_of(5);
    let newer = world.publish(bucket, &[(0, IN, 1)]);
    world.learn(&newer);
    world.pass(2_000);
    assert_eq!(
        world.events,
        [Output::Suspect { disk }, Output::Trust { disk }]
    );
}

#[test]
fn a_repair_keeps_the_cut_of_the_version() {
    let mut world = World::attached(1, 1, 1, 1);
    written(&mut world, 5, 9);
    world.engine.raise_cut(Cut(3));
    world.take_outputs();
    world.disks[0].garble = 1;
    let read = world.read(5, 1);
    world.pass(100);
    assert_eq!(world.values(read), [9]);
    let repair = world.sent.iter().rev().find_map(|request| match request {
        Request::Write { cut, sequence, .. } => Some((*cut, *sequence)),
        _ => None,
    });
    assert_eq!(repair, Some((Cut(0), 2)));
}

#[test]
fn a_repair_of_what_a_clone_inherits_is_its_own() {
    let mut world = World::attached(1, 1, 1, 1);
    world.engine.raise_cut(Cut(3));
    world.take_outputs();
    world.disks[0].parent = Some(block(7));
    world.disks[0].garble = 1;
    let read = world.read(5, 1);
    world.pass(100);
    assert_eq!(world.values(read), [7]);
    let repair = world.sent.iter().rev().find_map(|request| match request {
        Request::Write { cut, .. } => Some(*cut),
        _ => None,
    });
    assert_eq!(repair, Some(Cut(3)));
}

#[test]
fn a_fenced_engine_ends_and_sends_nothing_more() {
    let mut world = World::attached(2, 2, 1, 1);
    let (bucket, ..) = world.bucket_of(5);
    let stuck = [world.write(5, 9), world.write(5, 10), world.read(5, 1)];
    let by = generation(2);
    world.disks[0].replicas.get_mut(&bucket).unwrap().fence = by;
    world.run();
    for io in stuck {
        assert_eq!(world.done[&io], Err(IoError::Fenced { by }));
    }
    assert_eq!(world.events.last(), Some(&Output::Fenced { by }));
    let sent = world.sent.len();
    let late = world.write(6, 1);
    assert_eq!(world.done[&late], Err(IoError::Fenced { by }));
    world.pass(10_000);
    assert_eq!(world.sent.len(), sent);
    assert_eq!(world.engine.unanswered(), 0);
}

#[test]
fn what_was_not_sent_when_the_engine_is_fenced_never_is() {
    let mut world = World::attached(2, 2, 1, 1);
    world.write(5, 9);
    let (path, id) = (world.wire[0].path, world.wire[0].id);
    let io = IoId(99);
    world.engine.submit(
        io,
        Io::Read {
            offset: 0,
            length: BLOCK,
        },
    );
    let by = generation(2);
    let reply = moraine_protocol::Reply::Refused(Refusal::Fenced { by });
    world.engine.answered(path, id, reply, Bytes::new());
    let outputs: Vec<Output> = std::iter::from_fn(|| world.engine.next_output()).collect();
    let sends = outputs
        .iter()
        .filter(|output| matches!(output, Output::Send { .. }));
    assert_eq!((sends.count(), outputs.len()), (0, 3), "{outputs:?}");
}

#[test]
fn a_deleted_volume_is_not_attached() {
    let mut world = World::new(2, 2, 1, 1);
    let early = world.read(0, 1);
    world.connect_all();
    world.deliver(0);
    world.wire.last_mut().unwrap().reply = Some(moraine_protocol::Reply::Refused(Refusal::Deleted));
    world.run();
    assert_eq!(world.done[&early], Err(IoError::Deleted));
    assert!(matches!(world.events[..], [Output::AttachFailed(_)]));
}

#[test]
fn a_wrong_answer_is_counted_and_asked_again() {
    let mut world = World::attached(2, 2, 1, 1);
    let write = world.write(5, 9);
    world.deliver(0);
    world.wire[1].reply = Some(moraine_protocol::Reply::Data { parts: Vec::new() });
    world.pass(100);
    assert!(world.done[&write].is_ok());
    assert_eq!(world.engine.metrics().bad_replies, 1);
    let (path, id) = (
        moraine_engine::PathId(1),
        moraine_protocol::RequestId(12345),
    );
    let reply = moraine_protocol::Reply::Done;
    world.engine.answered(path, id, reply, Bytes::new());
    assert_eq!(world.engine.metrics().bad_replies, 2);
}
