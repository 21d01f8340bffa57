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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Disk, Held};
    use crate::plan::disks::Disks;

    #[test]
    fn moves_that_bring_a_bucket_twice_into_a_domain_become_one() {
        let disk = |domain| Disk {
            domain: Some(domain),
            weight: 1,
            takes: true,
        };
        // Bucket 0 lies on disks 0 and 1; disks 2 and 3 are in one domain.
        let disks = [disk(0), disk(1), disk(2), disk(2)];
        let held = Held::new([[0, 1]]).unwrap();
        let mut draft = Draft::new(Disks::new(&disks), &held, 2);
        draft.set_slots(0, 2);
        draft.put(0, 0);
        draft.put(0, 1);
        let mut targets = crate::plan::shares::targets(&draft);
        let link = |from, bucket, to| Link { from, bucket, to };
        let links = [link(0, 0, 2), link(2, NONE, 1), link(1, 0, 3)];
        assert_eq!(clash(&draft, &links), Some((0, 2)));
        assert_eq!(clash(&draft, &links[..2]), None);
        let counts = targets.target.clone();
        assert!(!make(&mut draft, &mut targets, &links));
        assert_eq!((draft.of(0), &targets.target), (&[0, 1][..], &counts));
        let one = short_cut(links[0], links[2]);
        assert_eq!((one.from, one.bucket, one.to), (0, 0, 3));
        assert!(make(&mut draft, &mut targets, &[one]));
        assert_eq!(draft.of(0), [3, 1]);
    }
}
