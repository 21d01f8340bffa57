//! The search for chains: from a disk above its target, over disks that give on what they get, to one below.
//!
//! It goes out from the first disk, over the cheapest chains first, and visits each disk once. Cost is what must be copied:
//! a bucket that is to be copied anyway can go elsewhere for nothing, one that lies on its disk now can't. It is a search of
//! the last few, after all that can go straight has gone; it ends when it has looked at [`MOST_LOOKS`] replicas.

use super::chains::{Lists, back, give, straight};
use super::disks::NONE;
use super::draft::Draft;
use super::links::{Link, clash, make, short_cut};
use super::room::Room;
use super::shares::Targets;
use crate::draw::Draw;

/// Replicas that are looked at in all: a second or two. What isn't found by then stays as it is.
const MOST_LOOKS: u64 = 50_000_000;

/// The same for the chains that cost nothing.
const MOST_FREE_LOOKS: u64 = 5_000_000;

/// Replicas that are looked at for a cheaper chain when one is found.
const PATIENCE: u64 = 4096;

/// Replicas that are looked at for chains of one cost before dearer ones are looked at too.
const ONE_COST: u64 = 65_536;

/// How a disk was reached: from which, and by which bucket. `NONE` for the bucket: not by a move, but by rounding the
/// share of the one up and that of the other down.
#[derive(Clone, Copy)]
struct Via {
    from: u32,
    bucket: u32,
}

/// What a search has reached. Marks hold the number of the search that made them, so that none has to clear them.
struct Reach {
    search: u32,
    via: Vec<Via>,
    reached: Vec<u32>,
    /// From these disks no chain leads to one below its target.
    hopeless: Vec<bool>,
    /// Disks that may take and aren't reached, by domain, once a search has come there.
    open: Vec<Vec<u32>>,
    opened: Vec<u32>,
    /// Domains that may have such disks.
    open_domains: Vec<u32>,
    /// Whether the disks were gone through whose shares can be rounded down.
    rounded: bool,
    /// The disks reached at this cost, and at one more.
    near: Vec<u32>,
    far: Vec<u32>,
}

/// Where a chain ends.
enum End {
    /// A bucket goes from the last disk that was reached to this one, whose room is taken.
    Move(Link),
    /// The last disk reached is below its target itself.
    Here(u32),
}

/// The search and all that it works on.
pub(super) struct Search<'a, 'h> {
    draft: &'a mut Draft<'h>,
    targets: &'a mut Targets,
    room: &'a mut Room,
    lists: Lists,
    reach: Reach,
    looks: u64,
    /// Whether only chains by which no more must be copied are looked for.
    free: bool,
}

impl Reach {
    fn new(draft: &Draft<'_>) -> Self {
        let disks = draft.disks.len();
        let nowhere = Via {
            from: NONE,
            bucket: NONE,
        };
        Self {
            search: 0,
            via: vec![nowhere; disks],
            reached: vec![0; disks],
            hopeless: vec![false; disks],
            open: vec![Vec::new(); draft.disks.domain_count()],
            opened: vec![0; draft.disks.domain_count()],
            open_domains: Vec::new(),
            rounded: false,
            near: Vec::new(),
            far: Vec::new(),
        }
    }

    fn begin(&mut self, draft: &Draft<'_>, source: u32) {
        self.search += 1;
        self.rounded = false;
        self.far.clear();
        self.near.clear();
        self.open_domains.clear();
        let domains = (0..).zip(&draft.disks.takers);
        let taking = domains.filter(|(_, takers)| **takers > 0);
        self.open_domains.extend(taking.map(|(domain, _)| domain));
        let start = Via {
            from: NONE,
            bucket: NONE,
        };
        self.reach(source, start, false);
    }

    fn is_reached(&self, disk: u32) -> bool {
        self.reached[disk as usize] == self.search
    }

    fn reach(&mut self, disk: u32, via: Via, far: bool) {
        self.reached[disk as usize] = self.search;
        self.via[disk as usize] = via;
        let list = if far { &mut self.far } else { &mut self.near };
        list.push(disk);
    }

    /// Reaches every disk that the bucket may go to from there.
    fn extend(&mut self, draft: &Draft<'_>, via: Via, far: bool) {
        let barred = draft.barred(via.bucket, via.from);
        let mut next = 0;
        while let Some(&domain) = self.open_domains.get(next) {
            if barred.contains(domain) {
                next += 1;
                continue;
            }
            let at = domain as usize;
            let mut open = std::mem::take(&mut self.open[at]);
            if self.opened[at] != self.search {
                self.opened[at] = self.search;
                open.clear();
                let members = draft.disks.members(domain).iter();
                open.extend(members.filter(|disk| draft.disks.takes[**disk as usize]));
            }
            open.retain(|&disk| {
                let stays = draft.has(via.bucket, disk) && !self.is_reached(disk);
                if !stays && !self.is_reached(disk) {
                    self.reach(disk, via, far);
                }
                stays
            });
            if open.is_empty() {
                self.open_domains.swap_remove(next);
            } else {
                next += 1;
            }
            self.open[at] = open;
        }
    }
}

impl<'a, 'h> Search<'a, 'h> {
    pub(super) fn new(
        draft: &'a mut Draft<'h>,
        targets: &'a mut Targets,
        room: &'a mut Room,
        lists: Lists,
    ) -> Self {
        Self {
            reach: Reach::new(draft),
            draft,
            targets,
            room,
            lists,
            looks: 0,
            free: false,
        }
    }

    /// Moves buckets from the disk straight to disks with room.
    pub(super) fn give(&mut self, disk: u32) {
        give(
            self.draft,
            self.targets,
            self.room,
            &mut self.lists,
            (disk, false),
        );
    }

    /// Goes chains from the disks by which no more must be copied.
    pub(super) fn relieve_for_nothing(&mut self, disks: &[u32]) {
        self.free = true;
        for &disk in disks {
            self.relieve(disk);
        }
        self.free = false;
        // What must be paid for was not looked at.
        self.reach.hopeless.fill(false);
        self.looks = 0;
    }

    /// Goes chains from the disk until it is at its target, or there is none.
    pub(super) fn relieve(&mut self, disk: u32) {
        let at = disk as usize;
        while self.draft.counts[at] > self.targets.target[at] && !self.reach.hopeless[at] {
            self.chain(disk);
        }
    }

    fn chain(&mut self, source: u32) {
        self.reach.begin(self.draft, source);
        if let Some(end) = self.find() {
            let went = self.go(&end);
            self.reach.hopeless[source as usize] = !went;
            return;
        }
        // Where a disk leads, those lead that were reached from it.
        for (hopeless, reached) in self.reach.hopeless.iter_mut().zip(&self.reach.reached) {
            *hopeless |= *reached == self.reach.search;
        }
    }

    fn find(&mut self) -> Option<End> {
        let most = if self.free {
            MOST_FREE_LOOKS
        } else {
            MOST_LOOKS
        };
        while !self.reach.near.is_empty() && self.looks < most {
            let (end, done) = self.near();
            if end.is_some() || self.free {
                return end;
            }
            self.far(done);
            // Those that were not come to are looked at together with the dearer ones.
            self.reach.near.drain(..done);
            let far = std::mem::take(&mut self.reach.far);
            self.reach.near.extend(far);
        }
        None
    }

    /// Reaches all that costs no more than the disks at hand, and finds an end that costs no more, or else one more; and how
    /// many of the disks it looked at.
    fn near(&mut self) -> (Option<End>, usize) {
        let begin = self.looks;
        let mut dear: Option<(Link, u64)> = None;
        let mut next = 0;
        while let Some(&disk) = self.reach.near.get(next) {
            let enough = match dear {
                Some((_, found)) => self.looks > found + PATIENCE,
                None if self.free => self.looks > MOST_FREE_LOOKS,
                None => self.looks > begin + ONE_COST,
            };
            if enough {
                break;
            }
            next += 1;
            let mut end = self.round(disk);
            if end.is_none() {
                end = self.look(disk, &mut dear);
            }
            if end.is_some() {
                if let Some((link, _)) = dear {
                    self.give_back(link.to);
                }
                return (end, next);
            }
        }
        (dear.map(|(link, _)| End::Move(link)), next)
    }

    /// Looks through the buckets of a disk for an end; what costs one more goes to `dear`, if nothing is there yet.
    fn look(&mut self, disk: u32, dear: &mut Option<(Link, u64)>) -> Option<End> {
        let mut draw = Draw::new(disk.into());
        let mut walk = self.lists.walk(disk);
        while let Some(bucket) = walk.next(&self.lists) {
            self.looks += 1;
            if !self.draft.has(bucket, disk) {
                continue;
            }
            let held = self.draft.holds(bucket, disk);
            let link = |to: u32| Link {
                from: disk,
                bucket,
                to,
            };
            if held && let Some(to) = self.return_to(bucket, disk) {
                return Some(End::Move(link(to)));
            }
            if held && (self.free || dear.is_some()) {
                continue;
            }
            let to = straight(self.draft, self.room, bucket, disk, &mut draw);
            match to.map(link) {
                Some(link) if held => {
                    self.lists.keep(&walk);
                    *dear = Some((link, self.looks));
                }
                Some(link) => return Some(End::Move(link)),
                None if held => {}
                None => self
                    .reach
                    .extend(self.draft, Via { from: disk, bucket }, false),
            }
        }
        None
    }

    /// Reaches what costs one more than the first of the disks at hand.
    fn far(&mut self, done: usize) {
        for index in 0..done {
            let disk = self.reach.near[index];
            let mut walk = self.lists.walk(disk);
            while let Some(bucket) = walk.next(&self.lists) {
                if self.reach.open_domains.is_empty() {
                    return;
                }
                self.looks += 1;
                if self.draft.has(bucket, disk) && self.draft.holds(bucket, disk) {
                    self.reach
                        .extend(self.draft, Via { from: disk, bucket }, true);
                }
            }
        }
    }

    /// Reaches what the disk gets to by rounding its own share up and another's down.
    fn round(&mut self, disk: u32) -> Option<End> {
        if self.reach.rounded || !self.targets.can_rise(&self.draft.disks, disk) {
            return None;
        }
        self.reach.rounded = true;
        for other in self.draft.disks.all() {
            if self.targets.can_fall(other) && !self.reach.is_reached(other) {
                let via = Via {
                    from: disk,
                    bucket: NONE,
                };
                self.reach.reach(other, via, false);
                if self.room.of_disk(other) > 0 {
                    self.room.take_on(other, self.draft.disks.domain(other));
                    return Some(End::Here(other));
                }
            }
        }
        None
    }

    /// Reaches the disks that hold the bucket now, though the draft has it elsewhere: it costs nothing to leave it there.
    fn return_to(&mut self, bucket: u32, from: u32) -> Option<u32> {
        if let Some(to) = back(self.draft, self.room, bucket, from) {
            return Some(to);
        }
        for &to in self.draft.held.of(bucket) {
            let is_known = (to as usize) < self.draft.disks.len();
            if is_known && !self.reach.is_reached(to) && self.draft.may_move(bucket, from, to) {
                self.reach.reach(to, Via { from, bucket }, false);
            }
        }
        None
    }

    fn give_back(&mut self, disk: u32) {
        self.room.give_back(disk, self.draft.disks.domain(disk));
    }

    /// Goes the chain. False, and nothing done, if one of its moves makes another impossible.
    fn go(&mut self, end: &End) -> bool {
        let (last, mut at) = match *end {
            End::Move(link) => (Some(link), link.from),
            End::Here(disk) => (None, disk),
        };
        let mut links: Vec<Link> = last.into_iter().collect();
        while self.reach.via[at as usize].from != NONE {
            let Via { from, bucket } = self.reach.via[at as usize];
            links.push(Link {
                from,
                bucket,
                to: at,
            });
            at = from;
        }
        links.reverse();
        let end = links[links.len() - 1].to;
        while let Some((early, late)) = clash(self.draft, &links) {
            let link = short_cut(links[early], links[late]);
            links.splice(early..=late, [link]);
        }
        let went = make(self.draft, self.targets, &links);
        if went {
            for link in links.iter().filter(|link| link.bucket != NONE) {
                self.lists.add(link.to, link.bucket);
            }
        } else {
            self.give_back(end);
        }
        went
    }
}
