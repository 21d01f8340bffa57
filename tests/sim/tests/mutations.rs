//! The simulator finds bugs: each of these, planted on purpose, is found within the seeds that stand
//! beside it. They bend what passes between the cores and what the world does, and not the code of
//! the cores: so the very cores that ship are run, nothing is built twice, and no patch goes stale.

use moraine_sim::{Mutation, run, story};

/// Each mutation and the seeds that must be enough to find it.
const WITHIN: &[(Mutation, u64)] = &[
    (Mutation::AckOne, 20),
    (Mutation::AckBeforeDurable, 20),
    (Mutation::SkipFence, 60),
    (Mutation::SkipEpoch, 800),
    (Mutation::ForgetReconciliation, 40),
    (Mutation::MarkTooHigh, 60),
    (Mutation::CopyHalf, 20),
    (Mutation::DropLast, 20),
    (Mutation::StaleReport, 800),
    (Mutation::SkipSync, 20),
    (Mutation::StaleAck, 100),
    (Mutation::OldCut, 60),
    (Mutation::ReadsZeros, 20),
    (Mutation::SameGeneration, 20),
    (Mutation::OldDisk, 20),
];

#[test]
fn each_planted_bug_is_found_within_its_seeds() {
    for (mutation, seeds) in WITHIN {
        let found = (0..*seeds).find_map(|seed| run(seed, Some(*mutation)).err());
        let failure = found.unwrap_or_else(|| panic!("{seeds} seeds don't find {mutation}"));
        let story = story(&failure, Some(*mutation), 100);
        assert!(!story.is_empty(), "a failure tells its story");
        println!("{mutation}: seed {}, {}", failure.seed, failure.what);
    }
}
