//! What a recovered shard knows, for offline tools: where its blocks lie and who reads through whom.
//!
//! Answers from memory; nothing here changes anything or reads the disk.

use super::Shard;
use crate::bitmap::Bitmap;
use crate::disk::Disk;
use crate::format::{Place, Superblock};
use crate::index::Share;
use crate::index::chunk::Chunk;
use crate::index::layer::Piece;
use moraine_model::{Cut, VolumeId};

impl<D: Disk> Shard<D> {
    /// The superblock of its disk.
    pub fn superblock(&self) -> Superblock {
        self.segments.superblock
    }

    /// Which shard of the disk it is.
    pub fn number(&self) -> u32 {
        self.segments.shard
    }

    /// Which blocks of a segment the index refers to; `None` if the shard does not have it, or had
    /// it and found nothing in it.
    pub fn live(&self, segment: u32) -> Option<&Bitmap> {
        self.segments.get(segment).map(|segment| &segment.bitmap)
    }

    /// All that a chunk consists of, layer by layer, with where it lies: holes too.
    pub fn pieces(&self, place: Place) -> impl Iterator<Item = (Cut, Piece<'_>)> {
        let layers = self.index.chunk(place).into_iter().flat_map(Chunk::layers);
        layers.flat_map(|(cut, layer)| layer.all().map(move |piece| (cut, piece)))
    }

    /// The cuts with which the blocks of a share were written, in order.
    pub fn cuts(&self, share: Share) -> Vec<Cut> {
        let chunks = self.index.share(share).map(|share| share.chunks.values());
        let layers = chunks.into_iter().flatten().flat_map(Chunk::layers);
        let mut cuts: Vec<Cut> = layers.map(|(cut, _)| cut).collect();
        cuts.sort_unstable();
        cuts.dedup();
        cuts
    }

    /// The volume and cut that a clone reads through to where it has nothing of its own.
    pub fn parent(&self, child: Share) -> Option<(VolumeId, Cut)> {
        self.index.parent(child)
    }

    /// The clones that read through to a parent, each with its bucket.
    pub fn clones(&self) -> impl Iterator<Item = Share> {
        let shares = self.index.shares();
        let references = shares.flat_map(|(share, known)| {
            let bucket = share.bucket;
            let children = known.retention.references();
            children.map(move |(_, volume)| Share { volume, bucket })
        });
        references.filter(|child| self.index.parent(*child).is_some())
    }
}
