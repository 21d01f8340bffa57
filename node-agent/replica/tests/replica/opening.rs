//! Opening: what is durable before it is answered, who wins, who is refused.

use super::world::*;
use moraine_model::*;
use moraine_protocol::*;

#[test]
fn an_open_share_takes_writes_and_gives_them_back() {
    let mut host = Host::new(1);
    assert_eq!(host.open(7, 1, alone(1)), (Stamp::ZERO, Cut(0), false));
    let by = under(7, 1, 1);
    assert_eq!(host.ask(write(by, block(3, 5, 4), 1, 2, 77)), Reply::Done);
    assert_eq!(host.ask(zero(by, block(3, 6, 1), 2, 2)), Reply::Done);
    let blocks = host.blocks(by, block(3, 4, 6), At::Head);
    let bytes = filled(4, 77);
    let at = |nth: usize| Some(bytes[nth * BLOCK_BYTES..(nth + 1) * BLOCK_BYTES].to_vec());
    let zeros = Some(vec![0; BLOCK_BYTES]);
    assert_eq!(blocks, [None, at(0), zeros, at(2), at(3), None]);
    assert_eq!(host.open(7, 1, alone(1)), (Stamp::ZERO, Cut(2), true));
}

#[test]
fn a_newer_generation_fences_the_older_one_at_once_and_for_good() {
    let mut host = Host::new(1);
    host.open(7, 1, alone(1));
    host.queue.hold(true);
    let opening = host.send((open(7, 2, alone(1)), None));
    // The note is not durable, but the older one is refused.
    let by = Refusal::Fenced { by: generation(2) };
    assert_eq!(
        host.refused(write(under(7, 1, 1), block(0, 0, 1), 1, 0, 1)),
        by
    );
    assert_eq!(
        host.refused((read(under(7, 1, 1), block(0, 0, 1), At::Head), None)),
        by
    );
    assert_eq!(host.refused((open(7, 1, alone(1)), None)), by);
    assert!(
        host.answer(opening).is_none(),
        "answered before it was durable"
    );
    // Nor is the newer one let in yet: a crash would forget it.
    let early = host.refused(write(under(7, 2, 1), block(0, 0, 1), 1, 0, 1));
    assert_eq!(early, Refusal::NotOpen);
    let mut crashed = host.crashed();
    assert_eq!(
        crashed.open(7, 1, alone(1)).0,
        Stamp::ZERO,
        "nobody was told of 2"
    );
    host.queue.hold(false);
    host.calm();
    assert!(matches!(
        host.answer(opening),
        Some((Reply::Opened { .. }, _))
    ));
    let mut crashed = host.crashed();
    assert_eq!(crashed.refused((open(7, 1, alone(1)), None)), by);
    assert_eq!(
        crashed.ask(write(under(7, 2, 1), block(0, 0, 1), 1, 0, 1)),
        Reply::Done,
        "what was durable lets in again"
    );
}

#[test]
fn of_two_opens_under_way_the_newer_one_wins() {
    for newer_first in [false, true] {
        let mut host = Host::new(1);
        host.queue.hold(true);
        let [older, newer] = if newer_first {
            let newer = host.send((open(7, 3, alone(1)), None));
            [host.send((open(7, 2, alone(1)), None)), newer]
        } else {
            [2, 3].map(|attach| host.send((open(7, attach, alone(1)), None)))
        };
        host.poll();
        host.queue.hold(false);
        host.calm();
        let fenced = Reply::Refused(Refusal::Fenced { by: generation(3) });
        assert_eq!(host.answer(older).unwrap().0, fenced);
        assert!(matches!(
            host.answer(newer),
            Some((Reply::Opened { .. }, _))
        ));
        let mut crashed = host.crashed();
        assert_eq!(
            crashed.refused((open(7, 2, alone(1)), None)),
            Refusal::Fenced { by: generation(3) }
        );
    }
}

#[test]
fn an_open_that_a_newer_entry_overtakes_is_refused() {
    let mut host = Host::new(1);
    host.queue.hold(true);
    let opening = host.send((open(7, 1, alone(1)), None));
    host.poll();
    host.replicas.learn(alone(4));
    host.queue.hold(false);
    host.calm();
    let stale = Reply::Refused(Refusal::StaleEpoch { entry: alone(4) });
    assert_eq!(host.answer(opening).unwrap().0, stale);
}

#[test]
fn an_open_is_answered_behind_the_writes_that_came_before() {
    let mut host = Host::new(1);
    host.open(7, 1, alone(1));
    host.calm();
    host.queue.hold(true);
    let writing = host.send(write(under(7, 1, 1), block(9, 0, 1), 5, 3, 1));
    host.poll();
    assert_eq!(host.queue.pending(), 1);
    // The fence of this generation is durable already: no note would hold the answer back.
    let again = host.send((open(7, 1, alone(1)), None));
    let newer = host.send((open(7, 2, alone(2)), None));
    host.poll();
    assert!(host.answer(again).is_none() && host.answer(newer).is_none());
    host.queue.hold(false);
    host.calm();
    assert_eq!(host.answer(writing).unwrap().0, Reply::Done);
    assert!(matches!(
        host.answer(again).unwrap().0,
        Reply::Refused(Refusal::Fenced { .. })
    ));
    let opened = Reply::Opened {
        mark: Stamp::ZERO,
        cut: Cut(3),
        above_mark: true,
    };
    assert_eq!(host.answer(newer).unwrap().0, opened);
}

#[test]
fn a_share_whose_fence_is_durable_is_not_opened_while_its_writes_are_under_way() {
    let mut host = Host::new(1);
    host.open(7, 1, alone(1));
    host.calm();
    host.queue.hold(true);
    let writing = host.send(write(under(7, 1, 1), block(9, 0, 1), 5, 3, 1));
    host.poll();
    let again = host.send((open(7, 1, alone(1)), None));
    host.poll();
    assert!(host.answer(writing).is_none() && host.answer(again).is_none());
    host.queue.hold(false);
    host.calm();
    assert!(matches!(
        host.answer(again).unwrap().0,
        Reply::Opened {
            above_mark: true,
            ..
        }
    ));
}

#[test]
fn only_the_adopted_epoch_is_served() {
    let mut host = Host::new(1);
    host.open(7, 1, alone(5));
    let at = |epoch| write(under(7, 1, epoch), block(0, 0, 1), 1, 0, 1);
    let stale = Refusal::StaleEpoch { entry: alone(5) };
    assert_eq!(host.refused(at(4)), stale);
    assert_eq!(host.refused(at(6)), Refusal::NotOpen);
    assert_eq!(host.refused((open(7, 1, alone(4)), None)), stale);
    assert_eq!(host.refused((open(7, 2, alone(4)), None)), stale);
    assert_eq!(host.ask(at(5)), Reply::Done, "a refused open fences nobody");
    // Learnt from the control plane, in any order: the newest counts.
    for epoch in [9, 7, 9, 2] {
        host.replicas.learn(alone(epoch));
    }
    let stale = Refusal::StaleEpoch { entry: alone(9) };
    assert_eq!(host.refused(at(5)), stale);
    host.calm();
    assert_eq!(
        host.crashed().refused(at(5)),
        stale,
        "it is kept on the disk"
    );
    host.open(7, 1, alone(9));
    assert_eq!(host.ask(at(9)), Reply::Done);
}

#[test]
fn an_entry_that_is_not_durable_refuses_the_older_and_lets_in_nobody() {
    let mut host = Host::new(1);
    host.open(7, 1, alone(1));
    host.calm();
    host.queue.hold(true);
    host.replicas.learn(alone(2));
    let at = |epoch| write(under(7, 1, epoch), block(0, 0, 1), 1, 0, 1);
    assert_eq!(host.refused(at(1)), Refusal::StaleEpoch { entry: alone(2) });
    assert_eq!(host.refused(at(2)), Refusal::NotOpen);
    host.queue.hold(false);
    host.calm();
    assert_eq!(host.ask(at(2)), Reply::Done);
}

#[test]
fn entries_that_can_not_be_are_refused() {
    let mut host = Host::new(1);
    host.open(7, 1, alone(5));
    let other = entry(5, &[(1, Role::InSync, 1), (2, Role::InSync, 1)]);
    let refused = host.refused((open(7, 1, other.clone()), None));
    assert_eq!(refused, malformed(Rule::OneEntryPerEpoch));
    host.replicas.learn(other);
    assert_eq!(host.replicas.metrics().entries_contradicting, 1);
    assert_eq!(host.replicas.entries().collect::<Vec<_>>(), [&alone(5)]);
    let elsewhere = entry(6, &[(2, Role::InSync, 1)]);
    let refused = host.refused((open(7, 1, elsewhere), None));
    assert_eq!(refused, malformed(Rule::AskedIsListed));
}

#[test]
fn a_replica_that_is_not_listed_any_more_refuses_engines_and_keeps_its_blocks() {
    let mut host = Host::new(1);
    host.open(7, 1, alone(1));
    let by = under(7, 1, 1);
    host.ask(write(by, block(0, 0, 1), 1, 0, 5));
    let elsewhere = entry(2, &[(2, Role::InSync, 1)]);
    host.replicas.learn(elsewhere.clone());
    host.calm();
    let stale = Refusal::StaleEpoch { entry: elsewhere };
    assert_eq!(host.refused(write(by, block(0, 0, 1), 2, 0, 6)), stale);
    assert_eq!(
        host.refused((read(by, block(0, 0, 1), At::Head), None)),
        stale
    );
    assert_eq!(host.refused((open(7, 2, alone(1)), None)), stale);
    let by = under(7, 2, 3);
    host.open(7, 2, alone(3));
    let blocks = host.blocks(by, block(0, 0, 1), At::Head);
    assert_eq!(blocks, [Some(filled(1, 5))]);
}

#[test]
fn a_bucket_that_was_never_here_is_not_remembered() {
    let mut host = Host::new(1);
    host.replicas.learn(entry(2, &[(2, Role::InSync, 1)]));
    host.calm();
    assert_eq!(host.replicas.entries().count(), 0);
    assert_eq!(shard_of(&host.disk).notes(&[]).count(), 0);
}

#[test]
fn of_a_disconnected_session_nothing_is_answered_but_all_is_done() {
    let mut host = Host::new(1);
    host.open(7, 1, alone(1));
    let by = under(7, 1, 1);
    host.queue.hold(true);
    let writing = host.send(write(by, block(0, 0, 1), 1, 0, 5));
    let opening = host.send((open(8, 1, alone(1)), None));
    let refused = host.send((open(7, 0, alone(1)), None));
    host.replicas.disconnected(ENGINE);
    host.queue.hold(false);
    host.calm();
    for id in [writing, opening, refused] {
        assert!(host.answer(id).is_none());
    }
    assert_eq!(host.replicas.metrics().in_flight, 0);
    assert_eq!(
        host.blocks(by, block(0, 0, 1), At::Head),
        [Some(filled(1, 5))]
    );
    assert_eq!(
        host.ask(write(under(8, 1, 1), block(0, 0, 1), 1, 0, 5)),
        Reply::Done
    );
}

#[test]
fn only_described_volumes_are_opened_where_that_is_wanted() {
    let mut host = Host::new(1);
    host.options.only_known_volumes = true;
    let mut host = host.crashed();
    assert_eq!(
        host.refused((open(7, 1, alone(1)), None)),
        Refusal::UnknownVolume
    );
    host.replicas
        .describe(volume(7), Some(vec![1, 2, 3]))
        .unwrap();
    host.open(7, 1, alone(1));
    let mut host = host.crashed();
    let known: Vec<_> = host.replicas.descriptions().collect();
    assert_eq!(known, [(volume(7), &[1, 2, 3][..])]);
    let long = host.replicas.describe(volume(8), Some(vec![0; 513]));
    assert_eq!(long.unwrap_err().bytes, 513);
    host.replicas.describe(volume(7), None).unwrap();
    host.calm();
    assert_eq!(host.crashed().replicas.descriptions().count(), 0);
    assert_eq!(
        host.refused((open(7, 2, alone(1)), None)),
        Refusal::UnknownVolume
    );
}
