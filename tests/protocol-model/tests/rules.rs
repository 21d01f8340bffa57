//! Takes out the rules of docs/design.md section 5 one at a time: each must be missed within a stated number of walks, or stand
//! below among those that are not needed beside the others. `MORAINE_MODEL_TRACES=1` prints what was found.

use moraine_protocol_model::{Bounds, Rule, Rules, Violation, walk};

/// No cuts: more of the walks go to maps, fences and copies.
const UNCUT: Bounds = Bounds {
    blocks: 2,
    cuts: 0,
    maps: 5,
    engines: 3,
    writes: 3,
    plain: false,
};

const CUT: Bounds = Bounds {
    blocks: 2,
    cuts: 2,
    maps: 6,
    engines: 3,
    writes: 5,
    plain: false,
};

/// A rule, where its absence shows, and in how many walks from seed 0 at most.
const NEEDED: &[(Rule, Bounds, u64)] = &[
    (Rule::RefuseOldEpochs, CUT, 100),
    (Rule::RefuseOldGenerations, CUT, 100),
    (Rule::OpenBeforeServing, CUT, 100),
    (Rule::OpenAgainAfterEachMap, CUT, 1_000),
    (Rule::KeepLastInSync, CUT, 100),
    (Rule::ReportsByListing, CUT, 1_000),
    (Rule::AcksOfAll, CUT, 100),
    (Rule::AcksOfSyncing, CUT, 100),
    (Rule::AcksByEpoch, CUT, 1_000),
    (Rule::AcksByEpochNotListing, CUT, 1_000),
    (Rule::MarksAfterReconciling, UNCUT, 20_000),
    (Rule::MarksBelowFlights, CUT, 1_000),
    (Rule::SyncingKeepsItsMark, UNCUT, 1_000),
    (Rule::Reconcile, CUT, 100),
    (Rule::InSyncCounts, UNCUT, 10_000),
    (Rule::ReconcileSyncing, CUT, 100),
    (Rule::AgreeByReports, UNCUT, 50_000),
    (Rule::ReportSinceListed, UNCUT, 50_000),
    (Rule::ReconcileAtItsCut, CUT, 100),
    (Rule::FillWhatNobodyHolds, UNCUT, 1_000),
    (Rule::SourceAdopts, CUT, 1_000),
    (Rule::CopyFences, CUT, 1_000),
    (Rule::CopyWhatTargetHolds, CUT, 5_000),
    (Rule::KeepNewerWrites, UNCUT, 1_000),
    (Rule::DropWritesFromBefore, CUT, 5_000),
    (Rule::FencedAtTheSource, UNCUT, 1_000),
    (Rule::CopyHoles, CUT, 5_000),
    (Rule::CopyEachCut, CUT, 1_000),
    (Rule::CutByAttachment, CUT, 1_000),
    (Rule::AttachIsToldTheCut, CUT, 100),
    (Rule::RestartKeepsTheCut, CUT, 100),
    (Rule::CutAfterReconciling, CUT, 100),
    (Rule::CutWithNothingInFlight, CUT, 100),
    (Rule::RetryKeepsItsCut, CUT, 100),
    (Rule::TrimIsAVersion, CUT, 100),
    (Rule::ZerosStay, CUT, 100),
];

/// What no walk has missed beside the other rules, in 24 million steps each.
const SPARE: &[Rule] = &[
    // It stops the engine for a moment at each change of the map. A replica that is listed later gets the fences with its copy.
    Rule::ServeOnlyReopened,
    // It saves work: a second time finds what the first one left.
    Rule::ReconcileOnce,
    // An engine begins a cut only when all below it is settled, so at most one cut of a block is not.
    Rule::ReconcileEachCut,
    // For the same reason all InSync replicas show the same below a cut that is not.
    Rule::FillWithTheReconciled,
    // The copy takes from a Syncing replica what a zombie left there.
    Rule::ReconcileAfterDetach,
    // A zombie can only begin, and report, a cut that its successor was told.
    Rule::ReportsByAttachment,
    // What is written at a newer cut meanwhile comes to the target as a write.
    Rule::CopyNewestCutFirst,
    // It saves work: below the mark the target holds the same.
    Rule::CopyAboveTheMark,
    // A write of an older stamp is refused by the fence.
    Rule::WriteOverWhatWasBefore,
];

fn missed(rules: Rules, bounds: Bounds, walks: u64) -> Option<Violation> {
    let violation = walk(rules, bounds, 0..walks).violation;
    if let Some(violation) = &violation
        && std::env::var_os("MORAINE_MODEL_TRACES").is_some()
    {
        println!("{rules:?}\n{violation}");
    }
    violation
}

#[test]
fn every_needed_rule_is_missed_when_it_is_taken_out() {
    let left: Vec<Rule> = NEEDED
        .iter()
        .filter(|&&(rule, bounds, walks)| missed(Rules::without(rule), bounds, walks).is_none())
        .map(|&(rule, ..)| rule)
        .collect();
    assert!(
        left.is_empty(),
        "no walk finds a broken promise without {left:?}"
    );
}

#[test]
fn each_rule_is_either_needed_or_known_to_be_spare() {
    for rule in Rule::ALL {
        let needed = NEEDED.iter().any(|(needed, ..)| needed == rule);
        assert!(
            needed != SPARE.contains(rule),
            "{rule:?} must stand in exactly one table"
        );
    }
}

#[test]
fn no_walk_misses_a_spare_rule() {
    for &rule in SPARE {
        if let Some(violation) = missed(Rules::without(rule), CUT, 5_000) {
            panic!("{rule:?} is needed after all:\n{violation}");
        }
    }
}

/// Where a new engine takes the greatest cut that any replica shows, a zombie's cut hides nothing either, but its reports must be refused.
#[test]
fn a_cut_taken_from_the_answers_needs_reports_by_attachment() {
    let mut rules = Rules::without(Rule::CutByAttachment);
    rules.cut_of_answers = true;
    if let Some(violation) = missed(rules, CUT, 10_000) {
        panic!("the cut of the answers is not enough:\n{violation}");
    }
    let rules = rules.and_without(Rule::ReportsByAttachment);
    assert!(
        missed(rules, CUT, 100).is_some(),
        "a zombie's report does no harm"
    );
}

#[test]
fn what_is_found_is_told_in_a_few_steps_that_a_person_can_read() {
    let violation =
        missed(Rules::without(Rule::RetryKeepsItsCut), CUT, 100).expect("the table has it");
    let text = violation.to_string();
    assert!(violation.trace.len() < 20, "{text}");
    for words in [
        " opens replica B under epoch 0",
        " begins cut 1",
        "replica B lacks an acknowledged write",
    ] {
        assert!(text.contains(words), "{words:?} is missing in\n{text}");
    }
}
