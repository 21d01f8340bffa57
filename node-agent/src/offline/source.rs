//! A disk that is looked at: opened read-only, locked against a running agent, and never written.

use anyhow::{Context, Error, Result};
use moraine_store::disk::{Device, DeviceDisk, OpenErrorKind, OpenOptions, OverlayDisk};
use moraine_store::format::Superblock;
use moraine_store::{Disk, OpenError, Opened, Shard, ShardOptions, read_superblock};
use std::path::Path;

/// A shard that was recovered in memory.
pub(super) type Recovered = Shard<OverlayDisk<DeviceDisk>>;

/// The disk.
pub(super) struct Source {
    device: Device,
}

impl Source {
    /// Opens and locks it.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let options = OpenOptions {
            read_only: true,
            // Memory that is registered counts against a limit of the user, and gains little here.
            registered_bytes: 0,
            ..OpenOptions::default()
        };
        let device = Device::open(path, &options).map_err(|error| {
            let advice = match error.kind {
                OpenErrorKind::Busy => {
                    "the disk is in use: an agent holds its disks as long as it runs, so stop that \
                     of this node first, or unmount what is mounted"
                }
                OpenErrorKind::Denied => "the disk can't be read: this takes root",
                _ => "the disk can't be opened",
            };
            Error::new(error).context(advice)
        })?;
        Ok(Self { device })
    }

    /// A handle that reads the disk itself.
    pub(super) fn handle(&self) -> Result<DeviceDisk> {
        let opened = self.device.handle().context("the disk can't be read")?;
        Ok(opened.disk)
    }

    /// Whose disk it is. An error if it is none of ours, or cut short.
    pub(super) fn superblock(&self) -> Result<Superblock> {
        let mut disk = self.handle()?;
        let superblock = read_superblock(&mut disk)?;
        let needed_bytes = superblock.layout.size_bytes();
        let size_bytes = disk.geometry().size_bytes;
        if size_bytes < needed_bytes {
            return Err(OpenError::Truncated {
                size_bytes,
                needed_bytes,
            }
            .into());
        }
        Ok(superblock)
    }

    /// Recovers a shard in memory. The first result is about this tool, the second about the disk.
    pub(super) fn recover(
        &self,
        opened: &Opened,
        number: u32,
    ) -> Result<Result<Recovered, OpenError>> {
        let overlay = OverlayDisk::new(self.handle()?);
        let options = ShardOptions::default();
        Ok(Shard::recover(overlay, opened, number, options))
    }
}
