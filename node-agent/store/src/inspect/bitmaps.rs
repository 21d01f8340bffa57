//! Whether a bitmap on the disk calls a block dead that is live: recovery would skip it, and a
//! reader would see an older version, or none.
//!
//! The proof is a recovery that ignores the bitmaps. It must come to the same versions as one that
//! trusts them, because whatever is dead has a newer version, a record or a hole that says so
//! (`docs/format.md`, "A hole reaches down"). Two steps, so that two indexes are never in memory at
//! once: suspects from the one, and the verdict on them from the other.

use super::SegmentHead;
use crate::bitmap::Bitmap;
use crate::disk::Disk;
use crate::format::{Place, SegmentState, Tag};
use crate::index::layer::PieceKind;
use crate::shard::Shard;
use moraine_model::Stamp;
use std::collections::BTreeMap;

/// A live block that its bitmap calls dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspect {
    /// The chunk that it belongs to.
    pub place: Place,
    /// The block within it.
    pub block: u16,
    /// Which version of it.
    pub tag: Tag,
    /// Where it lies on the disk.
    pub location: u32,
}

/// What a suspect turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Compaction made a copy of it, and that one is found.
    Copied,
    /// It is found all the same, since other blocks of its entry are live in the bitmap.
    Found,
    /// It is lost to a recovery that trusts the bitmap.
    Lost,
}

/// The live blocks of a shard, recovered with bitmaps ignored, that a bitmap calls dead.
pub fn suspects<D: Disk>(shard: &Shard<D>, heads: &[SegmentHead]) -> Vec<Suspect> {
    let layout = shard.superblock().layout;
    // Only the bitmap of a closed extent counts.
    let closed = heads.iter().filter(|segment| {
        let head = segment.newest();
        head.is_some_and(|head| head.state == SegmentState::Closed)
    });
    let bitmaps: BTreeMap<u32, Bitmap> = closed
        .filter_map(|segment| Some((segment.number, Bitmap::decode(segment.bitmap()?))))
        .collect();
    let mut suspects = Vec::new();
    for place in places(shard) {
        for (cut, piece) in shard.pieces(place) {
            let (segment, position) = layout.split(piece.location);
            let Some(bitmap) = bitmaps.get(&segment) else {
                continue;
            };
            if piece.kind != PieceKind::Data {
                continue;
            }
            for (nth, block) in (0_u32..).zip(piece.range.blocks()) {
                if !bitmap.is_live(position + nth) {
                    suspects.push(Suspect {
                        place,
                        block,
                        tag: piece.tag(cut),
                        location: piece.location + nth,
                    });
                }
            }
        }
    }
    suspects
}

/// What became of a suspect in the same shard, recovered with bitmaps trusted.
pub fn verdict<D: Disk>(shard: &Shard<D>, suspect: &Suspect) -> Verdict {
    for (cut, piece) in shard.pieces(suspect.place) {
        let same = piece.kind == PieceKind::Data
            && piece.tag(cut) == suspect.tag
            && piece.range.contains(suspect.block);
        if same {
            let skip = u32::from(suspect.block - piece.range.first());
            return if piece.location + skip == suspect.location {
                Verdict::Found
            } else {
                Verdict::Copied
            };
        }
    }
    Verdict::Lost
}

fn places<D: Disk>(shard: &Shard<D>) -> impl Iterator<Item = Place> {
    shard.shares().flat_map(|share| {
        let chunks = shard.chunks_above(share, Stamp::ZERO);
        chunks.into_iter().map(move |chunk| Place {
            volume: share.volume,
            bucket: share.bucket,
            chunk: chunk.chunk,
        })
    })
}
