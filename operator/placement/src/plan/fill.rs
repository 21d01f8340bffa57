//! Makes the replicas that buckets lack, where disks have room below their targets; where no such disk may take one, on
//! the emptiest that may. Draws spread the buckets, so that all disks help when one of them is lost.

use super::disks::{Domains, narrow};
use super::draft::Draft;
use super::room::Room;
use crate::draw::Draw;

/// Domains looked at among those that every bucket has to take.
const TRIES: usize = 16;

/// Makes what is missing.
pub(super) fn fill(draft: &mut Draft<'_>, room: &mut Room) {
    let needy: Vec<u32> = draft
        .buckets()
        .filter(|bucket| draft.lacks(*bucket) > 0)
        .collect();
    let mut tight = Tight::new(draft, &needy);
    for bucket in needy {
        tight.look(room);
        let mut draw = Draw::new(bucket.into());
        let mut barred = draft.domains(bucket);
        tight.pass(&barred);
        while draft.lacks(bucket) > 0 {
            let disk = with_room(draft, room, bucket, (&barred, &tight), &mut draw)
                .unwrap_or_else(|| overflow(draft, room, bucket, &barred));
            draft.put(bucket, disk);
            barred.push(draft.disks.domain(disk));
        }
    }
}

/// A disk with room for one more replica of the bucket, in a domain that it isn't in; or in any, if it is in all that take.
fn with_room(
    draft: &Draft<'_>,
    room: &mut Room,
    bucket: u32,
    (barred, tight): (&Domains, &Tight),
    draw: &mut Draw,
) -> Option<u32> {
    let domain = tight.domain(room, barred, draw);
    if let Some(domain) = domain.or_else(|| room.domain(barred, draw)) {
        return room.take(domain, &[], draw);
    }
    if draft.disks.taking_domains > barred.taking(&draft.disks) {
        return None;
    }
    let domain = room.domain(&Domains::EMPTY, draw)?;
    room.take(domain, draft.of(bucket), draw)
}

/// A disk for one more replica of the bucket, when no disk with room lies in a domain that it isn't in.
fn overflow(draft: &Draft<'_>, room: &mut Room, bucket: u32, barred: &Domains) -> u32 {
    let disk = emptiest(draft, room, bucket, barred);
    if room.of_disk(disk) > 0 {
        room.take_on(disk, draft.disks.domain(disk));
    }
    disk
}

/// The emptiest disk for one more replica of the bucket, in a domain of its own if there is one, with room if one has it.
fn emptiest(draft: &Draft<'_>, room: &Room, bucket: u32, barred: &Domains) -> u32 {
    let disks = &draft.disks;
    let may = |disk: &u32| {
        !draft.has(bucket, *disk) && (disks.takes[*disk as usize] || draft.holds(bucket, *disk))
    };
    let all = disks.all().filter(|disk| disks.stays(*disk)).filter(may);
    let best = all.min_by(|&one, &other| {
        let barred = |disk: u32| barred.contains(disks.domain(disk));
        let fill = |disk: u32| u128::from(draft.counts[disk as usize] + 1);
        let weight = |disk: u32| u128::from(disks.weights[disk as usize]);
        let (a, b) = (fill(one) * weight(other), fill(other) * weight(one));
        let roomless = |disk: u32| room.of_disk(disk) == 0;
        barred(one)
            .cmp(&barred(other))
            .then(roomless(one).cmp(&roomless(other)))
            .then(a.cmp(&b))
    });
    best.expect("a bucket is given no more replicas than there are disks for it")
}

/// The domains that every bucket to come has to take if it may, or else their room can't all be used.
struct Tight {
    /// Buckets to come.
    left: u32,
    /// How many of them are in each domain already.
    inside: Vec<u32>,
    list: Vec<u32>,
    listed: Vec<bool>,
    /// Look again when no more than so many buckets are to come.
    look_at: u32,
}

impl Tight {
    fn new(draft: &Draft<'_>, needy: &[u32]) -> Self {
        let mut inside = vec![0; draft.disks.domain_count()];
        for &bucket in needy {
            for &domain in draft.domains(bucket).as_slice() {
                inside[domain as usize] += 1;
            }
        }
        let left = narrow(needy.len());
        Self {
            left,
            listed: vec![false; inside.len()],
            inside,
            list: Vec::new(),
            look_at: left,
        }
    }

    /// Looks for domains that became tight. What a domain has to spare falls by at most one with each bucket, so the
    /// next look can wait for as many.
    fn look(&mut self, room: &Room) {
        if self.left > self.look_at {
            return;
        }
        let mut spare_least = self.left;
        for &domain in room.open_domains() {
            // A bucket may be in a domain twice.
            let may = self.left.saturating_sub(self.inside[domain as usize]);
            let spare = may.saturating_sub(room.of_domain(domain));
            if self.listed[domain as usize] {
                continue;
            }
            if spare <= may / 256 {
                self.listed[domain as usize] = true;
                self.list.push(domain);
            } else {
                spare_least = spare_least.min(spare);
            }
        }
        self.look_at = self.left.saturating_sub(spare_least.max(1));
    }

    /// Counts a bucket as done, which was in these domains before.
    fn pass(&mut self, domains: &Domains) {
        self.left -= 1;
        for &domain in domains.as_slice() {
            self.inside[domain as usize] -= 1;
        }
    }

    /// A tight domain that isn't barred.
    fn domain(&self, room: &Room, barred: &Domains, draw: &mut Draw) -> Option<u32> {
        if self.list.is_empty() {
            return None;
        }
        let (before, after) = self.list.split_at(draw.below(self.list.len()));
        let mut some = after.iter().chain(before).copied().take(TRIES);
        some.find(|domain| room.of_domain(*domain) > 0 && !barred.contains(*domain))
    }
}
