//! Long random walks with every rule followed. `MORAINE_MODEL_WALKS=1000000` walks longer, `MORAINE_MODEL_SEED` elsewhere.

use moraine_protocol_model::{Bounds, Rules, walk};

fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().expect("a number"))
}

fn walks_without_violation(bounds: Bounds, usual: u64) {
    let first = number("MORAINE_MODEL_SEED", 0);
    let walks = number("MORAINE_MODEL_WALKS", usual);
    let outcome = walk(Rules::default(), bounds, first..first + walks);
    println!(
        "{walks} walks from {first}, {} steps, {bounds:?}",
        outcome.steps
    );
    let found = outcome.violation.map_or(String::new(), |it| it.to_string());
    assert!(found.is_empty(), "a promise is broken:\n{found}");
    assert!(
        outcome.steps > walks * 20,
        "the walks end before anything happens"
    );
}

#[test]
fn no_promise_breaks_with_two_blocks_two_cuts_three_engines_and_six_changes_of_the_map() {
    let bounds = Bounds {
        blocks: 2,
        cuts: 2,
        maps: 6,
        engines: 3,
        writes: 5,
        plain: false,
    };
    walks_without_violation(bounds, 150_000);
}

#[test]
fn no_promise_breaks_with_four_engines_and_ten_changes_of_the_map() {
    let bounds = Bounds {
        blocks: 2,
        cuts: 2,
        maps: 10,
        engines: 4,
        writes: 7,
        plain: false,
    };
    walks_without_violation(bounds, 60_000);
}

#[test]
fn no_promise_breaks_with_one_cut_and_many_engines() {
    let bounds = Bounds {
        blocks: 1,
        cuts: 1,
        maps: 6,
        engines: 6,
        writes: 5,
        plain: false,
    };
    walks_without_violation(bounds, 60_000);
}
