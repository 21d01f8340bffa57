//! Signatures on images: bytes at their places always, and what real mkfs tools write where they are installed.

use super::*;
use std::process::Command;

const SIZE: usize = 4 << 20;

/// A device of zeros with these bytes at these places.
fn device(bytes: &[(usize, &[u8])]) -> Vec<u8> {
    let mut device = vec![0; SIZE];
    for (offset, bytes) in bytes {
        device[*offset..offset + bytes.len()].copy_from_slice(bytes);
    }
    device
}

fn look(device: &[u8]) -> Option<Signature> {
    let tail = &device[device.len().saturating_sub(WINDOW)..];
    let head = &device[..device.len().min(WINDOW)];
    detect(head, tail, u64::try_from(device.len()).unwrap())
}

fn name(device: &[u8]) -> Option<&'static str> {
    look(device).map(|signature| signature.name)
}

#[test]
fn nothing_is_found_where_nothing_is() {
    assert_eq!(look(&device(&[])), None);
    assert_eq!(look(&vec![0xff; SIZE]), None);
    assert_eq!(look(&[]), None);
    assert_eq!(look(b"XFS"), None);
    assert_eq!(name(b"XFSB"), Some("xfs"));
}

#[test]
fn every_format_of_the_table_is_found_at_its_place_and_nowhere_else() {
    for magic in TABLE {
        let offset = match magic.at {
            Start(offset) => offset,
            End(offset) | EndOf64K(offset) => SIZE - offset,
        };
        let found = look(&device(&[(offset, magic.bytes)]));
        let expected = Signature {
            family: magic.family,
            name: magic.name,
        };
        assert_eq!(found, Some(expected), "{} at {offset}", magic.name);
        // Three bytes further it is at no format's place.
        let moved = look(&device(&[(offset / 2 * 2 + 7, magic.bytes)]));
        assert_ne!(moved, Some(expected), "{} at {offset} + 7", magic.name);
    }
}

#[test]
fn the_old_raid_superblock_is_in_the_last_whole_64_kib() {
    let mut odd = vec![0; SIZE + 4096 * 3];
    odd[SIZE - 65536..SIZE - 65532].copy_from_slice(b"\xfc\x4e\x2b\xa9");
    assert_eq!(name(&odd), Some("linux_raid_member"));
}

#[test]
fn zfs_is_found_by_any_uberblock_of_its_four_labels() {
    const LABEL: usize = 256 << 10;
    let magic = 0x00ba_b10c_u64;
    for label in [0, LABEL, SIZE - 2 * LABEL, SIZE - LABEL] {
        for ring in [0, 17 * 1024, LABEL / 2 - 1024] {
            for bytes in [magic.to_le_bytes(), magic.to_be_bytes()] {
                let device = device(&[(label + LABEL / 2 + ring, &bytes)]);
                assert_eq!(name(&device), Some("zfs_member"), "{label} {ring}");
            }
        }
        let outside = device(&[(label + 1024, &magic.to_le_bytes())]);
        assert_eq!(name(&outside), None, "{label}");
    }
}

#[test]
fn a_partition_table_of_old_needs_an_entry() {
    let signature = (510, &b"\x55\xaa"[..]);
    let used: &[u8] = &[0x80, 0, 0, 0, 0x83];
    let strange: &[u8] = &[0x17, 0, 0, 0, 0x83];
    assert_eq!(name(&device(&[signature])), None, "empty");
    assert_eq!(name(&device(&[signature, (446, used)])), Some("dos"));
    assert_eq!(name(&device(&[signature, (446 + 48, used)])), Some("dos"));
    assert_eq!(name(&device(&[(446, used)])), None, "not signed");
    assert_eq!(name(&device(&[signature, (446, strange)])), None, "code");
}

#[test]
fn what_a_boot_sector_belongs_to_is_told_before_the_table_in_it() {
    let boot = [(510, &b"\x55\xaa"[..]), (450, &b"\x83"[..])];
    let fat = device(&[boot[0], boot[1], (0x52, b"FAT32   ")]);
    assert_eq!(name(&fat), Some("vfat"));
    let protective = device(&[boot[0], (450, b"\xee"), (512, b"EFI PART")]);
    assert_eq!(name(&protective), Some("gpt"));
}

/// Runs a formatter over an image of zeros; `None` where the tool isn't installed.
fn formatted(tool: &str, arguments: &[&str]) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    let file = std::fs::File::create(&image).unwrap();
    file.set_len(320 << 20).unwrap();
    let path = format!("/usr/sbin:/sbin:{}", std::env::var("PATH").unwrap());
    let run = Command::new(tool)
        .args(arguments)
        .arg(&image)
        .env("PATH", path)
        .output();
    let output = match run {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => panic!("{tool}: {error}"),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool}: {said}");
    Some(std::fs::read(&image).unwrap())
}

#[test]
fn what_real_tools_write_is_found() {
    for (tool, arguments, expected) in [
        ("mkfs.ext4", &["-q", "-F"][..], "ext"),
        ("mkfs.xfs", &["-q", "-f"][..], "xfs"),
        ("mkfs.btrfs", &["-q", "-f"][..], "btrfs"),
        ("mkfs.vfat", &["-F", "32"][..], "vfat"),
        ("mkswap", &["-q"][..], "swap"),
        ("sgdisk", &["--new=1:0:0"][..], "gpt"),
        (
            "cryptsetup",
            &[
                "--batch-mode",
                "--key-file=/etc/hostname",
                "--pbkdf=pbkdf2",
                "--pbkdf-force-iterations=1000",
                "luksFormat",
            ][..],
            "crypto_LUKS",
        ),
    ] {
        if let Some(image) = formatted(tool, arguments) {
            assert_eq!(name(&image), Some(expected), "{tool}");
        }
    }
}
