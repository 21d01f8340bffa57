//! What the agent keeps in its folder, so that it serves at once after a restart, the API server away:
//! the newest map of each pool, and which disks it has.
//!
//! ```text
//! maps/POOL.json    the newest BucketMap, by the pool's id
//! disks.json        the disks that were taken and not given up
//! pools/POOL/disk   the disk of a pool with devices.file
//! ```
//!
//! The list of disks is a memory of where to look, no more: what is on a disk says whose it is. A crash
//! between a disk's format and its entry here leaves a disk that the next look at the devices finds.

use crate::durable;
use anyhow::{Context, Result, ensure};
use moraine_crds::BucketMap;
use moraine_model::{ClusterId, DiskId};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Version of `disks.json`.
const VERSION: u32 = 1;

/// A disk that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Record {
    /// Its id.
    pub(crate) id: DiskId,
    /// Id of its pool.
    pub(crate) pool_id: ClusterId,
    /// Name of its pool.
    pub(crate) pool: String,
    /// The name under which it was found, as the pool would say it, or the path of the file.
    pub(crate) path: String,
    /// Whether it is a file that the agent has made.
    pub(crate) is_file: bool,
    /// Maker's name for the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
    /// Serial number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) serial: Option<String>,
    /// Shards that it was formatted with.
    pub(crate) shards: u32,
    /// Bytes that it can hold.
    pub(crate) size_bytes: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Disks {
    version: u32,
    disks: Vec<Record>,
}

/// The folder.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    folder: PathBuf,
}

impl Kept {
    /// What is in this folder, which has to be there.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        durable::folder(&folder.join("maps"))?;
        durable::folder(&folder.join("pools"))?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    fn map_path(&self, pool: ClusterId) -> PathBuf {
        self.folder.join("maps").join(format!("{pool}.json"))
    }

    /// Where the disk of a pool with `devices.file` is.
    pub(crate) fn disk_path(&self, pool: ClusterId) -> PathBuf {
        self.folder
            .join("pools")
            .join(pool.to_string())
            .join("disk")
    }

    /// The newest map of each pool. One that can't be read is told and left out: the API server has it.
    pub(crate) fn maps(&self) -> Result<Vec<BucketMap>> {
        let folder = self.folder.join("maps");
        let reading = || format!("reading the folder {}", folder.display());
        let mut maps = Vec::new();
        for entry in std::fs::read_dir(&folder).with_context(reading)? {
            let path = entry.with_context(reading)?.path();
            if path.extension().is_none_or(|ending| ending != "json") {
                continue;
            }
            match read_map(&path) {
                Ok(map) => maps.push(map),
                Err(error) => tracing::error!("a kept map is left out: {error:#}"),
            }
        }
        Ok(maps)
    }

    /// Keeps a map, in place of the one before.
    pub(crate) fn keep_map(&self, pool: ClusterId, map: &BucketMap) -> Result<()> {
        let mut kept = map.clone();
        // What the API server adds is none of the map.
        kept.metadata = kube::api::ObjectMeta {
            name: map.metadata.name.clone(),
            ..kube::api::ObjectMeta::default()
        };
        durable::write(&self.map_path(pool), &serde_json::to_vec(&kept)?)
    }

    /// Keeps a map no more. That it can't be removed is no matter: it is given up again after a restart.
    pub(crate) fn drop_map(&self, pool: ClusterId) {
        if let Err(error) = std::fs::remove_file(self.map_path(pool)) {
            tracing::warn!(%pool, "the map of a pool that is gone stays in the folder: {error}");
        }
    }

    /// The disks that were taken. A list that can't be read is told and counts as empty: the disks are
    /// found again by what is on them.
    pub(crate) fn disks(&self) -> Vec<Record> {
        let path = self.folder.join("disks.json");
        match read_disks(&path) {
            Ok(disks) => disks,
            Err(error) => {
                tracing::error!("the list of disks is left out: {error:#}");
                Vec::new()
            }
        }
    }

    /// Keeps the list of disks.
    pub(crate) fn keep_disks<'a>(&self, disks: impl Iterator<Item = &'a Record>) -> Result<()> {
        let disks = Disks {
            version: VERSION,
            disks: disks.cloned().collect(),
        };
        let path = self.folder.join("disks.json");
        durable::write(&path, &serde_json::to_vec(&disks)?)
    }
}

fn read_map(path: &Path) -> Result<BucketMap> {
    let reading = || format!("reading {}", path.display());
    let bytes = std::fs::read(path).with_context(reading)?;
    serde_json::from_slice(&bytes).with_context(reading)
}

fn read_disks(path: &Path) -> Result<Vec<Record>> {
    let reading = || format!("reading {}", path.display());
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(reading)?,
    };
    let disks: Disks = serde_json::from_slice(&bytes).with_context(reading)?;
    ensure!(
        disks.version == VERSION,
        "{} has version {}; this program reads version {VERSION}",
        path.display(),
        disks.version
    );
    Ok(disks.disks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u128) -> Record {
        Record {
            id: DiskId::new(number).unwrap(),
            pool_id: ClusterId::new(7).unwrap(),
            pool: "a".to_owned(),
            path: "/dev/sdb".to_owned(),
            is_file: false,
            model: Some("m".to_owned()),
            serial: None,
            shards: 2,
            size_bytes: 1 << 30,
        }
    }

    #[test]
    fn disks_are_found_again_and_a_list_that_is_none_counts_as_empty() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::new(folder.path()).unwrap();
        assert_eq!(kept.disks(), []);
        let disks = [record(1), record(2)];
        kept.keep_disks(disks.iter()).unwrap();
        assert_eq!(Kept::new(folder.path()).unwrap().disks(), disks);
        for bad in ["{", r#"{"version":2,"disks":[]}"#] {
            std::fs::write(folder.path().join("disks.json"), bad).unwrap();
            assert_eq!(kept.disks(), []);
        }
    }

    #[test]
    fn a_map_is_kept_without_what_the_api_server_adds() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::new(folder.path()).unwrap();
        let spec = moraine_crds::BucketMapSpec {
            pool: "a".to_owned(),
            pool_id: "7".to_owned(),
            buckets: 4,
        };
        let map = BucketMap::new("a", spec);
        let mut told = map.clone();
        told.metadata.resource_version = Some("12".to_owned());
        kept.keep_map(ClusterId::new(7).unwrap(), &told).unwrap();
        std::fs::write(folder.path().join("maps/8.json"), "{").unwrap();
        std::fs::write(folder.path().join("maps/9.json.unfinished"), "{").unwrap();
        assert_eq!(kept.maps().unwrap(), [map]);
    }
}
