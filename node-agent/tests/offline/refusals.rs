//! What is no disk of ours, or in use, is refused with a clear sentence by every command.

use crate::rig::*;
use moraine_store::checksum;
use moraine_store::disk::{Device, OpenOptions};
use std::path::Path;

/// Runs each command, which must end with code 2 and these words on stderr.
fn refused(path: &Path, words: &[&str]) {
    let volume = volume(1).to_string();
    let image = path.with_extension("image");
    let export = [volume.as_str(), "--output", image.to_str().unwrap()];
    for (command, arguments) in [("check", &[][..]), ("dump", &[]), ("export", &export)] {
        let run = store(command, path, arguments);
        assert_eq!((run.code, run.out.as_str()), (2, ""), "{command}: {run:?}");
        assert!(run.says(words), "{command}: {}", run.err);
        assert!(!image.exists(), "{command} left an image");
    }
}

#[test]
fn a_disk_that_an_agent_has_is_refused() {
    let (rig, _) = Rig::filled();
    let held = Device::open(&rig.path, &OpenOptions::default()).unwrap();
    refused(&rig.path, &["in use", "agent", "stop"]);
    drop(held);
    assert_eq!(rig.store("check", &[]).code, 0);
}

#[test]
fn what_is_not_a_disk_is_refused() {
    let rig = Rig::new();
    refused(&rig.file("nothing"), &["does not exist"]);
    refused(Path::new("/proc"), &["neither a file nor a block device"]);
    let blank = rig.file("blank");
    std::fs::write(&blank, vec![0; 1 << 20]).unwrap();
    refused(&blank, &["not a Moraine disk", "holds nothing"]);
    let mut ext = vec![0; 1 << 20];
    ext[0x438..0x43a].copy_from_slice(&[0x53, 0xef]);
    std::fs::write(&blank, ext).unwrap();
    refused(&blank, &["not a Moraine disk", "ext file system"]);
}

#[test]
fn a_disk_of_another_version_is_refused() {
    let (rig, _) = Rig::filled();
    for copy in [0, 128] {
        let mut block = rig.peek(copy);
        block[8..12].copy_from_slice(&2_u32.to_le_bytes());
        block[12..16].fill(0);
        let sum = checksum(&block);
        block[12..16].copy_from_slice(&sum.to_le_bytes());
        rig.poke(copy, &block);
    }
    refused(&rig.path, &["another version", "version 2"]);
}

#[test]
fn a_disk_without_a_whole_superblock_is_refused() {
    let (rig, _) = Rig::filled();
    rig.flip(0);
    rig.flip(128);
    refused(&rig.path, &["both copies of the superblock"]);
}

#[test]
fn a_disk_that_was_cut_short_is_refused() {
    let (rig, _) = Rig::filled();
    let file = std::fs::File::options()
        .write(true)
        .open(&rig.path)
        .unwrap();
    file.set_len(4 << 20).unwrap();
    refused(&rig.path, &["the device has 4194304 bytes", "reaches over"]);
}
