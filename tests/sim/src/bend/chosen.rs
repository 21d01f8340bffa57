//! The bug in which an engine that reconciles lets count what only a syncing replica holds. The
//! engine decides as it does; its writes that reconcile are then given the content which it would
//! have chosen with the bug.

use crate::mutation::Mutation;
use crate::world::{World, disk_number};
use bytes::Bytes;
use moraine_model::{
    BLOCK_BYTES, BucketEntry, ChunkIndex, Cut, DiskId, Epoch, Role, Share, Stamp, block_checksums,
};
use moraine_protocol::{Content, Request};
use std::collections::BTreeMap;

/// A block of a layer at a disk.
type Place = (usize, Share, ChunkIndex, Cut, u16);
/// What was written there last: its stamp, the epoch, and the data, or zeros.
type Version = (Stamp, Epoch, Option<Bytes>);

/// What disks have acknowledged.
#[derive(Debug, Default)]
pub(super) struct Held {
    versions: BTreeMap<Place, Version>,
    /// Writes that reconcile, as they were given out first: each replica gets the same.
    chosen: BTreeMap<(Share, Stamp), (Content, Option<Bytes>)>,
}

impl Held {
    /// A disk has acknowledged a write.
    pub(super) fn written(&mut self, disk: usize, request: &Request, data: Option<&Bytes>) {
        let Request::Write {
            under,
            block,
            sequence,
            cut,
            ..
        } = request
        else {
            return;
        };
        let stamp = Stamp {
            generation: under.generation,
            sequence: *sequence,
        };
        for (nth, number) in block.range.blocks().enumerate() {
            let place = (disk, under.share, block.chunk, *cut, number);
            let bytes = data.map(|data| data.slice(nth * BLOCK_BYTES..(nth + 1) * BLOCK_BYTES));
            let held = self.versions.get(&place);
            if held.is_none_or(|(known, ..)| *known <= stamp) {
                self.versions.insert(place, (stamp, under.epoch, bytes));
            }
        }
    }

    /// The newest version of a block, if only a syncing replica holds it.
    fn only_syncing(
        &self,
        entry: &BucketEntry,
        at: impl Fn(DiskId) -> Place,
    ) -> Option<&Option<Bytes>> {
        let listings = entry.listings().iter();
        let held = listings.filter_map(|listing| {
            let version = self.versions.get(&at(listing.disk))?;
            let counts = listing.role == Role::InSync || version.1 >= listing.since;
            counts.then_some((version.0, listing.role == Role::InSync, &version.2))
        });
        let (_, in_sync, data) = held.max_by_key(|(stamp, in_sync, _)| (*stamp, *in_sync))?;
        (!in_sync).then_some(data)
    }
}

impl World {
    /// What a write that reconciles becomes on its way out.
    pub(super) fn choose_syncing(
        &mut self,
        engine: usize,
        request: &mut Request,
        data: &mut Option<Bytes>,
    ) {
        let Request::Write {
            under,
            block,
            sequence,
            cut,
            content,
            ..
        } = request
        else {
            return;
        };
        // Before it is attached an engine writes only what reconciles.
        if !self.mutated(Mutation::SyncingCounts) || self.engines[engine].attached {
            return;
        }
        let stamp = Stamp {
            generation: under.generation,
            sequence: *sequence,
        };
        let Some(entry) = self.map.at(under.share.bucket, under.epoch) else {
            return;
        };
        let held = &mut self.bent.held;
        if !held.chosen.contains_key(&(under.share, stamp)) {
            let zeros = vec![0; block.range.bytes()];
            let mut bytes = data.as_ref().map_or(zeros, |data| data.to_vec());
            let mut other = false;
            for (nth, number) in block.range.blocks().enumerate() {
                let at = |disk| (disk_number(disk), under.share, block.chunk, *cut, number);
                if let Some(found) = held.only_syncing(entry, at) {
                    let to = &mut bytes[nth * BLOCK_BYTES..(nth + 1) * BLOCK_BYTES];
                    to.fill(0);
                    if let Some(found) = found {
                        to.copy_from_slice(found);
                    }
                    other = true;
                }
            }
            let checksums = block_checksums(&bytes);
            let chosen = if other {
                (Content::Data { checksums }, Some(bytes.into()))
            } else {
                (content.clone(), data.clone())
            };
            held.chosen.insert((under.share, stamp), chosen);
        }
        (*content, *data) = held.chosen[&(under.share, stamp)].clone();
    }
}
