//! Who may touch which blocks now: writers alone, readers together, everyone in the order in which
//! he came. So overlapping writes are in flight one after another, a read waits for a write in
//! flight, and a write for a read: otherwise the read could return what a new map then rolls back.
//!
//! It is about blocks and keys; what is done with them is no subject here.

use moraine_model::{BlockRange, ChunkIndex};
use std::collections::{BTreeMap, VecDeque};

/// Whether others may touch the blocks too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Readers may.
    Read,
    /// Nobody may.
    Write,
}

#[derive(Debug, Clone, Copy)]
struct Claim {
    key: usize,
    range: BlockRange,
    access: Access,
}

impl Claim {
    fn excludes(&self, other: &Self) -> bool {
        (self.access == Access::Write || other.access == Access::Write)
            && self.range.overlaps(other.range)
    }
}

/// The claims on one chunk.
#[derive(Debug, Default)]
struct Claims {
    held: Vec<Claim>,
    waiting: VecDeque<Claim>,
}

/// All claims.
#[derive(Debug, Default)]
pub(crate) struct Ranges {
    chunks: BTreeMap<ChunkIndex, Claims>,
}

impl Ranges {
    /// Claims blocks. Returns whether they are held at once; if not, a later release says so.
    pub(crate) fn claim(
        &mut self,
        chunk: ChunkIndex,
        range: BlockRange,
        access: Access,
        key: usize,
    ) -> bool {
        let claims = self.chunks.entry(chunk).or_default();
        let claim = Claim { key, range, access };
        let mut before = claims.held.iter().chain(&claims.waiting);
        let waits = before.any(|other| other.excludes(&claim));
        if waits {
            claims.waiting.push_back(claim);
        } else {
            claims.held.push(claim);
        }
        !waits
    }

    /// Gives blocks back, or stops waiting for them. Returns the keys that hold theirs now.
    pub(crate) fn release(&mut self, chunk: ChunkIndex, key: usize) -> Vec<usize> {
        let claims = self.chunks.get_mut(&chunk);
        let claims = claims.expect("who releases has claimed");
        if let Some(at) = claims.held.iter().position(|claim| claim.key == key) {
            claims.held.swap_remove(at);
        } else {
            let at = claims.waiting.iter().position(|claim| claim.key == key);
            claims.waiting.remove(at.expect("who releases has claimed"));
        }
        let mut granted = Vec::new();
        let mut at = 0;
        while at < claims.waiting.len() {
            let claim = claims.waiting[at];
            let mut before = claims.held.iter().chain(claims.waiting.iter().take(at));
            if before.any(|other| other.excludes(&claim)) {
                at += 1;
            } else {
                claims.waiting.remove(at);
                claims.held.push(claim);
                granted.push(claim.key);
            }
        }
        if claims.held.is_empty() {
            self.chunks.remove(&chunk);
        }
        granted
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.chunks.clear();
    }

    /// Whether nothing is claimed.
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: fn() -> ChunkIndex = || ChunkIndex::new(3).unwrap();

    fn range(first: u16, count: u16) -> BlockRange {
        BlockRange::new(first, count).unwrap()
    }

    #[test]
    fn overlapping_writes_go_one_after_another_and_others_together() {
        let mut ranges = Ranges::default();
        assert!(ranges.claim(CHUNK(), range(0, 4), Access::Write, 1));
        assert!(ranges.claim(CHUNK(), range(4, 4), Access::Write, 2));
        assert!(!ranges.claim(CHUNK(), range(3, 2), Access::Write, 3));
        assert!(ranges.release(CHUNK(), 1).is_empty());
        assert_eq!(ranges.release(CHUNK(), 2), [3]);
        assert!(ranges.release(CHUNK(), 3).is_empty());
        assert!(ranges.is_empty());
    }

    #[test]
    fn readers_share_but_do_not_pass_a_writer_that_waits() {
        let mut ranges = Ranges::default();
        assert!(ranges.claim(CHUNK(), range(0, 8), Access::Read, 1));
        assert!(ranges.claim(CHUNK(), range(0, 8), Access::Read, 2));
        assert!(!ranges.claim(CHUNK(), range(2, 1), Access::Write, 3));
        assert!(!ranges.claim(CHUNK(), range(0, 8), Access::Read, 4));
        assert!(
            ranges.claim(CHUNK(), range(3, 5), Access::Read, 5),
            "no overlap"
        );
        assert!(ranges.release(CHUNK(), 1).is_empty());
        assert_eq!(ranges.release(CHUNK(), 2), [3]);
        assert_eq!(ranges.release(CHUNK(), 3), [4]);
    }

    #[test]
    fn one_that_stops_waiting_lets_the_next_pass() {
        let mut ranges = Ranges::default();
        assert!(ranges.claim(CHUNK(), range(0, 2), Access::Read, 1));
        assert!(!ranges.claim(CHUNK(), range(0, 2), Access::Write, 2));
        assert!(!ranges.claim(CHUNK(), range(0, 2), Access::Read, 3));
        assert_eq!(ranges.release(CHUNK(), 2), [3]);
    }
}
