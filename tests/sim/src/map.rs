//! The newest map, as the operator keeps it in the Kubernetes API, and the changes that design.md
//! allows. Why and when a change is made is the operator's subject.

use moraine_model::{BucketEntry, BucketId, DiskId, Epoch, Listing, Role};
use std::collections::BTreeMap;

/// The newest map, with all entries that there ever were.
#[derive(Debug, Default)]
pub(crate) struct Map {
    epoch: Epoch,
    entries: BTreeMap<BucketId, BucketEntry>,
    past: BTreeMap<(BucketId, Epoch), BucketEntry>,
}

impl Map {
    /// The first map: each bucket on these disks, all in sync.
    pub(crate) fn place(&mut self, bucket: BucketId, disks: &[DiskId]) {
        let epoch = Epoch(1);
        let listing = |disk: &DiskId| Listing {
            disk: *disk,
            role: Role::InSync,
            since: epoch,
        };
        self.epoch = epoch;
        self.keep(bucket, disks.iter().map(listing).collect());
    }

    /// The newest entry.
    pub(crate) fn entry(&self, bucket: BucketId) -> &BucketEntry {
        &self.entries[&bucket]
    }

    /// The newest entries.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &BucketEntry> {
        self.entries.values()
    }

    /// The entry of that epoch.
    pub(crate) fn at(&self, bucket: BucketId, epoch: Epoch) -> Option<&BucketEntry> {
        self.past.get(&(bucket, epoch))
    }

    /// Lists a disk as syncing, or as in sync at once, which only a mutation does.
    pub(crate) fn list(&mut self, bucket: BucketId, disk: DiskId, role: Role) {
        self.epoch.0 += 1;
        let mut listings = self.entry(bucket).listings().to_vec();
        listings.push(Listing {
            disk,
            role,
            since: self.epoch,
        });
        self.keep(bucket, listings);
    }

    /// Makes a syncing replica one in sync.
    pub(crate) fn promote(&mut self, bucket: BucketId, disk: DiskId) {
        self.epoch.0 += 1;
        let mut listings = self.entry(bucket).listings().to_vec();
        for listing in &mut listings {
            if listing.disk == disk {
                listing.role = Role::InSync;
            }
        }
        self.keep(bucket, listings);
    }

    /// Takes a replica out. If it was the last one in sync, which only a mutation does, the syncing
    /// ones are taken for such.
    pub(crate) fn drop_replica(&mut self, bucket: BucketId, disk: DiskId) {
        self.epoch.0 += 1;
        let mut listings = self.entry(bucket).listings().to_vec();
        listings.retain(|listing| listing.disk != disk);
        if !listings.iter().any(|listing| listing.role == Role::InSync) {
            for listing in &mut listings {
                listing.role = Role::InSync;
            }
        }
        self.keep(bucket, listings);
    }

    fn keep(&mut self, bucket: BucketId, listings: Vec<Listing>) {
        let entry = BucketEntry::new(bucket, self.epoch, listings)
            .expect("the operator leaves a replica in sync in each entry");
        self.past.insert((bucket, self.epoch), entry.clone());
        self.entries.insert(bucket, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_of_one_entry_and_a_new_epoch() {
        let mut map = Map::default();
        let [bucket, other] = [0, 1].map(|number| BucketId::new(number).unwrap());
        let [a, b] = [1, 2].map(|number| DiskId::new(number).unwrap());
        map.place(bucket, &[a]);
        map.place(other, &[b]);
        map.list(bucket, b, Role::Syncing);
        let listed = map.entry(bucket).on(b).copied();
        assert_eq!(
            listed.map(|listing| (listing.role, listing.since)),
            Some((Role::Syncing, Epoch(2)))
        );
        map.promote(bucket, b);
        map.drop_replica(bucket, a);
        assert_eq!(map.entry(bucket).epoch(), Epoch(4));
        assert_eq!(map.entry(bucket).in_sync().collect::<Vec<_>>(), [b]);
        assert_eq!(
            map.entry(bucket).on(b).unwrap().since,
            Epoch(2),
            "listed without a break"
        );
        assert_eq!(map.entry(other).epoch(), Epoch(1));
        assert_eq!(map.at(bucket, Epoch(1)).unwrap().on(b), None);
    }
}
