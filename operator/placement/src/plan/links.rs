//! Links: moves of one bucket each that hang together, the next giving what the one before took.
//!
//! A chain of links takes from a disk at its beginning and gives to one at its end; a cycle leaves all counts as they are.

use super::disks::NONE;
use super::draft::Draft;
use super::shares::Targets;

/// One move.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) from: u32,
    /// `NONE`: nothing moves, but the share of `from` is rounded up from now on and that of `to` down.
    pub(super) bucket: u32,
    pub(super) to: u32,
}

/// Makes the moves, the last first, so that each disk on the way has given before it takes. False, and nothing done, when
/// one of them makes another impossible.
pub(super) fn make(draft: &mut Draft<'_>, targets: &mut Targets, links: &[Link]) -> bool {
    for (index, link) in links.iter().enumerate().rev() {
        if link.bucket == NONE {
            targets.exchange(link.from, link.to);
        } else if draft.may_move(link.bucket, link.from, link.to) {
            draft.change(link.bucket, link.from, link.to);
        } else {
            for link in &links[index + 1..] {
                if link.bucket == NONE {
                    targets.exchange(link.to, link.from);
                } else {
                    draft.change(link.bucket, link.to, link.from);
                }
            }
            return false;
        }
    }
    true
}

/// Two links that would bring one bucket twice into the same domain, the earlier one first.
pub(super) fn clash(draft: &Draft<'_>, links: &[Link]) -> Option<(usize, usize)> {
    let domain = |link: &Link| draft.disks.domain(link.to);
    (0..links.len()).find_map(|late| {
        let clashes = |early: &usize| {
            let (one, other) = (&links[*early], &links[late]);
            one.bucket != NONE && one.bucket == other.bucket && domain(one) == domain(other)
        };
        (0..late).find(clashes).map(|early| (early, late))
    })
}

/// Of two links that clash, the one that does what both did: from where the first began to where the second ends.
pub(super) fn short_cut(one: Link, other: Link) -> Link {
    Link {
        to: other.to,
        ..one
    }
}
