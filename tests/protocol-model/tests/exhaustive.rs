//! Every order of events, within small bounds, from a volume that an engine serves. What is left out there ([`Bounds::plain`]) the walks have.

use moraine_protocol_model::{Action, Bounds, Protocol, Rule, Rules};
use stateright::{Checker, Model};

/// An engine is attached, and has opened both replicas.
const SERVED: &[Action] = &[Action::Attach, Action::Opens(0, 0), Action::Opens(0, 1)];

const CHANGES_OF_THE_MAP: Bounds = Bounds {
    blocks: 1,
    cuts: 0,
    maps: 2,
    engines: 2,
    writes: 1,
    plain: true,
};

const A_CUT: Bounds = Bounds {
    blocks: 1,
    cuts: 1,
    maps: 1,
    engines: 2,
    writes: 1,
    plain: true,
};

fn search(rules: Rules, bounds: Bounds) -> impl Checker<Protocol> {
    let protocol = Protocol {
        rules,
        bounds,
        before: SERVED,
    };
    protocol.checker().threads(2).spawn_bfs().join()
}

fn holds_in_every_order(bounds: Bounds, states: usize) {
    let checker = search(Rules::default(), bounds);
    println!(
        "{} states, {} different, {bounds:?}",
        checker.state_count(),
        checker.unique_state_count()
    );
    let found = checker.discoveries().into_values().next().map(|path| {
        let broken = path.last_state().truth.broken.clone();
        let steps = path.into_vec().into_iter();
        let words = steps.filter_map(|(state, action)| Some(action?.words(&state)));
        (words.collect::<Vec<String>>(), broken)
    });
    assert!(found.is_none(), "a promise is broken: {found:#?}");
    assert!(
        checker.unique_state_count() >= states,
        "the search came to fewer states than it used to"
    );
}

#[test]
fn no_order_of_two_changes_of_the_map_and_a_new_engine_breaks_a_promise() {
    holds_in_every_order(CHANGES_OF_THE_MAP, 1_000_000);
}

#[test]
fn no_order_of_a_cut_a_change_of_the_map_and_a_new_engine_breaks_a_promise() {
    holds_in_every_order(A_CUT, 250_000);
}

#[test]
fn the_search_finds_what_a_missing_rule_breaks() {
    for (rule, bounds) in [
        (Rule::Reconcile, A_CUT),
        (Rule::RefuseOldGenerations, A_CUT),
        (Rule::CutWithNothingInFlight, A_CUT),
        (Rule::CutAfterReconciling, A_CUT),
        (Rule::AcksOfAll, CHANGES_OF_THE_MAP),
    ] {
        let checker = search(Rules::without(rule), bounds);
        assert!(
            !checker.discoveries().is_empty(),
            "nothing breaks without {rule:?}"
        );
    }
}
