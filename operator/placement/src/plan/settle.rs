//! What of each bucket stays where it lies: not what lies on a disk that is to be left, in a domain twice, or is one too
//! many. It says too how many replicas each bucket can have, and which must stay on a disk that is to be left.

use super::Short;
use super::disks::NONE;
use super::draft::Draft;
use moraine_model::REPLICAS_MAX;

/// What can't be as it should.
#[derive(Default)]
pub(super) struct Unsettled {
    pub(super) short: Vec<Short>,
    /// Replicas that stay on a disk that is to be left, since no other could do as much: bucket and place, in order.
    pub(super) stuck: Vec<(u32, u32)>,
}

/// Fills the draft with what stays.
pub(super) fn settle(draft: &mut Draft<'_>, wanted: u32) -> Unsettled {
    let mut unsettled = Unsettled::default();
    let mut held_by = held_by(draft);
    let easy = wanted as usize <= draft.width && draft.disks.taking_domains >= draft.width;
    for bucket in draft.buckets() {
        let held = draft.held;
        let held = held.of(bucket);
        if easy && is_sound(draft, held) {
            for &disk in held {
                draft.put(bucket, disk);
            }
            draft.set_slots(bucket, draft.width);
        } else {
            let sorted = Sorted::new(draft, held, &held_by);
            sorted.settle(draft, bucket, wanted, &mut unsettled);
            // What goes from here makes its disk emptier for the choices to come.
            for &disk in held.iter().filter(|disk| draft.disks.stays(**disk)) {
                held_by[disk as usize] -= u32::from(!draft.has(bucket, disk));
            }
        }
    }
    unsettled
}

/// Replicas that lie on each disk now.
fn held_by(draft: &Draft<'_>) -> Vec<u32> {
    let mut counts = vec![0; draft.disks.len()];
    for bucket in draft.buckets() {
        for &disk in draft.held.of(bucket) {
            if let Some(count) = counts.get_mut(disk as usize) {
                *count += 1;
            }
        }
    }
    counts
}

/// Whether nothing of the bucket has to go.
fn is_sound(draft: &Draft<'_>, held: &[u32]) -> bool {
    let disks = &draft.disks;
    let fits = held.len() <= draft.width && held.iter().all(|disk| disks.stays(*disk));
    let alone = |(at, disk): (usize, &u32)| {
        let domain = disks.domain(*disk);
        held[..at]
            .iter()
            .all(|other| disks.domain(*other) != domain)
    };
    fits && held.iter().enumerate().all(alone)
}

/// The replicas of a bucket, by what can become of them.
struct Sorted {
    /// The emptiest disk of each domain, the emptiest first.
    first: List,
    /// The other disks that stay, the emptiest first.
    second: List,
    leaving: List,
}

#[derive(Clone, Copy)]
struct List {
    places: [u32; REPLICAS_MAX],
    len: usize,
}

impl List {
    const EMPTY: Self = Self {
        places: [NONE; REPLICAS_MAX],
        len: 0,
    };

    fn push(&mut self, place: u32) {
        self.places[self.len] = place;
        self.len += 1;
    }

    fn as_slice(&self) -> &[u32] {
        &self.places[..self.len]
    }
}

impl Sorted {
    fn new(draft: &Draft<'_>, held: &[u32], held_by: &[u32]) -> Self {
        let disks = &draft.disks;
        let (mut staying, mut leaving) = (List::EMPTY, List::EMPTY);
        for &disk in held {
            let list = if disks.stays(disk) {
                &mut staying
            } else {
                &mut leaving
            };
            list.push(disk);
        }
        let fill = |disk: u32| u128::from(held_by[disk as usize]);
        let weight = |disk: u32| u128::from(disks.weights[disk as usize]);
        staying.places[..staying.len].sort_unstable_by(|&one, &other| {
            let (a, b) = (fill(one) * weight(other), fill(other) * weight(one));
            a.cmp(&b).then(one.cmp(&other))
        });
        let (mut first, mut second) = (List::EMPTY, List::EMPTY);
        for &disk in staying.as_slice() {
            let domain = disks.domain(disk);
            let known = first
                .as_slice()
                .iter()
                .any(|other| disks.domain(*other) == domain);
            let list = if known { &mut second } else { &mut first };
            list.push(disk);
        }
        Self {
            first,
            second,
            leaving,
        }
    }

    fn settle(&self, draft: &mut Draft<'_>, bucket: u32, wanted: u32, unsettled: &mut Unsettled) {
        let untaking = |disk: &&u32| draft.disks.takers[draft.disks.domain(**disk) as usize] == 0;
        let possible =
            draft.disks.taking_domains + self.first.as_slice().iter().filter(untaking).count();
        let possible = possible.min(draft.width);
        if possible < wanted as usize {
            unsettled.short.push(Short {
                bucket,
                wanted,
                possible: u32::try_from(possible).expect("it is at most 8"),
            });
        }
        for &disk in self.first.as_slice().iter().take(draft.width) {
            draft.put(bucket, disk);
        }
        let mut left = draft.width - possible;
        // A domain that only a disk that is to be left is in: to leave it would make the bucket less safe.
        let mut stuck = List::EMPTY;
        for &disk in self.leaving.as_slice() {
            if left > 0 && self.is_only_one_in_its_domain(draft, disk, &stuck) {
                stuck.push(disk);
                left -= 1;
            }
        }
        let more = left.min(self.disks_for(draft) - possible);
        for &disk in self.second.as_slice().iter().take(more) {
            draft.put(bucket, disk);
        }
        draft.set_slots(bucket, possible + more);
        left -= more;
        // No disk is left to go to.
        let rest = self.leaving.as_slice().iter();
        for &disk in rest
            .filter(|disk| !stuck.as_slice().contains(disk))
            .take(left)
        {
            unsettled.stuck.push((bucket, disk));
        }
        let stuck = stuck.as_slice().iter();
        unsettled.stuck.extend(stuck.map(|disk| (bucket, *disk)));
    }

    /// The disks that could hold this bucket and stay.
    fn disks_for(&self, draft: &Draft<'_>) -> usize {
        let staying = self.first.as_slice().iter().chain(self.second.as_slice());
        let others = staying.filter(|disk| !draft.disks.takes[**disk as usize]);
        draft.disks.takers_in_all + others.count()
    }

    fn is_only_one_in_its_domain(&self, draft: &Draft<'_>, disk: u32, stuck: &List) -> bool {
        let disks = &draft.disks;
        let domain = disks.domain(disk);
        let is_there = |other: &u32| disks.domain(*other) == domain;
        domain != NONE
            && disks.takers[domain as usize] == 0
            && !self.first.as_slice().iter().any(is_there)
            && !stuck.as_slice().iter().any(is_there)
    }
}
