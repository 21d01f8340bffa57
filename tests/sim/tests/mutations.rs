//! The simulator finds bugs: each of these, planted on purpose, is found within the seeds that stand
//! beside it. They bend what passes between the cores and what the world does, and not the code of
//! the cores: so the very cores that ship are run, nothing is built twice, and no patch goes stale.

use moraine_sim::{Failure, Mutation, run, story};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Each mutation and the seeds that must be enough to find it: some times what it takes today.
const WITHIN: &[(Mutation, u64)] = &[
    (Mutation::AckOne, 20),
    (Mutation::AckBeforeDurable, 20),
    (Mutation::SkipFence, 100),
    (Mutation::SkipEpoch, 400),
    (Mutation::ForgetReconciliation, 40),
    (Mutation::MarkTooHigh, 60),
    (Mutation::CopyHalf, 20),
    (Mutation::DropLast, 20),
    (Mutation::StaleReport, 1500),
    (Mutation::SkipSync, 20),
    (Mutation::StaleAck, 100),
    (Mutation::OldCut, 60),
    (Mutation::ReadsZeros, 20),
    (Mutation::SameGeneration, 20),
    (Mutation::SyncingCounts, 150),
    (Mutation::CopyUnfenced, 100),
    (Mutation::CopyNoReferences, 100),
    (Mutation::LeaveDeleted, 150),
    (Mutation::OldDisk, 40),
];

fn find(mutation: Mutation, seeds: u64) -> Option<Failure> {
    let next = AtomicU64::new(0);
    let found = Mutex::new(None);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            if let Err(failure) = run(seed, Some(mutation)) {
                next.store(seeds, Ordering::Relaxed);
                found
                    .lock()
                    .expect("nobody panics with it")
                    .replace(failure);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    found.into_inner().expect("nobody panics with it")
}

#[test]
fn each_planted_bug_is_found_within_its_seeds() {
    for mutation in Mutation::ALL {
        let within = WITHIN.iter().find(|(of, _)| of == mutation);
        let (_, seeds) = within.unwrap_or_else(|| panic!("{mutation} has no number of seeds"));
        let failure = find(*mutation, *seeds);
        let failure = failure.unwrap_or_else(|| panic!("{seeds} seeds don't find {mutation}"));
        let story = story(&failure, Some(*mutation), 100);
        assert!(!story.is_empty(), "a failure tells its story");
        println!("{mutation}: seed {}, {}", failure.seed, failure.what);
    }
}
