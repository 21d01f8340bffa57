//! Writes in flight: to every listed replica, acknowledged when every one of them has it under the
//! epoch of the newest known entry.

use crate::asks::Purpose;
use crate::engine::Engine;
use crate::flight::{Flight, For};
use crate::interface::IoError;
use crate::ios::Owner;
use moraine_model::BucketId;
use moraine_protocol::Refusal;

impl Engine {
    /// Begins a write: it gets the next sequence number, and every replica that is open is asked.
    pub(crate) fn begin_write(&mut self, mut flight: Flight) {
        self.issued += 1;
        flight.sequence = self.issued;
        self.metrics.writes += 1;
        let (id, sequence) = (flight.bucket, flight.sequence);
        let reconciles = flight.of == For::Reconciliation;
        let key = self.flights.insert(flight);
        let bucket = self.bucket_mut(id);
        bucket.flights.insert(sequence, key);
        bucket.reconcile_flights += usize::from(reconciles);
        for slot in bucket.slots() {
            self.ask_write(key, slot);
        }
    }

    /// Asks a replica to do a write, if it is open, hasn't done it, and isn't being asked.
    fn ask_write(&mut self, key: usize, slot: u8) {
        let flight = &self.flights[key];
        let (id, bit) = (flight.bucket, 1 << slot);
        let open = self.bucket(id).replica(slot).opened().is_some();
        if open && (flight.asked | flight.acknowledged) & bit == 0 {
            self.flights[key].asked |= bit;
            self.ask(id, slot, Purpose::Write { flight: key });
        }
    }

    /// A replica has been opened: it gets every write in flight, in their order.
    pub(crate) fn send_flights(&mut self, id: BucketId, slot: u8) {
        let keys: Vec<usize> = self.bucket(id).flights.values().copied().collect();
        for key in keys {
            self.ask_write(key, slot);
        }
    }

    /// The bucket has a new entry: what was acknowledged under the old one counts no more (I8).
    pub(crate) fn unacknowledge(&mut self, id: BucketId) {
        let keys: Vec<usize> = self.bucket(id).flights.values().copied().collect();
        for key in keys {
            let flight = &mut self.flights[key];
            (flight.acknowledged, flight.asked) = (0, 0);
            flight.no_space_since = None;
            self.metrics.resent += 1;
        }
    }

    /// A replica has done a write under the bucket's epoch.
    pub(crate) fn acknowledged(&mut self, key: usize, slot: u8) {
        let flight = &mut self.flights[key];
        flight.asked &= !(1 << slot);
        flight.acknowledged |= 1 << slot;
        let (id, acknowledged) = (flight.bucket, flight.acknowledged);
        if acknowledged == self.bucket(id).all() {
            self.land(key);
        }
    }

    /// Every listed replica has the write.
    fn land(&mut self, key: usize) {
        let flight = self.flights.remove(key);
        let bucket = self.bucket_mut(flight.bucket);
        let known = bucket.flights.remove(&flight.sequence);
        assert_eq!(known, Some(key), "a bucket knows its writes in flight");
        match flight.of {
            For::Piece(piece) => self.piece_done(piece),
            For::Reconciliation => {
                bucket.reconcile_flights -= 1;
                self.metrics.reconciled += 1;
                self.reconcile_landed(flight.bucket);
            }
        }
        self.begin_cut();
        self.go_on_detaching();
    }

    /// A replica can't do a write now. It is asked again and again, since a write that is on some
    /// replicas must come to all; the operation doesn't wait for ever.
    ///
    /// Once the operation has ended with an error, the write is still in flight: replicas may differ
    /// until it lands, so that whatever overlaps it waits behind it.
    pub(crate) fn write_refused(&mut self, key: usize, refusal: &Refusal) {
        let (now, grace) = (self.now_ms, self.limits.no_space_grace_ms);
        let flight = &mut self.flights[key];
        let error = match refusal {
            Refusal::NoSpace => {
                let lasts = now - *flight.no_space_since.get_or_insert(now);
                (lasts >= grace).then_some(IoError::NoSpace)
            }
            Refusal::Deleted => Some(IoError::Deleted),
            _ => None,
        };
        if let (Some(error), For::Piece(piece)) = (error, flight.of)
            && let Owner::Operation(operation) = self.ios.pieces[piece].owner
        {
            self.end_early(operation, error);
        }
    }
}
