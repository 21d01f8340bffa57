//! A whole disk that is not what was written: bytes are taken as patches of the newest fixture,
//! which is then opened, recovered, read and worked with.
//!
//! Whatever the patches are, nothing may panic, hang or allocate without bound, and each answer is
//! a typed error or data that matches its checksums. It does not say which error: the store's own
//! tests do.

use super::decoders::seal;
use super::driver::{DISK_BLOCKS, SEGMENT_BLOCKS, SEGMENTS, cluster, finish, options, settle};
use super::image::{NEWEST, described, disk_of, first_block, footers, unpack};
use super::model::place;
use moraine_model::{BLOCK_BYTES, BlockRange, Cut, Epoch, Stamp};
use moraine_store::disk::MemoryDisk;
use moraine_store::format::{FIRST_SEGMENT, Footer, SUPERBLOCKS};
use moraine_store::index::Share;
use moraine_store::{
    Buffer, Content, Done, Place, Read, ReadAt, ReadPart, Request, Rule, Shard, StoreError, Tag,
    Write, block_checksums, checksum, open,
};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::OnceLock;

/// Patches that one input may have; more say nothing new.
const PATCHES_MAX: usize = 64;

/// The fixture, unpacked once.
struct Base {
    disk: MemoryDisk,
    described: Vec<u32>,
}

fn base() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| {
        let image = unpack(NEWEST);
        Base {
            disk: disk_of(&image),
            described: described(&image),
        }
    })
}

/// Takes numbers from the front of an input.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(front)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn number(&mut self) -> Option<usize> {
        let bytes = self.take(2)?;
        Some(usize::from(u16::from_le_bytes([bytes[0], bytes[1]])))
    }
}

/// Bits of a patch's first byte, beside its kind.
const ANY_BLOCK: u8 = 0x10;
const LEAVE_CHECKSUMS: u8 = 0x20;

/// The kind of a patch.
const KIND: u8 = 7;

/// A disk that is patched block by block.
struct Patched(MemoryDisk);

impl Patched {
    fn block(&self, number: u32) -> Vec<u8> {
        let mut block = vec![0; BLOCK_BYTES];
        self.0
            .peek(u64::from(number) * BLOCK_BYTES as u64, &mut block);
        block
    }

    fn change(&self, number: u32, change: impl FnOnce(&mut [u8])) {
        let mut block = self.block(number);
        change(&mut block);
        self.0.poke(u64::from(number) * BLOCK_BYTES as u64, &block);
    }

    /// Applies one patch: `kind, block, offset` and what the kind needs. Gives the block that it
    /// changed, and whether its checksums are to be made right.
    fn apply(&self, input: &mut Input<'_>) -> Option<(u32, bool)> {
        let kind = input.byte()?;
        let described = &base().described;
        let pick = |number: usize| {
            let any = u32::try_from(number).unwrap_or(0) % DISK_BLOCKS;
            if kind & ANY_BLOCK == 0 {
                described[number % described.len()]
            } else {
                any
            }
        };
        let number = pick(input.number()?);
        let offset = input.number()? % BLOCK_BYTES;
        match kind & KIND {
            0 | 1 => {
                let count = usize::from(input.byte()? % 16) + 1;
                let bytes = input.take(count)?;
                self.change(number, |block| {
                    for (target, byte) in block[offset..].iter_mut().zip(bytes) {
                        *target = if kind & 1 == 0 { *byte } else { *target ^ byte };
                    }
                });
            }
            2 => {
                let from = self.block(pick(input.number()?));
                self.change(number, |block| block.copy_from_slice(&from));
            }
            3 => self.change(number, |block| block[offset..].fill(0)),
            _ => {
                let [to, from, field, count] = *input.take(4)? else {
                    return None;
                };
                let field = usize::from(field % 25) * 4;
                let count = usize::from(count % 4 + 1) * 4;
                self.change(number, |block| {
                    let starts = entries(block);
                    if starts.is_empty() {
                        return;
                    }
                    let at = |entry: u8| starts[usize::from(entry) % starts.len()] + field;
                    let (to, from) = (at(to), at(from));
                    if to.max(from) + count <= BLOCK_BYTES {
                        block.copy_within(from..from + count, to);
                    }
                });
            }
        }
        Some((number, kind & LEAVE_CHECKSUMS == 0))
    }

    /// Makes the checksums right that depend on a block.
    fn mend(&self, number: u32) {
        let block = self.block(number);
        if SUPERBLOCKS.contains(&number) || block.starts_with(b"MOR-") {
            self.change(number, seal);
            return;
        }
        let Some(at) = number.checked_sub(FIRST_SEGMENT) else {
            return;
        };
        let (segment, position) = (at / SEGMENT_BLOCKS, at % SEGMENT_BLOCKS);
        if position == 1 || position == 3 {
            self.change(number - 1, |head| {
                head[52..56].copy_from_slice(&checksum(&block).to_le_bytes());
                seal(head);
            });
            return;
        }
        for at in footers(segment) {
            let Ok(footer) = Footer::decode(&self.block(at), SEGMENT_BLOCKS) else {
                continue;
            };
            let mut index = vec![0; footer.index_bytes as usize];
            let start = u64::from(first_block(segment) + footer.index_position);
            self.0.peek(start * BLOCK_BYTES as u64, &mut index);
            self.change(at, |block| {
                block[56..60].copy_from_slice(&checksum(&index).to_le_bytes());
                seal(block);
            });
        }
    }
}

/// Where the entries begin in a header block of a batch, or in the first block of an index.
fn entries(block: &[u8]) -> Vec<usize> {
    let mut at = if block.starts_with(b"MOR-BTCH") {
        88
    } else {
        0
    };
    let mut starts = Vec::new();
    while let Some(&[kind, _, low, high]) = block.get(at..at + 4) {
        let length = usize::from(u16::from_le_bytes([low, high]));
        if kind == 0 || length == 0 {
            break;
        }
        starts.push(at);
        at += length;
    }
    starts
}

/// The fixture with the input's patches.
fn patched(bytes: &[u8]) -> MemoryDisk {
    let disk = Patched(base().disk.duplicate());
    let mut input = Input(bytes);
    let mut touched = BTreeSet::new();
    for _ in 0..PATCHES_MAX {
        let Some((number, mended)) = disk.apply(&mut input) else {
            break;
        };
        touched.extend(mended.then_some(number));
    }
    for number in touched {
        disk.mend(number);
    }
    disk.0
}

/// Opens the disk and recovers those shards that can be.
fn recover(disk: &MemoryDisk) -> Vec<Option<Shard<MemoryDisk>>> {
    let mut handle = disk.another();
    let Ok(opened) = open(&mut handle, cluster()) else {
        return Vec::new();
    };
    let shards = 0..opened.superblock.layout.shards;
    shards
        .map(|number| Shard::recover(disk.another(), &opened, number, options()).ok())
        .collect()
}

/// The body of the target.
pub(crate) fn open_patched(bytes: &[u8]) {
    let disk = patched(bytes);
    let mut shards = recover(&disk);
    let first = known(&shards);
    read_all(&mut shards);
    drop(shards);
    let mut shards = recover(&disk);
    assert!(known(&shards) == first, "recovered again it knows the same");
    for shard in shards.iter_mut().flatten() {
        work(shard);
    }
    drop(shards);
    read_all(&mut recover(&disk));
}

/// Lets a shard do everything that it does to a disk of its own accord, and a write.
fn work(shard: &mut Shard<MemoryDisk>) {
    let shares: Vec<Share> = shard.shares().collect();
    for share in shares.into_iter().take(3) {
        let range = BlockRange::new(0, 2).expect("two blocks");
        let data = Buffer::copy_of(&[7; 2 * BLOCK_BYTES]);
        let write = Write {
            place: place(share, 0),
            range,
            tag: Tag {
                stamp: Stamp::new(u32::MAX, 0, 1),
                cut: Cut(9),
                epoch: Epoch(9),
            },
            rule: Rule::Write { listed: Epoch(0) },
            content: Content::Data {
                checksums: block_checksums(&data),
                data,
            },
        };
        match finish(shard, Request::Write(write)) {
            Ok(Done::Durable)
            | Err(StoreError::NoSpace | StoreError::Deleted(_) | StoreError::Malformed(_)) => {}
            other => unreachable!("a write to {share:?} was answered {other:?}"),
        }
    }
    shard.start_scrub();
    settle(shard);
    shard.request_compaction();
    settle(shard);
    shard.checkpoint();
    settle(shard);
    assert!(!shard.is_stopped(), "the disk failed nothing");
}

/// All that the shards know of what is on the disk.
fn known(shards: &[Option<Shard<MemoryDisk>>]) -> String {
    let mut text = String::new();
    for shard in shards {
        let _ = write!(text, "{}", shard.is_some());
        if let Some(shard) = shard {
            for (key, value) in shard.notes(b"") {
                let _ = write!(text, "{key:?} {value:?}");
            }
            for share in shard.shares() {
                let _ = write!(text, "{share:?} {:?}", shard.retention(share));
                for chunk in shard.chunks_above(share, Stamp::ZERO) {
                    let versions = shard.versions(place(share, chunk.chunk.get()));
                    let _ = write!(text, "{chunk:?} {versions:?}");
                }
            }
        }
    }
    text
}

/// Reads all that the shards know, in every way.
fn read_all(shards: &mut [Option<Shard<MemoryDisk>>]) {
    for shard in shards.iter_mut().flatten() {
        for share in shard.shares().collect::<Vec<Share>>() {
            shard.usage(share, None, Cut(2));
            shard.changed(share, Cut(0), Cut(u64::MAX));
            for chunk in shard.chunks_above(share, Stamp::ZERO) {
                read_chunk(shard, place(share, chunk.chunk.get()));
            }
        }
    }
}

fn read_chunk(shard: &mut Shard<MemoryDisk>, place: Place) {
    let versions = shard.versions(place);
    let cuts: BTreeSet<Cut> = versions.iter().map(|version| version.tag.cut).collect();
    let layers = cuts.iter().map(|cut| ReadAt::Layer(*cut));
    // What the newest cut shows is what the head shows.
    let older = cuts.iter().rev().skip(1).map(|cut| ReadAt::Cut(*cut));
    for at in layers.chain(older).chain([ReadAt::Head]) {
        let range = BlockRange::WHOLE_CHUNK;
        match finish(shard, Request::Read(Read { place, range, at })) {
            Ok(Done::Read(parts)) => check_parts(&parts),
            Err(
                StoreError::Corrupt { .. }
                | StoreError::NoSnapshot { .. }
                | StoreError::Deleted(_)
                | StoreError::Malformed(_),
            ) => {}
            other => unreachable!("{place:?} at {at:?} was answered {other:?}"),
        }
    }
}

/// Parts are in order, none overlaps another, and data has the checksums it comes with.
fn check_parts(parts: &[ReadPart]) {
    let mut next = 0;
    for part in parts {
        assert!(part.range.first() >= next, "parts overlap");
        next = part.range.end();
        let covered: u16 = part
            .versions
            .iter()
            .map(|version| version.range.count())
            .sum();
        assert_eq!(covered, part.range.count(), "each block has one version");
        if let Some(data) = &part.data {
            assert_eq!(data.len(), part.range.bytes());
            assert_eq!(*block_checksums(data), *part.checksums);
        }
    }
}

/// Inputs to start from: none, and one of each kind of patch.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let last = u16::try_from(SEGMENTS).unwrap_or(u16::MAX);
    let mut seeds = vec![Vec::new()];
    for kind in [0, 1, 2, 3, 4, ANY_BLOCK, ANY_BLOCK | 2, LEAVE_CHECKSUMS | 1] {
        for number in [0, 2, last, 4 * last] {
            let mut seed = vec![kind];
            seed.extend(number.to_le_bytes());
            seed.extend(40_u16.to_le_bytes());
            seed.extend([3, 1, 0, 0, 0]);
            seeds.push(seed);
        }
    }
    seeds
}
