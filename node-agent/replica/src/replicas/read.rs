//! Reads of engines, and of replicas that copy.

use super::Replicas;
use super::lists::version_of;
use super::open::check_mark;
use super::requests::{Reading, Taken, What};
use crate::bucket::malformed;
use moraine_model::{BlockRange, Cut, Epoch, Place, Role, Share, Stamp};
use moraine_protocol::limits::PAYLOAD_BLOCKS_MAX;
use moraine_protocol::{At, Block, Part, Refusal, Reply, Rule, Under};
use moraine_store::{Buffer, Disk, Read, ReadAt, ReadPart, Request};

impl<D: Disk> Replicas<D> {
    pub(super) fn read(
        &mut self,
        under: Under,
        block: Block,
        at: At,
        mark: Stamp,
    ) -> Result<Taken, Refusal> {
        let listing = self.let_in(&under)?;
        check_mark(&under, mark)?;
        if listing.role != Role::InSync {
            return Err(Refusal::NotInSync);
        }
        if block.range.count() > PAYLOAD_BLOCKS_MAX {
            return Err(malformed(Rule::PayloadFitsRange));
        }
        self.take_mark(under.share, mark);
        let at = match at {
            At::Head => ReadAt::Head,
            At::Cut(cut) => ReadAt::Cut(cut),
        };
        Ok(self.begin_read(under.share, block, at))
    }

    /// Reads what one layer holds, for a replica that copies.
    pub(super) fn copy(
        &mut self,
        share: Share,
        epoch: Epoch,
        block: Block,
        cut: Cut,
    ) -> Result<Taken, Refusal> {
        let known = self.buckets.get(&share.bucket).ok_or(Refusal::NotOpen)?;
        known.lets_copy(epoch, self.options.disk)?;
        if block.range.count() > PAYLOAD_BLOCKS_MAX {
            return Err(malformed(Rule::PayloadFitsRange));
        }
        Ok(self.begin_read(share, block, ReadAt::Layer(cut)))
    }

    fn begin_read(&mut self, share: Share, block: Block, at: ReadAt) -> Taken {
        let place = share.place(block.chunk);
        let range = block.range;
        let own = self.own_blocks(place, range, at);
        let reading = Reading {
            place,
            range,
            at,
            own,
        };
        let read = Read { place, range, at };
        Taken::Later(What::Read(reading), Some(Request::Read(read)))
    }

    /// The runs of blocks that a clone has itself where it reads; `None` for others. Like the
    /// versions that the store will give, they are those of this moment.
    fn own_blocks(&self, place: Place, range: BlockRange, at: ReadAt) -> Option<Vec<BlockRange>> {
        self.shard.parent(place.share())?;
        let seen = |cut: Cut| match at {
            ReadAt::Head => true,
            ReadAt::Cut(at) => cut <= at,
            ReadAt::Layer(at) => cut == at,
        };
        let versions = self.shard.versions(place).into_iter();
        let versions = versions.filter(|version| seen(version.tag.cut));
        let runs = versions.filter_map(|version| version.range.intersection(range));
        Some(runs.collect())
    }

    /// The answer to a read that the store has done, with its data.
    pub(super) fn data(reading: &Reading, parts: Vec<ReadPart>) -> (Reply, Vec<Buffer>) {
        let mut payload = Vec::new();
        let mut runs = Vec::new();
        for part in parts {
            payload.extend(part.data);
            let mut checksums = part.checksums.as_slice();
            for version in &part.versions {
                let blocks = usize::from(version.range.count()).min(checksums.len());
                let (of_version, rest) = checksums.split_at(blocks);
                checksums = rest;
                let first = version.range.first();
                let own = reading.own.as_ref();
                let inherited = own.is_some_and(|own| !own.iter().any(|run| run.contains(first)));
                runs.push(Part {
                    version: version_of(version),
                    inherited,
                    checksums: of_version.into(),
                });
            }
        }
        (Reply::Data { parts: runs }, payload)
    }

    /// The first block of the part of a read that lies at a location of the disk.
    pub(super) fn block_at(&self, reading: &Reading, location: u32) -> u16 {
        let Reading {
            place, range, at, ..
        } = *reading;
        let parts = self.shard.locate(Read { place, range, at });
        let parts = parts.unwrap_or_default();
        let part = parts.iter().find(|(at, _)| *at == location);
        part.map_or(range.first(), |(_, part)| part.range.first())
    }
}
