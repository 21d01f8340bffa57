//! What a reader of the made disk must find, as text: once from a slow obvious model of what was
//! written, once from a store that recovered the disk.
//!
//! It knows nothing of bytes on the disk; two texts that are equal are the whole comparison.

use super::driver::{finish, pattern};
use moraine_model::{
    BLOCK_BYTES, BlockRange, BucketId, CHUNK_BLOCKS, ChunkIndex, Cut, Epoch, Stamp, VolumeId,
};
use moraine_store::disk::MemoryDisk;
use moraine_store::index::Share;
use moraine_store::index::layer::PieceKind;
use moraine_store::{Done, Place, Read, ReadAt, ReadPart, Request, Shard, StoreError, Usage};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

const VOLUMES: std::ops::RangeInclusive<u128> = 1..=8;
const BUCKETS: std::ops::Range<u32> = 0..3;
const CHUNKS: std::ops::Range<u32> = 0..48;
const CUTS: std::ops::Range<u64> = 0..3;
/// The cut that the head of every volume is at.
const HEAD_CUT: Cut = Cut(2);

/// The readers of each share: its head, and each cut that it may have.
fn readers() -> impl Iterator<Item = Option<Cut>> {
    [None].into_iter().chain(CUTS.map(|cut| Some(Cut(cut))))
}

/// Every share that the made disk may know.
fn shares() -> impl Iterator<Item = Share> {
    let share = |volume, bucket| Share {
        volume: VolumeId::new(volume).expect("volumes are not zero"),
        bucket: BucketId::new(bucket).expect("buckets are few"),
    };
    BUCKETS.flat_map(move |bucket| VOLUMES.map(move |volume| share(volume, bucket)))
}

/// A chunk of a share.
pub(crate) fn place(share: Share, chunk: u32) -> Place {
    Place {
        volume: share.volume,
        bucket: share.bucket,
        chunk: ChunkIndex::new(chunk).expect("chunks are few"),
    }
}

/// What one block is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) kind: PieceKind,
    pub(crate) stamp: Stamp,
    pub(crate) cut: Cut,
    pub(crate) epoch: Epoch,
}

impl Seen {
    fn text(&self) -> String {
        let kind = match self.kind {
            PieceKind::Data => "data",
            PieceKind::Zero => "zero",
            PieceKind::Hole => "hole",
        };
        let (stamp, generation) = (self.stamp, self.stamp.generation);
        format!(
            "{kind} stamp {}.{}.{} cut {} epoch {}",
            generation.attach, generation.incarnation, stamp.sequence, self.cut.0, self.epoch.0
        )
    }
}

/// What was kept of one share.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) deleted: BTreeSet<Cut>,
    pub(crate) references: BTreeSet<(Cut, VolumeId)>,
    pub(crate) head_deleted_at: Option<Cut>,
}

impl Kept {
    fn keeps(&self, cut: Cut) -> bool {
        let named = !self.deleted.contains(&cut) && self.head_deleted_at.is_none_or(|at| cut < at);
        named || self.references.iter().any(|(at, _)| *at == cut)
    }
}

/// All that was written and came to stay.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) blocks: BTreeMap<(Place, u16), BTreeMap<Cut, Seen>>,
    pub(crate) kept: BTreeMap<Share, Kept>,
    pub(crate) parents: BTreeMap<Share, (VolumeId, Cut)>,
    pub(crate) notes: BTreeMap<(u32, Vec<u8>), Vec<u8>>,
}

impl Model {
    /// The text of everything that can be read.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for ((shard, key), value) in &self.notes {
            note_line(&mut text, *shard, key, value);
        }
        for share in shares() {
            let kept = self.kept.get(&share);
            if let Some(kept) = kept {
                let (deleted, references) = (kept.deleted.iter(), kept.references.iter());
                let deleted: Vec<Cut> = deleted.copied().collect();
                let references: Vec<(Cut, VolumeId)> = references.copied().collect();
                kept_line(
                    &mut text,
                    share,
                    &deleted,
                    &references,
                    kept.head_deleted_at,
                );
            }
            for at in readers() {
                let refused = kept.is_some_and(|kept| match at {
                    None => kept.head_deleted_at.is_some(),
                    Some(cut) => !kept.keeps(cut),
                });
                if !refused && at.is_none_or(|at| at < HEAD_CUT) {
                    usage_line(&mut text, share, at, self.usage(share, at));
                }
                for chunk in CHUNKS {
                    let place = place(share, chunk);
                    let blocks = (0..CHUNK_BLOCKS).map(|block| self.read(place, block, at));
                    let seen = (!refused).then(|| blocks.collect());
                    read_line(&mut text, place, at, seen);
                }
            }
        }
        text
    }

    /// What a reader uses of a share's own data, by asking every name what it sees of each block.
    fn usage(&self, share: Share, at: Option<Cut>) -> Usage {
        let none = Kept::default();
        let kept = self.kept.get(&share).unwrap_or(&none);
        let head_cut = kept.head_deleted_at.unwrap_or(HEAD_CUT);
        let snapshots = (0..head_cut.0).map(Cut);
        let snapshots = snapshots
            .filter(|cut| !kept.deleted.contains(cut))
            .map(Some);
        let clones = kept.references.iter().map(|(cut, _)| Some(*cut));
        let head = kept.head_deleted_at.is_none().then_some(None);
        let names: Vec<Option<Cut>> = snapshots.chain(clones).chain(head).collect();
        let mut usage = Usage::default();
        let blocks = self.blocks.iter();
        for (_, versions) in blocks.filter(|((place, _), _)| place.share() == share) {
            let seen_by = |at: &Option<Cut>| {
                let mut versions = versions.iter().rev();
                versions.find(|(cut, _)| at.is_none_or(|at| **cut <= at))
            };
            let Some((cut, seen)) = seen_by(&at) else {
                continue;
            };
            if seen.kind == PieceKind::Data {
                let readers = names.iter().filter_map(seen_by);
                let bytes = BLOCK_BYTES as u64;
                usage.used_bytes += bytes;
                if readers.filter(|(other, _)| *other == cut).count() > 1 {
                    usage.shared_bytes += bytes;
                } else {
                    usage.exclusive_bytes += bytes;
                }
            }
        }
        usage
    }

    /// What a reader finds in a block, in the share itself or where it was cloned from.
    fn read(&self, mut place: Place, block: u16, mut at: Option<Cut>) -> Option<Seen> {
        loop {
            let versions = self.blocks.get(&(place, block));
            let mut versions = versions.into_iter().flatten().rev();
            let found = versions.find(|(cut, _)| at.is_none_or(|at| **cut <= at));
            if let Some((_, seen)) = found {
                return Some(*seen);
            }
            let (volume, cut) = *self.parents.get(&place.share())?;
            place.volume = volume;
            at = Some(cut);
        }
    }
}

/// The text of everything that can be read from the shards of a disk. What a read returns is held
/// against its checksums and against the data that its stamp stands for.
pub(crate) fn text_of(shards: &mut [Shard<MemoryDisk>]) -> String {
    let mut text = String::new();
    for (number, shard) in (0_u32..).zip(shards.iter()) {
        for (key, value) in shard.notes(b"") {
            note_line(&mut text, number, key, value);
        }
    }
    for share in shares() {
        let shard = share.bucket.get() as usize % shards.len();
        let shard = &mut shards[shard];
        if let Some(kept) = shard.retention(share) {
            let deleted: Vec<Cut> = kept.deleted().collect();
            let references: Vec<(Cut, VolumeId)> = kept.references().collect();
            kept_line(
                &mut text,
                share,
                &deleted,
                &references,
                kept.head_deleted_at(),
            );
        }
        for at in readers() {
            let kept = shard.retention(share);
            let refused = kept.is_some_and(|kept| match at {
                None => !kept.head_is_read(),
                Some(cut) => !kept.keeps(cut),
            });
            if !refused && at.is_none_or(|at| at < HEAD_CUT) {
                usage_line(&mut text, share, at, shard.usage(share, at, HEAD_CUT));
            }
            for chunk in CHUNKS {
                let place = place(share, chunk);
                read_line(&mut text, place, at, read(shard, place, at));
            }
        }
    }
    text
}

/// Each block of a chunk as a reader finds it; `None` if there is no such reader.
fn read(shard: &mut Shard<MemoryDisk>, place: Place, at: Option<Cut>) -> Option<Vec<Option<Seen>>> {
    let range = BlockRange::WHOLE_CHUNK;
    let at = at.map_or(ReadAt::Head, ReadAt::Cut);
    let parts = match finish(shard, Request::Read(Read { place, range, at })) {
        Ok(Done::Read(parts)) => parts,
        Err(StoreError::NoSnapshot { .. } | StoreError::Deleted(_)) => return None,
        other => unreachable!("{place:?} at {at:?}: {other:?}"),
    };
    let mut seen = vec![None; usize::from(CHUNK_BLOCKS)];
    for part in &parts {
        for block in part.range.blocks() {
            seen[usize::from(block)] = Some(seen_in(part, block));
        }
    }
    Some(seen)
}

fn seen_in(part: &ReadPart, block: u16) -> Seen {
    let mut versions = part.versions.iter();
    let version = versions
        .find(|version| version.range.contains(block))
        .expect("each block has its version");
    let seen = Seen {
        kind: version.kind,
        stamp: version.tag.stamp,
        cut: version.tag.cut,
        epoch: version.tag.epoch,
    };
    match &part.data {
        Some(data) => {
            let at = usize::from(block - part.range.first()) * BLOCK_BYTES;
            let expected = pattern(seen.stamp, block);
            assert_eq!(
                &data[at..at + BLOCK_BYTES],
                expected,
                "block {block} of {seen:?}"
            );
            assert_eq!(seen.kind, PieceKind::Data);
        }
        None => assert_eq!(seen.kind, PieceKind::Zero),
    }
    seen
}

fn name(share: Share) -> String {
    format!("{:x}/{}", share.volume.get(), share.bucket.get())
}

fn note_line(text: &mut String, shard: u32, key: &[u8], value: &[u8]) {
    let key = String::from_utf8_lossy(key);
    let value = String::from_utf8_lossy(value);
    let _ = writeln!(text, "note of shard {shard}: {key} = {value:?}");
}

fn kept_line(
    text: &mut String,
    share: Share,
    deleted: &[Cut],
    references: &[(Cut, VolumeId)],
    head_deleted_at: Option<Cut>,
) {
    if deleted.is_empty() && references.is_empty() && head_deleted_at.is_none() {
        return;
    }
    let _ = write!(text, "{}:", name(share));
    for cut in deleted {
        let _ = write!(text, " snapshot {} deleted,", cut.0);
    }
    for (cut, child) in references {
        let _ = write!(text, " {:x} reads at {},", child.get(), cut.0);
    }
    match head_deleted_at {
        Some(cut) => {
            let _ = writeln!(text, " deleted at {}", cut.0);
        }
        None => text.push_str(" head read\n"),
    }
}

fn usage_line(text: &mut String, share: Share, at: Option<Cut>, usage: Usage) {
    if usage != Usage::default() {
        let [used, shared, own] = [usage.used_bytes, usage.shared_bytes, usage.exclusive_bytes];
        let (name, at) = (name(share), reader(at));
        let _ = writeln!(
            text,
            "{name} at {at}: uses {used} bytes, {shared} shared, {own} its own"
        );
    }
}

fn reader(at: Option<Cut>) -> String {
    at.map_or("head".to_owned(), |cut| cut.0.to_string())
}

/// One line for all of a chunk that a reader finds, in runs; none for nothing.
fn read_line(text: &mut String, place: Place, at: Option<Cut>, seen: Option<Vec<Option<Seen>>>) {
    let at = reader(at);
    let name = name(place.share());
    let Some(seen) = seen else {
        if place.chunk.get() == 0 {
            let _ = writeln!(text, "{name} at {at}: refused");
        }
        return;
    };
    let mut runs = String::new();
    let mut first = 0;
    for run in seen.chunk_by(|a, b| a == b) {
        if let Some(Some(seen)) = run.first() {
            let _ = write!(runs, " [{first}+{} {}]", run.len(), seen.text());
        }
        first += run.len();
    }
    if !runs.is_empty() {
        let _ = writeln!(text, "{name} chunk {} at {at}:{runs}", place.chunk.get());
    }
}
