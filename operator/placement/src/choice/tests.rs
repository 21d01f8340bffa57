//! Choices of pools, and what is said where there is none.

use super::*;
use proptest::prelude::*;

const GIB: u64 = 1 << 30;

fn pool(name: &str) -> PoolMetrics {
    PoolMetrics {
        name: name.to_owned(),
        free: 300 * GIB,
        load: 250,
        health: PoolHealth::Ready,
        replicas: 3,
        distance: 1,
    }
}

const REQUEST: Request = Request {
    size: 100 * GIB,
    replicas: 2,
    farthest: Some(2),
};

/// Which of two pools is taken, whichever comes first in the table.
fn better(change: impl Fn(&mut PoolMetrics)) -> bool {
    let (plain, mut changed) = (pool("m"), pool("n"));
    change(&mut changed);
    let first = choose(&[changed.clone(), plain.clone()], &REQUEST).best;
    let last = choose(&[plain, changed], &REQUEST).best;
    assert_eq!(
        first,
        last.map(|place| 1 - place),
        "the order of the table must not count"
    );
    first == Some(0)
}

#[test]
fn what_is_asked_for_has_to_be_there() {
    let reason = |change: fn(&mut PoolMetrics)| {
        let mut pool = pool("a");
        change(&mut pool);
        choose(&[pool], &REQUEST).reasons[0]
    };
    assert_eq!(reason(|_| ()), None);
    assert_eq!(reason(|pool| pool.health = PoolHealth::Degraded), None);
    assert_eq!(
        reason(|pool| pool.health = PoolHealth::Unavailable),
        Some(Reason::Unavailable)
    );
    let replicas = Reason::Replicas { has: 1, wanted: 2 };
    assert_eq!(reason(|pool| pool.replicas = 1), Some(replicas));
    let far = Reason::TooFar {
        distance: 3,
        farthest: 2,
    };
    assert_eq!(reason(|pool| pool.distance = 3), Some(far));
    let room = Reason::NoRoom {
        free: 300 * GIB - 1,
        needed: 300 * GIB,
    };
    assert_eq!(reason(|pool| pool.free -= 1), Some(room));
    // The pool's own copies count, not those that are asked for.
    let room = Reason::NoRoom {
        free: 300 * GIB,
        needed: 400 * GIB,
    };
    assert_eq!(reason(|pool| pool.replicas = 4), Some(room));
}

#[test]
fn the_healthy_one_is_taken_then_the_nearest_then_the_idle_then_the_roomy() {
    assert!(!better(|_| ()), "by name");
    assert!(better(|pool| pool.name = "a".to_owned()));
    assert!(better(|pool| pool.free += 1));
    assert!(better(|pool| pool.load = 199));
    // Within a tenth the room decides.
    assert!(!better(|pool| pool.load = 200));
    assert!(better(|pool| (pool.load, pool.free) = (299, 301 * GIB)));
    assert!(!better(|pool| (pool.load, pool.free) = (300, 900 * GIB)));
    assert!(better(|pool| (pool.distance, pool.load) = (0, 1000)));
    assert!(!better(|pool| (pool.distance, pool.load) = (2, 0)));
    assert!(!better(
        |pool| (pool.health, pool.distance) = (PoolHealth::Degraded, 0)
    ));
}

#[test]
fn a_person_is_told_what_is_against_each_pool() {
    let pools = [
        PoolMetrics {
            free: 7 * GIB + (GIB >> 1),
            ..pool("hdd")
        },
        PoolMetrics {
            health: PoolHealth::Unavailable,
            ..pool("nvme")
        },
    ];
    let choice = choose(&pools, &REQUEST);
    assert_eq!(choice.best, None);
    assert_eq!(
        choice.explain(&pools),
        "hdd: it has 7.5 GiB free before it counts as full, the volume takes 300.0 GiB with all copies: add disks; \
         nvme: it is not available: see its conditions"
    );
    assert!(
        choose(&[], &REQUEST)
            .explain(&[])
            .contains("create a StoragePool")
    );
}

#[test]
fn sizes_beyond_counting_do_not_overflow() {
    let request = Request {
        size: u64::MAX,
        ..REQUEST
    };
    let choice = choose(&[pool("a")], &request);
    assert_eq!(choice.best, None);
    assert!(choice.explain(&[pool("a")]).contains("16777215.9 TiB"));
}

proptest! {
    #[test]
    fn a_pool_is_taken_exactly_if_one_fits_and_it_is_one_that_fits(
        table in proptest::collection::vec((0_u64..9, 0_u32..1100, 0_u8..3, 1_u32..5, 0_u32..4), 0..6),
        size in 0_u64..4,
    ) {
        let pools: Vec<PoolMetrics> = table.iter().enumerate().map(|(at, row)| PoolMetrics {
            name: format!("p{at}"),
            free: row.0 * GIB,
            load: row.1,
            health: [PoolHealth::Ready, PoolHealth::Degraded, PoolHealth::Unavailable][usize::from(row.2)],
            replicas: row.3,
            distance: row.4,
        }).collect();
        let request = Request { size: size * GIB, ..REQUEST };
        let choice = choose(&pools, &request);
        let fits = |pool: &PoolMetrics| {
            pool.health != PoolHealth::Unavailable && pool.replicas >= 2 && pool.distance <= 2
                && pool.free >= request.size * u64::from(pool.replicas)
        };
        prop_assert_eq!(choice.best.is_some(), pools.iter().any(fits));
        for (pool, reason) in pools.iter().zip(&choice.reasons) {
            prop_assert_eq!(reason.is_none(), fits(pool));
        }
        if let Some(best) = choice.best {
            prop_assert!(fits(&pools[best]));
        }
    }
}
