//! Changes of a map as an operator would make them, for trials that have none: a disk is dropped
//! from every bucket, listed as syncing, or made in sync. Whether that is wise is for the caller to
//! know; what the entries themselves forbid stays forbidden.

use moraine_model::{BucketEntry, DiskId, Epoch, Listing, OutOfRange, Role};
use moraine_protocol::MapFile;
use std::path::Path;
use std::{fs, io};

/// Changes the listings of every bucket; each entry that differs gets a new epoch, which its
/// younger listings may name.
pub fn change(
    map: &mut MapFile,
    change: impl Fn(Epoch, &mut Vec<Listing>),
) -> Result<(), OutOfRange> {
    let changed = map.entries.iter().map(|entry| {
        let epoch = Epoch(entry.epoch().0 + 1);
        let mut listings = entry.listings().to_vec();
        change(epoch, &mut listings);
        if listings == entry.listings() {
            return Ok(entry.clone());
        }
        BucketEntry::new(entry.bucket(), epoch, listings)
    });
    map.entries = changed.collect::<Result<_, _>>()?;
    Ok(())
}

/// Takes a disk out of every bucket. The last replica in sync stays.
pub fn drop_disk(map: &mut MapFile, disk: DiskId) -> Result<(), OutOfRange> {
    change(map, |_, listings| {
        listings.retain(|listing| listing.disk != disk);
    })
}

/// Lists a disk as syncing wherever it isn't listed.
pub fn list_disk(map: &mut MapFile, disk: DiskId) -> Result<(), OutOfRange> {
    change(map, |since, listings| {
        if listings.iter().all(|listing| listing.disk != disk) {
            let role = Role::Syncing;
            listings.push(Listing { disk, role, since });
        }
    })
}

/// Makes a disk in sync wherever it is listed, which must be true.
pub fn promote_disk(map: &mut MapFile, disk: DiskId) -> Result<(), OutOfRange> {
    change(map, |_, listings| {
        let of_disk = listings.iter_mut().filter(|listing| listing.disk == disk);
        of_disk.for_each(|listing| listing.role = Role::InSync);
    })
}

/// Replaces a map's file whole, as its readers expect.
pub fn write(path: &Path, map: &MapFile) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, map.to_text())?;
    fs::rename(&new, path)
}
