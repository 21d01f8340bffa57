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
    // What is to be copied anyway goes elsewhere at no cost, and what is held without need can stand in for another.
    for &disk in &high {
        give(draft, targets, room, &mut lists, (disk, true));
    }
    let spare = draft.holds_more();
    let mut search = Search::new(draft, targets, room, lists);
    if spare {
        search.relieve_for_nothing(&high);
    }
    for &disk in &high {
        search.give(disk);
    }
    for &disk in &high {
        search.relieve(disk);
    }
}

/// Moves buckets from a disk straight to disks with room; `cheap`: only where no more must be copied by it.
pub(super) fn give(
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
    /// Where in `buckets` to begin with each disk: what comes before was looked at in vain.
    begin: Vec<u32>,
}

/// Goes through the buckets of one disk: those that came, then the others from where the last walk ended, once round.
pub(super) struct Walk {
    disk: u32,
    came: u32,
    at: u32,
    left: u32,
}

impl Lists {
    fn new(draft: &Draft<'_>) -> Self {
        let width = draft.width;
        let (starts, mut slots) = by_key(draft.flat(), draft.disks.len());
        for slot in &mut slots {
            *slot /= u32::try_from(width).expect("a bucket has at most 8 replicas");
        }
        Self {
            begin: starts[..draft.disks.len()].to_vec(),
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
        let at = disk as usize;
        Walk {
            disk,
            came: self.last[at],
            at: self.begin[at],
            left: self.starts[at + 1] - self.starts[at],
        }
    }

    /// Lets the next walk over the disk begin where this one is.
    pub(super) fn keep(&mut self, walk: &Walk) {
        self.begin[walk.disk as usize] = walk.at;
    }
}

impl Walk {
    pub(super) fn next(&mut self, lists: &Lists) -> Option<u32> {
        if self.came != NONE {
            let (bucket, before) = lists.came[self.came as usize];
            self.came = before;
            return Some(bucket);
        }
        if self.left == 0 {
            return None;
        }
        let disk = self.disk as usize;
        let bucket = lists.buckets[self.at as usize];
        self.left -= 1;
        self.at += 1;
        if self.at == lists.starts[disk + 1] {
            self.at = lists.starts[disk];
        }
        Some(bucket)
    }
}
