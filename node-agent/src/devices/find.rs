//! Which block devices the patterns of a pool name.
//!
//! One device has many names (`/dev/sdb`, links below `/dev/disk`); it is found once, under the first
//! name of the first pattern. Not here: what the device is.

use glob::{MatchOptions, Pattern};
use std::collections::BTreeMap;
use std::fs::FileType;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The most devices that one pool's patterns can name on a node; more are not looked at.
pub(super) const DEVICES_MAX: usize = 256;

/// A name that a pattern led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The name below `/dev`, as the pool would say it.
    pub path: String,
    /// Where it is opened: the same, below the folder that holds the node's `/dev`.
    pub node: PathBuf,
    /// Its device number; `None` if it is no block device, or not there.
    pub number: Option<DeviceNumber>,
    /// Whether it exists at all.
    pub exists: bool,
}

/// Major and minor number of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceNumber {
    /// The driver's.
    pub major: u32,
    /// The device's.
    pub minor: u32,
}

impl DeviceNumber {
    /// The numbers that the kernel packed into one.
    pub fn of(packed: u64) -> Self {
        Self {
            major: rustix::fs::major(packed),
            minor: rustix::fs::minor(packed),
        }
    }

    /// The number of the block device at this path, through links.
    pub fn at(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        is_block(found.file_type()).then(|| Self::of(found.rdev()))
    }
}

impl std::fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

fn is_block(kind: FileType) -> bool {
    kind.is_block_device()
}

/// The block devices that `patterns` name below `root`, where the node's `/dev` is `root/dev`. A
/// pattern with a wildcard passes over what is no block device; a plain name is an answer even if
/// nothing is there, because somebody meant it.
pub fn find(root: &Path, patterns: &[String]) -> Vec<Found> {
    let mut found = BTreeMap::new();
    let mut plain = Vec::new();
    let mut order = Vec::new();
    for pattern in patterns {
        for path in names(root, pattern) {
            let node = below(root, &path);
            let number = DeviceNumber::at(&node);
            let exists = number.is_some() || node.exists();
            let one = Found {
                path,
                node,
                number,
                exists,
            };
            match number {
                Some(number) if !found.contains_key(&number) && found.len() < DEVICES_MAX => {
                    order.push(number);
                    found.insert(number, one);
                }
                None if one.path == *pattern && plain.len() < DEVICES_MAX => plain.push(one),
                _ => {}
            }
        }
    }
    let devices = order.iter().filter_map(|number| found.remove(number));
    devices.chain(plain).collect()
}

/// The names below `/dev` that a pattern stands for, in order. A pattern that isn't one names nothing
/// but itself.
fn names(root: &Path, pattern: &str) -> Vec<String> {
    if !pattern.contains(['*', '?', '[']) {
        return vec![pattern.to_owned()];
    }
    let shell = MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let root = root.to_string_lossy();
    let prefix = root.trim_end_matches('/');
    let whole = format!("{}{pattern}", Pattern::escape(prefix));
    let Ok(paths) = glob::glob_with(&whole, shell) else {
        return vec![pattern.to_owned()];
    };
    // A folder that can't be read holds nothing for us.
    let paths = paths.flatten();
    paths
        .filter_map(|path| {
            let name = path.to_str()?.strip_prefix(prefix)?;
            Some(name.to_owned())
        })
        .collect()
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn folder() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("dev/disk/by-id")).unwrap();
        for name in ["sda", "sdb", "sdb1", "tty"] {
            std::fs::write(root.path().join("dev").join(name), "").unwrap();
        }
        symlink("../../sdb", root.path().join("dev/disk/by-id/nvme-x")).unwrap();
        root
    }

    fn names_of(root: &Path, pattern: &str) -> Vec<String> {
        names(root, pattern)
    }

    #[test]
    fn patterns_mean_what_they_mean_to_a_shell() {
        let root = folder();
        for (pattern, named) in [
            ("/dev/sd?", vec!["/dev/sda", "/dev/sdb"]),
            ("/dev/sd[b-z]*", vec!["/dev/sdb", "/dev/sdb1"]),
            ("/dev/disk/by-id/nvme-*", vec!["/dev/disk/by-id/nvme-x"]),
            ("/dev/*/sdb", vec![]),
            ("/dev/vd*", vec![]),
            ("/dev/vda", vec!["/dev/vda"]),
        ] {
            assert_eq!(names_of(root.path(), pattern), named, "{pattern}");
        }
    }

    #[test]
    fn a_folder_with_wildcards_in_its_own_name_is_no_pattern() {
        let root = tempfile::Builder::new().prefix("a[b]*").tempdir().unwrap();
        std::fs::create_dir(root.path().join("dev")).unwrap();
        std::fs::write(root.path().join("dev/sda"), "").unwrap();
        assert_eq!(names_of(root.path(), "/dev/sd*"), ["/dev/sda"]);
    }

    #[test]
    fn what_is_no_block_device_is_an_answer_only_to_its_own_name() {
        let root = folder();
        let patterns = ["/dev/*", "/dev/tty", "/dev/gone"].map(str::to_owned);
        let found = find(root.path(), &patterns);
        let told: Vec<_> = found
            .iter()
            .map(|found| (found.path.as_str(), found.number, found.exists))
            .collect();
        assert_eq!(told, [("/dev/tty", None, true), ("/dev/gone", None, false)]);
    }
}
