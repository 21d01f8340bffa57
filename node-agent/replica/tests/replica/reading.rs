//! Reads: at which cut, of whom, what of clones, and damage.

use super::world::*;
use moraine_model::*;
use moraine_protocol::*;

#[test]
fn a_snapshot_shows_what_was_there_and_a_clone_reads_through_to_it() {
    let mut host = Host::new(1);
    host.open(7, 1, alone(1));
    let by = under(7, 1, 1);
    host.ask(write(by, block(0, 0, 4), 1, 0, 100));
    host.ask(write(by, block(0, 1, 1), 2, 1, 101));
    let old = host.blocks(by, block(0, 0, 2), At::Cut(Cut(0)));
    let bytes = filled(4, 100);
    assert_eq!(
        old[1].as_deref(),
        Some(&bytes[BLOCK_BYTES..2 * BLOCK_BYTES])
    );
    assert_eq!(
        host.blocks(by, block(0, 1, 1), At::Head),
        [Some(filled(1, 101))]
    );
    assert!(!host.replicas.add_reference(volume(7), Cut(0), volume(8)));
    host.calm();
    assert!(host.replicas.add_reference(volume(7), Cut(0), volume(8)));
    host.open(8, 1, alone(1));
    let clone = under(8, 1, 1);
    host.ask(write(clone, block(0, 2, 1), 1, 0, 200));
    let (reply, data) = host.ask_data((read(clone, block(0, 0, 5), At::Head), None));
    let Reply::Data { parts } = reply else {
        panic!("no data");
    };
    let inherited: Vec<_> = parts
        .iter()
        .map(|part| (part.version.range.first(), part.inherited))
        .collect();
    assert_eq!(inherited, [(0, true), (2, false), (3, true)]);
    assert_eq!(parts[0].version.tag.stamp, Stamp::new(1, 0, 1));
    let seen = spread(block(0, 0, 5), &parts, &data);
    assert_eq!(seen[2], Some(filled(1, 200)));
    assert_eq!(
        seen[1].as_deref(),
        Some(&bytes[BLOCK_BYTES..2 * BLOCK_BYTES])
    );
    assert_eq!(seen[4], None);
    // A version of the clone above the cut that is read hides nothing.
    host.ask(write(clone, block(0, 3, 1), 2, 5, 201));
    let (reply, _) = host.ask_data((read(clone, block(0, 3, 1), At::Cut(Cut(4))), None));
    let Reply::Data { parts } = reply else {
        panic!("no data");
    };
    assert!(parts[0].inherited && parts.len() == 1);
}

#[test]
fn versions_that_lie_side_by_side_come_as_parts_of_their_own() {
    let mut host = Host::new(1);
    host.open(7, 1, alone(1));
    let by = under(7, 1, 1);
    let writes: Vec<_> = (0..6)
        .map(|nth| {
            host.send(write(
                by,
                block(0, nth, 1),
                1 + u64::from(nth),
                0,
                nth.into(),
            ))
        })
        .collect();
    host.calm();
    for id in writes {
        assert_eq!(host.answer(id).unwrap().0, Reply::Done);
    }
    let (reply, data) = host.ask_data((read(by, block(0, 0, 6), At::Head), None));
    let Reply::Data { parts } = reply else {
        panic!("no data");
    };
    assert_eq!(parts.len(), 6);
    let stamps: Vec<u64> = parts.iter().map(|p| p.version.tag.stamp.sequence).collect();
    assert_eq!(stamps, [1, 2, 3, 4, 5, 6]);
    let seen = spread(block(0, 0, 6), &parts, &data);
    for (nth, seen) in (0..).zip(seen) {
        assert_eq!(seen, Some(filled(1, nth)));
    }
}

#[test]
fn a_syncing_replica_is_not_read() {
    let mut host = Host::new(1);
    host.open(7, 1, syncing(2, 2));
    let by = under(7, 1, 2);
    assert_eq!(host.ask(write(by, block(0, 0, 1), 1, 0, 1)), Reply::Done);
    let refused = host.refused((read(by, block(0, 0, 1), At::Head), None));
    assert_eq!(refused, Refusal::NotInSync);
}

#[test]
fn a_damaged_block_is_named_and_never_given() {
    let mut host = Host::new(1);
    host.open(7, 1, alone(1));
    let by = under(7, 1, 1);
    host.ask(write(by, block(0, 10, 4), 1, 0, 3));
    host.calm();
    // Finds the third block on the disk and damages it.
    let wanted = filled(4, 3);
    let wanted = &wanted[2 * BLOCK_BYTES..3 * BLOCK_BYTES];
    let mut bytes = vec![0; BLOCK_BYTES];
    let blocks = 256 + SEGMENTS * u64::from(SEGMENT_BLOCKS);
    let places = (0..blocks).map(|block| block * BLOCK_BYTES as u64);
    let found: Vec<u64> = places
        .filter(|at| {
            host.disk.peek(*at, &mut bytes);
            bytes == wanted
        })
        .collect();
    let [at] = found[..] else {
        panic!("it is at {found:?}");
    };
    host.disk.poke(at + 100, &[0xff, 0xee]);
    let refused = host.refused((read(by, block(0, 8, 8), At::Head), None));
    assert_eq!(refused, Refusal::Damaged { block: 12 });
    assert_eq!(host.replicas.metrics().refusals.damaged, 1);
    // Written again, it is whole.
    host.ask(write(by, block(0, 12, 1), 2, 0, 4));
    assert_eq!(
        host.blocks(by, block(0, 12, 1), At::Head),
        [Some(filled(1, 4))]
    );
}
