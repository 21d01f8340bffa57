//! A disk with replicas, as simple as the protocol's rules allow: every step is durable at once.

use bytes::{Bytes, BytesMut};
use moraine_model::{
    BLOCK_BYTES, BlockRange, BucketEntry, BucketId, ChunkIndex, Cut, DiskId, Epoch, Generation,
    Role, Stamp, Tag, block_checksums,
};
use moraine_protocol::{
    At, ChunkStamp, Content, LayerStamp, Part, Refusal, Reply, Request, Rule, Under, Version,
    VersionKind,
};
use std::collections::{BTreeMap, BTreeSet};

/// What a block is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Zero,
    Data(Bytes),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) stamp: Stamp,
    pub(crate) epoch: Epoch,
    pub(crate) value: Value,
}

/// The replica of one bucket, of the one volume that there is.
#[derive(Debug, Clone)]
pub(crate) struct Replica {
    pub(crate) entry: BucketEntry,
    pub(crate) fence: Generation,
    pub(crate) mark: Stamp,
    pub(crate) held: BTreeMap<(ChunkIndex, u16, Cut), Held>,
}

#[derive(Debug)]
pub(crate) struct Disk {
    pub(crate) id: DiskId,
    pub(crate) replicas: BTreeMap<BucketId, Replica>,
    /// Snapshots that were deleted.
    pub(crate) deleted: BTreeSet<Cut>,
    /// What a clone's parent holds: every block of it, as of cut 0.
    pub(crate) parent: Option<Bytes>,
    /// Refuse the next so many requests that aren't opens with this.
    pub(crate) refuse: Option<(u32, Refusal)>,
    /// Blocks that can't be read, until they are written.
    pub(crate) damaged: BTreeSet<(ChunkIndex, u16)>,
    /// Change a byte of the next so many answers on their way.
    pub(crate) garble: u32,
}

impl Disk {
    pub(crate) fn new(id: u128) -> Self {
        Self {
            id: DiskId::new(id).unwrap(),
            replicas: BTreeMap::new(),
            deleted: BTreeSet::new(),
            parent: None,
            refuse: None,
            damaged: BTreeSet::new(),
            garble: 0,
        }
    }

    /// The disk learns of the map.
    pub(crate) fn learn(&mut self, entry: &BucketEntry) {
        let id = entry.bucket();
        let fresh = || Replica {
            entry: entry.clone(),
            fence: Generation::default(),
            mark: Stamp::ZERO,
            held: BTreeMap::new(),
        };
        let replica = self.replicas.entry(id).or_insert_with(fresh);
        if replica.entry.epoch() < entry.epoch() {
            replica.entry = entry.clone();
        }
    }

    pub(crate) fn handle(&mut self, request: &Request, payload: &Bytes) -> (Reply, Bytes) {
        let refusable = !matches!(request, Request::Ping | Request::Open { .. });
        if refusable
            && let Some((times, refusal)) = &mut self.refuse
            && *times > 0
        {
            *times -= 1;
            return (Reply::Refused(refusal.clone()), Bytes::new());
        }
        match self.serve(request, payload) {
            Ok((reply, mut data)) => {
                if self.garble > 0 && !data.is_empty() {
                    self.garble -= 1;
                    let mut bytes = BytesMut::from(&data[..]);
                    bytes[100] ^= 1;
                    data = bytes.freeze();
                }
                (reply, data)
            }
            Err(refusal) => (Reply::Refused(refusal), Bytes::new()),
        }
    }

    fn serve(&mut self, request: &Request, payload: &Bytes) -> Result<(Reply, Bytes), Refusal> {
        let none = Bytes::new();
        let reply = match request {
            Request::Ping => Reply::Done,
            Request::Open {
                generation, entry, ..
            } => self.open(*generation, entry)?,
            Request::Write { .. } => self.write(request, payload)?,
            Request::Read {
                under, block, at, ..
            } => return self.read(under, block.chunk, block.range, *at),
            Request::Close { under, mark } => {
                let disk = self.id;
                let replica = self.allowed(under)?;
                if replica.entry.on(disk).unwrap().role == Role::InSync {
                    replica.mark = replica.mark.max(*mark);
                }
                Reply::Done
            }
            Request::Chunks { .. } | Request::Layers { .. } | Request::Versions { .. } => {
                self.look(request)?
            }
            _ => panic!("an engine doesn't ask this: {request:?}"),
        };
        Ok((reply, none))
    }

    fn write(&mut self, request: &Request, payload: &Bytes) -> Result<Reply, Refusal> {
        let Request::Write {
            under,
            block,
            sequence,
            cut,
            mark,
            content,
        } = request
        else {
            unreachable!("it was looked at");
        };
        let stamp = Stamp {
            generation: under.generation,
            sequence: *sequence,
        };
        let disk = self.id;
        let replica = self.allowed(under)?;
        let listing = *replica.entry.on(disk).expect("it was opened");
        let epoch = under.epoch;
        for (nth, number) in block.range.blocks().enumerate() {
            let value = match content {
                Content::Zero => Value::Zero,
                Content::Data { checksums } => {
                    let data = payload.slice(nth * BLOCK_BYTES..(nth + 1) * BLOCK_BYTES);
                    assert_eq!(block_checksums(&data)[0], checksums[nth]);
                    Value::Data(data)
                }
            };
            let held = Held {
                stamp,
                epoch,
                value,
            };
            let slot = replica.held.entry((block.chunk, number, *cut));
            let slot = slot.or_insert_with(|| held.clone());
            if stamp > slot.stamp || slot.epoch < listing.since {
                *slot = held;
            } else if stamp == slot.stamp {
                slot.epoch = slot.epoch.max(epoch);
            }
        }
        if listing.role == Role::InSync {
            replica.mark = replica.mark.max(*mark);
        }
        for number in block.range.blocks() {
            self.damaged.remove(&(block.chunk, number));
        }
        Ok(Reply::Done)
    }

    fn open(&mut self, generation: Generation, entry: &BucketEntry) -> Result<Reply, Refusal> {
        let Some(listing) = entry.on(self.id).copied() else {
            return Err(Refusal::Malformed {
                rule: Rule::AskedIsListed,
            });
        };
        self.learn(entry);
        let replica = self.replicas.get_mut(&entry.bucket()).unwrap();
        if replica.entry.epoch() > entry.epoch() {
            let entry = replica.entry.clone();
            return Err(Refusal::StaleEpoch { entry });
        }
        if replica.fence > generation {
            return Err(Refusal::Fenced { by: replica.fence });
        }
        replica.fence = generation;
        let mark = replica.mark;
        let counts = |held: &Held| {
            held.stamp > mark && (listing.role == Role::InSync || held.epoch >= listing.since)
        };
        Ok(Reply::Opened {
            mark,
            cut: replica
                .held
                .keys()
                .map(|key| key.2)
                .max()
                .unwrap_or_default(),
            above_mark: replica.held.values().any(counts),
        })
    }

    fn allowed(&mut self, under: &Under) -> Result<&mut Replica, Refusal> {
        let bucket = under.share.bucket;
        self.permitted(bucket, under.generation, under.epoch)
    }

    fn permitted(
        &mut self,
        bucket: BucketId,
        generation: Generation,
        epoch: Epoch,
    ) -> Result<&mut Replica, Refusal> {
        let replica = self.replicas.get_mut(&bucket).ok_or(Refusal::NotHere)?;
        if replica.entry.epoch() > epoch {
            let entry = replica.entry.clone();
            return Err(Refusal::StaleEpoch { entry });
        }
        if replica.fence > generation {
            return Err(Refusal::Fenced { by: replica.fence });
        }
        if replica.entry.epoch() < epoch || replica.fence < generation {
            return Err(Refusal::NotOpen);
        }
        Ok(replica)
    }

    fn read(
        &mut self,
        under: &Under,
        chunk: ChunkIndex,
        range: BlockRange,
        at: At,
    ) -> Result<(Reply, Bytes), Refusal> {
        let (disk, parent) = (self.id, self.parent.clone());
        let (deleted, damaged) = (self.deleted.clone(), self.damaged.clone());
        let replica = self.allowed(under)?;
        if replica.entry.on(disk).unwrap().role != Role::InSync {
            return Err(Refusal::NotInSync);
        }
        let newest = match at {
            At::Head => Cut(u64::MAX),
            At::Cut(cut) if deleted.contains(&cut) => return Err(Refusal::NoSnapshot),
            At::Cut(cut) => cut,
        };
        let (mut parts, mut data) = (Vec::new(), BytesMut::new());
        for block in range.blocks() {
            let keys = (chunk, block, Cut(0))..=(chunk, block, newest);
            let found = replica.held.range(keys).next_back();
            let found = found.map(|((_, _, cut), held)| (*cut, held.clone(), false));
            let inherited = parent.clone().map(|data| {
                let held = Held {
                    stamp: Stamp::new(1, 0, 1),
                    epoch: Epoch(1),
                    value: Value::Data(data),
                };
                (Cut(0), held, true)
            });
            let Some((cut, held, inherited)) = found.or(inherited) else {
                continue;
            };
            if damaged.contains(&(chunk, block)) {
                return Err(Refusal::Damaged { block });
            }
            let (kind, bytes) = match held.value {
                Value::Zero => (VersionKind::Zero, Bytes::new()),
                Value::Data(data) => (VersionKind::Data, data),
            };
            let tag = Tag {
                stamp: held.stamp,
                cut,
                epoch: held.epoch,
            };
            let range = BlockRange::new(block, 1).unwrap();
            parts.push(Part {
                version: Version { range, kind, tag },
                inherited,
                checksums: block_checksums(&bytes),
            });
            data.extend_from_slice(&bytes);
        }
        Ok((Reply::Data { parts }, data.freeze()))
    }

    fn look(&mut self, request: &Request) -> Result<Reply, Refusal> {
        match request {
            Request::Chunks {
                share,
                epoch,
                generation,
                above,
                from,
            } => {
                let replica = self.permitted(share.bucket, generation.unwrap(), *epoch)?;
                let mut newest: BTreeMap<ChunkIndex, Stamp> = BTreeMap::new();
                for ((chunk, ..), held) in &replica.held {
                    if held.stamp > *above && chunk >= from {
                        let stamp = newest.entry(*chunk).or_default();
                        *stamp = held.stamp.max(*stamp);
                    }
                }
                // Pages of two, so that there is a second one.
                let more = newest.len() > 2;
                let chunks = newest.into_iter().take(2);
                let chunks = chunks.map(|(chunk, newest)| ChunkStamp { chunk, newest });
                let chunks = chunks.collect();
                Ok(Reply::Chunks { chunks, more })
            }
            Request::Layers {
                share,
                epoch,
                generation,
                chunk,
            } => {
                let replica = self.permitted(share.bucket, generation.unwrap(), *epoch)?;
                let mut newest: BTreeMap<Cut, Stamp> = BTreeMap::new();
                for ((at, _, cut), held) in &replica.held {
                    if at == chunk {
                        let stamp = newest.entry(*cut).or_default();
                        *stamp = held.stamp.max(*stamp);
                    }
                }
                let layers = newest.into_iter().rev();
                let layers = layers.map(|(cut, newest)| LayerStamp { cut, newest });
                Ok(Reply::Layers {
                    fence: replica.fence,
                    layers: layers.collect(),
                })
            }
            _ => self.versions(request),
        }
    }

    fn versions(&mut self, request: &Request) -> Result<Reply, Refusal> {
        let Request::Versions {
            share,
            epoch,
            generation,
            chunk,
            cut,
        } = request
        else {
            unreachable!("it was looked at");
        };
        let replica = self.permitted(share.bucket, generation.unwrap(), *epoch)?;
        let layer = replica.held.iter();
        let layer = layer.filter(|((at, _, layer), _)| at == chunk && layer == cut);
        let versions = layer.map(|((_, block, cut), held)| Version {
            range: BlockRange::new(*block, 1).unwrap(),
            kind: match held.value {
                Value::Zero => VersionKind::Zero,
                Value::Data(_) => VersionKind::Data,
            },
            tag: Tag {
                stamp: held.stamp,
                cut: *cut,
                epoch: held.epoch,
            },
        });
        Ok(Reply::Versions {
            fence: replica.fence,
            versions: versions.collect(),
        })
    }

    /// Copies a bucket from a source in sync, all at once, as `docs/design.md` says.
    pub(crate) fn copy_from(&mut self, source: &mut Disk, bucket: BucketId) {
        let entry = self.replicas[&bucket].entry.clone();
        source.learn(&entry);
        let theirs = &source.replicas[&bucket];
        let since = entry.on(self.id).unwrap().since;
        let ours = self.replicas.get_mut(&bucket).unwrap();
        ours.fence = ours.fence.max(theirs.fence);
        let keys: BTreeSet<_> = ours
            .held
            .keys()
            .chain(theirs.held.keys())
            .copied()
            .collect();
        for key in keys {
            let stamp = theirs.held.get(&key).map_or(Stamp::ZERO, |held| held.stamp);
            let keeps = ours.held.get(&key).is_some_and(|own| {
                own.epoch >= since && own.stamp > stamp && own.stamp.generation >= theirs.fence
            });
            match theirs.held.get(&key) {
                _ if keeps => {}
                None => drop(ours.held.remove(&key)),
                Some(held) => {
                    let held = Held {
                        epoch: since,
                        ..held.clone()
                    };
                    ours.held.insert(key, held);
                }
            }
        }
    }

    /// What shows at a cut, in bytes of one value.
    pub(crate) fn shown(&self, bucket: BucketId, chunk: ChunkIndex, block: u16, cut: Cut) -> Value {
        let keys = (chunk, block, Cut(0))..=(chunk, block, cut);
        let held = &self.replicas[&bucket].held;
        let found = held.range(keys).next_back();
        found.map_or(Value::Zero, |(_, held)| held.value.clone())
    }
}
