//! A piece: some blocks of one version, as the index takes and gives them. How a layer keeps them is
//! its own affair.

use crate::format::{BlockEntry, BlockKind, Layout, Tag};
use moraine_model::{BlockRange, Cut, Epoch, Stamp};
use std::ops::Deref;

/// What a run of blocks is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceKind {
    /// Data at a location.
    Data,
    /// Zeros; the location is that of the entry's segment.
    Zero,
    /// Nothing in this layer; the location is that of the entry's segment.
    Hole,
}

/// Some blocks of one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Which blocks.
    pub range: BlockRange,
    /// What they are.
    pub kind: PieceKind,
    /// Location of the first block of data, or of the segment that says zero or hole.
    pub location: u32,
    /// The write that made it.
    pub stamp: Stamp,
    /// The epoch under which it was written here.
    pub epoch: Epoch,
    /// The checksum of each block of data.
    pub checksums: Sums<'a>,
}

/// The checksums of a piece. A run keeps that of a single block where no reference can point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sums<'a> {
    /// That of one block.
    One(u32),
    /// Those of several, or none.
    Many(&'a [u32]),
}

impl Sums<'_> {
    /// Of what is no data.
    pub const NONE: Self = Self::Many(&[]);
}

impl<'a> From<&'a [u32]> for Sums<'a> {
    fn from(sums: &'a [u32]) -> Self {
        match sums {
            [sum] => Self::One(*sum),
            _ => Self::Many(sums),
        }
    }
}

impl Deref for Sums<'_> {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        match self {
            Self::One(sum) => std::slice::from_ref(sum),
            Self::Many(sums) => sums,
        }
    }
}

impl<'a> Piece<'a> {
    /// What an entry in a segment says, all of it.
    pub(crate) fn of(entry: &'a BlockEntry, segment: u32, layout: Layout) -> Self {
        let metadata = layout.first_block(segment);
        let (kind, location, checksums) = match &entry.kind {
            BlockKind::Data {
                position,
                checksums,
            } => {
                let location = layout.location(segment, *position);
                (PieceKind::Data, location, Sums::from(&**checksums))
            }
            BlockKind::Zero => (PieceKind::Zero, metadata, Sums::NONE),
            BlockKind::Hole { .. } => (PieceKind::Hole, metadata, Sums::NONE),
        };
        Self {
            range: entry.range,
            kind,
            location,
            stamp: entry.tag.stamp,
            epoch: entry.tag.epoch,
            checksums,
        }
    }

    /// The part of the piece within `range`.
    pub fn within(self, range: BlockRange) -> Option<Piece<'a>> {
        let common = self.range.intersection(range)?;
        let skip = common.first() - self.range.first();
        let end = usize::from(skip + common.count());
        let (location, checksums) = match (self.kind, self.checksums) {
            (PieceKind::Data, Sums::Many(sums)) => (
                self.location + u32::from(skip),
                Sums::from(&sums[usize::from(skip)..end]),
            ),
            // One block can't be cut.
            _ => (self.location, self.checksums),
        };
        Some(Piece {
            range: common,
            location,
            checksums,
            ..self
        })
    }

    /// Stamp, epoch and the given cut together.
    pub fn tag(&self, cut: Cut) -> Tag {
        Tag {
            stamp: self.stamp,
            cut,
            epoch: self.epoch,
        }
    }
}
