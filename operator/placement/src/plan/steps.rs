//! From where each bucket lies to where the draft has it: the steps, each with its reason, in the order in which they
//! should be made.

use super::disks::NONE;
use super::draft::Draft;
use super::settle::Unsettled;
use super::shares::Targets;
use super::{Step, Why};

/// The steps that lead to the draft.
pub(super) fn steps(draft: &Draft<'_>, unsettled: &Unsettled, targets: &Targets) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut stuck = unsettled.stuck.as_slice();
    for bucket in draft.buckets() {
        let mine = stuck
            .iter()
            .take_while(|(other, _)| *other == bucket)
            .count();
        let (kept, rest) = stuck.split_at(mine);
        stuck = rest;
        if mine == 0 && draft.of(bucket) == draft.held.of(bucket) {
            continue;
        }
        Change::new(draft, bucket, kept).push_steps(draft, &mut steps);
    }
    order(draft, targets, &mut steps);
    steps
}

/// What is new to a bucket, and what it leaves.
struct Change {
    bucket: u32,
    comes: Vec<u32>,
    goes: Vec<u32>,
}

impl Change {
    fn new(draft: &Draft<'_>, bucket: u32, kept: &[(u32, u32)]) -> Self {
        let (held, has) = (draft.held.of(bucket), draft.of(bucket));
        let is_kept = |disk: &u32| kept.iter().any(|(_, place)| place == disk);
        let comes: Vec<u32> = has
            .iter()
            .copied()
            .filter(|disk| !held.contains(disk))
            .collect();
        let goes = held
            .iter()
            .copied()
            .filter(|disk| !has.contains(disk) && !is_kept(disk));
        let mut goes: Vec<u32> = goes.collect();
        // What is to be left goes first, be it with something in its place or not.
        goes.sort_by_key(|disk| draft.disks.stays(*disk));
        Self {
            bucket,
            comes,
            goes,
        }
    }

    fn push_steps(mut self, draft: &Draft<'_>, steps: &mut Vec<Step>) {
        let all_gone = self.goes.clone();
        let mut lies = draft.held.of(self.bucket).to_vec();
        // What goes within its domain is one step: apart, there would be two in the domain for a while.
        let same = |to: u32, from: u32| {
            let domain = draft.disks.domain(to);
            domain != NONE && domain == draft.disks.domain(from)
        };
        let goes = std::mem::take(&mut self.goes);
        for from in goes {
            match self.comes.iter().position(|to| same(*to, from)) {
                Some(at) => {
                    let to = self.comes.remove(at);
                    lies.retain(|disk| *disk != from);
                    lies.push(to);
                    steps.push(self.step(
                        Some(to),
                        Some(from),
                        why(draft, self.bucket, from, &all_gone),
                    ));
                }
                None => self.goes.push(from),
            }
        }
        // More leave than come: one too many is first one whose domain another replica is in, then one that is to be left.
        while self.goes.len() > self.comes.len() {
            let alone = |disk: &u32| {
                let domain = draft.disks.domain(*disk);
                let mut others = lies.iter().filter(|other| *other != disk);
                domain != NONE && !others.any(|other| draft.disks.domain(*other) == domain)
            };
            let best = (0..self.goes.len()).min_by_key(|at| alone(&self.goes[*at]));
            let from = self.goes.remove(best.expect("there are more than none"));
            lies.retain(|disk| *disk != from);
            steps.push(self.step(None, Some(from), Why::Surplus));
        }
        let goes = std::mem::take(&mut self.goes);
        for (at, &to) in self.comes.iter().enumerate() {
            let from = goes.get(at).copied();
            let why = from.map_or(Why::Missing, |from| {
                why(draft, self.bucket, from, &all_gone)
            });
            steps.push(self.step(Some(to), from, why));
        }
    }

    fn step(&self, to: Option<u32>, from: Option<u32>, why: Why) -> Step {
        Step {
            bucket: self.bucket,
            to,
            from,
            why,
        }
    }
}

/// Why the bucket leaves the disk.
fn why(draft: &Draft<'_>, bucket: u32, from: u32, gone: &[u32]) -> Why {
    let disks = &draft.disks;
    if !disks.stays(from) {
        return Why::Leaving;
    }
    let domain = disks.domain(from);
    // Of those that go, the first stands for the one that might have stayed.
    let mut others = draft.held.of(bucket).iter().filter(|other| **other != from);
    let shares = others.any(|other| {
        let there = disks.stays(*other) && disks.domain(*other) == domain;
        there && (!gone.contains(other) || position(gone, *other) < position(gone, from))
    });
    if shares { Why::Domain } else { Why::Balance }
}

fn position(list: &[u32], place: u32) -> Option<usize> {
    list.iter().position(|other| *other == place)
}

/// Missing replicas first, those of the buckets with the fewest before others; then by reason; what restores balance from
/// the fullest disk first.
fn order(draft: &Draft<'_>, targets: &Targets, steps: &mut Vec<Step>) {
    let balance = |step: &Step| step.why == Why::Balance;
    let (moves, mut urgent): (Vec<Step>, Vec<Step>) = steps.drain(..).partition(balance);
    urgent.sort_by_key(|step| {
        let left = match step.why {
            Why::Missing => draft.held.of(step.bucket).len(),
            _ => 0,
        };
        (step.why, left, step.bucket)
    });
    let mut counts = vec![0_u64; draft.disks.len()];
    for bucket in draft.buckets() {
        for &disk in draft.held.of(bucket) {
            if let Some(count) = counts.get_mut(disk as usize) {
                *count += 1;
            }
        }
    }
    // A disk's share to the nearest half, and what it still has when the step's turn comes.
    let mut moves: Vec<(u64, u64, Step)> = moves
        .into_iter()
        .map(|step| {
            let from = step.from.expect("a move for balance leaves a disk") as usize;
            counts[from] -= 1;
            let halves = 2 * u64::from(targets.floor[from]) + u64::from(targets.part[from]);
            (halves, counts[from] + 1, step)
        })
        .collect();
    moves.sort_by(|(share, has, _), (other_share, other_has, _)| {
        let (fill, other) = (
            u128::from(*has) * u128::from(*other_share),
            u128::from(*other_has) * u128::from(*share),
        );
        other.cmp(&fill)
    });
    steps.extend(urgent);
    steps.extend(moves.into_iter().map(|(_, _, step)| step));
}
