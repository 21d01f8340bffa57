//! One bucket's entry in the map: which disks hold its replicas, and since when.
//!
//! Plain values: who changes an entry, and when, is the operator's subject.

use crate::{BucketId, DiskId, Epoch, OutOfRange, REPLICAS_MAX};
use std::fmt;

/// What a listed replica holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// Every acknowledged write of its bucket (invariant I2).
    InSync,
    /// Every write acknowledged since it was listed (I1); it copies the rest.
    Syncing,
}

/// One replica of a bucket.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Listing {
    /// The disk that holds it.
    pub disk: DiskId,
    /// What it holds.
    pub role: Role,
    /// The epoch since which it is listed without a break, first as syncing or from the start.
    pub since: Epoch,
}

/// The entry of a bucket: checked once, right ever after.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BucketEntry {
    bucket: BucketId,
    epoch: Epoch,
    listings: Vec<Listing>,
}

impl BucketEntry {
    /// The entry of `bucket` as it last changed at `epoch`: at most [`REPLICAS_MAX`] listings of
    /// different disks, none listed later than that, at least one in sync.
    pub fn new(
        bucket: BucketId,
        epoch: Epoch,
        mut listings: Vec<Listing>,
    ) -> Result<Self, OutOfRange> {
        listings.sort_unstable_by_key(|listing| listing.disk);
        let refused = |what: &'static str, allowed| OutOfRange {
            what,
            value: format!("{} replicas of bucket {}", listings.len(), bucket.get()),
            allowed,
        };
        if listings.len() > REPLICAS_MAX {
            return Err(refused("map entry", "at most 8 replicas"));
        }
        if !listings.iter().any(|listing| listing.role == Role::InSync) {
            return Err(refused("map entry", "at least one replica in sync"));
        }
        if listings.windows(2).any(|two| two[0].disk == two[1].disk) {
            return Err(refused("map entry", "one replica on each disk"));
        }
        if listings.iter().any(|listing| listing.since > epoch) {
            return Err(refused("map entry", "listings not younger than the entry"));
        }
        Ok(Self {
            bucket,
            epoch,
            listings,
        })
    }

    /// Which bucket.
    pub fn bucket(&self) -> BucketId {
        self.bucket
    }

    /// The epoch of the last change of this entry. What is done under an older one is refused.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The replicas, by disk.
    pub fn listings(&self) -> &[Listing] {
        &self.listings
    }

    /// The replica on this disk, if the entry lists one.
    pub fn on(&self, disk: DiskId) -> Option<&Listing> {
        self.listings.iter().find(|listing| listing.disk == disk)
    }

    /// The disks of the replicas in sync.
    pub fn in_sync(&self) -> impl Iterator<Item = DiskId> {
        let in_sync = self.listings.iter().filter(|l| l.role == Role::InSync);
        in_sync.map(|listing| listing.disk)
    }
}

impl fmt::Display for BucketEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bucket {} at epoch {}:", self.bucket.get(), self.epoch.0)?;
        for listing in &self.listings {
            let role = match listing.role {
                Role::InSync => "in sync",
                Role::Syncing => "syncing",
            };
            write!(f, " {} {role} since {};", listing.disk, listing.since.0)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(disk: u128, role: Role, since: u64) -> Listing {
        Listing {
            disk: DiskId::new(disk).unwrap(),
            role,
            since: Epoch(since),
        }
    }

    fn entry(listings: Vec<Listing>) -> Result<BucketEntry, OutOfRange> {
        BucketEntry::new(BucketId::new(3).unwrap(), Epoch(7), listings)
    }

    #[test]
    fn an_entry_that_can_not_be_is_refused() {
        let good = listing(1, Role::InSync, 7);
        assert!(entry(vec![]).is_err(), "no replica");
        assert!(entry(vec![listing(1, Role::Syncing, 1)]).is_err());
        assert!(entry(vec![good, listing(1, Role::Syncing, 1)]).is_err());
        assert!(entry(vec![listing(1, Role::InSync, 8)]).is_err());
        let nine = (1..10).map(|disk| listing(disk, Role::InSync, 1));
        assert!(entry(nine.collect()).is_err());
        assert!(entry(vec![good]).is_ok());
    }

    #[test]
    fn an_entry_knows_its_replicas_whatever_order_they_came_in() {
        let [a, b] = [listing(1, Role::InSync, 2), listing(2, Role::Syncing, 7)];
        let one = entry(vec![b, a]).unwrap();
        assert_eq!(one, entry(vec![a, b]).unwrap());
        assert_eq!(one.on(b.disk), Some(&b));
        assert_eq!(one.on(DiskId::new(3).unwrap()), None);
        assert_eq!(one.in_sync().collect::<Vec<_>>(), [a.disk]);
    }
}
