//! Devices as sysfs and mountinfo tell of them, from folders that a test lays out. No real device is opened.

use super::*;
use crate::devices::{Claimant, Family, Verdict, judge};
use moraine_store::format::{Layout, SEGMENT_BLOCKS};
use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

const NUMBER: DeviceNumber = DeviceNumber {
    major: 8,
    minor: 16,
};
const SIZE: u64 = 2 << 30;

/// A sysfs with one disk `sdb`, whose device is a sparse file.
struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let machine = Self { folder };
        machine.attribute("size", &format!("{}\n", SIZE / 512));
        machine.attribute("ro", "0\n");
        machine.attribute("removable", "0\n");
        machine.attribute("queue/zoned", "none\n");
        let numbers = machine.path("sys/dev/block");
        std::fs::create_dir_all(&numbers).unwrap();
        symlink("../../devices/sdb", numbers.join("8:16")).unwrap();
        let device = File::create(machine.path("sdb")).unwrap();
        device.set_len(SIZE).unwrap();
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn attribute(&self, name: &str, text: &str) {
        let path = self.path("sys/devices/sdb").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn partition(&self) {
        self.attribute("sdb1/partition", "1\n");
        self.attribute("sdb1/dev", "8:17\n");
    }

    fn write(&self, offset: u64, bytes: &[u8]) {
        let device = OpenOptions::new()
            .write(true)
            .open(self.path("sdb"))
            .unwrap();
        device.write_all_at(bytes, offset).unwrap();
    }

    fn found(&self) -> Found {
        Found {
            path: "/dev/sdb".to_owned(),
            node: self.path("sdb"),
            number: Some(NUMBER),
            exists: true,
        }
    }

    fn facts(&self, in_use: &InUse) -> Result<Facts, String> {
        let host = Host {
            root: self.path(""),
            sysfs: self.path("sys"),
            procfs: self.path("proc"),
        };
        inspect(&host, &self.found(), NUMBER, in_use)
    }

    fn idle(&self) -> Facts {
        self.facts(&InUse::default()).unwrap()
    }

    fn verdict(&self, in_use: &InUse) -> Verdict {
        let claimant = Claimant {
            pool: None,
            others: &BTreeSet::new(),
            wipe: false,
        };
        judge(&self.found(), &self.facts(in_use), &claimant)
    }
}

fn mounted(minor: u32) -> InUse {
    let number = DeviceNumber { major: 8, minor };
    InUse {
        mounted: [(number, "/data".to_owned())].into(),
        swap: Vec::new(),
    }
}

#[test]
fn a_blank_disk_is_seen_as_one() {
    let facts = Machine::new().idle();
    let blank = Facts {
        size_bytes: SIZE,
        read_only: false,
        removable: false,
        zoned: false,
        used: None,
        partitions: Vec::new(),
        content: Content::Blank,
        model: None,
        serial: None,
    };
    assert_eq!(facts, blank);
}

#[test]
fn a_disk_of_a_pool_says_whose_it_is_from_either_superblock() {
    let superblock = Superblock {
        cluster: ClusterId::new(7).unwrap(),
        disk: DiskId::new(8).unwrap(),
        layout: Layout::for_size(SIZE, SEGMENT_BLOCKS, 1).unwrap(),
        formatted_at_ms: 9,
    };
    let owner = Owner {
        pool: superblock.cluster,
        disk: superblock.disk,
    };
    for copy in SUPERBLOCKS {
        let machine = Machine::new();
        let offset = u64::from(copy) * BLOCK_BYTES as u64;
        machine.write(offset, &superblock.encode());
        machine.attribute("device/model", "  A model \n");
        machine.attribute("serial", "S1\n");
        let facts = machine.idle();
        assert_eq!(facts.content, Content::Moraine(owner), "copy at {copy}");
        assert_eq!(facts.model.as_deref(), Some("A model"));
        assert_eq!(facts.serial.as_deref(), Some("S1"));
        machine.write(offset + 100, b"torn");
        assert!(!matches!(machine.idle().content, Content::Moraine(_)));
    }
}

#[test]
fn attributes_are_read() {
    let machine = Machine::new();
    machine.attribute("ro", "1\n");
    machine.attribute("removable", "1\n");
    machine.attribute("queue/zoned", "host-managed\n");
    machine.attribute("holders/dm-1/x", "");
    machine.attribute("holders/dm-0/x", "");
    let facts = machine.idle();
    assert!(facts.read_only && facts.removable && facts.zoned);
    let holders = ["dm-0", "dm-1"].map(str::to_owned).into();
    assert_eq!(facts.used, Some(Use::Held(holders)));
    assert_eq!(facts.content, Content::NotLooked, "it is in use");
}

#[test]
fn data_at_either_end_is_seen() {
    for offset in [0, (1 << 20) - 1, SIZE - (1 << 20), SIZE - 1] {
        let machine = Machine::new();
        machine.write(offset, b"x");
        assert_eq!(machine.idle().content, Content::Data, "{offset}");
    }
    let machine = Machine::new();
    machine.write(SIZE - 512, b"EFI PART");
    let Content::Known(signature) = machine.idle().content else {
        panic!("{:?}", machine.idle());
    };
    assert_eq!(
        (signature.family, signature.name),
        (Family::Partitions, "gpt")
    );
}

#[test]
fn a_disk_in_use_is_not_opened() {
    let machine = Machine::new();
    std::fs::remove_file(machine.path("sdb")).unwrap();
    let facts = machine.facts(&mounted(16)).unwrap();
    assert_eq!(facts.used, Some(Use::Mounted("/data".to_owned())));
    assert_eq!(facts.content, Content::NotLooked);
    let swap = InUse {
        swap: vec![NUMBER],
        ..InUse::default()
    };
    assert_eq!(machine.facts(&swap).unwrap().used, Some(Use::Swap));
    assert_eq!(machine.verdict(&swap).reason, "Busy");
    assert!(matches!(machine.idle().content, Content::Unreadable(_)));
}

#[test]
fn partitions_are_seen_with_their_use() {
    let machine = Machine::new();
    machine.partition();
    let partition = |used: Option<Use>| Partition {
        name: "sdb1".to_owned(),
        used,
    };
    assert_eq!(machine.idle().partitions, [partition(None)]);
    let used = machine.facts(&mounted(17)).unwrap();
    assert_eq!(
        used.partitions,
        [partition(Some(Use::Mounted("/data".to_owned())))]
    );
    assert_eq!(used.content, Content::NotLooked);
    machine.attribute("sdb1/holders/dm-0/x", "");
    assert_eq!(
        machine.idle().partitions,
        [partition(Some(Use::Held(vec!["dm-0".to_owned()])))]
    );
}

#[test]
fn a_disk_that_sysfs_does_not_know_is_told_so() {
    let machine = Machine::new();
    std::fs::remove_file(machine.path("sys/devices/sdb/size")).unwrap();
    assert!(
        machine
            .facts(&InUse::default())
            .unwrap_err()
            .contains("size")
    );
    std::fs::remove_file(machine.path("sys/dev/block/8:16")).unwrap();
    assert_eq!(machine.verdict(&InUse::default()).reason, "Unreadable");
}

#[test]
fn a_disk_without_a_medium_has_no_size_and_is_not_read() {
    let machine = Machine::new();
    machine.attribute("size", "0\n");
    assert_eq!(machine.idle().content, Content::NotLooked);
    assert_eq!(machine.verdict(&InUse::default()).reason, "NoMedium");
}
