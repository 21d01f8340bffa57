//! Commit marks: who takes them, when they are durable, what they say of what is held.

use super::world::*;
use moraine_model::*;
use moraine_protocol::*;

fn mark(attach: u32, sequence: u64) -> Stamp {
    Stamp::new(attach, 0, sequence)
}

#[test]
fn a_replica_in_sync_keeps_the_newest_mark() {
    let mut host = Host::new(1);
    host.open(7, 2, alone(1));
    let by = under(7, 2, 1);
    host.ask(with_mark(write(by, block(0, 0, 1), 9, 0, 1), mark(2, 8)));
    host.ask(with_mark(write(by, block(0, 1, 1), 10, 0, 1), mark(2, 7)));
    assert_eq!(host.open(7, 2, alone(1)).0, mark(2, 8));
    let request = (read(by, block(0, 0, 1), At::Head), None);
    host.ask(with_mark(request, mark(2, 9)));
    assert_eq!(host.open(7, 2, alone(1)), (mark(2, 9), Cut(0), true));
    let request = Request::Close {
        under: by,
        mark: mark(2, 10),
    };
    assert_eq!(host.plain(request), Reply::Done);
    assert_eq!(
        host.crashed().open(7, 3, alone(1)),
        (mark(2, 10), Cut(0), false)
    );
}

#[test]
fn a_mark_is_durable_after_its_interval_and_an_older_one_till_then() {
    let mut host = Host::new(1);
    host.open(7, 2, alone(1));
    let by = under(7, 2, 1);
    host.now_ms = 10_000;
    host.ask(with_mark(write(by, block(0, 0, 1), 9, 0, 1), mark(2, 8)));
    host.calm();
    assert_eq!(host.crashed().open(7, 3, alone(1)).0, mark(2, 8));
    host.ask(with_mark(write(by, block(0, 0, 1), 10, 0, 1), mark(2, 9)));
    host.calm();
    assert_eq!(
        host.crashed().open(7, 3, alone(1)),
        (mark(2, 8), Cut(0), true)
    );
    host.now_ms += host.options.mark_interval_ms;
    host.calm();
    assert_eq!(host.crashed().open(7, 3, alone(1)).0, mark(2, 9));
}

#[test]
fn closing_is_answered_when_the_mark_is_durable() {
    let mut host = Host::new(1);
    host.open(7, 2, alone(1));
    host.calm();
    host.queue.hold(true);
    let close = Request::Close {
        under: under(7, 2, 1),
        mark: mark(2, 5),
    };
    let closing = host.send((close, None));
    host.poll();
    assert!(host.answer(closing).is_none());
    assert_eq!(host.crashed().open(7, 3, alone(1)).0, Stamp::ZERO);
    host.queue.hold(false);
    host.calm();
    assert_eq!(host.answer(closing).unwrap().0, Reply::Done);
    assert_eq!(host.crashed().open(7, 3, alone(1)).0, mark(2, 5));
}

#[test]
fn a_syncing_replica_keeps_the_mark_it_had() {
    let mut host = Host::new(1);
    host.open(7, 2, alone(1));
    host.ask(with_mark(
        write(under(7, 2, 1), block(0, 0, 1), 9, 0, 1),
        mark(2, 8),
    ));
    let (_, _, above) = host.open(7, 2, syncing(2, 2));
    assert!(
        !above,
        "what it held before it was listed counts for nothing"
    );
    let by = under(7, 2, 2);
    host.ask(with_mark(write(by, block(0, 0, 1), 10, 4, 1), mark(2, 9)));
    let close = Request::Close {
        under: by,
        mark: mark(2, 10),
    };
    assert_eq!(host.plain(close), Reply::Done);
    let opened = (mark(2, 8), Cut(4), true);
    assert_eq!(host.open(7, 2, syncing(2, 2)), opened);
    // Promoted, it takes them again.
    let promoted = entry(3, &[(1, Role::InSync, 2), (2, Role::InSync, 1)]);
    host.open(7, 2, promoted.clone());
    host.ask(with_mark(
        write(under(7, 2, 3), block(0, 0, 1), 11, 4, 1),
        mark(2, 10),
    ));
    assert_eq!(host.open(7, 2, promoted).0, mark(2, 10));
}

#[test]
fn marks_and_sequences_that_can_not_be_are_refused() {
    let mut host = Host::new(1);
    host.open(7, 2, alone(1));
    let by = under(7, 2, 1);
    let refused = malformed(Rule::StampInRange);
    let at = |sequence, mark| with_mark(write(by, block(0, 0, 1), sequence, 0, 1), mark);
    let bad = [
        at(0, Stamp::ZERO),
        at(1 << 62, Stamp::ZERO),
        at(u64::MAX, Stamp::ZERO),
        at(1, mark(3, 1)),
        at(5, mark(2, 5)),
        at(5, mark(1, 1 << 62)),
        with_mark((read(by, block(0, 0, 1), At::Head), None), mark(3, 1)),
        (
            Request::Close {
                under: by,
                mark: mark(3, 0),
            },
            None,
        ),
    ];
    let count = bad.len() as u64;
    for request in bad {
        assert_eq!(host.refused(request), refused);
    }
    assert_eq!(host.open(7, 2, alone(1)), (Stamp::ZERO, Cut(0), false));
    assert_eq!(host.replicas.metrics().refusals.malformed, count);
}

#[test]
fn a_close_whose_mark_goes_with_the_bucket_is_refused_by_the_entry() {
    let mut host = Host::new(1);
    host.open(7, 1, alone(1));
    let by = under(7, 1, 1);
    host.ask(write(by, block(0, 0, 1), 1, 0, 50));
    host.queue.hold(true);
    let mark = Stamp::new(1, 0, 1);
    let close = host.send((Request::Close { under: by, mark }, None));
    let newer = entry(2, &[(2, Role::InSync, 1)]);
    host.replicas.learn(newer.clone());
    host.replicas.forget(bucket());
    host.queue.hold(false);
    host.calm();
    let refused = Reply::Refused(Refusal::StaleEpoch { entry: newer });
    assert_eq!(host.answer(close).map(|(reply, _)| reply), Some(refused));
}
