//! One layer of one chunk in memory: which version each block has, in sorted runs.
//!
//! The budget is 16 bytes for a block that was written alone, with all that is around it, so a run
//! is 15 bytes: it packs block, length, kind and an index into the layer's short list of origins in
//! one word; it keeps the checksum of a single block in itself, and those of longer runs in the
//! layer's pool.

mod piece;

pub use piece::{Piece, PieceKind, Sums};

use moraine_model::{BlockRange, CHUNK_BLOCKS, Epoch, Generation, Stamp};

/// What many runs share: a stamp without the low bits of its sequence, and the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Origin {
    generation: Generation,
    sequence_high: u64,
    epoch: Epoch,
}

/// Packed: a byte for each of a hundred million blocks is worth an unaligned load.
#[derive(Debug, Clone, Copy)]
#[repr(C, packed)]
struct Run {
    /// First block, length - 1 and origin with 10 bits each, kind with 2.
    packed: u32,
    location: u32,
    /// The checksum of a single block, or where those of a longer run start in the pool.
    sums: u32,
    /// The low bits of the sequence, little-endian.
    sequence_low: [u8; 3],
}

/// Bits of a sequence that a run keeps itself. A volume makes many more writes than that, but the
/// newest of one chunk's 1024 blocks rarely are far apart, and each distance costs one origin.
const SEQUENCE_LOW_BITS: u32 = 24;

const FIELD_BITS: u32 = 10;
const FIELD_MASK: u32 = (1 << FIELD_BITS) - 1;
/// Origins that ten bits can name. A chunk has no more runs than blocks, so this is enough.
const ORIGINS_MAX: usize = 1 << FIELD_BITS;

impl Run {
    fn new(range: BlockRange, origin: usize, kind: PieceKind) -> Self {
        let kind = match kind {
            PieceKind::Data => 0,
            PieceKind::Zero => 1,
            PieceKind::Hole => 2,
        };
        let origin = u32::try_from(origin).expect("origins are at most 1024");
        let packed = u32::from(range.first())
            | u32::from(range.count() - 1) << FIELD_BITS
            | origin << (2 * FIELD_BITS)
            | kind << (3 * FIELD_BITS);
        Self {
            packed,
            location: 0,
            sums: 0,
            sequence_low: [0; 3],
        }
    }

    fn first(&self) -> u16 {
        (self.packed & FIELD_MASK) as u16
    }

    fn count(&self) -> u16 {
        (self.packed >> FIELD_BITS & FIELD_MASK) as u16 + 1
    }

    fn end(&self) -> u16 {
        self.first() + self.count()
    }

    fn range(&self) -> BlockRange {
        BlockRange::new(self.first(), self.count()).expect("runs are made from ranges")
    }

    fn origin(&self) -> usize {
        (self.packed >> (2 * FIELD_BITS) & FIELD_MASK) as usize
    }

    fn kind(&self) -> PieceKind {
        match self.packed >> (3 * FIELD_BITS) {
            0 => PieceKind::Data,
            1 => PieceKind::Zero,
            _ => PieceKind::Hole,
        }
    }
}

/// The versions that one chunk has in one layer.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    runs: Vec<Run>,
    origins: Vec<Origin>,
    pool: Vec<u32>,
    /// How many checksums of the pool are in use.
    pool_live: u32,
}

impl Layer {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The pieces that touch `range`, in order, cut to it.
    pub fn pieces(&self, range: BlockRange) -> impl Iterator<Item = Piece<'_>> {
        let start = self.position(range.first());
        let runs = self.runs[start..]
            .iter()
            .take_while(move |run| run.first() < range.end());
        runs.filter_map(move |run| self.piece(run).within(range))
    }

    /// The first run that ends behind a block. In a chunk that was written evenly it lies near where
    /// the block lies among all, so the search begins there and mostly reads one line of memory.
    fn position(&self, block: u16) -> usize {
        let before = |run: &Run| run.end() <= block;
        let guess = self.runs.len() * usize::from(block) / usize::from(CHUNK_BLOCKS);
        let (mut low, mut high) = (0, self.runs.len());
        let mut step = 1;
        if self.runs.get(guess).is_some_and(before) {
            low = guess + 1;
            while let Some(run) = self.runs.get(guess + step) {
                if !before(run) {
                    high = guess + step;
                    break;
                }
                low = guess + step + 1;
                step *= 2;
            }
        } else {
            high = guess;
            while let Some(at) = guess.checked_sub(step) {
                if before(&self.runs[at]) {
                    low = at + 1;
                    break;
                }
                high = at;
                step *= 2;
            }
        }
        low + self.runs[low..high].partition_point(before)
    }

    /// All pieces, in order.
    pub fn all(&self) -> impl Iterator<Item = Piece<'_>> {
        self.runs.iter().map(|run| self.piece(run))
    }

    fn piece<'a>(&'a self, run: &'a Run) -> Piece<'a> {
        let origin = self.origins[run.origin()];
        let checksums = match (run.kind(), run.count()) {
            (PieceKind::Data, 1) => Sums::One(run.sums),
            (PieceKind::Data, count) => {
                let start = run.sums as usize;
                Sums::Many(&self.pool[start..start + usize::from(count)])
            }
            _ => Sums::NONE,
        };
        let [a, b, c] = run.sequence_low;
        let low = u64::from(u32::from_le_bytes([a, b, c, 0]));
        let sequence = origin.sequence_high << SEQUENCE_LOW_BITS | low;
        Piece {
            range: run.range(),
            kind: run.kind(),
            location: run.location,
            stamp: Stamp {
                generation: origin.generation,
                sequence,
            },
            epoch: origin.epoch,
            checksums,
        }
    }

    /// Puts a piece in, and hands what it covers to `displaced`.
    pub fn insert(&mut self, piece: Piece<'_>, mut displaced: impl FnMut(&Piece<'_>)) {
        if self.replace(&piece, &mut displaced) {
            return;
        }
        // What is covered goes first: then fewer runs are left than the chunk has blocks, and the
        // origins in use fit their ten bits with the new one.
        let at = self.cut_out(piece.range, displaced);
        let run = self.run_of(&piece);
        self.make_room(1);
        self.runs.insert(at, run);
        self.tidy();
    }

    /// Puts a piece in behind all others.
    pub fn push(&mut self, piece: Piece<'_>) {
        let behind = self
            .runs
            .last()
            .is_none_or(|run| run.end() <= piece.range.first());
        assert!(behind, "pieces come in order");
        let run = self.run_of(&piece);
        self.runs.push(run);
    }

    /// Overwrites a run of one block in its place, the commonest of all changes.
    fn replace(&mut self, piece: &Piece<'_>, displaced: &mut impl FnMut(&Piece<'_>)) -> bool {
        let (PieceKind::Data, Sums::One(sum)) = (piece.kind, piece.checksums) else {
            return false;
        };
        let at = self.position(piece.range.first());
        let same = |run: &&Run| run.range() == piece.range && run.kind() == PieceKind::Data;
        let Some(run) = self.runs.get(at).filter(same) else {
            return false;
        };
        let origin = self.origins[run.origin()];
        if origin != Origin::of(piece) {
            return false;
        }
        displaced(&self.piece(run));
        let run = &mut self.runs[at];
        run.sequence_low = low_bits(piece.stamp.sequence);
        run.location = piece.location;
        run.sums = sum;
        true
    }

    /// Takes all versions of `range` out, and hands them to `displaced`.
    pub fn remove(&mut self, range: BlockRange, displaced: impl FnMut(&Piece<'_>)) {
        self.cut_out(range, displaced);
        self.tidy();
    }

    /// Takes `range` out and returns where in the runs it was.
    fn cut_out(&mut self, range: BlockRange, mut displaced: impl FnMut(&Piece<'_>)) -> usize {
        let start = self.position(range.first());
        let touched = self.runs[start..].iter();
        let end = start + touched.take_while(|run| run.first() < range.end()).count();
        if start >= end {
            return start;
        }
        for piece in self.pieces(range) {
            displaced(&piece);
        }
        for run in &self.runs[start..end] {
            if run.kind() == PieceKind::Data && run.count() > 1 {
                self.pool_live -= u32::from(run.count());
            }
        }
        // At most two runs stick out: one to the left, one to the right.
        let (left, right) = (self.runs[start], self.runs[end - 1]);
        let left = BlockRange::between(left.first(), range.first())
            .map(|rest| self.shortened(&left, rest));
        let right =
            BlockRange::between(range.end(), right.end()).map(|rest| self.shortened(&right, rest));
        self.make_room(usize::from(left.is_some()) + usize::from(right.is_some()));
        self.runs.splice(start..end, left.into_iter().chain(right));
        start + usize::from(left.is_some())
    }

    /// The rest of a run; its checksums stay where they are in the pool, unless one is left.
    fn shortened(&mut self, run: &Run, rest: BlockRange) -> Run {
        let skip = rest.first() - run.first();
        let mut shorter = Run::new(rest, run.origin(), run.kind());
        shorter.sequence_low = run.sequence_low;
        shorter.location = run.location;
        if run.kind() == PieceKind::Data {
            shorter.location += u32::from(skip);
            let start = run.sums + u32::from(skip);
            if run.count() == 1 {
                shorter.sums = run.sums;
            } else if rest.count() == 1 {
                shorter.sums = self.pool[start as usize];
            } else {
                shorter.sums = start;
                self.pool_live += u32::from(rest.count());
            }
        }
        shorter
    }

    fn run_of(&mut self, piece: &Piece<'_>) -> Run {
        let origin = self.origin_index(Origin::of(piece));
        let mut run = Run::new(piece.range, origin, piece.kind);
        run.sequence_low = low_bits(piece.stamp.sequence);
        run.location = piece.location;
        match (piece.kind, piece.checksums) {
            (PieceKind::Data, Sums::One(sum)) => run.sums = sum,
            (PieceKind::Data, Sums::Many(sums)) => {
                assert_eq!(
                    sums.len(),
                    usize::from(piece.range.count()),
                    "a checksum for each block"
                );
                run.sums = u32::try_from(self.pool.len()).expect("the pool is tidied");
                self.pool.reserve_exact(sums.len());
                self.pool.extend_from_slice(sums);
                self.pool_live += u32::from(piece.range.count());
            }
            _ => {}
        }
        run
    }

    fn origin_index(&mut self, origin: Origin) -> usize {
        // The newest origin is nearly always the one.
        if let Some(index) = self.origins.iter().rposition(|known| *known == origin) {
            return index;
        }
        if self.origins.len() >= ORIGINS_MAX {
            self.drop_unused_origins();
        }
        if self.origins.len() == self.origins.capacity() {
            self.origins.reserve_exact(1 + self.origins.len() / 8);
        }
        self.origins.push(origin);
        self.origins.len() - 1
    }

    fn drop_unused_origins(&mut self) {
        let mut moved = vec![None; self.origins.len()];
        let mut kept = Vec::new();
        for run in &mut self.runs {
            let old = run.origin();
            let new = *moved[old].get_or_insert_with(|| {
                kept.push(self.origins[old]);
                kept.len() - 1
            });
            let new = u32::try_from(new).expect("origins are at most 1024");
            run.packed = run.packed & !(FIELD_MASK << (2 * FIELD_BITS)) | new << (2 * FIELD_BITS);
        }
        self.origins = kept;
    }

    /// Makes room for exactly so many runs more.
    pub fn reserve(&mut self, runs: usize) {
        self.runs.reserve_exact(runs);
    }

    /// Grows in small steps: doubling would break the memory budget, and a chunk is short.
    fn make_room(&mut self, added: usize) {
        let most = usize::from(CHUNK_BLOCKS);
        if self.runs.len() + added > self.runs.capacity() {
            let step = added.max(self.runs.len() / 64);
            let step = step.min(most.saturating_sub(self.runs.len())).max(added);
            self.runs.reserve_exact(step);
        }
    }

    /// Packs the pool when a fifth of it is garbage.
    fn tidy(&mut self) {
        if self.pool.len() < 64 || self.pool_live as usize * 5 > self.pool.len() * 4 {
            if self.pool_live == 0 {
                self.pool = Vec::new();
            }
            return;
        }
        let mut pool = Vec::with_capacity(self.pool_live as usize);
        for run in &mut self.runs {
            if run.kind() == PieceKind::Data && run.count() > 1 {
                let start = run.sums as usize;
                run.sums = u32::try_from(pool.len()).expect("it only shrinks");
                pool.extend_from_slice(&self.pool[start..start + usize::from(run.count())]);
            }
        }
        self.pool = pool;
    }

    /// Moves those versions that are where `moving` says. Calls `moved` with each part that was.
    pub fn relocate(&mut self, moving: &Relocation, mut moved: impl FnMut(BlockRange)) {
        let Relocation {
            range,
            kind,
            from,
            to,
            stamp,
            epoch,
        } = *moving;
        let at = |start: u32, block: u16| match kind {
            PieceKind::Data => start + u32::from(block - range.first()),
            PieceKind::Zero | PieceKind::Hole => start,
        };
        let hits: Vec<(BlockRange, Vec<u32>)> = self
            .pieces(range)
            .filter(|piece| piece.kind == kind && (piece.stamp, piece.epoch) == (stamp, epoch))
            .filter(|piece| piece.location == at(from, piece.range.first()))
            .map(|piece| (piece.range, piece.checksums.to_vec()))
            .collect();
        for (range, checksums) in hits {
            let location = at(to, range.first());
            let piece = Piece {
                range,
                kind,
                location,
                stamp,
                epoch,
                checksums: Sums::from(checksums.as_slice()),
            };
            self.insert(piece, |_| {});
            moved(range);
        }
    }

    /// Bytes of memory that it takes.
    pub fn memory_bytes(&self) -> usize {
        self.runs.capacity() * size_of::<Run>()
            + self.origins.capacity() * size_of::<Origin>()
            + self.pool.capacity() * size_of::<u32>()
    }
}

impl Origin {
    fn of(piece: &Piece<'_>) -> Self {
        Self {
            generation: piece.stamp.generation,
            sequence_high: piece.stamp.sequence >> SEQUENCE_LOW_BITS,
            epoch: piece.epoch,
        }
    }
}

fn low_bits(sequence: u64) -> [u8; 3] {
    let [a, b, c, ..] = sequence.to_le_bytes();
    [a, b, c]
}

/// What [`Layer::relocate`] moves: copies that compaction has made.
#[derive(Debug, Clone, Copy)]
pub struct Relocation {
    /// Which blocks.
    pub range: BlockRange,
    /// What they must be.
    pub kind: PieceKind,
    /// Where the first block was (data), or the location of the old segment.
    pub from: u32,
    /// Where the first block is now (data), or the location of the new segment.
    pub to: u32,
    /// The write that they must be from.
    pub stamp: Stamp,
    /// The epoch under which it was written here.
    pub epoch: Epoch,
}
