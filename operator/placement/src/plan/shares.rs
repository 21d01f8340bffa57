//! Each disk's share of the replicas: proportional to its weight, as far as no domain and no disk gets more than it can
//! have; and the whole number within one of it that the plan aims at. Exact: no floating point.
//!
//! It looks at counts alone. Whether the buckets can be moved so is for the chains to find.

use super::disks::{Disks, NONE, narrow};
use super::draft::Draft;

/// What each disk should have.
pub(super) struct Targets {
    /// The number of replicas aimed at.
    pub(super) target: Vec<u32>,
    /// The share rounded down.
    pub(super) floor: Vec<u32>,
    /// Whether the share is no whole number.
    pub(super) part: Vec<bool>,
}

impl Targets {
    /// Whether the disk could take one more than it aims at, and still be within one of its share.
    pub(super) fn can_rise(&self, disks: &Disks, disk: u32) -> bool {
        let at = disk as usize;
        disks.takes[at] && self.part[at] && self.target[at] == self.floor[at]
    }

    /// Rounds the share of one disk up from now on, and that of another down.
    pub(super) fn exchange(&mut self, up: u32, down: u32) {
        self.target[up as usize] += 1;
        self.target[down as usize] -= 1;
    }

    /// Whether the disk could do with one less than it aims at, and still be within one of its share.
    pub(super) fn can_fall(&self, disk: u32) -> bool {
        self.target[disk as usize] > self.floor[disk as usize]
    }
}

/// The targets of all disks, given what stays of each bucket.
pub(super) fn targets(draft: &Draft<'_>) -> Targets {
    let (targets, whole) = Shares::new(draft).targets(false);
    if whole {
        return targets;
    }
    // Disks that may take nothing stood in for parts of a replica that nobody else could take.
    Shares::new(draft).targets(true).0
}

/// A domain's part of the replicas that aren't fixed.
#[derive(Clone, Copy)]
enum Part {
    /// By weight, with all others.
    Free,
    /// At one of its bounds.
    Bound(u64),
}

struct Shares<'a> {
    draft: &'a Draft<'a>,
    /// What a disk has, when its share can't be had: it takes no more, or a bucket can't be on it twice.
    fixed: Vec<Option<u32>>,
    /// Fewer, and more, than which no domain can have.
    bounds: Vec<(u64, u64)>,
}

impl<'a> Shares<'a> {
    fn new(draft: &'a Draft<'a>) -> Self {
        let disks = &draft.disks;
        let buckets = u64::from(draft.held.buckets());
        // With fewer domains than replicas, each bucket is in every domain at least once.
        let scarce = disks.taking_domains < draft.width;
        let bounds = (0..).zip(&disks.takers).map(|(domain, &takers)| {
            if scarce {
                let staying = disks
                    .members(domain)
                    .iter()
                    .filter(|disk| disks.stays(**disk));
                let least = if takers > 0 { buckets } else { 0 };
                (least, buckets * staying.count() as u64)
            } else {
                (0, buckets)
            }
        });
        Self {
            fixed: vec![None; disks.len()],
            bounds: bounds.collect(),
            draft,
        }
    }

    /// The targets, and whether they add up to all replicas.
    fn targets(mut self, strict: bool) -> (Targets, bool) {
        loop {
            let (parts, pool) = self.parts();
            let targets = self.floors(&parts, pool);
            if !self.fix(&targets, strict) {
                return self.round(targets, &parts, pool);
            }
        }
    }

    /// What is left for the domains when the fixed disks have theirs: weight, and bounds.
    fn domains(&self) -> Vec<(u128, u64, u64)> {
        let disks = &self.draft.disks;
        let mut domains: Vec<(u128, u64, u64)> = self
            .bounds
            .iter()
            .map(|&(least, most)| (0, least, most))
            .collect();
        for disk in disks.all().filter(|disk| disks.stays(*disk)) {
            let domain = &mut domains[disks.domain(disk) as usize];
            if let Some(count) = self.fixed[disk as usize] {
                domain.1 = domain.1.saturating_sub(count.into());
                domain.2 = domain.2.saturating_sub(count.into());
            } else {
                domain.0 += u128::from(disks.weights[disk as usize]);
            }
        }
        domains
    }

    /// The part of each domain, and what those that are free share: replicas and weight.
    ///
    /// As in any sharing with bounds: those that break the bounds on the side that is broken by more in all are put at
    /// them, which can't be undone by what follows, and the rest is shared again.
    fn parts(&self) -> (Vec<Part>, (u64, u128)) {
        let domains = self.domains();
        let mut parts = vec![Part::Free; domains.len()];
        let fixed: u64 = self
            .fixed
            .iter()
            .flatten()
            .map(|count| u64::from(*count))
            .sum();
        let mut replicas = self.draft.slots().saturating_sub(fixed);
        let mut weight: u128 = domains.iter().map(|domain| domain.0).sum();
        loop {
            let (mut over, mut under) = (0_u128, 0_u128);
            let free =
                |at: usize, parts: &[Part]| matches!(parts[at], Part::Free) && domains[at].0 > 0;
            for (at, &(own, least, most)) in domains.iter().enumerate() {
                if free(at, &parts) {
                    let share = own * u128::from(replicas);
                    over += share.saturating_sub(u128::from(most) * weight);
                    under += (u128::from(least) * weight).saturating_sub(share);
                }
            }
            if over == 0 && under == 0 {
                return (parts, (replicas, weight));
            }
            let (replicas_now, weight_now) = (replicas, weight);
            for (at, &(own, least, most)) in domains.iter().enumerate() {
                let share = own * u128::from(replicas_now);
                let bound = if over >= under && share > u128::from(most) * weight_now {
                    most
                } else if over < under && share < u128::from(least) * weight_now {
                    least
                } else {
                    continue;
                };
                if free(at, &parts) {
                    parts[at] = Part::Bound(bound);
                    replicas = replicas.saturating_sub(bound);
                    weight -= own;
                }
            }
        }
    }

    /// The share of each disk, rounded down.
    fn floors(&self, parts: &[Part], pool: (u64, u128)) -> Targets {
        let disks = &self.draft.disks;
        let domains = self.domains();
        let mut targets = Targets {
            target: vec![0; disks.len()],
            floor: vec![0; disks.len()],
            part: vec![false; disks.len()],
        };
        for disk in disks.all().filter(|disk| disks.stays(*disk)) {
            let at = disk as usize;
            let domain = disks.domain(disk);
            if let Some(count) = self.fixed[at] {
                targets.floor[at] = count;
                continue;
            }
            let (replicas, weight) = match parts[domain as usize] {
                Part::Free => pool,
                Part::Bound(bound) => (bound, domains[domain as usize].0),
            };
            let share = u128::from(disks.weights[at]) * u128::from(replicas);
            // More than all buckets is cut to that before it counts.
            targets.floor[at] = u32::try_from(share / weight).unwrap_or(NONE);
            targets.part[at] = share % weight != 0;
        }
        targets
    }

    /// Fixes the disks whose share can't be had; whether there were any.
    fn fix(&mut self, targets: &Targets, strict: bool) -> bool {
        let buckets = self.draft.held.buckets();
        let mut any = false;
        for disk in 0..self.fixed.len() {
            if self.fixed[disk].is_some() || !self.draft.disks.stays(narrow(disk)) {
                continue;
            }
            let (floor, part) = (targets.floor[disk], targets.part[disk]);
            let has = self.draft.counts[disk];
            let lacks = has < floor || (strict && has == floor && part);
            if !self.draft.disks.takes[disk] && lacks {
                self.fixed[disk] = Some(has);
            } else if floor > buckets || (floor == buckets && part) {
                self.fixed[disk] = Some(buckets);
            } else {
                continue;
            }
            any = true;
        }
        any
    }

    /// Gives what rounding down left over to disks that have it already, then to those that came off worst; whether all of
    /// it could be given.
    fn round(&self, mut targets: Targets, parts: &[Part], pool: (u64, u128)) -> (Targets, bool) {
        let disks = &self.draft.disks;
        targets.target.clone_from(&targets.floor);
        let mut over = self.draft.slots();
        let mut room: Vec<u64> = self.bounds.iter().map(|bound| bound.1).collect();
        for disk in disks.all().filter(|disk| disks.stays(*disk)) {
            let floor = u64::from(targets.floor[disk as usize]);
            let room = &mut room[disks.domain(disk) as usize];
            *room = room.saturating_sub(floor);
            over = over.saturating_sub(floor);
        }
        for disk in self.by_claim(&targets, parts, pool) {
            let room = &mut room[disks.domain(disk) as usize];
            if over > 0 && *room > 0 {
                over -= 1;
                *room -= 1;
                targets.target[disk as usize] += 1;
            }
        }
        (targets, over == 0)
    }

    /// The disks that may be rounded up, those with the best claim first.
    fn by_claim(&self, targets: &Targets, parts: &[Part], pool: (u64, u128)) -> Vec<u32> {
        let (draft, disks) = (self.draft, &self.draft.disks);
        let has_it = |disk: u32| draft.counts[disk as usize] > targets.floor[disk as usize];
        let domains = self.domains();
        let part = |disk: u32| {
            let domain = disks.domain(disk) as usize;
            let (replicas, weight) = match parts[domain] {
                Part::Free => pool,
                Part::Bound(bound) => (bound, domains[domain].0),
            };
            // Below the line stand different weights: as parts of 2^32, with room for both to fit in 64 bits.
            ((u128::from(disks.weights[disk as usize]) * u128::from(replicas) % weight) << 32)
                / weight
        };
        let mut list: Vec<(bool, u128, u32)> = disks
            .all()
            .filter(|&disk| targets.part[disk as usize])
            .filter(|&disk| disks.takes[disk as usize] || has_it(disk))
            .map(|disk| (!has_it(disk), u128::MAX - part(disk), disk))
            .collect();
        list.sort_unstable();
        list.into_iter().map(|(_, _, disk)| disk).collect()
    }
}
