//! Bugs of the cores that no bending between them can stand for, since they lie within one core. Who
//! changes the rules of copying or of reconciling, or the scenes of the simulator, plants them by
//! hand: replaces the text, runs `cargo xtask sim --seeds N`, and sees a seed fail. The test only
//! holds that the texts are still there, so that the list doesn't go stale.

use std::path::Path;

/// A bug.
struct ByHand {
    /// In words.
    what: &'static str,
    /// Where.
    file: &'static str,
    /// What stands there.
    text: &'static str,
    /// What the bug is.
    broken: &'static str,
    /// The seeds from 0 on that must be enough to find it: some times what it takes today.
    seeds: u64,
}

const BUGS: &[ByHand] = &[
    ByHand {
        what: "copies keep what is older than the listing",
        file: "node-agent/replica/src/sync/compare.rs",
        text: "(here.epoch >= since && (newer || equal))",
        broken: "((here.epoch >= since || newer) && (newer || equal))",
        seeds: 600,
    },
    // The same as the mutation copy-unfenced.
    ByHand {
        what: "copies keep a fenced engine's writes",
        file: "node-agent/replica/src/sync/compare.rs",
        text: "here.stamp > stamp && here.stamp.generation >= fence;",
        broken: "here.stamp > stamp;",
        seeds: 200,
    },
    // The same as the mutation syncing-counts.
    ByHand {
        what: "what only a syncing replica holds counts",
        file: "csi-driver/engine/src/reconcile/plan.rs",
        text: "of.in_sync && self.is_sound",
        broken: "self.is_sound",
        seeds: 400,
    },
];

#[test]
fn what_is_planted_by_hand_still_has_its_place() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for bug in BUGS {
        let text = std::fs::read_to_string(root.join(bug.file)).expect("the file is there");
        let places = text.matches(bug.text).count();
        let ByHand { what, broken, .. } = bug;
        assert_eq!(places, 1, "{what}: {:?} to {broken:?}", bug.text);
        assert!(bug.seeds > 0, "{what} is found");
    }
}
