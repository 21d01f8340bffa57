//! Taking disks for pools: a file of the agent's own, or a device that was just judged fit for it.
//!
//! The order is always: format, hold (and keep in the list), serve. A crash after the format leaves a
//! disk that says whose it is, so the next look takes it without formatting; one before it leaves a
//! device that is judged again, or a file that never got its name.

use super::kept::Record;
use super::{Serving, Standing};
use crate::data::identity::random;
use crate::data::open::{self, NewDisk, OpenDisk};
use crate::devices::{DeviceNumber, Facts, Found, Take};
use crate::durable;
use anyhow::{Context, Result, ensure};
use moraine_crds::words;
use moraine_model::{BLOCK_BYTES, ClusterId, DiskId};
use moraine_store::disk::Allocation;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

/// The most disks that a node's report has room for.
const DISKS_MAX: usize = 64;
/// Shards of a file: it shares the node's disk with everything else, and more threads would not make
/// that faster.
const FILE_SHARDS: u32 = 1;
/// Most shards of a device. Each is a thread that can use a core up, and a device that needs more than
/// four of them to be busy is rare.
const DEVICE_SHARDS_MAX: usize = 4;

/// A pool that takes disks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pool {
    /// Its name.
    pub(crate) name: String,
    /// Its id.
    pub(crate) id: ClusterId,
}

/// A device that was judged fit.
#[derive(Debug)]
pub(crate) struct DeviceClaim<'a> {
    /// What led to it.
    pub(crate) found: &'a Found,
    /// What it is.
    pub(crate) facts: &'a Facts,
    /// What may be done with it.
    pub(crate) take: Take,
}

impl Serving {
    /// Takes the file of a pool with `devices.file`: makes it if it never was, opens it if it isn't
    /// served. Blocks.
    pub(crate) fn claim_file(&self, pool: &Pool, bytes: u64) -> Result<()> {
        let path = self.kept.disk_path(pool.id);
        let name = path.to_string_lossy().into_owned();
        if let Some(id) = self.held_at(&name) {
            self.note_size(id, bytes);
            return Ok(());
        }
        let disk = if path.exists() {
            open::open(&path, pool.id)?
        } else {
            self.has_room_for_one()?;
            if let Some(folder) = path.parent() {
                durable::folder(folder)?;
            }
            let new = new_disk(pool.id, FILE_SHARDS)?;
            // Sparse, as the pool promises; that it runs out of room shows as a failed write then.
            open::make(&path, bytes, Allocation::Sparse, &new)?
        };
        let record = record(pool, name, &disk);
        self.hold_and_serve(
            Record {
                is_file: true,
                ..record
            },
            &disk,
        );
        Ok(())
    }

    /// Takes a device. What it holds is overwritten only as the verdict on it says, which must be of
    /// the same look. Blocks.
    pub(crate) fn claim_device(&self, pool: &Pool, claim: &DeviceClaim<'_>) -> Result<()> {
        let path = &claim.found.node;
        let disk = match claim.take {
            Take::Open(id) => {
                if self.found_again(id, &claim.found.path) {
                    return Ok(());
                }
                self.has_room_for_one()?;
                open::open(path, pool.id)?
            }
            Take::Format { wipe } => {
                self.has_room_for_one()?;
                let new = new_disk(pool.id, device_shards())?;
                tracing::warn!(pool = pool.name, path = claim.found.path, disk = %new.disk, wipe, "formats a device");
                open::format(path, &new, wipe)?
            }
        };
        let record = Record {
            model: short(claim.facts.model.as_ref()),
            serial: short(claim.facts.serial.as_ref()),
            ..record(pool, claim.found.path.clone(), &disk)
        };
        self.hold_and_serve(record, &disk);
        Ok(())
    }

    /// The end of a look: which disks are there is known now. Those that are not served, and could be,
    /// are tried again. Blocks.
    pub(crate) fn settle(&self, seen: &BTreeSet<DiskId>) {
        self.mark_missing(seen);
        let waiting: Vec<DiskId> = {
            let state = self.hold();
            let disks = state.disks.iter();
            let waiting = disks.filter(|(_, held)| held.standing != Standing::Served);
            waiting.map(|(id, _)| *id).collect()
        };
        for disk in waiting {
            self.try_again(disk);
        }
    }

    /// Those are there that were seen, and all whose place still leads to something. The others are
    /// missing, until they are seen again.
    fn mark_missing(&self, seen: &BTreeSet<DiskId>) {
        let mut state = self.hold();
        for (id, held) in &mut state.disks {
            let is_there = seen.contains(id)
                || self.place(&held.record).is_some_and(|path| {
                    if held.record.is_file {
                        path.is_file()
                    } else {
                        DeviceNumber::at(&path).is_some()
                    }
                });
            if !is_there && !matches!(held.standing, Standing::Missing(_)) {
                tracing::error!(disk = %id, path = held.record.path, "the disk is gone");
                held.standing = Standing::Missing(format!("{} is not there", held.record.path));
            }
        }
    }

    fn held_at(&self, path: &str) -> Option<DiskId> {
        let state = self.hold();
        let mut disks = state.disks.iter();
        let found = disks.find(|(_, held)| held.record.is_file && held.record.path == path);
        found.map(|(id, _)| *id)
    }

    fn has_room_for_one(&self) -> Result<()> {
        let held = self.hold().disks.len();
        ensure!(
            held < DISKS_MAX,
            "this node has {held} disks already, and no more than {DISKS_MAX} can be told of"
        );
        Ok(())
    }

    /// Whether the disk of a device is held already. If it isn't served, it may have another name now.
    fn found_again(&self, id: DiskId, path: &str) -> bool {
        let mut state = self.hold();
        let Some(held) = state.disks.get_mut(&id) else {
            return false;
        };
        if held.standing != Standing::Served && held.record.path != path {
            path.clone_into(&mut held.record.path);
            self.keep_disks(&state);
        }
        true
    }

    /// Opens a held disk that isn't served. One whose shards failed is not among those, until the agent
    /// starts again or the disk was taken out: to open it again and again would hide that it is broken.
    fn try_again(&self, id: DiskId) {
        let (record, standing) = {
            let state = self.hold();
            let Some(held) = state.disks.get(&id) else {
                return;
            };
            (held.record.clone(), held.standing.clone())
        };
        let Some(buckets) = self.buckets(record.pool_id) else {
            return;
        };
        let now = if self.served.remove(id).join() {
            self.reopen(&record, buckets)
        } else {
            // What is left of its service, from before it was gone, still has its lock.
            Standing::Failed("what served it before it was gone doesn't end".to_owned())
        };
        if now != standing {
            tracing::info!(disk = %id, path = record.path, standing = ?now, "tried a disk again");
        }
        if let Some(held) = self.hold().disks.get_mut(&id) {
            held.standing = now;
            held.added = Instant::now();
        }
    }

    fn hold_and_serve(&self, record: Record, disk: &OpenDisk) {
        let (id, path, pool) = (record.id, record.path.clone(), record.pool.clone());
        // Held first: should it not be served, it is still the pool's, and that has to be told.
        self.insert(record, Standing::Served);
        match self.serve(disk) {
            Ok(()) => tracing::info!(disk = %id, path, pool, "serves a disk"),
            Err(error) => {
                tracing::error!(disk = %id, path, pool, "a disk can't be served: {error:#}");
                if let Some(held) = self.hold().disks.get_mut(&id) {
                    held.standing = Standing::Failed(format!("{error:#}"));
                }
            }
        }
    }

    /// Says it if the pool asks for another size than the disk has.
    fn note_size(&self, id: DiskId, bytes: u64) {
        let mut state = self.hold();
        let Some(held) = state.disks.get_mut(&id) else {
            return;
        };
        let file = Path::new(&held.record.path).metadata();
        let has = file.map_or(bytes, |file| file.len());
        held.note = (has < bytes - bytes % BLOCK_BYTES as u64).then(|| {
            format!(
                "the pool asks for {}, and the disk was made with {}: this version can't let a disk grow",
                words::size(bytes),
                words::size(has)
            )
        });
    }
}

fn new_disk(cluster: ClusterId, shards: u32) -> Result<NewDisk> {
    let disk = DiskId::new(random()?).context("making an id for the disk")?;
    Ok(NewDisk {
        cluster,
        disk,
        shards,
    })
}

fn device_shards() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cores.min(DEVICE_SHARDS_MAX)).unwrap_or(1)
}

fn record(pool: &Pool, path: String, disk: &OpenDisk) -> Record {
    let superblock = disk.opened.superblock;
    let layout = superblock.layout;
    let blocks = u64::from(layout.segments) * u64::from(layout.segment_blocks);
    Record {
        id: superblock.disk,
        pool_id: pool.id,
        pool: pool.name.clone(),
        path,
        is_file: false,
        model: None,
        serial: None,
        shards: layout.shards,
        size_bytes: blocks * BLOCK_BYTES as u64,
    }
}

/// No more characters than the report has room for.
fn short(text: Option<&String>) -> Option<String> {
    Some(text?.chars().take(128).collect())
}
