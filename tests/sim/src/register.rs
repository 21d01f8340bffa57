//! One block as those outside see it: whether its reads and writes, each of which took its time,
//! can be put in one order that explains every answer.
//!
//! All orders that are still possible are followed at once: a [`State`] is a content that the block
//! may have, with those operations under way that have had their effect in it. What begins opens
//! more states, what ends closes those in which it had no effect, and when none is left an answer
//! was wrong. A write that nobody answers may have its effect at any later time, until a newer
//! engine serves the volume: then it is [`Register::decided`].

use crate::value::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// An operation on the block.
pub(crate) type OpId = u64;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    value: Value,
    done: BTreeSet<OpId>,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Write(OpId, Value),
    Read(OpId),
    Ended(OpId),
    Decided(OpId),
    Gone(OpId),
    CutBegins(u64),
    CutEnds(u64),
    Snapshot(u64, Value),
}

#[derive(Debug, Clone, Copy)]
enum Under {
    Write(Value),
    /// A write that can have no effect any more.
    Decided(Value),
    Read(Value),
}

/// What a snapshot shows of the block.
#[derive(Debug, Clone)]
enum Shown {
    /// One of these; the cut may still be moving.
    OneOf(BTreeSet<Value>),
    /// What it showed to the first who looked.
    Pinned(Value),
}

/// A block.
#[derive(Debug)]
pub(crate) struct Register {
    states: BTreeSet<State>,
    under_way: BTreeMap<OpId, Under>,
    steps: VecDeque<Step>,
    /// What the reads among the steps saw; `None` is not to be judged.
    results: BTreeMap<OpId, Option<Value>>,
    snapshots: BTreeMap<u64, Shown>,
    moving: BTreeSet<u64>,
    unanswered: BTreeSet<OpId>,
}

impl Default for Register {
    fn default() -> Self {
        let state = State {
            value: Value::Zeros,
            done: BTreeSet::new(),
        };
        Self {
            states: BTreeSet::from([state]),
            under_way: BTreeMap::new(),
            steps: VecDeque::new(),
            results: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            moving: BTreeSet::new(),
            unanswered: BTreeSet::new(),
        }
    }
}

impl Register {
    /// The history of a block that begins with one of these values.
    pub(crate) fn beginning(values: BTreeSet<Value>) -> Self {
        let states = values.into_iter().map(|value| State {
            value,
            done: BTreeSet::new(),
        });
        Self {
            states: states.collect(),
            ..Self::default()
        }
    }

    /// The history of a block by which a volume grows that has these snapshots, and rising ones.
    pub(crate) fn grown(snapshots: &[u64], rising: &[u64]) -> Self {
        let zeros = || Shown::OneOf(BTreeSet::from([Value::Zeros]));
        let cuts = snapshots.iter().chain(rising);
        Self {
            snapshots: cuts.map(|cut| (*cut, zeros())).collect(),
            moving: rising.iter().copied().collect(),
            ..Self::default()
        }
    }

    /// What a snapshot can show, if all that could narrow it down is known.
    pub(crate) fn shown(&self, cut: u64) -> Option<BTreeSet<Value>> {
        let known = self.steps.is_empty() && !self.moving.contains(&cut);
        match self.snapshots.get(&cut).filter(|_| known)? {
            Shown::OneOf(values) => Some(values.clone()),
            Shown::Pinned(value) => Some(BTreeSet::from([*value])),
        }
    }

    /// A write of this value begins.
    pub(crate) fn write(&mut self, op: OpId, value: Value) {
        self.unanswered.insert(op);
        self.steps.push_back(Step::Write(op, value));
    }

    /// A write was acknowledged.
    pub(crate) fn written(&mut self, op: OpId) -> Result<(), String> {
        self.unanswered.remove(&op);
        self.step(Step::Ended(op))
    }

    /// A write that was not acknowledged has had its effect by now or never will. Should it be
    /// acknowledged after all, it must have had it.
    pub(crate) fn decided(&mut self, op: OpId) -> Result<(), String> {
        self.unanswered.remove(&op);
        self.step(Step::Decided(op))
    }

    /// Nobody is left who could acknowledge a write that was decided.
    pub(crate) fn gone(&mut self, op: OpId) -> Result<(), String> {
        self.step(Step::Gone(op))
    }

    /// A read begins.
    pub(crate) fn read(&mut self, op: OpId) {
        self.steps.push_back(Step::Read(op));
    }

    /// A read saw this, or what it saw is not to be judged.
    pub(crate) fn saw(&mut self, op: OpId, value: Option<Value>) -> Result<(), String> {
        self.results.insert(op, value);
        self.step(Step::Ended(op))
    }

    /// The volume's cut begins to rise: the snapshot shows what the block is at some moment from
    /// now until [`Register::cut_ends`].
    pub(crate) fn cut_begins(&mut self, cut: u64) -> Result<(), String> {
        self.step(Step::CutBegins(cut))
    }

    /// Later writes belong to the next cut.
    pub(crate) fn cut_ends(&mut self, cut: u64) -> Result<(), String> {
        self.step(Step::CutEnds(cut))
    }

    /// A snapshot whose cut has ended showed this.
    pub(crate) fn snapshot(&mut self, cut: u64, value: Value) -> Result<(), String> {
        self.step(Step::Snapshot(cut, value))
    }

    /// How many writes may still have their effect.
    pub(crate) fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    /// The content, if nothing is under way and only one is possible.
    pub(crate) fn settled(&self) -> Option<Value> {
        let open = |under: &Under| !matches!(under, Under::Decided(_));
        let busy = self.under_way.values().any(open) || !self.steps.is_empty();
        let quiet = self.unanswered.is_empty() && !busy;
        let mut values = self.values().into_iter();
        values.next().filter(|_| quiet && values.next().is_none())
    }

    fn values(&self) -> BTreeSet<Value> {
        self.states.iter().map(|state| state.value).collect()
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        self.steps.push_back(step);
        while let Some(&next) = self.steps.front() {
            // What an open read saw is not known yet, and what follows depends on it.
            if matches!(next, Step::Read(op) if !self.results.contains_key(&op)) {
                break;
            }
            self.steps.pop_front();
            self.take(next)?;
        }
        Ok(())
    }

    fn take(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Write(op, value) => {
                self.under_way.insert(op, Under::Write(value));
                for cut in &self.moving {
                    if let Some(Shown::OneOf(values)) = self.snapshots.get_mut(cut) {
                        values.insert(value);
                    }
                }
            }
            Step::Read(op) => {
                if let Some(Some(value)) = self.results.get(&op) {
                    self.under_way.insert(op, Under::Read(*value));
                    let states = std::mem::take(&mut self.states);
                    let seen = states.into_iter().map(|state| self.seen(state));
                    self.states = seen.collect();
                }
            }
            Step::Ended(op) => return self.end(op),
            Step::Decided(op) => {
                self.explore();
                if let Some(Under::Write(value)) = self.under_way.get(&op).copied() {
                    self.under_way.insert(op, Under::Decided(value));
                }
            }
            Step::Gone(op) => {
                self.under_way.remove(&op);
                self.forget(op);
            }
            Step::CutBegins(cut) => {
                self.explore();
                self.moving.insert(cut);
                self.snapshots.insert(cut, Shown::OneOf(self.values()));
            }
            Step::CutEnds(cut) => {
                self.moving.remove(&cut);
            }
            Step::Snapshot(cut, value) => return self.pin(cut, value),
        }
        Ok(())
    }

    fn end(&mut self, op: OpId) -> Result<(), String> {
        self.results.remove(&op);
        // A read that is not judged never began.
        let Some(under) = self.under_way.get(&op).copied() else {
            return Ok(());
        };
        let before = self.values();
        self.explore();
        let possible = self.values();
        self.states.retain(|state| state.done.contains(&op));
        if self.states.is_empty() {
            let list = |values: BTreeSet<Value>| {
                let words: Vec<String> = values.iter().map(ToString::to_string).collect();
                words.join(", ")
            };
            return Err(match under {
                Under::Read(value) => {
                    format!("read {value}, but only {} can be there", list(possible))
                }
                Under::Write(value) | Under::Decided(value) => format!(
                    "acknowledged {value} too late: others have read {} since it began",
                    list(before)
                ),
            });
        }
        self.under_way.remove(&op);
        self.forget(op);
        Ok(())
    }

    fn pin(&mut self, cut: u64, value: Value) -> Result<(), String> {
        match self.snapshots.get(&cut) {
            Some(Shown::Pinned(first)) if *first == value => Ok(()),
            Some(Shown::Pinned(first)) => Err(format!(
                "snapshot {cut} showed {first} before and {value} now"
            )),
            Some(Shown::OneOf(values)) if values.contains(&value) => {
                self.snapshots.insert(cut, Shown::Pinned(value));
                Ok(())
            }
            Some(Shown::OneOf(values)) => Err(format!(
                "snapshot {cut} shows {value}, but only {values:?} can be in it"
            )),
            None => Err(format!("snapshot {cut} shows {value} before it was taken")),
        }
    }

    fn forget(&mut self, op: OpId) {
        let states = std::mem::take(&mut self.states);
        self.states = states
            .into_iter()
            .map(|mut state| {
                state.done.remove(&op);
                state
            })
            .collect();
    }

    /// The state with all reads done that see what is there: a read changes nothing, so the
    /// earliest moment is as good as any.
    fn seen(&self, mut state: State) -> State {
        for (op, under) in &self.under_way {
            if matches!(under, Under::Read(value) if *value == state.value) {
                state.done.insert(*op);
            }
        }
        state
    }

    /// Adds every state that writes under way can lead to.
    fn explore(&mut self) {
        let mut open: Vec<State> = self.states.iter().cloned().collect();
        while let Some(state) = open.pop() {
            for (op, under) in &self.under_way {
                let Under::Write(value) = under else { continue };
                if state.done.contains(op) {
                    continue;
                }
                let mut next = state.clone();
                next.value = *value;
                next.done.insert(*op);
                let next = self.seen(next);
                if self.states.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Value = Value::Of(1);
    const B: Value = Value::Of(2);

    fn with_a() -> Register {
        let mut block = Register::default();
        block.write(1, A);
        block.written(1).unwrap();
        block
    }

    fn read(block: &mut Register, op: OpId, value: Value) -> Result<(), String> {
        block.read(op);
        block.saw(op, Some(value))
    }

    #[test]
    fn an_acknowledged_write_must_be_read() {
        let mut block = with_a();
        assert_eq!(block.settled(), Some(A));
        assert!(read(&mut block, 10, A).is_ok());
        assert!(read(&mut block, 11, Value::Zeros).is_err());
    }

    #[test]
    fn a_write_under_way_may_be_read_but_then_it_stays() {
        let mut block = with_a();
        block.write(2, B);
        assert!(read(&mut block, 10, A).is_ok());
        assert!(read(&mut block, 11, B).is_ok());
        assert!(read(&mut block, 12, A).is_err());
    }

    #[test]
    fn reads_at_one_time_may_see_both_sides_of_a_write() {
        let mut block = with_a();
        block.write(2, B);
        block.read(10);
        block.read(11);
        block.saw(10, Some(B)).unwrap();
        block.saw(11, Some(A)).unwrap();
        block.written(2).unwrap();
        assert!(read(&mut block, 12, B).is_ok());
        let mut block = with_a();
        block.write(2, B);
        block.read(10);
        block.saw(10, Some(B)).unwrap();
        assert!(read(&mut block, 11, A).is_err(), "one after the other");
    }

    #[test]
    fn a_lost_write_must_not_be_acknowledged() {
        let mut block = with_a();
        block.write(2, B);
        block.write(3, Value::Zeros);
        block.written(3).unwrap();
        assert!(read(&mut block, 10, Value::Zeros).is_ok());
        assert!(
            block.written(2).is_ok(),
            "it may have been before the zeros"
        );
        let mut block = with_a();
        block.write(2, B);
        block.decided(2).unwrap();
        assert!(read(&mut block, 10, A).is_ok());
        assert!(
            block.written(2).is_err(),
            "it was decided that it is not there"
        );
        let mut block = with_a();
        block.write(2, B);
        block.decided(2).unwrap();
        block.gone(2).unwrap();
        assert!(read(&mut block, 10, A).is_ok());
        assert!(read(&mut block, 11, B).is_err(), "it can't come any more");
    }

    #[test]
    fn a_read_that_is_not_judged_changes_nothing() {
        let mut block = with_a();
        block.read(10);
        block.write(2, B);
        block.written(2).unwrap();
        assert_eq!(block.settled(), None);
        block.saw(10, None).unwrap();
        assert_eq!(block.settled(), Some(B));
    }

    #[test]
    fn a_snapshot_shows_one_moment_of_its_cut_and_keeps_it() {
        let mut block = with_a();
        block.write(2, B);
        block.cut_begins(0).unwrap();
        block.written(2).unwrap();
        block.cut_ends(0).unwrap();
        block.write(3, Value::Of(3));
        block.written(3).unwrap();
        assert!(block.snapshot(0, Value::Of(3)).is_err(), "a later write");
        assert!(block.snapshot(0, Value::Zeros).is_err(), "lost");
        assert!(block.snapshot(1, B).is_err(), "no such snapshot");
        assert!(block.snapshot(0, B).is_ok());
        assert!(block.snapshot(0, B).is_ok());
        assert!(block.snapshot(0, A).is_err(), "it changed");
    }
}
