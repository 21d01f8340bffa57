//! Jobs shared out with no coordinator: every worker computes the same owners from the same ids, and does what is its own.
//!
//! It is about who does what, not about doing it; and two workers that don't know of the same ids may for a while both do
//! a job, or neither: jobs are such that this is harmless (scrub, compaction of shared work, garbage collection).
//!
//! Each worker has as many jobs as any other, or one more. A job and a worker like each other as much as a draw that is
//! seeded by both says; the pair that likes each other best is joined first, then the next that are still free. So what a
//! worker has depends on ids alone, and when one comes or goes few jobs change hands beside its own, since only some
//! are pushed on to another choice: at most twice those that the one has, and one for every two workers, in all that the
//! tests try.

use crate::draw::Draw;
use std::collections::BinaryHeap;

/// Who does which job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// Sorted, none twice.
    workers: Vec<u128>,
    /// For each job, the place of its worker.
    owners: Vec<u32>,
}

/// Shares jobs `0..jobs` out to workers, given in any order by their ids. `purpose` tells kinds of jobs apart, so that the
/// worker with one job more isn't the same for all of them.
pub fn share(workers: &[u128], jobs: u32, purpose: u64) -> Shared {
    let mut workers = workers.to_vec();
    workers.sort_unstable();
    workers.dedup();
    let owners = Rounds::new(&workers, jobs, purpose).owners();
    Shared { workers, owners }
}

impl Shared {
    /// The worker that a job belongs to; none if there are no workers, or no such job.
    pub fn owner(&self, job: u32) -> Option<u128> {
        let place = self.owners.get(job as usize)?;
        self.workers.get(*place as usize).copied()
    }

    /// The jobs of a worker, in order.
    pub fn of(&self, worker: u128) -> impl Iterator<Item = u32> + '_ {
        let place = self.workers.binary_search(&worker).ok();
        let jobs = (0_u32..).zip(&self.owners);
        jobs.filter(move |(_, owner)| Some(**owner as usize) == place)
            .map(|(job, _)| job)
    }
}

/// Every job asks its workers in the order in which it likes them; a worker that is full sends the one away that it likes
/// least. That leads to the same pairs as joining the best first, without sorting all of them.
struct Rounds<'a> {
    workers: &'a [u128],
    purpose: u64,
    jobs: u32,
    /// How many jobs each worker can have.
    room: Vec<usize>,
    /// The jobs that each has now, the one it likes least at the top.
    has: Vec<BinaryHeap<(Liking, u32)>>,
}

/// How much a job and a worker like each other: less is more. The place of the worker settles ties.
type Liking = (u64, u32);

impl<'a> Rounds<'a> {
    fn new(workers: &'a [u128], jobs: u32, purpose: u64) -> Self {
        let count = workers.len().max(1);
        let mut room = vec![jobs as usize / count; workers.len()];
        // One more for as many as are left over, by a draw of their own.
        let mut order: Vec<usize> = (0..workers.len()).collect();
        order.sort_by_key(|place| (seed(workers[*place], purpose, u64::MAX).next(), *place));
        for place in order.into_iter().take(jobs as usize % count) {
            room[place] += 1;
        }
        Self {
            workers,
            purpose,
            jobs,
            room,
            has: vec![BinaryHeap::new(); workers.len()],
        }
    }

    fn owners(mut self) -> Vec<u32> {
        if self.workers.is_empty() {
            return Vec::new();
        }
        for job in 0..self.jobs {
            let (mut asks, mut after) = (job, None);
            while let Some((sent, liked)) = self.ask(asks, after) {
                (asks, after) = (sent, Some(liked));
            }
        }
        let mut owners = vec![0; self.jobs as usize];
        for (place, has) in (0..).zip(&self.has) {
            for &(_, job) in has {
                owners[job as usize] = place;
            }
        }
        owners
    }

    /// Lets a job ask the worker that it likes best of those after the last it asked; the job that is without a worker
    /// then, and what it thought of the one that sent it away.
    fn ask(&mut self, job: u32, after: Option<Liking>) -> Option<(u32, Liking)> {
        let likings = (0..).zip(self.workers).map(|(place, worker)| {
            let liking = seed(*worker, self.purpose, job.into()).next();
            (liking, place)
        });
        let best = likings.filter(|liking| Some(*liking) > after).min();
        let liking = best.expect("all workers together have room for all jobs");
        let place = liking.1 as usize;
        let has = &mut self.has[place];
        has.push((liking, job));
        if has.len() <= self.room[place] {
            return None;
        }
        let (liking, job) = has.pop()?;
        Some((job, liking))
    }
}

fn seed(worker: u128, purpose: u64, job: u64) -> Draw {
    let low = u64::try_from(worker & u128::from(u64::MAX)).expect("64 bits are left");
    let high = u64::try_from(worker >> 64).expect("64 bits are left");
    let mut seed = 0;
    for part in [purpose, high, low, job] {
        seed = Draw::new(seed ^ part).next();
    }
    Draw::new(seed)
}
