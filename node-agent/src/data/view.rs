//! What a shard lets other threads see of it: counters, how full it is, and how it ended. It is
//! looked at now and then, so what is seen may be some seconds old.

use moraine_model::Epoch;
use moraine_replica::Replicas;
use moraine_store::Disk;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often the counters are shown.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// How often the store is measured: that walks its index, which takes a while on a large disk.
const MEASURE_EVERY: Duration = Duration::from_secs(10);

/// What is seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Whether it has recovered and serves.
    pub(crate) serves: bool,
    /// What its replicas have done.
    pub(crate) replicas: moraine_replica::Metrics,
    /// What its store has done, and how full it is.
    pub(crate) store: moraine_store::Metrics,
    /// The newest epoch of the map that it has on the disk.
    pub(crate) epoch: Option<Epoch>,
    /// Times that it was opened again after a failed write.
    pub(crate) recoveries: u64,
    /// Why it serves no more.
    pub(crate) failure: Option<String>,
}

/// The place where one shard shows it.
#[derive(Debug, Default)]
pub(crate) struct View {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    seen: Seen,
    shown_at: Option<Duration>,
    measured_at: Option<Duration>,
}

impl View {
    fn hold(&self) -> MutexGuard<'_, State> {
        // Each change is whole by itself, so who panicked while it held this broke nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be seen.
    pub(crate) fn seen(&self) -> Seen {
        self.hold().seen.clone()
    }

    /// Whether it is time to show something.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        is_over(self.hold().shown_at, now, SHOW_EVERY)
    }

    /// Shows how the replicas are.
    pub(super) fn show<D: Disk>(&self, now: Duration, replicas: &Replicas<D>) {
        let measures = is_over(self.hold().measured_at, now, MEASURE_EVERY);
        let store = measures.then(|| replicas.store_metrics());
        let (metrics, epoch) = (replicas.metrics(), replicas.durable_epoch());
        let mut state = self.hold();
        state.shown_at = Some(now);
        if store.is_some() {
            state.measured_at = Some(now);
        }
        let seen = &mut state.seen;
        seen.serves = true;
        seen.replicas = metrics;
        // It doesn't go back when a bucket is forgotten.
        seen.epoch = seen.epoch.max(epoch);
        if let Some(store) = store {
            seen.store = store;
        }
    }

    /// The shard was opened again after a failed write.
    pub(super) fn recovered(&self) {
        self.hold().seen.recoveries += 1;
    }

    /// It serves no more; why, if it wasn't asked to end.
    pub(super) fn ended(&self, failure: Option<String>) {
        let seen = &mut self.hold().seen;
        seen.serves = false;
        seen.failure = failure;
    }
}

fn is_over(last: Option<Duration>, now: Duration, every: Duration) -> bool {
    last.is_none_or(|last| now.saturating_sub(last) >= every)
}
