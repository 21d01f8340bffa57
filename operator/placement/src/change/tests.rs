//! The rules one by one, and long random lives of a pool against a model of what each disk really holds.

use super::*;
use crate::map::{Move, Replica, Stage};

const RULES: Rules = Rules {
    replicas: 2,
    recoveries_max: 4,
    moves_max: 2,
    balance: true,
};

fn view(domain: u32, health: Health) -> View {
    View {
        disk: Disk {
            domain: Some(domain),
            weight: 1 << 30,
            takes: true,
        },
        health,
    }
}

fn serving(disks: u32) -> Vec<View> {
    (0..disks).map(|disk| view(disk, Health::Serves)).collect()
}

fn replica(disk: Place, in_sync: bool, since: u64) -> Replica {
    Replica {
        disk,
        in_sync,
        since,
    }
}

/// A map of one bucket.
fn map(replicas: &[Replica]) -> Map {
    let bucket = Bucket {
        epoch: 5,
        replicas: replicas.to_vec(),
        ..Bucket::default()
    };
    Map {
        epoch: 9,
        buckets: vec![bucket],
    }
}

/// A map of one bucket that moves from disk 1 to disk 2.
fn moving() -> Map {
    let mut map = map(&[
        replica(0, true, 1),
        replica(1, true, 1),
        replica(2, false, 7),
    ]);
    map.buckets[0].moving = Some(Move {
        to: 2,
        from: Some(1),
        stage: Stage::Copying,
        since: 7,
    });
    map
}

fn next(map: &Map, views: &[View], answers: &[Answer]) -> Next {
    advance(map, views, answers, RULES).unwrap()
}

fn said(disk: Place, since: u64, said: Said) -> Answer {
    Answer {
        disk,
        bucket: 0,
        since,
        said,
    }
}

#[test]
fn the_first_map_lists_all_in_sync_once_there_are_enough_domains() {
    assert_eq!(first(8, &serving(1), RULES), None);
    let map = first(8, &serving(3), RULES).unwrap();
    assert_eq!(map.epoch, 1);
    for bucket in &map.buckets {
        assert_eq!(bucket.epoch, 1);
        assert_eq!(bucket.in_sync().count(), 2);
    }
    let mut views = serving(3);
    views[2].health = Health::Down;
    let map = first(8, &views, RULES).unwrap();
    assert!(map.buckets.iter().all(|bucket| bucket.on(2).is_none()));
}

#[test]
fn a_healthy_pool_in_balance_changes_nothing() {
    let map = first(9, &serving(3), RULES).unwrap();
    let next = next(&map, &serving(3), &[]);
    assert_eq!((next.map, next.urgent), (None, false));
    assert_eq!(next.plan, Plan::default());
}

#[test]
fn a_replica_that_is_down_is_dropped_and_awaited_while_another_serves() {
    let map = map(&[replica(0, true, 1), replica(1, true, 1)]);
    let mut views = serving(2);
    views[1].health = Health::Down;
    let dropped = next(&map, &views, &[]);
    assert!(dropped.urgent);
    let dropped = dropped.map.unwrap();
    let bucket = &dropped.buckets[0];
    assert_eq!((dropped.epoch, bucket.epoch), (10, 10));
    assert_eq!(bucket.replicas, [replica(0, true, 1)]);
    assert_eq!(bucket.away, [1]);
    assert_eq!(next(&dropped, &views, &[]).map, None, "it is awaited");

    let back = next(&dropped, &serving(2), &[]).map.unwrap();
    let bucket = &back.buckets[0];
    assert_eq!(
        bucket.replicas,
        [replica(0, true, 1), replica(1, false, 11)]
    );
    assert!(bucket.away.is_empty());

    let stale = next(&back, &serving(2), &[said(1, 1, Said::Synced)]);
    assert_eq!(stale.map, None, "I7: the report is of another listing");
    let whole = next(&back, &serving(2), &[said(1, 11, Said::Synced)]);
    let whole = whole.map.unwrap();
    assert_eq!(whole.buckets[0].replicas[1], replica(1, true, 11));
    assert_eq!(whole.buckets[0].epoch, 12);
}

#[test]
fn the_last_in_sync_stays_whatever_happens() {
    let map = map(&[
        replica(0, true, 1),
        replica(1, true, 1),
        replica(2, false, 4),
    ]);
    for health in [Health::Down, Health::Out, Health::Unknown] {
        let mut views = serving(3);
        views[0].health = health;
        views[1].health = health;
        let change = next(&map, &views, &[]);
        assert_eq!(
            change.map, None,
            "{health:?}: only a syncing one is left, which is not whole"
        );
    }
}

#[test]
fn nothing_is_concluded_from_what_nobody_can_tell() {
    let map = map(&[replica(0, true, 1), replica(1, true, 1)]);
    let mut views = serving(3);
    views[1].health = Health::Unknown;
    assert_eq!(next(&map, &views, &[]).map, None);
    // Nor is one dropped that is down while it isn't known whether the other one serves.
    views[0].health = Health::Down;
    assert_eq!(next(&map, &views, &[]).map, None);
}

#[test]
fn what_is_lost_for_good_is_made_again_elsewhere() {
    let map = map(&[replica(0, true, 1), replica(1, true, 1)]);
    let mut views = serving(3);
    views[1].health = Health::Out;
    let offered = next(&map, &views, &[]).map.unwrap();
    let bucket = &offered.buckets[0];
    assert!(bucket.away.is_empty());
    let moving = Move {
        to: 2,
        from: None,
        stage: Stage::Offered,
        since: 10,
    };
    assert_eq!(bucket.moving, Some(moving));

    let refused = next(&offered, &views, &[said(2, 10, Said::Refused)]);
    let again = refused.map.unwrap().buckets[0].moving.unwrap();
    assert_eq!(
        again.since, 11,
        "a new offer, for the disk is still the best"
    );

    let stale = next(&offered, &views, &[said(2, 9, Said::Accepted)]);
    assert_eq!(stale.map, None, "another offer was accepted");
    let accepted = next(&offered, &views, &[said(2, 10, Said::Accepted)]);
    let accepted = accepted.map.unwrap();
    let bucket = &accepted.buckets[0];
    assert_eq!(
        bucket.replicas,
        [replica(0, true, 1), replica(2, false, 11)]
    );
    let done = next(&accepted, &views, &[said(2, 11, Said::Synced)]);
    let done = done.map.unwrap();
    assert_eq!(done.buckets[0].moving, None);
    assert_eq!(done.buckets[0].in_sync().count(), 2);
}

#[test]
fn an_evicted_disk_keeps_its_bucket_until_the_new_place_is_whole() {
    let map = map(&[replica(0, true, 1), replica(1, true, 1)]);
    let mut views = serving(3);
    views[1].disk.weight = 0;
    let offered = next(&map, &views, &[]).map.unwrap();
    assert_eq!(offered.buckets[0].epoch, 5, "no replica has changed");
    let copying = next(&offered, &views, &[said(2, 10, Said::Accepted)]);
    let copying = copying.map.unwrap();
    assert_eq!(copying.buckets[0].replicas.len(), 3);
    assert_eq!(next(&copying, &views, &[]).map, None);
    let done = next(&copying, &views, &[said(2, 11, Said::Synced)]);
    let bucket = &done.map.unwrap().buckets[0];
    assert_eq!(bucket.replicas, [replica(0, true, 1), replica(2, true, 11)]);
    assert_eq!((bucket.epoch, bucket.moving), (12, None));
}

#[test]
fn a_target_that_dies_ends_its_move_and_the_source_stays() {
    let map = moving();
    let mut views = serving(3);
    views[2].health = Health::Down;
    let bucket = next(&map, &views, &[]).map.unwrap().buckets.remove(0);
    assert_eq!(bucket.replicas, [replica(0, true, 1), replica(1, true, 1)]);
    assert_eq!((bucket.moving, bucket.away.len()), (None, 0));
}

#[test]
fn a_source_stays_when_the_copy_beside_it_was_lost_meanwhile() {
    let map = moving();
    let mut views = serving(3);
    views[0].health = Health::Down;
    let change = next(&map, &views, &[said(2, 7, Said::Synced)]);
    let bucket = change.map.unwrap().buckets.remove(0);
    assert_eq!(bucket.replicas, [replica(1, true, 1), replica(2, true, 7)]);
    assert_eq!(bucket.moving, None);
}

#[test]
fn fewer_replicas_are_dropped_at_once_and_more_are_made() {
    let three = map(&[
        replica(0, true, 1),
        replica(1, true, 1),
        replica(2, true, 1),
    ]);
    let fewer = next(&three, &serving(3), &[]).map.unwrap();
    assert_eq!(fewer.buckets[0].in_sync().count(), 2);
    let rules = Rules {
        replicas: 3,
        ..RULES
    };
    let more = advance(&fewer, &serving(3), &[], rules).unwrap();
    let moving = more.map.unwrap().buckets[0].moving.unwrap();
    assert_eq!((moving.from, moving.stage), (None, Stage::Offered));
}

#[test]
fn a_damaged_map_is_refused() {
    let map = map(&[replica(0, true, 1), replica(0, true, 1)]);
    assert!(advance(&map, &serving(2), &[], RULES).is_err());
}

#[test]
fn balance_waits_until_no_data_is_at_risk_and_for_the_order() {
    let mut map = first(8, &serving(2), RULES).unwrap();
    let views = serving(3);
    let paused = Rules {
        balance: false,
        ..RULES
    };
    let plan = advance(&map, &views, &[], paused).unwrap();
    assert_eq!(plan.map, None);
    assert_eq!(plan.plan.steps.len(), 5, "16 replicas on three disks");
    let moves = |next: &Next| {
        let map = next.map.as_ref();
        map.map_or(0, |map| {
            map.buckets.iter().filter(|b| b.moving.is_some()).count()
        })
    };
    assert_eq!(moves(&next(&map, &views, &[])), 2, "the limit");
    map.buckets[3].replicas[0].in_sync = false;
    assert_eq!(moves(&next(&map, &views, &[])), 0);
}

mod lives;
