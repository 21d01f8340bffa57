//! Moves that take from disks above their targets and give to disks below, and nothing else changes in count: one move
//! where one will do, or a chain of them over disks in between.

use super::disks::{NONE, by_key, narrow};
use super::draft::Draft;
use super::room::Room;
use super::search::Search;
use super::shares::Targets;
use crate::draw::Draw;

/// Brings all counts to their targets, as far as the buckets can be moved so.
pub(super) fn level(draft: &mut Draft<'_>, targets: &mut Targets, room: &mut Room) {
    let above = |draft: &Draft<'_>, targets: &Targets, disk: u32| {
        draft.counts[disk as usize] > targets.target[disk as usize]
    };
    let mut high: Vec<u32> = draft.disks.all().collect();
    high.retain(|disk| above(draft, targets, *disk));
    if high.is_empty() {
        return;
    }
    let mut lists = Lists::new(draft);
    // What is to be copied anyway goes elsewhere at no cost.
    for cheap in [true, false] {
        for &disk in &high {
            give(draft, targets, room, &mut lists, (disk, cheap));
        }
    }
    let mut search = Search::new(draft, targets, room, lists);
    for disk in high {
        search.relieve(disk);
    }
}

/// Moves buckets from a disk straight to disks with room.
fn give(
    draft: &mut Draft<'_>,
    targets: &Targets,
    room: &mut Room,
    lists: &mut Lists,
    (disk, cheap): (u32, bool),
) {
    let mut draw = Draw::new(disk.into());
    let mut walk = lists.walk(disk);
    while draft.counts[disk as usize] > targets.target[disk as usize] && !room.is_empty() {
        let Some(bucket) = walk.next(lists) else {
            return;
        };
        if !draft.has(bucket, disk) {
            continue;
        }
        let to = if cheap && draft.holds(bucket, disk) {
            back(draft, room, bucket, disk)
        } else {
            straight(draft, room, bucket, disk, &mut draw)
        };
        if let Some(to) = to {
            draft.change(bucket, disk, to);
            lists.add(to, bucket);
        }
    }
}

/// A disk with room that the bucket may go to, whose room is taken.
pub(super) fn straight(
    draft: &Draft<'_>,
    room: &mut Room,
    bucket: u32,
    from: u32,
    draw: &mut Draw,
) -> Option<u32> {
    if let Some(to) = back(draft, room, bucket, from) {
        return Some(to);
    }
    let mut barred = draft.barred(bucket, from);
    // Where a bucket is in a domain twice, all the disks with room in a domain may be its own: then to the next domain.
    while let Some(domain) = room.largest(&barred, draw) {
        if let Some(to) = room.take(domain, draft.of(bucket), draw) {
            return Some(to);
        }
        barred.push(domain);
    }
    None
}

/// A disk with room that holds the bucket now, though the draft has it elsewhere; its room is taken.
pub(super) fn back(draft: &Draft<'_>, room: &mut Room, bucket: u32, from: u32) -> Option<u32> {
    let fits = |to: &u32| {
        let known = (*to as usize) < draft.disks.len();
        known && room.of_disk(*to) > 0 && draft.may_move(bucket, from, *to)
    };
    let to = draft.held.of(bucket).iter().copied().find(fits)?;
    room.take_on(to, draft.disks.domain(to));
    Some(to)
}

/// The buckets of each disk: those that were there when the chains began, and those that came since. Some have left.
pub(super) struct Lists {
    starts: Vec<u32>,
    buckets: Vec<u32>,
    /// The last that came to each disk, each with the one before.
    last: Vec<u32>,
    came: Vec<(u32, u32)>,
}

/// Goes through the buckets of one disk.
pub(super) struct Walk {
    at: u32,
    end: u32,
    came: u32,
}

impl Lists {
    fn new(draft: &Draft<'_>) -> Self {
        let width = draft.width;
        let (starts, mut slots) = by_key(draft.flat(), draft.disks.len());
        for slot in &mut slots {
            *slot /= u32::try_from(width).expect("a bucket has at most 8 replicas");
        }
        Self {
            starts,
            buckets: slots,
            last: vec![NONE; draft.disks.len()],
            came: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, disk: u32, bucket: u32) {
        let came = narrow(self.came.len());
        self.came.push((bucket, self.last[disk as usize]));
        self.last[disk as usize] = came;
    }

    pub(super) fn walk(&self, disk: u32) -> Walk {
        Walk {
            at: self.starts[disk as usize],
            end: self.starts[disk as usize + 1],
            came: self.last[disk as usize],
        }
    }
}

impl Walk {
    pub(super) fn next(&mut self, lists: &Lists) -> Option<u32> {
        if self.came != NONE {
            let (bucket, before) = lists.came[self.came as usize];
            self.came = before;
            return Some(bucket);
        }
        if self.at == self.end {
            return None;
        }
        self.at += 1;
        Some(lists.buckets[self.at as usize - 1])
    }
}
