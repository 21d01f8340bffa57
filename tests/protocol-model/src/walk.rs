//! Random walks over the model, from seeds. How a walk that found something is shortened stands in `shorten.rs`; the exhaustive search is stateright's.

use crate::action::Action;
use crate::rules::{Bounds, Rules};
use crate::shorten::shorten;
use crate::state::{REPLICAS, State};
use std::fmt;

/// Steps of one walk.
const STEPS: usize = 160;

/// A walk that broke a promise.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The walk's seed.
    pub seed: u64,
    /// The steps, in words.
    pub trace: Vec<String>,
    /// What was broken.
    pub broken: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.trace.iter().enumerate() {
            writeln!(f, "{:3}. {step}", number + 1)?;
        }
        writeln!(f, "     {} (walk {})", self.broken, self.seed)
    }
}

/// What a number of walks came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Steps taken.
    pub steps: u64,
    /// The first violation, shortened.
    pub violation: Option<Violation>,
}

/// Walks from each seed until a promise is broken.
pub fn walk(rules: Rules, bounds: Bounds, seeds: impl Iterator<Item = u64>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut actions = Vec::new();
    let mut taken = Vec::new();
    for seed in seeds {
        let mut random = Random::new(seed);
        let pace = Pace::new(&mut random);
        let mut state = State::first();
        taken.clear();
        for _ in 0..STEPS {
            actions.clear();
            state.actions(rules, bounds, &mut actions);
            if actions.is_empty() {
                break;
            }
            let action = pace.choose(&actions, &mut random);
            state.apply(rules, bounds, action);
            taken.push(action);
            outcome.steps += 1;
        }
        if state.truth.broken.is_some() {
            outcome.violation = Some(shorten(rules, bounds, seed, &taken));
            break;
        }
    }
    outcome
}

/// How eager each kind of step, each replica and each engine is in one walk. A walk in which all are equally eager seldom gets
/// into the corners where one replica is slow, or where an engine does nothing but open.
struct Pace {
    kinds: [u32; Action::KINDS],
    places: [u32; REPLICAS],
}

impl Pace {
    fn new(random: &mut Random) -> Self {
        let mut halvings = |_| [0, 0, 0, 1, 2, 4][random.below(6)];
        Self {
            kinds: std::array::from_fn(&mut halvings),
            places: std::array::from_fn(&mut halvings),
        }
    }

    /// Draws a step, and another one as long as the step drawn is not taken up.
    fn choose(&self, actions: &[Action], random: &mut Random) -> Action {
        let mut action = actions[random.below(actions.len())];
        for _ in 0..8 {
            let place = action.replica().map_or(0, |replica| self.places[replica]);
            let halvings =
                self.kinds[action.kind()] + place + if action.is_disturbance() { 2 } else { 0 };
            if random.below(1 << halvings) == 0 {
                break;
            }
            action = actions[random.below(actions.len())];
        }
        action
    }
}

/// A small generator, so that a seed means the same walk on every machine and for ever.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let limit = u64::try_from(limit).expect("a list's length");
        usize::try_from((self.0 >> 11) % limit).expect("below a list's length")
    }
}
