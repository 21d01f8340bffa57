//! Which devices the node uses: mounted, or as swap. Parsed from the files of `/proc`, given as text.
//!
//! A pod sees the mounts of its own; those of the node are in the tables of process 1, if the pod may
//! see that. So this is for a better word, not for safety: what is mounted has a file system on it,
//! which is found in any case.

use super::find::DeviceNumber;
use std::collections::BTreeMap;
use std::path::Path;

/// The devices in use, with a place each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InUse {
    /// Where each is mounted; the first place, if there are several.
    pub mounted: BTreeMap<DeviceNumber, String>,
    /// Those that are swap.
    pub swap: Vec<DeviceNumber>,
}

impl InUse {
    /// What the tables below `procfs` say, of process 1 and of this one; a table that can't be read
    /// says nothing. `root` is where names below `/dev` are looked up.
    pub fn read(procfs: &Path, root: &Path) -> Self {
        let mut in_use = Self::default();
        let number = |name: &str| DeviceNumber::at(&root.join(name.trim_start_matches('/')));
        for table in ["1/mountinfo", "self/mountinfo"] {
            let text = std::fs::read_to_string(procfs.join(table)).unwrap_or_default();
            in_use.add_mounts(&text, number);
        }
        let swaps = std::fs::read_to_string(procfs.join("swaps")).unwrap_or_default();
        in_use.add_swaps(&swaps, number);
        in_use
    }

    fn add_mounts(&mut self, mountinfo: &str, number: impl Fn(&str) -> Option<DeviceNumber>) {
        for line in mountinfo.lines() {
            let Some(mount) = mount(line) else { continue };
            // Some file systems (btrfs) have a number of their own; the source names the device.
            let devices = [Some(mount.number), number(&mount.source)];
            for device in devices.into_iter().flatten() {
                self.mounted
                    .entry(device)
                    .or_insert_with(|| mount.place.clone());
            }
        }
    }

    fn add_swaps(&mut self, swaps: &str, number: impl Fn(&str) -> Option<DeviceNumber>) {
        let names = swaps
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().next());
        self.swap
            .extend(names.filter_map(|name| number(&unescaped(name))));
    }
}

struct Mount {
    number: DeviceNumber,
    place: String,
    source: String,
}

/// One line of mountinfo: id, parent, number, root, place, options, optional fields, `-`, type, source
/// (`man 5 proc`).
fn mount(line: &str) -> Option<Mount> {
    let fields: Vec<&str> = line.split(' ').collect();
    let (major, minor) = fields.get(2)?.split_once(':')?;
    let dash = fields.iter().position(|field| *field == "-")?;
    Some(Mount {
        number: DeviceNumber {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        },
        place: unescaped(fields.get(4)?),
        source: unescaped(fields.get(dash + 2)?),
    })
}

/// The kernel writes blanks and backslashes in names as octal numbers.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part
            .get(..3)
            .and_then(|code| u8::from_str_radix(code, 8).ok());
        if let (Some(code), Some(rest)) = (code, part.get(3..)) {
            whole.push(char::from(code));
            whole.push_str(rest);
        } else {
            whole.push('\\');
            whole.push_str(part);
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:26 / /proc rw - proc proc rw
41 22 8:17 / /mnt/with\\040blank rw - xfs /dev/sdb1 rw
42 22 8:17 /sub /mnt/again rw - xfs /dev/sdb1 rw
43 22 0:45 /vol /mnt/btrfs rw shared:7 master:2 - btrfs /dev/sdc rw,subvolid=256
this is no line of it
";
    const SWAPS: &str = "\
Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority
/dev/sdd                                partition\t1048572\t\t0\t\t-2
/swap\\040file                           file\t\t1048572\t\t0\t\t-3
";

    fn device(major: u32, minor: u32) -> DeviceNumber {
        DeviceNumber { major, minor }
    }

    fn number(name: &str) -> Option<DeviceNumber> {
        match name {
            "/dev/sdc" => Some(device(8, 32)),
            "/dev/sdd" => Some(device(8, 48)),
            _ => None,
        }
    }

    #[test]
    fn mounts_are_found_by_number_and_by_source() {
        let mut in_use = InUse::default();
        in_use.add_mounts(MOUNTINFO, number);
        let place = |major, minor| {
            in_use
                .mounted
                .get(&device(major, minor))
                .map(String::as_str)
        };
        assert_eq!(place(8, 1), Some("/"));
        assert_eq!(place(8, 17), Some("/mnt/with blank"));
        assert_eq!(place(8, 32), Some("/mnt/btrfs"));
        assert_eq!(place(8, 48), None);
    }

    #[test]
    fn swap_is_found_where_it_is_a_device() {
        let mut in_use = InUse::default();
        in_use.add_swaps(SWAPS, number);
        assert_eq!(in_use.swap, [device(8, 48)]);
    }

    #[test]
    fn names_are_read_as_the_kernel_wrote_them() {
        for (text, plain) in [
            ("/a\\040b", "/a b"),
            ("/a\\134b", "/a\\b"),
            ("/a\\", "/a\\"),
            ("/\\9z", "/\\9z"),
        ] {
            assert_eq!(unescaped(text), plain);
        }
    }

    #[test]
    fn tables_that_cannot_be_read_say_nothing() {
        let nowhere = Path::new("/nonexistent");
        assert_eq!(InUse::read(nowhere, nowhere), InUse::default());
    }
}
