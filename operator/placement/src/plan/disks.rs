//! The disks as arrays, with their failure domains counted from 0. Nothing here changes while a plan is made.

use crate::layout::Disk;
use moraine_model::REPLICAS_MAX;

/// No disk, no domain, no bucket.
pub(super) const NONE: u32 = u32::MAX;

/// The disks of a layout.
pub(super) struct Disks {
    /// The domain of each disk, those that are to be left included; `NONE` without one.
    domains: Vec<u32>,
    stays: Vec<bool>,
    /// Whether it may take buckets.
    pub(super) takes: Vec<bool>,
    /// Their weights, scaled so that the sum fits in 64 bits; 0 for those that are to be left.
    pub(super) weights: Vec<u64>,
    /// Where each domain's disks begin in `members`.
    starts: Vec<u32>,
    members: Vec<u32>,
    /// In each domain, the disks that may take buckets.
    pub(super) takers: Vec<u32>,
    /// Domains with a disk that may take buckets.
    pub(super) taking_domains: usize,
    /// Disks that may take buckets.
    pub(super) takers_in_all: usize,
}

impl Disks {
    pub(super) fn new(disks: &[Disk]) -> Self {
        // Places are 32 bits, and the last of them means none.
        let disks = &disks[..disks.len().min(NONE as usize)];
        let mut names: Vec<u32> = disks.iter().filter_map(|disk| disk.domain).collect();
        names.sort_unstable();
        names.dedup();
        let dense = |name: u32| {
            let at = names.binary_search(&name);
            narrow(at.expect("every domain of a disk is in the list"))
        };
        let domains: Vec<u32> = disks
            .iter()
            .map(|disk| disk.domain.map_or(NONE, dense))
            .collect();
        let stays: Vec<bool> = disks.iter().map(Disk::stays).collect();
        let takes: Vec<bool> = disks
            .iter()
            .map(|disk| disk.stays() && disk.takes)
            .collect();
        let (starts, members) = by_key(&domains, names.len());
        let mut by_domain = vec![0; names.len()];
        for (&domain, _) in domains.iter().zip(&takes).filter(|(_, takes)| **takes) {
            by_domain[domain as usize] += 1;
        }
        Self {
            weights: scaled(disks),
            taking_domains: by_domain.iter().filter(|takers| **takers > 0).count(),
            takers_in_all: takes.iter().filter(|takes| **takes).count(),
            domains,
            stays,
            takes,
            starts,
            members,
            takers: by_domain,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.domains.len()
    }

    /// All places.
    pub(super) fn all(&self) -> std::ops::Range<u32> {
        0..narrow(self.len())
    }

    pub(super) fn domain_count(&self) -> usize {
        self.takers.len()
    }

    /// The domain of a disk; `NONE` if it has none or nobody knows it.
    pub(super) fn domain(&self, place: u32) -> u32 {
        self.domains.get(place as usize).copied().unwrap_or(NONE)
    }

    /// Whether what the disk has may stay.
    pub(super) fn stays(&self, place: u32) -> bool {
        self.stays.get(place as usize).copied().unwrap_or(false)
    }

    /// The disks of a domain, those that are to be left included.
    pub(super) fn members(&self, domain: u32) -> &[u32] {
        let at = domain as usize;
        &self.members[self.starts[at] as usize..self.starts[at + 1] as usize]
    }
}

/// A few domains: those that a bucket is in.
#[derive(Clone, Copy)]
pub(super) struct Domains {
    list: [u32; REPLICAS_MAX],
    len: usize,
}

impl Domains {
    pub(super) const EMPTY: Self = Self {
        list: [NONE; REPLICAS_MAX],
        len: 0,
    };

    pub(super) fn push(&mut self, domain: u32) {
        self.list[self.len] = domain;
        self.len += 1;
    }

    pub(super) fn as_slice(&self) -> &[u32] {
        &self.list[..self.len]
    }

    /// How many of them have a disk that may take buckets, each counted once.
    pub(super) fn taking(&self, disks: &Disks) -> usize {
        let first = |at: &usize| !self.list[..*at].contains(&self.list[*at]);
        let taking = |at: &usize| disks.takers[self.list[*at] as usize] > 0;
        (0..self.len).filter(first).filter(taking).count()
    }

    pub(super) fn contains(&self, domain: u32) -> bool {
        self.as_slice().contains(&domain)
    }
}

/// An index that is known to fit.
pub(super) fn narrow(index: usize) -> u32 {
    u32::try_from(index).expect("disks, buckets and their replicas are counted in 32 bits")
}

/// Indices grouped by their key (`NONE`: left out): where each group begins, and the groups one after another.
pub(super) fn by_key(keys: &[u32], groups: usize) -> (Vec<u32>, Vec<u32>) {
    let mut starts = vec![0_u32; groups + 1];
    for &key in keys.iter().filter(|key| **key != NONE) {
        starts[key as usize + 1] += 1;
    }
    for group in 0..groups {
        starts[group + 1] += starts[group];
    }
    let mut next = starts.clone();
    let mut grouped = vec![NONE; starts[groups] as usize];
    for (index, &key) in (0..).zip(keys).filter(|(_, key)| **key != NONE) {
        grouped[next[key as usize] as usize] = index;
        next[key as usize] += 1;
    }
    (starts, grouped)
}

/// The weights of the disks that stay; halved together until their sum fits in 64 bits, with at least 1 left of each.
fn scaled(disks: &[Disk]) -> Vec<u64> {
    let weight = |disk: &Disk| if disk.stays() { disk.weight } else { 0 };
    let total: u128 = disks.iter().map(|disk| u128::from(weight(disk))).sum();
    // A half of the room is for those that are rounded up to 1.
    let shift = (128 - total.leading_zeros()).saturating_sub(63);
    let scale = |disk: &Disk| {
        let weight = weight(disk);
        (weight >> shift).max(u64::from(weight > 0))
    };
    disks.iter().map(scale).collect()
}
