//! Looking at replicas directly: what an InSync one shows must be what the history has (I2), now
//! and in each snapshot; and at the end all must have the same versions in the same layers.

use crate::agenda::MS;
use crate::trace::About;
use crate::value::{Spot, Value};
use crate::world::{Event, Phase, World, disk_number};
use moraine_model::{BlockRange, ChunkIndex, Cut, Epoch, Role, Share, Stamp};
use moraine_protocol::{At, Block, Refusal, Reply, Request, RequestId, Under, VersionKind};
use std::collections::BTreeMap;

/// A look that has no answer yet.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    engine: usize,
    epoch: Epoch,
    spot: Spot,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Head(Value),
    Snapshot(u64),
    Layers,
    Layer(Cut),
    /// What is left of a volume that is gone.
    Remains,
}

/// A layer of a chunk: volume, chunk, cut.
type Layer = (usize, u32, Cut);
/// Its versions, block by block.
type Versions = Vec<(u16, Stamp, VersionKind)>;

/// What the final looks have found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Each layer at each disk.
    layers: BTreeMap<Layer, BTreeMap<usize, Versions>>,
    /// Looks that have no answer.
    open: usize,
}

impl World {
    /// Somebody looks at some block of some replica.
    pub(crate) fn look(&mut self) {
        if self.phase != Phase::Chaos && self.phase != Phase::Calm {
            return;
        }
        let volume = self.chance.below(self.volumes.len());
        if let Some(engine) = self.serving(volume) {
            let spots = self.history.spots(volume);
            let spot = spots[self.chance.below(spots.len())];
            let snapshot = self.chance.pick(&self.volumes[volume].snapshots).copied();
            let settled = self.history.block(spot).settled();
            let what = match (snapshot, settled) {
                (Some(cut), _) if self.chance.permille(600) => Some(What::Snapshot(cut)),
                (_, Some(value)) => Some(What::Head(value)),
                _ => None,
            };
            let disks: Vec<usize> = self
                .map
                .entry(self.bucket(spot))
                .in_sync()
                .map(disk_number)
                .collect();
            let disk = disks[self.chance.below(disks.len())];
            if let Some(what) = what {
                self.look_at(engine, disk, spot, what);
            }
        }
        let most = if self.phase == Phase::Chaos { 20 } else { 60 };
        let pause = self.chance.within(2 * MS..=most * MS);
        self.agenda.after(pause, Event::Look);
    }

    /// Asks a replica in the name of an engine, if that has opened there under the newest entry.
    fn look_at(&mut self, engine: usize, disk: usize, spot: Spot, what: What) {
        let entry = self.map.entry(self.bucket(spot));
        let host = &self.engines[engine];
        // What is left is asked for as by one that copies.
        let opened = what == What::Remains || host.seen.has_opened(entry);
        if !opened || self.agents[disk].replicas.is_none() {
            return;
        }
        let share = Share {
            volume: self.volumes[spot.volume].id,
            bucket: entry.bucket(),
        };
        let (epoch, generation) = (entry.epoch(), host.generation);
        let chunk = u32::try_from(spot.block / 1024)
            .ok()
            .and_then(|chunk| ChunkIndex::new(chunk).ok());
        let chunk = chunk.expect("a world's volumes are small");
        let first = u16::try_from(spot.block % 1024).expect("it is below 1024");
        let range = BlockRange::new(first, 1).expect("one block lies in its chunk");
        let read = |at| Request::Read {
            under: Under {
                share,
                generation,
                epoch,
            },
            block: Block { chunk, range },
            at,
            mark: Stamp::ZERO,
        };
        let request = match what {
            What::Head(_) => read(At::Head),
            What::Snapshot(cut) => read(At::Cut(Cut(cut))),
            What::Layers => Request::Layers {
                share,
                epoch,
                generation: Some(generation),
                chunk,
            },
            What::Layer(cut) => Request::Versions {
                share,
                epoch,
                generation: Some(generation),
                chunk,
                cut,
            },
            What::Remains => Request::Chunks {
                share,
                epoch,
                generation: None,
                above: Stamp::ZERO,
                from: chunk,
            },
        };
        let probe = Probe {
            engine,
            epoch,
            spot,
            what,
        };
        self.operator.findings.open += 1;
        self.probe(disk, request, probe);
    }

    /// A replica has answered a look.
    pub(crate) fn probe_answered(&mut self, disk: usize, id: RequestId, reply: Reply, data: &[u8]) {
        let Some(probe) = self.agents[disk].probes.remove(&id) else {
            return;
        };
        let findings = &mut self.operator.findings;
        findings.open = findings.open.saturating_sub(1);
        let spot = probe.spot;
        if let (What::Remains, Reply::Chunks { chunks, .. }) = (probe.what, &reply) {
            self.counts.looks += 1;
            if let Some(left) = chunks.first() {
                let what = format!(
                    "v{} is gone, but disk {} has something of chunk {} left",
                    spot.volume,
                    disk + 1,
                    left.chunk.get()
                );
                self.violated(Some(spot), what);
            }
            return;
        }
        let current = self.serving(spot.volume) == Some(probe.engine)
            && self.map.entry(self.bucket(spot)).epoch() == probe.epoch;
        if !current {
            return;
        }
        match (probe.what, reply) {
            (What::Head(value), Reply::Data { parts }) => {
                let found = self.shown(parts.is_empty(), data, spot);
                self.found_head(disk, spot, value, found);
            }
            (What::Snapshot(cut), Reply::Data { parts }) => {
                let found = self.shown(parts.is_empty(), data, spot);
                self.found_snapshot(disk, spot, cut, found);
            }
            (What::Layers, Reply::Layers { layers, .. }) => {
                for layer in layers {
                    self.look_at(probe.engine, disk, spot, What::Layer(layer.cut));
                }
            }
            (What::Layer(cut), Reply::Versions { versions, .. }) => {
                let mut list = Versions::new();
                for version in versions {
                    let blocks = version.range.blocks();
                    list.extend(blocks.map(|block| (block, version.tag.stamp, version.kind)));
                }
                let chunk = u32::try_from(spot.block / 1024).unwrap_or_default();
                let layer = self
                    .operator
                    .findings
                    .layers
                    .entry((spot.volume, chunk, cut))
                    .or_default();
                layer.insert(disk, list);
            }
            (what, Reply::Refused(refusal)) => self.look_refused(disk, &probe, what, &refusal),
            (what, reply) => self.violated(
                Some(spot),
                format!("disk {} answers {what:?} by {reply:?}", disk + 1),
            ),
        }
    }

    fn found_head(&mut self, disk: usize, spot: Spot, value: Value, found: Option<Value>) {
        // A write that began meanwhile may be there or not.
        if self.history.block(spot).settled() != Some(value) {
            return;
        }
        self.counts.looks += 1;
        if found != Some(value) {
            let found = found.map_or("garbage".into(), |found| found.to_string());
            let what = format!(
                "disk {} is in sync and has {found} at {spot}, where {value} was acknowledged (I2)",
                disk + 1
            );
            self.violated(Some(spot), what);
        }
    }

    fn found_snapshot(&mut self, disk: usize, spot: Spot, cut: u64, found: Option<Value>) {
        if self.volumes[spot.volume].deleted.contains(&cut) {
            return;
        }
        self.counts.looks += 1;
        self.note(About::Blocks(spot, 1), |_| {
            format!("disk {} shows {found:?} in snapshot {cut}", disk + 1)
        });
        match found {
            Some(value) => {
                let outcome = self.history.block(spot).snapshot(cut, value);
                self.judge(
                    spot,
                    outcome.map_err(|what| format!("on disk {}, {what}", disk + 1)),
                );
            }
            None => self.violated(
                Some(spot),
                format!("snapshot {cut} shows garbage at {spot}"),
            ),
        }
    }

    fn look_refused(&mut self, disk: usize, probe: &Probe, what: What, refusal: &Refusal) {
        let deleted = |cut: u64| self.volumes[probe.spot.volume].deleted.contains(&cut);
        let fine = match (what, refusal) {
            (What::Snapshot(cut), Refusal::NoSnapshot) => deleted(cut),
            (_, Refusal::Damaged { .. }) => true,
            (_, Refusal::Busy | Refusal::Stopped) => self.phase != Phase::Reading,
            _ => false,
        };
        if !fine {
            let what = format!(
                "disk {} refuses {what:?} of {}: {refusal}",
                disk + 1,
                probe.spot
            );
            self.violated(Some(probe.spot), what);
        }
    }

    /// Looks at everything that every replica has, when all is quiet.
    pub(crate) fn look_at_all(&mut self) {
        for volume in 0..self.volumes.len() {
            let Some(engine) = self.serving(volume) else {
                continue;
            };
            let spots = self.history.spots(volume);
            let snapshots = self.volumes[volume].snapshots.clone();
            for spot in spots {
                let entry = self.map.entry(self.bucket(spot)).clone();
                for listing in entry
                    .listings()
                    .iter()
                    .filter(|listing| listing.role == Role::InSync)
                {
                    let disk = disk_number(listing.disk);
                    if let Some(value) = self.history.block(spot).settled() {
                        self.look_at(engine, disk, spot, What::Head(value));
                    }
                    for cut in &snapshots {
                        self.look_at(engine, disk, spot, What::Snapshot(*cut));
                    }
                    if spot.block % 1024 == 0 {
                        self.look_at(engine, disk, spot, What::Layers);
                    }
                }
            }
        }
    }

    /// What the answer to a read of one block shows; `None` is garbage.
    fn shown(&self, nothing: bool, data: &[u8], spot: Spot) -> Option<Value> {
        if nothing || data.is_empty() {
            return Some(Value::Zeros);
        }
        self.value_at(data, spot)
    }

    /// Looks whether replicas have given back the space of volumes that are gone.
    pub(crate) fn look_for_remains(&mut self) {
        let gone = (0..self.volumes.len()).filter(|volume| self.is_gone(*volume));
        for volume in gone.collect::<Vec<_>>() {
            for chunk in 0..self.volumes[volume].chunks {
                let block = chunk * 1024;
                let spot = Spot { volume, block };
                let entry = self.map.entry(self.bucket(spot)).clone();
                for disk in entry.in_sync().map(disk_number) {
                    self.look_at(0, disk, spot, What::Remains);
                }
            }
        }
    }

    /// Whether all looks were answered.
    pub(crate) fn has_looked(&self) -> bool {
        self.agents.iter().all(|agent| agent.probes.is_empty())
    }

    /// All replicas have the same versions in the same layers.
    pub(crate) fn compare_layers(&mut self) {
        let layers = std::mem::take(&mut self.operator.findings.layers);
        for ((volume, chunk, cut), by_disk) in layers {
            let spot = Spot {
                volume,
                block: u64::from(chunk) * 1024,
            };
            let entry = self.map.entry(self.bucket(spot)).clone();
            let nothing = Versions::new();
            let mut disks = entry.in_sync().map(disk_number);
            let Some(first) = disks.next() else { continue };
            let one = by_disk.get(&first).unwrap_or(&nothing);
            for disk in disks {
                let other = by_disk.get(&disk).unwrap_or(&nothing);
                if let Some(wrong) = difference(one, other) {
                    let spot = Spot {
                        block: spot.block + u64::from(wrong.0),
                        ..spot
                    };
                    let what = format!(
                        "disks {} and {} differ at {spot} in layer {}: {}",
                        first + 1,
                        disk + 1,
                        cut.0,
                        wrong.1
                    );
                    return self.violated(Some(spot), what);
                }
            }
        }
    }
}

fn difference(one: &Versions, other: &Versions) -> Option<(u16, String)> {
    let blocks = |versions: &Versions| -> BTreeMap<u16, (Stamp, VersionKind)> {
        versions
            .iter()
            .map(|(block, stamp, kind)| (*block, (*stamp, *kind)))
            .collect()
    };
    let (one, other) = (blocks(one), blocks(other));
    let all = one.keys().chain(other.keys());
    let mut wrong = all.filter(|block| one.get(block) != other.get(block));
    let block = wrong.next()?;
    Some((
        *block,
        format!("{:?} and {:?}", one.get(block), other.get(block)),
    ))
}
