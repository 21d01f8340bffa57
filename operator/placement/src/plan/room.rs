//! Room that disks have below their targets, and the drawing of places in it.

use super::disks::{Disks, Domains, NONE, narrow};
use super::shares::Targets;
use crate::draw::Draw;

/// Draws by weight that may miss before the domains with room are gone through one by one.
const TRIES: usize = 4;

/// So many domains are gone through each time.
const FEW: usize = 16;

/// The room of all disks.
pub(super) struct Room {
    /// How many more each disk should have.
    lacks: Vec<u32>,
    /// How many more each domain should have.
    domain_lacks: Vec<u32>,
    /// The disks by domain; those with room come first in theirs.
    order: Vec<u32>,
    /// Where each disk stands in `order`.
    at: Vec<u32>,
    /// Where each domain begins in `order`.
    starts: Vec<u32>,
    /// Disks with room in each domain.
    open: Vec<u32>,
    /// Domains with room, and where each of them stands in the list.
    open_domains: Vec<u32>,
    domain_at: Vec<u32>,
    /// A domain for each replica that there was room for at first: draws from it go by size.
    by_size: Vec<u32>,
}

impl Room {
    pub(super) fn new(disks: &Disks, counts: &[u32], targets: &Targets) -> Self {
        let count = disks.domain_count();
        let mut room = Self {
            lacks: vec![0; disks.len()],
            domain_lacks: vec![0; count],
            order: Vec::new(),
            at: vec![NONE; disks.len()],
            starts: Vec::with_capacity(count),
            open: vec![0; count],
            open_domains: Vec::new(),
            domain_at: vec![NONE; count],
            by_size: Vec::new(),
        };
        for domain in 0..narrow(count) {
            room.starts.push(narrow(room.order.len()));
            for &disk in disks
                .members(domain)
                .iter()
                .filter(|disk| disks.stays(**disk))
            {
                let at = disk as usize;
                let lacks = targets.target[at].saturating_sub(counts[at]);
                if lacks > 0 && disks.takes[at] {
                    room.lacks[at] = lacks;
                    room.at[at] = narrow(room.order.len());
                    room.order.push(disk);
                    room.open[domain as usize] += 1;
                    room.domain_lacks[domain as usize] += lacks;
                    let size = room.by_size.len() + lacks as usize;
                    room.by_size.resize(size, domain);
                }
            }
            if room.open[domain as usize] > 0 {
                room.domain_at[domain as usize] = narrow(room.open_domains.len());
                room.open_domains.push(domain);
            }
        }
        room
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open_domains.is_empty()
    }

    /// The domains with room.
    pub(super) fn open_domains(&self) -> &[u32] {
        &self.open_domains
    }

    /// How many more replicas a domain should have.
    pub(super) fn of_domain(&self, domain: u32) -> u32 {
        self.domain_lacks[domain as usize]
    }

    /// How many more replicas a disk should have.
    pub(super) fn of_disk(&self, disk: u32) -> u32 {
        self.lacks[disk as usize]
    }

    /// A domain with room that isn't barred: as a rule by its size, in the end any.
    pub(super) fn domain(&self, barred: &Domains, draw: &mut Draw) -> Option<u32> {
        if self.is_empty() {
            return None;
        }
        let is_good = |domain: u32| self.of_domain(domain) > 0 && !barred.contains(domain);
        for _ in 0..TRIES {
            let domain = self.by_size[draw.below(self.by_size.len())];
            if is_good(domain) {
                return Some(domain);
            }
        }
        // At most as many as are barred are looked at in vain.
        let (before, after) = self
            .open_domains
            .split_at(draw.below(self.open_domains.len()));
        let mut all = after.iter().chain(before).copied();
        all.find(|domain| !barred.contains(*domain))
    }

    /// The domain with the most room that isn't barred, where domains are few: so all of them have some to the end, and
    /// nothing has to go a long way for the last of it. Where they are many, as in [`Self::domain`].
    pub(super) fn largest(&self, barred: &Domains, draw: &mut Draw) -> Option<u32> {
        if self.open_domains.len() > FEW {
            return self.domain(barred, draw);
        }
        let open = self.open_domains.iter().copied();
        let allowed = open.filter(|domain| !barred.contains(*domain));
        allowed.max_by_key(|domain| (self.of_domain(*domain), *domain))
    }

    /// Takes room for one replica on a disk of the domain, which isn't one of `except`.
    pub(super) fn take(&mut self, domain: u32, except: &[u32], draw: &mut Draw) -> Option<u32> {
        let start = self.starts[domain as usize] as usize;
        let open = &self.order[start..start + self.open[domain as usize] as usize];
        let (before, after) = open.split_at(draw.below(open.len()));
        let mut all = after.iter().chain(before).copied();
        let disk = all.find(|disk| !except.contains(disk))?;
        self.take_on(disk, domain);
        Some(disk)
    }

    /// Takes room for one replica on this disk.
    pub(super) fn take_on(&mut self, disk: u32, domain: u32) {
        assert!(
            self.lacks[disk as usize] > 0,
            "only what is there can be taken of a disk's room"
        );
        self.lacks[disk as usize] -= 1;
        self.domain_lacks[domain as usize] -= 1;
        if self.lacks[disk as usize] > 0 {
            return;
        }
        self.open[domain as usize] -= 1;
        let last = self.starts[domain as usize] + self.open[domain as usize];
        let at = self.at[disk as usize];
        let moved = self.order[last as usize];
        self.order.swap(at as usize, last as usize);
        self.at[moved as usize] = at;
        self.at[disk as usize] = last;
        if self.open[domain as usize] == 0 {
            let at = self.domain_at[domain as usize];
            self.open_domains.swap_remove(at as usize);
            if let Some(&moved) = self.open_domains.get(at as usize) {
                self.domain_at[moved as usize] = at;
            }
        }
    }

    /// Gives back the room that was taken on this disk last.
    pub(super) fn give_back(&mut self, disk: u32, domain: u32) {
        self.lacks[disk as usize] += 1;
        self.domain_lacks[domain as usize] += 1;
        if self.lacks[disk as usize] > 1 {
            return;
        }
        if self.open[domain as usize] == 0 {
            self.domain_at[domain as usize] = narrow(self.open_domains.len());
            self.open_domains.push(domain);
        }
        let first = self.starts[domain as usize] + self.open[domain as usize];
        self.open[domain as usize] += 1;
        let at = self.at[disk as usize];
        let moved = self.order[first as usize];
        self.order.swap(at as usize, first as usize);
        self.at[moved as usize] = at;
        self.at[disk as usize] = first;
    }
}
