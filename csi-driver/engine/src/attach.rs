//! Opening replicas and becoming ready: at attach, after each change of a bucket's entry, and when
//! the volume grows into further buckets.

use crate::asks::Purpose;
use crate::bucket::{Closing, Opened, Opening, Stage};
use crate::engine::{Engine, Phase};
use crate::interface::{AttachError, IoError, Output};
use moraine_model::BucketId;

impl Engine {
    pub(crate) fn is_attaching(&self) -> bool {
        self.phase == Phase::Attaching
    }

    /// Orders a replica to be opened under the bucket's entry.
    pub(crate) fn open(&mut self, id: BucketId, slot: u8) {
        let replica = self.bucket_mut(id).replica_mut(slot);
        replica.opening = Opening::Waits;
        let disk = replica.disk;
        self.net.disk_mut(disk).to_open.insert(id);
        self.open_next(disk);
    }

    /// Asks a disk to open what waits for it, not too much at once.
    pub(crate) fn open_next(&mut self, number: usize) {
        let opens_max = self.limits.opens_max;
        loop {
            let disk = self.net.disk_mut(number);
            if disk.opening >= opens_max {
                return;
            }
            let Some(id) = disk.to_open.pop_first() else {
                return;
            };
            // The entry may have changed while it waited.
            let bucket = self.bucket_mut(id);
            let waits = |slot: &u8| {
                let replica = bucket.replica(*slot);
                replica.disk == number && replica.opening == Opening::Waits
            };
            if let Some(slot) = bucket.slots().find(waits) {
                bucket.replica_mut(slot).opening = Opening::Asked;
                self.net.disk_mut(number).opening += 1;
                self.ask(id, slot, Purpose::Open);
            }
        }
    }

    /// A replica that was open isn't any more: it came back with less than it had made durable, which
    /// must not be, so that nothing that it has acknowledged is relied on.
    pub(crate) fn open_again(&mut self, id: BucketId, slot: u8) {
        let bucket = self.bucket_mut(id);
        let replica = bucket.replica_mut(slot);
        if replica.opened().is_none() {
            return;
        }
        replica.closing = Closing::Not;
        bucket.ready = false;
        let flights: Vec<usize> = bucket.flights.values().copied().collect();
        for flight in flights {
            self.flights[flight].acknowledged &= !(1 << slot);
        }
        self.unready.insert(id);
        self.open(id, slot);
    }

    /// A replica is open under the bucket's entry.
    pub(crate) fn opened(&mut self, id: BucketId, slot: u8, opened: Opened) {
        let bucket = self.bucket_mut(id);
        bucket.replica_mut(slot).opening = Opening::Open(opened);
        if !matches!(bucket.stage, Stage::Whole) {
            // The engine may have been told of an older cut than its predecessor has used.
            self.wanted_cut = self.wanted_cut.max(opened.cut);
            self.order_cut();
        }
        self.send_flights(id, slot);
        self.go_on_opening(id);
    }

    /// Takes the next step when all listed replicas are open.
    pub(crate) fn go_on_opening(&mut self, id: BucketId) {
        let bucket = self.bucket(id);
        if bucket.ready || !bucket.all_open() {
            return;
        }
        match bucket.stage {
            Stage::Whole => self.become_ready(id),
            Stage::Fresh if bucket.reconcile_flights == 0 => self.order_reconciliation(id),
            Stage::Fresh | Stage::Waits | Stage::Reconciling(_) => {}
        }
    }

    /// Every listed replica has accepted the generation under the newest known entry, and the bucket
    /// is reconciled: it is served (I5).
    pub(crate) fn become_ready(&mut self, id: BucketId) {
        self.bucket_mut(id).ready = true;
        self.unready.remove(&id);
        self.choose_replicas(id);
        self.unpark(id);
        if self.phase == Phase::Closing {
            self.close_bucket(id);
        }
        self.go_on_attaching();
        self.begin_cut();
    }

    /// Serves the volume, or its new size, once all its buckets are ready.
    pub(crate) fn go_on_attaching(&mut self) {
        if !self.unready.is_empty() || !self.missing.is_empty() {
            return;
        }
        if self.phase == Phase::Attaching {
            if !self.wanted_cut_is_kept() {
                return;
            }
            // Every bucket is reconciled, so that all writes with older cuts are on all replicas.
            self.phase = Phase::Attached;
            self.cut = self.wanted_cut;
            self.outputs.push_back(Output::Attached);
            self.say_cut();
            self.unpark_all();
        }
        if let Some(size_bytes) = self.growing_to.take() {
            self.size_bytes = size_bytes;
            self.outputs.push_back(Output::Resized { size_bytes });
        }
    }

    pub(crate) fn fail_attach(&mut self, disk: usize) {
        let disk = self.net.disk(disk).id;
        self.end(IoError::Deleted);
        let error = AttachError::Deleted { disk };
        self.outputs.push_back(Output::AttachFailed(error));
    }
}
