//! Reading: the index says where, the disk gives bytes, the checksums decide whether they are data.

use super::Shard;
use super::io::Task;
use super::request::{Done, Read, ReadAt, ReadPart, RequestId, Version};
use crate::disk::{Disk, Failure, Operation};
use crate::format::Place;
use crate::index::Share;
use crate::index::chunk::Chunk;
use crate::index::layer::{Piece, PieceKind};
use crate::{StoreError, checksum};
use moraine_model::{BLOCK_BYTES, BlockRange, Cut};

/// How deep clones of clones may go.
const PARENTS_MAX: usize = 64;

/// A read under way.
#[derive(Debug)]
pub(super) struct Reading {
    place: Place,
    parts: Vec<Part>,
    under_way: usize,
    failed: Option<StoreError>,
}

#[derive(Debug)]
struct Part {
    location: u32,
    part: ReadPart,
}

impl Part {
    fn new(piece: &Piece<'_>, cut: Cut) -> Self {
        let tag = piece.tag(cut);
        let version = Version {
            range: piece.range,
            kind: piece.kind,
            tag,
        };
        let part = ReadPart {
            range: piece.range,
            data: None,
            checksums: piece.checksums.to_vec(),
            versions: vec![version],
        };
        Self {
            location: piece.location,
            part,
        }
    }

    fn is_data(&self) -> bool {
        !self.part.checksums.is_empty()
    }

    /// Joins the next part if it is the next data on the disk too.
    fn join(&mut self, next: Self) -> Option<Self> {
        let follows = self.is_data()
            && next.is_data()
            && self.part.range.end() == next.part.range.first()
            && self.location + u32::from(self.part.range.count()) == next.location;
        let count = self.part.range.count() + next.part.range.count();
        match BlockRange::new(self.part.range.first(), count) {
            Ok(range) if follows => {
                self.part.range = range;
                self.part.checksums.extend(next.part.checksums);
                self.part.versions.extend(next.part.versions);
                None
            }
            _ => Some(next),
        }
    }
}

impl<D: Disk> Shard<D> {
    pub(super) fn start_read(&mut self, id: RequestId, read: Read) -> Result<(), StoreError> {
        if self.layout().shard_of(read.place.bucket) != self.segments.shard {
            return Err(StoreError::Malformed("the bucket belongs to another shard"));
        }
        if self.reads.len() >= self.options.waiting_max {
            return Err(StoreError::Busy);
        }
        let parts = self.resolve(read)?;
        let mut reading = Reading {
            place: read.place,
            parts,
            under_way: 0,
            failed: None,
        };
        for (nth, part) in reading
            .parts
            .iter()
            .enumerate()
            .filter(|(_, part)| part.is_data())
        {
            let (segment, _) = self.segments.layout().split(part.location);
            self.segments.expect_mut(segment).readers += 1;
            reading.under_way += 1;
            let offset = u64::from(part.location) * BLOCK_BYTES as u64;
            let buffer = self.io.disk().buffer(usize::from(part.part.range.count()));
            self.io
                .submit(Task::Read(id.0, nth), Operation::Read { offset, buffer });
        }
        if reading.under_way == 0 {
            self.finish_read(id, reading);
        } else {
            self.reads.insert(id.0, reading);
        }
        Ok(())
    }

    /// Where the blocks are that a reader sees.
    fn resolve(&self, read: Read) -> Result<Vec<Part>, StoreError> {
        let Read { place, range, at } = read;
        if let Some(share) = self.index.share(place.share()) {
            match at {
                ReadAt::Head if !share.retention.head_is_read() => {
                    return Err(StoreError::Deleted(place.volume));
                }
                ReadAt::Cut(cut) if !share.retention.keeps(cut) => {
                    return Err(StoreError::NoSnapshot {
                        volume: place.volume,
                        cut,
                    });
                }
                _ => {}
            }
        }
        let mut parts = Vec::new();
        match at {
            ReadAt::Head => parts = self.find(place, range, None),
            ReadAt::Cut(cut) => parts = self.find(place, range, Some(cut)),
            ReadAt::Layer(cut) => {
                let layer = self.index.chunk(place).and_then(|chunk| chunk.layer(cut));
                let pieces = layer.into_iter().flat_map(|layer| layer.pieces(range));
                let pieces = pieces.filter(|piece| piece.kind != PieceKind::Hole);
                parts.extend(pieces.map(|piece| Part::new(&piece, cut)));
            }
        }
        parts.sort_by_key(|part| part.part.range.first());
        let mut joined: Vec<Part> = Vec::with_capacity(parts.len());
        for part in parts {
            let rest = match joined.last_mut() {
                Some(last) => last.join(part),
                None => Some(part),
            };
            joined.extend(rest);
        }
        Ok(joined)
    }

    /// Finds what a share and, where it says nothing, its parents hold.
    fn find(&self, mut place: Place, range: BlockRange, mut at: Option<Cut>) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut gaps = vec![range];
        for _ in 0..PARENTS_MAX {
            if let Some(chunk) = self.index.chunk(place) {
                for gap in std::mem::take(&mut gaps) {
                    let found = chunk.find(gap, at);
                    parts.extend(
                        found
                            .pieces
                            .iter()
                            .map(|(cut, piece)| Part::new(piece, *cut)),
                    );
                    gaps.extend(found.missing);
                }
            }
            match self.index.parent(place.share()) {
                Some((volume, cut)) if !gaps.is_empty() => {
                    place.volume = volume;
                    at = Some(cut);
                }
                _ => break,
            }
        }
        parts
    }

    pub(super) fn read_ended(
        &mut self,
        id: u64,
        nth: usize,
        operation: Operation,
        outcome: Result<(), Failure>,
    ) {
        let Some(mut reading) = self.reads.remove(&id) else {
            return;
        };
        reading.under_way -= 1;
        let place = reading.place;
        if let (Some(part), Operation::Read { buffer, .. }) =
            (reading.parts.get_mut(nth), operation)
        {
            let location = part.location;
            let (segment, _) = self.segments.layout().split(location);
            self.segments.expect_mut(segment).readers -= 1;
            self.segments.note_if_dead(segment);
            let sums = buffer.chunks(BLOCK_BYTES).zip(&part.part.checksums);
            let bad = sums
                .enumerate()
                .find(|(_, (bytes, sum))| checksum(bytes) != **sum);
            match (outcome, bad.map(|(nth, _)| nth)) {
                (Err(source), _) => {
                    self.metrics.read_failures += 1;
                    reading.failed = Some(StoreError::ReadFailed { location, source });
                }
                (Ok(()), Some(nth)) => {
                    self.metrics.corrupt_blocks += 1;
                    self.segments.expect_mut(segment).damaged = true;
                    let nth = u16::try_from(nth).unwrap_or(u16::MAX);
                    let block = part.part.range.first() + nth;
                    let location = location + u32::from(nth);
                    reading.failed = Some(StoreError::Corrupt {
                        place,
                        block,
                        location,
                    });
                }
                (Ok(()), None) => part.part.data = Some(buffer),
            }
        }
        if reading.under_way == 0 {
            self.finish_read(RequestId(id), reading);
        } else {
            self.reads.insert(id, reading);
        }
    }

    fn finish_read(&mut self, id: RequestId, reading: Reading) {
        let outcome = match reading.failed {
            Some(error) => Err(error),
            None => Ok(Done::Read(
                reading.parts.into_iter().map(|part| part.part).collect(),
            )),
        };
        self.reply(id, outcome);
    }

    /// The share that a chunk belongs to holds these versions, layer by layer: what a copy of the
    /// chunk consists of. Holes are not versions.
    pub fn versions(&self, place: Place) -> Vec<Version> {
        let layers = self.index.chunk(place).into_iter().flat_map(Chunk::layers);
        let versions = layers.flat_map(|(cut, layer)| {
            layer.all().map(move |piece| Version {
                range: piece.range,
                kind: piece.kind,
                tag: piece.tag(cut),
            })
        });
        versions
            .filter(|version| version.kind != PieceKind::Hole)
            .collect()
    }

    /// Where the blocks lie that a read would give, without reading them: the location of the first
    /// block of each part, which has checksums if it is data.
    pub fn locate(&self, read: Read) -> Result<Vec<(u32, ReadPart)>, StoreError> {
        let parts = self.resolve(read)?.into_iter();
        Ok(parts.map(|part| (part.location, part.part)).collect())
    }

    /// The shares that the shard holds.
    pub fn shares(&self) -> impl Iterator<Item = Share> {
        self.index.shares().map(|(share, _)| *share)
    }
}
