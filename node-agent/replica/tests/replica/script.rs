//! Bytes as a script: requests and entries, each made of the next few bytes; `answers` has the rest.
//!
//! Most values are near those that count at the moment, so that much is let in; some are on an edge.
//! Every list of bytes is a script, and one that is over goes on with zeros.

use super::world::*;
use moraine_model::*;
use moraine_protocol::*;
use moraine_store::{Buffer, block_checksums};
use std::collections::BTreeMap;

/// Buckets that the pool of a script has.
pub(crate) const BUCKETS: u32 = 3;

/// Numbers that are on the edge of something.
const EDGES: [u64; 12] = [
    0,
    1,
    2,
    1023,
    1024,
    4096,
    u32::MAX as u64,
    (1 << 62) - 1,
    1 << 62,
    (1 << 62) + 1,
    u64::MAX - 1,
    u64::MAX,
];

/// A request or reply and its data.
pub(crate) type With<T> = (T, Option<Buffer>);

/// The bytes that are left, and what counts at the moment.
pub(crate) struct Script<'a> {
    bytes: &'a [u8],
    entries: BTreeMap<BucketId, BucketEntry>,
    fences: BTreeMap<Share, Generation>,
    /// Entries that were made, so that an epoch mostly has one.
    made: BTreeMap<(BucketId, Epoch), BucketEntry>,
    /// Grows with each write: sequences, and what data is made of.
    number: u64,
}

impl<'a> Script<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            entries: BTreeMap::new(),
            fences: BTreeMap::new(),
            made: BTreeMap::new(),
            number: 0,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else {
            return 0;
        };
        self.bytes = rest;
        *first
    }

    pub(crate) fn below(&mut self, end: u8) -> u8 {
        self.byte() % end
    }

    pub(crate) fn edge(&mut self) -> u64 {
        EDGES[usize::from(self.byte()) % EDGES.len()]
    }

    /// An entry counts from now on.
    pub(crate) fn saw_entry(&mut self, entry: &BucketEntry) {
        self.entries.insert(entry.bucket(), entry.clone());
    }

    /// A fence counts from now on.
    pub(crate) fn saw_fence(&mut self, share: Share, fence: Generation) {
        self.fences.insert(share, fence);
    }

    pub(crate) fn volume(&mut self) -> VolumeId {
        match self.byte() {
            255 => volume(u128::MAX),
            byte => volume(7 + [0, 0, 0, 1, 1, 2][usize::from(byte % 6)]),
        }
    }

    /// Mostly bucket 0; some are not of this shard, or of no shard.
    pub(crate) fn bucket(&mut self) -> BucketId {
        let number = match self.byte() {
            0..220 => 0,
            220..240 => 1,
            240..250 => 2,
            250..253 => BUCKETS,
            _ => BUCKETS_MAX - 1,
        };
        BucketId::new(number).unwrap()
    }

    fn share(&mut self) -> Share {
        Share {
            volume: self.volume(),
            bucket: self.bucket(),
        }
    }

    fn epoch(&mut self, bucket: BucketId) -> Epoch {
        let now = self.entries.get(&bucket).map_or(1, |entry| entry.epoch().0);
        Epoch(match self.below(24) {
            0 => now.saturating_sub(1),
            1 => now.saturating_add(1),
            2 => now / 2,
            3 if self.byte() > 250 => self.edge(),
            _ => now,
        })
    }

    fn generation(&mut self, share: Share) -> Generation {
        let now = self.fences.get(&share).copied().unwrap_or(generation(2));
        let (attach, incarnation) = (now.attach, now.incarnation);
        match self.below(24) {
            0 => generation(attach.saturating_sub(1)),
            1 => generation(attach.saturating_add(1)),
            2 => Generation {
                attach,
                incarnation: incarnation.saturating_add(1),
            },
            3 if self.byte() > 250 => Generation {
                attach: u32::MAX,
                incarnation: u32::MAX,
            },
            _ => now,
        }
    }

    /// Mostly a share that was opened.
    fn open_share(&mut self) -> Share {
        let nth = usize::from(self.byte());
        let known = self.fences.keys().nth(nth % 32 % self.fences.len().max(1));
        match known.copied() {
            Some(known) if nth < 224 => known,
            _ => self.share(),
        }
    }

    fn under(&mut self) -> Under {
        let share = self.open_share();
        Under {
            share,
            generation: self.generation(share),
            epoch: self.epoch(share.bucket),
        }
    }

    /// The entry of an epoch; now and then one that contradicts it.
    pub(crate) fn entry(&mut self) -> BucketEntry {
        let bucket = self.bucket();
        self.entry_of(bucket)
    }

    fn entry_of(&mut self, bucket: BucketId) -> BucketEntry {
        let epoch = self.epoch(bucket);
        let shape = self.byte();
        let known = self.made.get(&(bucket, epoch)).cloned();
        match known {
            Some(known) if shape < 240 => known,
            Some(_) => self.shaped(bucket, epoch),
            None => {
                let made = self.shaped(bucket, epoch);
                self.made.insert((bucket, epoch), made.clone());
                made
            }
        }
    }

    fn shaped(&mut self, bucket: BucketId, epoch: Epoch) -> BucketEntry {
        let shape = self.byte();
        let role = match shape & 7 {
            0..5 => Some(Role::InSync),
            5 | 6 => Some(Role::Syncing),
            _ => None,
        };
        let before = self.entries.get(&bucket);
        let before = before.and_then(|entry| entry.on(disk_id(1)).copied());
        let since = match (before, shape >> 3 & 3) {
            (Some(before), 0 | 1) if before.since <= epoch => before.since,
            (_, 2) => Epoch(0),
            (_, 3) => Epoch(epoch.0 / 2),
            _ => epoch,
        };
        let mut listings: Vec<Listing> = Vec::new();
        listings.extend(role.map(|role| Listing {
            disk: disk_id(1),
            role,
            since,
        }));
        let others = [(2, Role::InSync), (3, Role::InSync), (4, Role::Syncing)];
        for (nth, (disk, role)) in others.into_iter().enumerate() {
            // One must be in sync.
            let needed = nth == 0 && listings.iter().all(|l| l.role != Role::InSync);
            if needed || shape >> (5 + nth) & 1 == 1 {
                listings.push(Listing {
                    disk: disk_id(disk),
                    role,
                    since: Epoch(0),
                });
            }
        }
        BucketEntry::new(bucket, epoch, listings).unwrap()
    }

    pub(crate) fn chunk(&mut self) -> ChunkIndex {
        let chunk = match self.byte() {
            255 => VOLUME_CHUNKS_MAX - 1,
            byte => u32::from(byte % 2),
        };
        ChunkIndex::new(chunk).unwrap()
    }

    pub(crate) fn range(&mut self) -> BlockRange {
        let first = match self.byte() {
            250.. => CHUNK_BLOCKS - 1 - u16::from(self.byte()),
            byte => u16::from(byte % 12),
        };
        let left = CHUNK_BLOCKS - first;
        let count = match self.byte() {
            255 => left,
            248.. => left.min(256),
            byte => left.min(1 + u16::from(byte % 6)),
        };
        range(first, count)
    }

    fn block(&mut self) -> Block {
        Block {
            chunk: self.chunk(),
            range: self.range(),
        }
    }

    pub(crate) fn cut(&mut self) -> Cut {
        match self.byte() {
            253.. => Cut(self.edge()),
            byte => Cut(u64::from(byte % 4)),
        }
    }

    fn sequence(&mut self) -> u64 {
        match self.below(16) {
            0 => self.edge(),
            1 => self.number.saturating_sub(u64::from(self.byte() % 8)),
            _ => self.number,
        }
    }

    pub(crate) fn stamp(&mut self, of: Generation) -> Stamp {
        let generation = match self.below(16) {
            0 => generation(u32::MAX),
            1 => generation(of.attach.saturating_add(1)),
            2..5 => generation(of.attach.saturating_sub(1)),
            _ => of,
        };
        Stamp {
            generation,
            sequence: self.sequence(),
        }
    }

    pub(crate) fn mark(&mut self, of: Generation) -> Stamp {
        match self.below(8) {
            0 | 1 => Stamp::ZERO,
            2 => self.stamp(of),
            _ => Stamp {
                generation: of,
                sequence: self.number.saturating_sub(1 + u64::from(self.byte() % 4)),
            },
        }
    }

    /// Data of so many blocks that was never seen before.
    pub(crate) fn data(&mut self, blocks: u16) -> Vec<u8> {
        self.number += 1;
        filled(blocks, self.number)
    }

    /// The data as it comes: mostly whole.
    pub(crate) fn payload(&mut self, mut data: Vec<u8>) -> Option<Buffer> {
        match self.byte() {
            250.. => return None,
            245..250 => data.truncate(data.len() - BLOCK_BYTES),
            240..245 => data.extend([0; BLOCK_BYTES]),
            235..240 => {
                let at = usize::from(self.byte()) % data.len().max(1);
                data.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1);
            }
            _ => {}
        }
        (!data.is_empty()).then(|| Buffer::copy_of(&data))
    }

    /// A request of any kind.
    pub(crate) fn request(&mut self) -> With<Request> {
        let request = match self.below(16) {
            0 | 1 => {
                let (volume, entry) = (self.volume(), self.entry());
                let bucket = entry.bucket();
                let generation = self.generation(Share { volume, bucket });
                Request::Open {
                    volume,
                    generation,
                    entry,
                }
            }
            2..8 => return self.write(),
            8 | 9 => {
                let under = self.under();
                Request::Read {
                    under,
                    block: self.block(),
                    at: match self.below(3) {
                        0 => At::Cut(self.cut()),
                        _ => At::Head,
                    },
                    mark: self.mark(under.generation),
                }
            }
            10 => {
                let under = self.under();
                let mark = self.mark(under.generation);
                Request::Close { under, mark }
            }
            11 => Request::Ping,
            _ => self.request_of_copier(),
        };
        // What has no data comes with some now and then.
        let payload = (self.byte() > 250).then(|| Buffer::zeroed(1));
        (request, payload)
    }

    fn write(&mut self) -> With<Request> {
        let (under, block) = (self.under(), self.block());
        let zero = self.below(5) == 0;
        // What data comes is bounded; more is only announced.
        let count = block.range.count();
        let data = self.data(count.min(if zero { 1 } else { 32 }));
        let content = if zero {
            Content::Zero
        } else {
            let checksums = block_checksums(&data);
            Content::Data { checksums }
        };
        let payload = if zero && self.byte() < 250 {
            None
        } else {
            self.payload(data)
        };
        let request = Request::Write {
            under,
            block,
            sequence: self.sequence(),
            cut: self.cut(),
            mark: self.mark(under.generation),
            content,
        };
        (request, payload)
    }

    fn request_of_copier(&mut self) -> Request {
        let Under {
            share,
            generation,
            epoch,
        } = self.under();
        let generation = (self.below(2) == 0).then_some(generation);
        match self.below(6) {
            0 => Request::Adopt {
                entry: self.entry_of(share.bucket),
            },
            1 => Request::Shares {
                bucket: share.bucket,
                epoch,
                after: (self.below(2) == 0).then_some(share.volume),
            },
            2 => Request::Chunks {
                share,
                epoch,
                generation,
                above: self.mark(generation.unwrap_or_default()),
                from: self.chunk(),
            },
            3 => Request::Layers {
                share,
                epoch,
                generation,
                chunk: self.chunk(),
            },
            4 => Request::Versions {
                share,
                epoch,
                generation,
                chunk: self.chunk(),
                cut: self.cut(),
            },
            _ => Request::Copy {
                share,
                epoch,
                block: self.block(),
                cut: self.cut(),
            },
        }
    }
}
