//! What a replica holds, for engines that reconcile and replicas that copy: shares, chunks, layers,
//! versions. Answered from memory, and only by what is durable.

use super::Replicas;
use super::requests::Taken;
use crate::bucket::{Bucket, malformed};
use moraine_model::{
    BucketId, ChunkIndex, Cut, Epoch, Generation, Place, Role, Share, Stamp, VolumeId,
};
use moraine_protocol::limits::{CHUNKS_MAX, LAYERS_MAX, NAMES_MAX, SHARES_MAX};
use moraine_protocol::{
    ChunkStamp, LayerStamp, Refusal, Reply, Request, Rule, ShareState, Under, Version, VersionKind,
};
use moraine_store::Disk;
use moraine_store::index::layer::PieceKind;
use moraine_store::index::retention::Retention;
use std::collections::{BTreeMap, BTreeSet};

impl<D: Disk> Replicas<D> {
    /// Answers those requests that ask what is held.
    pub(super) fn list(&mut self, request: &Request) -> Result<Taken, Refusal> {
        let reply = match *request {
            Request::Shares {
                bucket,
                epoch,
                after,
            } => {
                let known = self.buckets.get(&bucket).ok_or(Refusal::NotOpen)?;
                known.lets_copy(epoch, self.options.disk)?;
                self.shares(bucket, known, after)?
            }
            Request::Chunks {
                share,
                epoch,
                generation,
                above,
                from,
            } => {
                self.let_list(share, epoch, generation)?;
                self.chunks(share, generation, above, from)
            }
            Request::Layers {
                share,
                epoch,
                generation,
                chunk,
            } => {
                self.let_list(share, epoch, generation)?;
                self.layers(share.place(chunk), generation)?
            }
            Request::Versions {
                share,
                epoch,
                generation,
                chunk,
                cut,
            } => {
                self.let_list(share, epoch, generation)?;
                self.versions(share.place(chunk), cut, generation)
            }
            Request::Copy {
                share,
                epoch,
                block,
                cut,
            } => {
                let taken = self.copy(share, epoch, block, cut);
                return taken;
            }
            _ => return Err(malformed(Rule::StoreLimits)),
        };
        Ok(Taken::Answered(reply))
    }

    fn let_list(
        &self,
        share: Share,
        epoch: Epoch,
        generation: Option<Generation>,
    ) -> Result<(), Refusal> {
        let known = self.buckets.get(&share.bucket).ok_or(Refusal::NotOpen)?;
        let Some(generation) = generation else {
            return known.lets_copy(epoch, self.options.disk);
        };
        let under = Under {
            share,
            generation,
            epoch,
        };
        known.lets_in(&under, self.options.disk).map(drop)
    }

    /// The shares of a bucket that have blocks, names or a fence.
    pub(crate) fn volumes_of(&self, bucket: BucketId) -> BTreeSet<VolumeId> {
        let held = self.shard.shares().filter(|share| share.bucket == bucket);
        let mut volumes: BTreeSet<VolumeId> = held.map(|share| share.volume).collect();
        if let Some(known) = self.buckets.get(&bucket) {
            volumes.extend(known.shares.keys().copied());
        }
        volumes
    }

    fn shares(
        &self,
        bucket: BucketId,
        known: &Bucket,
        after: Option<VolumeId>,
    ) -> Result<Reply, Refusal> {
        let volumes = self.volumes_of(bucket);
        let mut volumes = volumes
            .into_iter()
            .filter(|volume| after.is_none_or(|after| *volume > after));
        let (mut shares, mut names) = (Vec::new(), 0);
        let mut more = false;
        for volume in &mut volumes {
            let state = self.share_state(Share { volume, bucket }, known);
            names += state.deleted_snapshots.len() + state.references.len();
            if shares.len() == SHARES_MAX || (names > NAMES_MAX && !shares.is_empty()) {
                more = true;
                break;
            }
            if names > NAMES_MAX {
                // One share that no answer can hold. Half of its names would cost a clone its data.
                return Err(malformed(Rule::StoreLimits));
            }
            shares.push(state);
        }
        Ok(Reply::Shares { shares, more })
    }

    fn share_state(&self, share: Share, known: &Bucket) -> ShareState {
        let retention = self.shard.retention(share);
        let fence = known.fence(share.volume).durable();
        ShareState {
            volume: share.volume,
            fence: fence.unwrap_or_default(),
            deleted_at: retention.and_then(Retention::head_deleted_at),
            deleted_snapshots: retention.map_or(Vec::new(), |kept| kept.deleted().collect()),
            references: retention.map_or(Vec::new(), |kept| kept.references().collect()),
        }
    }

    fn chunks(
        &self,
        share: Share,
        generation: Option<Generation>,
        above: Stamp,
        from: ChunkIndex,
    ) -> Reply {
        let counting = match generation {
            Some(_) => self.counting_chunks(share, above),
            None => self.chunks_above(share, above, None),
        };
        let mut chunks: Vec<_> = counting.filter(|found| found.chunk >= from).collect();
        let more = chunks.len() > CHUNKS_MAX;
        chunks.truncate(CHUNKS_MAX);
        Reply::Chunks { chunks, more }
    }

    /// The chunks with versions above a stamp that count for an engine: of a replica in sync all,
    /// of a syncing one those written to it since it was listed.
    pub(super) fn counting_chunks(
        &self,
        share: Share,
        above: Stamp,
    ) -> Box<dyn Iterator<Item = ChunkStamp> + '_> {
        self.chunks_above(share, above, self.counts_since(share.bucket))
    }

    /// The epoch since which versions count for an engine, if not all do.
    fn counts_since(&self, bucket: BucketId) -> Option<Epoch> {
        let known = self.buckets.get(&bucket)?;
        let listing = known.listing(self.options.disk)?;
        (listing.role == Role::Syncing).then_some(listing.since)
    }

    /// The versions of a chunk that an asker is told. An engine hears nothing from a syncing replica
    /// of what it held before it was listed: that may still be taken away, so it agrees with nothing.
    fn told_versions(
        &self,
        place: Place,
        asker: Option<Generation>,
    ) -> Vec<moraine_store::Version> {
        let mut versions = self.shard.versions(place);
        if let (Some(_), Some(since)) = (asker, self.counts_since(place.bucket)) {
            versions.retain(|version| version.tag.epoch >= since);
        }
        versions
    }

    /// Whether a share has versions that were written here since an epoch.
    pub(crate) fn is_written_since(&self, share: Share, since: Epoch) -> bool {
        let mut written = self.chunks_above(share, Stamp::ZERO, Some(since));
        written.next().is_some()
    }

    fn chunks_above(
        &self,
        share: Share,
        above: Stamp,
        since: Option<Epoch>,
    ) -> Box<dyn Iterator<Item = ChunkStamp> + '_> {
        let chunks = self.shard.chunks_above(share, above).into_iter();
        Box::new(chunks.filter_map(move |found| {
            let chunk = found.chunk;
            let newest = match since {
                None => Some(found.newest),
                Some(since) => {
                    let versions = self.shard.versions(share.place(chunk)).into_iter();
                    let counting = versions.filter(|version| version.tag.epoch >= since);
                    let stamps = counting.map(|version| version.tag.stamp);
                    stamps.max().filter(|newest| *newest > above)
                }
            };
            newest.map(|newest| ChunkStamp { chunk, newest })
        }))
    }

    /// The fence is the durable one: one that a crash may take back would let who copies drop what
    /// the older engine can still have acknowledged.
    fn durable_fence(&self, share: Share) -> Generation {
        let known = self.buckets.get(&share.bucket);
        let fence = known.and_then(|known| known.fence(share.volume).durable());
        fence.unwrap_or_default()
    }

    fn layers(&self, place: Place, asker: Option<Generation>) -> Result<Reply, Refusal> {
        let mut layers: BTreeMap<Cut, Stamp> = BTreeMap::new();
        for version in self.told_versions(place, asker) {
            let newest = layers.entry(version.tag.cut).or_default();
            *newest = version.tag.stamp.max(*newest);
        }
        if layers.len() > LAYERS_MAX {
            return Err(malformed(Rule::StoreLimits));
        }
        let layers = layers.into_iter().rev();
        Ok(Reply::Layers {
            fence: self.durable_fence(place.share()),
            layers: layers
                .map(|(cut, newest)| LayerStamp { cut, newest })
                .collect(),
        })
    }

    /// The layers of a chunk.
    pub(crate) fn cuts_of(&self, place: Place) -> BTreeSet<Cut> {
        let versions = self.shard.versions(place).into_iter();
        versions.map(|version| version.tag.cut).collect()
    }

    fn versions(&self, place: Place, cut: Cut, asker: Option<Generation>) -> Reply {
        let versions = self.told_versions(place, asker);
        let versions = versions.iter().filter(|version| version.tag.cut == cut);
        Reply::Versions {
            fence: self.durable_fence(place.share()),
            versions: versions.map(version_of).collect(),
        }
    }
}

/// A version of the store in the words of the protocol.
pub(super) fn version_of(version: &moraine_store::Version) -> Version {
    Version {
        range: version.range,
        kind: match version.kind {
            PieceKind::Data => VersionKind::Data,
            // Holes are no versions; the store names none.
            PieceKind::Zero | PieceKind::Hole => VersionKind::Zero,
        },
        tag: version.tag,
    }
}
