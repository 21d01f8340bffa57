//! What changes the engine as a whole: a new cut, a new size, its end.

use crate::address;
use crate::asks::Purpose;
use crate::bucket::{Bucket, Closing, Opening, Stage};
use crate::engine::{Engine, Phase, Timer};
use crate::interface::{IoError, Output, ResizeError};
use crate::metrics::Metrics;
use moraine_model::{BucketId, Cut, Generation};

impl Engine {
    /// Whether new writes wait for a new cut.
    pub(crate) fn holds_writes(&self) -> bool {
        self.wanted_cut > self.cut
    }

    pub(crate) fn want_cut(&mut self, cut: Cut) {
        let reached = !self.is_attaching() && cut <= self.cut;
        self.wanted_cut = self.wanted_cut.max(cut);
        if reached {
            self.say_cut();
        }
        self.order_cut();
        self.begin_cut();
    }

    /// Orders the wanted cut to be made durable: before a write has it, so that a restarted engine
    /// can't write with an older one behind it.
    pub(crate) fn order_cut(&mut self) {
        let cut = self.wanted_cut;
        if self.ordered_cut < Some(cut) {
            self.ordered_cut = Some(cut);
            self.outputs.push_back(Output::KeepCut { cut });
        }
    }

    pub(crate) fn wanted_cut_is_kept(&self) -> bool {
        self.kept_cut >= Some(self.wanted_cut)
    }

    pub(crate) fn say_cut(&mut self) {
        self.outputs.push_back(Output::CutReached {
            cut: self.cut,
            generation: self.generation,
        });
    }

    /// Begins the wanted cut when nothing with an older one is in flight, in any bucket: writes of
    /// two cuts never are at once, so that all volumes of a group can be cut at one moment. A bucket
    /// that the volume is growing into must be reconciled too, since that writes with older cuts.
    pub(crate) fn begin_cut(&mut self) {
        let serves = matches!(self.phase, Phase::Attached | Phase::Detaching);
        let may = serves && self.holds_writes() && self.wanted_cut_is_kept();
        let whole = |bucket: &Bucket| matches!(bucket.stage, Stage::Whole);
        if may
            && self.flights.is_empty()
            && self.missing.is_empty()
            && self.buckets.values().all(whole)
        {
            self.cut = self.wanted_cut;
            self.say_cut();
            self.unpark_all();
        }
    }

    /// The volume is to grow. Answered with [`Output::Resized`].
    pub fn resize(&mut self, size_bytes: u64) -> Result<(), ResizeError> {
        let blocks = address::blocks_of_size(size_bytes).ok_or(ResizeError::Size { size_bytes })?;
        if !matches!(self.phase, Phase::Attaching | Phase::Attached) {
            return Err(ResizeError::Detached);
        }
        let now = self.growing_to.unwrap_or(self.size_bytes);
        if size_bytes < now {
            return Err(ResizeError::Smaller { size_bytes, now });
        }
        self.growing_to = Some(size_bytes);
        for id in self.placing.used(0..address::chunks_of(blocks)) {
            if self.buckets.contains_key(&id) {
                continue;
            }
            match self.unused.remove(&id) {
                Some(entry) => self.begin_bucket(entry),
                None => {
                    self.missing.insert(id);
                }
            }
        }
        self.go_on_attaching();
        self.send_all();
        Ok(())
    }

    /// Ends the engine: what is in flight is finished, then replicas learn that there is nothing to
    /// reconcile. Answered with [`Output::Detached`].
    pub fn detach(&mut self) {
        match self.phase {
            Phase::Attaching => {
                // What a former engine left is still there for the next one.
                self.end(IoError::Detached);
                self.outputs.push_back(Output::Detached { clean: false });
            }
            Phase::Attached => {
                self.phase = Phase::Detaching;
                self.growing_to = None;
                let due = self.now_ms + self.limits.detach_deadline_ms;
                self.timers.insert((due, Timer::Detach));
                self.go_on_detaching();
                self.send_all();
            }
            Phase::Detaching | Phase::Closing | Phase::Ended(_) => {}
        }
    }

    /// Tells replicas that the engine goes, when nothing of it is in flight any more.
    pub(crate) fn go_on_detaching(&mut self) {
        let idle =
            self.ios.operations.is_empty() && self.ios.pieces.is_empty() && self.flights.is_empty();
        if self.phase != Phase::Detaching || !idle {
            return;
        }
        self.phase = Phase::Closing;
        self.to_close = self.buckets.keys().copied().collect();
        for id in self.to_close.clone() {
            self.close_bucket(id);
        }
    }

    /// Tells each replica of a bucket that everything is acknowledged up to the mark. One that isn't
    /// ready is told when it is: it has a new entry, or the volume was growing into it.
    pub(crate) fn close_bucket(&mut self, id: BucketId) {
        if !self.bucket(id).ready {
            return;
        }
        for slot in self.bucket(id).slots() {
            let replica = self.bucket_mut(id).replica_mut(slot);
            let open = matches!(replica.opening, Opening::Open(_));
            if open && replica.closing == Closing::Not {
                replica.closing = Closing::Asked;
                self.ask(id, slot, Purpose::Close);
            }
        }
    }

    /// A replica knows that the engine goes.
    pub(crate) fn closed(&mut self, id: BucketId, slot: u8) {
        let bucket = self.bucket_mut(id);
        bucket.replica_mut(slot).closing = Closing::Closed;
        if bucket.all_closed() {
            self.to_close.remove(&id);
        }
        if self.to_close.is_empty() {
            assert!(
                self.flights.is_empty() && self.ranges.is_empty() && self.unanswered() == 0,
                "a clean detach leaves nothing behind"
            );
            let clean = self.buckets.values().all(|bucket| !bucket.undecided);
            self.end(IoError::Detached);
            self.outputs.push_back(Output::Detached { clean });
        }
    }

    pub(crate) fn give_up_detach(&mut self) {
        self.end(IoError::Detached);
        self.outputs.push_back(Output::Detached { clean: false });
    }

    /// A newer engine has the volume.
    pub(crate) fn fence(&mut self, by: Generation) {
        self.end(IoError::Fenced { by });
        self.outputs.push_back(Output::Fenced { by });
    }

    /// Nothing is done from here on: everything unanswered ends with this error, and what was not
    /// yet sent is not sent.
    pub(crate) fn end(&mut self, error: IoError) {
        let unsent = |output: &Output| {
            use Output::{Keep, KeepCut, Send};
            matches!(output, Send { .. } | Keep { .. } | KeepCut { .. })
        };
        self.outputs.retain(|output| !unsent(output));
        for (_, operation) in std::mem::take(&mut self.ios).operations {
            self.answer(operation.id, Err(error.clone()));
        }
        let Metrics { ios, answered, .. } = self.metrics;
        assert_eq!(ios, answered, "every operation is answered exactly once");
        self.io_deadlines = crate::deadlines::Deadlines::default();
        self.ranges.clear();
        self.flights.clear();
        self.reads.clear();
        self.repairs.clear();
        self.buckets.clear();
        self.unready.clear();
        self.parked.clear();
        self.to_reconcile.clear();
        self.to_close.clear();
        self.timers.clear();
        self.watch_at = None;
        self.net.clear();
        self.phase = Phase::Ended(error);
    }

    /// The cut of new writes.
    pub fn cut(&self) -> Cut {
        self.cut
    }
}
