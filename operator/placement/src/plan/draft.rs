//! The draft of a plan: where each bucket is to lie, as far as it is decided, and what each disk has by it.
//!
//! It keeps count and says what a bucket may do; it doesn't decide.

use super::disks::{Disks, Domains, NONE, narrow};
use crate::layout::Held;

/// Where each bucket is to lie, on disks that stay.
pub(super) struct Draft<'a> {
    pub(super) disks: Disks,
    pub(super) held: &'a Held,
    /// Replicas that a bucket has at most.
    pub(super) width: usize,
    /// `width` places for each bucket; those it has come first.
    places: Vec<u32>,
    lens: Vec<u8>,
    /// How many each bucket is to have.
    slots: Vec<u8>,
    /// Replicas on each disk.
    pub(super) counts: Vec<u32>,
}

impl<'a> Draft<'a> {
    /// One where no bucket lies anywhere.
    pub(super) fn new(disks: Disks, held: &'a Held, width: usize) -> Self {
        let buckets = held.buckets() as usize;
        Self {
            counts: vec![0; disks.len()],
            disks,
            held,
            width,
            places: vec![NONE; buckets * width],
            lens: vec![0; buckets],
            slots: vec![0; buckets],
        }
    }

    /// Where a bucket is to lie.
    pub(super) fn of(&self, bucket: u32) -> &[u32] {
        let start = bucket as usize * self.width;
        &self.places[start..start + usize::from(self.lens[bucket as usize])]
    }

    /// `width` places for each bucket, `NONE` where it has no more.
    pub(super) fn flat(&self) -> &[u32] {
        &self.places
    }

    pub(super) fn has(&self, bucket: u32, disk: u32) -> bool {
        self.of(bucket).contains(&disk)
    }

    /// Whether the bucket lies on the disk now.
    pub(super) fn holds(&self, bucket: u32, disk: u32) -> bool {
        self.held.of(bucket).contains(&disk)
    }

    /// How many replicas it still lacks.
    pub(super) fn lacks(&self, bucket: u32) -> usize {
        usize::from(self.slots[bucket as usize] - self.lens[bucket as usize])
    }

    /// Replicas of all buckets, those that they lack included.
    pub(super) fn slots(&self) -> u64 {
        self.slots.iter().map(|slots| u64::from(*slots)).sum()
    }

    /// Says how many replicas a bucket is to have.
    pub(super) fn set_slots(&mut self, bucket: u32, slots: usize) {
        assert!(
            slots <= self.width,
            "a bucket can't be given more replicas than the pool asks for"
        );
        self.slots[bucket as usize] = u8::try_from(slots).expect("there are at most 8 replicas");
    }

    /// Puts a replica of the bucket on the disk.
    pub(super) fn put(&mut self, bucket: u32, disk: u32) {
        let len = usize::from(self.lens[bucket as usize]);
        self.places[bucket as usize * self.width + len] = disk;
        self.lens[bucket as usize] += 1;
        self.counts[disk as usize] += 1;
    }

    /// Puts a replica of the bucket on another disk.
    pub(super) fn change(&mut self, bucket: u32, from: u32, to: u32) {
        let start = bucket as usize * self.width;
        let mut places = self.places[start..start + self.width].iter_mut();
        let place = places.find(|place| **place == from);
        *place.expect("a replica is moved from where the draft has it") = to;
        self.counts[from as usize] -= 1;
        self.counts[to as usize] += 1;
    }

    /// Whether a bucket lies on a disk that stays, though the draft has it on others.
    pub(super) fn holds_more(&self) -> bool {
        self.buckets().any(|bucket| {
            let mut held = self.held.of(bucket).iter();
            held.any(|disk| self.disks.stays(*disk) && !self.has(bucket, *disk))
        })
    }

    /// The domains that the bucket is in.
    pub(super) fn domains(&self, bucket: u32) -> Domains {
        let mut domains = Domains::EMPTY;
        for &disk in self.of(bucket) {
            domains.push(self.disks.domain(disk));
        }
        domains
    }

    /// The domains that the bucket may not go to when it leaves `from`: those that it is in otherwise; none if it is in
    /// one domain twice without need of that replica, because then any place is as good.
    pub(super) fn barred(&self, bucket: u32, from: u32) -> Domains {
        let mut barred = Domains::EMPTY;
        let left = self.disks.domain(from);
        for &disk in self.of(bucket).iter().filter(|disk| **disk != from) {
            let domain = self.disks.domain(disk);
            if domain == left {
                return Domains::EMPTY;
            }
            barred.push(domain);
        }
        barred
    }

    /// Whether the bucket may go from one disk to the other, on which it isn't: it lies in as many domains after it,
    /// and the other may take it or has it already.
    pub(super) fn may_move(&self, bucket: u32, from: u32, to: u32) -> bool {
        self.has(bucket, from)
            && !self.has(bucket, to)
            && self.disks.stays(to)
            && (self.disks.takes[to as usize] || self.holds(bucket, to))
            && !self.barred(bucket, from).contains(self.disks.domain(to))
    }

    /// What moving the bucket costs in replicas that must be copied.
    pub(super) fn cost(&self, bucket: u32, from: u32, to: u32) -> i32 {
        i32::from(!self.holds(bucket, to)) - i32::from(!self.holds(bucket, from))
    }

    /// All buckets.
    pub(super) fn buckets(&self) -> std::ops::Range<u32> {
        0..narrow(self.lens.len())
    }
}
