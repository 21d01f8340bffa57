//! The map as the engine knows it: entries that come late, repeated and out of order, from the
//! control plane and from replicas that refused; and what a new one changes in the middle of things.

use crate::bucket::{Bucket, Closing, Opening, Replica};
use crate::engine::{Engine, Phase};
use crate::interface::Output;
use moraine_model::{BucketEntry, BucketId, Epoch};
use std::cmp::Ordering;

impl Engine {
    /// Takes an entry if it is newer than the one known.
    pub(crate) fn learn_entry(&mut self, entry: BucketEntry) {
        let id = entry.bucket();
        if self.has_ended() || id.get() >= self.placing.buckets {
            return;
        }
        if let Some(bucket) = self.buckets.get(&id) {
            match entry.epoch().cmp(&bucket.epoch()) {
                Ordering::Less => {}
                Ordering::Equal => {
                    self.metrics.entries_in_conflict += u64::from(entry != bucket.entry);
                }
                Ordering::Greater => self.adopt(entry),
            }
        } else if self.missing.remove(&id) {
            self.begin_bucket(entry);
        } else {
            let known = self.unused.get(&id);
            if known.is_none_or(|known| known.epoch() < entry.epoch()) {
                self.unused.insert(id, entry);
            }
        }
    }

    /// The volume uses a bucket from now on.
    pub(crate) fn begin_bucket(&mut self, entry: BucketEntry) {
        let id = entry.bucket();
        self.buckets.insert(id, Bucket::new(entry.clone()));
        self.adopt(entry);
    }

    /// A bucket has a newer entry. From here on only that one counts: nothing is open, no write in
    /// flight is acknowledged, no read is asked for. All of it begins again once the entry is
    /// durable, so that an engine that restarts never begins with an older map than this one used.
    fn adopt(&mut self, entry: BucketEntry) {
        let id = entry.bucket();
        self.metrics.entries += 1;
        let former = std::mem::take(&mut self.bucket_mut(id).replicas);
        for replica in &former {
            self.net.disk_mut(replica.disk).buckets.remove(&id);
        }
        let mut replicas = Vec::with_capacity(entry.listings().len());
        for listing in entry.listings() {
            let disk = self.net.number(listing.disk, self.now_ms);
            self.net.disk_mut(disk).buckets.insert(id);
            replicas.push(Replica {
                disk,
                role: listing.role,
                since: listing.since,
                opening: Opening::Not,
                closing: Closing::Not,
            });
        }
        for replica in former {
            if self.net.disk(replica.disk).buckets.is_empty() {
                self.has_left(replica.disk);
            }
        }
        let bucket = self.bucket_mut(id);
        (bucket.replicas, bucket.entry) = (replicas, entry.clone());
        (bucket.kept, bucket.ready) = (false, false);
        self.unready.insert(id);
        if self.phase == Phase::Closing {
            self.to_close.insert(id);
        }
        self.put_off_reconciliation(id);
        self.unacknowledge(id);
        self.repeat_reads(id);
        self.watch_soon();
        self.outputs.push_back(Output::Keep { entry });
    }

    /// The bucket's entry is durable: all replicas that it lists are opened under it.
    pub(crate) fn entry_kept(&mut self, id: BucketId, epoch: Epoch) {
        let Some(bucket) = self.buckets.get_mut(&id) else {
            return;
        };
        if bucket.epoch() != epoch || std::mem::replace(&mut bucket.kept, true) {
            return;
        }
        for slot in bucket.slots() {
            self.open(id, slot);
        }
    }
}
