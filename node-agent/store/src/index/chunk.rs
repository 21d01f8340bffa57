//! One chunk in memory: its layers by cut, oldest first.
//!
//! A layer holds only what was written with its cut; what is older shows through. So a block's
//! data has exactly one owner, and the difference of two cuts is what the layers between them say.

use super::layer::{Layer, Piece, PieceKind};
use super::retention::Retention;
use moraine_model::{BlockRange, Cut, Stamp};
use std::ops::RangeBounds;

/// The layers of a chunk.
#[derive(Debug, Clone, Default)]
pub struct Chunk {
    layers: Vec<(Cut, Layer)>,
}

/// What a read finds.
#[derive(Debug, Default)]
pub struct Found<'a> {
    /// Data and zeros with the cut that they were written with, in no order.
    pub pieces: Vec<(Cut, Piece<'a>)>,
    /// Blocks of which no layer says anything.
    pub missing: Vec<BlockRange>,
}

impl Chunk {
    /// Whether no layer says anything.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// The layers, oldest first.
    pub fn layers(&self) -> impl Iterator<Item = (Cut, &Layer)> {
        self.layers.iter().map(|(cut, layer)| (*cut, layer))
    }

    /// The layer of a cut.
    pub fn layer(&self, cut: Cut) -> Option<&Layer> {
        let at = self.position(cut).ok()?;
        self.layers.get(at).map(|(_, layer)| layer)
    }

    /// The layer of a cut, to change.
    pub fn layer_mut(&mut self, cut: Cut) -> Option<&mut Layer> {
        let at = self.position(cut).ok()?;
        self.layers.get_mut(at).map(|(_, layer)| layer)
    }

    fn position(&self, cut: Cut) -> Result<usize, usize> {
        self.layers.binary_search_by_key(&cut, |(cut, _)| *cut)
    }

    /// Puts a version in, and hands what it covers in its own layer to `displaced`.
    pub fn insert(&mut self, cut: Cut, piece: Piece<'_>, displaced: impl FnMut(&Piece<'_>)) {
        let at = self.layer_at(cut);
        self.layers[at].1.insert(piece, displaced);
    }

    /// Makes room in the layer of a cut for so many runs that are to be put in.
    pub fn reserve(&mut self, cut: Cut, runs: usize) {
        if runs > 0 {
            let at = self.layer_at(cut);
            self.layers[at].1.reserve(runs);
        }
    }

    /// Puts a version in behind all others of its layer.
    pub fn push(&mut self, cut: Cut, piece: Piece<'_>) {
        let at = self.layer_at(cut);
        self.layers[at].1.push(piece);
    }

    fn layer_at(&mut self, cut: Cut) -> usize {
        self.position(cut).unwrap_or_else(|at| {
            self.layers.reserve_exact(1);
            self.layers.insert(at, (cut, Layer::default()));
            at
        })
    }

    /// Takes out what the layers of some cuts say of `range`.
    pub fn take_away(
        &mut self,
        range: BlockRange,
        cuts: impl RangeBounds<Cut>,
        mut freed: impl FnMut(&Piece<'_>),
    ) {
        let layers = self.layers.iter_mut();
        for (_, layer) in layers.filter(|(cut, _)| cuts.contains(cut)) {
            layer.remove(range, &mut freed);
        }
        self.layers.retain(|(_, layer)| !layer.is_empty());
    }

    /// What a reader of `range` at cut `at` finds; `None` reads the head.
    pub fn find(&self, range: BlockRange, at: Option<Cut>) -> Found<'_> {
        let mut found = Found {
            pieces: Vec::new(),
            missing: vec![range],
        };
        for (cut, layer) in self.layers.iter().rev() {
            if at.is_some_and(|at| *cut > at) {
                continue;
            }
            if found.missing.is_empty() {
                break;
            }
            let mut still = Vec::new();
            for gap in std::mem::take(&mut found.missing) {
                let mut next = gap.first();
                for piece in layer
                    .pieces(gap)
                    .filter(|piece| piece.kind != PieceKind::Hole)
                {
                    still.extend(BlockRange::between(next, piece.range.first()));
                    next = piece.range.end();
                    found.pieces.push((*cut, piece));
                }
                still.extend(BlockRange::between(next, gap.end()));
            }
            found.missing = still;
        }
        found
    }

    /// The newest stamp of any version, [`Stamp::ZERO`] if there is none.
    pub fn newest(&self) -> Stamp {
        let pieces = self.layers.iter().flat_map(|(_, layer)| layer.all());
        let versions = pieces.filter(|piece| piece.kind != PieceKind::Hole);
        versions
            .map(|piece| piece.stamp)
            .max()
            .unwrap_or(Stamp::ZERO)
    }

    /// Takes out versions within `range` that nobody can read any more, and hands them to `freed`.
    pub fn collect(
        &mut self,
        range: BlockRange,
        retention: &Retention,
        mut freed: impl FnMut(&Piece<'_>),
    ) {
        if self.layers.len() == 1 && retention.head_is_read() {
            return;
        }
        // From the newest layer down: what lies above each block, as runs of "next cut".
        let mut above: Vec<Option<Cut>> = vec![None; usize::from(range.count())];
        for (cut, layer) in self.layers.iter_mut().rev() {
            let mut dead: Vec<BlockRange> = Vec::new();
            for piece in layer
                .pieces(range)
                .filter(|piece| piece.kind != PieceKind::Hole)
            {
                for block in piece.range.blocks() {
                    let next = &mut above[usize::from(block - range.first())];
                    if retention.anyone_reads(*cut, *next) {
                        *next = Some(*cut);
                    } else {
                        extend(&mut dead, block);
                    }
                }
            }
            for range in dead {
                layer.remove(range, &mut freed);
            }
        }
        self.layers.retain(|(_, layer)| !layer.is_empty());
    }

    /// Hands every version to `freed`, and forgets them.
    pub fn clear(&mut self, mut freed: impl FnMut(&Piece<'_>)) {
        for (_, layer) in self.layers.drain(..) {
            for piece in layer.all() {
                freed(&piece);
            }
        }
    }

    /// Bytes of memory that its layers take.
    pub fn memory_bytes(&self) -> usize {
        let layers: usize = self
            .layers
            .iter()
            .map(|(_, layer)| layer.memory_bytes())
            .sum();
        layers + self.layers.capacity() * size_of::<(Cut, Layer)>()
    }
}

/// Adds a block to ranges that are built in order.
fn extend(ranges: &mut Vec<BlockRange>, block: u16) {
    if let Some(last) = ranges.last_mut()
        && last.end() == block
        && let Ok(longer) = BlockRange::new(last.first(), last.count() + 1)
    {
        *last = longer;
    } else if let Ok(single) = BlockRange::new(block, 1) {
        ranges.push(single);
    }
}
