//! What a block device is: the facts that sysfs, the tables of `/proc` and its own first and last bytes
//! tell. Nothing is judged here, and nothing is written: the device is opened read-only, and only if
//! it isn't in use.

use super::find::{DeviceNumber, Found};
use super::mounts::InUse;
use super::signature::{Signature, WINDOW, detect};
use moraine_model::{BLOCK_BYTES, ClusterId, DiskId};
use moraine_store::format::{SUPERBLOCKS, Superblock};
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Sysfs counts sizes in these, whatever the device's own.
const SECTOR_BYTES: u64 = 512;

/// Where the node's folders are.
#[derive(Clone, Debug)]
pub struct Host {
    /// The folder that holds the node's `dev`.
    pub root: PathBuf,
    /// The node's `/sys`.
    pub sysfs: PathBuf,
    /// The node's `/proc`.
    pub procfs: PathBuf,
}

/// What lies on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// It is in use or can hold nothing, so it wasn't opened.
    NotLooked,
    /// It can't be read.
    Unreadable(String),
    /// The first and the last mebibyte hold only zeros.
    Blank,
    /// A disk of Moraine, of this pool.
    Moraine(Owner),
    /// A format that is known.
    Known(Signature),
    /// Something else.
    Data,
}

/// Whose disk of Moraine it is, as a superblock on it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Id of the pool.
    pub pool: ClusterId,
    /// Id of the disk.
    pub disk: DiskId,
}

/// A partition of the device, as the kernel sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its name, such as `sdb1`.
    pub name: String,
    /// What uses it.
    pub used: Option<Use>,
}

/// How a device is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Use {
    /// It is mounted here.
    Mounted(String),
    /// It is swap.
    Swap,
    /// These devices are built on it, such as `dm-0`.
    Held(Vec<String>),
}

impl std::fmt::Display for Use {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mounted(place) => write!(f, "mounted at {place}"),
            Self::Swap => f.write_str("used as swap"),
            Self::Held(holders) => write!(f, "part of {}", holders.join(", ")),
        }
    }
}

/// All that is known of a block device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its size; 0 for one without a medium.
    pub size_bytes: u64,
    /// Whether the kernel refuses writes.
    pub read_only: bool,
    /// Whether its medium can be taken out.
    pub removable: bool,
    /// Whether it demands that each zone is written in order.
    pub zoned: bool,
    /// What uses it as a whole.
    pub used: Option<Use>,
    /// Its partitions.
    pub partitions: Vec<Partition>,
    /// What lies on it.
    pub content: Content,
    /// Maker's name for the model.
    pub model: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
}

/// Finds out what the block device `found` with this number is; the error is in words.
pub fn inspect(
    host: &Host,
    found: &Found,
    number: DeviceNumber,
    in_use: &InUse,
) -> Result<Facts, String> {
    let folder = host.sysfs.join("dev/block").join(number.to_string());
    let folder = std::fs::canonicalize(&folder)
        .map_err(|error| format!("the kernel doesn't tell of {}: {error}", folder.display()))?;
    let sectors: u64 = attribute(&folder, "size")
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("the kernel doesn't tell its size in {}", folder.display()))?;
    let mut facts = Facts {
        size_bytes: sectors.saturating_mul(SECTOR_BYTES),
        read_only: attribute(&folder, "ro").is_some_and(|text| text != "0"),
        removable: attribute(&folder, "removable").is_some_and(|text| text != "0"),
        zoned: is_zoned(&folder),
        used: used(&folder, number, in_use),
        partitions: partitions(&folder, in_use),
        content: Content::NotLooked,
        model: attribute(&folder, "device/model").filter(|text| !text.is_empty()),
        serial: serial(&folder),
    };
    let partition_used = facts
        .partitions
        .iter()
        .any(|partition| partition.used.is_some());
    if facts.used.is_none() && !partition_used && facts.size_bytes > 0 {
        facts.content = content(&found.node, facts.size_bytes);
    }
    Ok(facts)
}

/// An attribute of sysfs, without the line's end.
fn attribute(folder: &Path, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(folder.join(name)).ok()?;
    Some(text.trim().to_owned())
}

/// NVMe and SCSI tell it below `device`, virtio beside it.
fn serial(folder: &Path) -> Option<String> {
    let texts = ["device/serial", "serial"].into_iter();
    let mut texts = texts.filter_map(|name| attribute(folder, name));
    texts.find(|text| !text.is_empty())
}

/// The names in a folder, in order; none if it isn't there.
fn entries(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A partition has the queue of its disk.
fn is_zoned(folder: &Path) -> bool {
    let own = attribute(folder, "queue/zoned");
    let model = own.or_else(|| attribute(folder, "../queue/zoned"));
    model.is_some_and(|model| model != "none")
}

fn partitions(folder: &Path, in_use: &InUse) -> Vec<Partition> {
    let names = entries(folder).into_iter();
    names
        .filter(|name| folder.join(name).join("partition").exists())
        .map(|name| {
            let used = partition_use(&folder.join(&name), in_use);
            Partition { name, used }
        })
        .collect()
}

fn partition_use(folder: &Path, in_use: &InUse) -> Option<Use> {
    let number = attribute(folder, "dev")?;
    let (major, minor) = number.split_once(':')?;
    let number = DeviceNumber {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
    };
    used(folder, number, in_use)
}

fn used(folder: &Path, number: DeviceNumber, in_use: &InUse) -> Option<Use> {
    if let Some(place) = in_use.mounted.get(&number) {
        return Some(Use::Mounted(place.clone()));
    }
    if in_use.swap.contains(&number) {
        return Some(Use::Swap);
    }
    let holders = entries(&folder.join("holders"));
    (!holders.is_empty()).then_some(Use::Held(holders))
}

fn content(path: &Path, size_bytes: u64) -> Content {
    match windows(path, size_bytes) {
        Err(error) => Content::Unreadable(error.to_string()),
        Ok((head, tail)) => match detect(&head, &tail, size_bytes) {
            // Before all else, and though one copy is lost: nothing else is ever made of such a disk.
            _ if let Some(owner) = owner(&head) => Content::Moraine(owner),
            Some(signature) => Content::Known(signature),
            None if is_zero(&head) && is_zero(&tail) => Content::Blank,
            None => Content::Data,
        },
    }
}

/// Whose disk it is, if a copy of the superblock is whole.
fn owner(head: &[u8]) -> Option<Owner> {
    let mut copies = SUPERBLOCKS.iter().filter_map(|block| {
        let start = usize::try_from(*block).ok()? * BLOCK_BYTES;
        Superblock::decode(head.get(start..start + BLOCK_BYTES)?).ok()
    });
    let found = copies.next()?;
    Some(Owner {
        pool: found.cluster,
        disk: found.disk,
    })
}

/// The first and the last bytes; of a small device, both are all of it.
fn windows(path: &Path, size_bytes: u64) -> io::Result<(Vec<u8>, Vec<u8>)> {
    // Read-only, so that not even closing it wakes those who watch for changes of disks; without
    // blocking, so that a drive without a medium answers.
    let flags = (OFlags::NONBLOCK | OFlags::CLOEXEC).bits();
    let flags = i32::try_from(flags).map_err(io::Error::other)?;
    let device = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    let window = size_bytes.min(WINDOW as u64);
    let head = read(&device, 0, window)?;
    let tail = read(&device, size_bytes - window, window)?;
    Ok((head, tail))
}

fn read(device: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    device.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests;
