//! The last touch: exchanges of buckets between disks that leave all counts as they should be and spare copies, until there
//! is none. Then the plan copies as little as any could.
//!
//! It looks at every pair of disks for every replica, so it is for pools of a size where that is soon done; and it is left
//! out where counting alone shows that no plan could copy less.

use super::disks::{NONE, narrow};
use super::draft::Draft;
use super::links::{Link, clash, make, short_cut};
use super::shares::Targets;

/// Pairs of a replica and a disk, and of disks and disks, that are looked at in all.
const MOST_LOOKS: u64 = 20_000_000;

/// Spares what copies can be spared.
pub(super) fn spare(draft: &mut Draft<'_>, targets: &mut Targets) {
    let disks = draft.disks.len() as u64;
    let looks = disks * (draft.slots() + disks);
    let mut left = MOST_LOOKS;
    while looks <= left && copies(draft) > least(draft, targets) {
        left -= looks;
        let Some(cycle) = Arcs::new(draft, targets).cycle() else {
            return;
        };
        let cycle = untangle(draft, cycle);
        if !make(draft, targets, &cycle) {
            return;
        }
    }
}

/// Replicas of the draft that must be copied.
fn copies(draft: &Draft<'_>) -> u64 {
    let new = |bucket: u32| {
        let places = draft.of(bucket).iter();
        places.filter(|disk| !draft.holds(bucket, **disk)).count() as u64
    };
    draft.buckets().map(new).sum()
}

/// What must be copied at least, by count: what the disks lack to their shares rounded down, and of what rounding leaves
/// over as much as no disk holds already.
fn least(draft: &Draft<'_>, targets: &Targets) -> u64 {
    let mut held = vec![0_u32; draft.disks.len()];
    for bucket in draft.buckets() {
        for &disk in draft.held.of(bucket) {
            if let Some(held) = held.get_mut(disk as usize) {
                *held += 1;
            }
        }
    }
    let mut lacks = 0;
    // What rounding left over, less the disks that hold it.
    let mut over = 0_i64;
    for disk in draft.disks.all() {
        let at = disk as usize;
        let floor = targets.floor[at];
        lacks += u64::from(floor.saturating_sub(held[at]));
        let holds = targets.part[at] && held[at] > floor;
        over += i64::from(targets.target[at] - floor) - i64::from(holds);
    }
    lacks + over.max(0).unsigned_abs()
}

/// The cheapest move between each two disks.
struct Arcs {
    disks: usize,
    /// By row of the disk that gives: cost, and the bucket. No such move: a cost of `NO_MOVE`.
    arcs: Vec<(i32, u32)>,
}

const NO_MOVE: i32 = i32::MAX;

impl Arcs {
    fn new(draft: &Draft<'_>, targets: &Targets) -> Self {
        let disks = draft.disks.len();
        let mut arcs = vec![(NO_MOVE, NONE); disks * disks];
        for bucket in draft.buckets() {
            for &from in draft.of(bucket) {
                let row = &mut arcs[from as usize * disks..][..disks];
                for to in draft
                    .disks
                    .all()
                    .filter(|to| draft.may_move(bucket, from, *to))
                {
                    let cost = draft.cost(bucket, from, to);
                    if cost < row[to as usize].0 {
                        row[to as usize] = (cost, bucket);
                    }
                }
            }
        }
        for one in draft
            .disks
            .all()
            .filter(|one| targets.can_rise(&draft.disks, *one))
        {
            for other in draft.disks.all() {
                let arc = &mut arcs[one as usize * disks + other as usize];
                if targets.can_fall(other) && arc.0 > 0 {
                    *arc = (0, NONE);
                }
            }
        }
        Self { disks, arcs }
    }

    /// A cycle of moves that costs less than nothing, with the cost of each move.
    fn cycle(&self) -> Option<Vec<(Link, i32)>> {
        // From a place outside from which every disk can be reached for nothing.
        let mut costs = vec![0_i32; self.disks];
        let mut before = vec![usize::MAX; self.disks];
        let mut changed = None;
        for _ in 0..=self.disks {
            changed = None;
            for from in 0..self.disks {
                for (to, &(cost, _)) in self.arcs[from * self.disks..][..self.disks]
                    .iter()
                    .enumerate()
                {
                    if cost != NO_MOVE && costs[from] + cost < costs[to] {
                        costs[to] = costs[from] + cost;
                        before[to] = from;
                        changed = Some(to);
                    }
                }
            }
            changed?;
        }
        // Costs that still fall after so many rounds do so round a cycle; so far back, one is in it.
        let mut at = changed?;
        for _ in 0..self.disks {
            at = before[at];
        }
        let (start, mut cycle) = (at, Vec::new());
        loop {
            let from = before[at];
            let (cost, bucket) = self.arcs[from * self.disks + at];
            let link = Link {
                from: narrow(from),
                bucket,
                to: narrow(at),
            };
            cycle.push((link, cost));
            at = from;
            if at == start {
                cycle.reverse();
                return Some(cycle);
            }
        }
    }
}

/// Where a bucket would come twice into one domain, the cycle falls into two that each do without; one of them spares
/// something.
fn untangle(draft: &Draft<'_>, mut cycle: Vec<(Link, i32)>) -> Vec<Link> {
    loop {
        let links: Vec<Link> = cycle.iter().map(|(link, _)| *link).collect();
        let Some((early, late)) = clash(draft, &links) else {
            return links;
        };
        let joined = |one: Link, other: Link| {
            let link = short_cut(one, other);
            (link, draft.cost(link.bucket, link.from, link.to))
        };
        let mut inner = cycle[early + 1..late].to_vec();
        inner.push(joined(links[late], links[early]));
        let mut outer = cycle[..early].to_vec();
        outer.push(joined(links[early], links[late]));
        outer.extend_from_slice(&cycle[late + 1..]);
        let cost = |cycle: &[(Link, i32)]| cycle.iter().map(|(_, cost)| cost).sum::<i32>();
        cycle = if cost(&outer) < 0 { outer } else { inner };
    }
}
