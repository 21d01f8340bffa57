//! Every crash of a recorded run: what was in flight is lost, whole or torn at any sector, in any
//! order, at each boundary of each write; and the same again for recoveries.

use super::model::Model;
use super::script::{check, everything};
use super::world::*;
use crate::disk::{Crash, MemoryDisk, Order, Recorder, RecordingDisk};
use crate::*;
use std::collections::BTreeMap;

/// What was answered and what waited, from some position of the record on.
#[derive(Clone)]
struct State {
    from: usize,
    model: Model,
    pending: BTreeMap<RequestId, Pending>,
}

/// The states of a run.
pub(super) struct History {
    recorder: Recorder,
    states: Vec<State>,
}

impl History {
    pub(super) fn asked(&mut self, model: &Model, pending: &BTreeMap<RequestId, Pending>) {
        self.note(self.recorder.position(), model, pending);
    }

    pub(super) fn answered(&mut self, model: &Model, pending: &BTreeMap<RequestId, Pending>) {
        self.note(self.recorder.last_end(), model, pending);
    }

    fn note(&mut self, from: usize, model: &Model, pending: &BTreeMap<RequestId, Pending>) {
        let before = self.states.last().map_or(0, |state| state.from);
        self.states.push(State {
            from: from.max(before),
            model: model.clone(),
            pending: pending.clone(),
        });
    }

    fn at(&self, position: usize) -> &State {
        let after = self.states.partition_point(|state| state.from <= position);
        &self.states[after - 1]
    }
}

/// The number in this variable, to test longer than each commit can wait for.
fn images() -> usize {
    let images = std::env::var("MORAINE_STORE_CRASHES").ok();
    images.map_or(4, |images| images.parse().expect("a number of images"))
}

/// Runs everything on a recorded disk.
fn record(order: Order) -> History {
    let disk = formatted(12, 512);
    let handle = RecordingDisk::new(disk.another(), order);
    let recorder = handle.recorder();
    let mut world = World::without_shard(disk);
    world.open_through(handle).unwrap();
    let mut history = History {
        recorder,
        states: Vec::new(),
    };
    history.note(0, &world.model, &world.pending);
    world.history = Some(history);
    everything(&mut world);
    let metrics = world.shard().metrics();
    assert!(metrics.compactions > 1 && metrics.compacted_blocks > 0);
    assert!(metrics.freed_segments > 3 && world.refused == 0 && world.no_space == 0);
    if matches!(order, Order::Shuffled(_)) {
        assert!(
            world.most_in_flight > 2,
            "batches do not overtake each other"
        );
    }
    world.history.take().unwrap()
}

/// A world of the state, without a shard yet.
fn world_of<D: Disk>(state: &State, disk: MemoryDisk) -> World<D> {
    let mut world = World::without_shard(disk);
    world.model = state.model.clone();
    world.pending = state.pending.clone();
    world
}

fn recover(state: &State, crash: &Crash) -> World {
    let mut world: World = world_of(state, crash.image());
    world.open();
    world.settle();
    check(&mut world);
    world
}

/// Says which crash it was if what follows panics.
struct Named<'a>(&'a Crash);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

fn every_crash(order: Order, seed: u64) {
    let history = record(order);
    let mut crashes = 0;
    let mut left_open = 0;
    for crash in history.recorder.crashes(seed, images()) {
        let _named = Named(&crash);
        let state = history.at(crash.position);
        recover(state, &crash);
        crashes += 1;
        left_open += usize::from(!state.pending.is_empty());
    }
    assert!(crashes > 500 && left_open > 300, "{left_open} of {crashes}");
}

#[test]
fn at_every_boundary_what_was_answered_is_there_and_the_rest_whole_or_absent() {
    every_crash(Order::Submitted, 1);
}

#[test]
fn so_it_is_when_the_disk_completes_in_any_order() {
    every_crash(Order::Shuffled(7), 2);
}

/// The second recovery must find what the first one found, for that was answered for.
#[test]
fn a_recovery_cut_short_at_any_of_its_writes_is_recovered_to_the_same() {
    let history = record(Order::Shuffled(3));
    let mut cut_short = 0;
    for crash in history.recorder.crashes(4, 2).step_by(7) {
        let _named = Named(&crash);
        let state = history.at(crash.position);
        let settled = recover(state, &crash);
        let disk = crash.image();
        let handle = RecordingDisk::new(disk.another(), Order::Submitted);
        let recorder = handle.recorder();
        let mut first: World<RecordingDisk> = world_of(state, disk);
        first.open_through(handle).unwrap();
        let found = State {
            from: 0,
            model: settled.model,
            pending: BTreeMap::new(),
        };
        for again in recorder.crashes(5, images()) {
            let _named = Named(&again);
            recover(&found, &again);
            cut_short += 1;
        }
    }
    assert!(cut_short > 300, "only {cut_short} recoveries");
}
