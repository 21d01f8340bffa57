//! The index in memory: which version of each block counts, and where it lies.
//!
//! It changes only by what is durable. It knows locations but not segments: what it no longer
//! refers to is handed to the caller, who clears the bitmaps.

pub mod chunk;
pub mod layer;
pub mod retention;
#[cfg(test)]
mod tests;

use crate::format::Place;
use chunk::Chunk;
use layer::Piece;
pub use moraine_model::Share;
use moraine_model::{BlockRange, Cut, VolumeId};
use retention::Retention;
use std::collections::BTreeMap;
use std::ops::RangeBounds;

/// What the index holds of one share.
#[derive(Debug, Clone, Default)]
pub struct ShareIndex {
    /// Its chunks by number.
    pub chunks: BTreeMap<u32, Chunk>,
    /// Who reads what.
    pub retention: Retention,
}

/// All shares of a shard.
#[derive(Debug, Default)]
pub struct Index {
    shares: BTreeMap<Share, ShareIndex>,
    /// Where the blocks that a clone never wrote are read: the parent's volume and cut.
    parents: BTreeMap<Share, (VolumeId, Cut)>,
}

impl Index {
    /// The volume and cut that a clone reads through to.
    pub fn parent(&self, child: Share) -> Option<(VolumeId, Cut)> {
        self.parents.get(&child).copied()
    }

    /// The clones that read through to a share.
    pub fn children(&self, share: Share) -> impl Iterator<Item = Share> {
        let of_bucket = self.parents.iter().filter(move |(child, (parent, _))| {
            child.bucket == share.bucket && *parent == share.volume
        });
        of_bucket.map(|(child, _)| *child)
    }

    /// A clone begins to read through to a share.
    pub fn add_reference(&mut self, share: Share, cut: Cut, child: VolumeId) {
        self.share_mut(share).retention.add_reference(cut, child);
        self.parents.insert(
            Share {
                volume: child,
                ..share
            },
            (share.volume, cut),
        );
    }

    /// A clone no longer does. It may read through another one since.
    pub fn remove_reference(&mut self, share: Share, cut: Cut, child: VolumeId) {
        self.share_mut(share).retention.remove_reference(cut, child);
        let child = Share {
            volume: child,
            ..share
        };
        if self.parent(child) == Some((share.volume, cut)) {
            self.parents.remove(&child);
        }
    }

    /// A share, if the store knows it.
    pub fn share(&self, share: Share) -> Option<&ShareIndex> {
        self.shares.get(&share)
    }

    /// A share, made if need be.
    pub fn share_mut(&mut self, share: Share) -> &mut ShareIndex {
        self.shares.entry(share).or_default()
    }

    /// All shares.
    pub fn shares(&self) -> impl Iterator<Item = (&Share, &ShareIndex)> {
        self.shares.iter()
    }

    /// The chunk at a place.
    pub fn chunk(&self, place: Place) -> Option<&Chunk> {
        self.shares
            .get(&place.share())?
            .chunks
            .get(&place.chunk.get())
    }

    /// The chunk at a place, to change; none is made.
    pub fn chunk_mut(&mut self, place: Place) -> Option<&mut Chunk> {
        self.shares
            .get_mut(&place.share())?
            .chunks
            .get_mut(&place.chunk.get())
    }

    /// Puts a version in. `freed` gets what it covers and what nobody can read any more.
    pub fn insert(
        &mut self,
        place: Place,
        cut: Cut,
        piece: Piece<'_>,
        mut freed: impl FnMut(&Piece<'_>),
    ) {
        let share = self.shares.entry(place.share()).or_default();
        let chunk = share.chunks.entry(place.chunk.get()).or_default();
        chunk.insert(cut, piece, &mut freed);
        chunk.collect(piece.range, &share.retention, freed);
        if chunk.is_empty() {
            share.chunks.remove(&place.chunk.get());
        }
    }

    /// Takes out what the layers of some cuts say of some blocks.
    pub fn take_away(
        &mut self,
        place: Place,
        range: BlockRange,
        cuts: impl RangeBounds<Cut>,
        freed: impl FnMut(&Piece<'_>),
    ) {
        let Some(share) = self.shares.get_mut(&place.share()) else {
            return;
        };
        let Some(chunk) = share.chunks.get_mut(&place.chunk.get()) else {
            return;
        };
        chunk.take_away(range, cuts, freed);
        if chunk.is_empty() {
            share.chunks.remove(&place.chunk.get());
        }
    }

    /// Looks through a whole share for versions that nobody can read any more.
    pub fn collect(&mut self, share: Share, mut freed: impl FnMut(&Piece<'_>)) {
        let Some(share) = self.shares.get_mut(&share) else {
            return;
        };
        let ShareIndex {
            chunks, retention, ..
        } = share;
        chunks.retain(|_, chunk| {
            chunk.collect(BlockRange::WHOLE_CHUNK, retention, &mut freed);
            !chunk.is_empty()
        });
    }

    /// Forgets a share with all that is known of it, the names of its clones too.
    pub fn drop_share(&mut self, share: Share, mut freed: impl FnMut(&Piece<'_>)) {
        if let Some(mut dropped) = self.shares.remove(&share) {
            for chunk in dropped.chunks.values_mut() {
                chunk.clear(&mut freed);
            }
        }
        self.parents
            .retain(|child, (parent, _)| child.bucket != share.bucket || *parent != share.volume);
    }

    /// Bytes of memory that the chunks take, without the trees around them.
    pub fn memory_bytes(&self) -> usize {
        let chunks = self.shares.values().flat_map(|share| share.chunks.values());
        chunks
            .map(|chunk| size_of::<Chunk>() + chunk.memory_bytes())
            .sum()
    }
}
