//! The plan: which buckets should move where, in which order, and why. It decides; it starts nothing.

use crate::layout::Layout;
use moraine_model::REPLICAS_MAX;

/// One change of one bucket. `to` alone makes a missing replica, `from` alone drops one too many, both together move one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The bucket.
    pub bucket: u32,
    /// Place of the disk that takes it; `None`: a replica too many is dropped.
    pub to: Option<u32>,
    /// Place of the disk that gives it up once the copy is whole; `None`: a missing replica is made.
    pub from: Option<u32>,
    /// Why.
    pub why: Why,
}

/// Why a bucket changes, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It has fewer replicas than it should.
    Missing,
    /// Its disk is to be left: weight 0, no failure domain, or not in the list of disks.
    Leaving,
    /// Two of its replicas lie in one failure domain.
    Domain,
    /// It has more replicas than it should.
    Surplus,
    /// Its disk has more than its share, and another has less.
    Balance,
}

/// A bucket that can't have all its replicas in different failure domains, on disks that may keep them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    /// The bucket.
    pub bucket: u32,
    /// Replicas that it should have, each in a domain of its own.
    pub wanted: u32,
    /// Domains that it can have a replica in.
    pub possible: u32,
}

/// What should be done, and what can't be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps, in the order in which they should be made: in that of [`Why`], and within `Balance` the fullest disk
    /// first. Every step may be made or left out on its own, but those of one bucket in this order.
    pub steps: Vec<Step>,
    /// The buckets that can't have what was asked, in order of bucket number.
    pub short: Vec<Short>,
}

/// What should move where, so that each bucket has its replicas, each in a failure domain of its own, and each disk its
/// share.
pub fn plan(layout: &Layout<'_>) -> Plan {
    let mut plan = Plan::default();
    let mut counts = vec![0_u64; layout.disks.len()];
    for bucket in 0..layout.held.buckets() {
        for &place in layout.held.of(bucket) {
            if let Some(count) = counts.get_mut(place as usize) {
                *count += 1;
            }
        }
    }
    let wanted = (layout.replicas.max(1) as usize).min(REPLICAS_MAX);
    for bucket in 0..layout.held.buckets() {
        let mut has = layout.held.of(bucket).to_vec();
        while has.len() < wanted {
            let Some(to) = emptiest(layout, &counts, &has) else {
                break;
            };
            counts[to as usize] += 1;
            has.push(to);
            plan.steps.push(Step {
                bucket,
                to: Some(to),
                from: None,
                why: Why::Missing,
            });
        }
    }
    plan
}

/// The emptiest disk beside its weight, in a domain that the bucket isn't in yet if there is one.
fn emptiest(layout: &Layout<'_>, counts: &[u64], has: &[u32]) -> Option<u32> {
    let used = |domain| {
        let mut domains = has.iter().filter_map(|&at| layout.disks.get(at as usize));
        domains.any(|disk| disk.domain == domain)
    };
    let all = (0..).zip(layout.disks);
    let free = all.filter(|(place, disk)| disk.stays() && disk.takes && !has.contains(place));
    let key = |place: u32, weight: u64| {
        u128::from(counts[place as usize] + 1) * u128::from(u32::MAX) / u128::from(weight)
    };
    free.min_by_key(|(place, disk)| (used(disk.domain), key(*place, disk.weight)))
        .map(|(place, _)| place)
}
