//! Paths that come and go, credits, balance, suspicion, and which replica is read.

use crate::world::{World, disk_id};
use moraine_engine::Output;
use moraine_model::Role;
use moraine_protocol::Request;

#[test]
fn what_was_unanswered_on_a_dead_path_goes_on_another() {
    let mut world = World::attached(1, 1, 1, 1);
    let second = world.connect(0);
    let writes: Vec<_> = (0..6).map(|at| world.write(at, at + 1)).collect();
    let on = |world: &World, path| world.wire.iter().filter(|m| m.path == path).count();
    assert_eq!(on(&world, second), 3, "balanced over both");
    world.disconnect(second);
    assert_eq!(world.wire.len(), 6);
    world.run();
    assert!(writes.iter().all(|io| world.done[io].is_ok()));
}

#[test]
fn no_more_is_sent_than_there_is_credit_for() {
    let mut world = World::new(1, 1, 1, 1);
    world.connect_as(0, 2, false);
    world.run();
    let writes: Vec<_> = (0..6).map(|at| world.write(at, at + 1)).collect();
    assert_eq!(world.wire.len(), 2);
    world.deliver(0);
    world.answer(1);
    assert_eq!(world.wire.len(), 2, "one is answered, the next is sent");
    world.run();
    assert!(writes.iter().all(|io| world.done[io].is_ok()));
}

#[test]
fn a_disk_without_a_path_is_suspected_once_and_trusted_when_it_answers() {
    let mut world = World::attached(2, 2, 1, 1);
    world.events.clear();
    let disk = disk_id(1);
    world.kill(1);
    world.pass(90);
    assert!(world.events.is_empty());
    world.pass(1_000);
    assert_eq!(world.events, [Output::Suspect { disk }]);
    world.connect(1);
    world.run();
    assert_eq!(world.events[1..], [Output::Trust { disk }]);
}

#[test]
fn a_disk_that_owes_an_answer_is_suspected_and_trusted_when_it_answers() {
    let mut world = World::attached(2, 2, 1, 1);
    world.events.clear();
    let disk = disk_id(1);
    world.stuck.insert(1);
    let write = world.write(1, 1);
    world.pass(500);
    assert_eq!(world.events, [Output::Suspect { disk }]);
    world.stuck.clear();
    world.run();
    assert_eq!(world.events[1..], [Output::Trust { disk }]);
    assert!(world.done[&write].is_ok());
}

#[test]
fn an_idle_engine_wants_no_tick() {
    let mut world = World::attached(2, 2, 1, 1);
    world.write(1, 1);
    world.pass(20_000);
    assert_eq!(world.engine.deadline(), None);
}

#[test]
fn a_slow_replica_is_read_elsewhere() {
    let mut world = World::attached(2, 2, 1, 1);
    world.write(1, 7);
    world.run();
    world.stuck.insert(0);
    let reads: Vec<_> = (0..4).map(|_| world.read(1, 1)).collect();
    world.pass(300);
    assert!(reads.iter().all(|io| world.values(*io) == [7]));
    let read = world.read(1, 1);
    world.run();
    assert_eq!(
        world.values(read),
        [7],
        "at once, since the slow one is suspected"
    );
}

#[test]
fn a_read_goes_to_another_replica_when_the_disk_is_gone() {
    let mut world = World::attached(2, 2, 1, 1);
    world.write(1, 7);
    world.run();
    let reads: Vec<_> = (0..4).map(|_| world.read(1, 1)).collect();
    world.kill(0);
    world.run();
    assert!(reads.iter().all(|io| world.values(*io) == [7]));
    world.kill(1);
    let read = world.read(1, 1);
    world.pass(1_000);
    assert!(!world.done.contains_key(&read));
    world.connect(0);
    world.run();
    assert_eq!(world.values(read), [7], "it waited for a path");
}

#[test]
fn reads_are_balanced_and_the_local_replica_is_preferred() {
    let count = |world: &World| {
        let mut counts = [0; 2];
        for message in &world.wire {
            assert!(matches!(message.request, Request::Read { .. }));
            counts[message.disk] += 1;
        }
        counts
    };
    let mut world = World::attached(2, 2, 1, 1);
    for at in 0..20 {
        world.read(at, 1);
    }
    assert_eq!(count(&world), [10, 10]);
    let mut world = World::new(2, 2, 1, 1);
    world.connect_as(0, 64, false);
    world.connect_as(1, 64, true);
    world.run();
    for at in 0..20 {
        world.read(at, 1);
    }
    let [far, near] = count(&world);
    assert!(near > 3 * far && far > 0, "{far} far, {near} near");
}

#[test]
fn a_slow_answer_makes_the_next_reads_go_elsewhere() {
    let mut world = World::attached(2, 2, 1, 1);
    world.read(0, 1);
    let slow = world.wire[0].disk;
    world.tick(world.now + 80);
    world.run();
    for at in 0..6 {
        world.read(at, 1);
    }
    let there = world.wire.iter().filter(|message| message.disk == slow);
    assert!(there.count() < 2);
}

#[test]
fn syncing_replicas_are_written_and_not_read() {
    let mut world = World::attached(3, 2, 1, 1);
    let (bucket, ..) = world.bucket_of(0);
    let roles = [
        (0, Role::InSync, 1),
        (1, Role::InSync, 1),
        (2, Role::Syncing, 2),
    ];
    let newer = world.publish(bucket, &roles);
    world.learn(&newer);
    world.run();
    world.write(1, 7);
    assert_eq!(world.wire.len(), 3);
    world.run();
    for at in 0..20 {
        world.read(at, 1);
    }
    assert!(world.wire.iter().all(|message| message.disk != 2));
}
