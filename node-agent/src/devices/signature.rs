//! What lies on a device, told by the magic numbers of the formats.
//!
//! The table knows what people put on disks: partition tables, file systems, and what stands below
//! them. A signature that isn't in it is no danger, because a device counts as blank only if what is
//! looked at holds nothing but zeros. The offsets are those of the formats' own definitions, named
//! with each entry.
//!
//! Not here: reading; the first and the last [`WINDOW`] bytes are given as slices.

/// Bytes that are looked at, at the start and at the end of a device.
pub(super) const WINDOW: usize = 1 << 20;

/// What a signature stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// A partition table.
    Partitions,
    /// A file system.
    FileSystem,
    /// Something below a file system: a volume manager, a RAID, encryption, swap.
    Member,
    /// Moraine's own.
    Moraine,
}

/// One format that was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// What it stands for.
    pub family: Family,
    /// Its name, as `blkid` has it where that knows it.
    pub name: &'static str,
}

/// Where a magic number is.
#[derive(Clone, Copy)]
enum At {
    /// So many bytes from the start.
    Start(usize),
    /// So many bytes before the end.
    End(usize),
    /// So many bytes before the end of the device, after that is rounded down to a multiple of 64 KiB.
    EndOf64K(usize),
}

struct Magic {
    family: Family,
    name: &'static str,
    at: At,
    bytes: &'static [u8],
}

const fn magic(family: Family, name: &'static str, at: At, bytes: &'static [u8]) -> Magic {
    Magic {
        family,
        name,
        at,
        bytes,
    }
}

use At::{End, EndOf64K, Start};
use Family::{FileSystem, Member, Moraine, Partitions};

/// Formats with a magic number at a fixed place. The first that fits names the device, so the ones that
/// say more come first.
const TABLE: &[Magic] = &[
    // The superblock, block 0 (docs/design.md, The extent store).
    magic(Moraine, "moraine", Start(0), b"MORAINE!"),
    // LUKS1 and LUKS2 on-disk format, section 2; LUKS2 keeps a second header behind the first.
    magic(Member, "crypto_LUKS", Start(0), b"LUKS\xba\xbe"),
    magic(Member, "crypto_LUKS", Start(0x4000), b"SKUL\xba\xbe"),
    // LVM2 label: in one of the first four sectors (lib/label/label.h), its type 24 bytes in.
    magic(Member, "LVM2_member", Start(0x018), b"LVM2 001"),
    magic(Member, "LVM2_member", Start(0x218), b"LVM2 001"),
    magic(Member, "LVM2_member", Start(0x418), b"LVM2 001"),
    magic(Member, "LVM2_member", Start(0x618), b"LVM2 001"),
    // Linux md superblock, 0xa92b4efc little-endian (include/uapi/linux/raid/md_p.h): version 1.1 at
    // the start, 1.2 4 KiB in, 1.0 8 KiB before the end, 0.90 in the last whole 64 KiB.
    magic(Member, "linux_raid_member", Start(0), b"\xfc\x4e\x2b\xa9"),
    magic(
        Member,
        "linux_raid_member",
        Start(4096),
        b"\xfc\x4e\x2b\xa9",
    ),
    magic(Member, "linux_raid_member", End(8192), b"\xfc\x4e\x2b\xa9"),
    magic(
        Member,
        "linux_raid_member",
        EndOf64K(65536),
        b"\xfc\x4e\x2b\xa9",
    ),
    // Ceph's label (src/os/bluestore/BlueStore.cc).
    magic(
        Member,
        "ceph_bluestore",
        Start(0),
        b"bluestore block device",
    ),
    // bcache superblock, 4 KiB in, magic 24 bytes further (include/uapi/linux/bcache.h); bcachefs
    // began with the same layout and has a magic of its own.
    magic(
        Member,
        "bcache",
        Start(0x1018),
        b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81",
    ),
    magic(
        FileSystem,
        "bcachefs",
        Start(0x1018),
        b"\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef",
    ),
    // Swap: the last ten bytes of the first page (include/linux/swap.h).
    magic(Member, "swap", Start(4096 - 10), b"SWAPSPACE2"),
    magic(Member, "swap", Start(4096 - 10), b"SWAP-SPACE"),
    magic(Member, "swap", Start(65536 - 10), b"SWAPSPACE2"),
    // xfs_dsb.sb_magicnum (fs/xfs/libxfs/xfs_format.h).
    magic(FileSystem, "xfs", Start(0), b"XFSB"),
    // btrfs_super_block at 64 KiB, magic 64 bytes in (fs/btrfs/fs.h).
    magic(FileSystem, "btrfs", Start(0x1_0040), b"_BHRfS_M"),
    // ext2, ext3, ext4: the superblock at 1 KiB, s_magic 56 bytes in (fs/ext4/ext4.h).
    magic(FileSystem, "ext", Start(0x438), b"\x53\xef"),
    // f2fs_super_block at 1 KiB (include/linux/f2fs_fs.h).
    magic(FileSystem, "f2fs", Start(0x400), b"\x10\x20\xf5\xf2"),
    // GFS2 (include/uapi/linux/gfs2_ondisk.h) and OCFS2 (fs/ocfs2/ocfs2_fs.h) of shared disks.
    magic(FileSystem, "gfs2", Start(0x1_0000), b"\x01\x16\x19\x70"),
    magic(FileSystem, "ocfs2", Start(0x2000), b"OCFSV2"),
    // Boot sectors of NTFS and exFAT: the OEM name.
    magic(FileSystem, "ntfs", Start(3), b"NTFS    "),
    magic(FileSystem, "exfat", Start(3), b"EXFAT   "),
    // FAT: the type string of the boot sector, for FAT32 further in.
    magic(FileSystem, "vfat", Start(0x52), b"FAT32   "),
    magic(FileSystem, "vfat", Start(0x36), b"FAT16   "),
    magic(FileSystem, "vfat", Start(0x36), b"FAT12   "),
    // ISO 9660: the first volume descriptor, sector 16 of 2 KiB.
    magic(FileSystem, "iso9660", Start(0x8001), b"CD001"),
    // squashfs (fs/squashfs/squashfs_fs.h) and erofs (fs/erofs/erofs_fs.h).
    magic(FileSystem, "squashfs", Start(0), b"hsqs"),
    magic(FileSystem, "erofs", Start(0x400), b"\xe2\xe1\xf5\xe0"),
    // GPT: the header in the second sector, of 512 or 4096 bytes, and its copy in the last (UEFI
    // specification, section 5.3).
    magic(Partitions, "gpt", Start(512), b"EFI PART"),
    magic(Partitions, "gpt", Start(4096), b"EFI PART"),
    magic(Partitions, "gpt", End(512), b"EFI PART"),
    magic(Partitions, "gpt", End(4096), b"EFI PART"),
];

/// The format on a device of which these are the first and the last bytes, and `size` the length. Of
/// a device shorter than two windows, both slices may hold the same.
pub fn detect(head: &[u8], tail: &[u8], size: u64) -> Option<Signature> {
    let found = TABLE.iter().find(|magic| {
        let bytes = magic.bytes;
        let start = match magic.at {
            Start(offset) => return starts_at(head, offset, bytes),
            End(offset) => tail.len().checked_sub(offset),
            EndOf64K(offset) => {
                let rest = usize::try_from(size % 65536).unwrap_or_default();
                tail.len().checked_sub(offset + rest)
            }
        };
        start.is_some_and(|start| starts_at(tail, start, bytes))
    });
    let named = found.map(|magic| Signature {
        family: magic.family,
        name: magic.name,
    });
    named
        .or_else(|| zfs(head, tail, size))
        .or_else(|| mbr(head))
}

/// A ZFS label: one of the uberblocks in the second half of each of the four 256 KiB labels, two at
/// the start and two at the end (`include/sys/vdev_impl.h`, `uberblock_impl.h`).
fn zfs(head: &[u8], tail: &[u8], size: u64) -> Option<Signature> {
    const LABEL: usize = 256 << 10;
    const MAGIC: u64 = 0x00ba_b10c;
    // Labels are aligned to their own size.
    let rest = usize::try_from(size % (LABEL as u64)).unwrap_or_default();
    let end = tail.len().checked_sub(rest)?;
    let labels = [
        head.get(..LABEL),
        head.get(LABEL..2 * LABEL),
        end.checked_sub(2 * LABEL)
            .and_then(|start| tail.get(start..start + LABEL)),
        end.checked_sub(LABEL)
            .and_then(|start| tail.get(start..end)),
    ];
    let is_uberblock = |block: &[u8]| {
        block.first_chunk::<8>().is_some_and(|bytes| {
            u64::from_le_bytes(*bytes) == MAGIC || u64::from_be_bytes(*bytes) == MAGIC
        })
    };
    let uberblocks = labels
        .into_iter()
        .flatten()
        .filter_map(|label| label.get(LABEL / 2..));
    uberblocks
        .flat_map(|ring| ring.chunks(1024))
        .any(is_uberblock)
        .then_some(Signature {
            family: FileSystem,
            name: "zfs_member",
        })
}

/// A classic partition table: the boot signature, and at least one entry that is one. A boot sector
/// of a file system ends with the same two bytes; those are recognised before.
fn mbr(head: &[u8]) -> Option<Signature> {
    let entries = head.get(446..510)?;
    let mut used = 0;
    for entry in entries.chunks(16) {
        let (status, kind) = (entry.first()?, entry.get(4)?);
        if !matches!(status, 0 | 0x80) {
            return None;
        }
        used += usize::from(*kind != 0);
    }
    let table = starts_at(head, 510, b"\x55\xaa") && used > 0;
    table.then_some(Signature {
        family: Partitions,
        name: "dos",
    })
}

fn starts_at(bytes: &[u8], offset: usize, magic: &[u8]) -> bool {
    bytes
        .get(offset..)
        .is_some_and(|rest| rest.starts_with(magic))
}

#[cfg(test)]
mod tests;
