//! Opening disks, and making and formatting them. Which, and whether it may be, is decided elsewhere;
//! here is only that a crash between two steps leaves nothing that looks like a disk and is none.

use crate::durable;
use anyhow::{Context, Result};
use moraine_model::{BLOCK_BYTES, ClusterId, DiskId};
use moraine_store::disk::{Allocation, Device, OpenOptions, create_file};
use moraine_store::format::SEGMENT_BLOCKS;
use moraine_store::{FormatOptions, Opened};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a disk is waited for that somebody else has. After `kill -9` of an agent that is the kernel,
/// until it has finished the dead one's I/O: on a busy machine that takes seconds, and to give up would
/// leave the disk alone until the next look at the devices.
const PATIENCE: Duration = Duration::from_secs(10);

/// A device whose store is open, and before any shard has recovered.
#[derive(Debug)]
pub(crate) struct OpenDisk {
    pub(crate) device: Device,
    pub(crate) opened: Arc<Opened>,
}

/// What a new disk is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewDisk {
    pub(crate) cluster: ClusterId,
    pub(crate) disk: DiskId,
    pub(crate) shards: u32,
}

/// Opens a disk of this cluster.
pub(crate) fn open(path: &Path, cluster: ClusterId) -> Result<OpenDisk> {
    opened(device(path)?, cluster).with_context(|| format!("opening the disk {}", path.display()))
}

/// Makes a file and formats it as a disk, where there is nothing.
pub(crate) fn make(
    path: &Path,
    bytes: u64,
    allocation: Allocation,
    new: &NewDisk,
) -> Result<OpenDisk> {
    let unfinished = durable::aside(path);
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error)
            .with_context(|| format!("removing {}, which a crash left", unfinished.display()))?,
        _ => {}
    }
    let bytes = bytes - bytes % BLOCK_BYTES as u64;
    create_file(&unfinished, bytes, allocation)?;
    let disk = format(&unfinished, new, false)?;
    // It gets its name when it is a disk: what has the name never needs to be formatted.
    durable::publish(path)?;
    Ok(disk)
}

/// Formats a device, which holds nothing unless `wipe` gives up what it does.
pub(crate) fn format(path: &Path, new: &NewDisk, wipe: bool) -> Result<OpenDisk> {
    // From here on nobody else has it. The store looks again whether it is blank.
    let device = device(path)?;
    let formatting = || format!("formatting {}", path.display());
    let mut handle = device.handle().with_context(formatting)?.disk;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let options = FormatOptions {
        shards: new.shards,
        segment_blocks: segment_blocks(device.geometry().size_bytes, new.shards),
        wipe,
        now_ms: now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(0)),
        ..FormatOptions::new(new.cluster, new.disk)
    };
    moraine_store::format(&mut handle, &options).with_context(formatting)?;
    drop(handle);
    opened(device, new.cluster).with_context(|| format!("opening the disk {}", path.display()))
}

fn device(path: &Path) -> Result<Device> {
    let options = OpenOptions {
        patience: PATIENCE,
        ..OpenOptions::default()
    };
    Ok(Device::open(path, &options)?)
}

fn opened(device: Device, cluster: ClusterId) -> Result<OpenDisk> {
    let mut handle = device.handle()?.disk;
    let opened = Arc::new(moraine_store::open(&mut handle, cluster)?);
    Ok(OpenDisk { device, opened })
}

/// Blocks of a segment for a new disk: the usual, or fewer for a small one, so that each shard has
/// enough segments for its reserve not to be most of the disk.
fn segment_blocks(bytes: u64, shards: u32) -> u32 {
    const SEGMENTS_WANTED: u64 = 32;
    // A write of the most that a frame has must fit a batch.
    const FEWEST: u32 = 2048;
    let mut blocks = SEGMENT_BLOCKS;
    while blocks > FEWEST
        && bytes / (u64::from(blocks) * BLOCK_BYTES as u64) < SEGMENTS_WANTED * u64::from(shards)
    {
        blocks /= 2;
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new() -> NewDisk {
        NewDisk {
            cluster: ClusterId::new(7).unwrap(),
            disk: DiskId::new(8).unwrap(),
            shards: 2,
        }
    }

    const BYTES: u64 = (256 << 20) + 77;

    #[test]
    fn a_disk_that_was_made_is_opened_as_what_it_was_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let made = make(&path, BYTES, Allocation::Sparse, &new()).unwrap();
        let superblock = made.opened.superblock;
        assert!(superblock.formatted_at_ms > 0);
        drop(made);
        let opened = open(&path, new().cluster).unwrap();
        assert_eq!(opened.opened.superblock, superblock);
        assert_eq!(superblock.disk, new().disk);
        assert_eq!(superblock.layout.shards, 2);
        drop(opened);
        let other = ClusterId::new(9).unwrap();
        let error = format!("{:#}", open(&path, other).unwrap_err());
        assert!(error.contains("belongs to cluster"), "{error}");
    }

    #[test]
    fn what_a_crash_left_before_the_disk_had_its_name_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        std::fs::write(durable::aside(&path), "half formatted").unwrap();
        make(&path, BYTES, Allocation::Sparse, &new()).unwrap();
        assert!(!durable::aside(&path).exists());
        open(&path, new().cluster).unwrap();
    }

    #[test]
    fn only_what_is_given_up_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let data = b"somebody's data";
        std::fs::write(&path, data).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_len(256 << 20).unwrap();
        let error = format!("{:#}", format(&path, &new(), false).unwrap_err());
        assert!(error.contains("unknown kind"), "{error}");
        assert!(std::fs::read(&path).unwrap().starts_with(data));
        format(&path, &new(), true).unwrap();
    }
}
