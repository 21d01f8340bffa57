//! Shortens a walk that broke a promise, so that a person can read it: leaves out steps as long as some promise still breaks.
//! Deliberately not the shortest walk there is, which only an exhaustive search could find.
//!
//! Epochs, engines and versions of the Volume are numbered in the order in which they come. So when a step that made one is left
//! out, the steps after it are told with the numbers that the shorter walk gives.

use crate::action::Action;
use crate::rules::{Bounds, Rules};
use crate::state::{Generation, Message, Stamp, State, place};
use crate::walk::Violation;

/// What a step of the original walk made.
#[derive(Clone, Copy)]
struct Step {
    action: Action,
    map: Option<usize>,
    engine: Option<usize>,
    volume: Option<usize>,
}

/// Numbers of the original walk, in the order in which the shorter one made what they stand for.
#[derive(Default)]
struct Made {
    maps: Vec<usize>,
    engines: Vec<usize>,
    volumes: Vec<usize>,
}

/// How far a walk came until a promise broke.
struct Replay {
    kept: Vec<Step>,
    words: Vec<String>,
    broken: String,
}

struct Walk {
    rules: Rules,
    bounds: Bounds,
    generations: Vec<Generation>,
}

/// Shortens a walk that breaks a promise.
pub(crate) fn shorten(rules: Rules, bounds: Bounds, seed: u64, actions: &[Action]) -> Violation {
    let mut state = State::first();
    let mut steps = Vec::new();
    for &action in actions {
        let (maps, engines, volumes) = (state.maps.len(), state.engines.len(), state.volumes.len());
        state.apply(rules, bounds, action);
        steps.push(Step {
            action,
            map: (state.maps.len() > maps).then_some(maps),
            engine: (state.engines.len() > engines).then_some(engines),
            volume: (state.volumes.len() > volumes).then_some(volumes),
        });
    }
    let walk = Walk {
        rules,
        bounds,
        generations: state
            .engines
            .iter()
            .map(|engine| engine.generation)
            .collect(),
    };
    let mut best = walk
        .replay(&steps)
        .expect("the same steps break the same promise");
    let mut length = usize::MAX;
    while best.kept.len() < length {
        length = best.kept.len();
        for together in [1, 2, 3] {
            let mut at = best.kept.len();
            while at >= together {
                at -= 1;
                let mut fewer = best.kept.clone();
                fewer.drain((at + 1 - together)..=at);
                if let Some(shorter) = walk.replay(&fewer) {
                    best = shorter;
                    at = at.min(best.kept.len());
                }
            }
        }
    }
    Violation {
        seed,
        trace: best.words,
        broken: best.broken,
    }
}

impl Walk {
    /// Takes those steps that are possible, until a promise breaks.
    fn replay(&self, steps: &[Step]) -> Option<Replay> {
        let mut state = State::first();
        let mut made = Made::default();
        let (mut kept, mut words, mut possible) = (Vec::new(), Vec::new(), Vec::new());
        for &step in steps {
            possible.clear();
            state.actions(self.rules, self.bounds, &mut possible);
            let told = self.told_anew(&state, &made, step.action);
            let Some(action) = told.and_then(|action| closest(&possible, action)) else {
                continue;
            };
            words.push(action.words(&state));
            state.apply(self.rules, self.bounds, action);
            kept.push(step);
            made.maps.extend(step.map);
            made.engines.extend(step.engine);
            made.volumes.extend(step.volume);
            if let Some(broken) = state.truth.broken {
                return Some(Replay {
                    kept,
                    words,
                    broken,
                });
            }
        }
        None
    }

    /// A step with the numbers that the shorter walk gives.
    fn told_anew(&self, state: &State, made: &Made, action: Action) -> Option<Action> {
        let engine = |old: usize| made.engines.iter().position(|&engine| engine == old);
        let upto = |list: &[usize], old: u8| {
            let last = usize::from(old);
            place(list.iter().filter(|&&number| number <= last).count())
        };
        let generation = |old: Generation| {
            let old = self.generations.iter().position(|&known| known == old)?;
            Some(state.engines[engine(old)?].generation)
        };
        let stamp = |old: Stamp| {
            Some(Stamp {
                generation: generation(old.generation)?,
                ..old
            })
        };
        Some(match action {
            Action::Restart(at) => Action::Restart(engine(at)?),
            Action::Detach(at) => Action::Detach(engine(at)?),
            Action::BeginsCut(at) => Action::BeginsCut(engine(at)?),
            Action::Opens(at, replica) => Action::Opens(engine(at)?, replica),
            Action::IsRefused(at, replica) => Action::IsRefused(engine(at)?, replica),
            Action::Writes(at, block) => Action::Writes(engine(at)?, block),
            Action::Trims(at, block) => Action::Trims(engine(at)?, block),
            Action::Reads(at, replica, block) => Action::Reads(engine(at)?, replica, block),
            Action::ReplicaLearns(replica, epoch) => {
                Action::ReplicaLearns(replica, upto(&made.maps, epoch))
            }
            Action::EngineLearns(at, epoch) => {
                Action::EngineLearns(engine(at)?, upto(&made.maps, epoch))
            }
            Action::SeesVolume(at, seen) => {
                Action::SeesVolume(engine(at)?, upto(&made.volumes, seen))
            }
            Action::Arrives(mut message) => {
                match &mut message {
                    Message::Write {
                        epoch, stamp: of, ..
                    }
                    | Message::Ack {
                        epoch, stamp: of, ..
                    } => {
                        *epoch = upto(&made.maps, *epoch);
                        *of = stamp(*of)?;
                    }
                    Message::Reached { attach, .. } => {
                        let mut all = self.generations.iter();
                        let old = all.find(|known| known.attach == *attach)?;
                        *attach = generation(*old)?.attach;
                    }
                }
                Action::Arrives(message)
            }
            other => other,
        })
    }
}

/// The step itself if it is possible, or else a message of the same kind on the same way.
fn closest(possible: &[Action], wanted: Action) -> Option<Action> {
    let way = |action: &Action| match *action {
        Action::Arrives(Message::Write {
            epoch,
            block,
            stamp,
            to,
            ..
        }) => Some((true, epoch, block, stamp.generation, to)),
        Action::Arrives(Message::Ack {
            epoch,
            block,
            stamp,
            from,
            ..
        }) => Some((false, epoch, block, stamp.generation, from)),
        _ => None,
    };
    let same = possible.iter().find(|&&action| action == wanted);
    let alike = |action: &&Action| way(action).is_some() && way(action) == way(&wanted);
    same.or_else(|| possible.iter().find(alike)).copied()
}
