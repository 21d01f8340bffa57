//! Deleting, references, and forgetting a bucket.

use super::world::*;
use moraine_model::*;
use moraine_protocol::*;

#[test]
fn a_deleted_volume_is_refused_and_its_snapshots_go_on_being_there() {
    let mut host = Host::new(1);
    host.open(7, 1, alone(1));
    let by = under(7, 1, 1);
    host.ask(write(by, block(0, 0, 1), 1, 0, 50));
    host.ask(write(by, block(0, 0, 1), 2, 1, 51));
    assert!(!host.replicas.delete_volume(volume(7), Cut(1)));
    host.calm();
    assert!(
        host.replicas.delete_volume(volume(7), Cut(1)),
        "nothing is left to do"
    );
    let refused = Refusal::Deleted;
    assert_eq!(host.refused(write(by, block(0, 0, 1), 3, 1, 52)), refused);
    assert_eq!(
        host.refused((read(by, block(0, 0, 1), At::Head), None)),
        refused
    );
    assert_eq!(host.refused((open(7, 2, alone(1)), None)), refused);
    let seen = host.blocks(by, block(0, 0, 1), At::Cut(Cut(0)));
    assert_eq!(seen, [Some(filled(1, 50))]);
    assert!(!host.replicas.delete_snapshot(volume(7), Cut(0)));
    host.calm();
    assert!(host.replicas.delete_snapshot(volume(7), Cut(0)));
    let read = read(by, block(0, 0, 1), At::Cut(Cut(0)));
    assert_eq!(host.refused((read, None)), Refusal::NoSnapshot);
    assert_eq!(shard_of(&host.disk).share_bytes(share(7)), 0);
}

#[test]
fn a_replica_that_is_not_in_sync_deletes_nothing_but_takes_references() {
    let mut host = Host::new(1);
    host.open(7, 1, alone(1));
    host.ask(write(under(7, 1, 1), block(0, 0, 1), 1, 0, 50));
    host.ask(write(under(7, 1, 1), block(0, 0, 1), 2, 1, 51));
    host.replicas.learn(syncing(2, 2));
    host.calm();
    assert!(
        !host.replicas.delete_volume(volume(7), Cut(1)),
        "say it again later"
    );
    assert!(!host.replicas.delete_snapshot(volume(7), Cut(0)));
    assert!(!host.replicas.add_reference(volume(7), Cut(0), volume(8)));
    host.calm();
    let shard = shard_of(&host.disk);
    let kept = shard.retention(share(7)).unwrap();
    assert!(kept.head_is_read() && kept.is_snapshot(Cut(0)));
    assert!(kept.has_reference(Cut(0), volume(8)));
    let elsewhere = entry(3, &[(2, Role::InSync, 1)]);
    host.replicas.learn(elsewhere);
    host.calm();
    assert!(
        host.replicas.delete_volume(volume(7), Cut(1)),
        "it is nobody's replica"
    );
    assert!(
        shard_of(&host.disk)
            .retention(share(7))
            .unwrap()
            .head_is_read()
    );
}

#[test]
fn a_reference_goes_when_its_clone_is_deleted() {
    let mut host = Host::new(1);
    host.open(7, 1, alone(1));
    host.open(8, 1, alone(1));
    host.ask(write(under(7, 1, 1), block(0, 0, 1), 1, 0, 50));
    host.ask(write(under(7, 1, 1), block(0, 0, 1), 2, 1, 51));
    host.replicas.add_reference(volume(7), Cut(0), volume(8));
    host.calm();
    host.ask(write(under(8, 1, 1), block(0, 1, 1), 1, 0, 60));
    assert!(!host.replicas.remove_reference(volume(7), Cut(0), volume(8)));
    host.calm();
    assert!(
        !host.replicas.remove_reference(volume(7), Cut(0), volume(8)),
        "it is read"
    );
    host.replicas.delete_volume(volume(8), Cut(0));
    host.calm();
    host.replicas.remove_reference(volume(7), Cut(0), volume(8));
    host.calm();
    assert!(host.replicas.remove_reference(volume(7), Cut(0), volume(8)));
}

#[test]
fn a_clone_of_a_clone_that_wrote_nothing_reads_through_both() {
    let mut host = Host::new(1);
    host.open(7, 1, alone(1));
    host.ask(write(under(7, 1, 1), block(0, 0, 1), 1, 0, 50));
    assert!(!host.replicas.add_reference(volume(7), Cut(0), volume(8)));
    host.calm();
    // Volume 8 has nothing of its own here.
    assert!(!host.replicas.add_reference(volume(8), Cut(0), volume(9)));
    host.calm();
    assert!(host.replicas.add_reference(volume(8), Cut(0), volume(9)));
    host.open(9, 1, alone(1));
    let seen = |host: &mut Host| host.blocks(under(9, 1, 1), block(0, 0, 1), At::Head);
    assert_eq!(seen(&mut host), [Some(filled(1, 50))]);
    // The reference between the first two stays as long as the last one reads through it.
    host.replicas.delete_volume(volume(8), Cut(0));
    host.calm();
    host.replicas.delete_volume(volume(7), Cut(1));
    host.replicas.delete_snapshot(volume(7), Cut(0));
    host.replicas.remove_reference(volume(7), Cut(0), volume(8));
    host.calm();
    assert_eq!(seen(&mut host), [Some(filled(1, 50))]);
}

/// A bucket with a volume, a clone of it and a clone of that, all with marks.
fn family(host: &mut Host) {
    let mark = Stamp::new(1, 0, 1);
    for number in [7, 8, 9] {
        host.open(number, 1, alone(1));
        host.ask(write(under(number, 1, 1), block(0, 0, 1), 1, 0, 50));
        let close = Request::Close {
            under: under(number, 1, 1),
            mark,
        };
        assert_eq!(host.plain(close), Reply::Done);
    }
    host.replicas.add_reference(volume(8), Cut(0), volume(7));
    host.replicas.add_reference(volume(9), Cut(0), volume(8));
    host.calm();
}

#[test]
fn a_forgotten_bucket_leaves_fences_and_entry_and_nothing_else() {
    let mut host = Host::new(1);
    family(&mut host);
    assert!(!host.replicas.forget(bucket()), "a listed bucket is kept");
    host.calm();
    assert_eq!(shard_of(&host.disk).shares().count(), 3);
    let elsewhere = entry(2, &[(2, Role::InSync, 1)]);
    host.replicas.learn(elsewhere.clone());
    host.calm();
    let mut done = false;
    for _ in 0..20 {
        done = host.replicas.forget(bucket());
        host.calm();
        host.now_ms += 100;
    }
    assert!(done);
    let shard = shard_of(&host.disk);
    assert_eq!(
        shard
            .shares()
            .filter(|share| shard.share_bytes(*share) > 0)
            .count(),
        0
    );
    assert_eq!(shard.notes(&[3]).count(), 0, "a mark is left");
    assert_eq!(shard.notes(&[2]).count(), 3, "a fence is gone");
    let mut crashed = host.crashed();
    let stale = Refusal::StaleEpoch { entry: elsewhere };
    assert_eq!(crashed.refused((open(7, 1, alone(1)), None)), stale);
    assert_eq!(
        crashed.refused((open(7, 0, alone(3)), None)),
        Refusal::Fenced { by: generation(1) }
    );
    assert_eq!(
        crashed.open(7, 1, syncing(3, 3)),
        (Stamp::ZERO, Cut(0), false)
    );
}

#[test]
fn no_crash_while_forgetting_leaves_a_mark_without_its_blocks() {
    let mut host = Host::new(1);
    family(&mut host);
    host.replicas.learn(entry(2, &[(2, Role::InSync, 1)]));
    host.calm();
    host.queue.hold(true);
    let mut halves = 0;
    for _ in 0..500 {
        host.now_ms += 100;
        host.replicas.forget(bucket());
        host.poll();
        host.queue.complete(0);
        let shard = shard_of(&host.disk);
        for number in [7, 8, 9] {
            let mut key = vec![3, 0, 0, 0, 0];
            key.extend(volume(number).get().to_le_bytes());
            let marked = shard.notes(&key).next().is_some();
            let held = shard.share_bytes(share(number)) > 0;
            assert!(
                !marked || held,
                "volume {number} claims what it does not hold"
            );
            halves += u32::from(held && !marked);
        }
    }
    assert!(halves > 0, "no crash hit the middle");
    host.queue.hold(false);
    host.calm();
    assert!(host.replicas.forget(bucket()));
}

#[test]
fn what_is_left_of_a_bucket_that_is_being_forgotten_has_all_its_references() {
    let mut host = Host::new(1);
    family(&mut host);
    // The clones go on reading through a volume that is deleted.
    host.replicas.delete_volume(volume(9), Cut(1));
    host.calm();
    let references = |host: &Host, number| {
        let shard = shard_of(&host.disk);
        let kept = shard.retention(share(number));
        kept.map(|kept| kept.references().count())
    };
    let whole = [8, 9].map(|number| references(&host, number));
    assert_eq!(whole, [Some(1), Some(1)]);
    host.replicas.learn(entry(2, &[(2, Role::InSync, 1)]));
    host.calm();
    host.queue.hold(true);
    let mut middles = 0;
    for _ in 0..500 {
        host.now_ms += 100;
        host.replicas.forget(bucket());
        host.poll();
        host.queue.complete(0);
        // What a crash, or an entry that lists the disk again, would find.
        let now = [8, 9].map(|number| references(&host, number));
        let gone = now.iter().filter(|references| references.is_none()).count();
        middles += u32::from(gone == 1);
        for references in now.into_iter().flatten() {
            assert_eq!(references, 1, "a share has lost what its clone reads");
        }
    }
    assert!(middles > 0, "no crash hit the middle");
    host.queue.hold(false);
    host.calm();
    assert!(host.replicas.forget(bucket()));
}

#[test]
fn a_bucket_that_is_listed_again_meanwhile_is_not_dropped() {
    let mut host = Host::new(1);
    family(&mut host);
    host.replicas.learn(entry(2, &[(2, Role::InSync, 1)]));
    host.calm();
    host.replicas.forget(bucket());
    host.replicas.learn(syncing(3, 3));
    for _ in 0..10 {
        host.now_ms += 100;
        host.calm();
    }
    assert_eq!(
        shard_of(&host.disk).share_bytes(share(7)),
        BLOCK_BYTES as u64
    );
    assert_eq!(
        host.open(7, 1, syncing(3, 3)).0,
        Stamp::ZERO,
        "its marks are gone"
    );
}

#[test]
fn a_bucket_is_forgotten_at_the_end_of_time_too() {
    let mut host = Host::new(1);
    host.open(7, 1, alone(1));
    host.ask(write(under(7, 1, 1), block(0, 0, 1), 1, 0, 50));
    host.replicas.learn(entry(2, &[(2, Role::InSync, 1)]));
    host.calm();
    assert!(!host.replicas.forget(bucket()));
    for _ in 0..50 {
        host.replicas.poll(u64::MAX);
    }
    assert!(host.replicas.forget(bucket()));
}
