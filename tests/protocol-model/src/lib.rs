//! The replication rules of docs/design.md section 5 as a model: every order of events within bounds is searched for a broken promise.
//!
//! One bucket of one volume, three replicas, engines that live on as zombies, maps and cuts seen late, messages late, repeated and
//! lost. stateright searches all of it where the bounds are small; where they are not, random walks of our own do, since they
//! shorten what they find and stateright's simulation does not.
//! Deliberately no code of the product: `tests/sim` runs that. This says whether the rules are right, not whether they are followed.

#![forbid(unsafe_code)]

mod action;
mod engine;
mod operator;
mod reconcile;
mod replica;
mod rules;
mod shorten;
pub mod state;
pub mod truth;
mod walk;
mod words;

pub use action::Action;
pub use rules::{Bounds, Rule, Rules};
pub use state::State;
pub use walk::{Outcome, Violation, walk};

/// The model, as stateright takes it.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    /// The rules that are followed.
    pub rules: Rules,
    /// How much may happen.
    pub bounds: Bounds,
    /// What has happened before.
    pub before: &'static [Action],
}

impl stateright::Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut state = State::first();
        for &action in self.before {
            state.apply(self.rules, self.bounds, action);
        }
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        state.actions(self.rules, self.bounds, actions);
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        next.apply(self.rules, self.bounds, action);
        Some(next)
    }

    fn properties(&self) -> Vec<stateright::Property<Self>> {
        let kept = |_: &Self, state: &State| state.truth.broken.is_none();
        vec![stateright::Property::always("every promise is kept", kept)]
    }
}
