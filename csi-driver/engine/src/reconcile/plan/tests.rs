//! Plans against holes that were found, and against versions that few replicas have.

use super::*;
use moraine_model::Tag;

const TOP: Stamp = Stamp::new(1, 0, 10);
const IN: Slot = Slot {
    in_sync: true,
    since: Epoch(1),
};
const SYNC: Slot = Slot {
    in_sync: false,
    since: Epoch(5),
};

fn version(block: u16, cut: u64, sequence: u64, epoch: u64) -> Version {
    Version {
        range: BlockRange::new(block, 1).unwrap(),
        kind: VersionKind::Data,
        tag: Tag {
            stamp: Stamp::new(1, 0, sequence),
            cut: Cut(cut),
            epoch: Epoch(epoch),
        },
    }
}

/// Plans a layer, given what each slot holds of any.
fn plan(slots: &[Slot], held: &[Vec<Version>], damaged: &[(Cut, u8, u16)], cut: u64) -> Vec<Fix> {
    let plan = plan_of(slots, held, damaged, cut);
    assert!(!plan.undecided);
    plan.fixes
}

fn plan_of(slots: &[Slot], held: &[Vec<Version>], damaged: &[(Cut, u8, u16)], cut: u64) -> Plan {
    let mut versions: BTreeMap<Cut, Vec<Vec<Version>>> = BTreeMap::new();
    for (slot, held) in held.iter().enumerate() {
        for version in held {
            let layer = versions.entry(version.tag.cut);
            let layer = layer.or_insert_with(|| vec![Vec::new(); held.len().max(slots.len())]);
            layer[slot].push(*version);
        }
    }
    let damaged = damaged.iter().copied().collect();
    let chunk = Chunk::new(TOP, slots, &versions, &damaged);
    chunk.plan(Cut(cut), BlockRange::WHOLE_CHUNK)
}

fn shown(first: u16, count: u16, slot: u8) -> Fix {
    Fix {
        range: BlockRange::new(first, count).unwrap(),
        source: Source::Shown(slot),
    }
}

#[test]
fn the_newest_in_sync_counts_and_agreement_needs_no_write() {
    let held = [
        vec![version(3, 0, 11, 1), version(4, 0, 12, 1)],
        vec![version(3, 0, 12, 1), version(4, 0, 12, 1)],
    ];
    assert_eq!(plan(&[IN, IN], &held, &[], 0), [shown(3, 1, 1)]);
}

#[test]
fn what_is_not_above_the_mark_is_not_looked_at() {
    let held = [vec![version(3, 0, 10, 1)], vec![]];
    assert_eq!(plan(&[IN, IN], &held, &[], 0), []);
}

#[test]
fn what_a_syncing_replica_holds_from_before_its_listing_is_no_agreement() {
    // Its copy may take it away again.
    let held = [vec![version(3, 0, 11, 5)], vec![version(3, 0, 11, 4)]];
    assert_eq!(plan(&[IN, SYNC], &held, &[], 0), [shown(3, 1, 0)]);
    let held = [vec![version(3, 0, 11, 5)], vec![version(3, 0, 11, 5)]];
    assert_eq!(plan(&[IN, SYNC], &held, &[], 0), []);
    let held = [vec![], vec![version(3, 0, 11, 4)]];
    assert_eq!(plan(&[IN, SYNC], &held, &[], 0), []);
}

#[test]
fn a_pair_that_none_in_sync_holds_is_filled_with_what_the_layer_below_will_show() {
    // The second one in sync is the only one with the version of cut 0, which will count.
    let held = [
        vec![],
        vec![version(3, 0, 11, 5)],
        vec![version(3, 1, 12, 5)],
    ];
    let slots = [IN, IN, SYNC];
    assert_eq!(plan(&slots, &held, &[], 0), [shown(3, 1, 1)]);
    assert_eq!(plan(&slots, &held, &[], 1), [shown(3, 1, 1)]);
    // If that one can't be read, neither layer has it.
    let damaged = [(Cut(0), 1, 3)];
    assert_eq!(plan(&slots, &held, &damaged, 0), [shown(3, 1, 0)]);
    assert_eq!(plan(&slots, &held, &damaged, 1), [shown(3, 1, 0)]);
}

#[test]
fn a_damaged_version_gives_way_unless_there_is_no_other() {
    let held = [vec![version(3, 0, 12, 1)], vec![version(3, 0, 11, 1)]];
    let damaged = [(Cut(0), 0, 3)];
    assert_eq!(plan(&[IN, IN], &held, &damaged, 0), [shown(3, 1, 1)]);
    let damaged = [(Cut(0), 0, 3), (Cut(0), 1, 3)];
    let undecided = Plan {
        fixes: Vec::new(),
        undecided: true,
    };
    assert_eq!(plan_of(&[IN, IN], &held, &damaged, 0), undecided);
    let same = [vec![version(3, 0, 12, 1)], vec![version(3, 0, 12, 1)]];
    assert_eq!(plan(&[IN, IN], &same, &damaged, 0), [], "nothing to decide");
    let held = [vec![], vec![version(3, 0, 12, 5)]];
    let damaged = [(Cut(0), 0, 3)];
    assert_eq!(plan_of(&[IN, SYNC], &held, &damaged, 0), undecided);
}

#[test]
fn runs_have_one_source_and_fit_a_request() {
    let all = |blocks: std::ops::Range<u16>| blocks.map(|at| version(at, 0, 12, 1)).collect();
    let held = [all(0..300), all(300..310)];
    let fixes = [shown(0, 256, 0), shown(256, 44, 0), shown(300, 10, 1)];
    assert_eq!(plan(&[IN, IN], &held, &[], 0), fixes);
}

#[test]
fn zeros_need_no_source() {
    let zero = Version {
        kind: VersionKind::Zero,
        ..version(3, 0, 12, 1)
    };
    let fix = Fix {
        range: zero.range,
        source: Source::Zero,
    };
    assert_eq!(plan(&[IN, IN], &[vec![zero], vec![]], &[], 0), [fix]);
}

#[test]
fn an_answer_that_is_not_what_was_named_does_not_count() {
    use moraine_protocol::Content;
    let found = |cut: u64, sequence: u64| Found {
        range: BlockRange::new(3, 1).unwrap(),
        content: Content::Zero,
        data: bytes::Bytes::new(),
        stamp: Stamp::new(1, 0, sequence),
        cut: Cut(cut),
        inherited: false,
    };
    let range = BlockRange::new(3, 1).unwrap();
    let named = [version(3, 2, 11, 1)];
    let fits = |held: &[Version], newest: u64, found: &[Found]| {
        shows(held, Cut(2), Cut(newest), range, found)
    };
    assert!(fits(&named, 2, &[found(2, 11)]));
    assert!(!fits(&named, 2, &[found(2, 12)]), "another version");
    assert!(!fits(&named, 2, &[found(1, 11)]), "an older layer");
    assert!(!fits(&named, 2, &[]), "nothing");
    assert!(!fits(&named, 2, &[found(3, 11)]), "beyond the cut");
    assert!(fits(&named, 9, &[found(3, 11)]), "at the head");
    assert!(fits(&[], 2, &[found(1, 11)]) && fits(&[], 2, &[]));
    assert!(!fits(&[], 2, &[found(2, 11)]), "one that it didn't name");
}
