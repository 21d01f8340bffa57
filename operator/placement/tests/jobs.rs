//! Jobs that workers share out: evenly, and so that few change hands.

// A test says where it fails by panicking.
#![allow(clippy::unwrap_used)]

use moraine_placement::share;
use proptest::prelude::*;

fn loads(workers: &[u128], jobs: u32) -> Vec<usize> {
    let shared = share(workers, jobs, 1);
    workers
        .iter()
        .map(|worker| shared.of(*worker).count())
        .collect()
}

/// Jobs that change hands between two sets of workers.
fn changed(before: &[u128], after: &[u128], jobs: u32) -> u32 {
    let (before, after) = (share(before, jobs, 1), share(after, jobs, 1));
    let changes = (0..jobs).filter(|job| before.owner(*job) != after.owner(*job));
    u32::try_from(changes.count()).unwrap()
}

fn ids(count: u128) -> Vec<u128> {
    (1..=count)
        .map(|id: u128| id.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834))
        .collect()
}

/// The most jobs that may change hands when one of so many workers comes or goes: twice those that the one has, and one
/// for every two of the others.
fn bound(workers: usize, jobs: u32) -> u32 {
    let workers = u32::try_from(workers).unwrap();
    2 * jobs.div_ceil(workers) + workers / 2
}

#[test]
fn few_jobs_change_hands_when_a_worker_comes_or_goes() {
    let sizes = [
        (2, 10),
        (3, 100),
        (10, 100),
        (10, 1024),
        (30, 1024),
        (100, 1024),
        (100, 4096),
        (50, 60),
    ];
    for (workers, jobs) in sizes {
        let all = ids(workers);
        for leaves in 0..all.len().min(20) {
            let mut others = all.clone();
            others.remove(leaves);
            let changed = changed(&others, &all, jobs);
            let bound = bound(all.len(), jobs);
            assert!(
                changed <= bound,
                "{workers} workers, {jobs} jobs: {changed} > {bound}"
            );
        }
    }
}

#[test]
fn what_is_given_in_another_order_or_twice_is_shared_alike() {
    let ids = ids(5);
    let mut others: Vec<u128> = ids.iter().rev().copied().collect();
    others.push(ids[2]);
    assert_eq!(share(&ids, 40, 1), share(&others, 40, 1));
    assert_ne!(share(&ids, 40, 1), share(&ids, 40, 2));
}

#[test]
fn without_workers_no_job_has_an_owner() {
    assert_eq!(share(&[], 3, 1).owner(0), None);
    assert_eq!(share(&[7], 3, 1).owner(2), Some(7));
    assert_eq!(share(&[7], 3, 1).owner(3), None);
    assert_eq!(share(&[7], 3, 1).of(8).count(), 0);
}

#[test]
fn the_owners_are_the_same_in_every_version() {
    // Two versions that share differently would do a job twice, or not at all, while a cluster is upgraded.
    let shared = share(&[1, 2, 3], 12, 1);
    let owners: Vec<u128> = (0..12).filter_map(|job| shared.owner(job)).collect();
    assert_eq!(owners, [1, 3, 1, 2, 2, 3, 3, 1, 2, 2, 1, 3]);
}

proptest! {
    #[test]
    fn every_job_has_one_worker_and_loads_are_within_one_of_each_other(
        workers in proptest::collection::btree_set(any::<u128>(), 1..20), jobs in 0_u32..200
    ) {
        let workers: Vec<u128> = workers.into_iter().collect();
        let loads = loads(&workers, jobs);
        prop_assert_eq!(loads.iter().sum::<usize>(), jobs as usize);
        let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
        prop_assert!(most - least <= 1, "{:?}", loads);
    }

    #[test]
    fn few_jobs_change_hands_between_any_workers(
        workers in proptest::collection::btree_set(any::<u128>(), 2..30), jobs in 0_u32..400
    ) {
        let all: Vec<u128> = workers.into_iter().collect();
        prop_assert!(changed(&all[1..], &all, jobs) <= bound(all.len(), jobs));
    }
}
